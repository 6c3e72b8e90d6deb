//! Order: sorting, ranks, quantiles, distinct values, searching and counting.

pub mod histogram;
pub mod order;
pub mod quantile;
pub mod search;
pub mod unique;

use crate::registry::OpDef;
use rustnn_core::{Dims, Layout, Result, Tensor};

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = Vec::new();
    v.extend(order::ops());
    v.extend(quantile::ops());
    v.extend(unique::ops());
    v.extend(search::ops());
    v.extend(histogram::ops());
    v
}

/// `dim` last and row-major, without a graph: what the row kernels take.
pub(crate) fn rows(x: &Tensor, dim: usize) -> Result<Tensor> {
    let x = x.detach();
    if x.ndim() == 0 || dim + 1 == x.ndim() {
        return x.to_contiguous();
    }
    x.view_of(x.layout().transpose(dim, x.ndim() - 1)).to_contiguous()
}

/// A result of the row kernels with its last dimension back at `dim`, row-major.
pub(crate) fn unrows(t: &Tensor, dim: usize) -> Result<Tensor> {
    if t.ndim() == 0 || dim + 1 == t.ndim() {
        return Ok(t.clone());
    }
    let back = t.view_of(t.layout().transpose(dim, t.ndim() - 1)).to_contiguous()?;
    // Canonical strides also for dimensions of size 1.
    Ok(back.view_of(Layout { offset: back.offset(), ..Layout::contiguous(back.shape()) }))
}

/// The shape of `x` with `dim` last and of another size.
pub(crate) fn row_shape(x: &Tensor, dim: usize, n: usize) -> Dims {
    let mut s: Dims = x.shape().into();
    if let Some(last) = s.len().checked_sub(1) {
        s.swap(dim, last);
        s[last] = n;
    }
    s
}
