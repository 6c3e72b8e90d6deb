//! The same elements in another shape.

use super::part;
use crate::args::{Arg, IntoRet};
use crate::registry::{METHOD, OpDef, TORCH, op};
use rustnn_core::base::layout;
use rustnn_core::base::layout::{infer_shape, wrap_dim};
use rustnn_core::base::{not_implemented, runtime_error};
use rustnn_core::{DType, Dims, Layout, Result, Strides, Tensor, attach, attach_view, grads};
use rustnn_kernels::copy;

fn viewed(x: &Tensor, layout: Layout) -> Result<Tensor> {
    let shape: Dims = layout::few(x.shape());
    attach_view("ViewBackward0", x.view_of(layout), x, move |_, g| Ok(grads![reshape_to(g, &shape)?]))
}

/// `x.view(shape)`: shares memory, or an error when the strides do not allow it.
pub fn view(x: &Tensor, size: &[i64]) -> Result<Tensor> {
    let shape = infer_shape(size, x.numel())?;
    match x.layout().view(&shape) {
        Some(l) => viewed(x, l),
        None => Err(runtime_error!(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        )
        .hint(format!("the input has shape {:?} and strides {:?}, asked was {size:?}", x.shape(), x.strides()))),
    }
}

/// A view when the strides allow it, else a copy.
pub fn reshape(x: &Tensor, size: &[i64]) -> Result<Tensor> {
    let shape = infer_shape(size, x.numel())
        .map_err(|e| e.hint(format!("the input's shape is {:?}; one size may be -1", x.shape())))?;
    reshape_to(x, &shape)
}

/// As [`reshape`], the sizes known and right.
pub fn reshape_to(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if let Some(l) = x.layout().view(shape) {
        return viewed(x, l);
    }
    let copy = x.to_contiguous()?;
    let out = copy.view_of(Layout::contiguous(shape));
    let from = Dims::from_slice(x.shape());
    attach("UnsafeViewBackward0", out, &[x], move |_, g| Ok(grads![reshape_to(g, &from)?]))
}

/// Dimensions `start..=end` made one.
pub fn flatten(x: &Tensor, start: i64, end: i64) -> Result<Tensor> {
    if x.ndim() == 0 {
        wrap_dim(start, 0)?;
        wrap_dim(end, 0)?;
        return reshape_to(x, &[1]);
    }
    let (a, b) = (wrap_dim(start, x.ndim())?, wrap_dim(end, x.ndim())?);
    if a > b {
        return Err(runtime_error!("flatten() has invalid args: start_dim cannot come after end_dim"));
    }
    if a == b {
        return Ok(x.clone());
    }
    let mut shape = Dims::from_slice(&x.shape()[..a]);
    shape.push(layout::count(&x.shape()[a..=b]));
    shape.extend_from_slice(&x.shape()[b + 1..]);
    reshape_to(x, &shape)
}

/// One dimension made several.
pub fn unflatten(x: &Tensor, dim: i64, sizes: &[i64]) -> Result<Tensor> {
    let d = wrap_dim(dim, x.ndim())?;
    if sizes.is_empty() {
        return Err(runtime_error!("unflatten: sizes must be non-empty"));
    }
    let n = x.shape().get(d).copied().unwrap_or(1);
    let inner = infer_shape(sizes, n).map_err(|_| {
        runtime_error!(
            "unflatten: Provided sizes {sizes:?} don't multiply up to the size of dim {d} ({n}) in the input tensor"
        )
    })?;
    let mut shape = Dims::from_slice(&x.shape()[..d]);
    shape.extend(inner);
    shape.extend_from_slice(x.shape().get(d + 1..).unwrap_or(&[]));
    reshape_to(x, &shape)
}

/// Row-major memory: the tensor itself when it has it.
pub fn contiguous(x: &Tensor) -> Result<Tensor> {
    if x.is_contiguous() {
        return Ok(x.clone());
    }
    attach("CloneBackward0", x.to_contiguous()?, &[x], |_, g| Ok(grads![g.clone()]))
}

/// A copy with a gradient, in the same memory order.
pub fn clone(x: &Tensor) -> Result<Tensor> {
    attach("CloneBackward0", x.copied()?, &[x], |_, g| Ok(grads![g.clone()]))
}

/// Strides that put dimension 1 innermost.
fn channels_last(shape: &[usize]) -> Strides {
    let mut s: Strides = shape.iter().map(|_| 1).collect();
    let mut step = 1isize;
    for d in std::iter::once(1).chain((2..shape.len()).rev()).chain(std::iter::once(0)) {
        s[d] = step;
        step = step.saturating_mul(shape[d].max(1) as isize);
    }
    s
}

/// Strides of a memory format (2 or 3), which needs a rank.
pub(crate) fn strides_in(shape: &[usize], format: u8) -> Result<Strides> {
    let (name, rank) = if format == 2 { ("channels_last", 4) } else { ("channels_last_3d", 5) };
    if shape.len() == rank {
        return Ok(channels_last(shape));
    }
    Err(runtime_error!("required rank {rank} tensor to use {name} format").hint(format!("the shape is {shape:?}")))
}

