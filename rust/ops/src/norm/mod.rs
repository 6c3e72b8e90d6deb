//! Normalisation layers: layer, RMS, group, batch and instance norm (fused, differentiable twice through a composite),
//! local response norm and `normalize`.

mod batch;
mod group;
mod layer;

pub use batch::{batch_norm, instance_norm};
pub use group::group_norm;
pub use layer::{layer_norm, rms_norm};

use crate::args::IntoRet;
use crate::compose as c;
use crate::registry::{NN, OUT, OpDef, op};
use rustnn_core::base::{dtype::Float, runtime_error};
use rustnn_core::{DType, Element, Result, Tensor};
use smallvec::SmallVec;

/// A float tensor's values in the type that sums are kept in.
pub(crate) fn acc_tensor<T: Float>(n: usize) -> Result<Tensor> {
    Tensor::empty(&[n], <T::Acc as Element>::DTYPE)
}

/// A parameter as a contiguous tensor of the input's dtype, its size checked.
pub(crate) fn parameter(p: Option<&Tensor>, n: usize, d: DType, what: &str) -> Result<Option<Tensor>> {
    p.map(|p| {
        if p.numel() != n {
            return Err(runtime_error!("Expected {what} to be a vector of size equal to the number of channels in input, but got {what} of shape {:?} and {n} channels", p.shape()));
        }
        crate::basic::to_dtype(p, d)
    })
    .transpose()
}

/// The inputs that exist, and where weight and bias stand among them.
pub(crate) fn present<'a>(
    x: &'a Tensor,
    w: Option<&'a Tensor>,
    b: Option<&'a Tensor>,
) -> (SmallVec<[&'a Tensor; 3]>, Option<usize>, Option<usize>) {
    let mut v: SmallVec<[&Tensor; 3]> = SmallVec::new();
    v.push(x);
    let mut put = |t: Option<&'a Tensor>| {
        t.map(|t| {
            v.push(t);
            v.len() - 1
        })
    };
    let (iw, ib) = (put(w), put(b));
    (v, iw, ib)
}

/// Gradients of `xhat * w + b` with `xhat = (x - mean) / sqrt(var + eps)` by ordinary ops, for graphs of gradients:
/// that of `x`, and `g * xhat`. `w` broadcasts to `x`; statistics are taken over `dims`, or are the given constants.
pub(crate) fn composite(
    g: &Tensor,
    x: &Tensor,
    w: Option<&Tensor>,
    dims: &[i64],
    eps: f64,
    rms: bool,
    fixed: Option<(&Tensor, &Tensor)>,
) -> Result<(Tensor, Tensor)> {
    let wg = w.map_or_else(|| Ok(g.clone()), |w| c::mul(g, w))?;
    if let Some((mean, rstd)) = fixed {
        let xhat = c::mul(&c::sub(x, mean)?, rstd)?;
        return Ok((c::mul(&wg, rstd)?, c::mul(g, &xhat)?));
    }
    let xc = if rms { x.clone() } else { c::sub(x, &c::mean_dims(x, dims, true)?)? };
    let var = c::mean_dims(&c::square(&xc)?, dims, true)?;
    let rstd = c::pow_s(&c::add_s(&var, eps)?, -0.5)?;
    let xhat = c::mul(&xc, &rstd)?;
    let mut d = c::sub(&wg, &c::mul(&xhat, &c::mean_dims(&c::mul(&wg, &xhat)?, dims, true)?)?)?;
    if !rms {
        d = c::sub(&d, &c::mean_dims(&wg, dims, true)?)?;
    }
    Ok((c::mul(&d, &rstd)?, c::mul(g, &xhat)?))
}

/// `Acc` values as a tensor of the parameter's shape and dtype.
pub(crate) fn narrow_to(acc: &Tensor, shape: &[usize], d: DType) -> Result<Tensor> {
    c::reshape(&acc.copied_as(d)?, shape)
}

