//! Cross-entropy of scores: log-softmax and the loss in one kernel, for class indices and class probabilities.

use super::{Reduction, size_text};
use crate::args::IntoRet;
use crate::basic::to_dtype;
use crate::compose as c;
use crate::registry::{NN, OpDef, TORCH, op};
use crate::softmax::split;
use rustnn_core::base::{
    dtype::Float, dtype::Real, index_error, not_implemented, runtime_error, value_error, with_float,
};
use rustnn_core::{DType, Element, Grads, Result, Tensor, attach, grads, needs_grad, save};
use rustnn_kernels::loss::{self as kernel, Indexed, Scores};
use rustnn_kernels::room;
use rustnn_kernels::rowmath::sum1;

type A<T> = <T as Float>::Acc;

/// Settings other than input and target.
#[derive(Clone)]
struct Setup {
    weight: Option<Tensor>,
    ignore: i64,
    smoothing: f64,
    reduction: Reduction,
    dim: usize,
}

fn scores(x: &Tensor, dim: usize) -> Scores {
    let (outer, classes, inner) = split(x.shape(), dim);
    Scores { outer, classes, inner }
}

/// Cross-entropy of `x` (`[C]`, `[N, C]` or `[N, C, ...]`) and class indices or class probabilities.
pub fn cross_entropy(
    x: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    ignore: i64,
    reduction: Reduction,
    smoothing: f64,
) -> Result<Tensor> {
    if !(0.0..=1.0).contains(&smoothing) {
        return Err(runtime_error!("label_smoothing must be between 0.0 and 1.0. Got: {smoothing}"));
    }
    if !x.dtype().is_float() {
        return Err(not_implemented!("\"log_softmax\" not implemented for '{}'", x.dtype().torch_name())
            .hint("the scores must be floats: .float()"));
    }
    if x.ndim() == 0 {
        return Err(value_error!("cross_entropy: expected scores with at least one dimension, got a number"));
    }
    let dim = usize::from(x.ndim() > 1);
    let classes = x.shape()[dim];
    if let Some(w) = weight.filter(|w| w.ndim() != 1 || w.numel() != classes) {
        return Err(runtime_error!(
            "cross_entropy: weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of shape: {:?}",
            w.shape()
        ));
    }
    let weight =
        weight.map(|w| to_dtype(w, x.dtype().accumulate()).and_then(|w| w.detach().to_contiguous())).transpose()?;
    let s = Setup { weight, ignore, smoothing, reduction, dim };
    if target.shape() == x.shape() && target.dtype().is_float() {
        return probabilities(x, target, s);
    }
    check_target(x, target, dim)?;
    let target = target.detach().copied_as(DType::I64)?.to_contiguous()?;
    if let Some((at, v)) = kernel::bad_target(target.slice()?, classes, ignore) {
        return Err(out_of_bounds(&target, at, v, classes));
    }
    indices(x, &target, s)
}

/// The error for a class that does not exist, saying where it stands.
pub(super) fn out_of_bounds(target: &Tensor, at: usize, v: i64, classes: usize) -> rustnn_core::Error {
    let mut place = Vec::new();
    let mut rest = at;
    for &d in target.shape().iter().rev() {
        place.push((rest % d.max(1)).to_string());
        rest /= d.max(1);
    }
    place.reverse();
    index_error!("Target {v} is out of bounds.").hint(format!(
        "it stands at target[{}]; the scores have {classes} classes (0 to {})",
        place.join(", "),
        classes as i64 - 1
    ))
}

