//! Arithmetic of two operands, tensors or numbers.

use super::{
    Held, Kept, Num, affine, compare, forward_over, log, mul_mask, neg, place, promote, promote_float, reciprocal,
    record, sqrt, times, unsupported, where_, windows, zeros_like,
};
use crate::registry::{DIRECT, FORGETS, INPLACE, METHOD, OUT, PRIVATE, SPECIAL, TORCH, op};
use crate::{Args, DType, IntoRet, OpDef, Result, Ret, Scalar, Tensor, save_output};
use rustnn_core::base::{Kind, not_implemented, runtime_error};
use rustnn_kernels::elementwise::{self, Binary, Unary};
use std::f64::consts;

const ALL: u32 = METHOD | TORCH | INPLACE | OUT | DIRECT;

/// One pass of a kernel, without a graph.
pub fn forward(kernel: Binary, a: Num, b: Num, dtype: DType, name: &str) -> Result<Tensor> {
    match unnamed(kernel, a, b, dtype) {
        Ok(out) => Ok(out),
        Err(e) => Err(e.in_op(name)),
    }
}

#[inline(always)]
fn unnamed(kernel: Binary, a: Num, b: Num, dtype: DType) -> Result<Tensor> {
    let out = place(&[a, b], dtype)?;
    windows([a, b], dtype, |[ra, rb]| elementwise::binary(kernel, &out.raw(), ra, rb))?;
    Ok(out)
}

fn both_need(a: Num, b: Num) -> bool {
    a.needs_grad() || b.needs_grad()
}

/// `a + b`
pub fn add<'a, 'b>(a: impl Into<Num<'a>>, b: impl Into<Num<'b>>) -> Result<Tensor> {
    let (a, b) = (a.into(), b.into());
    if !both_need(a, b) {
        return forward(Binary::Add, a, b, promote(&[a, b]), "add");
    }
    let out = forward_over(Binary::Add, a, b, promote(&[a, b]), "add")?;
    record("AddBackward0", out, &[a, b], |_, g, _| Ok(g.clone()))
}

/// `a + alpha·b`
pub fn add_alpha(a: Num, b: Num, alpha: Scalar) -> Result<Tensor> {
    if alpha == Scalar::Int(1) {
        return add(a, b);
    }
    let dtype = promote(&[a, b]);
    check_alpha(dtype, alpha)?;
    if alpha.to_f64() == 1.0 {
        return add(a, b);
    }
    let out = place(&[a, b], dtype).map_err(|e| e.in_op("add"))?;
    windows([a, b], dtype, |[ra, rb]| elementwise::add_scaled(&out.raw(), ra, rb, alpha))?;
    record("AddBackward0", out, &[a, b], move |_, g, i| if i == 0 { Ok(g.clone()) } else { mul(g, alpha) })
}

fn check_alpha(dtype: DType, alpha: Scalar) -> Result<()> {
    if matches!(alpha, Scalar::Bool(_)) && dtype != DType::Bool {
        return Err(runtime_error!("Boolean alpha only supported for Boolean results."));
    }
    if alpha.kind() == Kind::Float && !dtype.is_float() {
        return Err(runtime_error!("For integral input tensors, argument alpha must not be a floating point number."));
    }
    Ok(())
}

/// `a − b`
pub fn sub<'a, 'b>(a: impl Into<Num<'a>>, b: impl Into<Num<'b>>) -> Result<Tensor> {
    let (a, b) = (a.into(), b.into());
    match (a.dtype() == DType::Bool, b.dtype() == DType::Bool) {
        (false, false) => {}
        (true, true) => {
            return Err(not_implemented!(
                "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` operator instead."
            ));
        }
        _ => {
            return Err(not_implemented!(
                "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the `~` or `logical_not()` operator instead."
            ));
        }
    }
    if !both_need(a, b) {
        return forward(Binary::Sub, a, b, promote(&[a, b]), "sub");
    }
    let out = forward_over(Binary::Sub, a, b, promote(&[a, b]), "sub")?;
    record("SubBackward0", out, &[a, b], |_, g, i| if i == 0 { Ok(g.clone()) } else { neg(g) })
}

