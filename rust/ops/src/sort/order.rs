//! sort, argsort, topk, kthvalue, median, mode: values and where they stood.

use super::{row_shape, rows, unrows};
use crate::args::{Args, IntoRet, Ret};
use crate::index::gather;
use crate::registry::{METHOD, OUT, OpDef, TORCH, op};
use crate::shape::view;
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::{index_error, runtime_error, with_dtype};
use rustnn_core::{DType, Dims, Result, Scalar, Tensor, attach, grads, needs_grad};
use rustnn_kernels::index::Reduce;
use rustnn_kernels::sort as kernel;

const PAIR: &[&str] = &["values", "indices"];

/// Gives `values` the gradient of having been taken from `x` at `indices` along `dim`.
fn with_gradient(name: &'static str, x: &Tensor, dim: usize, values: Tensor, indices: &Tensor) -> Result<Tensor> {
    if !needs_grad(&[x]) {
        return Ok(values);
    }
    let (shape, indices): (Dims, Tensor) = (x.shape().into(), indices.clone());
    attach(name, values, &[x], move |_, g| {
        let zeros = Tensor::zeros(&shape, g.dtype())?;
        Ok(grads![gather::scatter(&zeros, dim as i64, &indices, g, Reduce::Add)?])
    })
}

/// Sorted along `dim` (always stable, NaN last), and where each value stood.
pub fn sort(x: &Tensor, dim: i64, descending: bool) -> Result<(Tensor, Tensor)> {
    let d = wrap_dim(dim, x.ndim())?;
    let src = rows(x, d)?;
    let (values, indices) = (Tensor::empty(src.shape(), x.dtype())?, Tensor::empty(src.shape(), DType::I64)?);
    let n = src.shape().last().copied().unwrap_or(1);
    with_dtype!(x.dtype(), T => kernel::sort_rows(src.slice::<T>()?, n, descending, values.slice_mut::<T>()?, indices.slice_mut::<i64>()?)?);
    let (values, indices) =
        (crate::basic::in_layout_of(x, unrows(&values, d)?)?, crate::basic::in_layout_of(x, unrows(&indices, d)?)?);
    Ok((with_gradient("SortBackward0", x, d, values, &indices)?, indices))
}

/// The `k` largest (or smallest) along `dim`, in order.
pub fn topk(x: &Tensor, k: i64, dim: i64, largest: bool) -> Result<(Tensor, Tensor)> {
    let d = wrap_dim(dim, x.ndim())?;
    let n = x.shape().get(d).copied().unwrap_or(1);
    if k < 0 || k as usize > n {
        return Err(
            runtime_error!("selected index k out of range").hint(format!("k is {k}, dimension {d} has {n} elements"))
        );
    }
    let k = k as usize;
    let src = rows(x, d)?;
    let shape = row_shape(x, d, k);
    let (values, indices) = (Tensor::empty(&shape, x.dtype())?, Tensor::empty(&shape, DType::I64)?);
    if values.numel() > 0 {
        with_dtype!(x.dtype(), T => kernel::topk_rows(src.slice::<T>()?, n, k, largest, values.slice_mut::<T>()?, indices.slice_mut::<i64>()?)?);
    }
    let (values, indices) = (unrows(&values, d)?, unrows(&indices, d)?);
    Ok((with_gradient("TopkBackward0", x, d, values, &indices)?, indices))
}

/// One element per row by a kernel, and where it stood.
fn one(
    name: &'static str,
    x: &Tensor,
    d: usize,
    keep: bool,
    f: impl FnOnce(&Tensor, usize, &Tensor, &Tensor) -> Result<()>,
) -> Result<(Tensor, Tensor)> {
    let src = rows(x, d)?;
    let n = x.shape().get(d).copied().unwrap_or(1);
    let shape = row_shape(x, d, 1);
    let (values, indices) = (Tensor::empty(&shape, x.dtype())?, Tensor::empty(&shape, DType::I64)?);
    if values.numel() > 0 {
        f(&src, n, &values, &indices)?;
    }
    let (values, indices) = (unrows(&values, d)?, unrows(&indices, d)?);
    let values = with_gradient(name, x, d, values, &indices)?;
    if keep || x.ndim() == 0 {
        return Ok((values, indices));
    }
    let dims = [d as i64];
    Ok((view::squeeze(&values, Some(&dims))?, view::squeeze(&indices, Some(&dims))?))
}

