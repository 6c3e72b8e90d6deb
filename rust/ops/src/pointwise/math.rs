//! Elementary functions of one operand: rows of one table. Integers are computed as the default float.

use super::{Num, mul, place, sub};
use crate::conv::fused;
use crate::inplace::float_dtype;
use crate::registry::{DIRECT, INPLACE, METHOD, OUT, TORCH, op};
use crate::{DType, IntoRet, OpDef, Result, Tensor, attach, grads, needs_grad, save, save_output};
use rustnn_core::base::not_implemented;
use rustnn_kernels::elementwise::{self, Unary};
use std::f64::consts;

const ALL: u32 = METHOD | TORCH | INPLACE | OUT | DIRECT;

/// One pass of a kernel, without a graph.
pub fn apply(op: Unary, x: &Tensor, dtype: DType) -> Result<Tensor> {
    if let Some(out) = fused::map(op, x, dtype)? {
        return Ok(out);
    }
    let out = place(&[Num::T(x)], dtype)?;
    elementwise::unary(op, &out.raw(), &x.raw())?;
    Ok(out)
}

/// A constant multiple.
pub(crate) fn times(x: &Tensor, k: f64) -> Result<Tensor> {
    mul(x, k)
}

/// `a·x + b`, recorded.
pub(crate) fn affine(x: &Tensor, a: f64, b: f64) -> Result<Tensor> {
    let out = apply(Unary::Affine(a, b), x, float_dtype(x.dtype()))?;
    attach("MulBackward0", out, &[x], move |_, g| Ok(grads![times(g, a)?]))
}

/// Declares ops: name, kernel, node, what is saved (`x`, `y` or nothing), gradient, doc, samples, oracle.
macro_rules! table {
    ($($name:ident $kernel:expr, $node:literal, $save:ident |$g:ident, $v:ident| $grad:expr, $doc:literal, $make:literal, $oracle:literal;)*) => {
        $(
            #[doc = $doc]
            pub fn $name(x: &Tensor) -> Result<Tensor> {
                let out = apply($kernel, x, float_dtype(x.dtype()))?;
                if !needs_grad(&[x]) {
                    return Ok(out);
                }
                table!(@record $save, $node, out, x, $g, $v, $grad)
            }
        )*
        fn table() -> Vec<OpDef> {
            vec![$(
                op(concat!(stringify!($name), "(Tensor input)"), ALL, |a| $name(a.tensor(0)?).ret())
                    .doc($doc)
                    .samples(&[concat!($make, "(3,4)"), concat!($make, "()"), concat!($make, "(0,3)")])
                    .oracle($oracle),
            )*]
        }
    };
    (@record x, $node:literal, $out:ident, $x:ident, $g:ident, $v:ident, $grad:expr) => {{
        let s = save($x);
        attach($node, $out, &[$x], move |c, $g| {
            let kept = s.get(c)?;
            let $v = &kept;
            Ok(grads![$grad?])
        })
    }};
    (@record y, $node:literal, $out:ident, $x:ident, $g:ident, $v:ident, $grad:expr) => {{
        let s = save_output(&$out);
        attach($node, $out, &[$x], move |c, $g| {
            let kept = s.get(c)?;
            let $v = &kept;
            Ok(grads![$grad?])
        })
    }};
}