fn sub_alpha(a: Num, b: Num, alpha: Scalar) -> Result<Tensor> {
    check_alpha(promote(&[a, b]), alpha)?;
    match alpha {
        Scalar::Int(1) => sub(a, b),
        Scalar::Bool(_) => sub(a, b),
        Scalar::Int(v) => add_alpha(a, b, Scalar::Int(v.wrapping_neg())),
        Scalar::Float(v) => add_alpha(a, b, Scalar::Float(-v)),
    }
}

/// `a · b`
pub fn mul<'a, 'b>(a: impl Into<Num<'a>>, b: impl Into<Num<'b>>) -> Result<Tensor> {
    let (a, b) = (a.into(), b.into());
    if !both_need(a, b) {
        return forward(Binary::Mul, a, b, promote(&[a, b]), "mul");
    }
    // The second operand is kept, which must not be the memory that is written over.
    let kernel = if b.needs_grad() || b.shares(a) { forward } else { forward_over };
    let out = kernel(Binary::Mul, a, b, promote(&[a, b]), "mul")?;
    let (ka, kb) = (Kept::new(a, b.needs_grad()), Kept::new(b, a.needs_grad()));
    record("MulBackward0", out, &[a, b], move |c, g, i| mul(g, if i == 0 { &kb } else { &ka }.get(c)?.num()))
}

/// `a / b`, in floating point.
pub fn div<'a, 'b>(a: impl Into<Num<'a>>, b: impl Into<Num<'b>>) -> Result<Tensor> {
    let (a, b) = (a.into(), b.into());
    let dtype = promote_float(&[a, b]);
    let out = forward(Binary::Div, a, b, dtype, "div")?;
    if !both_need(a, b) {
        return Ok(out);
    }
    let kb = Kept::new(b, true);
    let y = b.needs_grad().then(|| save_output(&out));
    record("DivBackward0", out, &[a, b], move |c, g, i| {
        let b = kb.get(c)?;
        let q = div(g, b.num())?;
        match (i, &y) {
            (1, Some(y)) => neg(&mul(&q, &y.get(c)?)?),
            _ => Ok(q),
        }
    })
}

/// The quotient rounded down. Differentiating it is an error, as in PyTorch.
pub fn floor_divide<'a, 'b>(a: impl Into<Num<'a>>, b: impl Into<Num<'b>>) -> Result<Tensor> {
    let (a, b) = (a.into(), b.into());
    let out = quotient(Binary::FloorDiv, a, b)?;
    record("NotImplemented", out, &[a, b], |_, _, _| {
        Err(runtime_error!("derivative for aten::floor_divide is not implemented")
            .hint("torch.div(a, b, rounding_mode='floor') has a gradient, which is zero; or detach() the operands"))
    })
}

fn quotient(kernel: Binary, a: Num, b: Num) -> Result<Tensor> {
    let dtype = promote(&[a, b]);
    if dtype == DType::Bool {
        return Err(unsupported(if kernel == Binary::FloorDiv { "div_floor" } else { "div_trunc" }, dtype));
    }
    forward(kernel, a, b, dtype, "div")
}

/// A rounded quotient; its gradient is zero.
fn rounded(kernel: Binary, a: Num, b: Num) -> Result<Tensor> {
    record("DivBackward1", quotient(kernel, a, b)?, &[a, b], |_, g, _| zeros_like(g))
}

fn div_mode(a: Num, b: Num, mode: Option<&str>) -> Result<Tensor> {
    match mode {
        None => div(a, b),
        Some("floor") => rounded(Binary::FloorDiv, a, b),
        Some("trunc") => rounded(Binary::TruncDiv, a, b),
        Some(other) => {
            Err(runtime_error!("div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{other}'"))
        }
    }
}

/// Python's remainder, with the divisor's sign.
pub fn remainder<'a, 'b>(a: impl Into<Num<'a>>, b: impl Into<Num<'b>>) -> Result<Tensor> {
    modulo(Binary::Remainder, a.into(), b.into(), "RemainderBackward0", "remainder")
}

