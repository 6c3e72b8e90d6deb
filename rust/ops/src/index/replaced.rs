//! Copies with a part replaced: of a slice, a place, a diagonal; slices reduced into others; places as coordinates.

use super::gather::scatter_reduce;
use super::long_for;
use crate::args::{IntoRet, Ret};
use crate::registry::{INPLACE, METHOD, OUT, OpDef, TORCH, op};
use crate::shape::{Rule, expand, part, select, view};
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::{runtime_error, type_error, value_error};
use rustnn_core::{DType, Dims, Layout, Result, Tensor, attach, grads};
use rustnn_kernels::copy;

/// A copy of `x` in which the part that `rule` shows is `src`.
fn replaced(name: &'static str, x: &Tensor, src: &Tensor, rule: impl Rule) -> Result<Tensor> {
    let out = Tensor::empty(x.shape(), x.dtype())?;
    copy::copy(&out.raw(), &x.raw())?;
    let window = out.view_of(rule(out.layout()));
    if window.shape() != src.shape() {
        return Err(runtime_error!(
            "expected src to have a size equal to the slice of self. src size = {:?}, slice size = {:?}",
            src.shape(),
            window.shape()
        ));
    }
    copy::copy(&window.raw(), &src.raw())?;
    let (shape, from): (Dims, DType) = (src.shape().into(), src.dtype());
    attach(name, out, &[x, src], move |c, g| {
        Ok(grads![c;
            0 => replaced(name, g, &Tensor::zeros(&shape, g.dtype())?, rule.clone())?,
            1 => crate::basic::to_dtype(&part(name, g, rule.clone())?, from)?])
    })
}

/// A copy with every `step`-th place of `dim` from `start` to `end` replaced.
pub fn slice_scatter(
    x: &Tensor,
    src: &Tensor,
    dim: i64,
    start: Option<i64>,
    end: Option<i64>,
    step: i64,
) -> Result<Tensor> {
    if x.ndim() == 0 {
        return Err(runtime_error!("slice_scatter() cannot be applied to a 0-dim tensor."));
    }
    if step <= 0 {
        return Err(runtime_error!("slice step must be positive"));
    }
    let d = wrap_dim(dim, x.ndim())?;
    let n = x.shape()[d] as i64;
    let place = |v: i64| if v < 0 { v.saturating_add(n).max(0) } else { v.min(n) };
    let (from, to) = (place(start.unwrap_or(0)), place(end.unwrap_or(n)));
    let length = if to > from { (to - from - 1) / step + 1 } else { 0 };
    let (from, length, step) = (from as usize, length as usize, step as usize);
    replaced("SliceScatterBackward0", x, src, move |l: &Layout| l.slice(d, from, length, step))
}

/// A copy with place `index` of `dim` replaced.
pub fn select_scatter(x: &Tensor, src: &Tensor, dim: i64, index: i64) -> Result<Tensor> {
    select::select(&x.detach(), dim, index)?; // checks both
    let d = wrap_dim(dim, x.ndim())?;
    let i = if index < 0 { index + x.shape()[d] as i64 } else { index } as usize;
    replaced("SelectScatterBackward0", x, src, move |l: &Layout| l.select(d, i))
}

/// A copy with a diagonal of two dimensions replaced.
pub fn diagonal_scatter(x: &Tensor, src: &Tensor, offset: i64, dim1: i64, dim2: i64) -> Result<Tensor> {
    select::diagonal(&x.detach(), offset, dim1, dim2)?; // checks
    let (a, b) = (wrap_dim(dim1, x.ndim())?, wrap_dim(dim2, x.ndim())?);
    replaced("DiagonalScatterBackward0", x, src, move |l: &Layout| select::diagonal_layout(l, offset, a, b))
}

/// Slices of `source` reduced into slices of a copy of `x` along `dim`.
pub fn index_reduce(x: &Tensor, dim: i64, index: &Tensor, source: &Tensor, reduce: &str, own: bool) -> Result<Tensor> {
    if !matches!(reduce, "prod" | "mean" | "amax" | "amin") {
        return Err(runtime_error!(
            "index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}."
        ));
    }
    let d = wrap_dim(dim, x.ndim())?;
    super::rows::check_source(x, d, &super::rows::vector(index, "index_reduce_")?, source, "index_reduce_")?;
    if x.ndim() == 0 {
        let wide = |t: &Tensor| view::reshape_to(t, &[1]);
        return view::reshape_to(&scatter_reduce(&wide(x)?, 0, &wide(index)?, &wide(source)?, reduce, own)?, &[]);
    }
    let mut shape = Dims::from_elem(1, x.ndim());
    shape[d] = index.numel();
    let places = super::rows::wrapped(&long_for(index, "index_reduce")?, x.shape()[d], d)?;
    let places = expand::expand_to(&view::reshape_to(&places, &shape)?, source.shape())?;
    scatter_reduce(x, d as i64, &places, source, reduce, own)
}

/// Places in a flattened tensor of this shape as one tensor of coordinates per dimension.
pub fn unravel_index(places: &Tensor, shape: &[i64]) -> Result<Vec<Tensor>> {
    if matches!(places.dtype(), DType::Bool) || places.dtype().is_float() {
        return Err(type_error!("expected 'indices' to be integer dtype, but got {}", places.dtype()));
    }
    if let Some(s) = shape.iter().find(|&&s| s < 0) {
        return Err(value_error!("'shape' cannot have negative values, but got {s} in {shape:?}"));
    }
    let flat = super::long(places)?;
    let flat = flat.slice::<i64>()?;
    let mut step = 1i64;
    let mut outs: Vec<Tensor> = Vec::with_capacity(shape.len());
    for &size in shape.iter().rev() {
        // A dimension of size 0 has no places.
        let v: Vec<i64> = flat.iter().map(|&i| i.div_euclid(step.max(1)).rem_euclid(size.max(1))).collect();
        outs.push(Tensor::from_slice(&v, places.shape())?.copied_as(places.dtype())?);
        step = step.saturating_mul(size);
    }
    outs.reverse();
    Ok(outs)
}

