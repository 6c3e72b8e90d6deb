//! Special functions in double precision that are called element by element: correctness before speed.

use std::f64::consts::{LN_2, PI};
use std::sync::LazyLock;

/// Horner with a slice of coefficients, lowest first.
fn poly(x: f64, c: &[f64]) -> f64 {
    c.iter().rev().fold(0.0, |a, &c| a * x + c)
}

/// Stirling's series without its leading terms: `lgamma(x) − ((x−½)ln x − x + ½ ln 2π)` for x ≥ 10.
fn stirling(x: f64) -> f64 {
    let z = 1.0 / (x * x);
    let c = [
        1.0 / 12.0,
        -1.0 / 360.0,
        1.0 / 1260.0,
        -1.0 / 1680.0,
        1.0 / 1188.0,
        -691.0 / 360_360.0,
        1.0 / 156.0,
        -3617.0 / 122_400.0,
    ];
    poly(z, &c) / x
}

/// sin(πx), exact zeros at integers.
fn sin_pi(x: f64) -> f64 {
    let r = x - 2.0 * (0.5 * x).round();
    if r.abs() > 0.5 { (PI * (1.0 - r.abs()).copysign(r)).sin() } else { (PI * r).sin() }
}

/// Terms of the series of [`lgamma_near_one`]: at y = ¼ the next one is below 10^−18 of the sum.
const NEAR_ONE: usize = 28;

/// (−1)^k ζ(k) / k.
static SERIES: LazyLock<[f64; NEAR_ONE]> = LazyLock::new(|| {
    std::array::from_fn(|k| match k {
        0 => 0.0,
        1 => -0.577_215_664_901_532_9,
        _ => {
            let zeta = 1.0 + (2..40).map(|n| f64::from(n).powi(-(k as i32))).sum::<f64>() + zeta_tail(k as i32);
            if k % 2 == 0 { zeta / k as f64 } else { -zeta / k as f64 }
        }
    })
});

/// log|Γ(1+y)| for |y| ≤ ¼ by its zeta series: what keeps full accuracy beside the zeros at 1 and 2.
fn lgamma_near_one(y: f64) -> f64 {
    // Even and odd powers by themselves: two chains half as long.
    let (z, c) = (y * y, &*SERIES);
    let (mut even, mut odd) = (c[NEAR_ONE - 2], c[NEAR_ONE - 1]);
    for k in (1..NEAR_ONE / 2).rev() {
        even = even * z + c[2 * k - 2];
        odd = odd * z + c[2 * k - 1];
    }
    even + odd * y
}

/// Σ_{n ≥ 40} n^−k by Euler and Maclaurin.
fn zeta_tail(k: i32) -> f64 {
    let (n, s) = (40.0f64, f64::from(k));
    let p = n.powi(-k);
    p * (n / (s - 1.0) + 0.5 + s / (12.0 * n) - s * (s + 1.0) * (s + 2.0) / (720.0 * n * n * n)
        + s * (s + 1.0) * (s + 2.0) * (s + 3.0) * (s + 4.0) / (30_240.0 * n.powi(5)))
}

/// log|Γ(x)|
#[must_use]
pub fn lgamma(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.is_infinite() || (x <= 0.0 && x.floor() == x) {
        return f64::INFINITY;
    }
    if x < 0.5 {
        if x.abs() < 1e-17 {
            return -x.abs().ln();
        }
        return (PI / sin_pi(x).abs()).ln() - lgamma(1.0 - x);
    }
    if (x - 1.0).abs() <= 0.25 {
        return lgamma_near_one(x - 1.0);
    }
    if (x - 2.0).abs() <= 0.25 {
        return (x - 2.0).ln_1p() + lgamma_near_one(x - 2.0);
    }
    let (mut v, mut product) = (x, 1.0);
    while v < 10.0 {
        product *= v;
        v += 1.0;
    }
    if v > 1e17 {
        return v * (v.ln() - 1.0);
    }
    (v - 0.5) * v.ln() - v + 0.918_938_533_204_672_7 + stirling(v) - product.ln()
}

/// The logarithmic derivative of Γ; NaN at negative integers, −∞·sign at zero.
#[must_use]
pub fn digamma(x: f64) -> f64 {
    if x == 0.0 {
        return f64::NEG_INFINITY.copysign(-x);
    }
    if x < 0.0 {
        if x.floor() == x {
            return f64::NAN;
        }
        let r = x - x.floor();
        return digamma(1.0 - x) - PI / (PI * if r > 0.5 { r - 1.0 } else { r }).tan();
    }
    let (mut v, mut sum) = (x, 0.0);
    while v < 10.0 {
        sum -= 1.0 / v;
        v += 1.0;
    }
    let z = 1.0 / (v * v);
    let c = [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32_760.0, 1.0 / 12.0];
    sum + v.ln() - 0.5 / v - z * poly(z, &c)
}