table! {
    exp Unary::Exp, "ExpBackward0", y |g, y| mul(g, y), "e to the power of each element.", "t", "np.exp(input)";
    exp2 Unary::Exp2, "Exp2Backward0", y |g, y| times(&mul(g, y)?, consts::LN_2), "2 to the power of each element.", "t", "np.exp2(input)";
    expm1 Unary::Expm1, "Expm1Backward0", y |g, y| mul(g, &affine(y, 1.0, 1.0)?), "e^x − 1, accurate near 0.", "t", "np.expm1(input)";
    log Unary::Ln, "LogBackward0", x |g, x| super::div(g, x), "Natural logarithm; NaN below 0, −inf at 0.", "pos", "np.log(input)";
    log2 Unary::Log2, "Log2Backward0", x |g, x| super::div(g, &times(x, consts::LN_2)?), "Logarithm to base 2.", "pos", "np.log2(input)";
    log10 Unary::Log10, "Log10Backward0", x |g, x| super::div(g, &times(x, consts::LN_10)?), "Logarithm to base 10.", "pos", "np.log10(input)";
    log1p Unary::Log1p, "Log1PBackward0", x |g, x| super::div(g, &affine(x, 1.0, 1.0)?), "log(1 + x), accurate near 0.", "pos", "np.log1p(input)";
    sin Unary::Sin, "SinBackward0", x |g, x| mul(g, &cos(x)?), "Sine; accurate for arguments of any size.", "t", "np.sin(input)";
    cos Unary::Cos, "CosBackward0", x |g, x| neg(&mul(g, &sin(x)?)?), "Cosine; accurate for arguments of any size.", "t", "np.cos(input)";
    tan Unary::Tan, "TanBackward0", y |g, y| mul(g, &affine(&square(y)?, 1.0, 1.0)?), "Tangent.", "unit", "np.tan(input)";
    asin Unary::Asin, "AsinBackward0", x |g, x| mul(g, &rsqrt(&affine(&square(x)?, -1.0, 1.0)?)?), "Arc sine; NaN outside [−1, 1].", "unit", "np.arcsin(input)";
    acos Unary::Acos, "AcosBackward0", x |g, x| neg(&mul(g, &rsqrt(&affine(&square(x)?, -1.0, 1.0)?)?)?), "Arc cosine; NaN outside [−1, 1].", "unit", "np.arccos(input)";
    atan Unary::Atan, "AtanBackward0", x |g, x| super::div(g, &affine(&square(x)?, 1.0, 1.0)?), "Arc tangent.", "t", "np.arctan(input)";
    sinh Unary::Sinh, "SinhBackward0", x |g, x| mul(g, &cosh(x)?), "Hyperbolic sine.", "t", "np.sinh(input)";
    cosh Unary::Cosh, "CoshBackward0", x |g, x| mul(g, &sinh(x)?), "Hyperbolic cosine.", "t", "np.cosh(input)";
    asinh Unary::Asinh, "AsinhBackward0", x |g, x| mul(g, &rsqrt(&affine(&square(x)?, 1.0, 1.0)?)?), "Inverse hyperbolic sine.", "t", "np.arcsinh(input)";
    acosh Unary::Acosh, "AcoshBackward0", x |g, x| mul(g, &rsqrt(&affine(&square(x)?, 1.0, -1.0)?)?), "Inverse hyperbolic cosine; NaN below 1.", "1.25 + pos", "np.arccosh(input)";
    atanh Unary::Atanh, "AtanhBackward0", x |g, x| super::div(g, &affine(&square(x)?, -1.0, 1.0)?), "Inverse hyperbolic tangent; NaN outside [−1, 1].", "unit", "np.arctanh(input)";
    sqrt Unary::Sqrt, "SqrtBackward0", y |g, y| super::div(g, &times(y, 2.0)?), "Square root; NaN below 0.", "pos", "np.sqrt(input)";
    rsqrt Unary::Rsqrt, "RsqrtBackward0", y |g, y| mul(&times(g, -0.5)?, &cube(y)?), "1 / sqrt(x).", "pos", "1 / np.sqrt(input)";
    reciprocal Unary::Reciprocal, "ReciprocalBackward0", y |g, y| neg(&mul(g, &square(y)?)?), "1 / x.", "pos", "1 / input";
    erf Unary::Erf, "ErfBackward0", x |g, x| gauss(g, x, consts::FRAC_2_SQRT_PI), "Error function.", "t", "special.erf(input)";
    erfc Unary::Erfc, "ErfcBackward0", x |g, x| gauss(g, x, -consts::FRAC_2_SQRT_PI), "1 − erf(x), accurate in the tail.", "t", "special.erfc(input)";
    erfinv Unary::Erfinv, "ErfinvBackward0", y |g, y| mul(g, &times(&exp(&square(y)?)?, 1.0 / consts::FRAC_2_SQRT_PI)?), "Inverse of erf; ±inf at ±1.", "unit", "special.erfinv(input)";
}

/// `k·g·e^(−x²)`
fn gauss(g: &Tensor, x: &Tensor, k: f64) -> Result<Tensor> {
    mul(g, &times(&exp(&neg(&square(x)?)?)?, k)?)
}

/// `x³`
pub(crate) fn cube(x: &Tensor) -> Result<Tensor> {
    let out = apply(Unary::Cube, x, x.dtype())?;
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let s = save(x);
    attach("PowBackward0", out, &[x], move |c, g| Ok(grads![mul(g, &times(&square(&s.get(c)?)?, 3.0)?)?]))
}

