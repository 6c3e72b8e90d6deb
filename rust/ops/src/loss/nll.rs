//! Negative log-likelihood: picks one log-probability per position. Picking and putting back are each other's
//! gradients, so any order of differentiation works.

use super::Reduction;
use super::cross_entropy::{check_target, out_of_bounds};
use crate::args::IntoRet;
use crate::basic::to_dtype;
use crate::compose as c;
use crate::registry::{NN, OpDef, TORCH, op};
use crate::softmax::split;
use rustnn_core::base::{dtype::Float, dtype::Real, runtime_error, with_float};
use rustnn_core::{DType, Element, Result, Tensor, attach, grads};
use rustnn_kernels::loss::{Indexed, bad_target};
use rustnn_kernels::parallel;

/// Target, and the factor (minus its weight, 0 where ignored) of each position.
#[derive(Clone)]
struct Picks {
    target: Tensor,
    factor: Tensor,
    shape: Vec<usize>,
    dim: usize,
}

impl Picks {
    fn positions(&self) -> Vec<usize> {
        let mut s = self.shape.clone();
        s.remove(self.dim);
        s
    }

    /// `x[.., target, ..] * factor` for every position.
    fn pick(&self, x: &Tensor) -> Result<Tensor> {
        let (_, n, inner) = split(&self.shape, self.dim);
        let xc = x.to_contiguous()?;
        let y = Tensor::empty(&self.positions(), x.dtype())?;
        with_float!(x.dtype(), T => {
            let (x, f) = (xc.slice::<T>()?, self.factor.slice::<<T as Float>::Acc>()?);
            let target = self.target.slice::<i64>()?;
            parallel::for_slices(y.slice_mut::<T>()?, 8192, |start, y| {
                for (i, y) in y.iter_mut().enumerate() {
                    let p = start + i;
                    let zero = f[p] == <T as Float>::Acc::ZERO;
                    let at = (p / inner * n + target[p].max(0) as usize) * inner + p % inner;
                    *y = if zero { T::default() } else { T::from_acc(x[at].to_acc() * f[p]) };
                }
            });
        }, else {});
        let me = self.clone();
        attach("NllLossBackward0", y, &[x], move |_, g| Ok(grads![me.put(g)?]))
    }

    /// Zeros of the scores' shape with `g * factor` at the targets.
    fn put(&self, g: &Tensor) -> Result<Tensor> {
        let (_, n, inner) = split(&self.shape, self.dim);
        let gc = g.to_contiguous()?;
        let y = Tensor::zeros(&self.shape, g.dtype())?;
        with_float!(g.dtype(), T => {
            let (g, f) = (gc.slice::<T>()?, self.factor.slice::<<T as Float>::Acc>()?);
            let (target, y) = (self.target.slice::<i64>()?, y.slice_mut::<T>()?);
            for p in 0..g.len() {
                if f[p] != <T as Float>::Acc::ZERO {
                    y[(p / inner * n + target[p].max(0) as usize) * inner + p % inner] = T::from_acc(g[p].to_acc() * f[p]);
                }
            }
        }, else {});
        let me = self.clone();
        attach("NllLossBackwardBackward0", y, &[g], move |_, gg| Ok(grads![me.pick(gg)?]))
    }
}

/// Negative log-likelihood of `x` (log-probabilities `[C]`, `[N, C]` or `[N, C, ...]`) at class indices.
pub fn nll_loss(x: &Tensor, target: &Tensor, weight: Option<&Tensor>, ignore: i64, r: Reduction) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return Err(runtime_error!("\"nll_loss_out_frame\" not implemented for '{}'", x.dtype().torch_name()));
    }
    if x.ndim() == 0 {
        return Err(runtime_error!("input tensor should be 1D or 2D"));
    }
    let dim = usize::from(x.ndim() > 1);
    let classes = x.shape()[dim];
    check_target(x, target, dim)?;
    let target = target.detach().copied_as(DType::I64)?.to_contiguous()?;
    if let Some((at, v)) = bad_target(target.slice()?, classes, ignore) {
        return Err(out_of_bounds(&target, at, v, classes));
    }
    if let Some(w) = weight.filter(|w| w.ndim() != 1 || w.numel() != classes) {
        return Err(runtime_error!(
            "weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of shape: {:?}",
            w.shape()
        ));
    }
    let acc = x.dtype().accumulate();
    let weight = weight.map(|w| to_dtype(&w.detach(), acc).and_then(|w| w.to_contiguous())).transpose()?;
    let factor = Tensor::empty(&[target.numel()], acc)?;
    let total = with_float!(acc, T => {
        type A = <T as Float>::Acc;
        let w = weight.as_ref().map(Tensor::slice::<A>).transpose()?;
        let t = Indexed { target: target.slice()?, weight: w, ignore, smoothing: 0.0 };
        for (f, &t) in factor.slice_mut::<A>()?.iter_mut().zip(t.target) {
            *f = if t == ignore { A::ZERO } else { w.map_or(-A::ONE, |w| -w[t as usize]) };
        }
        t.total_weight().to_f64()
    }, else { 0.0 });
    let losses = Picks { target, factor, shape: x.shape().to_vec(), dim }.pick(x)?;
    match r {
        Reduction::None => Ok(losses),
        Reduction::Sum => c::sum(&losses),
        Reduction::Mean => c::div_s(&c::sum(&losses)?, total),
    }
}

pub(super) fn ops() -> Vec<OpDef> {
    const DOC: &str = "Minus the log-probability of the target class, weighted, of [N, C, ...] log-probabilities.";
    vec![
        op("nll_loss(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, int ignore_index=-100, bool? reduce=None, str reduction='mean')", NN, |a| {
            nll_loss(a.tensor(0)?, a.tensor(1)?, a.opt_tensor(2), a.int(4)?, Reduction::of(a, 3, 5, 6)?).ret()
        })
        .doc(DOC)
        .samples(&["t(5,3), i(5, lo=0, hi=3)", "t(5,3), i(5, lo=0, hi=3), pos(3).detach()", "t(2,3,4), i(2,4, lo=0, hi=3), reduction='none'", "t(2,3,4), i(2,4, lo=0, hi=3), ignore_index=1, reduction='sum'"])
        .oracle("(lambda idx, keep: (lambda w: (lambda l: l if reduction == 'none' else l.sum() if reduction == 'sum' else l.sum() / w.sum())(-np.take_along_axis(input, np.expand_dims(idx, 1), 1).squeeze(1) * w))((np.ones(input.shape[1]) if weight is None else weight)[idx] * keep))(np.where(target == ignore_index, 0, target), target != ignore_index)"),
        op("nll_loss(Tensor input, Tensor target, Tensor? weight=None, int reduction=1, int ignore_index=-100)", TORCH, |a| {
            let r = [Reduction::None, Reduction::Mean, Reduction::Sum][a.int(3)?.clamp(0, 2) as usize];
            nll_loss(a.tensor(0)?, a.tensor(1)?, a.opt_tensor(2), a.int(4)?, r).ret()
        })
        .doc(DOC)
        .samples(&["t(5,3), i(5, lo=0, hi=3)"])
        .oracle("-input[np.arange(5), target].mean()"),
    ]
}
