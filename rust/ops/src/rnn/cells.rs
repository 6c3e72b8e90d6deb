//! Single recurrent cells and LSTMs with projections, as compositions of ops.

use super::CELL;
use super::layer::Steps;
use crate::args::IntoRet;
use crate::compose as c;
use crate::registry::{OpDef, op};
use rustnn_core::base::runtime_error;
use rustnn_core::{Result, Tensor};

/// `x w^T + b`.
fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    if x.shape().last() != w.shape().last() {
        return Err(runtime_error!(
            "input has inconsistent input_size: got {} expected {}",
            x.shape().last().copied().unwrap_or(0),
            w.shape().last().copied().unwrap_or(0)
        ));
    }
    let y = c::matmul(x, &c::transpose(w, 0, 1)?)?;
    b.map_or_else(|| Ok(y.clone()), |b| c::add(&y, b))
}

/// Blocks of the last dimension.
fn blocks(x: &Tensor, n: usize) -> Result<Vec<Tensor>> {
    let w = x.shape().last().copied().unwrap_or(0) / n;
    (0..n).map(|i| c::narrow(x, -1, i * w, w)).collect()
}

/// Weights and biases of a cell.
#[derive(Clone, Copy)]
struct Cell<'a> {
    ih: &'a Tensor,
    hh: &'a Tensor,
    bi: Option<&'a Tensor>,
    bh: Option<&'a Tensor>,
}

fn lstm(x: &Tensor, h: &Tensor, cell: &Tensor, w: Cell<'_>) -> Result<(Tensor, Tensor)> {
    let g = blocks(&c::add(&linear(x, w.ih, w.bi)?, &linear(h, w.hh, w.bh)?)?, 4)?;
    let kept = c::mul(&c::sigmoid(&g[1])?, cell)?;
    let cell = c::add(&kept, &c::mul(&c::sigmoid(&g[0])?, &c::tanh(&g[2])?)?)?;
    Ok((c::mul(&c::sigmoid(&g[3])?, &c::tanh(&cell)?)?, cell))
}

fn gru(x: &Tensor, h: &Tensor, w: Cell<'_>) -> Result<Tensor> {
    let (gx, gh) = (blocks(&linear(x, w.ih, w.bi)?, 3)?, blocks(&linear(h, w.hh, w.bh)?, 3)?);
    let r = c::sigmoid(&c::add(&gx[0], &gh[0])?)?;
    let z = c::sigmoid(&c::add(&gx[1], &gh[1])?)?;
    let n = c::tanh(&c::add(&gx[2], &c::mul(&r, &gh[2])?)?)?;
    c::add(&n, &c::mul(&z, &c::sub(h, &n)?)?)
}

fn plain(x: &Tensor, h: &Tensor, w: Cell<'_>) -> Result<Tensor> {
    c::add(&linear(x, w.ih, w.bi)?, &linear(h, w.hh, w.bh)?)
}

