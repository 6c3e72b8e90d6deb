//! Spread, norms and log-sums.

use super::{behind, dims_arg, finish, mask_of, mean, restore, run, sum};
use crate::pointwise::{abs, compare, div, exp, mul, mul_mask, pow, rounding, sub, times, where_, zeros_like};
use crate::registry::{METHOD, OUT, TORCH, op};
use crate::{Args, DType, IntoRet, OpDef, Result, Ret, Tensor, attach, grads, needs_grad, save, save_output};
use rustnn_core::base::{layout, not_implemented};
use rustnn_kernels::reduce::Reduce;

/// The variance over `dims`, the sum of squares divided by n − correction.
pub fn var(x: &Tensor, dims: Option<&[i64]>, correction: f64, keepdim: bool) -> Result<Tensor> {
    spread(false, x, dims, correction, keepdim)
}

/// The square root of [`var`].
pub fn std(x: &Tensor, dims: Option<&[i64]>, correction: f64, keepdim: bool) -> Result<Tensor> {
    spread(true, x, dims, correction, keepdim)
}

fn spread(root: bool, x: &Tensor, dims: Option<&[i64]>, correction: f64, keepdim: bool) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return Err(not_implemented!("std and var only support floating point and complex dtypes"));
    }
    let mask = mask_of(dims, x.ndim())?;
    let results: usize = layout::count(&super::kept_shape(x.shape(), &mask));
    if x.numel() as f64 <= correction * results as f64 {
        rustnn_core::mode::warn(&format!(
            "{}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor (input numel divided by output numel).",
            if root { "std" } else { "var" }
        ))?;
    }
    let kernel = if root { Reduce::Std(correction) } else { Reduce::Var(correction) };
    let out = finish(run(kernel, x, &mask, x.dtype())?, &mask, keepdim);
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let n = behind(x, &mask) as f64;
    let s = save(x);
    let y = root.then(|| save_output(&out));
    attach(if root { "StdBackward0" } else { "VarBackward0" }, out, &[x], move |c, g| {
        let x = s.get(c)?;
        let g = match &y {
            // d std = d var / (2 std), and nothing where std is 0.
            Some(y) => {
                let y = y.get(c)?;
                let q = div(g, &times(&y, 2.0)?)?;
                where_(&compare::eq(&y, 0.0)?, 0.0, &q)?
            }
            None => g.clone(),
        };
        let g = times(&restore(&g, &mask, keepdim)?, 2.0 / (n - correction).max(0.0))?;
        Ok(grads![mul(&g, &sub(&x, &centre(&x, &mask)?)?)?])
    })
}

/// The mean over the dimensions of `mask`, which stay.
fn centre(x: &Tensor, mask: &[bool]) -> Result<Tensor> {
    let dims: Vec<i64> = mask.iter().enumerate().filter(|&(_, &m)| m).map(|(d, _)| d as i64).collect();
    mean(x, Some(&dims), true, None)
}

/// log Σ e^x over `dims`, without overflow.
pub fn logsumexp(x: &Tensor, dims: Option<&[i64]>, keepdim: bool) -> Result<Tensor> {
    let x = &crate::basic::to_dtype(x, crate::inplace::float_dtype(x.dtype()))?;
    let mask = mask_of(dims, x.ndim())?;
    let out = finish(run(Reduce::LogSumExp, x, &mask, x.dtype())?, &mask, keepdim);
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let (s, y) = (save(x), save_output(&out));
    attach("LogsumexpBackward0", out, &[x], move |c, g| {
        let y = restore(&y.get(c)?, &mask, keepdim)?;
        Ok(grads![mul(&restore(g, &mask, keepdim)?, &exp(&sub(&s.get(c)?, &y)?)?)?])
    })
}

