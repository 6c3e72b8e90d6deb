//! Softmax, log-softmax and their relatives along one dimension.

use crate::args::{Args, IntoRet};
use crate::basic::to_dtype;
use crate::compose as c;
use crate::registry::{METHOD, NN, OpDef, PRIVATE, TORCH, op};
use rustnn_core::base::{layout, not_implemented, with_float};
use rustnn_core::{DType, Result, Tensor, attach, grads, needs_grad, save_output};
use rustnn_kernels::softmax as kernel;

pub(crate) use layout::around as split;

/// `softmax(x)` or `log_softmax(x)` along `dim`, computed in `dtype` if one is given.
pub fn softmax(x: &Tensor, dim: i64, dtype: Option<DType>, log: bool) -> Result<Tensor> {
    let x = dtype.map_or_else(|| Ok(x.clone()), |d| to_dtype(x, d))?;
    let dim = layout::wrap_dim(dim, x.ndim())?;
    let y = Tensor::empty(x.shape(), x.dtype())?;
    if x.numel() == 0 && !x.dtype().is_float() {
        return Ok(y); // of any dtype, as in PyTorch
    }
    let (outer, n, inner) = split(x.shape(), dim);
    let xc = x.to_contiguous()?;
    with_float!(x.dtype(), T => kernel::softmax::<T>(xc.slice()?, y.slice_mut()?, outer, n, inner, log), else {
        return Err(not_implemented!(
            "\"{}\" not implemented for '{}'", if log { "log_softmax" } else { "softmax" }, x.dtype().torch_name()
        ).hint("pass dtype=torch.float32, or convert the input with .float()"));
    });
    if !needs_grad(&[&x]) {
        return Ok(y);
    }
    let saved = save_output(&y);
    attach(if log { "LogSoftmaxBackward0" } else { "SoftmaxBackward0" }, y, &[&x], move |ctx, g| {
        Ok(grads![backward(g, &saved.get(ctx)?, dim, log)?])
    })
}

/// Gradient of softmax from its result; differentiable.
fn backward(g: &Tensor, y: &Tensor, dim: usize, log: bool) -> Result<Tensor> {
    let d = dim as i64;
    if needs_grad(&[g, y]) {
        return if log {
            c::sub(g, &c::mul(&c::exp(y)?, &c::sum_dims(g, &[d], true)?)?)
        } else {
            let gy = c::mul(g, y)?;
            c::sub(&gy, &c::mul(y, &c::sum_dims(&gy, &[d], true)?)?)
        };
    }
    let (outer, n, inner) = split(y.shape(), dim);
    let (g, y) = (g.to_contiguous()?, y.to_contiguous()?);
    let gx = Tensor::empty(y.shape(), y.dtype())?;
    with_float!(y.dtype(), T => {
        kernel::softmax_backward::<T>(g.slice()?, y.slice()?, gx.slice_mut()?, outer, n, inner, log);
    }, else {});
    Ok(gx)
}

/// The dimension that `F.softmax` takes when none is named.
fn implicit_dim(a: &Args, i: usize, x: &Tensor) -> i64 {
    a.opt_int(i).unwrap_or(if matches!(x.ndim(), 0 | 1 | 3) { 0 } else { 1 })
}

