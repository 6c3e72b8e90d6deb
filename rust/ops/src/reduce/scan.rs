//! Running sums, products, extremes and log-sums; differences.

use crate::basic::to_dtype;
use crate::pointwise::{compare, div, exp, log, mul, neg, sub, where_};
use crate::registry::{INPLACE, METHOD, NO_FUNCTION_INPLACE, OUT, TORCH, op};
use crate::{DType, IntoRet, OpDef, Result, Ret, Tensor, attach, attach_many, grads, needs_grad, save, save_output};
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::runtime_error;
use rustnn_kernels::parallel::Watch;
use rustnn_kernels::reduce::{Best, sum_dtype};
use rustnn_kernels::scan::{self, Scan};

/// One pass of a scan kernel, without a graph.
fn run(op: Scan, x: &Tensor, dim: usize, dtype: DType) -> Result<Tensor> {
    let out = Tensor::empty(x.shape(), dtype)?;
    scan::scan(op, &out.raw(), &x.raw(), dim)?;
    Ok(out)
}

/// The scan from the other end.
fn reversed(x: &Tensor, dim: i64, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let dim = [dim];
    crate::shape::repeat::flip(&f(&crate::shape::repeat::flip(x, &dim)?)?, &dim)
}

/// The running sum along `dim`; integers in int64.
pub fn cumsum(x: &Tensor, dim: i64, dtype: Option<DType>) -> Result<Tensor> {
    let x = &to_dtype(x, dtype.unwrap_or(x.dtype()))?;
    let d = wrap_dim(dim, x.ndim())?;
    let out = run(Scan::Sum, x, d, dtype.unwrap_or(sum_dtype(x.dtype())))?;
    let point = x.ndim() == 0;
    attach("CumsumBackward0", out, &[x], move |_, g| {
        Ok(grads![if point { g.clone() } else { reversed(g, d as i64, |r| cumsum(r, d as i64, None))? }])
    })
}

/// The running product along `dim`; integers in int64.
pub fn cumprod(x: &Tensor, dim: i64, dtype: Option<DType>) -> Result<Tensor> {
    let x = &to_dtype(x, dtype.unwrap_or(x.dtype()))?;
    let d = wrap_dim(dim, x.ndim())?;
    let out = run(Scan::Prod, x, d, dtype.unwrap_or(sum_dtype(x.dtype())))?;
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let s = save(x);
    attach("CumprodBackward0", out, &[x], move |c, g| {
        let x = s.get(c)?;
        if x.ndim() == 0 {
            return Ok(grads![g.clone()]);
        }
        Ok(grads![cumprod_grad(&x, g, d as i64)?])
    })
}

/// Without zeros: Σ_{j ≥ i} g_j·y_j / x_i. Zeros are taken out and their terms computed apart: up to the first zero
/// of a line the formula holds, and at the first zero the others' products are used.
fn cumprod_grad(x: &Tensor, g: &Tensor, d: i64) -> Result<Tensor> {
    let zero = compare::eq(x, 0i64)?;
    let tail = |w: &Tensor| reversed(w, d, |r| cumsum(r, d, None));
    if !compare::all_true(&compare::logical_not(&zero)?)? {
        // Zeros met so far, this element included.
        let met = cumsum(&zero, d, None)?;
        let before = compare::eq(&met, 0i64)?;
        let first = compare::logical_and(&zero, &compare::eq(&met, 1i64)?)?;
        // With the first zero replaced by 1, products run on to the second zero.
        let filled = where_(&first, 1.0, x)?;
        let y = cumprod(x, d, None)?;
        let others = cumprod(&filled, d, None)?;
        let safe = where_(&before, x, 1.0)?;
        let left = div(&tail(&mul(g, &y)?)?, &safe)?;
        let at_zero = tail(&where_(&compare::eq(&met, 1i64)?, &mul(g, &others)?, 0.0)?)?;
        let right = where_(&first, &at_zero, 0.0)?;
        return where_(&before, &left, &right);
    }
    div(&tail(&mul(g, &cumprod(x, d, None)?)?)?, x)
}

/// log Σ e^x, running along `dim`.
pub fn logcumsumexp(x: &Tensor, dim: i64) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return Err(crate::pointwise::unsupported("logcumsumexp_out", x.dtype()));
    }
    let d = wrap_dim(dim, x.ndim())?;
    let out = run(Scan::LogSumExp, x, d, x.dtype())?;
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let (s, y) = (save(x), save_output(&out));
    attach("LogcumsumexpBackward0", out, &[x], move |c, g| {
        if s.get(c)?.ndim() == 0 {
            return Ok(grads![g.clone()]);
        }
        // g_j·e^(x_i − y_j) summed over j ≥ i, by positive and negative parts in logarithms.
        let (x, y) = (s.get(c)?, y.get(c)?);
        let part = |h: &Tensor| -> Result<Tensor> {
            let positive = compare::gt(h, 0.0)?;
            let l = log(&where_(&positive, h, 1.0)?)?;
            let l = where_(&positive, &sub(&l, &y)?, f64::NEG_INFINITY)?;
            let t = crate::pointwise::add(&reversed(&l, d as i64, |r| logcumsumexp(r, d as i64))?, &x)?;
            exp(&t)
        };
        Ok(grads![sub(&part(g)?, &part(&neg(g)?)?)?])
    })
}

