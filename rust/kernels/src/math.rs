//! Scalar functions that vectorise: branch-free, `#[inline(always)]`, built of IEEE operations and `mul_add` alone, so
//! that a loop over them inside `simd::dispatch` becomes vector code with the same bits on every instruction set.
//!
//! [`Math`] is what op bodies are written against, once for f32 and f64. The f32 side is native where speed matters
//! ([`single`]) and goes through double precision elsewhere; the f64 side is [`double`] for what activations need and
//! the system's libm for the rest. Polynomials are Chebyshev interpolants fitted with 50 digits to the functions
//! named beside them; the tests state the error bounds.

pub mod double;
pub mod single;
pub mod special;

use rustnn_base::dtype::Real;

/// `c0 + x*(c1 + x*(...))` by fused multiply-adds, unrolled.
macro_rules! horner {
    ($t:ident, $x:expr; $c:expr) => { $c };
    ($t:ident, $x:expr; $c:expr, $($rest:expr),+ $(,)?) => {
        $t::mul_add(horner!($t, $x; $($rest),+), $x, $c)
    };
}
pub(crate) use horner;

/// C's `fmod`, exact. Where the quotient is so small that it is off by a fraction at most, `a - qb` has no rounding, whether
/// `q` is the whole part or, rounded up to it, the next number: what is left is a multiple of the last place of `b`, and not
/// larger than `b`.
macro_rules! fmod {
    ($t:ident, $a:expr, $b:expr) => {{
        const FEW: $t = (1_u64 << ($t::MANTISSA_DIGITS - 2)) as $t;
        let (a, b): ($t, $t) = ($a, $b);
        let q = (a / b).trunc();
        if q.abs() < FEW && b.is_finite() {
            let r = (-q).mul_add(b, a);
            let r = if r != 0.0 && (r < 0.0) != (a < 0.0) { r + b.abs().copysign(a) } else { r };
            r.copysign(a)
        } else {
            // A call that is not made for its value's sake alone: `%` by itself is computed for every element.
            #[cold]
            #[inline(never)]
            fn far(a: $t, b: $t) -> $t {
                a % b
            }
            far(a, b)
        }
    }};
}

/// The functions of [`Math`] that both precisions have under the same name.
macro_rules! functions {
    ($($name:ident),* $(,)?) => {
        /// Elementary and special functions of f32 and f64.
        pub trait Math: Real {
            $(fn $name(self) -> Self;)*
            /// `self` to the power `y`, with C's special cases.
            fn pow(self, y: Self) -> Self;
            /// Angle of the point (`x`, `self`).
            fn atan2(self, x: Self) -> Self;
            /// `sqrt(self² + y²)` without overflow on the way.
            fn hypot(self, y: Self) -> Self;
            /// The remainder of C's `fmod`: the sign of `self`.
            fn fmod(self, y: Self) -> Self;
            /// The next representable value toward `y`.
            fn nextafter(self, y: Self) -> Self;
            /// Computes one of the functions that are defined in double precision only.
            fn by_f64(self, f: impl Fn(f64) -> f64) -> Self;
            /// Φ and its derivative, the normal distribution's density.
            fn phi_density(self) -> (Self, Self);
            /// A constant.
            fn of(v: f64) -> Self;
            const NAN: Self;
        }
        impl Math for f32 {
            $(#[inline(always)] fn $name(self) -> f32 { single::$name(self) })*
            #[inline(always)] fn pow(self, y: f32) -> f32 { single::pow(self, y) }
            #[inline(always)] fn atan2(self, x: f32) -> f32 { double::atan2(f64::from(self), f64::from(x)) as f32 }
            #[inline(always)] fn hypot(self, y: f32) -> f32 { single::hypot(self, y) }
            #[inline(always)] fn fmod(self, y: f32) -> f32 { fmod!(f32, self, y) }
            #[inline(always)] fn nextafter(self, y: f32) -> f32 { single::nextafter(self, y) }
            #[inline(always)] fn by_f64(self, f: impl Fn(f64) -> f64) -> f32 { f(f64::from(self)) as f32 }
            #[inline(always)] fn phi_density(self) -> (f32, f32) { single::phi_density(self) }
            #[inline(always)] fn of(v: f64) -> f32 { v as f32 }
            const NAN: f32 = f32::NAN;
        }
        impl Math for f64 {
            $(#[inline(always)] fn $name(self) -> f64 { double::$name(self) })*
            #[inline(always)] fn pow(self, y: f64) -> f64 { f64::powf(self, y) }
            #[inline(always)] fn atan2(self, x: f64) -> f64 { double::atan2(self, x) }
            #[inline(always)] fn hypot(self, y: f64) -> f64 { f64::hypot(self, y) }
            #[inline(always)] fn fmod(self, y: f64) -> f64 { fmod!(f64, self, y) }
            #[inline(always)] fn nextafter(self, y: f64) -> f64 { double::nextafter(self, y) }
            #[inline(always)] fn by_f64(self, f: impl Fn(f64) -> f64) -> f64 { f(self) }
            #[inline(always)] fn phi_density(self) -> (f64, f64) {
                (self.phi(), 0.398_942_280_401_432_7 * (-0.5 * self * self).exp())
            }
            #[inline(always)] fn of(v: f64) -> f64 { v }
            const NAN: f64 = f64::NAN;
        }
    };
}
functions!(
    exp, exp2, expm1, ln, log2, log10, log1p, sin, cos, tan, asin, acos, atan, sinh, cosh, tanh, asinh, acosh, atanh,
    sigmoid, erf, erfc, erfinv, phi
);

#[cfg(test)]
#[rustfmt::skip]
mod reference;
#[cfg(test)]
mod tests;
