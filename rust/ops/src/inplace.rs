//! In-place and `out=` forms of every op, and the gradients of writing through views.

use rustnn_core::base::{layout, runtime_error, with_float};
use rustnn_core::inplace::{self, SliceGrads};
use rustnn_core::{DType, Element, Layout, Result, Tensor, attach, grads, graph};
use rustnn_kernels::copy;
use std::sync::Once;

/// Gives core the gradients it needs for views and in-place writes; called when the registry is made.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        graph::set_view_grad(scatter);
        inplace::set_slice_grads(SliceGrads { inside: gather, outside });
    });
}

/// Writes an op's `result` back into `x` (`x_` forms), checking dtype and shape as PyTorch does.
pub fn write_back(x: &Tensor, result: &Tensor) -> Result<()> {
    if result.same(x) {
        return Ok(());
    }
    if !result.dtype().can_cast(x.dtype()) {
        return Err(runtime_error!(
            "result type {} can't be cast to the desired output type {}",
            result.dtype().torch_name(),
            x.dtype().torch_name()
        )
        .hint("use the out-of-place form, or cast the tensor first (.float())"));
    }
    if result.shape() != x.shape() {
        return Err(runtime_error!(
            "output with shape {:?} doesn't match the broadcast shape {:?}",
            x.shape(),
            result.shape()
        )
        .hint("an in-place op cannot change the shape of the tensor it writes"));
    }
    inplace::assign(x, &crate::basic::to_dtype(result, x.dtype())?)
}

/// The buffer that `base` and `view` both lie in, relative layouts, and its length.
fn frame(base: &Layout, view: &Layout) -> Result<(Layout, Layout, usize)> {
    let start = base.offset.min(view.offset);
    let shift = |l: &Layout| Layout { offset: l.offset - start, ..l.clone() };
    let (b, v) = (shift(base), shift(view));
    let len = b.extent()?.max(v.extent()?);
    Ok((b, v, len))
}

/// The part of `g` (a gradient of the base) that the view shows.
fn gather(g: &Tensor, base: &Layout, view: &Layout) -> Result<Tensor> {
    let (b, v, len) = frame(base, view)?;
    let flat = Tensor::zeros(&[len], g.dtype())?;
    copy::copy(&flat.with_layout(b)?.raw(), &g.raw())?;
    let out = flat.with_layout(v)?.to_contiguous()?;
    let out = if out.storage().same(flat.storage()) { out.copied()? } else { out };
    let (bl, vl) = (base.clone(), view.clone());
    attach("AsStridedBackward0", out, &[g], move |_, gg| Ok(grads![scatter(gg, &bl, &vl)?]))
}

/// `g` with the part that the view shows set to zero.
fn outside(g: &Tensor, base: &Layout, view: &Layout) -> Result<Tensor> {
    let (b, v, len) = frame(base, view)?;
    let flat = Tensor::zeros(&[len], g.dtype())?;
    let window = flat.with_layout(b)?;
    copy::copy(&window.raw(), &g.raw())?;
    copy::fill(&flat.with_layout(v)?.raw(), 0i64.into())?;
    let out = window.copied()?;
    let (bl, vl) = (base.clone(), view.clone());
    attach("CopySlices", out, &[g], move |_, gg| Ok(grads![outside(gg, &bl, &vl)?]))
}

/// A base's gradient from the view's: zero outside, summed where the view shows an element more than once.
pub(crate) fn scatter(g: &Tensor, base: &Layout, view: &Layout) -> Result<Tensor> {
    let (b, v, len) = frame(base, view)?;
    let flat = Tensor::zeros(&[len], g.dtype())?;
    if v.is_dense() || !overlaps(&v) {
        copy::copy(&flat.with_layout(v)?.raw(), &g.raw())?;
    } else {
        add_overlapping(&flat, g, &v)?;
    }
    let out = flat.with_layout(b)?.copied()?;
    let (bl, vl) = (base.clone(), view.clone());
    attach("AsStridedScatterBackward0", out, &[g], move |_, gg| Ok(grads![gather(gg, &bl, &vl)?]))
}

/// Whether a layout may show one element twice (true when in doubt).
#[must_use]
pub fn overlaps(l: &Layout) -> bool {
    let mut dims: Vec<(isize, usize)> =
        l.strides.iter().copied().zip(l.shape.iter().copied()).filter(|&(_, d)| d > 1).collect();
    dims.sort_unstable();
    let mut reach = 0isize;
    for (s, d) in dims {
        if s <= reach {
            return true;
        }
        reach += s * (d as isize - 1);
    }
    false
}

fn add_overlapping(flat: &Tensor, g: &Tensor, view: &Layout) -> Result<()> {
    let g = g.to_contiguous()?;
    with_float!(g.dtype(), T => {
        let (dst, src) = (flat.slice_mut::<T>()?, g.slice::<T>()?);
        let strides = layout::contiguous_strides(&view.shape);
        for (i, &s) in src.iter().enumerate() {
            let at: isize = (0..view.ndim())
                .map(|d| (i as isize / strides[d]) % view.shape[d] as isize * view.strides[d])
                .sum();
            let place = &mut dst[(view.offset as isize + at) as usize];
            *place = T::from_f64(place.to_f64() + s.to_f64());
        }
        Ok(())
    }, else Err(runtime_error!("gradients are floating point")))
}

/// `out=`: gives `out` the result's shape (resizing it when it is empty or differs) and value; returns what stands in
/// its place.
pub fn write_out(out: &Tensor, result: &Tensor) -> Result<Tensor> {
    if out.tracked() || result.tracked() {
        return Err(runtime_error!(
            "functions with out=... arguments don't support automatic differentiation, but one of the arguments requires grad."
        ));
    }
    if !result.dtype().can_cast(out.dtype()) {
        return Err(runtime_error!(
            "result type {} can't be cast to the desired output type {}",
            result.dtype().torch_name(),
            out.dtype().torch_name()
        ));
    }
    if out.shape() != result.shape() {
        let fresh = result.copied_as(out.dtype())?;
        return Ok(out.rebound(&fresh));
    }
    inplace::assign(out, result)?;
    Ok(out.clone())
}

/// A float dtype for an op that computes in floats: the tensor's own, or the default for integers.
#[must_use]
pub fn float_dtype(d: DType) -> DType {
    if d.is_float() { d } else { rustnn_core::mode::default_dtype() }
}