fn not_empty(x: &Tensor, d: usize, op: &str) -> Result<()> {
    if x.shape().get(d) == Some(&0) {
        return Err(index_error!("{op}(): Expected reduction dim {d} to have non-zero size."));
    }
    Ok(())
}

/// The `k`-th smallest along `dim`.
pub fn kthvalue(x: &Tensor, k: i64, dim: i64, keep: bool) -> Result<(Tensor, Tensor)> {
    let d = wrap_dim(dim, x.ndim())?;
    not_empty(x, d, "kthvalue")?;
    let n = x.shape().get(d).copied().unwrap_or(1);
    if k < 1 || k as usize > n {
        return Err(runtime_error!("kthvalue(): selected number k out of range for dimension {d}")
            .hint(format!("k is {k}, the dimension has {n} elements")));
    }
    one(
        "KthvalueBackward0",
        x,
        d,
        keep,
        |src, n, v, i| with_dtype!(x.dtype(), T => kernel::kth_rows(src.slice::<T>()?, n, k as usize, v.slice_mut::<T>()?, i.slice_mut::<i64>()?)),
    )
}

/// The lower median along `dim`.
pub fn median_dim(x: &Tensor, dim: i64, keep: bool, skip_nan: bool) -> Result<(Tensor, Tensor)> {
    let d = wrap_dim(dim, x.ndim())?;
    not_empty(x, d, "median")?;
    one(
        "MedianBackward1",
        x,
        d,
        keep,
        |src, n, v, i| with_dtype!(x.dtype(), T => kernel::median_rows(src.slice::<T>()?, n, skip_nan, v.slice_mut::<T>()?, i.slice_mut::<i64>()?)),
    )
}

/// The lower median of all elements; NaN of none.
pub fn median(x: &Tensor, skip_nan: bool) -> Result<Tensor> {
    if x.numel() == 0 {
        let nan = if x.dtype().is_float() { Scalar::Float(f64::NAN) } else { Scalar::Int(i64::MIN) };
        return Tensor::scalar(nan, x.dtype());
    }
    let flat = view::reshape_to(x, &[x.numel()])?;
    Ok(median_dim(&flat, 0, false, skip_nan)?.0)
}

/// The most frequent value along `dim`.
pub fn mode(x: &Tensor, dim: i64, keep: bool) -> Result<(Tensor, Tensor)> {
    let d = wrap_dim(dim, x.ndim())?;
    not_empty(x, d, "mode")?;
    one(
        "ModeBackward0",
        x,
        d,
        keep,
        |src, n, v, i| with_dtype!(x.dtype(), T => kernel::mode_rows(src.slice::<T>()?, n, v.slice_mut::<T>()?, i.slice_mut::<i64>()?)),
    )
}

fn named(name: &'static str, r: Result<(Tensor, Tensor)>) -> Result<Ret> {
    let (v, i) = r?;
    Ok(Ret::Named(name, PAIR, vec![v, i]))
}

fn median_call(a: &Args, name: &'static str, skip_nan: bool) -> Result<Ret> {
    named(name, median_dim(a.tensor(0)?, a.int(1)?, a.bool(2)?, skip_nan))
}

