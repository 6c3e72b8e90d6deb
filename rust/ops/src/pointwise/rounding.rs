//! Signs and rounding. Gradients are zero almost everywhere; `frac`'s is one.

use super::{Num, apply, mul_mask, place, unsupported, zeros_like};
use crate::registry::{DIRECT, INPLACE, METHOD, OUT, TORCH, op};
use crate::{DType, IntoRet, OpDef, Result, Tensor, attach, grads, needs_grad, save};
use rustnn_kernels::copy;
use rustnn_kernels::elementwise::Unary;

const ALL: u32 = METHOD | TORCH | INPLACE | OUT | DIRECT;

/// Keeps the dtype; integers are rounded already, bools cannot be.
fn step(kernel: Unary, node: &'static str, name: &str, x: &Tensor) -> Result<Tensor> {
    if x.dtype() == DType::Bool {
        return Err(unsupported(name, DType::Bool));
    }
    attach(node, apply(kernel, x, x.dtype())?, &[x], |_, g| Ok(grads![zeros_like(g)?]))
}

/// −1, 0 or 1 by the element's sign.
pub fn sign(x: &Tensor) -> Result<Tensor> {
    if x.dtype() == DType::Bool {
        return x.copied();
    }
    attach("SignBackward0", apply(Unary::Sign, x, x.dtype())?, &[x], |_, g| Ok(grads![zeros_like(g)?]))
}

/// To nearest, ties to even, at `decimals` digits after (or before) the point.
pub fn round(x: &Tensor, decimals: i64) -> Result<Tensor> {
    if decimals == 0 {
        return step(Unary::Round, "RoundBackward0", "round", x);
    }
    super::need_float("round", x)?;
    let scale = 10f64.powi(decimals.unsigned_abs().min(400) as i32);
    let kernel = if decimals > 0 { Unary::RoundUp(scale) } else { Unary::RoundDown(scale) };
    step(kernel, "RoundBackward1", "round", x)
}

/// The part after the point, with the element's sign.
pub fn frac(x: &Tensor) -> Result<Tensor> {
    super::need_float("frac", x)?;
    attach("FracBackward0", apply(Unary::Frac, x, x.dtype())?, &[x], |_, g| Ok(grads![g.clone()]))
}

/// NaN and infinities replaced by numbers (0 and the dtype's extremes by default).
pub fn nan_to_num(x: &Tensor, nan: Option<f64>, posinf: Option<f64>, neginf: Option<f64>) -> Result<Tensor> {
    if !x.dtype().is_float() {
        let out = place(&[Num::T(x)], x.dtype())?;
        copy::copy(&out.raw(), &x.raw())?;
        return Ok(out);
    }
    let largest = match x.dtype() {
        DType::F64 => f64::MAX,
        DType::F16 => 65504.0,
        DType::BF16 => f64::from(f32::from_bits(0x7f7f_0000)),
        _ => f64::from(f32::MAX),
    };
    let kernel = Unary::NanToNum(nan.unwrap_or(0.0), posinf.unwrap_or(largest), neginf.unwrap_or(-largest));
    let out = apply(kernel, x, x.dtype())?;
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let s = save(x);
    attach("NanToNumBackward0", out, &[x], move |c, g| Ok(grads![mul_mask(g, &super::compare::isfinite(&s.get(c)?)?)?]))
}

pub(crate) fn ops() -> Vec<OpDef> {
    let three: &[&str] = &["t(3,4)", "t()", "t(0,3)", "t(5) * 3"];
    vec![
        op("sign(Tensor input)", ALL, |a| sign(a.tensor(0)?).ret())
            .doc("−1, 0 or 1; 0 for NaN.")
            .samples(three)
            .oracle("np.nan_to_num(np.sign(input))"),
        op("sgn(Tensor input)", ALL, |a| sign(a.tensor(0)?).ret())
            .doc("Alias of sign for real tensors.")
            .samples(three)
            .oracle("np.nan_to_num(np.sign(input))"),
        op("floor(Tensor input)", ALL, |a| step(Unary::Floor, "FloorBackward0", "floor_vml", a.tensor(0)?).ret())
            .doc("Rounded down.")
            .samples(three)
            .oracle("np.floor(input)"),
        op("ceil(Tensor input)", ALL, |a| step(Unary::Ceil, "CeilBackward0", "ceil_vml", a.tensor(0)?).ret())
            .doc("Rounded up.")
            .samples(three)
            .oracle("np.ceil(input)"),
        op("trunc(Tensor input)", ALL, |a| step(Unary::Trunc, "TruncBackward0", "trunc_vml", a.tensor(0)?).ret())
            .doc("Rounded toward zero.")
            .samples(three)
            .oracle("np.trunc(input)"),
        op("fix(Tensor input)", ALL, |a| step(Unary::Trunc, "TruncBackward0", "trunc_vml", a.tensor(0)?).ret())
            .doc("Alias of trunc.")
            .samples(three)
            .oracle("np.trunc(input)"),
        op("round(Tensor input, *, int decimals=0)", ALL, |a| round(a.tensor(0)?, a.int(1)?).ret())
            .doc("To nearest, ties to even; at `decimals` digits after the point.")
            .samples(&["t(3,4)", "t(0,3)", "t(5) * 3, decimals=1", "t(5) * 300, decimals=-1"])
            .oracle("np.round(input, decimals)"),
        op("frac(Tensor input)", ALL, |a| frac(a.tensor(0)?).ret())
            .doc("The part after the point.")
            .samples(three)
            .oracle("input - np.trunc(input)"),
        op("nan_to_num(Tensor input, float? nan=None, float? posinf=None, float? neginf=None)", ALL, |a| {
            nan_to_num(a.tensor(0)?, a.opt_float(1), a.opt_float(2), a.opt_float(3)).ret()
        })
        .doc("NaN becomes `nan` (0), infinities `posinf` and `neginf` (the dtype's extremes).")
        .samples(&["t(3,4)", "t(3,4), 1.0, 2.0, -2.0"])
        .oracle("np.nan_to_num(input, nan=nan or 0.0, posinf=posinf, neginf=neginf)"),
    ]
}
