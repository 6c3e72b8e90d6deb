//! Sums, means, products, truth and counts.

use super::{behind, dims_arg, finish, mask_of, restore, run};
use crate::basic::to_dtype;
use crate::pointwise::{compare, div, mul, mul_mask, times, where_};
use crate::registry::{METHOD, OUT, TORCH, op};
use crate::{Args, DType, IntoRet, OpDef, Result, Ret, Tensor, attach, grads, needs_grad, save};
use rustnn_core::base::not_implemented;
use rustnn_kernels::reduce::{Reduce, sum_dtype};

/// The gradient of a sum: what came in, shown at every element.
fn spread(g: &Tensor, mask: &[bool], keepdim: bool, shape: &[usize]) -> Result<Tensor> {
    crate::shape::expand::expand_to(&restore(g, mask, keepdim)?, shape)
}

fn total(
    kernel: Reduce,
    node: &'static str,
    x: &Tensor,
    dims: Option<&[i64]>,
    keepdim: bool,
    dtype: Option<DType>,
) -> Result<Tensor> {
    let mask = mask_of(dims, x.ndim())?;
    // A wider dtype asked for is what the elements are read in.
    let read = match dtype {
        Some(d) if d != x.dtype() && d.is_float() == x.dtype().is_float() && d.size() > x.dtype().size() => {
            to_dtype(x, d)?
        }
        Some(d) if d.is_float() != x.dtype().is_float() => to_dtype(x, d)?,
        _ => x.clone(),
    };
    let out = finish(run(kernel, &read, &mask, dtype.unwrap_or(sum_dtype(x.dtype())))?, &mask, keepdim);
    if !needs_grad(&[&read]) {
        return Ok(out);
    }
    let shape = read.shape().to_vec();
    let n = behind(&read, &mask) as f64;
    let kept = (kernel == Reduce::NanSum).then(|| save(&read));
    attach(node, out, &[&read], move |c, g| {
        let g = match kernel {
            Reduce::Mean => times(g, 1.0 / n)?,
            _ => g.clone(),
        };
        let g = spread(&g, &mask, keepdim, &shape)?;
        Ok(grads![match &kept {
            Some(s) => mul_mask(&g, &compare::logical_not(&compare::isnan(&s.get(c)?)?)?)?,
            None => g,
        }])
    })
}

/// The sum over `dims` (all if none), integers in int64.
pub fn sum(x: &Tensor, dims: Option<&[i64]>, keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    let node = if dims.is_some_and(|d| !d.is_empty()) { "SumBackward1" } else { "SumBackward0" };
    total(Reduce::Sum, node, x, dims, keepdim, dtype)
}

/// As [`sum`], NaNs counting as 0.
pub fn nansum(x: &Tensor, dims: Option<&[i64]>, keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return sum(x, dims, keepdim, dtype);
    }
    total(Reduce::NanSum, "NansumBackward0", x, dims, keepdim, dtype)
}

/// The mean over `dims` (all if none), of floats.
pub fn mean(x: &Tensor, dims: Option<&[i64]>, keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    let of = dtype.unwrap_or(x.dtype());
    if !of.is_float() {
        return Err(not_implemented!(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: {}",
            of.torch_name()
        )
        .hint("cast it first: x.float().mean()"));
    }
    let node = if dims.is_some_and(|d| !d.is_empty()) { "MeanBackward1" } else { "MeanBackward0" };
    total(Reduce::Mean, node, x, dims, keepdim, Some(of))
}

/// The mean of what is not NaN.
pub fn nanmean(x: &Tensor, dims: Option<&[i64]>, keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return mean(x, dims, keepdim, dtype);
    }
    let there = compare::logical_not(&compare::isnan(x)?)?;
    div(&nansum(x, dims, keepdim, dtype)?, &sum(&there, dims, keepdim, None)?)
}

/// The product over one dimension or all.
pub fn prod(x: &Tensor, dim: Option<i64>, keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    let x = &match dtype {
        Some(d) => to_dtype(x, d)?,
        None => x.clone(),
    };
    let dims = dim.map(|d| [d]);
    let mask = mask_of(dims.as_ref().map(|d| &d[..]), x.ndim())?;
    let out = finish(run(Reduce::Prod, x, &mask, dtype.unwrap_or(sum_dtype(x.dtype())))?, &mask, keepdim);
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let s = save(x);
    let node = if dim.is_some() { "ProdBackward1" } else { "ProdBackward0" };
    attach(node, out, &[x], move |c, g| {
        let x = s.get(c)?;
        let g = restore(g, &mask, keepdim)?;
        // The product of the others: where one element is zero only that one has a gradient, where two are, none has.
        let zero = compare::eq(&x, 0i64)?;
        let dims: Vec<i64> = mask.iter().enumerate().filter(|&(_, &m)| m).map(|(d, _)| d as i64).collect();
        let zeros = sum(&zero, Some(&dims), true, None)?;
        let filled = where_(&zero, 1.0, &x)?;
        let rest = product_all(&filled, &mask)?;
        let plain = div(&rest, &filled)?;
        let one = compare::logical_and(&zero, &compare::eq(&zeros, 1i64)?)?;
        let none = compare::eq(&zeros, 0i64)?;
        let others = where_(&compare::logical_or(&one, &none)?, &plain, 0.0)?;
        Ok(grads![mul(&g, &others)?])
    })
}

/// The product over the dimensions of `mask`, keeping them, recorded.
fn product_all(x: &Tensor, mask: &[bool]) -> Result<Tensor> {
    let mut y = x.clone();
    for d in (0..mask.len()).filter(|&d| mask[d]) {
        y = prod(&y, Some(d as i64), true, None)?;
    }
    Ok(y)
}