/// The p-norm of the elements over `dims`: 0 counts, ±inf give extremes of magnitude.
pub fn vector_norm(x: &Tensor, p: f64, dims: Option<&[i64]>, keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    let x = &crate::basic::to_dtype(x, dtype.unwrap_or(x.dtype()))?;
    if !x.dtype().is_float() {
        return Err(not_implemented!(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got {}",
            x.dtype().torch_name()
        ));
    }
    let mask = mask_of(dims, x.ndim())?;
    let out = finish(run(Reduce::Norm(p), x, &mask, x.dtype())?, &mask, keepdim);
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let (s, y) = (save(x), save_output(&out));
    attach("LinalgVectorNormBackward0", out, &[x], move |c, g| {
        let x = s.get(c)?;
        let y = restore(&y.get(c)?, &mask, keepdim)?;
        let g = restore(g, &mask, keepdim)?;
        Ok(grads![norm_grad(&x, &y, &g, p, &mask)?])
    })
}

fn norm_grad(x: &Tensor, y: &Tensor, g: &Tensor, p: f64, mask: &[bool]) -> Result<Tensor> {
    if p == 0.0 {
        return zeros_like(x);
    }
    if p == 1.0 {
        return mul(g, &rounding::sign(x)?);
    }
    // Nothing flows where the norm is 0.
    let none = compare::eq(y, 0.0)?;
    if p == 2.0 {
        let q = div(g, y)?;
        return mul(x, &where_(&none, 0.0, &q)?);
    }
    if p.is_infinite() {
        let hit = compare::eq(&abs(x)?, y)?;
        let dims: Vec<i64> = mask.iter().enumerate().filter(|&(_, &m)| m).map(|(d, _)| d as i64).collect();
        let count = sum(&hit, Some(&dims), true, Some(x.dtype()))?;
        let each = mul(&rounding::sign(x)?, &div(g, &count)?)?;
        return mul_mask(&each, &hit);
    }
    // x·|x|^(p−2)·(g / y^(p−1))
    let q = div(g, &pow(y, p - 1.0)?)?;
    let q = where_(&none, 0.0, &q)?;
    let w =
        if p < 2.0 { mul(&rounding::sign(x)?, &pow(&abs(x)?, p - 1.0)?)? } else { mul(x, &pow(&abs(x)?, p - 2.0)?)? };
    let w = where_(&compare::eq(x, 0.0)?, 0.0, &w)?;
    mul(&w, &q)
}

fn moments(root: bool, a: &Args) -> Result<(Tensor, Tensor)> {
    let (x, dims, correction, keepdim) = spread_args(a)?;
    Ok((spread(root, x, dims, correction, keepdim)?, mean(x, dims, keepdim, None)?))
}

/// (input, dim=None, *, correction=1, keepdim=False)
fn spread_args(a: &Args) -> Result<(&Tensor, Option<&[i64]>, f64, bool)> {
    Ok((a.tensor(0)?, dims_arg(a, 1), a.opt_float(2).unwrap_or(1.0), a.bool(3)?))
}

/// The old signatures: (input, dim, unbiased=True, keepdim=False) and (input, unbiased).
fn old_args(a: &Args) -> Result<(&Tensor, Option<&[i64]>, f64, bool)> {
    Ok((a.tensor(0)?, dims_arg(a, 1), f64::from(u8::from(a.bool(2)?)), a.bool(3)?))
}

fn pair((v, m): (Tensor, Tensor)) -> Result<Ret> {
    (v, m).ret()
}

