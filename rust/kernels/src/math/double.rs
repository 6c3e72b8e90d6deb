//! Double precision. Bounds (ulp, see the tests): exp, exp2, log, log1p ≤ 1; expm1, sigmoid ≤ 1.5; tanh ≤ 2.5;
//! erf ≤ 1.5, erfc ≤ 3 (relative, down to the subnormals); atan, asin, acos ≤ 2.

use super::horner;

const LN2_HI: f64 = 6.931_471_803_691_238e-1; // 32 bits of ln 2, so that k·LN2_HI is exact
const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
/// Adding it leaves an integer, rounded to nearest even, in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;

/// 2^k for -1022 ≤ k ≤ 1023, from `k + MAGIC`.
#[inline(always)]
fn pow2(kb: u64) -> f64 {
    f64::from_bits(kb.wrapping_add(1023) << 52)
}

/// `p · 2^k` for any k of an exponential, in two steps so that subnormals come out and nothing overflows early.
#[inline(always)]
fn scale(p: f64, k: f64) -> f64 {
    let half = (k * 0.5 + MAGIC).to_bits();
    let h = f64::from_bits(half) - MAGIC;
    let rest = (k - h + MAGIC).to_bits();
    p * pow2(half) * pow2(rest)
}

/// (e^r − 1 − r) / r² for |r| ≤ ln 2 / 2; error 2^-60.
#[inline(always)]
fn exp_tail(r: f64) -> f64 {
    horner!(f64, r; 0.5, 0.16666666666666666, 0.04166666666666668, 0.008333333333333335, 0.0013888888888877397,
        0.00019841269841262181, 2.480158734081826e-05, 2.7557319250135434e-06, 2.755725868862393e-07,
        2.5052068034668043e-08, 2.0919802534908384e-09, 1.6087737571667883e-10)
}

/// x = k·ln 2 + r: (k, r, what r lacks), for |x| ≤ 1100.
#[inline(always)]
fn reduce(x: f64) -> (f64, f64, f64) {
    let k = x.mul_add(std::f64::consts::LOG2_E, MAGIC) - MAGIC;
    let hi = k.mul_add(-LN2_HI, x);
    let r = k.mul_add(-LN2_LO, hi);
    (k, r, k.mul_add(-LN2_LO, hi - r))
}

#[inline(always)]
fn bound(x: f64, lo: f64, hi: f64) -> f64 {
    // Written so that NaN stays.
    let x = if x > hi { hi } else { x };
    if x < lo { lo } else { x }
}

/// e^x
#[inline(always)]
#[must_use]
pub fn exp(x: f64) -> f64 {
    let (k, r, c) = reduce(bound(x, -760.0, 720.0));
    scale(1.0 + (r + (r * r).mul_add(exp_tail(r), c)), k)
}

/// 2^x
#[inline(always)]
#[must_use]
pub fn exp2(x: f64) -> f64 {
    let x = bound(x, -1100.0, 1030.0);
    let k = (x + MAGIC) - MAGIC;
    let f = x - k;
    let r = f * std::f64::consts::LN_2;
    let c = f.mul_add(std::f64::consts::LN_2, -r);
    scale(1.0 + (r + (r * r).mul_add(exp_tail(r), c)), k)
}

/// e^x − 1
#[inline(always)]
#[must_use]
pub fn expm1(x: f64) -> f64 {
    let (k, r, c) = reduce(bound(x, -50.0, 710.0));
    let em1 = r + (r * r).mul_add(exp_tail(r), c);
    // Halved on the way: 2^1024 is none.
    let t = pow2((k - 1.0 + MAGIC).to_bits());
    let y = 2.0 * t.mul_add(em1, t - 0.5);
    // Keeps the zero's sign and subnormals.
    if x.abs() < 1e-290 { x } else { y }
}

/// Splits x > 0 into exponent and m − 1, m in [√½, √2).
#[inline(always)]
fn split(x: f64) -> (f64, f64) {
    let tiny = x < f64::MIN_POSITIVE;
    let x = if tiny { x * 18_014_398_509_481_984.0 } else { x };
    // Shifts the border between exponents to √½.
    let bits = x.to_bits().wrapping_add(0x3ff0_0000_0000_0000 - 0x3fe6_a09e_667f_3bcd);
    let e = f64::from_bits(0x4330_0000_0000_0000 | (bits >> 52)) - (4_503_599_627_370_496.0 + 1023.0);
    let m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) + 0x3fe6_a09e_667f_3bcd);
    (if tiny { e - 54.0 } else { e }, m - 1.0)
}

