//! Copies: repeat, tile, repeat_interleave, roll, flip, rot90.

use super::{permute, view, wrap_dims};
use crate::args::{Arg, IntoRet};
use crate::registry::{METHOD, OpDef, TORCH, op};
use rustnn_core::base::layout;
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::runtime_error;
use rustnn_core::{DType, Dims, Layout, Result, Strides, Tensor, attach, grads, needs_grad};
use rustnn_kernels::{copy, index as kernel};

/// The tensor repeated along each dimension; more counts than dimensions add dimensions in front.
pub fn repeat(x: &Tensor, counts: &[i64]) -> Result<Tensor> {
    if counts.len() < x.ndim() {
        return Err(runtime_error!(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor"
        )
        .hint(format!("the shape is {:?}, the counts {counts:?}", x.shape())));
    }
    let lead = counts.len() - x.ndim();
    let size = |i: usize| if i < lead { 1 } else { x.shape()[i - lead] };
    if let Some(p) = counts.iter().position(|&c| c < 0) {
        let shown: Vec<i64> = counts.iter().enumerate().map(|(i, &c)| c.saturating_mul(size(i) as i64)).collect();
        return Err(runtime_error!("Trying to create tensor with negative dimension {}: {shown:?}", shown[p]));
    }
    let n = counts.len();
    let mut shape = Dims::new();
    for (i, &c) in counts.iter().enumerate() {
        shape.push((c as usize).checked_mul(size(i)).ok_or_else(|| runtime_error!("repeat: sizes overflow"))?);
    }
    let out = Tensor::empty(&shape, x.dtype())?;
    // Each dimension as (count, size): the source has stride 0 along the counts.
    let (mut pairs, mut strides) = (Dims::new(), Strides::new());
    for (i, &c) in counts.iter().enumerate() {
        pairs.extend([c as usize, size(i)]);
        strides.extend([0, if i < lead { 0 } else { x.strides()[i - lead] }]);
    }
    if out.numel() > 0 {
        let src = x.with_layout(Layout { shape: pairs.clone(), strides, offset: x.offset() })?;
        copy::copy(&out.view_of(Layout::contiguous(&pairs)).raw(), &src.raw())?;
    }
    attach("RepeatBackward0", out, &[x], move |_, g| {
        // Counts to the front: the engine sums leading dimensions.
        let g = view::reshape_to(g, &pairs)?;
        let order: Vec<i64> = (0..n).map(|i| 2 * i).chain((0..n).map(|i| 2 * i + 1)).map(|d| d as i64).collect();
        let g = permute::permute(&g, &order)?;
        let mut shape: Dims = g.shape()[..n].into();
        shape.extend_from_slice(&g.shape()[n + lead..]);
        Ok(grads![view::reshape_to(&g, &shape)?])
    })
}

/// `repeat` with missing counts taken as 1.
pub fn tile(x: &Tensor, counts: &[i64]) -> Result<Tensor> {
    let mut all: Vec<i64> = vec![1; x.ndim().saturating_sub(counts.len())];
    all.extend_from_slice(counts);
    repeat(x, &all)
}

/// Indices that repeat `i` `counts[i]` times.
pub fn interleaved(counts: &Tensor, output_size: Option<i64>) -> Result<Tensor> {
    if !matches!(counts.dtype(), DType::I64 | DType::I32) {
        return Err(runtime_error!("repeats has to be Long or Int tensor"));
    }
    if counts.ndim() != 1 {
        return Err(runtime_error!("repeat_interleave only accept 1D vector as repeat"));
    }
    let c = crate::index::long(counts)?;
    let c = c.slice::<i64>()?;
    if c.iter().any(|&v| v < 0) {
        return Err(runtime_error!("repeats can not be negative"));
    }
    let total = c.iter().try_fold(0i64, |a, &b| a.checked_add(b)).ok_or_else(|| runtime_error!("repeats overflow"))?;
    if output_size.is_some_and(|o| o != total) {
        return Err(runtime_error!("allocated size does not match required size"));
    }
    let out = Tensor::empty(&[total as usize], DType::I64)?;
    let dst = out.slice_mut::<i64>()?;
    let mut at = 0;
    for (i, &n) in c.iter().enumerate() {
        dst[at..at + n as usize].fill(i as i64);
        at += n as usize;
    }
    Ok(out)
}