/// Running extremes along `dim` and where they stand; of equals the last.
pub fn running(best: Best, x: &Tensor, dim: i64) -> Result<(Tensor, Tensor)> {
    let d = wrap_dim(dim, x.ndim())?;
    let (values, index) = (Tensor::empty(x.shape(), x.dtype())?, Tensor::empty(x.shape(), DType::I64)?);
    scan::scan_extreme(best, &values.raw(), &index.raw(), &x.raw(), d)?;
    if !needs_grad(&[x]) {
        return Ok((values, index));
    }
    let (s, shape) = (save(&index), x.shape().to_vec());
    let node = if best == Best::Max { "CummaxBackward0" } else { "CumminBackward0" };
    let mut outs = attach_many(node, vec![values, index], &[x], move |c, gs| {
        let Some(Some(g)) = gs.first() else { return Ok(crate::Grads::new()) };
        if shape.is_empty() {
            return Ok(grads![g.clone()]);
        }
        Ok(grads![crate::index::gather::scatter(
            &Tensor::zeros(&shape, g.dtype())?,
            d as i64,
            &s.get(c)?,
            g,
            rustnn_kernels::index::Reduce::Add
        )?])
    })?;
    match (outs.pop(), outs.pop()) {
        (Some(i), Some(v)) => Ok((v, i)),
        _ => Err(runtime_error!("no result")),
    }
}

/// The n-th difference of neighbours along `dim`.
pub fn diff(x: &Tensor, n: i64, dim: i64, prepend: Option<&Tensor>, append: Option<&Tensor>) -> Result<Tensor> {
    if x.ndim() == 0 {
        return Err(runtime_error!("diff expects input to be at least one-dimensional"));
    }
    if n < 0 {
        return Err(runtime_error!("order must be non-negative but got {n}"));
    }
    let d = wrap_dim(dim, x.ndim())? as i64;
    let parts: Vec<Tensor> = prepend.into_iter().chain(Some(x)).chain(append).cloned().collect();
    let mut y = if parts.len() > 1 { crate::shape::join::cat(&parts, d)? } else { x.clone() };
    let left = (y.shape()[d as usize] as i64).saturating_sub(n).max(0);
    if left == 0 || y.numel() == 0 {
        return crate::shape::select::narrow(&y, d, 0, left);
    }
    let mut watch = Watch::default();
    for _ in 0..n {
        watch.tick()?;
        let size = y.shape()[d as usize] as i64;
        let (a, b) =
            (crate::shape::select::narrow(&y, d, 1, size - 1)?, crate::shape::select::narrow(&y, d, 0, size - 1)?);
        y = if y.dtype() == DType::Bool { compare::logical_xor(&a, &b)? } else { sub(&a, &b)? };
    }
    Ok(y)
}

const SAMPLES: &[&str] = &["t(3,4), 0", "t(3,4), -1", "t(2,3,4), 1", "t(), 0", "t(0,3), 1"];

pub(crate) fn ops() -> Vec<OpDef> {
    let flags = METHOD | TORCH | INPLACE | NO_FUNCTION_INPLACE | OUT;
    let mut v = vec![
        op("cumsum(Tensor input, int dim, *, dtype? dtype=None)", flags, |a| {
            cumsum(a.tensor(0)?, a.int(1)?, a.dtype(2)).ret()
        })
        .doc("The running sum along dim.")
        .samples(SAMPLES)
        .oracle("np.cumsum(input, dim) if np.ndim(input) else input"),
        op("cumprod(Tensor input, int dim, *, dtype? dtype=None)", flags, |a| {
            cumprod(a.tensor(0)?, a.int(1)?, a.dtype(2)).ret()
        })
        .doc("The running product along dim.")
        .samples(SAMPLES)
        .oracle("np.cumprod(input, dim) if np.ndim(input) else input"),
        op("logcumsumexp(Tensor input, int dim)", METHOD | TORCH | OUT, |a| {
            logcumsumexp(a.tensor(0)?, a.int(1)?).ret()
        })
        .doc("The running log Σ e^x along dim.")
        .samples(SAMPLES)
        .oracle("np.logaddexp.accumulate(input, dim) if np.ndim(input) else input"),
        op("diff(Tensor input, int n=1, int dim=-1, Tensor? prepend=None, Tensor? append=None)", METHOD | TORCH, |a| {
            diff(a.tensor(0)?, a.int(1)?, a.int(2)?, a.opt_tensor(3), a.opt_tensor(4)).ret()
        })
        .doc("The n-th difference of neighbours along dim.")
        .samples(&["t(3,4)", "t(3,4), 2, 0", "t(4), 1, -1, t(1), t(2)"])
        .oracle(
            "np.diff(input, n, dim, **{k: v for k, v in (('prepend', prepend), ('append', append)) if v is not None})",
        ),
    ];
    macro_rules! extremes {
        ($($name:literal $best:ident $np:literal;)*) => {$(
            v.push(op(concat!($name, "(Tensor input, int dim)"), METHOD | TORCH | OUT, |a| {
                let (values, indices) = running(Best::$best, a.tensor(0)?, a.int(1)?)?;
                Ok(Ret::Named($name, &["values", "indices"], vec![values, indices]))
            })
            .doc("(values, indices) of the running extremes along dim; of equals the last.").samples(&["t(3,4), 0", "t(3,4), 1"])
            .oracle(concat!("(np.", $np, ".accumulate(input, dim), np.maximum.accumulate(np.where(input == np.", $np,
                ".accumulate(input, dim), np.arange(input.shape[dim]).reshape([-1 if k == dim else 1 for k in range(input.ndim)]), 0), dim))")));
        )*};
    }
    extremes! {
        "cummax" Max "maximum";
        "cummin" Min "minimum";
    }
    v
}
