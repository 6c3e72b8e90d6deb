//! Single precision. Native: exp, exp2, expm1, ln, tanh, sigmoid, erf, erfc, phi (bounds in the tests, ≤ 2 ulp); the
//! others are computed in double precision and rounded once (≤ 0.51 ulp).

use super::{double, horner};

/// `c[0] + c[1] x + …` by halves (Estrin): a chain of log₂ N multiply-adds where Horner's has N, which is what bounds
/// these loops (gelu takes half the time).
#[inline(always)]
fn poly<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut c = c;
    let (mut n, mut x) = (N, x);
    // At most 16 coefficients: four halvings, written as a loop of known length so that it unrolls.
    for _ in 0..4 {
        if n > 1 {
            for i in 0..n / 2 {
                c[i] = c[2 * i + 1].mul_add(x, c[2 * i]);
            }
            if n % 2 == 1 {
                c[n / 2] = c[n - 1];
            }
            n = n.div_ceil(2);
            x *= x;
        }
    }
    c[0]
}

const LN2_HI: f32 = 0.693_359_375; // 9 bits, so that k·LN2_HI is exact
const LN2_LO: f32 = -2.121_944_4e-4;
/// Adding it leaves an integer, rounded to nearest even, in the low bits.
const MAGIC: f32 = 12_582_912.0;

/// 2^k for -126 ≤ k ≤ 127, from the bits of `k + MAGIC`.
#[inline(always)]
fn pow2(kb: u32) -> f32 {
    f32::from_bits(kb.wrapping_add(127) << 23)
}

/// `p · 2^k` in two steps, so that subnormals come out and nothing overflows early.
#[inline(always)]
fn scale(p: f32, k: f32) -> f32 {
    let half = (k * 0.5 + MAGIC).to_bits();
    let h = f32::from_bits(half) - MAGIC;
    let rest = (k - h + MAGIC).to_bits();
    p * pow2(half) * pow2(rest)
}

/// (e^r − 1 − r) / r² for |r| ≤ ln 2 / 2; error 2^-30 of e^r.
#[inline(always)]
fn exp_tail(r: f32) -> f32 {
    poly(r, [0.5, 0.166_666_67, 0.041_666_448, 0.008_333_309, 0.001_393_545_2, 0.000_198_929_92])
}

/// x = k·ln 2 + r
#[inline(always)]
fn reduce(x: f32) -> (f32, f32) {
    let k = x.mul_add(std::f32::consts::LOG2_E, MAGIC) - MAGIC;
    (k, k.mul_add(-LN2_LO, k.mul_add(-LN2_HI, x)))
}

#[inline(always)]
fn bound(x: f32, lo: f32, hi: f32) -> f32 {
    // Written so that NaN stays.
    let x = if x > hi { hi } else { x };
    if x < lo { lo } else { x }
}

/// e^x
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    let (k, r) = reduce(bound(x, -110.0, 90.0));
    scale((r * r).mul_add(exp_tail(r), r) + 1.0, k)
}

/// e^x for x ≤ 0, to zero below −87.3 (no subnormals): one multiplication less.
#[inline(always)]
fn exp_negative(x: f32) -> f32 {
    let c = if x < -87.3 { -87.3 } else { x };
    let (k, r) = reduce(c);
    let p = (r * r).mul_add(exp_tail(r), r) + 1.0;
    let y = p * pow2((k + MAGIC).to_bits());
    if x < -87.3 { 0.0 } else { y }
}

/// 2^x
#[inline(always)]
#[must_use]
pub fn exp2(x: f32) -> f32 {
    let x = bound(x, -160.0, 130.0);
    let k = (x + MAGIC) - MAGIC;
    let r = (x - k) * std::f32::consts::LN_2;
    let c = (x - k).mul_add(std::f32::consts::LN_2, -r);
    scale((r * r).mul_add(exp_tail(r), c) + r + 1.0, k)
}

/// e^x − 1
#[inline(always)]
#[must_use]
pub fn expm1(x: f32) -> f32 {
    let (k, r) = reduce(bound(x, -25.0, 89.0));
    let em1 = (r * r).mul_add(exp_tail(r), r);
    let t = pow2((k - 1.0 + MAGIC).to_bits());
    let y = 2.0 * t.mul_add(em1, t - 0.5);
    if x.abs() < 1e-30 { x } else { y }
}