/// C's remainder, with the dividend's sign.
pub fn fmod<'a, 'b>(a: impl Into<Num<'a>>, b: impl Into<Num<'b>>) -> Result<Tensor> {
    modulo(Binary::Fmod, a.into(), b.into(), "FmodBackward0", "fmod")
}

fn modulo(kernel: Binary, a: Num, b: Num, node: &'static str, name: &'static str) -> Result<Tensor> {
    let dtype = promote(&[a, b]);
    if dtype == DType::Bool {
        return Err(unsupported(name, dtype));
    }
    let out = forward(kernel, a, b, dtype, name)?;
    if !both_need(a, b) {
        return Ok(out);
    }
    let (ka, kb) = (Kept::new(a, b.needs_grad()), Kept::new(b, b.needs_grad()));
    record(node, out, &[a, b], move |c, g, i| {
        if i == 0 {
            return Ok(g.clone());
        }
        let (a, b) = (ka.get(c)?, kb.get(c)?);
        let q = if kernel == Binary::Fmod {
            rounded(Binary::TruncDiv, a.num(), b.num())?
        } else {
            rounded(Binary::FloorDiv, a.num(), b.num())?
        };
        neg(&mul(g, &q)?)
    })
}

/// `a` to the power `b`.
pub fn pow<'a, 'b>(a: impl Into<Num<'a>>, b: impl Into<Num<'b>>) -> Result<Tensor> {
    let (a, b) = (a.into(), b.into());
    let dtype = promote(&[a, b]);
    if let (Num::T(x), Num::S(p)) = (a, b) {
        if !dtype.is_float() && p.to_f64() < 0.0 {
            return Err(runtime_error!("Integers to negative integer powers are not allowed."));
        }
        if dtype.is_float() {
            return pow_number(x, p.to_f64(), dtype);
        }
    }
    if dtype == DType::Bool {
        return match (a, b) {
            (Num::T(x), Num::S(p)) if p.to_bool() => x.copied(),
            (Num::T(x), Num::S(_)) => Tensor::full(x.shape(), true.into(), DType::Bool),
            _ => Err(unsupported("pow", dtype)),
        };
    }
    let out = match (a, b) {
        (Num::S(base), Num::T(e)) if dtype.is_float() => super::apply(Unary::ScalarPow(base.to_f64()), e, dtype)?,
        _ => forward(Binary::Pow, a, b, dtype, "pow")?,
    };
    if !both_need(a, b) {
        return Ok(out);
    }
    let (ka, kb) = (Kept::new(a, true), Kept::new(b, true));
    let y = save_output(&out);
    record("PowBackward1", out, &[a, b], move |c, g, i| {
        let (a, b) = (ka.get(c)?, kb.get(c)?);
        if i == 0 {
            // b·a^(b−1), 0 where b is 0 whatever a is.
            let d = mul(b.num(), &pow(a.num(), &sub(b.num(), 1i64)?)?)?;
            let zero = compare::eq(b.num(), 0i64)?;
            return mul(g, &where_(&zero, 0.0, &d)?);
        }
        // a^b·log a, 0 where a is 0 and b is not negative.
        let y = y.get(c)?;
        let log_a = match a.num() {
            Num::T(t) => log(t)?,
            Num::S(s) => return scalar_base(g, &y, s.to_f64(), b.num()),
        };
        let zero = compare::logical_and(&compare::eq(a.num(), 0i64)?, &compare::ge(b.num(), 0i64)?)?;
        mul(g, &where_(&zero, 0.0, &mul(&y, &log_a)?)?)
    })
}

fn scalar_base(g: &Tensor, y: &Tensor, base: f64, b: Num) -> Result<Tensor> {
    if base == 0.0 {
        let zero = compare::ge(b, 0i64)?;
        return mul(g, &where_(&zero, 0.0, &times(y, f64::NEG_INFINITY)?)?);
    }
    times(&mul(g, y)?, base.ln())
}

