//! Whole recurrent networks: layers and directions stacked, full and packed sequences, with the signatures of
//! PyTorch's `torch._VF`; and the single cells.

mod cells;
mod layer;

use crate::args::{Args, IntoRet, Ret};
use crate::compose as c;
use crate::registry::{OpDef, PRIVATE, TORCH, op};
use layer::{Steps, Weights};
use rustnn_core::base::runtime_error;
use rustnn_core::{DType, Result, Tensor};
use rustnn_kernels::rnn::Kind;
use rustnn_kernels::room;

/// What a network is built like.
#[derive(Debug, Clone, Copy)]
struct Plan {
    kind: Kind,
    biases: bool,
    layers: usize,
    dropout: f64,
    train: bool,
    bidirectional: bool,
}

fn wide(t: &Tensor, d: DType) -> Result<Tensor> {
    crate::basic::to_dtype(t, d)
}

/// All layers over rows `x` `[rows, features]`; `states` are `[layers * directions, batch, hidden]`. Gives the last
/// layer's rows and the final states.
fn network(p: Plan, steps: &Steps, x: &Tensor, states: &[Tensor], w: &[Tensor]) -> Result<Vec<Tensor>> {
    let dirs = 1 + usize::from(p.bidirectional);
    let per = if p.biases { 4 } else { 2 };
    if w.len() == p.layers * dirs * (per + 1) && p.kind == Kind::Lstm {
        return cells::projected(p.biases, p.layers, dirs, (p.dropout, p.train), steps, x, states, w);
    }
    if w.len() != p.layers * dirs * per {
        return Err(runtime_error!("rnn: {} weights for {} layers of {dirs} directions", w.len(), p.layers));
    }
    let d = x.dtype();
    let acc = d.accumulate();
    if !d.is_float() {
        return Err(runtime_error!("rnn: expected a floating point input, got {d}"));
    }
    let gates = p.kind.gates();
    for (k, s) in states.iter().enumerate() {
        let want = [p.layers * dirs, steps.batch, w[1].shape()[1]];
        if s.shape() != want {
            return Err(runtime_error!("Expected hidden[{k}] size {want:?}, got {:?}", s.shape()));
        }
        if s.dtype() != d {
            return Err(runtime_error!(
                "Input and hidden tensors are not the same dtype, found input tensor with {} and hidden tensor with {}",
                d.torch_name(),
                s.dtype().torch_name()
            ));
        }
    }
    let mut rows = wide(x, acc)?;
    let mut finals: Vec<Vec<Tensor>> = vec![Vec::new(); states.len()];
    for l in 0..p.layers {
        let mut ws = Vec::with_capacity(dirs);
        for dir in 0..dirs {
            let own = &w[(l * dirs + dir) * per..][..per];
            let hidden = own[1].shape().get(1).copied().unwrap_or(0);
            if own[0].shape() != [gates * hidden, rows.shape()[1]] || own[1].shape()[0] != gates * hidden {
                return Err(runtime_error!(
                    "input.size(-1) must be equal to input_size. Expected {}, got {}",
                    own[0].shape().last().copied().unwrap_or(0),
                    rows.shape()[1]
                ));
            }
            ws.push(Weights {
                ih: wide(&own[0], acc)?,
                hh: wide(&own[1], acc)?,
                bias: if p.biases { Some((wide(&own[2], acc)?, wide(&own[3], acc)?)) } else { None },
            });
        }
        let part = |s: &Tensor| -> Result<Tensor> {
            let s = if p.layers == 1 { s.clone() } else { c::narrow(s, 0, l * dirs, dirs)? };
            wide(&s, acc)
        };
        let h0 = part(&states[0])?;
        let c0 = states.get(1).map(part).transpose()?;
        let mut outs = layer::layer(p.kind, steps, &rows, &ws, &h0, c0.as_ref())?.into_iter();
        rows = outs.next().ok_or_else(|| runtime_error!("rnn: a layer gave nothing"))?;
        for (f, o) in finals.iter_mut().zip(outs) {
            f.push(o);
        }
        if p.dropout > 0.0 && p.train && l + 1 < p.layers {
            rows = c::dropout(&rows, p.dropout)?;
        }
    }
    let mut out = vec![wide(&rows, d)?];
    for f in finals {
        let all = if f.len() == 1 { f[0].clone() } else { c::cat(&f, 0)? };
        out.push(wide(&all, d)?);
    }
    Ok(out)
}