/// (log(1+f) − f + f²/2) / f³ for 1+f in [√½, √2); error 2^-28.
#[inline(always)]
fn ln_tail(f: f32) -> f32 {
    poly(
        f,
        [
            0.333_333_3,
            -0.249_999_97,
            0.200_007_2,
            -0.166_678_18,
            0.142_489_1,
            -0.124_251_58,
            0.116_864_495,
            -0.114_844_36,
            0.069_748_86,
        ],
    )
}

/// Natural logarithm.
#[inline(always)]
#[must_use]
pub fn ln(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let v = if tiny { x * 16_777_216.0 } else { x };
    let bits = v.to_bits().wrapping_add(0x3f80_0000 - 0x3f35_04f3);
    let e = (bits >> 23) as i32 - 127 - if tiny { 24 } else { 0 };
    let f = f32::from_bits((bits & 0x007f_ffff) + 0x3f35_04f3) - 1.0;
    let e = e as f32;
    let z = f * f;
    let y = (f * z).mul_add(ln_tail(f), e * LN2_LO);
    let y = z.mul_add(-0.5, y);
    let y = e.mul_add(LN2_HI, f + y);
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x >= 0.0 { y } else { f32::NAN }
}

/// log(1 + x): as [`ln`] of the sum, which is put right by what it lost.
#[inline(always)]
#[must_use]
pub fn log1p(x: f32) -> f32 {
    let u = 1.0 + x;
    let lost = if x > 1.0 { 1.0 - (u - x) } else { x - (u - 1.0) };
    let bits = u.to_bits().wrapping_add(0x3f80_0000 - 0x3f35_04f3);
    let e = ((bits >> 23) as i32 - 127) as f32;
    let f = f32::from_bits((bits & 0x007f_ffff) + 0x3f35_04f3) - 1.0;
    let c = if u < f32::INFINITY { lost / u } else { 0.0 };
    let z = f * f;
    let y = (f * z).mul_add(ln_tail(f), e.mul_add(LN2_LO, c));
    let y = z.mul_add(-0.5, y);
    let y = e.mul_add(LN2_HI, f + y);
    let y = if u == f32::INFINITY { u } else { y };
    let y = if u == 0.0 { f32::NEG_INFINITY } else { y };
    let y = if u >= 0.0 { y } else { f32::NAN };
    if x.abs() < 1e-8 { x } else { y }
}

/// Hyperbolic tangent: one division.
#[inline(always)]
#[must_use]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let (k, r) = reduce(bound(-2.0 * a, -40.0, 0.0));
    let em1 = (r * r).mul_add(exp_tail(r), r);
    let t = pow2((k + MAGIC).to_bits());
    // Near 0 by e − 1, which is exact there; beyond as 1 less what is missing.
    let m = t.mul_add(em1, t - 1.0);
    let e = t.mul_add(em1, t);
    let near = a < 0.6;
    let q = (if near { -m } else { -2.0 * e }) / (m + 2.0);
    let y = if near { q } else { 1.0 + q };
    (if a < 1e-4 { a } else { y }).copysign(x)
}

/// 1 / (1 + e^−x)
#[inline(always)]
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// e^(a²)·erfc(a) for 0 ≤ a ≤ 11; error 2^-25.6.
#[inline(always)]
fn erfcx(a: f32) -> f32 {
    let t = 1.0 / (a + 3.0);
    let u = (a - 3.0) * t;
    // Even and odd powers apart: as quick as halves here, and the large terms stay together.
    let v = u * u;
    let even = horner!(f32, v; 1.074_006_9, 0.590_228_5, 0.119_526_91, -0.001_217_948_6, -0.000_493_628_44);
    let odd = horner!(f32, v; -0.883_394_5, -0.310_466_35, -0.026_838_794, 0.003_082_170_8, -0.000_331_862_83);
    t * odd.mul_add(u, even)
}

