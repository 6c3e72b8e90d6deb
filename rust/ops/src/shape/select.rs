//! Parts of a tensor as views: narrow, select, diagonals, windows, free strides.

use super::part;
use crate::args::{Arg, IntoRet};
use crate::registry::{METHOD, OpDef, TORCH, op};
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::{index_error, runtime_error};
use rustnn_core::{Dims, Layout, Result, Strides, Tensor, attach_view, grads};

/// `length` places of `dim` from `start` on.
pub fn narrow(x: &Tensor, dim: i64, start: i64, length: i64) -> Result<Tensor> {
    if x.ndim() == 0 {
        return Err(runtime_error!("narrow() cannot be applied to a 0-dim tensor."));
    }
    if length < 0 {
        return Err(runtime_error!("narrow(): length must be non-negative."));
    }
    let d = wrap_dim(dim, x.ndim())?;
    let n = x.shape()[d] as i64;
    if start < -n || start > n {
        return Err(index_error!("start out of range (expected to be in range of [{}, {n}], but got {start})", -n));
    }
    let start = if start < 0 { start + n } else { start };
    if start > n - length {
        return Err(runtime_error!("start ({start}) + length ({length}) exceeds dimension size ({n})."));
    }
    slice(x, d, start as usize, length as usize, 1)
}

/// `length` places of `dim` from `start` by `step`, all known to be there.
pub fn slice(x: &Tensor, dim: usize, start: usize, length: usize, step: usize) -> Result<Tensor> {
    part("SliceBackward0", x, move |l: &Layout| l.slice(dim, start, length, step))
}

/// Place `index` of `dim`, which disappears.
pub fn select(x: &Tensor, dim: i64, index: i64) -> Result<Tensor> {
    if x.ndim() == 0 {
        return Err(index_error!("select() cannot be applied to a 0-dim tensor."));
    }
    let d = wrap_dim(dim, x.ndim())?;
    let n = x.shape()[d] as i64;
    if index < -n || index >= n {
        return Err(index_error!(
            "select(): index {index} out of range for tensor of size {:?} at dimension {d}",
            x.shape()
        ));
    }
    let i = if index < 0 { index + n } else { index } as usize;
    part("SelectBackward0", x, move |l: &Layout| l.select(d, i))
}

pub(crate) fn diagonal_layout(l: &Layout, offset: i64, a: usize, b: usize) -> Layout {
    let (rows, cols) = (l.shape[a] as i64, l.shape[b] as i64);
    let len = if offset >= 0 { rows.min(cols - offset) } else { (rows + offset).min(cols) }.max(0);
    let mut out = l.clone();
    if len > 0 {
        let start = offset.unsigned_abs() as usize;
        out.offset = l.slice(if offset >= 0 { b } else { a }, start, len as usize, 1).offset;
    }
    for d in [a.max(b), a.min(b)] {
        out.shape.remove(d);
        out.strides.remove(d);
    }
    out.shape.push(len as usize);
    out.strides.push(l.strides[a].saturating_add(l.strides[b]));
    out
}

/// The diagonal of two dimensions as a last one.
pub fn diagonal(x: &Tensor, offset: i64, dim1: i64, dim2: i64) -> Result<Tensor> {
    let (a, b) = (wrap_dim(dim1, x.ndim())?, wrap_dim(dim2, x.ndim())?);
    if a == b {
        return Err(runtime_error!("diagonal dimensions cannot be identical {dim1}, {dim2}"));
    }
    part("DiagonalBackward0", x, move |l: &Layout| diagonal_layout(l, offset, a, b))
}

/// Windows of `size` every `step` along `dim`, each as a last dimension.
pub fn unfold(x: &Tensor, dim: i64, size: i64, step: i64) -> Result<Tensor> {
    let d = wrap_dim(dim, x.ndim())?;
    let n = x.shape().get(d).copied().unwrap_or(1) as i64;
    if size < 0 {
        return Err(runtime_error!("size is {size} but must be >= 0"));
    }
    if size > n {
        return Err(runtime_error!("maximum size for tensor at dimension {d} is {n} but size is {size}"));
    }
    if step <= 0 {
        return Err(runtime_error!("step is {step} but must be > 0"));
    }
    let mut l = x.layout().clone();
    if x.ndim() == 0 {
        l.shape.push(size as usize);
        l.strides.push(1);
    } else {
        let stride = l.strides[d];
        l.shape[d] = ((n - size) / step + 1) as usize;
        l.strides[d] = stride.saturating_mul(step as isize);
        l.shape.push(size as usize);
        l.strides.push(stride);
    }
    free("UnfoldBackward0", x, l)
}