/// An LSTM whose hidden state is projected (`proj_size`): step by step.
pub(super) fn projected(
    biases: bool,
    layers: usize,
    dirs: usize,
    dropout: (f64, bool),
    steps: &Steps,
    x: &Tensor,
    states: &[Tensor],
    w: &[Tensor],
) -> Result<Vec<Tensor>> {
    let per = if biases { 5 } else { 3 };
    let [h0, c0] = states else { return Err(runtime_error!("lstm: expected two states")) };
    let mut rows = x.clone();
    let (mut hs, mut cs) = (Vec::new(), Vec::new());
    for l in 0..layers {
        let mut sides = Vec::new();
        for dir in 0..dirs {
            let own = &w[(l * dirs + dir) * per..][..per];
            let cell = Cell { ih: &own[0], hh: &own[1], bi: biases.then(|| &own[2]), bh: biases.then(|| &own[3]) };
            let state = |s: &Tensor| -> Result<Tensor> {
                let s1 = c::narrow(s, 0, l * dirs + dir, 1)?;
                c::reshape(&s1, &s.shape()[1..])
            };
            let (mut h, mut cc) = (state(h0)?, state(c0)?);
            let mut outs: Vec<Option<Tensor>> = vec![None; steps.sizes.len()];
            for i in 0..steps.sizes.len() {
                let t = if dir == 1 { steps.sizes.len() - 1 - i } else { i };
                let (at, n) = (steps.offsets[t], steps.sizes[t]);
                let (hi, ci) = (c::narrow(&h, 0, 0, n)?, c::narrow(&cc, 0, 0, n)?);
                let (full, cell_state) = lstm(&c::narrow(&rows, 0, at, n)?, &hi, &ci, cell)?;
                let out = linear(&full, &own[per - 1], None)?;
                let rest = |s: &Tensor, new: &Tensor| {
                    let all = s.shape()[0];
                    if n == all { Ok(new.clone()) } else { c::cat(&[new.clone(), c::narrow(s, 0, n, all - n)?], 0) }
                };
                h = rest(&h, &out)?;
                cc = rest(&cc, &cell_state)?;
                outs[t] = Some(out);
            }
            sides.push(c::cat(&outs.into_iter().flatten().collect::<Vec<_>>(), 0)?);
            hs.push(c::unsqueeze(&h, 0)?);
            cs.push(c::unsqueeze(&cc, 0)?);
        }
        rows = if dirs == 1 { sides.swap_remove(0) } else { c::cat(&sides, 1)? };
        if dropout.0 > 0.0 && dropout.1 && l + 1 < layers {
            rows = c::dropout(&rows, dropout.0)?;
        }
    }
    Ok(vec![rows, c::cat(&hs, 0)?, c::cat(&cs, 0)?])
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("lstm_cell(Tensor input, Tensor[] hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None)", CELL, |a| {
            let [h, cc] = a.tensors(1)? else { return Err(runtime_error!("lstm_cell expects two hidden states")) };
            let w = Cell { ih: a.tensor(2)?, hh: a.tensor(3)?, bi: a.opt_tensor(4), bh: a.opt_tensor(5) };
            lstm(a.tensor(0)?, h, cc, w).ret()
        })
        .doc("One LSTM step: (h, c).")
        .nondiff(),
        op("gru_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None)", CELL, |a| {
            gru(a.tensor(0)?, a.tensor(1)?, Cell { ih: a.tensor(2)?, hh: a.tensor(3)?, bi: a.opt_tensor(4), bh: a.opt_tensor(5) }).ret()
        })
        .doc("One GRU step.")
        .samples(&["t(2,3), t(2,4), t(12,3), t(12,4), t(12), t(12)"])
        .oracle("(lambda s, gx, gh: (lambda r, z: (lambda n: (1 - z) * n + z * hx)(np.tanh(gx[:, 8:] + r * gh[:, 8:])))(s(gx[:, :4] + gh[:, :4]), s(gx[:, 4:8] + gh[:, 4:8])))(lambda v: 1 / (1 + np.exp(-v)), input @ w_ih.T + b_ih, hx @ w_hh.T + b_hh)"),
        op("rnn_tanh_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None)", CELL, |a| {
            c::tanh(&plain(a.tensor(0)?, a.tensor(1)?, Cell { ih: a.tensor(2)?, hh: a.tensor(3)?, bi: a.opt_tensor(4), bh: a.opt_tensor(5) })?).ret()
        })
        .doc("One step of a plain RNN with tanh.")
        .samples(&["t(2,3), t(2,4), t(4,3), t(4,4), t(4), t(4)"])
        .oracle("np.tanh(input @ w_ih.T + b_ih + hx @ w_hh.T + b_hh)"),
        op("rnn_relu_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None)", CELL, |a| {
            c::relu(&plain(a.tensor(0)?, a.tensor(1)?, Cell { ih: a.tensor(2)?, hh: a.tensor(3)?, bi: a.opt_tensor(4), bh: a.opt_tensor(5) })?).ret()
        })
        .doc("One step of a plain RNN with ReLU.")
        .samples(&["t(2,3), t(2,4), t(4,3), t(4,4), t(4), t(4)"])
        .oracle("np.maximum(0, input @ w_ih.T + b_ih + hx @ w_hh.T + b_hh)"),
    ]
}