fn pow_number(x: &Tensor, p: f64, dtype: DType) -> Result<Tensor> {
    // Powers that are an operation or two, and exact.
    let kernel = match p {
        2.0 => Unary::Square,
        3.0 => Unary::Cube,
        0.5 => Unary::Sqrt,
        1.0 => Unary::Affine(1.0, -0.0),
        -1.0 => Unary::Reciprocal,
        -0.5 => Unary::Rsqrt,
        _ => Unary::PowScalar(p),
    };
    let out = super::apply(kernel, x, dtype)?;
    let kept = Kept::new(Num::T(x), Num::T(x).needs_grad());
    record("PowBackward0", out, &[Num::T(x)], move |c, g, _| {
        if p == 0.0 {
            return zeros_like(g);
        }
        match kept.get(c)?.num() {
            Num::T(x) if p == 2.0 => mul(g, &times(x, 2.0)?),
            x => mul(g, &mul(&pow(x, p - 1.0)?, p)?),
        }
    })
}

/// Extremes of two; `ties` is what half the gradient of equals goes by.
fn extreme(kernel: Binary, a: Num, b: Num, node: &'static str, name: &'static str) -> Result<Tensor> {
    let dtype = promote(&[a, b]);
    let out = forward(kernel, a, b, dtype, name)?;
    if !both_need(a, b) {
        return Ok(out);
    }
    let (ka, kb) = (Kept::new(a, true), Kept::new(b, true));
    record(node, out, &[a, b], move |c, g, i| {
        let (a, b) = (ka.get(c)?, kb.get(c)?);
        let (x, y) = if i == 0 { (a.num(), b.num()) } else { (b.num(), a.num()) };
        let max = matches!(kernel, Binary::Maximum | Binary::Fmax);
        let equal = compare::eq(x, y)?;
        let wins = if max { compare::gt(x, y)? } else { compare::lt(x, y)? };
        // Where a NaN gives way, the other one has the whole gradient.
        let wins = match kernel {
            Binary::Fmax | Binary::Fmin => compare::logical_or(&wins, &compare::isnan_num(y)?)?,
            _ => wins,
        };
        let half = times(g, 0.5)?;
        where_(&equal, &half, &mul_mask(g, &wins)?)
    })
}

/// The larger of two; NaN if either is. Equals share the gradient.
pub fn maximum<'a, 'b>(a: impl Into<Num<'a>>, b: impl Into<Num<'b>>) -> Result<Tensor> {
    extreme(Binary::Maximum, a.into(), b.into(), "MaximumBackward0", "maximum")
}

/// The smaller of two; NaN if either is. Equals share the gradient.
pub fn minimum<'a, 'b>(a: impl Into<Num<'a>>, b: impl Into<Num<'b>>) -> Result<Tensor> {
    extreme(Binary::Minimum, a.into(), b.into(), "MinimumBackward0", "minimum")
}

/// A float function of two with the gradient of each operand.
macro_rules! float_pair {
    ($($(#[$doc:meta])* $name:ident $kernel:expr, $node:literal, |$g:ident, $a:ident, $b:ident| $da:expr, $db:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name<'a, 'b>(a: impl Into<Num<'a>>, b: impl Into<Num<'b>>) -> Result<Tensor> {
            let (a, b) = (a.into(), b.into());
            let out = forward($kernel, a, b, promote_float(&[a, b]), stringify!($name))?;
            if !both_need(a, b) {
                return Ok(out);
            }
            let (ka, kb) = (Kept::new(a, true), Kept::new(b, true));
            record($node, out, &[a, b], move |c, $g, i| {
                let (ha, hb) = (ka.get(c)?, kb.get(c)?);
                let ($a, $b) = (ha.num(), hb.num());
                if i == 0 { $da } else { $db }
            })
        }
    )*};
}

/// `1 / (a² + b²)`
fn inverse_square(a: Num, b: Num) -> Result<Tensor> {
    reciprocal(&add(&mul(a, a)?, &mul(b, b)?)?)
}

