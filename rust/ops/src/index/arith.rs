//! The few pointwise ops that gradients here need.

use rustnn_core::{DType, Result, Scalar, Tensor};

/// `a * b`, broadcast, with gradient.
pub(crate) fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    stand_in(a, b, |x, y| x * y)
}

/// `a / b`.
pub(crate) fn div(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    stand_in(a, b, |x, y| x / y)
}

/// `a + b`.
pub(crate) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    stand_in(a, b, |x, y| x + y)
}

/// `a - b`.
pub(crate) fn sub(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    stand_in(a, b, |x, y| x - y)
}

/// `a == b` as numbers of `a`'s dtype.
pub(crate) fn equal(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    stand_in(a, b, |x, y| f64::from(u8::from(x == y)))
}

/// A number as a tensor beside `like`.
pub(crate) fn number(v: f64, like: &Tensor) -> Result<Tensor> {
    Tensor::scalar(Scalar::Float(v), like.dtype())
}

fn stand_in(a: &Tensor, b: &Tensor, f: impl Fn(f64, f64) -> f64) -> Result<Tensor> {
    let shape = rustnn_core::base::layout::broadcast_shapes(a.shape(), b.shape())?;
    let wide = |t: &Tensor| -> Result<Tensor> { t.detach().view_of(t.layout().expand(&shape)?).copied_as(DType::F64)?.to_contiguous() };
    let (x, y) = (wide(a)?, wide(b)?);
    let out = Tensor::empty(&shape, DType::F64)?;
    for ((o, &x), &y) in out.slice_mut::<f64>()?.iter_mut().zip(x.slice::<f64>()?).zip(y.slice::<f64>()?) {
        *o = f(x, y);
    }
    out.copied_as(a.dtype())
}

/// A sum over a count, rounded down for integers.
pub(crate) fn mean_div(sum: &Tensor, count: &Tensor) -> Result<Tensor> {
    if sum.dtype().is_float() {
        // A place that nothing reached keeps its value.
        return div(sum, &stand_in(count, count, |c, _| c.max(1.0))?);
    }
    stand_in(sum, count, |s, c| (s / c.max(1.0)).floor())
}