/// Local response normalisation over neighbouring channels.
pub fn local_response_norm(x: &Tensor, size: i64, alpha: f64, beta: f64, k: f64) -> Result<Tensor> {
    let nd = x.ndim();
    if nd < 3 {
        return Err(rustnn_core::base::value_error!(
            "Expected 3D or higher dimensionality                          input (got {nd} dimensions)"
        ));
    }
    if x.numel() == 0 {
        return Ok(x.clone());
    }
    if size < 1 {
        return Err(runtime_error!("local_response_norm: size must be positive, got {size}"));
    }
    // Sum of squares over channels c - size/2 .. c + (size-1)/2 as a difference-free sum of shifted copies.
    let (channels, size) = (x.shape()[1] as i64, size);
    let sq = c::square(x)?;
    let mut total: Option<Tensor> = None;
    // Neighbours beyond the last channel are none, however many are asked for.
    for shift in (-(size / 2)).max(1 - channels)..=((size - 1) / 2).min(channels - 1) {
        let (from, len) = (shift.max(0), channels - shift.abs());
        let part = c::narrow(&sq, 1, from as usize, len as usize)?;
        let mut shape = x.shape().to_vec();
        shape[1] = shift.unsigned_abs() as usize;
        let zeros = Tensor::zeros(&shape, x.dtype())?;
        let part = match shift {
            0 => part,
            s if s > 0 => c::cat(&[part, zeros], 1)?,
            _ => c::cat(&[zeros, part], 1)?,
        };
        total = Some(match total {
            None => part,
            Some(t) => c::add(&t, &part)?,
        });
    }
    let total = total.ok_or_else(|| runtime_error!("local_response_norm: no channels"))?;
    let denom = c::pow_s(&c::add_s(&c::mul_s(&total, alpha / size as f64)?, k)?, beta)?;
    c::div(x, &denom)
}

/// `x / max(||x||_p, eps)` along `dim`.
pub fn normalize(x: &Tensor, p: f64, dim: i64, eps: f64) -> Result<Tensor> {
    c::div(x, &c::expand(&c::clamp_min(&c::norm_dim(x, p, dim, true)?, eps)?, x.shape())?)
}

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = layer::ops();
    v.extend(group::ops());
    v.extend(batch::ops());
    v.push(
        op("local_response_norm(Tensor input, int size, float alpha=0.0001, float beta=0.75, float k=1.0)", NN, |a| {
            local_response_norm(a.tensor(0)?, a.int(1)?, a.float(2)?, a.float(3)?, a.float(4)?).ret()
        })
        .doc("input / (k + alpha/size * sum of squares over `size` neighbouring channels) ** beta.")
        .samples(&["t(2,5,3), 3", "t(1,4,2,2), 2, alpha=0.5, beta=0.5, k=2."])
        .oracle("input / (k + alpha / size * sum(np.pad(input**2, [(0,0),(size//2,(size-1)//2)]+[(0,0)]*(input.ndim-2))[:, j:j+input.shape[1]] for j in range(size)))**beta"),
    );
    v.push(
        op("normalize(Tensor input, float p=2.0, int dim=1, float eps=1e-12)", NN | OUT, |a| {
            normalize(a.tensor(0)?, a.float(1)?, a.int(2)?, a.float(3)?).ret()
        })
        .doc("Divides by the p-norm along dim, at least eps.")
        .samples(&["t(3,4)", "t(3,4), p=1, dim=0", "t(4), dim=0"])
        .oracle("input / np.linalg.norm(input, ord=p, axis=dim, keepdims=True)"),
    );
    v
}

/// Runs `$body` with `$T` bound to a float dtype, or says that the op has no integers.
macro_rules! float_only {
    ($name:literal, $d:expr, $T:ident => $body:expr) => {
        with_float!($d, $T => $body, else {
            return Err(rustnn_core::base::not_implemented!(
                "\"{}\" not implemented for '{}'", $name, $d.torch_name()
            ).hint("convert the input with .float()"));
        })
    };
}
pub(crate) use float_only;