/// `1 / (1 + e^(b − a))`: the share of a in log(e^a + e^b).
fn share(a: Num, b: Num) -> Result<Tensor> {
    super::sigmoid(&sub(a, b)?)
}

float_pair! {
    /// The angle of the point (b, a).
    atan2 Binary::Atan2, "Atan2Backward0", |g, a, b| mul(g, &mul(b, &inverse_square(a, b)?)?), neg(&mul(g, &mul(a, &inverse_square(a, b)?)?)?);
    /// `sqrt(a² + b²)`
    hypot Binary::Hypot, "HypotBackward0", |g, a, b| mul(g, &mul(a, &sqrt(&inverse_square(a, b)?)?)?), mul(g, &mul(b, &sqrt(&inverse_square(a, b)?)?)?);
    /// `log(e^a + e^b)`
    logaddexp Binary::LogAddExp, "LogaddexpBackward0", |g, a, b| mul(g, &share(a, b)?), mul(g, &share(b, a)?);
    /// `log2(2^a + 2^b)`
    logaddexp2 Binary::LogAddExp2, "Logaddexp2Backward0", |g, a, b|
        mul(g, &super::sigmoid(&times(&sub(a, b)?, consts::LN_2)?)?), mul(g, &super::sigmoid(&times(&sub(b, a)?, consts::LN_2)?)?);
    /// `a·log b`, 0 where a is 0.
    xlogy Binary::Xlogy, "XlogyBackward0", |g, a, b| {
        // No gradient where a is 0 and b not positive.
        let off = compare::logical_and(&compare::eq(a, 0i64)?, &compare::le(b, 0i64)?)?;
        mul(g, &where_(&off, 0.0, &log(&add(b, 0.0)?)?)?)
    }, mul(g, &div(a, b)?);
    /// `a·log(1 + b)`, 0 where a is 0.
    xlog1py Binary::Xlog1py, "SpecialXlog1PyBackward0", |g, a, b| {
        let off = compare::logical_and(&compare::eq(a, 0i64)?, &compare::le(b, -1i64)?)?;
        mul(g, &where_(&off, 0.0, &super::log1p(&add(b, 0.0)?)?)?)
    }, mul(g, &div(a, &affine(&add(b, 0.0)?, 1.0, 1.0)?)?);
    /// The magnitude of a with the sign of b.
    copysign Binary::Copysign, "CopysignBackward0", |g, a, b| {
        let s = mul(&super::rounding::sign(&add(a, 0.0)?)?, &copysign(1.0, b)?)?;
        mul(g, &s)
    }, zeros_like(&mul(g, &zeros_like(&add(b, 0.0)?)?)?);
    /// `a · 2^b`
    ldexp Binary::Ldexp, "MulBackward0", |g, _a, b| mul(g, &super::exp2(&add(b, 0.0)?)?),
        times(&mul(g, &ldexp(_a, b)?)?, consts::LN_2);
}

fn float_power(a: Num, b: Num) -> Result<Tensor> {
    let wide = |n: Num| -> Result<Held> {
        Ok(match n {
            Num::T(t) => Held::T(crate::basic::to_dtype(t, DType::F64)?),
            Num::S(s) => Held::S(Scalar::Float(s.to_f64())),
        })
    };
    pow(wide(a)?.num(), wide(b)?.num())
}

fn nextafter(a: Num, b: Num) -> Result<Tensor> {
    let dtype = promote(&[a, b]);
    match dtype {
        DType::F32 | DType::F64 => forward(Binary::Nextafter, a, b, dtype, "nextafter"),
        _ => Err(unsupported("nextafter", dtype)),
    }
}

fn heaviside(a: Num, b: Num) -> Result<Tensor> {
    if a.dtype() != b.dtype() {
        return Err(runtime_error!("heaviside is not yet implemented for tensors with different dtypes."));
    }
    forward(Binary::Heaviside, a, b, promote(&[a, b]), "heaviside")
}