/// Checks that class indices fit the scores.
pub(super) fn check_target(x: &Tensor, target: &Tensor, dim: usize) -> Result<()> {
    let mut want = x.shape().to_vec();
    let classes = want.remove(dim);
    if target.dtype() != DType::I64 && target.dtype() != DType::U8 {
        let e = if target.dtype().is_float() {
            runtime_error!("expected target dtype to be Long or Byte, but got {}", target.dtype().torch_name()).hint(
                format!(
                    "class indices are integers: target.long(); or give class probabilities of the scores' shape {:?}",
                    x.shape()
                ),
            )
        } else {
            runtime_error!("expected scalar type Long but found {}", target.dtype().torch_name())
                .hint("convert the target with .long()")
        };
        return Err(e);
    }
    if target.shape() != want {
        let e = match (target.shape().first(), want.first()) {
            (Some(&t), Some(&n)) if t != n => {
                value_error!("Expected input batch_size ({n}) to match target batch_size ({t}).")
            }
            _ => runtime_error!("Expected target size {want:?}, got {:?}", target.shape()),
        };
        return Err(e.hint(format!(
            "scores of shape {} with {classes} classes take one class index per position: a target of shape {want:?}",
            size_text(x.shape())
        )));
    }
    Ok(())
}

fn setup<'a, T: Float>(s: &'a Setup, target: &'a Tensor) -> Result<Indexed<'a, A<T>>> {
    Ok(Indexed {
        target: target.slice()?,
        weight: s.weight.as_ref().map(Tensor::slice).transpose()?,
        ignore: s.ignore,
        smoothing: s.smoothing,
    })
}

/// Reduces losses per position to the result; `total` is what a mean divides by.
fn reduced<T: Float>(loss: Vec<A<T>>, total: A<T>, r: Reduction, shape: &[usize]) -> Result<Tensor> {
    let v = match r {
        Reduction::None => {
            let y = Tensor::empty(shape, T::DTYPE)?;
            for (y, l) in y.slice_mut::<T>()?.iter_mut().zip(&loss) {
                *y = T::from_acc(*l);
            }
            return Ok(y);
        }
        Reduction::Sum => sum1(&loss, |v| v),
        Reduction::Mean => sum1(&loss, |v| v) / total,
    };
    Tensor::from_slice(&[T::from_acc(v)], &[])
}

/// The gradient of each position's loss from that of the result.
fn spread<T: Float>(g: &Tensor, total: A<T>, r: Reduction) -> Result<Vec<A<T>>> {
    let g = g.to_contiguous()?;
    let div = if r == Reduction::Mean { total } else { A::<T>::ONE };
    room::collected(g.slice::<T>()?.iter().map(|v| v.to_acc() / div))
}

fn position_shape(x: &Tensor, dim: usize) -> Vec<usize> {
    let mut s = x.shape().to_vec();
    s.remove(dim);
    s
}

fn indices(x: &Tensor, target: &Tensor, s: Setup) -> Result<Tensor> {
    let d = scores(x, s.dim);
    let xc = x.to_contiguous()?;
    let shape = position_shape(x, s.dim);
    let lse = Tensor::empty(&[d.positions()], x.dtype().accumulate())?;
    let y = with_float!(x.dtype(), T => {
        let t = setup::<T>(&s, target)?;
        let mut loss = room::filled(d.positions(), A::<T>::ZERO)?;
        kernel::cross_entropy::<T>(xc.slice()?, d, t, &mut loss, lse.slice_mut()?);
        reduced::<T>(loss, t.total_weight(), s.reduction, &shape)?
    }, else { return Err(runtime_error!("cross_entropy: floats only")) });
    if !needs_grad(&[x]) {
        return Ok(y);
    }
    let (sx, st) = (save(x), save(target));
    attach("CrossEntropyLossBackward0", y, &[x], move |ctx, g| {
        let (x, target) = (sx.get(ctx)?, st.get(ctx)?);
        if needs_grad(&[g, &x]) {
            return Ok(grads![indices_composite(g, &x, &target, &s)?]);
        }
        let xc = x.to_contiguous()?;
        let gx = Tensor::empty(x.shape(), x.dtype())?;
        with_float!(x.dtype(), T => {
            let t = setup::<T>(&s, &target)?;
            let g = spread::<T>(g, t.total_weight(), s.reduction)?;
            kernel::cross_entropy_backward::<T>(xc.slice()?, d, t, lse.slice()?, &g, gx.slice_mut()?);
        }, else {});
        Ok(grads![gx])
    })
}

