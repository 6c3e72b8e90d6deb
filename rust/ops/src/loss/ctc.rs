//! CTC loss over padded or concatenated targets.

use super::Reduction;
use crate::args::{Arg, Args, IntoRet};
use crate::basic::to_dtype;
use crate::compose as c;
use crate::registry::{NN, OpDef, op};
use rustnn_core::base::{not_implemented, runtime_error, with_float};
use rustnn_core::{DType, Result, Tensor, attach, grads, save};
use rustnn_kernels::ctc::{self as kernel, Ctc};
use rustnn_kernels::room;
use std::sync::Arc;

/// Targets and lengths, kept for the backward pass.
struct Plan {
    targets: Vec<i64>,
    offsets: Vec<usize>,
    inputs: Vec<usize>,
    labels: Vec<usize>,
    blank: usize,
    sizes: [usize; 3],
}

impl Plan {
    fn view(&self) -> Ctc<'_> {
        let [time, batch, classes] = self.sizes;
        Ctc {
            time,
            batch,
            classes,
            targets: &self.targets,
            offsets: &self.offsets,
            input_lengths: &self.inputs,
            target_lengths: &self.labels,
            blank: self.blank,
        }
    }
}

fn integers(t: &Tensor) -> Result<Vec<i64>> {
    room::copied(t.detach().copied_as(DType::I64)?.to_contiguous()?.slice::<i64>()?)
}

fn lengths(a: &Args, i: usize) -> Result<Vec<usize>> {
    let v = match a.arg(i) {
        Arg::Tensor(t) => integers(t)?,
        _ => room::copied(a.ints(i)?)?,
    };
    room::collected(v.into_iter().map(|n| n.max(0) as usize))
}

/// CTC loss of log-probabilities `[T, N, C]` (or `[T, C]`); targets `[N, S]` padded or all in one row.
pub fn ctc_loss(
    x: &Tensor,
    targets: &Tensor,
    inputs: Vec<usize>,
    labels: Vec<usize>,
    blank: i64,
    r: Reduction,
    zero_infinity: bool,
) -> Result<Tensor> {
    let single = x.ndim() == 2;
    if single {
        let (t, n) = (x.shape()[0], x.shape()[1]);
        let y = ctc_loss(&c::reshape(x, &[t, 1, n])?, targets, inputs, labels, blank, r, zero_infinity)?;
        return if r == Reduction::None { c::reshape(&y, &[]) } else { Ok(y) };
    }
    let &[time, batch, classes] = x.shape() else {
        return Err(runtime_error!(
            "log_probs tensor must not be empty: expected (T, N, C), got shape {:?}",
            x.shape()
        ));
    };
    if blank < 0 || blank as usize >= classes {
        return Err(runtime_error!("blank must be in label range"));
    }
    if inputs.len() != batch || labels.len() != batch {
        return Err(runtime_error!("input_lengths must be of size batch_size"));
    }
    if let Some(&n) = inputs.iter().find(|&&n| n > time) {
        return Err(runtime_error!(
            "Expected input_lengths to have value at most {time}, but got value {n} (while checking arguments for ctc_loss)"
        ));
    }
    let flat = integers(targets)?;
    let offsets: Vec<usize> = if targets.ndim() == 2 {
        let s = targets.shape()[1];
        if targets.shape()[0] != batch || labels.iter().any(|&l| l > s) {
            return Err(runtime_error!(
                "Expected tensor to have size at least {} at dimension 1, but got size {:?} (targets of ctc_loss)",
                labels.iter().max().unwrap_or(&0),
                targets.shape()
            ));
        }
        room::collected((0..batch).map(|b| b * s))?
    } else {
        room::collected(labels.iter().scan(0usize, |at, &l| {
            let o = *at;
            *at = at.saturating_add(l);
            Some(o)
        }))?
    };
    if offsets.iter().zip(&labels).any(|(o, &l)| o.saturating_add(l) > flat.len()) {
        return Err(runtime_error!("ctc_loss: targets hold {} labels, target_lengths ask for more", flat.len()));
    }
    // Padding may hold anything: only labels that are used are looked at.
    let mut targets = room::filled(flat.len(), 0i64)?;
    for (o, l) in offsets.iter().zip(&labels) {
        for i in *o..o + l {
            if flat[i] < 0 || flat[i] as usize >= classes {
                return Err(runtime_error!("ctc_loss: label {} is not one of the {classes} classes", flat[i]));
            }
            targets[i] = flat[i];
        }
    }
    let plan = Arc::new(Plan {
        targets,
        offsets,
        inputs,
        labels: labels.clone(),
        blank: blank as usize,
        sizes: [time, batch, classes],
    });
    let xc = x.to_contiguous()?;
    let mut loss = room::filled(batch, 0.0f64)?;
    with_float!(x.dtype(), T => kernel::ctc_loss::<T>(xc.slice()?, plan.view(), &mut loss), else {
        return Err(not_implemented!("\"ctc_loss_cpu\" not implemented for '{}'", x.dtype().torch_name()));
    });
    if zero_infinity {
        loss.iter_mut().filter(|l| l.is_infinite()).for_each(|l| *l = 0.0);
    }
    let y = Tensor::from_slice(&loss, &[batch])?.copied_as(x.dtype())?;
    let sx = save(x);
    let y = attach("CtcLossBackward0", y, &[x], move |ctx, g| {
        ctx.no_second_derivative()?;
        let x = sx.get(ctx)?.to_contiguous()?;
        let gx = Tensor::empty(x.shape(), x.dtype())?;
        let g = g.copied_as(DType::F64)?.to_contiguous()?;
        with_float!(x.dtype(), T => {
            kernel::ctc_loss_backward::<T>(x.slice()?, plan.view(), g.slice()?, zero_infinity, gx.slice_mut()?);
        }, else {});
        Ok(grads![gx])
    })?;
    match r {
        Reduction::None => Ok(y),
        Reduction::Sum => c::sum(&y),
        Reduction::Mean => {
            let n: Vec<f64> = room::collected(labels.iter().map(|&l| l.max(1) as f64))?;
            c::mean(&c::div(&y, &to_dtype(&Tensor::from_slice(&n, &[batch])?, x.dtype())?)?)
        }
    }
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("ctc_loss(Tensor log_probs, Tensor targets, Tensor|int[] input_lengths, Tensor|int[] target_lengths, int blank=0, str reduction='mean', bool zero_infinity=False)", NN, |a| {
            let r = Reduction::parse(None, None, a.str(5)?)?;
            ctc_loss(a.tensor(0)?, a.tensor(1)?, lengths(a, 2)?, lengths(a, 3)?, a.int(4)?, r, a.bool(6)?).ret()
        })
        .doc("Connectionist temporal classification loss of log-probabilities (T, N, C); its gradient is that through log_softmax.")
        .nondiff(),
    ]
}