/// Each slice along `dim` (of the flattened tensor if none) repeated.
pub fn repeat_interleave(x: &Tensor, repeats: &Arg, dim: Option<i64>, output_size: Option<i64>) -> Result<Tensor> {
    let (x, d) = match dim {
        Some(d) => (x.clone(), wrap_dim(d, x.ndim())?),
        None => (view::reshape_to(x, &[x.numel()])?, 0),
    };
    let x = if x.ndim() == 0 { view::reshape_to(&x, &[1])? } else { x };
    let n = x.shape()[d];
    let counts = match repeats {
        Arg::Int(k) if *k < 0 => return Err(runtime_error!("Repeats must be non-negative")),
        Arg::Int(k) => {
            // A constant count is a broadcast: no indices needed.
            let mut wide: Dims = x.shape().into();
            wide.insert(d + 1, *k as usize);
            let y = super::expand::expand_to(&view::unsqueeze(&x, d as i64 + 1)?, &wide)?;
            let mut shape: Dims = x.shape().into();
            shape[d] = n.checked_mul(*k as usize).ok_or_else(|| runtime_error!("repeat_interleave: sizes overflow"))?;
            let y = view::reshape_to(&y, &shape)?;
            return if y.storage().same(x.storage()) { view::clone(&y) } else { Ok(y) };
        }
        Arg::Tensor(t) if t.numel() == 1 && n != 1 => {
            let k = t.item()?.to_i64();
            return repeat_interleave(&x, &Arg::Int(k), Some(d as i64), output_size);
        }
        Arg::Tensor(t) => t.clone(),
        _ => return Err(runtime_error!("repeat_interleave: repeats must be an int or a tensor")),
    };
    let counts = if counts.ndim() == 0 { view::reshape_to(&counts, &[1])? } else { counts };
    if counts.ndim() == 1 && counts.shape()[0] != n {
        return Err(runtime_error!(
            "repeats must have the same size as input along dim, but got repeats.size(0) = {} and input.size({d}) = {n}",
            counts.shape()[0]
        ));
    }
    crate::index::rows::index_select(&x, d as i64, &interleaved(&counts, output_size)?)
}

/// Rotated by `shifts` along `dims` (the flattened tensor if none are given).
pub fn roll(x: &Tensor, shifts: &[i64], dims: &[i64]) -> Result<Tensor> {
    if dims.is_empty() && shifts.len() == 1 {
        let flat = view::reshape_to(x, &[x.numel()])?;
        return view::reshape_to(&roll(&flat, shifts, &[0])?, x.shape());
    }
    if shifts.is_empty() {
        return Err(runtime_error!("`shifts` required"));
    }
    if shifts.len() != dims.len() {
        return Err(runtime_error!("shifts and dimensions must align. shifts: {}, dims:{}", shifts.len(), dims.len()));
    }
    let mut y = x.to_contiguous()?;
    for (&s, &d) in shifts.iter().zip(dims) {
        let d = wrap_dim(d, x.ndim())?;
        let n = x.shape().get(d).copied().unwrap_or(1);
        let out = Tensor::empty(x.shape(), x.dtype())?;
        let inner = layout::count(x.shape().get(d + 1..).unwrap_or(&[]));
        if n > 0 {
            kernel::roll(out.raw(), y.raw(), n, inner, s.rem_euclid(n as i64) as usize)?;
        }
        y = out;
    }
    if !needs_grad(&[x]) {
        return Ok(y);
    }
    let back: Vec<i64> = shifts.iter().map(|s| s.wrapping_neg()).collect();
    let dims = dims.to_vec();
    attach("RollBackward0", y, &[x], move |_, g| Ok(grads![roll(g, &back, &dims)?]))
}

/// Backwards along `dims`.
pub fn flip(x: &Tensor, dims: &[i64]) -> Result<Tensor> {
    let d = wrap_dims(dims, x.ndim())?;
    let out = Tensor::empty(x.shape(), x.dtype())?;
    kernel::flip(out.raw(), x.raw(), if x.ndim() == 0 { &[] } else { &d })?;
    let out = crate::basic::in_layout_of(x, out)?;
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let dims = dims.to_vec();
    attach("FlipBackward0", out, &[x], move |_, g| Ok(grads![flip(g, &dims)?]))
}

