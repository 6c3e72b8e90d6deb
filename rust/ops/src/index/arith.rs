//! The few pointwise ops that gradients here need.

use crate::args::{Arg, Ret};
use crate::basic::to_dtype;
use crate::compose;
pub(crate) use crate::compose::{div, mul};
use rustnn_core::{Result, Scalar, Tensor};

/// `a == b` as numbers of `a`'s dtype.
pub(crate) fn equal(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    to_dtype(&compose::eq(a, b)?, a.dtype())
}

/// A number as a tensor beside `like`.
pub(crate) fn number(v: f64, like: &Tensor) -> Result<Tensor> {
    Tensor::scalar(Scalar::Float(v), like.dtype())
}

/// A sum over a count, rounded down for integers. A place that nothing reached keeps its value.
pub(crate) fn mean_div(sum: &Tensor, count: &Tensor) -> Result<Tensor> {
    let count = to_dtype(&compose::clamp_min(count, 1.0)?, sum.dtype())?;
    if sum.dtype().is_float() {
        return div(sum, &count);
    }
    match compose::call("floor_divide", &[Arg::Tensor(sum.clone()), Arg::Tensor(count)])? {
        Ret::Tensor(t) => Ok(t),
        _ => Ok(sum.clone()),
    }
}