/// Hurwitz' zeta function Σ (q+n)^−s.
#[must_use]
pub fn zeta(s: f64, q: f64) -> f64 {
    if s == 1.0 {
        return f64::INFINITY;
    }
    if s < 1.0 || s.is_nan() || q.is_nan() {
        return f64::NAN;
    }
    if q <= 0.0 {
        if q.floor() == q {
            return f64::INFINITY;
        }
        if s.floor() != s {
            return f64::NAN;
        }
    }
    let (mut sum, mut v) = (0.0, q);
    while v < 12.0 {
        sum += v.powf(-s);
        v += 1.0;
    }
    let p = v.powf(-s);
    let mut tail = p * (v / (s - 1.0) + 0.5);
    // B_2k / (2k)! · s(s+1)..(s+2k−2) / v^(2k−1)
    let b = [
        1.0 / 12.0,
        -1.0 / 720.0,
        1.0 / 30_240.0,
        -1.0 / 1_209_600.0,
        1.0 / 47_900_160.0,
        -691.0 / 1_307_674_368_000.0,
        1.0 / 74_724_249_600.0,
        -3_617.0 / 10_670_622_842_880_000.0,
    ];
    let (mut rising, mut k) = (s, 0.0);
    let mut power = p / v;
    for c in b {
        tail += c * rising * power;
        rising *= (s + k + 1.0) * (s + k + 2.0);
        power /= v * v;
        k += 2.0;
    }
    sum + tail
}

/// The n-th derivative of digamma.
#[must_use]
pub fn polygamma(n: i64, x: f64) -> f64 {
    if n == 0 {
        return digamma(x);
    }
    let sign = if n % 2 == 0 { -1.0 } else { 1.0 };
    let s = n as f64 + 1.0;
    if n == 1 && x < 0.5 && x.floor() != x {
        // Reflection: π²/sin²(πx) − ψ₁(1−x).
        let p = PI / sin_pi(x);
        return p * p - zeta(2.0, 1.0 - x);
    }
    sign * lgamma(s).exp() * zeta(s, x)
}

/// Bessel functions I₀ (order 0) and I₁ (order 1), scaled by e^−|x|.
#[must_use]
pub fn bessel_ie(order: u32, x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    let y = if a < 25.0 {
        let q = 0.25 * a * a;
        let mut term = if order == 0 { 1.0 } else { 0.5 * a };
        let mut sum = term;
        let mut k = 1.0;
        while term > 1e-18 * sum {
            term *= q / (k * (k + f64::from(order)));
            sum += term;
            k += 1.0;
        }
        sum * (-a).exp()
    } else {
        let mu = 4.0 * f64::from(order * order);
        let (mut term, mut sum, mut k) = (1.0f64, 1.0, 1.0);
        while term.abs() > 1e-18 && k < 40.0 {
            let odd = 2.0 * k - 1.0;
            term *= -(mu - odd * odd) / (k * 8.0 * a);
            sum += term;
            k += 1.0;
        }
        sum / (2.0 * PI * a).sqrt()
    };
    if order == 1 { y.copysign(x) } else { y }
}

/// log(e^a + e^b), also where one or both are infinite.
#[inline(always)]
#[must_use]
pub fn log_add_exp(a: f64, b: f64) -> f64 {
    let (hi, lo) = if a > b { (a, b) } else { (b, a) };
    if hi.is_infinite() && a == b { a } else { hi + super::double::log1p(super::double::exp(lo - hi)) }
}