/// A copy (or, if `lazy` and the order fits, the tensor itself) in the memory format: 0 contiguous, 1 preserve,
/// 2 and 3 channels last.
pub fn in_format(x: &Tensor, format: u8, lazy: bool) -> Result<Tensor> {
    match (format, lazy) {
        (0, true) => contiguous(x),
        (0, false) => {
            let out = Tensor::empty(x.shape(), x.dtype())?;
            copy::copy(&out.raw(), &x.raw())?;
            attach("CloneBackward0", out, &[x], |_, g| Ok(grads![g.clone()]))
        }
        (1, true) => Ok(x.clone()),
        (1, false) => clone(x),
        _ => {
            let strides = strides_in(x.shape(), format)?;
            let fits = strides.iter().zip(x.strides()).zip(x.shape()).all(|((a, b), &d)| a == b || d <= 1);
            if lazy && fits {
                return Ok(x.clone());
            }
            let out = Tensor::empty_strided(x.shape(), &strides, x.dtype())?;
            copy::copy(&out.raw(), &x.raw())?;
            attach("CloneBackward0", out, &[x], |_, g| Ok(grads![g.clone()]))
        }
    }
}

/// All dimensions of size 1 left out, or those of `dims` that have it.
pub fn squeeze(x: &Tensor, dims: Option<&[i64]>) -> Result<Tensor> {
    let drop: Dims = match dims {
        None => (0..x.ndim()).filter(|&d| x.shape()[d] == 1).collect(),
        Some(dims) => {
            let dims = super::wrap_dims(dims, x.ndim())?;
            dims.into_iter().filter(|&d| x.shape().get(d) == Some(&1)).collect()
        }
    };
    let mut l = x.layout().clone();
    for d in (0..x.ndim()).rev().filter(|d| drop.contains(d)) {
        l.shape.remove(d);
        l.strides.remove(d);
    }
    let shape = Dims::from_slice(x.shape());
    attach_view("SqueezeBackward0", x.view_of(l), x, move |_, g| Ok(grads![reshape_to(g, &shape)?]))
}

/// A dimension of size 1 put in before `dim`.
pub fn unsqueeze(x: &Tensor, dim: i64) -> Result<Tensor> {
    let d = wrap_dim(dim, x.ndim() + 1)?;
    attach_view("UnsqueezeBackward0", x.view_of(x.layout().unsqueeze(d)), x, move |_, g| {
        Ok(grads![squeeze(g, Some(&[d as i64]))?])
    })
}

/// The same tensor as another object.
pub fn alias(x: &Tensor) -> Result<Tensor> {
    part("AliasBackward0", x, |l: &Layout| l.clone())
}

