//! Reductions, arg-reductions and scans over dimensions.

pub mod calculus;
pub mod extreme;
pub mod scan;
pub mod stats;
pub mod sums;

pub use extreme::*;
pub use scan::*;
pub use stats::*;
pub use sums::*;

use crate::{Arg, Args, DType, OpDef, Result, Tensor};
use rustnn_core::base::layout;
use rustnn_core::base::layout::{contiguous_strides, wrap_dim};
use rustnn_core::base::{index_error, runtime_error};
use rustnn_core::{Dims, Layout};
use rustnn_kernels::reduce::{Reduce, reduce};
use smallvec::SmallVec;

/// A mark per dimension; up to eight stay off the heap.
pub(crate) type Mask = SmallVec<[bool; 8]>;

/// Which dimensions are reduced, checked; none given (or an empty list) means all.
pub(crate) fn mask_of(dims: Option<&[i64]>, ndim: usize) -> Result<Mask> {
    let dims = match dims {
        Some(d) if !d.is_empty() => d,
        _ => return Ok(Mask::from_elem(true, ndim)),
    };
    let mut mask = Mask::from_elem(false, ndim);
    for &d in dims {
        let d = wrap_dim(d, ndim)?;
        if ndim == 0 {
            continue;
        }
        if mask[d] {
            return Err(runtime_error!("dim {d} appears multiple times in the list of dims"));
        }
        mask[d] = true;
    }
    Ok(mask)
}

/// `shape` with 1 where `mask` is set.
pub(crate) fn kept_shape(shape: &[usize], mask: &[bool]) -> Dims {
    let mut kept = Dims::from_slice(shape);
    for (d, &m) in kept.iter_mut().zip(mask) {
        if m {
            *d = 1;
        }
    }
    kept
}

/// The same elements without the dimensions of `mask` (all of size 1), or as it is.
pub(crate) fn finish(out: Tensor, mask: &[bool], keepdim: bool) -> Tensor {
    if keepdim || !mask.contains(&true) {
        return out;
    }
    let shape: Dims = out.shape().iter().zip(mask).filter(|&(_, &m)| !m).map(|(&d, _)| d).collect();
    let strides = contiguous_strides(&shape);
    out.view_of(Layout { shape, strides, offset: 0 })
}

/// One pass of a reduction kernel, without a graph; the result keeps the reduced dimensions with size 1.
pub(crate) fn run(op: Reduce, x: &Tensor, mask: &[bool], dtype: DType) -> Result<Tensor> {
    let out = Tensor::empty(&kept_shape(x.shape(), mask), dtype)?;
    reduce(op, &out.raw(), &x.raw())?;
    Ok(out)
}

/// What backward does first: `g` (of a reduced result) with the reduced dimensions put back with size 1.
pub(crate) fn restore(g: &Tensor, mask: &[bool], keepdim: bool) -> Result<Tensor> {
    if keepdim || !mask.contains(&true) {
        return Ok(g.clone());
    }
    let mut sizes = g.shape().iter();
    let shape: Dims = mask.iter().map(|&m| if m { 1 } else { sizes.next().copied().unwrap_or(1) }).collect();
    crate::shape::view::reshape_to(g, &shape)
}

/// Elements behind each result.
pub(crate) fn behind(x: &Tensor, mask: &[bool]) -> usize {
    layout::count(&x.shape().iter().zip(mask).filter(|&(_, &m)| m).map(|(&d, _)| d).collect::<Dims>())
}

/// An error if there are results with no elements behind them.
pub(crate) fn need_elements(name: &str, x: &Tensor, dims: Option<&[i64]>, mask: &[bool]) -> Result<()> {
    let results: usize = layout::count(&kept_shape(x.shape(), mask));
    if behind(x, mask) > 0 || results == 0 {
        return Ok(());
    }
    let d = mask.iter().zip(x.shape()).position(|(&m, &s)| m && s == 0).unwrap_or(0);
    match dims {
        Some(v) if !v.is_empty() => Err(index_error!("{name}(): Expected reduction dim {d} to have non-zero size.")),
        _ if name.starts_with("arg") => {
            Err(index_error!("{name}(): Expected reduction dim to be specified for input.numel() == 0."))
        }
        _ => Err(runtime_error!(
            "{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' argument."
        )),
    }
}

/// The dims argument `i`: None, an int or a list.
pub(crate) fn dims_arg(a: &Args, i: usize) -> Option<&[i64]> {
    match a.arg(i) {
        Arg::None => None,
        _ => a.opt_ints(i),
    }
}

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = Vec::new();
    v.extend(sums::ops());
    v.extend(extreme::ops());
    v.extend(stats::ops());
    v.extend(scan::ops());
    v.extend(calculus::ops());
    v
}
