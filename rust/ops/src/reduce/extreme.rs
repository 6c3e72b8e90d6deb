//! Largest and smallest: values, places, both.

use super::{dims_arg, finish, kept_shape, mask_of, need_elements, restore, run, sum};
use crate::pointwise::{compare, div, maximum, minimum, mul_mask};
use crate::registry::{METHOD, OUT, TORCH, op};
use crate::{
    Args, DType, IntoRet, OpDef, Result, Ret, Tensor, attach, attach_many, grads, needs_grad, save, save_output,
};
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::runtime_error;
use rustnn_kernels::reduce::{Best, Reduce, arg_reduce};
use rustnn_kernels::room;

/// Extremes over dims; equals share the gradient.
fn values(kernel: Reduce, node: &'static str, x: &Tensor, dims: Option<&[i64]>, keepdim: bool) -> Result<Tensor> {
    let mask = mask_of(dims, x.ndim())?;
    let out = finish(run(kernel, x, &mask, x.dtype())?, &mask, keepdim);
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let (sx, sy) = (save(x), save_output(&out));
    attach(node, out, &[x], move |c, g| {
        let (x, y) = (sx.get(c)?, restore(&sy.get(c)?.detach(), &mask, keepdim)?);
        let hit = crate::pointwise::compare::logical_or(&compare::eq(&x.detach(), &y)?, &nan_pair(&x, &y)?)?;
        let dims: Vec<i64> = mask.iter().enumerate().filter(|&(_, &m)| m).map(|(d, _)| d as i64).collect();
        let count =
            if dims.is_empty() { sum(&hit, None, x.ndim() > 0, None)? } else { sum(&hit, Some(&dims), true, None)? };
        let count = if mask.contains(&true) || x.ndim() == 0 {
            crate::basic::to_dtype(&count, g.dtype())?
        } else {
            Tensor::ones(x.shape(), g.dtype())?
        };
        let share = div(&restore(g, &mask, keepdim)?, &count)?;
        let wide = crate::shape::expand::expand_to(&share, x.shape())?;
        Ok(grads![mul_mask(&wide, &hit)?])
    })
}

fn nan_pair(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    compare::logical_and(&compare::isnan(x)?, &compare::isnan(y)?)
}

/// The largest over `dims` (all if none); equals share the gradient.
pub fn amax(x: &Tensor, dims: Option<&[i64]>, keepdim: bool) -> Result<Tensor> {
    need_elements("amax", x, dims, &mask_of(dims, x.ndim())?)?;
    values(Reduce::Max, "AmaxBackward0", x, dims, keepdim)
}

/// The smallest over `dims` (all if none); equals share the gradient.
pub fn amin(x: &Tensor, dims: Option<&[i64]>, keepdim: bool) -> Result<Tensor> {
    need_elements("amin", x, dims, &mask_of(dims, x.ndim())?)?;
    values(Reduce::Min, "AminBackward0", x, dims, keepdim)
}

fn whole(kernel: Reduce, x: &Tensor) -> Result<Tensor> {
    let (name, node) = if kernel == Reduce::Max { ("max", "MaxBackward1") } else { ("min", "MinBackward1") };
    if x.numel() == 0 {
        return Err(runtime_error!(
            "{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' argument."
        ));
    }
    values(kernel, node, x, None, false)
}

/// Value and place of the extreme along `dim`; the gradient goes to that place.
pub fn along(best: Best, x: &Tensor, dim: i64, keepdim: bool) -> Result<(Tensor, Tensor)> {
    let (name, node) = if best == Best::Max { ("max", "MaxBackward0") } else { ("min", "MinBackward0") };
    let d = wrap_dim(dim, x.ndim())?;
    let mask: Vec<bool> = (0..x.ndim()).map(|i| i == d).collect();
    need_elements(name, x, Some(&[dim]), &mask)?;
    let shape = kept_shape(x.shape(), &mask);
    let (value, index) = (Tensor::empty(&shape, x.dtype())?, Tensor::empty(&shape, DType::I64)?);
    arg_reduce(best, Some(&value.raw()), &index.raw(), &x.raw(), d)?;
    let (value, index) = (finish(value, &mask, keepdim), finish(index, &mask, keepdim));
    if !needs_grad(&[x]) {
        return Ok((value, index));
    }
    let (size, place, shape) = (x.shape().get(d).copied().unwrap_or(1), save(&index), x.shape().to_vec());
    let mut outs = attach_many(node, vec![value, index], &[x], move |c, gs| {
        let Some(Some(g)) = gs.first() else { return Ok(crate::Grads::new()) };
        if shape.is_empty() {
            return Ok(grads![g.clone()]);
        }
        let at = restore(&place.get(c)?, &mask, keepdim)?;
        let g = restore(g, &mask, keepdim)?;
        // One where the index along the dimension is the place.
        let count = Tensor::from_slice(&room::collected(0..size as i64)?, &[size])?;
        let mut steps = vec![1usize; shape.len()];
        steps[d] = size;
        let hit = compare::eq(&crate::shape::view::reshape_to(&count, &steps)?, &at)?;
        Ok(grads![mul_mask(&crate::shape::expand::expand_to(&g, &shape)?, &hit)?])
    })?;
    let index = outs.pop();
    let value = outs.pop();
    match (value, index) {
        (Some(v), Some(i)) => Ok((v, i)),
        _ => Err(runtime_error!("{name}(): no result")),
    }
}