/// log(1+f) = f − (low): s·(f²/2 + z·P) with s = f/(2+f); returns `f²/2 − s·(...)`, what is to be taken off f.
#[inline(always)]
fn log_tail(f: f64) -> f64 {
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * horner!(f64, z; 0.6666666666666666, 0.4000000000000091, 0.2857142857078221, 0.22222222396552982,
        0.1818179512447675, 0.1538626767288246, 0.13268026140423497, 0.13094416666572584);
    let h = 0.5 * f * f;
    (-s).mul_add(h + r, h)
}

/// What a logarithm is where x is not a positive finite number.
#[inline(always)]
fn log_edges(x: f64, y: f64) -> f64 {
    let y = if x == f64::INFINITY { x } else { y };
    let y = if x == 0.0 { f64::NEG_INFINITY } else { y };
    if x >= 0.0 { y } else { f64::NAN }
}

/// Natural logarithm.
#[inline(always)]
#[must_use]
pub fn ln(x: f64) -> f64 {
    let (e, f) = split(x);
    let y = e.mul_add(LN2_HI, f - e.mul_add(-LN2_LO, log_tail(f)));
    log_edges(x, y)
}

/// [`ln`] to 2^-43: for results that will be rounded to single precision. x ≥ 0, no subnormals.
#[inline(always)]
pub(super) fn ln_short(x: f64) -> f64 {
    let bits = x.to_bits().wrapping_add(0x3ff0_0000_0000_0000 - 0x3fe6_a09e_667f_3bcd);
    let e = f64::from_bits(0x4330_0000_0000_0000 | (bits >> 52)) - (4_503_599_627_370_496.0 + 1023.0);
    let f = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) + 0x3fe6_a09e_667f_3bcd) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let p = horner!(f64, z; 0.6666666666739516, 0.39999998770080447, 0.28571760085783043, 0.22191049440929575,
        0.19369462304718668);
    let y = (s * z).mul_add(p, s + s);
    log_edges(x, e.mul_add(std::f64::consts::LN_2, y))
}

/// [`exp`] to 2^-37, without subnormals: for results that will be rounded to single precision.
#[inline(always)]
pub(super) fn exp_short(x: f64) -> f64 {
    let x = bound(x, -120.0, 100.0);
    let shifted = x.mul_add(std::f64::consts::LOG2_E, MAGIC);
    let k = shifted - MAGIC;
    let r = k.mul_add(-std::f64::consts::LN_2, x);
    let p = horner!(f64, r; 0.5, 0.16666666725604243, 0.04166666672558472, 0.008333295608324359,
        0.0013888851175485066, 0.00019901620653935256, 2.486192382927027e-05);
    (r * r).mul_add(p, r + 1.0) * pow2(shifted.to_bits())
}

/// Logarithm to base 2; exact for powers of 2.
#[inline(always)]
#[must_use]
pub fn log2(x: f64) -> f64 {
    let (e, f) = split(x);
    let t = log_tail(f);
    let l = f - t;
    let low = (f - l) - t;
    // log2(e) in two parts.
    let hi = l * std::f64::consts::LOG2_E;
    let lo = l.mul_add(std::f64::consts::LOG2_E, -hi)
        + l.mul_add(2.035_527_374_093_103_3e-17, low * std::f64::consts::LOG2_E);
    log_edges(x, e + (hi + lo))
}

/// Logarithm to base 10.
#[inline(always)]
#[must_use]
pub fn log10(x: f64) -> f64 {
    f64::log10(x)
}

/// log(1 + x)
#[inline(always)]
#[must_use]
pub fn log1p(x: f64) -> f64 {
    let u = 1.0 + x;
    // What the sum lost.
    let c = if x > 1.0 { 1.0 - (u - x) } else { x - (u - 1.0) };
    let (e, f) = split(u);
    let c = if u.abs() < f64::INFINITY { c / u } else { 0.0 };
    let y = e.mul_add(LN2_HI, f - (log_tail(f) - e.mul_add(LN2_LO, c)));
    let y = log_edges(u, y);
    if x.abs() < 1e-290 { x } else { y }
}

/// Sine, by the system's libm.
#[inline(always)]
#[must_use]
pub fn sin(x: f64) -> f64 {
    f64::sin(x)
}
/// Cosine, by the system's libm.
#[inline(always)]
#[must_use]
pub fn cos(x: f64) -> f64 {
    f64::cos(x)
}
/// Tangent, by the system's libm.
#[inline(always)]
#[must_use]
pub fn tan(x: f64) -> f64 {
    f64::tan(x)
}

