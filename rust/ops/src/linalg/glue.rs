//! Views and small steps that products are put together from, with their gradients.

use rustnn_core::base::dtype::Float;
use rustnn_core::base::{layout, runtime_error, with_float};
use rustnn_core::{Dims, Element, Layout, Result, Tensor, attach, attach_view, grads};
use rustnn_kernels::copy;

/// Dimensions in another order.
pub(crate) fn permute(x: &Tensor, order: &[usize]) -> Result<Tensor> {
    if order.iter().enumerate().all(|(i, &d)| i == d) {
        return Ok(x.clone());
    }
    let mut back: Dims = order.into();
    for (i, &d) in order.iter().enumerate() {
        back[d] = i;
    }
    let out = x.view_of(x.layout().permute(order));
    attach_view("PermuteBackward0", out, x, move |_, g| Ok(grads![permute(g, &back)?]))
}

/// Two dimensions exchanged.
pub(crate) fn transpose(x: &Tensor, a: usize, b: usize) -> Result<Tensor> {
    let out = x.view_of(x.layout().transpose(a, b));
    attach_view("TransposeBackward0", out, x, move |_, g| Ok(grads![transpose(g, a, b)?]))
}

/// The last two dimensions exchanged.
pub(crate) fn mt(x: &Tensor) -> Result<Tensor> {
    match x.ndim() {
        0 | 1 => Err(runtime_error!("expected a matrix or a batch of matrices, got shape {:?}", x.shape())),
        n => transpose(x, n - 2, n - 1),
    }
}

/// Another shape of as many elements: a view where strides allow it, else a copy.
pub(crate) fn reshape(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if x.shape() == shape {
        return Ok(x.clone());
    }
    let back: Dims = x.shape().into();
    match x.layout().view(shape) {
        Some(l) => attach_view("ViewBackward0", x.view_of(l), x, move |_, g| Ok(grads![reshape(g, &back)?])),
        None => {
            let flat = x.to_contiguous()?;
            let out = flat.view_of(Layout::contiguous(shape));
            attach("UnsafeViewBackward0", out, &[x], move |_, g| Ok(grads![reshape(g, &back)?]))
        }
    }
}

/// Broadcast to a shape, as a view.
pub(crate) fn expand(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if x.shape() == shape {
        return Ok(x.clone());
    }
    attach_view("ExpandBackward0", x.view_of(x.layout().expand(shape)?), x, |_, g| Ok(grads![g.clone()]))
}

/// `x` times a number.
pub(crate) fn scale(x: &Tensor, by: f64) -> Result<Tensor> {
    if by == 1.0 {
        return Ok(x.clone());
    }
    let out = Tensor::empty(x.shape(), x.dtype())?;
    copy::copy(&out.raw(), &x.raw())?;
    with_float!(x.dtype(), T => {
        let by = <T as Float>::Acc::from_f64(by);
        rustnn_kernels::parallel::for_slices(out.slice_mut::<T>()?, 32_768, |_, p| {
            p.iter_mut().for_each(|v| *v = T::from_acc(v.to_acc() * by));
        });
    }, else rustnn_core::base::with_number!(x.dtype(), T => {
        out.slice_mut::<T>()?.iter_mut().for_each(|v| *v = T::from_i64(v.to_i64().wrapping_mul(by as i64)));
    }, else ()));
    attach("MulBackward0", out, &[x], move |_, g| Ok(grads![scale(g, by)?]))
}

/// `a + b`, broadcast.
pub(crate) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let shape = layout::broadcast_shapes(a.shape(), b.shape())?;
    let out = Tensor::empty(&shape, a.dtype())?;
    let other = Tensor::empty(&shape, a.dtype())?;
    for (to, from) in [(&out, a), (&other, b)] {
        copy::copy(&to.raw(), &from.view_of(from.layout().expand(&shape)?).raw())?;
    }
    with_float!(a.dtype(), T => {
        let y = other.slice::<T>()?;
        rustnn_kernels::parallel::for_slices(out.slice_mut::<T>()?, 32_768, |at, p| {
            p.iter_mut().zip(&y[at..]).for_each(|(v, y)| *v = T::from_acc(v.to_acc() + y.to_acc()));
        });
    }, else rustnn_core::base::with_number!(a.dtype(), T => {
        let y = other.slice::<T>()?;
        out.slice_mut::<T>()?.iter_mut().zip(y).for_each(|(v, y)| *v = T::from_i64(v.to_i64().wrapping_add(y.to_i64())));
    }, else ()));
    attach("AddBackward0", out, &[a, b], |_, g| Ok(grads![g.clone(), g.clone()]))
}

/// The diagonal of dimensions `a < b`, which take `a`'s place: a view.
pub(crate) fn diagonal(x: &Tensor, a: usize, b: usize) -> Result<Tensor> {
    let shape: Dims = x.shape().into();
    let out = x.view_of(diagonal_layout(x.layout(), a, b));
    attach_view("DiagonalBackward0", out, x, move |_, g| Ok(grads![undiagonal(g, &shape, a, b)?]))
}

fn diagonal_layout(l: &Layout, a: usize, b: usize) -> Layout {
    let mut l = l.clone();
    l.shape[a] = l.shape[a].min(l.shape[b]);
    l.strides[a] += l.strides[b];
    l.shape.remove(b);
    l.strides.remove(b);
    l
}

fn undiagonal(g: &Tensor, shape: &[usize], a: usize, b: usize) -> Result<Tensor> {
    let out = Tensor::zeros(shape, g.dtype())?;
    copy::copy(&out.view_of(diagonal_layout(out.layout(), a, b)).raw(), &g.raw())?;
    attach("DiagonalBackwardBackward0", out, &[g], move |_, gg| Ok(grads![diagonal(gg, a, b)?]))
}

/// The product of a few matrices, left to right.
pub(crate) fn product_of(factors: &[&Tensor]) -> Result<Tensor> {
    let mut out = factors[0].clone();
    for f in &factors[1..] {
        out = super::matmul::product(&out, f, 1.0)?;
    }
    Ok(out)
}