const SAMPLES: &[&str] =
    &["t(3,4)", "t(3,4), 0", "t(2,3,4), (0, 2), correction=0", "t(2,3,4), -1, keepdim=True", "t(70,40), 0"];

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = Vec::new();
    macro_rules! spreads {
        ($($name:literal $both:literal $root:literal $np:literal;)*) => {$(
            v.push(op(concat!($name, "(Tensor input, bool unbiased)"), METHOD | TORCH, |a| {
                spread($root, a.tensor(0)?, None, f64::from(u8::from(a.bool(1)?)), false).ret()
            }).doc("Over all elements; unbiased divides by n − 1.").samples(&["t(3,4), False"]).oracle(concat!("np.", $np, "(input, ddof=int(unbiased))")));
            v.push(op(concat!($name, "(Tensor input, int[]? dim, bool unbiased, bool keepdim=False)"), METHOD | TORCH | OUT, |a| {
                let (x, d, c, k) = old_args(a)?;
                spread($root, x, d, c, k).ret()
            }).doc("Over dim; unbiased divides by n − 1.").samples(&["t(3,4), 1, False", "t(3,4), 1, True, True"])
                .oracle(concat!("np.", $np, "(input, axis=tuple(dim) if np.ndim(dim) else dim, ddof=int(unbiased), keepdims=keepdim)")));
            v.push(op(concat!($name, "(Tensor input, int[]? dim=None, *, Scalar? correction=1, bool keepdim=False)"), METHOD | TORCH | OUT, |a| {
                let (x, d, c, k) = spread_args(a)?;
                spread($root, x, d, c, k).ret()
            }).doc("Over dim (all if none), divided by n − correction.").samples(SAMPLES)
                .oracle(concat!("np.", $np, "(input, axis=None if dim is None else (tuple(dim) if np.ndim(dim) else dim), ddof=1 if correction is None else correction, keepdims=keepdim)")));
            v.push(op(concat!($name, "(Tensor input, int[]? dim=None, *, bool unbiased, bool keepdim=False)"), METHOD | TORCH | OUT, |a| {
                let (x, d, c, k) = old_args(a)?;
                spread($root, x, d, c, k).ret()
            }).doc("Over dim; unbiased divides by n − 1.").samples(&["t(3,4), 1, unbiased=False"])
                .oracle(concat!("np.", $np, "(input, axis=None if dim is None else (tuple(dim) if np.ndim(dim) else dim), ddof=int(unbiased), keepdims=keepdim)")));
            v.push(op(concat!($both, "(Tensor input, bool unbiased)"), TORCH, |a| {
                let x = a.tensor(0)?;
                pair((spread($root, x, None, f64::from(u8::from(a.bool(1)?)), false)?, mean(x, None, false, None)?))
            }).doc("The spread and the mean of all elements.").samples(&["t(3,4), False"]).oracle(concat!("(np.", $np, "(input, ddof=int(unbiased)), np.mean(input))")));
            v.push(op(concat!($both, "(Tensor input, int[]? dim, bool unbiased, bool keepdim=False)"), TORCH, |a| {
                let (x, d, c, k) = old_args(a)?;
                pair((spread($root, x, d, c, k)?, mean(x, d, k, None)?))
            }).doc("The spread and the mean over dim.").samples(&["t(3,4), 1, False"])
                .oracle(concat!("(np.", $np, "(input, axis=tuple(dim) if np.ndim(dim) else dim, ddof=int(unbiased), keepdims=keepdim), np.mean(input, axis=tuple(dim) if np.ndim(dim) else dim, keepdims=keepdim))")));
            v.push(op(concat!($both, "(Tensor input, int[]? dim=None, *, Scalar? correction=1, bool keepdim=False)"), TORCH, |a| pair(moments($root, a)?))
                .doc("The spread (divided by n − correction) and the mean over dim.").samples(&["t(3,4)", "t(3,4), 0", "t(2,3,4), (0, 2), correction=0, keepdim=True"])
                .oracle(concat!("(np.", $np, "(input, axis=None if dim is None else (tuple(dim) if np.ndim(dim) else dim), ddof=correction, keepdims=keepdim), np.mean(input, axis=None if dim is None else (tuple(dim) if np.ndim(dim) else dim), keepdims=keepdim))")));
        )*};
    }
    spreads! {
        "var" "var_mean" false "var";
        "std" "std_mean" true "std";
    }
    v.extend([op("logsumexp(Tensor input, int[] dim, bool keepdim=False)", METHOD | TORCH | OUT, |a| {
        logsumexp(a.tensor(0)?, dims_arg(a, 1), a.bool(2)?).ret()
    })
    .doc("log Σ e^x over dim, without overflow.")
    .samples(&["t(3,4), 0", "t(2,3,4), (0, 2)", "t(3,4), -1, keepdim=True"])
    .oracle("special.logsumexp(input, axis=tuple(dim) if np.ndim(dim) else dim, keepdims=keepdim)")]);
    v
}
