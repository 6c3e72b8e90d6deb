//! Convolutions, pooling, and what moves pixels: `fold`, `interpolate`, `grid_sample`, `pixel_shuffle`.

pub mod convolution;
pub mod fold;
pub(crate) mod fused;
pub mod interpolate;
pub mod pool;

use crate::registry::OpDef;
use rustnn_core::{Result, Tensor};

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = convolution::ops();
    v.extend(pool::ops());
    v.extend(fold::ops());
    v.extend(interpolate::ops());
    v
}

/// With a batch dimension of one in front, if the input lacks it (it then has `dims + 1` dimensions).
pub(crate) fn batched(x: &Tensor, dims: usize) -> Result<(Tensor, bool)> {
    if x.ndim() != dims + 1 {
        return Ok((x.clone(), false));
    }
    let mut shape: rustnn_core::Dims = x.shape().into();
    shape.insert(0, 1);
    Ok((crate::linalg::glue::reshape(x, &shape)?, true))
}

/// Without the batch dimension that [`batched`] put in front.
pub(crate) fn unbatched(x: Tensor, added: bool) -> Result<Tensor> {
    if added { crate::linalg::glue::reshape(&x, &x.shape()[1..]) } else { Ok(x) }
}