/// The place of the extreme along `dim`, or in the flattened tensor.
pub fn place_of(best: Best, x: &Tensor, dim: Option<i64>, keepdim: bool) -> Result<Tensor> {
    let name = if best == Best::Max { "argmax" } else { "argmin" };
    if x.dtype() == DType::Bool {
        return Err(crate::pointwise::unsupported(name, x.dtype()));
    }
    let (flat, d) = match dim {
        Some(d) => (x.clone(), wrap_dim(d, x.ndim())?),
        None => {
            need_elements(name, x, None, &vec![true; x.ndim()])?;
            let t = x.detach().to_contiguous()?;
            (crate::shape::view::reshape_to(&t.detach(), &[x.numel()])?, 0)
        }
    };
    let mask: Vec<bool> = (0..flat.ndim()).map(|i| i == d).collect();
    need_elements(name, &flat, Some(&[d as i64]), &mask)?;
    let index = Tensor::empty(&kept_shape(flat.shape(), &mask), DType::I64)?;
    arg_reduce(best, None, &index.raw(), &flat.raw(), d)?;
    if dim.is_none() {
        let shape = if keepdim { vec![1; x.ndim()] } else { Vec::new() };
        return crate::shape::view::reshape_to(&index, &shape);
    }
    Ok(finish(index, &mask, keepdim))
}

/// The place of the largest.
pub fn argmax(x: &Tensor, dim: Option<i64>, keepdim: bool) -> Result<Tensor> {
    place_of(Best::Max, x, dim, keepdim)
}

fn named(kind: &'static str, pair: (Tensor, Tensor)) -> Result<Ret> {
    Ok(Ret::Named(kind, &["values", "indices"], vec![pair.0, pair.1]))
}

const DIMS: &[&str] = &["t(3,4)", "t(3,4), 0", "t(2,3,4), (0, 2)", "t(2,3,4), -1, keepdim=True", "t()", "t(70,40), 0"];

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = vec![
        op("amax(Tensor input, int[]? dim=(), bool keepdim=False)", METHOD | TORCH | OUT, |a| amax(a.tensor(0)?, dims_arg(a, 1), a.bool(2)?).ret())
            .doc("The largest over dim (all if none); equals share the gradient.").samples(DIMS)
            .oracle("np.amax(input, axis=None if np.size(dim) == 0 else (tuple(dim) if np.ndim(dim) else dim), keepdims=keepdim)"),
        op("amin(Tensor input, int[]? dim=(), bool keepdim=False)", METHOD | TORCH | OUT, |a| amin(a.tensor(0)?, dims_arg(a, 1), a.bool(2)?).ret())
            .doc("The smallest over dim (all if none); equals share the gradient.").samples(DIMS)
            .oracle("np.amin(input, axis=None if np.size(dim) == 0 else (tuple(dim) if np.ndim(dim) else dim), keepdims=keepdim)"),
        op("aminmax(Tensor input, *, int? dim=None, bool keepdim=False)", METHOD | TORCH | OUT, |a: &Args| {
            let x = a.tensor(0)?;
            let d = a.opt_int(1).map(|d| [d]);
            let dims = d.as_ref().map(|d| &d[..]);
            need_elements("aminmax", x, dims, &mask_of(dims, x.ndim())?)?;
            let keepdim = a.bool(2)?;
            Ok(Ret::Named("aminmax", &["min", "max"], vec![amin(x, dims, keepdim)?, amax(x, dims, keepdim)?]))
        })
        .doc("Smallest and largest.").samples(&["t(3,4)", "t(3,4), dim=0", "t(3,4), dim=1, keepdim=True"])
        .oracle("(np.amin(input, axis=dim, keepdims=keepdim), np.amax(input, axis=dim, keepdims=keepdim))"),
    ];
    macro_rules! both {
        ($($name:literal $arg:literal $best:ident $pair:ident $np:literal $nparg:literal;)*) => {$(
            v.push(op(concat!($name, "(Tensor input)"), METHOD | TORCH, |a| whole(Reduce::$best, a.tensor(0)?).ret())
                .doc("The extreme of all elements; NaN if there is one; equals share the gradient.")
                .samples(&["t(3,4)", "t()", "t(70,40)"]).oracle(concat!("np.", $np, "(input)")));
            v.push(op(concat!($name, "(Tensor input, Tensor other)"), METHOD | TORCH | OUT, |a| $pair(a.tensor(0)?, a.tensor(1)?).ret())
                .doc("Element by element, as maximum and minimum.").samples(&["t(3,4), t(4)"]).oracle(concat!("np.", stringify!($pair), "(input, other)")));
            v.push(op(concat!($name, "(Tensor input, int dim, bool keepdim=False)"), METHOD | TORCH | OUT, |a| {
                named($name, along(Best::$best, a.tensor(0)?, a.int(1)?, a.bool(2)?)?)
            })
            .doc("(values, indices) of the extremes along dim; the gradient goes to the index.")
            .samples(&["t(3,4), 0", "t(2,3,4), 1", "t(3,4), -1, keepdim=True", "t(), 0"])
            .oracle(concat!("(np.", $np, "(input, axis=dim, keepdims=keepdim), np.", $nparg, "(input, axis=dim, keepdims=keepdim)) if np.ndim(input) else (input, 0)")));
            v.push(op(concat!($arg, "(Tensor input, int? dim=None, bool keepdim=False)"), METHOD | TORCH | OUT, |a| {
                place_of(Best::$best, a.tensor(0)?, a.opt_int(1), a.bool(2)?).ret()
            })
            .doc("The index of the extreme along dim, or in the flattened tensor; the first of equals.")
            .samples(&["t(3,4)", "t(3,4), 0", "t(2,3,4), 1, keepdim=True", "t(70,40), 1"])
            .oracle(concat!("np.", $nparg, "(input, axis=dim, keepdims=keepdim)")).nondiff());
        )*};
    }
    both! {
        "max" "argmax" Max maximum "max" "argmax";
        "min" "argmin" Min minimum "min" "argmin";
    }
    v
}