pub(super) fn ops() -> Vec<OpDef> {
    const FLAGS: u32 = METHOD | TORCH | OUT;
    vec![
        op("sort(Tensor input, int dim=-1, bool descending=False, bool stable=False)", FLAGS, |a| {
            named("sort", sort(a.tensor(0)?, a.int(1)?, a.bool(2)?))
        })
        .doc("Values in order along dim and where they stood. Always stable; NaN counts as largest.")
        .samples(&["t(3,4)", "t(3,4), 0", "t(5), -1, True", "t()", "t(0,3)"])
        .oracle("(lambda i: (np.take_along_axis(input, i, dim) if input.ndim else input, i))(np.argsort(-input if descending else input, axis=dim, kind='stable') if input.ndim else np.array(0))"),
        op("sort(Tensor input, *, bool? stable, int dim=-1, bool descending=False)", FLAGS, |a| {
            named("sort", sort(a.tensor(0)?, a.int(2)?, a.bool(3)?))
        }),
        op("argsort(Tensor input, int dim=-1, bool descending=False, bool stable=False)", METHOD | TORCH, |a| {
            sort(&a.tensor(0)?.detach(), a.int(1)?, a.bool(2)?)?.1.ret()
        })
        .doc("Where the values in order stand.")
        .samples(&["t(3,4)", "t(3,4), 0, True"])
        .oracle("np.argsort(-input if descending else input, axis=dim, kind='stable')")
        .nondiff(),
        op("argsort(Tensor input, *, bool stable, int dim=-1, bool descending=False)", METHOD | TORCH, |a| {
            sort(&a.tensor(0)?.detach(), a.int(2)?, a.bool(3)?)?.1.ret()
        })
        .nondiff(),
        op("msort(Tensor input)", FLAGS, |a| sort(a.tensor(0)?, 0, false)?.0.ret())
            .doc("Sorted along dimension 0.")
            .samples(&["t(4,2)"])
            .oracle("np.sort(input, axis=0)"),
        op("topk(Tensor input, int k, int dim=-1, bool largest=True, bool sorted=True)", FLAGS, |a| {
            named("topk", topk(a.tensor(0)?, a.int(1)?, a.int(2)?, a.bool(3)?))
        })
        .doc("The k largest (or smallest) values along dim, in order, and where they stand.")
        .samples(&["t(3,5), 2", "t(5,3), 3, 0, False", "t(4), 4", "t(4), 0"])
        .oracle("(lambda i: (np.take_along_axis(input, i, dim), i))(np.take(np.argsort(-input if largest else input, axis=dim, kind='stable'), np.arange(k), axis=dim))"),
        op("kthvalue(Tensor input, int k, int dim=-1, bool keepdim=False)", FLAGS, |a| {
            named("kthvalue", kthvalue(a.tensor(0)?, a.int(1)?, a.int(2)?, a.bool(3)?))
        })
        .doc("The k-th smallest value along dim (from 1) and where it stands.")
        .samples(&["t(3,5), 2", "t(5,3), 1, 0, True"])
        .oracle("(lambda i: (np.take_along_axis(input, i, dim) if keepdim else np.take_along_axis(input, i, dim).squeeze(dim), i if keepdim else i.squeeze(dim)))(np.take(np.argsort(input, axis=dim, kind='stable'), [k - 1], axis=dim))"),
        op("median(Tensor input)", METHOD | TORCH, |a| median(a.tensor(0)?, false).ret())
            .doc("The lower of the middle values; NaN if there is one.")
            .samples(&["t(5)", "t(2,4)", "t()"])
            .oracle("np.sort(input, axis=None)[(input.size - 1) // 2]"),
        op("median(Tensor input, int dim, bool keepdim=False)", FLAGS, |a| median_call(a, "median", false))
            .doc("The lower of the middle values along dim and where it stands.")
            .samples(&["t(3,5), 1", "t(4,3), 0, True"])
            .oracle("(lambda i: (np.take_along_axis(input, i, dim) if keepdim else np.take_along_axis(input, i, dim).squeeze(dim), i if keepdim else i.squeeze(dim)))(np.take(np.argsort(input, axis=dim, kind='stable'), [(input.shape[dim] - 1) // 2], axis=dim))"),
        op("nanmedian(Tensor input)", METHOD | TORCH, |a| median(a.tensor(0)?, true).ret())
            .doc("The lower of the middle values that are not NaN.")
            .samples(&["t(5)"])
            .oracle("np.sort(input, axis=None)[(input.size - 1) // 2]"),
        op("nanmedian(Tensor input, int dim, bool keepdim=False)", FLAGS, |a| median_call(a, "nanmedian", true))
            .doc("The lower of the middle values along dim that are not NaN, and where it stands.")
            .samples(&["t(3,5), 1"]),
        op("mode(Tensor input, int dim=-1, bool keepdim=False)", FLAGS, |a| {
            named("mode", mode(a.tensor(0)?, a.int(1)?, a.bool(2)?))
        })
        .doc("The most frequent value along dim (the smallest of equals) and the last place it stands at.")
        .samples(&["t(3,4)", "t(4,2), 0, True"]),
    ]
}