/// A view of any layout within the storage; places may show more than once.
fn free(name: &'static str, x: &Tensor, layout: Layout) -> Result<Tensor> {
    let out = x.with_layout(layout.clone())?;
    let base = x.layout().clone();
    attach_view(name, out, x, move |_, g| Ok(grads![crate::inplace::scatter(g, &base, &layout)?]))
}

/// A view with sizes, strides and offset given.
pub fn as_strided(x: &Tensor, size: &[i64], stride: &[i64], offset: Option<i64>) -> Result<Tensor> {
    if size.len() != stride.len() {
        return Err(runtime_error!("mismatch in length of strides and shape"));
    }
    if stride.iter().any(|&s| s < 0) {
        return Err(runtime_error!(
            "as_strided: Negative strides are not supported at the moment, got strides: {stride:?}"
        ));
    }
    let bad = |_| runtime_error!("as_strided: sizes and offset must be non-negative, got {size:?} and {offset:?}");
    let mut shape = Dims::new();
    for &s in size {
        shape.push(usize::try_from(s).map_err(bad)?);
    }
    let strides: Strides = stride.iter().map(|&s| s as isize).collect();
    let offset = offset.map_or(Ok(x.offset()), |o| usize::try_from(o).map_err(bad))?;
    free("AsStridedBackward0", x, Layout { shape, strides, offset })
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("narrow(Tensor input, int dim, int|Tensor start, int length)", METHOD | TORCH, |a| {
            let start = match a.arg(2) {
                Arg::Tensor(t) => t.item()?.to_i64(),
                _ => a.int(2)?,
            };
            narrow(a.tensor(0)?, a.int(1)?, start, a.int(3)?).ret()
        })
        .doc("A view of length places of dim from start on.")
        .samples(&["t(5,3), 0, 1, 2", "t(2,4), -1, 0, 0", "t(5), 0, -2, 2"])
        .oracle("np.take(input, np.arange(length) + start % max(input.shape[dim], 1), axis=dim)"),
        op("select(Tensor input, int dim, int index)", METHOD | TORCH, |a| {
            select(a.tensor(0)?, a.int(1)?, a.int(2)?).ret()
        })
        .doc("A view of place index of dim.")
        .samples(&["t(5,3), 0, 1", "t(2,4), -1, -2"])
        .oracle("np.take(input, index, axis=dim)"),
        op("diagonal(Tensor input, int offset=0, int dim1=0, int dim2=1)", METHOD | TORCH, |a| {
            diagonal(a.tensor(0)?, a.int(1)?, a.int(2)?, a.int(3)?).ret()
        })
        .doc("A view of a diagonal of two dimensions.")
        .samples(&["t(3,4)", "t(3,4), 1", "t(2,3,4), -1, 1, 2", "t(2,2), 5"])
        .oracle("np.diagonal(input, offset, dim1, dim2)"),
        op("unfold(Tensor input, int dimension, int size, int step)", METHOD, |a| {
            unfold(a.tensor(0)?, a.int(1)?, a.int(2)?, a.int(3)?).ret()
        })
        .doc("A view of all windows of size, every step, along a dimension; the window is the last dimension.")
        .samples(&["t(7), 0, 3, 2", "t(2,5), 1, 2, 1"])
        .oracle("np.take(np.lib.stride_tricks.sliding_window_view(input, size, dimension), np.arange(0, input.shape[dimension] - size + 1, step), axis=dimension)"),
        op("as_strided(Tensor input, int[] size, int[] stride, int? storage_offset=None)", METHOD | TORCH, |a| {
            as_strided(a.tensor(0)?, a.ints(1)?, a.ints(2)?, a.opt_int(3)).ret()
        })
        .doc("A view with sizes, strides and offset as given, within the storage.")
        .samples(&["t(3,4), (2,2), (4,1)", "t(6), (4,3), (1,1)"])
        .oracle("np.lib.stride_tricks.as_strided(np.ascontiguousarray(input), size, [s * 8 for s in stride])"),
    ]
}