/// Angle of the point (x, y), in (−π, π], with C's cases of zeros and infinities.
#[inline(always)]
#[must_use]
pub fn atan2(y: f64, x: f64) -> f64 {
    let (ay, ax) = (y.abs(), x.abs());
    let (hi, lo) = if ay > ax { (ay, ax) } else { (ax, ay) };
    // Infinities and zeros become fractions that say the same; what is huge or tiny is scaled alike.
    let both_inf = lo == f64::INFINITY;
    let (hi, lo) = if both_inf { (1.0, 1.0) } else { (hi, lo) };
    let hi = if hi == 0.0 { 1.0 } else { hi };
    let f = if hi > 1e300 { 1e-300 } else { 1.0 };
    let f = if hi < 1e-290 { 1e300 } else { f };
    let lo = lo * f;
    let hi = if hi == f64::INFINITY { hi } else { hi * f };
    // tan(a − π/8·..): above tan(π/8) turn by π/4.
    let turn = lo > 0.414_213_562_373_095_05 * hi;
    let (n, d) = if turn { (lo - hi, lo + hi) } else { (lo, hi) };
    let q = n / d;
    let z = q * q;
    let p = horner!(f64, z; -0.3333333333333333, 0.199999999999998, -0.14285714285659326, 0.11111111105106704,
        -0.09090908751076597, 0.07692296304973549, -0.0666642362805528, 0.058789145442614446, -0.052303478721123314,
        0.045511081226396584, -0.03455809246572812, 0.016271944664995413);
    let a = (q * z).mul_add(p, q);
    // The answer is a or -a off a multiple of π/4; one rounding puts them together.
    let (m, a) = if turn { (1.0, a) } else { (0.0, a) };
    let (m, a) = if ay > ax { (2.0 - m, -a) } else { (m, a) };
    let (m, a) = if x.is_sign_negative() { (4.0 - m, -a) } else { (m, a) };
    const PI_4_LO: f64 = 3.061_616_997_868_383e-17;
    let a = f64::mul_add(m, std::f64::consts::FRAC_PI_4, f64::mul_add(m, PI_4_LO, a));
    let a = a.copysign(y);
    if x.is_nan() | y.is_nan() { f64::NAN } else { a }
}

/// Arc tangent.
#[inline(always)]
#[must_use]
pub fn atan(x: f64) -> f64 {
    atan2(x, 1.0)
}
/// Arc sine; NaN outside [−1, 1].
#[inline(always)]
#[must_use]
pub fn asin(x: f64) -> f64 {
    atan2(x, ((1.0 - x) * (1.0 + x)).sqrt())
}
/// Arc cosine; NaN outside [−1, 1].
#[inline(always)]
#[must_use]
pub fn acos(x: f64) -> f64 {
    2.0 * atan2((1.0 - x).sqrt(), (1.0 + x).sqrt())
}

/// Hyperbolic sine.
#[inline(always)]
#[must_use]
pub fn sinh(x: f64) -> f64 {
    let a = x.abs();
    let t = expm1(a);
    let small = 0.5 * (t + t / (t + 1.0));
    // Above, e^a alone would overflow half a unit early.
    let h = exp(0.5 * a);
    let y = if a > 40.0 { 0.5 * h * h } else { small };
    y.copysign(x)
}

/// Hyperbolic cosine.
#[inline(always)]
#[must_use]
pub fn cosh(x: f64) -> f64 {
    let h = exp(0.5 * x.abs());
    let e = h * h;
    if x.abs() > 40.0 { 0.5 * h * h } else { 0.5 * (e + 1.0 / e) }
}

/// Hyperbolic tangent.
#[inline(always)]
#[must_use]
pub fn tanh(x: f64) -> f64 {
    let t = expm1(-2.0 * x.abs());
    (-t / (t + 2.0)).copysign(x)
}

/// Inverse hyperbolic sine.
#[inline(always)]
#[must_use]
pub fn asinh(x: f64) -> f64 {
    let a = x.abs();
    let s = a * a;
    let mid = log1p(a + s / (1.0 + (s + 1.0).sqrt()));
    let big = ln(a) + std::f64::consts::LN_2;
    (if a > 1e8 { big } else { mid }).copysign(x)
}

/// Inverse hyperbolic cosine; NaN below 1.
#[inline(always)]
#[must_use]
pub fn acosh(x: f64) -> f64 {
    let t = x - 1.0;
    let mid = log1p(t + (2.0f64.mul_add(t, t * t)).sqrt());
    let big = ln(x) + std::f64::consts::LN_2;
    let y = if x > 1e8 { big } else { mid };
    if x < 1.0 { f64::NAN } else { y }
}

/// Inverse hyperbolic tangent; NaN outside [−1, 1].
#[inline(always)]
#[must_use]
pub fn atanh(x: f64) -> f64 {
    let a = x.abs();
    let y = 0.5 * log1p(2.0 * a / (1.0 - a));
    let y = if a > 1.0 { f64::NAN } else { y };
    y.copysign(x)
}