/// Softmax of `(logits + Gumbel noise) / tau`; with `hard` a one-hot whose gradient is that of the soft one.
pub fn gumbel_softmax(logits: &Tensor, tau: f64, hard: bool, dim: i64) -> Result<Tensor> {
    let noise = Tensor::empty(logits.shape(), logits.dtype())?;
    c::call("exponential_", &[crate::Arg::Tensor(noise.clone())])?;
    let gumbels = c::neg(&c::log(&noise)?)?;
    let y = softmax(&c::div_s(&c::add(logits, &gumbels)?, tau)?, dim, None, false)?;
    if !hard {
        return Ok(y);
    }
    let d = layout::wrap_dim(dim, y.ndim())?;
    let (outer, n, inner) = split(y.shape(), d);
    let yc = y.to_contiguous()?;
    let one = Tensor::zeros(y.shape(), y.dtype())?;
    with_float!(y.dtype(), T => {
        let (src, dst) = (yc.slice::<T>()?, one.slice_mut::<T>()?);
        for o in 0..outer {
            for i in 0..inner {
                let at = |k: usize| (o * n + k) * inner + i;
                let mut best = 0;
                for k in 1..n {
                    if src[at(k)] > src[at(best)] {
                        best = k;
                    }
                }
                if n > 0 {
                    dst[at(best)] = <T as rustnn_core::Element>::from_f64(1.0);
                }
            }
        }
    }, else {});
    c::add(&c::sub(&one, &y.detach())?, &y)
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("softmax(Tensor input, int dim, dtype? dtype=None)", METHOD | TORCH, |a| {
            softmax(a.tensor(0)?, a.int(1)?, a.dtype(2), false).ret()
        })
        .doc("exp(input) divided by its sum along dim, without overflow; computed in dtype if one is given.")
        .samples(&["t(3,4), 1", "t(2,3,5), 1", "t(4), 0", "t(), 0", "t(0,3), 1", "t(2,3,4).transpose(0,2), -1"])
        .oracle("scipy.special.softmax(input, axis=dim) if input.size else input"),
        op("log_softmax(Tensor input, int dim, dtype? dtype=None)", METHOD | TORCH, |a| {
            softmax(a.tensor(0)?, a.int(1)?, a.dtype(2), true).ret()
        })
        .doc("Logarithm of softmax along dim, accurate where softmax underflows.")
        .samples(&["t(3,4), 1", "t(2,3,5), 0", "t(4), -1", "t(), 0", "t(0,3), 1"])
        .oracle("input - scipy.special.logsumexp(input, axis=dim, keepdims=True) if input.size else input"),
        op("softmax(Tensor input, int? dim=None, int _stacklevel=3, dtype? dtype=None)", NN, |a| {
            let x = a.tensor(0)?;
            softmax(x, implicit_dim(a, 1, x), a.dtype(3), false).ret()
        })
        .doc("As torch.softmax; without dim the one that old PyTorch chose.")
        .samples(&["t(3,4), 1", "t(3,4)"])
        .oracle("scipy.special.softmax(input, axis=1)"),
        op("log_softmax(Tensor input, int? dim=None, int _stacklevel=3, dtype? dtype=None)", NN, |a| {
            let x = a.tensor(0)?;
            softmax(x, implicit_dim(a, 1, x), a.dtype(3), true).ret()
        })
        .doc("As torch.log_softmax; without dim the one that old PyTorch chose.")
        .samples(&["t(3,4), 1", "t(3,4)"])
        .oracle("np.log(scipy.special.softmax(input, axis=1))"),
        op("softmin(Tensor input, int? dim=None, int _stacklevel=3, dtype? dtype=None)", NN, |a| {
            let x = a.tensor(0)?;
            softmax(&c::neg(x)?, implicit_dim(a, 1, x), a.dtype(3), false).ret()
        })
        .doc("Softmax of -input.")
        .samples(&["t(3,4), 1"])
        .oracle("scipy.special.softmax(-input, axis=1)"),
        op("gumbel_softmax(Tensor logits, float tau=1, bool hard=False, float eps=1e-10, int dim=-1)", NN, |a| {
            gumbel_softmax(a.tensor(0)?, a.float(1)?, a.bool(2)?, a.int(4)?).ret()
        })
        .doc("A random sample of the Gumbel-softmax distribution; hard=True gives one-hot values with soft gradients.")
        .nondiff(),
        op("_softmax_backward(Tensor grad, Tensor output, int dim, bool log)", PRIVATE, |a| {
            let y = a.tensor(1)?;
            backward(a.tensor(0)?, y, layout::wrap_dim(a.int(2)?, y.ndim())?, a.bool(3)?).ret()
        })
        .doc("Gradient of softmax or log_softmax from its result.")
        .nondiff(),
    ]
}