/// The bytes read as another dtype.
pub fn view_dtype(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if dtype == x.dtype() {
        return alias(x);
    }
    let (from, to) = (x.dtype().size(), dtype.size());
    let name = (x.dtype().torch_name(), dtype.torch_name());
    let mut l = x.layout().clone();
    if from != to {
        let last = l.ndim().checked_sub(1).filter(|&d| l.strides[d] == 1 || l.shape[d] == 1).ok_or_else(|| {
            runtime_error!(
                "self.dim() cannot be 0 (and self.stride(-1) must be 1) to view {} as {} (different element sizes)",
                name.0,
                name.1
            )
        })?;
        if from > to {
            let k = from / to;
            // Without elements the other sizes may be anything.
            l.shape[last] = l.shape[last]
                .checked_mul(k)
                .filter(|&n| isize::try_from(n).is_ok())
                .ok_or_else(|| runtime_error!("view: a last dimension of {} elements overflows", l.shape[last]))?;
            l.offset = l.offset.saturating_mul(k);
            for d in 0..last {
                l.strides[d] = l.strides[d].saturating_mul(k as isize);
            }
        } else {
            let k = to / from;
            let even = l.shape[last] % k == 0 && l.offset % k == 0 && (0..last).all(|d| l.strides[d] % k as isize == 0);
            if !even {
                return Err(runtime_error!(
                    "self.size(-1) must be divisible by {k} to view {} as {} (different element sizes), but got {}",
                    name.0,
                    name.1,
                    l.shape[last]
                ));
            }
            l.shape[last] /= k;
            l.offset /= k;
            for d in 0..last {
                l.strides[d] /= k as isize;
            }
        }
        l.strides[last] = 1;
    }
    if x.requires_grad() && dtype.is_float() && rustnn_core::grad_enabled() {
        return Err(
            not_implemented!("view(dtype) of a tensor that requires grad").hint("use .to(dtype), or .detach() first")
        );
    }
    Tensor::from_storage(x.storage().clone(), l, dtype)
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("view(Tensor input, int[]... size)", METHOD, |a| view(a.tensor(0)?, a.ints(1)?).ret())
            .doc("The same elements in another shape, sharing memory; one size may be -1.\n\nRaises RuntimeError when the strides do not allow it: use reshape.")
            .samples(&["t(3,4), (2,6)", "t(3,4), (-1,)", "t(), (1,1)", "t(0,3), (3,0)"])
            .oracle("np.reshape(input, size)"),
        op("view(Tensor input, dtype dtype)", METHOD, |a| {
            a.dtype(1).map_or_else(|| Err(runtime_error!("view(): no dtype")), |d| view_dtype(a.tensor(0)?, d)).ret()
        })
        .nondiff(),
        op("view_as(Tensor input, Tensor other)", METHOD, |a| {
            let size: Vec<i64> = a.tensor(1)?.shape().iter().map(|&d| d as i64).collect();
            view(a.tensor(0)?, &size).ret()
        })
        .doc("view(other.size()).")
        .samples(&["t(3,4), t(2,6)"])
        .oracle("np.reshape(input, other.shape)"),
        op("reshape(Tensor input, int[]... shape)", METHOD | TORCH, |a| reshape(a.tensor(0)?, a.ints(1)?).ret())
            .doc("The elements in another shape: a view where the strides allow it, else a copy. One size may be -1.")
            .samples(&["t(3,4), (2,6)", "t(3,4), (4,-1)", "t(), (1,)", "t(0,3), (0,)"])
            .oracle("np.reshape(input, shape)"),
        op("reshape_as(Tensor input, Tensor other)", METHOD, |a| reshape_to_checked(a.tensor(0)?, a.tensor(1)?.shape()).ret())
            .doc("reshape(other.size()).")
            .samples(&["t(3,4), t(2,6)"])
            .oracle("np.reshape(input, other.shape)"),
        op("flatten(Tensor input, int start_dim=0, int end_dim=-1)", METHOD | TORCH, |a| {
            flatten(a.tensor(0)?, a.int(1)?, a.int(2)?).ret()
        })
        .doc("Dimensions start_dim to end_dim made one.")
        .samples(&["t(2,3,4)", "t(2,3,4), 1", "t(2,3,4), 0, 1", "t()"])
        .oracle("np.reshape(input, input.shape[:start_dim] + (-1,) + (input.shape[end_dim % max(input.ndim, 1) + 1:])) if input.ndim else input.reshape(1)"),
        op("ravel(Tensor input)", METHOD | TORCH, |a| {
            let x = contiguous(a.tensor(0)?)?;
            let n = x.numel();
            reshape_to(&x, &[n]).ret()
        })
        .doc("All elements in one dimension.")
        .samples(&["t(2,3)", "t()"])
        .oracle("np.ravel(input)"),
        op("unflatten(Tensor input, int dim, int[] sizes)", METHOD | TORCH, |a| {
            unflatten(a.tensor(0)?, a.int(1)?, a.ints(2)?).ret()
        })
        .doc("Dimension dim made several; one of sizes may be -1.")
        .samples(&["t(2,6), 1, (2,3)", "t(6,2), 0, (-1,2)"])
        .oracle("np.reshape(input, input.shape[:dim] + tuple(sizes) + input.shape[dim+1:])"),
        op("squeeze(Tensor input)", METHOD | TORCH, |a| squeeze(a.tensor(0)?, None).ret())
            .doc("A view without the dimensions of size 1.")
            .samples(&["t(1,3,1)", "t()"])
            .oracle("np.squeeze(input)"),
        op("squeeze(Tensor input, int[]... dim)", METHOD | TORCH, |a| squeeze(a.tensor(0)?, Some(a.ints(1)?)).ret())
            .doc("A view without the given dimensions, where their size is 1.")
            .samples(&["t(1,3,1), 0", "t(1,3,1), (0,2)", "t(3,1), 0"])
            .oracle("np.reshape(input, tuple(s for i, s in enumerate(input.shape) if not (s == 1 and i in [d % input.ndim for d in np.atleast_1d(dim)])))"),
        op("unsqueeze(Tensor input, int dim)", METHOD | TORCH, |a| unsqueeze(a.tensor(0)?, a.int(1)?).ret())
            .doc("A view with a dimension of size 1 put in before dim.")
            .samples(&["t(3,4), 0", "t(3,4), -1", "t(), 0"])
            .oracle("np.expand_dims(input, dim)"),
        op("contiguous(Tensor input, *, memory_format memory_format=None)", METHOD, |a| {
            in_format(a.tensor(0)?, format_of(a.arg(1), 0), true).ret()
        })
        .doc("The tensor itself when it is row-major (or in the memory format), else a copy that is.")
        .samples(&["t(3,4)"])
        .oracle("input"),
        op("clone(Tensor input, *, memory_format memory_format=None)", METHOD | TORCH, |a| {
            in_format(a.tensor(0)?, format_of(a.arg(1), 1), false).ret()
        })
        .doc("A copy through which gradients flow.")
        .samples(&["t(3,4)", "t()", "t(0)"])
        .oracle("input"),
        op("alias(Tensor input)", TORCH, |a| alias(a.tensor(0)?).ret())
            .doc("The same elements as another tensor.")
            .samples(&["t(3)"])
            .oracle("input"),
    ]
}

fn reshape_to_checked(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let size: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
    reshape(x, &size)
}

/// The number of a memory format argument.
pub(crate) fn format_of(a: &Arg, default: u8) -> u8 {
    match a {
        Arg::MemoryFormat(f) => *f,
        _ => default,
    }
}
