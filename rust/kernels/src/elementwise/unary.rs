//! Functions of one operand.

use super::{each, each_within, lane, pick};
use crate::Raw;
use crate::math::{Math, single, special};
use rustnn_base::{B8, DType, Result, not_implemented};

/// Builds the enum of ops and the function that runs them in one precision.
macro_rules! unary_table {
    ($($(#[$doc:meta])* $name:ident $(($($p:ident),+))? => |$x:ident| $body:expr;)*) => {
        /// A function of one operand; parameters are in double precision.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub enum Unary {
            $($(#[$doc])* $name $(($(unary_table!(@f64 $p)),+))?,)*
        }
        fn float<R: Math>(op: Unary, dst: &Raw, src: &Raw) -> Result<()> {
            match op {
                $(Unary::$name $(($($p),+))? => {
                    $($(let $p = R::of($p);)+)?
                    each::<R, R>(dst, src, #[inline(always)] move |$x: R| $body)
                })*
            }
        }
    };
    (@f64 $p:ident) => { f64 };
}

unary_table! {
    Neg => |x| -x;
    Abs => |x| x.abs();
    /// −1, 0 or 1; NaN gives 0... as comparisons do.
    Sign => |x| pick(x > R::ZERO, R::ONE, pick(x < R::ZERO, -R::ONE, pick(x == R::ZERO, R::ZERO, x)));
    Floor => |x| x.floor();
    Ceil => |x| x.ceil();
    Trunc => |x| x.trunc();
    /// To nearest, ties to even.
    Round => |x| x.round();
    /// Rounded at that power of ten: multiplied, rounded, divided.
    RoundUp(scale) => |x| (x * scale).round() / scale;
    /// Rounded left of the point: divided, rounded, multiplied.
    RoundDown(scale) => |x| (x / scale).round() * scale;
    Frac => |x| x - x.trunc();
    Reciprocal => |x| R::ONE / x;
    Sqrt => |x| x.sqrt();
    Rsqrt => |x| R::ONE / x.sqrt();
    Square => |x| x * x;
    Cube => |x| x * x * x;
    Exp => |x| x.exp();
    Exp2 => |x| x.exp2();
    Expm1 => |x| x.expm1();
    Ln => |x| x.ln();
    Log2 => |x| x.log2();
    Log10 => |x| x.log10();
    Log1p => |x| x.log1p();
    Sin => |x| x.sin();
    Cos => |x| x.cos();
    Tan => |x| x.tan();
    Asin => |x| x.asin();
    Acos => |x| x.acos();
    Atan => |x| x.atan();
    Sinh => |x| x.sinh();
    Cosh => |x| x.cosh();
    Tanh => |x| x.tanh();
    Asinh => |x| x.asinh();
    Acosh => |x| x.acosh();
    Atanh => |x| x.atanh();
    Sigmoid => |x| x.sigmoid();
    Erf => |x| x.erf();
    Erfc => |x| x.erfc();
    Erfinv => |x| x.erfinv();
    /// e^(x²)·erfc(x)
    Erfcx => |x| x.by_f64(special::erfcx);
    /// The normal distribution function.
    Ndtr => |x| x.phi();
    Ndtri => |x| x.by_f64(special::ndtri);
    Lgamma => |x| x.by_f64(special::lgamma);
    Digamma => |x| x.by_f64(special::digamma);
    /// The n-th derivative of digamma.
    Polygamma(n) => |x| x.by_f64(|v| special::polygamma(n.to_i64(), v));
    I0e => |x| x.by_f64(|v| special::bessel_ie(0, v));
    I1e => |x| x.by_f64(|v| special::bessel_ie(1, v));
    I0 => |x| x.by_f64(|v| special::bessel_ie(0, v) * v.abs().exp());
    I1 => |x| x.by_f64(|v| special::bessel_ie(1, v) * v.abs().exp());
    /// sin(πx) / πx
    Sinc => |x| x.by_f64(|v| {
        let t = std::f64::consts::PI * v;
        if v == 0.0 { 1.0 } else { t.sin() / t }
    });
    /// log(x / (1 − x)) of x limited to [eps, 1 − eps]; eps < 0 limits nothing.
    Logit(eps) => |x| {
        let hi = R::ONE - eps;
        let c = pick(x < eps, eps, pick(x > hi, hi, x));
        let c = pick(eps < R::ZERO, x, c);
        (c / (R::ONE - c)).ln()
    };
    /// −x ln x, 0 at 0, −∞ below.
    Entr => |x| pick(x > R::ZERO, -(x * x.ln()), pick(x == R::ZERO, R::ZERO, pick(x < R::ZERO, -R::INFINITY, x)));
    /// NaN and infinities replaced.
    NanToNum(nan, posinf, neginf) => |x| {
        let y = pick(x == R::INFINITY, posinf, pick(x == -R::INFINITY, neginf, x));
        pick(x.is_nan(), nan, y)
    };
    /// Limited to [lo, hi]; NaN stays, hi wins where they cross.
    Clamp(lo, hi) => |x| clamp(x, lo, hi);
    Relu => |x| relu(x);
    LeakyRelu(slope) => |x| leaky_relu(x, slope);
    /// scale · x above 0, scale · alpha · (e^(x·input) − 1) below.
    Elu(alpha, scale, input) => |x| pick(x <= R::ZERO, (x * input).expm1() * (alpha * scale), x * scale);
    Gelu => |x| x * x.phi();
    GeluTanh => |x| {
        let u = R::of(0.797_884_560_802_865_4) * (R::of(0.044_715) * x * x).mul_add(x, x);
        // ½(1 + tanh u) is the logistic function of 2u: no cancellation below 0.
        x * (u + u).sigmoid()
    };
    Silu => |x| x * x.sigmoid();
    Mish => |x| {
        let e = pick(x > R::of(20.0), R::of(20.0), x).exp();
        let n = e * (e + R::of(2.0));
        pick(x > R::of(20.0), x, x * (n / (n + R::of(2.0))))
    };
    Softplus(beta, threshold) => |x| pick(x * beta > threshold, x, (x * beta).exp().log1p() / beta);
    Softsign => |x| x / (R::ONE + x.abs());
    Hardsigmoid => |x| {
        let t = x + R::of(3.0);
        let t = pick(t < R::ZERO, R::ZERO, t);
        pick(t > R::of(6.0), R::of(6.0), t) / R::of(6.0)
    };
    Hardswish => |x| hardswish(x);
    Hardshrink(lambda) => |x| pick((x >= -lambda) & (x <= lambda), R::ZERO, x);
    Softshrink(lambda) => |x| pick(x > lambda, x - lambda, pick(x < -lambda, x + lambda, x * R::ZERO));
    Tanhshrink => |x| x - x.tanh();
    Threshold(limit, value) => |x| pick(x <= limit, value, x);
    LogSigmoid => |x| pick(x < R::ZERO, x, R::ZERO) - (-x.abs()).exp().log1p();
    /// x^p
    PowScalar(p) => |x| x.pow(p);
    /// b^x
    ScalarPow(b) => |x| b.pow(x);
    /// a·x + b
    Affine(a, b) => |x| x.mul_add(a, b);
}

#[inline(always)]
fn clamp<R: Math>(x: R, lo: R, hi: R) -> R {
    let y = pick(x < lo, lo, x);
    let y = pick(y > hi, hi, y);
    pick((lo != lo) | (hi != hi), R::NAN, y)
}

#[inline(always)]
fn relu<R: Math>(x: R) -> R {
    pick(x <= R::ZERO, R::ZERO, x)
}

#[inline(always)]
fn leaky_relu<R: Math>(x: R, slope: R) -> R {
    pick(x > R::ZERO, x, x * slope)
}

#[inline(always)]
fn hardswish<R: Math>(x: R) -> R {
    let t = x + R::of(3.0);
    let t = pick(t < R::ZERO, R::ZERO, t);
    x * pick(t > R::of(6.0), R::of(6.0), t) / R::of(6.0)
}

/// Whether [`Lines`] have the op: those that follow convolutions and take so few instructions that the way to [`unary`] would
/// cost more than they do.
pub(crate) fn is_line(op: Unary) -> bool {
    matches!(op, Unary::Relu | Unary::LeakyRelu(_) | Unary::Clamp(..) | Unary::Hardswish)
}

/// Lines of values in place.
#[derive(Clone, Copy)]
pub(crate) struct Lines<R> {
    pub first: *mut R,
    pub count: usize,
    pub len: usize,
    /// From one line to the next.
    pub pitch: usize,
}

impl<R: Math> Lines<R> {
    /// Each value becomes `op(before(its line)(its place, it))`. To be called within `dispatch`.
    ///
    /// # Safety
    /// The lines are apart, and the caller's alone while this runs.
    #[inline(always)]
    pub unsafe fn turn<B: Fn(usize, R) -> R>(self, op: Option<Unary>, before: impl Fn(usize) -> B) {
        macro_rules! each {
            (|$v:ident| $new:expr) => {
                for line in 0..self.count {
                    let before = before(line);
                    // SAFETY: by this function's contract.
                    let values = unsafe { std::slice::from_raw_parts_mut(self.first.add(line * self.pitch), self.len) };
                    for (i, value) in values.iter_mut().enumerate() {
                        let $v = before(i, *value);
                        *value = $new;
                    }
                }
            };
        }
        match op {
            Some(Unary::Relu) => each!(|v| relu(v)),
            Some(Unary::LeakyRelu(slope)) => {
                let slope = R::of(slope);
                each!(|v| leaky_relu(v, slope));
            }
            Some(Unary::Clamp(lo, hi)) => {
                let (lo, hi) = (R::of(lo), R::of(hi));
                each!(|v| clamp(v, lo, hi));
            }
            Some(Unary::Hardswish) => each!(|v| hardswish(v)),
            _ => each!(|v| v),
        }
    }

    /// Each value becomes `op` of it alone. Values are put aside first: of `v = if c { w } else { v }` a masked store would be
    /// made, which some processors take tens of operations for.
    ///
    /// # Safety
    /// As [`Lines::turn`].
    #[inline(always)]
    pub unsafe fn map(self, op: Unary) {
        let mut aside = [R::ZERO; 256];
        for line in 0..self.count {
            for from in (0..self.len).step_by(aside.len()) {
                let len = aside.len().min(self.len - from);
                // SAFETY: by this function's contract.
                unsafe {
                    let first = self.first.add(line * self.pitch + from);
                    std::ptr::copy_nonoverlapping(first, aside.as_mut_ptr(), len);
                    let old = &aside;
                    Lines { first, count: 1, len, pitch: 0 }.turn(
                        Some(op),
                        #[inline(always)]
                        |_| {
                            #[inline(always)]
                            move |i: usize, _| old[i]
                        },
                    );
                }
            }
        }
    }
}

/// Whether [`unary`] has an integer form of the op.
#[must_use]
pub fn is_supported_for_int(op: Unary) -> bool {
    use Unary::*;
    matches!(op, Neg | Abs | Sign | Square | Cube | Relu | Floor | Ceil | Trunc | Round | Clamp(..) | Threshold(..))
}

fn integer(op: Unary, dst: &Raw, src: &Raw) -> Result<()> {
    match op {
        Unary::Neg => each::<i64, i64>(dst, src, |x| x.wrapping_neg()),
        Unary::Abs => each::<i64, i64>(dst, src, |x| x.wrapping_abs()),
        Unary::Sign => each::<i64, i64>(dst, src, |x| i64::from(x > 0) - i64::from(x < 0)),
        Unary::Square => each::<i64, i64>(dst, src, |x| x.wrapping_mul(x)),
        Unary::Cube => each::<i64, i64>(dst, src, |x| x.wrapping_mul(x).wrapping_mul(x)),
        Unary::Relu => each::<i64, i64>(dst, src, |x| if x < 0 { 0 } else { x }),
        // Parameters lose what is behind their point, as integers do.
        Unary::Clamp(lo, hi) => each::<i64, i64>(dst, src, move |x| x.max(lo as i64).min(hi as i64)),
        Unary::Threshold(limit, value) => {
            each::<i64, i64>(dst, src, move |x| if x <= limit as i64 { value as i64 } else { x })
        }
        Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Round => crate::copy::copy(dst, src),
        _ => Err(not_implemented!("{op:?} is not implemented for '{}'", dst.dtype().torch_name())),
    }
}

/// `dst = op(src)`, in the arithmetic of `dst`'s dtype; `src` is broadcast.
pub fn unary(op: Unary, dst: &Raw, src: &Raw) -> Result<()> {
    let limit = single::TRIG_LIMIT;
    match (lane(dst.dtype()), op) {
        (DType::F32, Unary::Sin) => each_within(dst, src, limit, single::sin, single::far_sin),
        (DType::F32, Unary::Cos) => each_within(dst, src, limit, single::cos, single::far_cos),
        (DType::F32, Unary::Tan) => each_within(dst, src, limit, single::tan, single::far_tan),
        (DType::F32, _) => float::<f32>(op, dst, src),
        (DType::F64, _) => float::<f64>(op, dst, src),
        _ => integer(op, dst, src),
    }
}

/// Questions about one operand, answered with a bool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predicate {
    IsNan,
    IsInf,
    IsFinite,
    IsPosInf,
    IsNegInf,
    Signbit,
    LogicalNot,
}

fn ask<R: Math>(op: Predicate, dst: &Raw, src: &Raw) -> Result<()> {
    match op {
        Predicate::IsNan => each::<R, B8>(
            dst,
            src,
            #[inline(always)]
            |x| (x != x).into(),
        ),
        Predicate::IsInf => each::<R, B8>(
            dst,
            src,
            #[inline(always)]
            |x| (x.abs() == R::INFINITY).into(),
        ),
        Predicate::IsFinite => each::<R, B8>(
            dst,
            src,
            #[inline(always)]
            |x| (x.abs() < R::INFINITY).into(),
        ),
        Predicate::IsPosInf => each::<R, B8>(
            dst,
            src,
            #[inline(always)]
            |x| (x == R::INFINITY).into(),
        ),
        Predicate::IsNegInf => each::<R, B8>(
            dst,
            src,
            #[inline(always)]
            |x| (x == -R::INFINITY).into(),
        ),
        Predicate::Signbit => each::<R, B8>(
            dst,
            src,
            #[inline(always)]
            |x| (R::ONE.copysign(x) < R::ZERO).into(),
        ),
        Predicate::LogicalNot => each::<B8, B8>(dst, src, |x| (!x.get()).into()),
    }
}

/// `dst = op(src)` for a bool `dst`; integers are always finite and never NaN.
pub fn predicate(op: Predicate, dst: &Raw, src: &Raw) -> Result<()> {
    match (lane(src.dtype()), op) {
        (_, Predicate::LogicalNot) | (DType::F32, _) => ask::<f32>(op, dst, src),
        (DType::F64, _) => ask::<f64>(op, dst, src),
        (_, Predicate::Signbit) => each::<i64, B8>(dst, src, |x| (x < 0).into()),
        (_, Predicate::IsFinite) => crate::copy::fill(dst, true.into()),
        _ => crate::copy::fill(dst, false.into()),
    }
}