/// The negative of each element.
pub fn neg(x: &Tensor) -> Result<Tensor> {
    if x.dtype() == DType::Bool {
        return Err(not_implemented!(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or `logical_not()` operator instead."
        ));
    }
    let out = apply(Unary::Neg, x, x.dtype())?;
    attach("NegBackward0", out, &[x], |_, g| Ok(grads![neg(g)?]))
}

/// The magnitude of each element.
pub fn abs(x: &Tensor) -> Result<Tensor> {
    if x.dtype() == DType::Bool {
        return Err(super::unsupported("abs", DType::Bool));
    }
    let out = apply(Unary::Abs, x, x.dtype())?;
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let s = save(x);
    attach("AbsBackward0", out, &[x], move |c, g| Ok(grads![mul(g, &super::rounding::sign(&s.get(c)?)?)?]))
}

/// The square of each element.
pub fn square(x: &Tensor) -> Result<Tensor> {
    let dtype = if x.dtype() == DType::Bool { DType::I64 } else { x.dtype() };
    let out = apply(Unary::Square, x, dtype)?;
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let s = save(x);
    attach("PowBackward0", out, &[x], move |c, g| Ok(grads![mul(g, &times(&s.get(c)?, 2.0)?)?]))
}

/// `1 − x`
pub fn one_minus(x: &Tensor) -> Result<Tensor> {
    sub(1.0, x)
}

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = table();
    let three: &[&str] = &["t(3,4)", "t()", "t(0,3)"];
    v.extend([
        op("neg(Tensor input)", ALL, |a| neg(a.tensor(0)?).ret())
            .doc("The negative of each element; an error for bool.")
            .samples(three)
            .oracle("-input"),
        op("negative(Tensor input)", ALL, |a| neg(a.tensor(0)?).ret())
            .doc("Alias of neg.")
            .samples(three)
            .oracle("-input"),
        op("abs(Tensor input)", ALL, |a| abs(a.tensor(0)?).ret())
            .doc("The magnitude of each element; the gradient at 0 is 0.")
            .samples(three)
            .oracle("np.abs(input)"),
        op("absolute(Tensor input)", ALL, |a| abs(a.tensor(0)?).ret())
            .doc("Alias of abs.")
            .samples(three)
            .oracle("np.abs(input)"),
        op("square(Tensor input)", ALL, |a| square(a.tensor(0)?).ret())
            .doc("The square of each element.")
            .samples(three)
            .oracle("input ** 2"),
        op("positive(Tensor input)", METHOD | TORCH, |a| {
            let x = a.tensor(0)?;
            if x.dtype() == DType::Bool {
                return Err(not_implemented!("The `+` operator, on a bool tensor is not supported."));
            }
            x.clone().ret()
        })
        .doc("The tensor itself.")
        .samples(three)
        .oracle("input"),
    ]);
    let alias: [(OpDef, &'static str); 7] = [
        (op("arcsin(Tensor input)", ALL, |a| asin(a.tensor(0)?).ret()).samples(&["unit(3,4)"]), "np.arcsin(input)"),
        (op("arccos(Tensor input)", ALL, |a| acos(a.tensor(0)?).ret()).samples(&["unit(3,4)"]), "np.arccos(input)"),
        (op("arctan(Tensor input)", ALL, |a| atan(a.tensor(0)?).ret()).samples(&["t(3,4)"]), "np.arctan(input)"),
        (op("arcsinh(Tensor input)", ALL, |a| asinh(a.tensor(0)?).ret()).samples(&["t(3,4)"]), "np.arcsinh(input)"),
        (
            op("arccosh(Tensor input)", ALL, |a| acosh(a.tensor(0)?).ret()).samples(&["1.25 + pos(3,4)"]),
            "np.arccosh(input)",
        ),
        (op("arctanh(Tensor input)", ALL, |a| atanh(a.tensor(0)?).ret()).samples(&["unit(3,4)"]), "np.arctanh(input)"),
        (
            op("deg2rad(Tensor input)", ALL, |a| affine(a.tensor(0)?, consts::PI / 180.0, 0.0).ret()).samples(three),
            "np.deg2rad(input)",
        ),
    ];
    v.extend(alias.into_iter().map(|(o, oracle)| o.doc("Alias (see the function without `arc`).").oracle(oracle)));
    v.push(
        op("rad2deg(Tensor input)", ALL, |a| affine(a.tensor(0)?, 180.0 / consts::PI, 0.0).ret())
            .doc("Angles in radians to degrees.")
            .samples(three)
            .oracle("np.rad2deg(input)"),
    );
    v
}
