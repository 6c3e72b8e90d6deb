//! Distinct values, and membership.

use crate::args::{Arg, Args, IntoRet, Ret};
use crate::index::rows;
use crate::registry::{METHOD, OpDef, PRIVATE, TORCH, op};
use crate::shape::{permute, view};
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::{B8, Element, runtime_error, with_dtype};
use rustnn_core::{DType, Result, Tensor};
use rustnn_kernels::room;
use rustnn_kernels::sort::{self as kernel, Unique};

/// Distinct values (or slices along `dim`), which of them each is, and how often each occurs.
pub fn unique(x: &Tensor, dim: Option<i64>, consecutive: bool) -> Result<(Tensor, Tensor, Tensor)> {
    let x = x.detach();
    let Some(dim) = dim else {
        let flat = view::reshape_to(&x, &[x.numel()])?.to_contiguous()?;
        let u = with_dtype!(x.dtype(), T => kernel::unique(flat.slice::<T>()?, consecutive)?);
        return finish(&flat, 0, u, x.shape());
    };
    let d = wrap_dim(dim, x.ndim())?;
    let front = if x.ndim() == 0 { view::reshape_to(&x, &[1])? } else { permute::movedim(&x, &[d as i64], &[0])? };
    let front = front.to_contiguous()?;
    let n = front.shape()[0];
    let width = front.numel().checked_div(n).unwrap_or(0);
    if n > 0 && width == 0 && front.numel() == 0 {
        return Err(runtime_error!(
            "There are 0 sized dimensions, and they aren't selected, so unique cannot be applied"
        ));
    }
    let u = with_dtype!(x.dtype(), T => kernel::unique_rows(front.slice::<T>()?, n, width, consecutive)?);
    finish(&x, d, u, &[n])
}

fn finish(x: &Tensor, d: usize, u: Unique, shape: &[usize]) -> Result<(Tensor, Tensor, Tensor)> {
    let first: Vec<i64> = room::collected(u.first.iter().map(|&i| i as i64))?;
    let values = rows::index_select(x, d as i64, &Tensor::from_slice(&first, &[first.len()])?)?;
    Ok((values, Tensor::from_slice(&u.inverse, shape)?, Tensor::from_slice(&u.counts, &[u.counts.len()])?))
}

/// Values alone, or a tuple with what else was asked for.
fn choose((v, i, c): (Tensor, Tensor, Tensor), inverse: bool, counts: bool) -> Result<Ret> {
    Ok(match (inverse, counts) {
        (false, false) => Ret::Tensor(v),
        (true, false) => Ret::Tuple(vec![v, i]),
        (false, true) => Ret::Tuple(vec![v, c]),
        (true, true) => Ret::Tuple(vec![v, i, c]),
    })
}

fn number(a: &Args, i: usize, like: Option<&Tensor>) -> Result<Tensor> {
    match a.arg(i) {
        Arg::Tensor(t) => Ok(t.detach()),
        _ => {
            let s = a.scalar(i)?;
            Tensor::scalar(s, like.map_or_else(|| s.dtype(rustnn_core::mode::default_dtype()), Tensor::dtype))
        }
    }
}

/// For each element whether it is among `set`.
pub fn isin(x: &Tensor, set: &Tensor, invert: bool) -> Result<Tensor> {
    let dtype = x.dtype().promote(set.dtype());
    let (x, set) = (x.copied_as(dtype)?.to_contiguous()?, set.copied_as(dtype)?.to_contiguous()?);
    let out = Tensor::empty(x.shape(), DType::Bool)?;
    with_dtype!(dtype, T => {
        // NaN is equal to nothing; left out, the rest is totally ordered.
        let mut sorted: Vec<T> = room::collected(set.slice::<T>()?.iter().copied().filter(|v| !v.is_nan()))?;
        sorted.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        for (o, v) in out.slice_mut::<B8>()?.iter_mut().zip(x.slice::<T>()?) {
            let at = sorted.partition_point(|s| s < v);
            *o = (sorted.get(at).is_some_and(|s| s == v) != invert).into();
        }
    });
    Ok(out)
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("unique(Tensor input, bool sorted=True, bool return_inverse=False, bool return_counts=False, int? dim=None)", METHOD | TORCH, |a| {
            choose(unique(a.tensor(0)?, a.opt_int(4), false)?, a.bool(2)?, a.bool(3)?)
        })
        .doc("Distinct values in ascending order (or slices along dim); with return_inverse which of them each element is, with return_counts how often each occurs.")
        .samples(&["i(3,4, lo=0, hi=4)", "t(4)", "i(5,2, lo=0, hi=2), dim=0"])
        .oracle("np.unique(input, axis=dim)")
        .nondiff(),
        op("unique_consecutive(Tensor input, bool return_inverse=False, bool return_counts=False, int? dim=None)", METHOD | TORCH, |a| {
            choose(unique(a.tensor(0)?, a.opt_int(3), true)?, a.bool(1)?, a.bool(2)?)
        })
        .doc("Runs of equal values (or slices along dim) made one.")
        .samples(&["i(8, lo=0, hi=2)"])
        .oracle("input[np.concatenate([[True], input[1:] != input[:-1]])]")
        .nondiff(),
        op("_unique2(Tensor input, bool sorted=True, bool return_inverse=False, bool return_counts=False)", PRIVATE, |a| {
            unique(a.tensor(0)?, None, false).ret()
        })
        .nondiff(),
        op("isin(Tensor|Scalar elements, Tensor|Scalar test_elements, *, bool assume_unique=False, bool invert=False)", TORCH, |a| {
            let (x, set) = (number(a, 0, a.opt_tensor(1))?, number(a, 1, a.opt_tensor(0))?);
            isin(&x, &set, a.bool(3)?).ret()
        })
        .doc("For each element whether it is among test_elements.")
        .samples(&["i(3,4, lo=0, hi=9), i(3, lo=0, hi=9)", "i(4, lo=0, hi=9), i(3, lo=0, hi=9), invert=True"])
        .oracle("np.isin(elements, test_elements, invert=invert)")
        .nondiff(),
    ]
}