/// The same gradient by ordinary ops: `(softmax(x) * a + n) * g` with constants a per position and n per score.
fn indices_composite(g: &Tensor, x: &Tensor, target: &Tensor, s: &Setup) -> Result<Tensor> {
    let d = scores(x, s.dim);
    let zero = Tensor::zeros(x.shape(), x.dtype())?;
    let n = Tensor::empty(x.shape(), x.dtype())?;
    let mut wide = x.shape().to_vec();
    wide[s.dim] = 1;
    let a = Tensor::empty(&wide, x.dtype())?;
    with_float!(x.dtype(), T => {
        let t = setup::<T>(s, target)?;
        let div = if s.reduction == Reduction::Mean { t.total_weight() } else { A::<T>::ONE };
        let one = [A::<T>::ONE / div];
        // With an infinite log-sum-exp the probabilities vanish and the constants remain.
        let lse = room::filled(d.positions(), A::<T>::INFINITY)?;
        kernel::cross_entropy_backward::<T>(zero.slice()?, d, t, &lse, &one, n.slice_mut()?);
        // The probabilities' factor is minus the sum of the constants over the classes.
        let (src, dst) = (n.slice::<T>()?, a.slice_mut::<T>()?);
        for (p, v) in dst.iter_mut().enumerate() {
            let base = p / d.inner * d.classes * d.inner + p % d.inner;
            let sum = (0..d.classes).fold(A::<T>::ZERO, |sum, c| sum + src[base + c * d.inner].to_acc());
            *v = T::from_acc(-sum);
        }
    }, else {});
    let p = crate::softmax::softmax(x, s.dim as i64, None, false)?;
    let per = c::add(&c::mul(&p, &a)?, &n)?;
    c::mul(&per, &if s.reduction == Reduction::None { c::unsqueeze(g, s.dim as i64)? } else { g.clone() })
}

fn probabilities(x: &Tensor, q: &Tensor, s: Setup) -> Result<Tensor> {
    if s.ignore >= 0 {
        return Err(runtime_error!("ignore_index is not supported for floating point target"));
    }
    let q = to_dtype(q, x.dtype())?;
    let d = scores(x, s.dim);
    let (xc, qc) = (x.to_contiguous()?, q.to_contiguous()?);
    let shape = position_shape(x, s.dim);
    let lse = Tensor::empty(&[d.positions()], x.dtype().accumulate())?;
    let y = with_float!(x.dtype(), T => {
        let mut loss = room::filled(d.positions(), A::<T>::ZERO)?;
        let w = s.weight.as_ref().map(Tensor::slice).transpose()?;
        kernel::cross_entropy_probs::<T>(xc.slice()?, qc.slice()?, d, w, s.smoothing, &mut loss, lse.slice_mut()?);
        reduced::<T>(loss, A::<T>::from_f64(d.positions() as f64), s.reduction, &shape)?
    }, else { return Err(runtime_error!("cross_entropy: floats only")) });
    if !needs_grad(&[x, &q]) {
        return Ok(y);
    }
    let (sx, sq) = (save(x), save(&q));
    attach("CrossEntropyLossBackward1", y, &[x, &q], move |ctx, g| {
        let (x, q) = (sx.get(ctx)?, sq.get(ctx)?);
        if needs_grad(&[g, &x, &q]) {
            return probabilities_composite(g, &x, &q, &s);
        }
        let (xc, qc) = (x.to_contiguous()?, q.to_contiguous()?);
        let gx = Tensor::empty(x.shape(), x.dtype())?;
        let gq = if ctx.wants(1) { Some(Tensor::empty(x.shape(), x.dtype())?) } else { None };
        with_float!(x.dtype(), T => {
            let w = s.weight.as_ref().map(Tensor::slice).transpose()?;
            let g = spread::<T>(g, A::<T>::from_f64(d.positions() as f64), s.reduction)?;
            let gq = gq.as_ref().map(Tensor::slice_mut).transpose()?;
            kernel::cross_entropy_probs_backward::<T>(
                xc.slice()?, qc.slice()?, d, w, s.smoothing, lse.slice()?, &g, gx.slice_mut()?, gq,
            );
        }, else {});
        let mut out = Grads::new();
        out.push(Some(gx));
        out.push(gq);
        Ok(out)
    })
}

