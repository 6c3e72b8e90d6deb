//! The few ops that the graph engine itself needs.

use rustnn_core::{DType, Result, Tensor, attach, grads};

/// The tensor in another dtype, with gradient; itself when it has that dtype already.
pub fn to_dtype(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() == dtype {
        return Ok(x.clone());
    }
    let from = x.dtype();
    attach("ToCopyBackward0", x.copied_as(dtype)?, &[x], move |_, g| Ok(grads![to_dtype(g, from)?]))
}

/// A broadcast gradient summed back to `shape`.
pub fn sum_to(g: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if g.shape() == shape {
        return Ok(g.clone());
    }
    let lead = g.ndim().saturating_sub(shape.len());
    let dims: Vec<i64> =
        (0..g.ndim()).filter(|&d| d < lead || (shape[d - lead] == 1 && g.shape()[d] != 1)).map(|d| d as i64).collect();
    let kept = crate::reduce::sum(g, Some(&dims), true, None)?;
    crate::shape::view::reshape_to(&kept, shape)
}

/// `a + b` of equal shapes.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    crate::pointwise::add(a, b)
}

/// `dst += src` of equal shapes, without a graph.
pub fn add_into(dst: &Tensor, src: &Tensor) -> Result<()> {
    rustnn_kernels::elementwise::binary(rustnn_kernels::elementwise::Binary::Add, &dst.raw(), &dst.raw(), &src.raw())
}

/// `dst[...] = src`, without a graph.
pub fn copy_into(dst: &Tensor, src: &Tensor) -> Result<()> {
    rustnn_kernels::copy::copy(&dst.raw(), &src.raw())
}

/// `made`, which has `x`'s shape, in the order in which `x`'s elements lie if they lie densely: what PyTorch keeps for
/// results of one element for each of `x`'s. Without a graph.
pub fn in_layout_of(x: &Tensor, made: Tensor) -> Result<Tensor> {
    if x.is_contiguous() || !x.layout().is_dense() {
        return Ok(made);
    }
    let like = x.empty_like_as(made.dtype())?;
    copy_into(&like, &made)?;
    Ok(like)
}

/// Another tensor over the same elements, with gradient (`alias`).
pub fn alias(x: &Tensor) -> Result<Tensor> {
    rustnn_core::attach_view("AliasBackward0", x.detach(), x, |_, g| Ok(grads![g.clone()]))
}