/// As `nonzero`, cut or filled up to `size` rows.
fn nonzero_static(x: &Tensor, size: i64, fill: i64) -> Result<Tensor> {
    let size =
        usize::try_from(size).map_err(|_| runtime_error!("nonzero_static: 'size' must be an non-negative integer"))?;
    let found = match crate::compose::call("nonzero", &[crate::Arg::Tensor(x.detach())])? {
        Ret::Tensor(t) => t.to_contiguous()?,
        _ => return Err(runtime_error!("nonzero does not give one tensor")),
    };
    let out = Tensor::full(&[size, x.ndim()], fill.into(), DType::I64)?;
    let (from, to) = (found.slice::<i64>()?, out.slice_mut::<i64>()?);
    to.iter_mut().zip(from).for_each(|(a, b)| *a = *b);
    Ok(out)
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("slice_scatter(Tensor input, Tensor src, int dim=0, int? start=None, int? end=None, int step=1)", METHOD | TORCH, |a| {
            slice_scatter(a.tensor(0)?, a.tensor(1)?, a.int(2)?, a.opt_int(3), a.opt_int(4), a.int(5)?).ret()
        })
        .doc("A copy with the places start to end of dim, every step, replaced by src.")
        .samples(&["t(5,3), t(2,3), 0, 1, 3", "t(3,6), t(3,2), 1, 0, 6, 3", "t(4), t(2), 0, -2", "t(3), t(0), 0, 2, 1"])
        .oracle("(lambda y: (y.__setitem__((slice(None),) * (dim % input.ndim) + (slice(start, end, step),), src), y)[1])(np.array(input))"),
        op("select_scatter(Tensor input, Tensor src, int dim, int index)", METHOD | TORCH, |a| {
            select_scatter(a.tensor(0)?, a.tensor(1)?, a.int(2)?, a.int(3)?).ret()
        })
        .doc("A copy with place index of dim replaced by src.")
        .samples(&["t(3,4), t(4), 0, 1", "t(3,4), t(3), -1, -1"])
        .oracle("(lambda y: (y.__setitem__((slice(None),) * (dim % input.ndim) + (index,), src), y)[1])(np.array(input))"),
        op("diagonal_scatter(Tensor input, Tensor src, int offset=0, int dim1=0, int dim2=1)", METHOD | TORCH, |a| {
            diagonal_scatter(a.tensor(0)?, a.tensor(1)?, a.int(2)?, a.int(3)?, a.int(4)?).ret()
        })
        .doc("A copy with a diagonal of two dimensions replaced by src.")
        .samples(&["t(3,4), t(3)", "t(3,4), t(2), 2", "t(3,3), t(2), -1"])
        .oracle("(lambda y: (y.__setitem__((np.arange(len(src)) + max(-offset, 0), np.arange(len(src)) + max(offset, 0)), src), y)[1])(np.array(input))"),
        op("index_reduce(Tensor input, int dim, Tensor index, Tensor source, str reduce, *, bool include_self=True)", METHOD | TORCH | INPLACE | OUT, |a| {
            index_reduce(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.tensor(3)?, a.str(4)?, a.bool(5)?).ret()
        })
        .doc("A copy with slices of source reduced ('prod', 'mean', 'amax', 'amin') into slices of dim.")
        .samples(&[
            "pos(4,3), 0, i(5, lo=0, hi=4), pos(5,3), 'prod'", "t(4,3), 0, i(5, lo=0, hi=4), t(5,3), 'amax'",
            "t(2,3), 1, i(2, lo=0, hi=3), t(2,2), 'amin', include_self=False", "t(4,3), 0, i(5, lo=0, hi=4), t(5,3), 'mean'",
        ])
        .oracle("ref_index_reduce(input, dim, index, source, reduce, include_self)"),
        op("unravel_index(Tensor indices, int|int[] shape)", TORCH, |a| {
            unravel_index(a.tensor(0)?, a.ints(1)?).map(Ret::Tuple)
        })
        .doc("Places in a flattened tensor of this shape as coordinates, one tensor per dimension.")
        .samples(&["i(4, lo=0, hi=24), (2,3,4)", "i(2,2, lo=0, hi=5), (5,)"])
        .oracle("np.unravel_index(indices, tuple(shape) if np.ndim(shape) else (shape,))")
        .nondiff(),
        op("nonzero_static(Tensor input, *, int size, int fill_value=-1)", METHOD | TORCH, |a| {
            nonzero_static(a.tensor(0)?, a.int(1)?, a.int(2)?).ret()
        })
        .doc("Places of elements that are not zero, cut or filled up with fill_value to size rows.")
        .samples(&["b(3,4), size=4", "b(3), size=6, fill_value=-2"])
        .oracle("(lambda n: np.concatenate([n, np.full((max(size - len(n), 0), input.ndim), fill_value)])[:size])(np.argwhere(input))")
        .nondiff(),
        op("narrow_copy(Tensor input, int dim, int start, int length)", METHOD | TORCH | OUT, |a| {
            view::clone(&select::narrow(a.tensor(0)?, a.int(1)?, a.int(2)?, a.int(3)?)?).ret()
        })
        .doc("A copy of length places of dim from start on.")
        .samples(&["t(5,3), 0, 1, 2", "t(2,4), -1, 0, 0"])
        .oracle("np.take(input, np.arange(length) + start % max(input.shape[dim], 1), axis=dim)"),
    ]
}