/// erfc(a) for a ≥ 0.
#[inline(always)]
fn erfc_positive(a: f32) -> f32 {
    let a = if a > 10.8 { 10.8 } else { a };
    let s = a * a;
    let low = a.mul_add(a, -s);
    exp(-s) * (erfcx(a) * (1.0 - low))
}

/// erf for |x| ≤ 1; error 2^-26.6.
#[inline(always)]
fn erf_small(x: f32) -> f32 {
    let z = x * x;
    let c = [
        -0.376_126_38,
        0.112_837_9,
        -0.026_865_946,
        0.005_222_611,
        -0.000_850_854_5,
        0.000_114_517_366,
        -1.021_674_8e-5,
    ];
    let p = poly(z, c);
    x + x.mul_add(0.128_379_17, x * z * p)
}

/// Error function.
#[inline(always)]
#[must_use]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    let y = if a < 1.0 { erf_small(a) } else { 1.0 - erfc_positive(a) };
    y.copysign(x)
}

/// 1 − erf(x), accurate in its tail.
#[inline(always)]
#[must_use]
pub fn erfc(x: f32) -> f32 {
    let a = x.abs();
    let tail = erfc_positive(a);
    let y = if x < 0.0 { 2.0 - tail } else { tail };
    if a < 0.25 { 1.0 - erf_small(x) } else { y }
}

/// Φ(x), the normal distribution function, accurate in its lower tail.
#[inline(always)]
#[must_use]
pub fn phi(x: f32) -> f32 {
    phi_density(x).0
}

/// Φ(x) and its derivative, which share their exponential.
#[inline(always)]
#[must_use]
pub fn phi_density(x: f32) -> (f32, f32) {
    let a = x.abs();
    let a = if a > 15.0 { 15.0 } else { a };
    let s = a * a;
    let low = a.mul_add(a, -s);
    let e = exp(-0.5 * s);
    let tail = e * (erfcx(a * std::f32::consts::FRAC_1_SQRT_2) * (-0.25f32).mul_add(low, 0.5));
    let y = if x < 0.0 { tail } else { 1.0 - tail };
    let y = if a < 1.0 { 0.5f32.mul_add(erf_small(x * std::f32::consts::FRAC_1_SQRT_2), 0.5) } else { y };
    (y, 0.398_942_3 * (e * (-0.5f32).mul_add(low, 1.0)))
}

/// π/2 in two doubles.
const PIO2_HI: f64 = std::f64::consts::FRAC_PI_2;
const PIO2_LO: f64 = 6.123_233_995_736_766e-17;
/// Up to here [`sin`] and its kin reduce their argument exactly enough; [`far_sin`] and its kin do beyond.
pub const TRIG_LIMIT: f32 = 1.0e12;

/// (quarter turns as bits, sin and cos of what remains) of x, |x| ≤ [`TRIG_LIMIT`].
#[inline(always)]
fn sin_cos(x: f32) -> (u64, f64, f64) {
    let x = f64::from(x);
    let shifted = x.mul_add(std::f64::consts::FRAC_2_PI, 6_755_399_441_055_744.0);
    let k = shifted - 6_755_399_441_055_744.0;
    let r = k.mul_add(-PIO2_LO, k.mul_add(-PIO2_HI, x));
    let z = r * r;
    let s = (r * z).mul_add(
        horner!(f64, z; -0.16666666666663596, 0.008333333330893767, -0.00019841266738429244, 2.755593744033613e-06,
            -2.4800730765135123e-08),
        r,
    );
    let c = (z * z).mul_add(
        horner!(f64, z; 0.04166666666666447, -0.0013888888887144723, 2.480158508330001e-05, -2.755633144337351e-07,
            2.0697092342431983e-09),
        z.mul_add(-0.5, 1.0),
    );
    (shifted.to_bits(), s, c)
}

/// Sine, for |x| ≤ [`TRIG_LIMIT`].
#[inline(always)]
#[must_use]
pub fn sin(x: f32) -> f32 {
    let (k, s, c) = sin_cos(x);
    let y = if k & 1 == 0 { s } else { c };
    let y = f64::from_bits(y.to_bits() ^ ((k & 2) << 62)) as f32;
    if x == 0.0 { x } else { y }
}