fn two(a: &Args, f: impl FnOnce(Num, Num) -> Result<Tensor>) -> Result<Ret> {
    f(Num::of(a, 0)?, Num::of(a, 1)?).ret()
}

const PAIRS: &[&str] = &["t(3,4), t(3,4)", "t(3,4), t(4)", "t(2,1), t(3)", "t(3,4), 2.5", "t(), t()", "t(0,3), t(3)"];
const SAFE: &[&str] = &["t(3,4), pos(3,4)", "t(3,4), pos(4)", "t(3,4), 2.5", "t(), pos()", "t(0,3), pos(3)"];
const TENSORS: &[&str] = &["t(3,4), t(3,4)", "t(3,4), t(4)", "t(), t()", "t(0,3), t(3)"];
const POSITIVE: &[&str] = &[
    "pos(3,4), t(3,4)",
    "pos(3,4), t(4)",
    "t(3,4), 2",
    "pos(3,4), 1.5",
    "2.5, t(3)",
    "t(4), 3",
    "pos(4), -1",
    "pos(4), 0.5",
];

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = vec![
        op("add(Tensor|Scalar input, Tensor|Scalar other, *, Scalar alpha=1)", ALL | FORGETS, |a| {
            two(a, |x, y| add_alpha(x, y, a.scalar(2)?))
        })
        .doc("input + alpha · other, broadcast, in the promoted dtype.")
        .samples(&[
            "t(3,4), t(3,4)",
            "t(3,4), t(4)",
            "t(3,4), 2.5",
            "t(2,1), t(3), alpha=0.5",
            "t(), t()",
            "t(0,3), t(3)",
        ])
        .oracle("input + alpha * other"),
        op("sub(Tensor|Scalar input, Tensor|Scalar other, *, Scalar alpha=1)", ALL | FORGETS, |a| {
            two(a, |x, y| sub_alpha(x, y, a.scalar(2)?))
        })
        .doc("input − alpha · other; an error for bools.")
        .samples(&["t(3,4), t(3,4)", "t(3,4), t(4)", "t(3,4), 2.5", "t(2,1), t(3), alpha=0.5", "t(), t()"])
        .oracle("input - alpha * other"),
        op("rsub(Tensor input, Tensor|Scalar other, *, Scalar alpha=1)", METHOD | TORCH, |a| {
            two(a, |x, y| sub_alpha_r(x, y, a.scalar(2)?))
        })
        .doc("other − alpha · input.")
        .samples(&["t(3,4), t(4)", "t(3,4), 2.5", "t(3), t(3), alpha=2"])
        .oracle("other - alpha * input"),
        op("mul(Tensor|Scalar input, Tensor|Scalar other)", ALL | FORGETS, |a| two(a, |x, y| mul(x, y)))
            .doc("The product, broadcast, in the promoted dtype.")
            .samples(PAIRS)
            .oracle("input * other"),
        op("multiply(Tensor|Scalar input, Tensor|Scalar other)", ALL | FORGETS, |a| two(a, |x, y| mul(x, y)))
            .doc("Alias of mul.")
            .samples(&["t(3,4), t(4)"])
            .oracle("input * other"),
        op("subtract(Tensor|Scalar input, Tensor|Scalar other, *, Scalar alpha=1)", ALL | FORGETS, |a| {
            two(a, |x, y| sub_alpha(x, y, a.scalar(2)?))
        })
        .doc("Alias of sub.")
        .samples(&["t(3,4), t(4)"])
        .oracle("input - alpha * other"),
    ];
    for (sig, doc) in [
        (
            "div(Tensor|Scalar input, Tensor|Scalar other, *, str? rounding_mode=None)",
            "The quotient; integers are divided as floats unless rounding_mode is 'trunc' or 'floor'.",
        ),
        ("divide(Tensor|Scalar input, Tensor|Scalar other, *, str? rounding_mode=None)", "Alias of div."),
    ] {
        v.push(
            op(sig, ALL, |a| two(a, |x, y| div_mode(x, y, a.opt_str(2))))
                .doc(doc)
                .samples(&[
                    "t(3,4), pos(3,4)",
                    "t(3,4), pos(4)",
                    "t(3,4), 2.5",
                    "t(), pos()",
                    "t(0,3), pos(3)",
                    "t(3,4), 0.7, rounding_mode='floor'",
                    "t(3,4), 0.7, rounding_mode='trunc'",
                ])
                .oracle("{None: lambda q: q, 'floor': np.floor, 'trunc': np.trunc}[rounding_mode](input / other)"),
        );
    }
    v.extend([
        op("true_divide(Tensor|Scalar input, Tensor|Scalar other)", ALL, |a| two(a, |x, y| div(x, y)))
            .doc("The quotient in floating point.")
            .samples(SAFE)
            .oracle("input / other"),
        op("_rdiv(Tensor input, Tensor|Scalar other)", PRIVATE, |a| two(a, |x, y| div(y, x)))
            .doc("other / input.")
            .samples(&["pos(3,4), 2.5"])
            .oracle("other / input"),
        op("floor_divide(Tensor|Scalar input, Tensor|Scalar other)", ALL, |a| two(a, |x, y| floor_divide(x, y)))
            .doc("The quotient rounded down; integer division by zero is an error.")
            .samples(SAFE)
            .oracle("np.floor_divide(input, other)")
            .nondiff(),
        op("_rfloor_divide(Tensor input, Tensor|Scalar other)", PRIVATE, |a| two(a, |x, y| floor_divide(y, x)))
            .doc("other // input.")
            .samples(&["pos(3,4), 2.5"])
            .oracle("np.floor_divide(other, input)")
            .nondiff(),
        op("remainder(Tensor|Scalar input, Tensor|Scalar other)", ALL, |a| two(a, |x, y| remainder(x, y)))
            .doc("Python's remainder: the sign of the divisor.")
            .samples(SAFE)
            .oracle("np.remainder(input, other)"),
        op("_rremainder(Tensor input, Tensor|Scalar other)", PRIVATE, |a| two(a, |x, y| remainder(y, x)))
            .doc("other % input.")
            .samples(&["pos(3,4), 2.5"])
            .oracle("np.remainder(other, input)"),
        op("fmod(Tensor input, Tensor|Scalar other)", ALL, |a| two(a, |x, y| fmod(x, y)))
            .doc("C's remainder: the sign of the dividend.")
            .samples(SAFE)
            .oracle("np.fmod(input, other)"),
        op("pow(Tensor|Scalar input, Tensor|Scalar exponent)", ALL, |a| two(a, |x, y| pow(x, y)))
            .doc("input to the power exponent; either may be a number.")
            .samples(POSITIVE)
            .oracle("np.power(np.asarray(input, dtype=float), exponent)"),
        op("_rpow(Tensor input, Tensor|Scalar other)", PRIVATE, |a| two(a, |x, y| pow(y, x)))
            .doc("other ** input.")
            .samples(&["t(3,4), 2.5"])
            .oracle("other ** input"),
        op("float_power(Tensor|Scalar input, Tensor|Scalar exponent)", METHOD | TORCH | INPLACE | OUT, |a| {
            two(a, float_power)
        })
        .doc("The power computed in float64.")
        .samples(&["pos(3,4), t(4)", "pos(3), 2", "2, t(3)"])
        .oracle("np.float_power(input, exponent)"),
        op("maximum(Tensor input, Tensor other)", METHOD | TORCH | OUT, |a| two(a, |x, y| maximum(x, y)))
            .doc("The larger of two; NaN if either is; equals share the gradient.")
            .samples(TENSORS)
            .oracle("np.maximum(input, other)"),
        op("minimum(Tensor input, Tensor other)", METHOD | TORCH | OUT, |a| two(a, |x, y| minimum(x, y)))
            .doc("The smaller of two; NaN if either is; equals share the gradient.")
            .samples(TENSORS)
            .oracle("np.minimum(input, other)"),
        op("fmax(Tensor input, Tensor other)", METHOD | TORCH | OUT, |a| {
            two(a, |x, y| extreme(Binary::Fmax, x, y, "FmaxBackward0", "fmax"))
        })
        .doc("The larger of two; a NaN gives way.")
        .samples(TENSORS)
        .oracle("np.fmax(input, other)"),
        op("fmin(Tensor input, Tensor other)", METHOD | TORCH | OUT, |a| {
            two(a, |x, y| extreme(Binary::Fmin, x, y, "FminBackward0", "fmin"))
        })
        .doc("The smaller of two; a NaN gives way.")
        .samples(TENSORS)
        .oracle("np.fmin(input, other)"),
        op("atan2(Tensor input, Tensor other)", ALL, |a| two(a, |x, y| atan2(x, y)))
            .doc("The angle of the point (other, input).")
            .samples(TENSORS)
            .oracle("np.arctan2(input, other)"),
        op("arctan2(Tensor input, Tensor other)", ALL, |a| two(a, |x, y| atan2(x, y)))
            .doc("Alias of atan2.")
            .samples(&["t(3,4), t(4)"])
            .oracle("np.arctan2(input, other)"),
        op("hypot(Tensor input, Tensor other)", ALL, |a| two(a, |x, y| hypot(x, y)))
            .doc("sqrt(input² + other²) without overflow.")
            .samples(TENSORS)
            .oracle("np.hypot(input, other)"),
        op("logaddexp(Tensor input, Tensor other)", METHOD | TORCH | OUT, |a| two(a, |x, y| logaddexp(x, y)))
            .doc("log(e^input + e^other).")
            .samples(TENSORS)
            .oracle("np.logaddexp(input, other)"),
        op("logaddexp2(Tensor input, Tensor other)", METHOD | TORCH | OUT, |a| two(a, |x, y| logaddexp2(x, y)))
            .doc("log2(2^input + 2^other).")
            .samples(TENSORS)
            .oracle("np.logaddexp2(input, other)"),
        op("copysign(Tensor input, Tensor|Scalar other)", ALL, |a| two(a, |x, y| copysign(x, y)))
            .doc("The magnitude of input with the sign of other.")
            .samples(&["t(3,4), t(3,4)", "t(3,4), -1.0", "t(3,1), t(4)"])
            .oracle("np.copysign(input, other)"),
        op("nextafter(Tensor input, Tensor other)", ALL, |a| two(a, nextafter))
            .doc("The next representable value toward other.")
            .samples(&["t(3,4), t(3,4)"])
            .nondiff(),
        op("xlogy(Tensor|Scalar input, Tensor|Scalar other)", ALL | SPECIAL, |a| two(a, |x, y| xlogy(x, y)))
            .doc("input · log(other), 0 where input is 0.")
            .samples(&["t(3,4), pos(3,4)", "t(3), 2.0", "2.0, pos(3)"])
            .oracle("special.xlogy(input, other)"),
        op("xlog1py(Tensor|Scalar input, Tensor|Scalar other)", SPECIAL | OUT, |a| two(a, |x, y| xlog1py(x, y)))
            .doc("input · log(1 + other), 0 where input is 0.")
            .samples(&["t(3,4), pos(3,4)", "t(3), 2.0"])
            .oracle("special.xlog1py(input, other)"),
        op("heaviside(Tensor input, Tensor values)", ALL, |a| two(a, heaviside))
            .doc("0 below 0, 1 above, `values` at 0.")
            .samples(&["t(3,4), t(4)", "t(3) * 0, t(3)"])
            .oracle("np.heaviside(input, values)")
            .nondiff(),
        op("ldexp(Tensor input, Tensor other)", ALL, |a| two(a, |x, y| ldexp(x, y)))
            .doc("input · 2^other.")
            .samples(&["t(3,4), t(4)", "t(3), i(3, lo=-3, hi=4)"])
            .oracle("input * np.exp2(other)"),
    ]);
    v
}

fn sub_alpha_r(x: Num, y: Num, alpha: Scalar) -> Result<Tensor> {
    sub_alpha(y, x, alpha)
}