/// 1 / (1 + e^−x)
#[inline(always)]
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    let e = exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// e^(a²)·erfc(a) for 0 ≤ a ≤ 28; error 2^-55.
#[inline(always)]
pub(super) fn erfcx(a: f64) -> f64 {
    let t = 1.0 / (a + 2.0);
    let u = (a - 2.0) * t;
    t * horner!(f64, u; 1.021582705242023, -0.6871606844138107, 0.2794720925560472, -0.03644223150686055,
        -0.02151066188904168, 0.006479185067043882, 0.0030906120488752506, -0.0008372960505667296,
        -0.0006630733806812135, 3.437132347499336e-05, 0.00014446984782779868, 3.414954242910816e-05,
        -2.1691996160279536e-05, -1.6123253296994566e-05, -1.1390657822713735e-06, 3.649115551163877e-06,
        2.032058152968992e-06, -5.151313592947865e-09, -6.180966770248528e-07, -3.2001443278588945e-07,
        4.624002786859279e-08, 1.120824619736229e-07, 2.4107696115186398e-08, -1.4966772746772726e-08,
        -5.898400779613349e-09)
}

/// erfc(a) for a ≥ 0.
#[inline(always)]
fn erfc_positive(a: f64) -> f64 {
    let a = if a > 28.0 { 28.0 } else { a };
    let s = a * a;
    let low = a.mul_add(a, -s);
    exp(-s) * ((1.0 - low) * erfcx(a))
}

/// erf for |x| ≤ 1; error 2^-56.
#[inline(always)]
fn erf_small(x: f64) -> f64 {
    let z = x * x;
    let p = horner!(f64, z; -0.37612638903183754, 0.11283791670955125, -0.026866170645131082, 0.005223977625438469,
        -0.0008548327023024696, 0.0001205533295270044, -1.4925649082364785e-05, 1.6462076794793434e-06,
        -1.6365085592632057e-07, 1.4796618901290365e-08, -1.2190356240320841e-09, 8.800680090459008e-11,
        -4.374621450323152e-12);
    // 2/√π = 1 + 0.128…: the larger part of the product is exact.
    x + x.mul_add(0.128_379_167_095_512_57, x * z * p)
}

/// Error function.
#[inline(always)]
#[must_use]
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    let y = if a < 1.0 { erf_small(a) } else { 1.0 - erfc_positive(a) };
    y.copysign(x)
}

/// 1 − erf(x), accurate in its tail.
#[inline(always)]
#[must_use]
pub fn erfc(x: f64) -> f64 {
    let a = x.abs();
    let tail = erfc_positive(a);
    let y = if x < 0.0 { 2.0 - tail } else { tail };
    if a < 0.25 { 1.0 - erf_small(x) } else { y }
}

/// Φ(x), the normal distribution function, accurate in its lower tail.
#[inline(always)]
#[must_use]
pub fn phi(x: f64) -> f64 {
    let a = x.abs();
    let a = if a > 39.0 { 39.0 } else { a };
    let s = a * a;
    let low = a.mul_add(a, -s);
    let tail = exp(-0.5 * s) * (0.5 - 0.25 * low) * erfcx(a * std::f64::consts::FRAC_1_SQRT_2);
    let y = if x < 0.0 { tail } else { 1.0 - tail };
    if a < 1.0 { 0.5f64.mul_add(erf_small(x * std::f64::consts::FRAC_1_SQRT_2), 0.5) } else { y }
}

/// Inverse error function: a closed-form guess and two Halley steps, on erfc where erf is near 1.
#[inline(always)]
#[must_use]
pub fn erfinv(x: f64) -> f64 {
    let a = x.abs();
    let l = ln((1.0 - a) * (1.0 + a));
    let b = 0.5f64.mul_add(l, 2.0 / (std::f64::consts::PI * 0.147));
    let g = (b.mul_add(b, -l / 0.147)).sqrt() - b;
    let mut y = g.max(0.0).sqrt();
    for _ in 0..3 {
        let far = a > 0.5;
        let diff = if far { (1.0 - a) - erfc_positive(y) } else { erf(y) - a };
        // Newton's step, then Halley's correction by the curvature −2y.
        let step = diff * (0.5 / std::f64::consts::FRAC_2_SQRT_PI * 2.0) * exp(y * y);
        y -= step / (1.0 + y * step);
    }
    let y = if a == 0.0 { a } else { y };
    let y = if a == 1.0 { f64::INFINITY } else { y };
    let y = if a <= 1.0 { y } else { f64::NAN };
    y.copysign(x)
}

/// The next double after x toward y.
#[inline(always)]
#[must_use]
pub fn nextafter(x: f64, y: f64) -> f64 {
    let bits = x.to_bits();
    let away = (y > x) == (x > 0.0);
    let next = f64::from_bits(if away { bits.wrapping_add(1) } else { bits.wrapping_sub(1) });
    let next = if x == 0.0 { f64::from_bits(1).copysign(y) } else { next };
    let next = if x == y { y } else { next };
    if x.is_nan() | y.is_nan() { f64::NAN } else { next }
}