/// Cosine, for |x| ≤ [`TRIG_LIMIT`].
#[inline(always)]
#[must_use]
pub fn cos(x: f32) -> f32 {
    let (k, s, c) = sin_cos(x);
    let y = if k & 1 == 0 { c } else { s };
    f64::from_bits(y.to_bits() ^ ((k.wrapping_add(1) & 2) << 62)) as f32
}

/// Tangent, for |x| ≤ [`TRIG_LIMIT`].
#[inline(always)]
#[must_use]
pub fn tan(x: f32) -> f32 {
    let (k, s, c) = sin_cos(x);
    let (n, d) = if k & 1 == 0 { (s, c) } else { (-c, s) };
    let y = (n / d) as f32;
    if x == 0.0 { x } else { y }
}

/// Sine of any x, by the system's libm in double precision.
#[must_use]
pub fn far_sin(x: f32) -> f32 {
    f64::from(x).sin() as f32
}
/// Cosine of any x.
#[must_use]
pub fn far_cos(x: f32) -> f32 {
    f64::from(x).cos() as f32
}
/// Tangent of any x.
#[must_use]
pub fn far_tan(x: f32) -> f32 {
    f64::from(x).tan() as f32
}

/// `x` to the power `y`, with C's special cases.
#[inline(always)]
#[must_use]
pub fn pow(x: f32, y: f32) -> f32 {
    let a = x.abs();
    let (ad, yd) = (f64::from(a), f64::from(y));
    let r = double::exp_short(yd * double::ln_short(ad)) as f32;
    let whole = y.trunc() == y;
    let half = y * 0.5;
    let odd = whole & (half.trunc() != half) & (y.abs() < 16_777_216.0);
    let negative = x.is_sign_negative();
    let r = if odd & negative { -r } else { r };
    let r = if negative & !whole & (a > 0.0) & (a < f32::INFINITY) { f32::NAN } else { r };
    let r = if (a == 1.0) & (y.abs() == f32::INFINITY) { 1.0 } else { r };
    if (y == 0.0) | (x == 1.0) { 1.0 } else { r }
}

/// `sqrt(x² + y²)`
#[inline(always)]
#[must_use]
pub fn hypot(x: f32, y: f32) -> f32 {
    let (a, b) = (f64::from(x), f64::from(y));
    let r = a.mul_add(a, b * b).sqrt() as f32;
    if (x.abs() == f32::INFINITY) | (y.abs() == f32::INFINITY) { f32::INFINITY } else { r }
}

/// The next float after x toward y.
#[inline(always)]
#[must_use]
pub fn nextafter(x: f32, y: f32) -> f32 {
    let bits = x.to_bits();
    let away = (y > x) == (x > 0.0);
    let next = f32::from_bits(if away { bits.wrapping_add(1) } else { bits.wrapping_sub(1) });
    let next = if x == 0.0 { f32::from_bits(1).copysign(y) } else { next };
    let next = if x == y { y } else { next };
    if x.is_nan() | y.is_nan() { f32::NAN } else { next }
}

macro_rules! by_double {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[inline(always)]
        #[must_use]
        pub fn $name(x: f32) -> f32 {
            double::$name(f64::from(x)) as f32
        }
    )*};
}
by_double!(
    /// Logarithm to base 2.
    log2,
    /// Arc sine.
    asin,
    /// Arc cosine.
    acos,
    /// Arc tangent.
    atan,
    /// Hyperbolic sine.
    sinh,
    /// Hyperbolic cosine.
    cosh,
    /// Inverse hyperbolic sine.
    asinh,
    /// Inverse hyperbolic cosine.
    acosh,
    /// Inverse hyperbolic tangent.
    atanh,
    /// Inverse error function.
    erfinv,
);

/// Logarithm to base 10.
#[inline(always)]
#[must_use]
pub fn log10(x: f32) -> f32 {
    (double::ln(f64::from(x)) * std::f64::consts::LOG10_E) as f32
}

/// As [`exp`] for x ≤ 0 where subnormals do not matter (softmax, scaled sums).
#[inline(always)]
#[must_use]
pub fn exp_to_zero(x: f32) -> f32 {
    exp_negative(x)
}