/// Turned by `k` quarters in the plane of two dimensions.
pub fn rot90(x: &Tensor, k: i64, dims: &[i64]) -> Result<Tensor> {
    let &[a, b] = dims else {
        return Err(runtime_error!("expected total rotation dims == 2, but got dims = {}", dims.len()));
    };
    if x.ndim() < 2 {
        return Err(runtime_error!("expected total dims >= 2, but got total dims = {}", x.ndim()));
    }
    let (i, j) = (wrap_dim(a, x.ndim())?, wrap_dim(b, x.ndim())?);
    if i == j {
        return Err(runtime_error!("expected rotation dims to be different, but got dim0 = {a} and dim1 = {b}"));
    }
    match k.rem_euclid(4) {
        1 => permute::transpose(&flip(x, &[b])?, a, b),
        2 => flip(x, dims),
        3 => permute::transpose(&flip(x, &[a])?, a, b),
        _ => view::clone(x),
    }
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("repeat(Tensor input, int[]... repeats)", METHOD, |a| repeat(a.tensor(0)?, a.ints(1)?).ret())
            .doc("A copy repeated along each dimension; more counts than dimensions add dimensions in front.")
            .samples(&["t(3), (4,2)", "t(2,3), (1,2)", "t(), (3,)", "t(2,3), (0,1)", "t(2,1,3), (2,1,3,2)"])
            .oracle("np.tile(input, repeats)"),
        op("tile(Tensor input, int[]... dims)", METHOD | TORCH, |a| tile(a.tensor(0)?, a.ints(1)?).ret())
            .doc("repeat; missing counts are 1.")
            .samples(&["t(2,3), (2,)", "t(3), (2,2)"])
            .oracle("np.tile(input, dims)"),
        op(
            "repeat_interleave(Tensor input, int|Tensor repeats, int? dim=None, *, int? output_size=None)",
            METHOD | TORCH,
            |a| repeat_interleave(a.tensor(0)?, a.arg(1), a.opt_int(2), a.opt_int(3)).ret(),
        )
        .doc("Each slice along dim (each element if dim is None) repeated.")
        .samples(&["t(2,3), 2", "t(2,3), 2, 1", "t(3), i(3, lo=0, hi=3), 0"])
        .oracle("np.repeat(input, repeats, axis=dim)"),
        op("repeat_interleave(Tensor repeats, *, int? output_size=None)", TORCH, |a| {
            interleaved(a.tensor(0)?, a.opt_int(1)).ret()
        })
        .nondiff(),
        op("roll(Tensor input, int[1] shifts, int[1]? dims=())", METHOD | TORCH, |a| {
            roll(a.tensor(0)?, a.ints(1)?, a.opt_ints(2).unwrap_or(&[])).ret()
        })
        .doc("A copy rotated by shifts along dims, or flattened when no dims are given.")
        .samples(&["t(5), 2", "t(2,3), 1, 1", "t(2,3), (1,-2), (0,1)", "t(2,3), 2"])
        .oracle("np.roll(input, shifts, None if dims == () else dims)"),
        op("flip(Tensor input, int[]... dims)", METHOD | TORCH, |a| flip(a.tensor(0)?, a.ints(1)?).ret())
            .doc("A copy backwards along dims.")
            .samples(&["t(2,3), (0,)", "t(2,3), (0,1)", "t(2,3), (-1,)"])
            .oracle("np.flip(input, dims)"),
        op("fliplr(Tensor input)", METHOD | TORCH, |a| {
            let x = a.tensor(0)?;
            if x.ndim() < 2 {
                return Err(runtime_error!("Input must be >= 2-d."));
            }
            flip(x, &[1]).ret()
        })
        .doc("Columns backwards.")
        .samples(&["t(2,3)"])
        .oracle("np.fliplr(input)"),
        op("flipud(Tensor input)", METHOD | TORCH, |a| {
            let x = a.tensor(0)?;
            if x.ndim() < 1 {
                return Err(runtime_error!("Input must be >= 1-d."));
            }
            flip(x, &[0]).ret()
        })
        .doc("Rows backwards.")
        .samples(&["t(2,3)", "t(3)"])
        .oracle("np.flipud(input)"),
        op("rot90(Tensor input, int k=1, int[] dims=(0, 1))", METHOD | TORCH, |a| {
            rot90(a.tensor(0)?, a.int(1)?, a.ints(2)?).ret()
        })
        .doc("Turned by k quarters in the plane of two dimensions.")
        .samples(&["t(2,3)", "t(2,3), 2", "t(2,3), -1", "t(2,2,3), 1, (1,2)", "t(2,2), 4"])
        .oracle("np.rot90(input, k, dims)"),
    ]
}