fn probabilities_composite(g: &Tensor, x: &Tensor, q: &Tensor, s: &Setup) -> Result<Grads> {
    let dim = s.dim as i64;
    let n = x.shape()[s.dim] as f64;
    let mut wide = vec![1; x.ndim()];
    wide[s.dim] = x.shape()[s.dim];
    let w = s.weight.as_ref().map(|w| c::reshape(&w.copied_as(x.dtype())?, &wide)).transpose()?;
    let weigh = |t: &Tensor| w.as_ref().map_or_else(|| Ok(t.clone()), |w| c::mul(t, w));
    let wq = weigh(&c::add_s(&c::mul_s(q, 1.0 - s.smoothing)?, s.smoothing / n)?)?;
    let logp = crate::softmax::softmax(x, dim, None, true)?;
    let g = match s.reduction {
        Reduction::None => c::unsqueeze(g, dim)?,
        Reduction::Sum => g.clone(),
        Reduction::Mean => c::div_s(g, scores(x, s.dim).positions() as f64)?,
    };
    let gx = c::sub(&c::mul(&c::exp(&logp)?, &c::sum_dims(&wq, &[dim], true)?)?, &wq)?;
    let gq = c::mul_s(&weigh(&logp)?, -(1.0 - s.smoothing))?;
    Ok(grads![c::mul(&gx, &g)?, c::mul(&gq, &g)?])
}

pub(super) fn ops() -> Vec<OpDef> {
    const ORACLE: &str = "(lambda lp, w, ax: (lambda sel, sw, tot: (lambda l: l if reduction == 'none' else l.sum() if reduction == 'sum' else l.sum() / tot)((1 - label_smoothing) * sel + label_smoothing * sw))(*(lambda keep, idx, wt: (np.where(keep, -np.take_along_axis(lp, np.expand_dims(idx, ax), ax).squeeze(ax) * wt, 0), np.where(keep, -(lp * w).mean(ax), 0), (wt * keep).sum()))(target != ignore_index, np.where(target == ignore_index, 0, target), np.ones(input.shape[ax])[np.where(target == ignore_index, 0, target)] * (1 if weight is None else weight[np.where(target == ignore_index, 0, target)]))))(input - scipy.special.logsumexp(input, axis=1 if input.ndim > 1 else 0, keepdims=True), 1 if weight is None else weight.reshape((-1,) if input.ndim == 1 else (1, -1) + (1,) * (input.ndim - 2)), 1 if input.ndim > 1 else 0)";
    vec![
        op("cross_entropy(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, int ignore_index=-100, bool? reduce=None, str reduction='mean', float label_smoothing=0.0)", NN, |a| {
            let r = Reduction::of(a, 3, 5, 6)?;
            cross_entropy(a.tensor(0)?, a.tensor(1)?, a.opt_tensor(2), a.int(4)?, r, a.float(7)?).ret()
        })
        .doc("Cross-entropy between scores and class indices, or class probabilities of the scores' shape.")
        .samples(&[
            "t(5,3), i(5, lo=0, hi=3)",
            "t(5,3), i(5, lo=0, hi=3), reduction='none'",
            "t(5,3), i(5, lo=0, hi=3), reduction='sum', label_smoothing=0.2",
            "t(2,4,3), i(2,3, lo=0, hi=4), ignore_index=1",
            "t(4), i(lo=0, hi=4)",
        ])
        .oracle(ORACLE),
        op("cross_entropy_loss(Tensor input, Tensor target, Tensor? weight=None, int reduction=1, int ignore_index=-100, float label_smoothing=0.0)", TORCH, |a| {
            let r = match a.int(3)? {
                0 => Reduction::None,
                1 => Reduction::Mean,
                _ => Reduction::Sum,
            };
            cross_entropy(a.tensor(0)?, a.tensor(1)?, a.opt_tensor(2), a.int(4)?, r, a.float(5)?).ret()
        })
        .doc("As F.cross_entropy, with the reduction as a number (0 none, 1 mean, 2 sum).")
        .samples(&["t(5,3), i(5, lo=0, hi=3)"])
        .oracle("-(input - scipy.special.logsumexp(input, axis=1, keepdims=True))[np.arange(5), target].mean()"),
    ]
}
