//! Whole slices along a dimension: index_select, index_add, index_copy, index_fill.

use super::{long, long_for};
use crate::args::{Arg, IntoRet};
use crate::registry::{INPLACE, METHOD, OUT, OpDef, TORCH, op};
use crate::shape::view;
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::{index_error, runtime_error};
use rustnn_core::{Dims, Result, Scalar, Tensor, attach, grads, needs_grad};
use rustnn_kernels::index as kernel;
use rustnn_kernels::room;

/// Indices with negative ones counted from the end of `size`; checked.
pub(crate) fn wrapped(index: &Tensor, size: usize, dim: usize) -> Result<Tensor> {
    let flat = index.slice::<i64>()?;
    let n = size as i64;
    if let Some(p) = kernel::find_outside(flat, -n, n) {
        return Err(kernel::out_of_bounds(flat[p], dim, size)
            .hint(format!("it is element {p} of the index tensor of shape {:?}", index.shape())));
    }
    if kernel::find_outside(flat, 0, n).is_none() {
        return Ok(index.clone());
    }
    let v: Vec<i64> = room::collected(flat.iter().map(|&i| if i < 0 { i + n } else { i }))?;
    Tensor::from_slice(&v, index.shape())
}

pub(super) fn vector(index: &Tensor, op: &str) -> Result<Tensor> {
    if index.ndim() > 1 {
        return Err(
            index_error!("{op}(): Index is supposed to be a vector").hint(format!("it has shape {:?}", index.shape()))
        );
    }
    long_for(index, op)
}

/// Slices of `dim` by number.
pub fn index_select(x: &Tensor, dim: i64, index: &Tensor) -> Result<Tensor> {
    let d = wrap_dim(dim, x.ndim())?;
    let index = vector(index, "index_select")?;
    let mut shape: Dims = x.shape().into();
    if let Some(s) = shape.get_mut(d) {
        *s = index.numel();
    }
    let out = Tensor::empty(&shape, x.dtype())?;
    kernel::index_select(out.raw(), x.to_contiguous()?.raw(), d, index.slice::<i64>()?, "index_select")?;
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let from: Dims = x.shape().into();
    attach("IndexSelectBackward0", out, &[x], move |_, g| {
        Ok(grads![index_add(&Tensor::zeros(&from, g.dtype())?, d as i64, &index, g, Scalar::Int(1))?])
    })
}

pub(super) fn check_source(x: &Tensor, d: usize, index: &Tensor, source: &Tensor, op: &str) -> Result<()> {
    if source.dtype() != x.dtype() {
        return Err(runtime_error!(
            "{op}(): self ({}) and source ({}) must have the same scalar type",
            x.dtype().torch_name(),
            source.dtype().torch_name()
        ));
    }
    let n = source.shape().get(d).copied().unwrap_or(1);
    if index.numel() != n {
        let text = format!(
            "{op}(): Number of indices ({}) should be equal to source.size(dim): ({n}), for dim: {d}",
            index.numel()
        );
        return Err(if op == "index_copy_" {
            index_error!("{op}(): Number of indices ({}) should be equal to source.size(dim) ({n})", index.numel())
        } else {
            runtime_error!("{text}")
        });
    }
    let same = x.ndim() == source.ndim() && (0..x.ndim()).all(|k| k == d || x.shape()[k] == source.shape()[k]);
    if !same && x.ndim() > 0 {
        return Err(runtime_error!(
            "{op}(): source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape = {:?} source.shape = {:?}",
            x.shape(),
            source.shape()
        ));
    }
    Ok(())
}

/// A copy with `alpha * source` added to slices of `dim`, in the order of the indices.
pub fn index_add(x: &Tensor, dim: i64, index: &Tensor, source: &Tensor, alpha: Scalar) -> Result<Tensor> {
    let d = wrap_dim(dim, x.ndim())?;
    let index = vector(index, "index_add")?;
    check_source(x, d, &index, source, "index_add_")?;
    let out = Tensor::empty(x.shape(), x.dtype())?;
    rustnn_kernels::copy::copy(&out.raw(), &x.raw())?;
    kernel::index_add(out.raw(), d, index.slice::<i64>()?, source.to_contiguous()?.raw(), alpha, None, "index_add_")?;
    attach("IndexAddBackward0", out, &[x, source], move |c, g| {
        Ok(grads![c; 0 => g.clone(), 1 => {
            let s = index_select(g, d as i64, &index)?;
            if alpha == Scalar::Int(1) { s } else { super::arith::mul(&s, &super::arith::number(alpha.to_f64(), &s)?)? }
        }])
    })
}

/// A copy with slices of `dim` replaced by those of `source`.
pub fn index_copy(x: &Tensor, dim: i64, index: &Tensor, source: &Tensor) -> Result<Tensor> {
    let d = wrap_dim(dim, x.ndim())?;
    let index = vector(index, "index_copy_")?;
    check_source(x, d, &index, source, "index_copy_")?;
    let out = Tensor::empty(x.shape(), x.dtype())?;
    rustnn_kernels::copy::copy(&out.raw(), &x.raw())?;
    kernel::index_copy(out.raw(), d, index.slice::<i64>()?, source.to_contiguous()?.raw())?;
    attach("IndexCopyBackward0", out, &[x, source], move |c, g| {
        Ok(grads![c;
            0 => index_fill(g, d as i64, &index, Scalar::Int(0))?,
            1 => index_select(g, d as i64, &index)?])
    })
}