fn plan(a: &Args, kind: Kind, i: usize) -> Result<Plan> {
    Ok(Plan {
        kind,
        biases: a.bool(i)?,
        layers: a.int(i + 1)?.max(0) as usize,
        dropout: a.float(i + 2)?,
        train: a.bool(i + 3)?,
        bidirectional: a.bool(i + 4)?,
    })
}

/// A full sequence `[time, batch, features]` (or batch first).
fn full(a: &Args, kind: Kind) -> Result<Ret> {
    let (x, p, first) = (a.tensor(0)?, plan(a, kind, 3)?, a.bool(8)?);
    if x.ndim() != 3 {
        return Err(runtime_error!("input must have 3 dimensions, got {}", x.ndim()));
    }
    let x = if first { c::transpose(x, 0, 1)? } else { x.clone() };
    let (time, batch, f) = (x.shape()[0], x.shape()[1], x.shape()[2]);
    if time == 0 {
        return Err(runtime_error!("Expected sequence length to be larger than 0 in RNN"));
    }
    let steps = Steps::new(room::filled(time, batch)?);
    let mut out = network(p, &steps, &c::reshape(&x, &[time * batch, f])?, a.tensors(1)?, a.tensors(2)?)?;
    let w = out[0].shape()[1];
    let y = c::reshape(&out[0], &[time, batch, w])?;
    out[0] = if first { c::transpose(&y, 0, 1)? } else { y };
    out.ret()
}

/// A packed sequence: rows of all steps, and how many each step has.
fn packed(a: &Args, kind: Kind) -> Result<Ret> {
    let (x, sizes, p) = (a.tensor(0)?, a.tensor(1)?, plan(a, kind, 4)?);
    let sizes: Vec<usize> = sizes
        .detach()
        .copied_as(DType::I64)?
        .to_contiguous()?
        .slice::<i64>()?
        .iter()
        .map(|&s| s.max(0) as usize)
        .collect();
    if x.ndim() != 2 || sizes.iter().sum::<usize>() != x.shape()[0] {
        return Err(runtime_error!(
            "rnn: packed data of shape {:?} does not have the rows that batch_sizes add up to",
            x.shape()
        ));
    }
    network(p, &Steps::new(sizes), x, a.tensors(2)?, a.tensors(3)?)?.ret()
}

macro_rules! sequence {
    ($name:literal, $hx:literal, $kind:expr, $doc:literal) => {
        [
            op(concat!("_rnn_", $name, "(Tensor input, ", $hx, " hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first)"),
                PRIVATE, |a| full(a, $kind)).doc($doc).nondiff(),
            op(concat!("_rnn_", $name, "(Tensor data, Tensor batch_sizes, ", $hx, " hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional)"),
                PRIVATE, |a| packed(a, $kind)).doc($doc).nondiff(),
        ]
    };
}

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = Vec::new();
    v.extend(sequence!("lstm", "Tensor[]", Kind::Lstm, "A whole LSTM: (output, h_n, c_n)."));
    v.extend(sequence!("gru", "Tensor", Kind::Gru, "A whole GRU: (output, h_n)."));
    v.extend(sequence!("rnn_tanh", "Tensor", Kind::Tanh, "A whole RNN with tanh: (output, h_n)."));
    v.extend(sequence!("rnn_relu", "Tensor", Kind::Relu, "A whole RNN with ReLU: (output, h_n)."));
    v.extend(cells::ops());
    v
}

const CELL: u32 = TORCH;
