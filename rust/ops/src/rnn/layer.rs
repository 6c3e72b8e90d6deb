//! One layer of an LSTM, GRU or plain RNN over a whole sequence, both directions, as one node of the graph.

use crate::compose as c;
use rustnn_core::base::runtime_error;
use rustnn_core::graph::save_output_at;
use rustnn_core::{Ctx, DType, Grads, Result, Saved, Tensor, attach_many, needs_grad, save};
use rustnn_kernels::copy;
use rustnn_kernels::gemm::{self, Epilogue, Gemm};
use rustnn_kernels::rnn::{self as kernel, Kept, Kind, Layer, Place};
use rustnn_kernels::rowmath::Math;
use std::sync::Arc;

/// Weights of one direction.
#[derive(Clone)]
pub(super) struct Weights {
    pub ih: Tensor,
    pub hh: Tensor,
    pub bias: Option<(Tensor, Tensor)>,
}

/// How the steps of a sequence lie in its rows.
#[derive(Clone)]
pub(super) struct Steps {
    pub offsets: Arc<Vec<usize>>,
    pub sizes: Arc<Vec<usize>>,
    pub batch: usize,
}

impl Steps {
    pub(super) fn new(sizes: Vec<usize>) -> Self {
        let offsets = sizes
            .iter()
            .scan(0, |at, &s| {
                let o = *at;
                *at += s;
                Some(o)
            })
            .collect();
        let batch = sizes.first().copied().unwrap_or(0);
        Steps { offsets: Arc::new(offsets), sizes: Arc::new(sizes), batch }
    }
    fn layer(&self, kind: Kind, hidden: usize, reverse: bool) -> Layer<'_> {
        Layer { kind, batch: self.batch, hidden, offsets: &self.offsets, sizes: &self.sizes, reverse }
    }
}

/// `a b (+ bias)` of matrices, without a graph. `constant`: whether `b` is like to come again.
fn product(a: &Tensor, b: &Tensor, constant: bool, bias: Option<&Tensor>) -> Result<Tensor> {
    let c = Tensor::empty(&[a.shape()[0], b.shape()[1]], a.dtype())?;
    let ep = Epilogue { bias: bias.map(Tensor::raw), ..Epilogue::default() };
    gemm::matmul(a.raw(), b.raw_kept(constant), c.raw(), &ep)?;
    Ok(c)
}

fn t(x: &Tensor) -> Tensor {
    x.view_of(x.layout().transpose(0, 1))
}

/// Sums over the rows.
fn column_sums(x: &Tensor) -> Result<Tensor> {
    c::sum_dims(x, &[0], false)
}

/// What the backward pass needs of one direction.
struct Direction {
    gates: Tensor,
    cells: Tensor,
}

/// Runs a layer on `x` `[rows, features]`; `h0` and `c0` are `[directions, batch, hidden]`. Gives the hidden states
/// `[rows, directions * hidden]` and the last states.
pub(super) fn layer(
    kind: Kind,
    steps: &Steps,
    x: &Tensor,
    w: &[Weights],
    h0: &Tensor,
    c0: Option<&Tensor>,
) -> Result<Vec<Tensor>> {
    match x.dtype() {
        DType::F32 => run::<f32>(kind, steps, x, w, h0, c0),
        DType::F64 => run::<f64>(kind, steps, x, w, h0, c0),
        d => Err(runtime_error!("rnn: the layer computes in float32 or float64, got {d}")),
    }
}

fn run<T: Math + Gemm>(
    kind: Kind,
    steps: &Steps,
    x: &Tensor,
    w: &[Weights],
    h0: &Tensor,
    c0: Option<&Tensor>,
) -> Result<Vec<Tensor>> {
    let hidden = h0.shape()[2];
    let (rows, dirs) = (x.shape()[0], w.len());
    let lstm = kind == Kind::Lstm;
    // Inputs in order: x, h0, (c0), then per direction w_ih, w_hh, (b_ih, b_hh).
    let mut inputs: Vec<&Tensor> = vec![x, h0];
    if let (true, Some(c)) = (lstm, c0) {
        inputs.push(c);
    }
    for w in w {
        inputs.extend([&w.ih, &w.hh]);
        if let Some((a, b)) = &w.bias {
            inputs.extend([a, b]);
        }
    }
    let graph = needs_grad(&inputs);
    let xc = x.to_contiguous()?;
    let hn = h0.detach().copied()?.to_contiguous()?;
    let cn = match c0 {
        Some(c) if lstm => c.detach().copied()?.to_contiguous()?,
        _ => Tensor::empty(&[0], x.dtype())?,
    };
    let out = Tensor::empty(&[rows, dirs * hidden], x.dtype())?;
    let mut kept = Vec::with_capacity(dirs);
    let per = steps.batch * hidden;
    for (d, w) in w.iter().enumerate() {
        let b = w.bias.as_ref().map(|(a, _)| a.to_contiguous()).transpose()?;
        let gates = product(&xc, &t(&w.ih), w.ih.constant(), b.as_ref())?;
        let celled = graph && matches!(kind, Kind::Lstm | Kind::Gru);
        let cells = Tensor::empty(&[if celled { rows * hidden } else { 0 }], x.dtype())?;
        let hh = w.hh.to_contiguous()?;
        let b_hh = w.bias.as_ref().map(|(_, b)| b.to_contiguous()).transpose()?;
        let state = &mut hn.slice_mut::<T>()?[d * per..][..per];
        let cell: &mut [T] = if lstm { &mut cn.slice_mut::<T>()?[d * per..][..per] } else { &mut [] };
        kernel::forward::<T>(
            steps.layer(kind, hidden, d == 1),
            gates.slice_mut()?,
            (hh.slice()?, hh.raw_kept(w.hh.constant()).keep()),
            b_hh.as_ref().map(Tensor::slice).transpose()?,
            state,
            cell,
            out.slice_mut()?,
            Place { ld: dirs * hidden, at: d * hidden },
            if graph { Some(cells.slice_mut()?) } else { None },
        )?;
        if graph {
            kept.push(Direction { gates, cells });
        }
    }
    let mut outs = vec![out, hn];
    if lstm {
        outs.push(cn);
    }
    if !graph {
        return Ok(outs);
    }
    let saved = Memory {
        kind,
        steps: steps.clone(),
        hidden,
        kept,
        x: save(x),
        h0: save(h0),
        c0: c0.filter(|_| lstm).map(save),
        weights: w.iter().map(|w| (save(&w.ih), save(&w.hh), w.bias.is_some())).collect(),
        out: save_output_at(&outs[0], 0),
    };
    let name = match kind {
        Kind::Lstm => "LstmBackward0",
        Kind::Gru => "GruBackward0",
        Kind::Tanh | Kind::Relu => "RnnBackward0",
    };
    attach_many(name, outs, &inputs, move |ctx, gs| backward::<T>(&saved, ctx, gs))
}