fn truth(kernel: Reduce, a: &Args) -> Result<Ret> {
    let x = a.tensor(0)?;
    let mask = mask_of(dims_arg(a, 1), x.ndim())?;
    // uint8 answers in uint8, as PyTorch does.
    let dtype = if x.dtype() == DType::U8 { DType::U8 } else { DType::Bool };
    finish(run(kernel, x, &mask, dtype)?, &mask, a.opt_bool(2) == Some(true)).ret()
}

/// How many elements are not zero.
pub fn count_nonzero(x: &Tensor, dims: Option<&[i64]>) -> Result<Tensor> {
    let mask = mask_of(dims, x.ndim())?;
    Ok(finish(run(Reduce::CountNonzero, x, &mask, DType::I64)?, &mask, false))
}

const SAMPLES: &[&str] = &[
    "t(3,4)",
    "t(3,4), 0",
    "t(2,3,4), (0, 2)",
    "t(2,3,4), -1, keepdim=True",
    "t()",
    "t(0,3), 0",
    "t(0,3)",
    "t(70,40), 0",
    "t(40,70), 1",
];

pub(crate) fn ops() -> Vec<OpDef> {
    macro_rules! sums {
        ($($name:literal $f:ident $samples:expr, $doc:literal, $oracle:literal;)*) => {
            vec![$(op(concat!($name, "(Tensor input, int[]? dim=None, bool keepdim=False, *, dtype? dtype=None)"), METHOD | TORCH | OUT, |a| {
                $f(a.tensor(0)?, dims_arg(a, 1), a.bool(2)?, a.dtype(3)).ret()
            }).doc($doc).samples($samples).oracle($oracle)),*]
        };
    }
    let mut v = sums! {
        "sum" sum SAMPLES, "The sum over dim (all dimensions if none given); integers are summed in int64.",
            "np.sum(input, axis=None if dim is None or np.size(dim) == 0 else (tuple(dim) if np.ndim(dim) else dim), keepdims=keepdim)";
        "nansum" nansum SAMPLES, "The sum, NaN counting as 0.",
            "np.nansum(input, axis=None if dim is None or np.size(dim) == 0 else (tuple(dim) if np.ndim(dim) else dim), keepdims=keepdim)";
        "mean" mean &["t(3,4)", "t(3,4), 0", "t(2,3,4), (0, 2)", "t(2,3,4), -1, keepdim=True", "t()"], "The mean over dim (all dimensions if none given), of floats.",
            "np.mean(input, axis=None if dim is None or np.size(dim) == 0 else (tuple(dim) if np.ndim(dim) else dim), keepdims=keepdim)";
        "nanmean" nanmean &["t(3,4)", "t(3,4), 0", "t(2,3,4), -1, keepdim=True"], "The mean of what is not NaN.",
            "np.nanmean(input, axis=None if dim is None or np.size(dim) == 0 else (tuple(dim) if np.ndim(dim) else dim), keepdims=keepdim)";
    };
    let oracle = "np.prod(input, axis=dim, keepdims=keepdim)";
    v.extend([
        op("prod(Tensor input, *, dtype? dtype=None)", METHOD | TORCH, |a| {
            prod(a.tensor(0)?, None, false, a.dtype(1)).ret()
        })
        .doc("The product of all elements; integers in int64.")
        .samples(&["t(3,4)", "t()", "t(3) * 0"])
        .oracle("np.prod(input)"),
        op("prod(Tensor input, int dim, bool keepdim=False, *, dtype? dtype=None)", METHOD | TORCH | OUT, |a| {
            prod(a.tensor(0)?, Some(a.int(1)?), a.bool(2)?, a.dtype(3)).ret()
        })
        .doc("The product over one dimension; integers in int64.")
        .samples(&["t(3,4), 0", "t(3,4), -1, keepdim=True"])
        .oracle(oracle),
        op("any(Tensor input, int[]? dim=None, bool keepdim=False)", METHOD | TORCH | OUT, |a| truth(Reduce::Any, a))
            .doc("Whether any element is true (not zero).")
            .samples(&["b(3,4)", "b(3,4), 0", "i(3,4, hi=2), 1, keepdim=True", "b(0,3), 0", "t(3)"])
            .oracle(
                "np.any(input, axis=None if dim is None else (tuple(dim) if np.ndim(dim) else dim), keepdims=keepdim)",
            )
            .nondiff(),
        op("all(Tensor input, int[]? dim=None, bool keepdim=False)", METHOD | TORCH | OUT, |a| truth(Reduce::All, a))
            .doc("Whether all elements are true (not zero).")
            .samples(&["b(3,4)", "b(3,4), 0", "i(3,4, hi=2), 1, keepdim=True", "b(0,3), 0", "t(3)"])
            .oracle(
                "np.all(input, axis=None if dim is None else (tuple(dim) if np.ndim(dim) else dim), keepdims=keepdim)",
            )
            .nondiff(),
        op("count_nonzero(Tensor input, int[]? dim=None)", METHOD | TORCH, |a| {
            count_nonzero(a.tensor(0)?, dims_arg(a, 1)).ret()
        })
        .doc("How many elements are not zero.")
        .samples(&["i(3,4, hi=2)", "i(3,4, hi=2), 1", "b(2,3,4), (0, 1)"])
        .oracle("np.count_nonzero(input, axis=None if dim is None else (tuple(dim) if np.ndim(dim) else dim))")
        .nondiff(),
    ]);
    v
}