/// The quantile function of the normal distribution.
#[must_use]
pub fn ndtri(p: f64) -> f64 {
    if p.is_nan() || !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p == 0.0 || p == 1.0 {
        return if p == 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let tail = p.min(1.0 - p);
    if tail > 0.2 {
        return std::f64::consts::SQRT_2 * super::double::erfinv(2.0 * p - 1.0);
    }
    // Newton on log Φ, which is nearly parabolic in the tail.
    let t = (-2.0 * tail.ln()).sqrt();
    let mut x = -(t - (t.ln() + 0.5 * (2.0 * LN_2 + PI.ln() - LN_2)) / t);
    for _ in 0..12 {
        let phi = super::double::phi(x);
        let density = (-0.5 * x * x).exp() * 0.398_942_280_401_432_7;
        if phi == 0.0 || density == 0.0 {
            break;
        }
        let step = phi * (phi.ln() - tail.ln()) / density;
        x -= step;
        if step.abs() < 1e-16 * x.abs() {
            break;
        }
    }
    if p < 0.5 { x } else { -x }
}

/// x^a·e^−x / Γ(a), without the cancellation of its three large parts where a is large.
fn gamma_density(a: f64, x: f64) -> f64 {
    if a < 10.0 {
        return (a * x.ln() - x - lgamma(a)).exp();
    }
    let m = (x - a) / a;
    let log = if m > -0.5 { m.ln_1p() } else { (x / a).ln() };
    (a * (log - m) - stirling(a)).exp() * (a / (2.0 * PI)).sqrt()
}

/// The most terms of a series or continued fraction: about 9·√a are needed.
const TERMS: u32 = 20_000;
/// Parameters from which on both are given by their uniform expansion, whose next term is smaller by 1 / (10 a).
const LARGE: f64 = 1e6;

/// (Q, P) at (a, x) for large a: half the complementary error function of a measure of (x − a) / a, and a correction.
fn gamma_uniform(a: f64, x: f64) -> (f64, f64) {
    let m = (x - a) / a;
    let (eta, c) = if m.abs() < 1e-4 {
        let eta = m * (1.0 - m / 3.0 + 7.0 * m * m / 36.0);
        (eta, -1.0 / 3.0 + eta / 12.0 - 2.0 * eta * eta / 135.0)
    } else {
        let eta = (2.0 * (m - m.ln_1p())).max(0.0).sqrt().copysign(m);
        (eta, 1.0 / m - 1.0 / eta)
    };
    let rest = (-0.5 * a * eta * eta).exp() / (2.0 * PI * a).sqrt() * c;
    let at = eta * (0.5 * a).sqrt();
    (0.5 * super::double::erfc(at) + rest, 0.5 * super::double::erfc(-at) - rest)
}

/// P(a, x) by its power series, for x up to about a.
fn gamma_series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum) = (1.0 / a, 1.0 / a);
    for n in 1..TERMS {
        term *= x / (a + f64::from(n));
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum * gamma_density(a, x)
}

/// Q(a, x) by its continued fraction, for x from about a on.
fn gamma_fraction(a: f64, x: f64) -> f64 {
    let tiny = 1e-300;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / tiny;
    let mut d = 1.0 / b;
    let mut h = d;
    for n in 1..TERMS {
        let k = f64::from(n);
        let p = k * (a - k);
        b += 2.0;
        let e = p * d + b;
        d = 1.0 / if e.abs() < tiny { tiny } else { e };
        let e = b + p / c;
        c = if e.abs() < tiny { tiny } else { e };
        let step = c * d;
        h *= step;
        if (step - 1.0).abs() < 1e-16 {
            break;
        }
    }
    h * gamma_density(a, x)
}

/// What both incomplete gamma functions are at the borders: `Some(P)`.
fn gamma_border(a: f64, x: f64) -> Option<f64> {
    if a.is_nan() || x.is_nan() || a < 0.0 || x < 0.0 || (a == 0.0 && x == 0.0) || (a.is_infinite() && x.is_infinite())
    {
        return Some(f64::NAN);
    }
    if a == 0.0 || x.is_infinite() {
        return Some(1.0);
    }
    (x == 0.0 || a.is_infinite()).then_some(0.0)
}

/// The regularised lower incomplete gamma function P(a, x).
#[must_use]
pub fn igamma(a: f64, x: f64) -> f64 {
    if a > LARGE && a.is_finite() && x.is_finite() && x > 0.0 {
        return gamma_uniform(a, x).1;
    }
    gamma_border(a, x).unwrap_or_else(|| if x < a + 1.0 { gamma_series(a, x) } else { 1.0 - gamma_fraction(a, x) })
}

/// The regularised upper incomplete gamma function Q(a, x).
#[must_use]
pub fn igammac(a: f64, x: f64) -> f64 {
    if a > LARGE && a.is_finite() && x.is_finite() && x > 0.0 {
        return gamma_uniform(a, x).0;
    }
    match gamma_border(a, x) {
        Some(p) => 1.0 - p,
        None if x < a + 1.0 => 1.0 - gamma_series(a, x),
        None => gamma_fraction(a, x),
    }
}

/// e^(x²)·erfc(x)
#[must_use]
pub fn erfcx(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 * (x * x).exp() - erfcx(-x);
    }
    if x <= 28.0 || x.is_nan() {
        return super::double::erfcx(x);
    }
    let z = 1.0 / (x * x);
    poly(z, &[1.0, -0.5, 0.75, -1.875, 6.5625]) / (x * PI.sqrt())
}
