//! Functions of two operands, comparisons and logic.

use super::{lane, pair, pick};
use crate::Raw;
use crate::math::{Math, special};
use rustnn_base::{B8, DType, Element, Result, Scalar, not_implemented, runtime_error};
use std::sync::atomic::{AtomicBool, Ordering};

macro_rules! binary_table {
    ($($(#[$doc:meta])* $name:ident => |$a:ident, $b:ident| $body:expr;)*) => {
        /// A function of two operands.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Binary {
            $($(#[$doc])* $name,)*
            /// Greatest common divisor (integers).
            Gcd,
            /// Least common multiple (integers).
            Lcm,
            And,
            Or,
            Xor,
            Shl,
            Shr,
        }
        fn float<R: Math>(op: Binary, dst: &Raw, a: &Raw, b: &Raw) -> Result<()> {
            match op {
                $(Binary::$name => pair::<R, R, R>(dst, a, b, #[inline(always)] |$a, $b| $body),)*
                _ => Err(not_implemented!("{op:?} is not implemented for '{}'", dst.dtype().torch_name())),
            }
        }
    };
}

/// a − b·⌊a/b⌋ with the sign of b.
#[inline(always)]
fn remainder<R: Math>(a: R, b: R) -> R {
    let m = a.fmod(b);
    pick((m != R::ZERO) & ((b < R::ZERO) != (m < R::ZERO)), m + b, m)
}

/// ⌊a/b⌋ as Python computes it: exact where a/b would round up to the next integer.
#[inline(always)]
fn floor_div<R: Math>(a: R, b: R) -> R {
    let m = a.fmod(b);
    let d = (a - m) / b;
    let d = pick((m != R::ZERO) & ((b < R::ZERO) != (m < R::ZERO)), d - R::ONE, d);
    let f = d.floor();
    let f = pick(d - f > R::of(0.5), f + R::ONE, f);
    let f = pick(d == R::ZERO, R::ZERO.copysign(a / b), f);
    pick(b == R::ZERO, a / b, f)
}

binary_table! {
    Add => |a, b| a + b;
    Sub => |a, b| a - b;
    Mul => |a, b| a * b;
    Div => |a, b| a / b;
    TruncDiv => |a, b| (a / b).trunc();
    FloorDiv => |a, b| floor_div(a, b);
    /// The remainder with the divisor's sign.
    Remainder => |a, b| remainder(a, b);
    /// The remainder with the dividend's sign.
    Fmod => |a, b| a.fmod(b);
    Pow => |a, b| a.pow(b);
    /// The larger; NaN if either is.
    Maximum => |a, b| pick((a > b) | a.is_nan(), a, b);
    /// The smaller; NaN if either is.
    Minimum => |a, b| pick((a < b) | a.is_nan(), a, b);
    /// The larger; the other one if one is NaN.
    Fmax => |a, b| pick((a > b) | b.is_nan(), a, b);
    /// The smaller; the other one if one is NaN.
    Fmin => |a, b| pick((a < b) | b.is_nan(), a, b);
    Atan2 => |a, b| a.atan2(b);
    Hypot => |a, b| a.hypot(b);
    LogAddExp => |a, b| {
        let hi = pick((a > b) | a.is_nan(), a, b);
        let lo = pick((a > b) | a.is_nan(), b, a);
        pick((hi.abs() == R::INFINITY) & (a == b), a, hi + (lo - hi).exp().log1p())
    };
    LogAddExp2 => |a, b| {
        let hi = pick((a > b) | a.is_nan(), a, b);
        let lo = pick((a > b) | a.is_nan(), b, a);
        pick((hi.abs() == R::INFINITY) & (a == b), a, hi + (lo - hi).exp2().log1p() * R::of(std::f64::consts::LOG2_E))
    };
    Copysign => |a, b| a.copysign(b);
    Nextafter => |a, b| a.nextafter(b);
    /// a·log b; 0 where a is 0, whatever b (NaN excepted).
    Xlogy => |a, b| pick(b.is_nan(), b, pick(a == R::ZERO, R::ZERO, a * b.ln()));
    /// a·log(1 + b), likewise.
    Xlog1py => |a, b| pick(b.is_nan(), b, pick(a == R::ZERO, R::ZERO, a * b.log1p()));
    /// 0 below 0, 1 above, b at 0.
    Heaviside => |a, b| pick(a == R::ZERO, b, pick(a.is_nan(), a, pick(a > R::ZERO, R::ONE, R::ZERO)));
    /// a · 2^b
    Ldexp => |a, b| a * b.exp2();
    /// The regularised incomplete gamma functions of parameter a at b.
    Igamma => |a, b| R::of(special::igamma(a.to_f64(), b.to_f64()));
    Igammac => |a, b| R::of(special::igammac(a.to_f64(), b.to_f64()));
    /// Hurwitz' zeta function of exponent a at b.
    Zeta => |a, b| R::of(special::zeta(a.to_f64(), b.to_f64()));
}

/// Where an integer division meets a zero, the loop notes it here instead of stopping.
struct ZeroDivision(AtomicBool);

impl ZeroDivision {
    #[inline(always)]
    fn check(&self, a: i64, b: i64, f: impl Fn(i64, i64) -> i64) -> i64 {
        if b == 0 {
            self.0.store(true, Ordering::Relaxed);
            return 0;
        }
        f(a, b)
    }
    fn done(&self, r: Result<()>) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(runtime_error!("ZeroDivisionError")) } else { r }
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a as i64
}

/// Powers of integers wrap; a negative exponent gives the integer part of the reciprocal.
#[inline]
fn pow_int(mut a: i64, b: i64) -> i64 {
    if b < 0 {
        return match a {
            1 => 1,
            -1 => {
                if b % 2 == 0 {
                    1
                } else {
                    -1
                }
            }
            _ => 0,
        };
    }
    let (mut r, mut b) = (1i64, b as u64);
    while b != 0 {
        if b & 1 == 1 {
            r = r.wrapping_mul(a);
        }
        a = a.wrapping_mul(a);
        b >>= 1;
    }
    r
}

fn integer(op: Binary, dst: &Raw, a: &Raw, b: &Raw) -> Result<()> {
    let zero = ZeroDivision(AtomicBool::new(false));
    let bits = dst.dtype().size() as i64 * 8;
    macro_rules! go {
        ($f:expr) => {
            pair::<i64, i64, i64>(dst, a, b, $f)
        };
    }
    match op {
        Binary::Add => go!(|a, b| a.wrapping_add(b)),
        Binary::Sub => go!(|a, b| a.wrapping_sub(b)),
        Binary::Mul => go!(|a, b| a.wrapping_mul(b)),
        Binary::TruncDiv => zero.done(go!(|a, b| zero.check(a, b, i64::wrapping_div))),
        Binary::FloorDiv => zero.done(go!(|a, b| zero.check(a, b, |a, b| {
            let q = a.wrapping_div(b);
            if (a.wrapping_rem(b) != 0) & ((a < 0) != (b < 0)) { q - 1 } else { q }
        }))),
        Binary::Remainder => zero.done(go!(|a, b| zero.check(a, b, |a, b| {
            let m = a.wrapping_rem(b);
            if (m != 0) & ((m < 0) != (b < 0)) { m + b } else { m }
        }))),
        Binary::Fmod => zero.done(go!(|a, b| zero.check(a, b, i64::wrapping_rem))),
        Binary::Pow => go!(pow_int),
        Binary::Maximum | Binary::Fmax => go!(|a, b| if a > b { a } else { b }),
        Binary::Minimum | Binary::Fmin => go!(|a, b| if a < b { a } else { b }),
        Binary::Gcd => go!(gcd),
        Binary::Lcm => go!(|a, b| {
            let g = gcd(a, b);
            if g == 0 { 0 } else { (a / g).wrapping_mul(b).wrapping_abs() }
        }),
        Binary::And => go!(|a, b| a & b),
        Binary::Or => go!(|a, b| a | b),
        Binary::Xor => go!(|a, b| a ^ b),
        // Shifts by the width or more give 0 (left) or the sign (right), as PyTorch's do.
        Binary::Shl => go!(|a, b| if (b < 0) | (b >= bits) { 0 } else { a.wrapping_shl(b as u32) }),
        Binary::Shr => go!(|a, b| a >> if (b < 0) | (b >= bits) { 63 } else { b }),
        Binary::Heaviside => go!(|a, b| if a == 0 { b } else { i64::from(a > 0) }),
        _ => Err(not_implemented!("{op:?} is not implemented for '{}'", dst.dtype().torch_name())),
    }
}

fn boolean(op: Binary, dst: &Raw, a: &Raw, b: &Raw) -> Result<()> {
    match op {
        Binary::Add | Binary::Maximum | Binary::Or | Binary::Fmax => {
            pair::<B8, B8, B8>(dst, a, b, |a, b| (a.get() | b.get()).into())
        }
        Binary::Mul | Binary::Minimum | Binary::And | Binary::Fmin => {
            pair::<B8, B8, B8>(dst, a, b, |a, b| (a.get() & b.get()).into())
        }
        Binary::Xor => pair::<B8, B8, B8>(dst, a, b, |a, b| (a.get() ^ b.get()).into()),
        Binary::Heaviside => pair::<B8, B8, B8>(dst, a, b, |a, b| (a.get() | b.get()).into()),
        _ => Err(not_implemented!("{op:?} is not implemented for 'Bool'")),
    }
}

/// `dst = op(a, b)` in the arithmetic of `dst`'s dtype; operands are broadcast and cast.
/// Integer division by zero is the error "ZeroDivisionError".
pub fn binary(op: Binary, dst: &Raw, a: &Raw, b: &Raw) -> Result<()> {
    match lane(dst.dtype()) {
        DType::F32 => float::<f32>(op, dst, a, b),
        DType::F64 => float::<f64>(op, dst, a, b),
        DType::Bool => boolean(op, dst, a, b),
        _ => integer(op, dst, a, b),
    }
}

/// `dst = a + alpha·b`
pub fn add_scaled(dst: &Raw, a: &Raw, b: &Raw, alpha: Scalar) -> Result<()> {
    if alpha.to_f64() == 1.0 {
        return binary(Binary::Add, dst, a, b);
    }
    match lane(dst.dtype()) {
        DType::F32 => {
            let k = alpha.to_f64() as f32;
            pair::<f32, f32, f32>(
                dst,
                a,
                b,
                #[inline(always)]
                move |a, b| b.mul_add(k, a),
            )
        }
        DType::F64 => {
            let k = alpha.to_f64();
            pair::<f64, f64, f64>(
                dst,
                a,
                b,
                #[inline(always)]
                move |a, b| b.mul_add(k, a),
            )
        }
        DType::Bool if alpha.to_bool() => binary(Binary::Or, dst, a, b),
        DType::Bool => crate::copy::copy(dst, a),
        _ => {
            let k = alpha.to_i64();
            pair::<i64, i64, i64>(
                dst,
                a,
                b,
                #[inline(always)]
                move |a, b| a.wrapping_add(b.wrapping_mul(k)),
            )
        }
    }
}

/// Comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

fn compare_as<T: Element>(op: Compare, dst: &Raw, a: &Raw, b: &Raw) -> Result<()> {
    match op {
        Compare::Eq => pair::<T, T, B8>(
            dst,
            a,
            b,
            #[inline(always)]
            |a, b| (a == b).into(),
        ),
        Compare::Ne => pair::<T, T, B8>(
            dst,
            a,
            b,
            #[inline(always)]
            |a, b| (a != b).into(),
        ),
        Compare::Lt => pair::<T, T, B8>(
            dst,
            a,
            b,
            #[inline(always)]
            |a, b| (a < b).into(),
        ),
        Compare::Le => pair::<T, T, B8>(
            dst,
            a,
            b,
            #[inline(always)]
            |a, b| (a <= b).into(),
        ),
        // Mirrored, so that they need no code of their own.
        Compare::Gt => compare_as::<T>(Compare::Lt, dst, b, a),
        Compare::Ge => compare_as::<T>(Compare::Le, dst, b, a),
    }
}

/// `dst = a op b` (a bool), both compared as `common`, the dtype they promote to.
pub fn compare(op: Compare, dst: &Raw, a: &Raw, b: &Raw, common: DType) -> Result<()> {
    match lane(common) {
        DType::F32 => compare_as::<f32>(op, dst, a, b),
        DType::F64 => compare_as::<f64>(op, dst, a, b),
        DType::Bool => compare_as::<B8>(op, dst, a, b),
        _ => compare_as::<i64>(op, dst, a, b),
    }
}

/// Logic on truth values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logical {
    And,
    Or,
    Xor,
}

/// `dst = a op b`, where anything non-zero is true.
pub fn logical(op: Logical, dst: &Raw, a: &Raw, b: &Raw) -> Result<()> {
    boolean(
        match op {
            Logical::And => Binary::And,
            Logical::Or => Binary::Or,
            Logical::Xor => Binary::Xor,
        },
        dst,
        a,
        b,
    )
}