/// A copy with slices of `dim` set to a number.
pub fn index_fill(x: &Tensor, dim: i64, index: &Tensor, value: Scalar) -> Result<Tensor> {
    let d = wrap_dim(dim, x.ndim())?;
    if index.ndim() > 1 {
        return Err(index_error!("index_fill_(): Index has to be a vector/scalar"));
    }
    let index = long(index)?;
    let out = Tensor::empty(x.shape(), x.dtype())?;
    rustnn_kernels::copy::copy(&out.raw(), &x.raw())?;
    kernel::index_fill(out.raw(), d, index.slice::<i64>()?, value)?;
    attach("IndexFillBackward0", out, &[x], move |_, g| Ok(grads![index_fill(g, d as i64, &index, Scalar::Int(0))?]))
}

/// Elements of the flattened tensor.
pub fn take(x: &Tensor, index: &Tensor) -> Result<Tensor> {
    let flat = view::reshape_to(x, &[x.numel()])?;
    let index = long_for(index, "take")?;
    let index = flat_places(&index, x.numel())?;
    let picked = index_select(&flat, 0, &view::reshape_to(&index, &[index.numel()])?)?;
    view::reshape_to(&picked, index.shape())
}

fn flat_places(index: &Tensor, n: usize) -> Result<Tensor> {
    wrapped(index, n, 0).map_err(|_| {
        let bad =
            index.slice::<i64>().ok().and_then(|s| s.iter().find(|&&i| i < -(n as i64) || i >= n as i64).copied());
        index_error!("out of range: tried to access index {} on a tensor of {n} elements.", bad.unwrap_or(0))
    })
}

/// A copy with elements of the flattened tensor written or added.
pub fn put(x: &Tensor, index: &Tensor, source: &Tensor, accumulate: bool) -> Result<Tensor> {
    if index.numel() != source.numel() {
        return Err(runtime_error!(
            "put_(): Expected source and index to have the same number of elements, but got source.numel() = {}, index.numel() = {}",
            source.numel(),
            index.numel()
        ));
    }
    let flat = view::reshape_to(x, &[x.numel()])?;
    let places = flat_places(&long_for(index, "put_")?, x.numel())?;
    let places = view::reshape_to(&places, &[places.numel()])?;
    let source = view::reshape_to(source, &[source.numel()])?;
    let out = if accumulate {
        index_add(&flat, 0, &places, &source, Scalar::Int(1))?
    } else {
        index_copy(&flat, 0, &places, &source)?
    };
    view::reshape_to(&out, x.shape())
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("index_select(Tensor input, int dim, Tensor index)", METHOD | TORCH | OUT, |a| {
            index_select(a.tensor(0)?, a.int(1)?, a.tensor(2)?).ret()
        })
        .doc("Slices of dim by number (an int32 or int64 vector).")
        .samples(&["t(4,3), 0, i(5, lo=0, hi=4)", "t(2,3,4), 1, i(2, lo=0, hi=3)", "t(2,4), -1, i(0, lo=0, hi=1)"])
        .oracle("np.take(input, index, axis=dim)"),
        op("index_add(Tensor input, int dim, Tensor index, Tensor source, *, Scalar alpha=1)", METHOD | TORCH | INPLACE | OUT, |a| {
            index_add(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.tensor(3)?, a.scalar(4)?).ret()
        })
        .doc("A copy with alpha * source added to slices of dim; equal indices add up in order.")
        .samples(&["t(4,3), 0, i(5, lo=0, hi=4), t(5,3)", "t(2,3), 1, i(2, lo=0, hi=3), t(2,2), alpha=2"])
        .oracle("(lambda y: (np.add.at(y, (slice(None),) * (dim % input.ndim) + (index,), alpha * source), y)[1])(np.array(input))"),
        op("index_copy(Tensor input, int dim, Tensor index, Tensor source)", METHOD | TORCH | INPLACE | OUT, |a| {
            index_copy(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.tensor(3)?).ret()
        })
        .doc("A copy with slices of dim replaced by those of source.")
        .samples(&["t(4,3), 0, i(1, lo=0, hi=4), t(1,3)"]),
        op("index_fill(Tensor input, int dim, Tensor index, Scalar|Tensor value)", METHOD | TORCH | INPLACE, |a| {
            let value = match a.arg(3) {
                Arg::Tensor(t) if t.ndim() > 0 => {
                    return Err(runtime_error!(
                        "index_fill_ only supports a 0-dimensional value tensor, but got tensor with {} dimension(s).", t.ndim()
                    ));
                }
                Arg::Tensor(t) => t.item()?,
                _ => a.scalar(3)?,
            };
            index_fill(a.tensor(0)?, a.int(1)?, a.tensor(2)?, value).ret()
        })
        .doc("A copy with slices of dim set to a value.")
        .samples(&["t(4,3), 0, i(2, lo=0, hi=4), 1.5", "t(2,3), -1, i(1, lo=0, hi=3), 0."])
        .oracle("(lambda y: (y.__setitem__((slice(None),) * (dim % input.ndim) + (index,), value), y)[1])(np.array(input))"),
        op("take(Tensor input, Tensor index)", METHOD | TORCH | OUT, |a| take(a.tensor(0)?, a.tensor(1)?).ret())
            .doc("Elements of the flattened tensor, in the shape of index.")
            .samples(&["t(3,4), i(2,2, lo=-12, hi=12)"])
            .oracle("np.take(input, index)"),
        op("put(Tensor input, Tensor index, Tensor source, bool accumulate=False)", METHOD | TORCH | INPLACE, |a| {
            put(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.bool(3)?).ret()
        })
        .doc("A copy with elements of the flattened tensor written, or added with accumulate.")
        .samples(&["t(3,4), i(3, lo=0, hi=12), t(3), True"]),
    ]
}