struct Memory {
    kind: Kind,
    steps: Steps,
    hidden: usize,
    kept: Vec<Direction>,
    x: Saved,
    h0: Saved,
    c0: Option<Saved>,
    weights: Vec<(Saved, Saved, bool)>,
    out: Saved,
}

fn backward<T: Math + Gemm>(m: &Memory, ctx: &Ctx<'_>, gs: &[Option<Tensor>]) -> Result<Grads> {
    ctx.no_second_derivative()?;
    let (x, h0, out) = (m.x.get(ctx)?.to_contiguous()?, m.h0.get(ctx)?.to_contiguous()?, m.out.get(ctx)?);
    let c0 = m.c0.as_ref().map(|c| c.get(ctx)?.to_contiguous()).transpose()?;
    let (n, dirs, d) = (m.hidden, m.kept.len(), x.dtype());
    let (rows, g, per) = (x.shape()[0], m.kind.gates(), m.steps.batch * n);
    let lstm = m.kind == Kind::Lstm;
    let grad = |i: usize, like: &[usize]| match gs.get(i).and_then(Option::as_ref) {
        Some(g) => g.to_contiguous(),
        None => Tensor::zeros(like, d),
    };
    let go = grad(0, out.shape())?;
    let dh = grad(1, h0.shape())?.copied()?;
    let dc = if let Some(c) = &c0 { grad(2, c.shape())?.copied()? } else { Tensor::empty(&[0], d)? };
    let mut result = Grads::from_elem(None, 2 + usize::from(lstm));
    let mut gx: Option<Tensor> = None;
    for (k, kept) in m.kept.iter().enumerate() {
        let (w_ih, w_hh, biased) = (&m.weights[k].0, &m.weights[k].1, m.weights[k].2);
        let (w_ih, w_hh) = (w_ih.get(ctx)?, w_hh.get(ctx)?.to_contiguous()?);
        let dg = Tensor::empty(&[rows, g * n], d)?;
        let gru = m.kind == Kind::Gru;
        let dr = Tensor::empty(&[if gru { rows } else { 0 }, 3 * n], d)?;
        if gru && rows * n == 0 {
            copy::fill(&dr.raw(), 0i64.into())?;
        }
        let before = Tensor::empty(&[rows, n], d)?;
        let range = k * per..(k + 1) * per;
        kernel::backward::<T>(
            m.steps.layer(m.kind, n, k == 1),
            Kept {
                gates: kept.gates.slice()?,
                w: w_hh.slice()?,
                h0: &h0.slice()?[range.clone()],
                c0: match &c0 {
                    Some(c) => &c.slice()?[range.clone()],
                    None => &[],
                },
                cells: kept.cells.slice()?,
                out: out.slice()?,
            },
            go.slice()?,
            Place { ld: dirs * n, at: k * n },
            &mut dh.slice_mut::<T>()?[range.clone()],
            if lstm { &mut dc.slice_mut::<T>()?[range] } else { &mut [] },
            dg.slice_mut()?,
            dr.slice_mut()?,
            before.slice_mut()?,
        )?;
        let rec = if gru { &dr } else { &dg };
        let at = result.len();
        result.push(if ctx.wants(at) { Some(product(&t(&dg), &x, false, None)?) } else { None });
        result.push(if ctx.wants(at + 1) { Some(product(&t(rec), &before, false, None)?) } else { None });
        if biased {
            let sums = column_sums(&dg)?;
            let recurrent = if gru { column_sums(rec)? } else { sums.copied()? };
            result.extend([Some(sums), Some(recurrent)]);
        }
        if ctx.wants(0) {
            match &gx {
                None => gx = Some(product(&dg, &w_ih, false, None)?),
                Some(sum) => {
                    let ep = Epilogue { beta: 1.0, ..Epilogue::default() };
                    gemm::matmul(dg.raw(), w_ih.raw(), sum.raw(), &ep)?;
                }
            }
        }
    }
    result[0] = gx;
    result[1] = Some(dh);
    if lstm {
        result[2] = Some(dc);
    }
    Ok(result)
}
