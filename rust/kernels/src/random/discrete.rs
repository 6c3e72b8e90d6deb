//! Whole numbers: ranges, permutations, Poisson, binomial, and draws from weights.

use super::Generator;
use crate::room::{self, or_stop};
use rustnn_base::dtype::Real;
use rustnn_base::{DType, Element, Float};

/// Integers `low + draw mod range`; `range` 0 stands for 2^64. Ranges from 2^28 take 64-bit draws.
pub fn randint<T: Element>(g: &mut Generator, dst: &mut [T], low: i64, range: u64) {
    if range == 0 {
        for d in dst {
            *d = T::from_i64(g.random64() as i64);
        }
    } else if range >= 1 << 28 {
        g.in_blocks(dst.len(), 2, |start, draws| {
            for (i, d) in dst[start..start + draws.len() / 2].iter_mut().enumerate() {
                *d = T::from_i64(((super::pair(draws, i) % range) as i64).wrapping_add(low));
            }
        });
    } else {
        // Remainder by an invariant divisor without dividing: exact for 32-bit numbers.
        let (d, magic) = (range, (u64::MAX / range).wrapping_add(1));
        g.in_blocks(dst.len(), 1, |start, draws| {
            for (out, &u) in dst[start..start + draws.len()].iter_mut().zip(draws) {
                let rem = (u128::from(magic.wrapping_mul(u64::from(u))) * u128::from(d)) >> 64;
                *out = T::from_i64((rem as i64).wrapping_add(low));
            }
        });
    }
}

/// `randint` into `i64` whatever the caller's dtype, for callers that shuffle or sample themselves.
pub fn random_ints(g: &mut Generator, dst: &mut [i64], low: i64, range: u64) {
    randint(g, dst, low, range);
}

/// `random_()` without bounds: every value of the dtype that is not negative and that it holds exactly.
pub fn random_full<T: Element>(g: &mut Generator, dst: &mut [T]) {
    let (wide, modulus) = match T::DTYPE {
        DType::I64 => (true, 1u64 << 63),
        DType::F64 => (true, (1 << 53) + 1),
        DType::I32 => (false, 1 << 31),
        DType::I16 => (false, 1 << 15),
        DType::I8 => (false, 1 << 7),
        DType::U8 => (false, 1 << 8),
        DType::Bool => (false, 2),
        DType::F32 => (false, (1 << 24) + 1),
        DType::BF16 => (false, 257),
        DType::F16 => (false, 2049),
    };
    for d in dst {
        let draw = if wide { g.random64() } else { u64::from(g.random()) };
        *d = T::from_i64((draw % modulus) as i64);
    }
}

/// A random order of `0..n`.
pub fn randperm<T: Element>(g: &mut Generator, dst: &mut [T]) {
    let n = dst.len();
    for (i, d) in dst.iter_mut().enumerate() {
        *d = T::from_i64(i as i64);
    }
    g.in_blocks(n.saturating_sub(1), 1, |start, draws| {
        for (k, &u) in draws.iter().enumerate() {
            let i = start + k;
            let left = n - i;
            let j = match u32::try_from(left) {
                Ok(left) => (u % left) as usize,
                Err(_) => u as usize % left,
            };
            dst.swap(i, i + j);
        }
    });
}

/// ln Γ(x) for x ≥ 1.
fn ln_gamma(x: f64) -> f64 {
    unsafe extern "C" {
        fn lgamma_r(x: f64, sign: *mut i32) -> f64;
    }
    let mut sign = 0;
    // SAFETY: C's lgamma_r reads a double and writes the sign to a valid int.
    unsafe { lgamma_r(x, &raw mut sign) }
}

/// One Poisson number of rate `lambda` ≥ 0: products of uniforms below 10, Hörmann's transformed rejection from there.
fn poisson_one(g: &mut Generator, lambda: f64) -> f64 {
    if lambda == 0.0 || lambda.is_nan() {
        return lambda;
    }
    if lambda < 10.0 {
        let limit = (-lambda).exp();
        let (mut count, mut product) = (0i64, 1.0);
        loop {
            product *= g.uniform();
            if product <= limit {
                return count as f64;
            }
            count += 1;
        }
    }
    let (slam, loglam) = (lambda.sqrt(), lambda.ln());
    let b = 0.931 + 2.53 * slam;
    let a = -0.059 + 0.02483 * b;
    let inv_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let vr = 0.9277 - 3.6224 / (b - 2.0);
    loop {
        let u = g.uniform() - 0.5;
        let v = g.uniform();
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + lambda + 0.43).floor();
        if us >= 0.07 && v <= vr {
            return k;
        }
        if k < 0.0 || (us < 0.013 && v > us) {
            continue;
        }
        if v.ln() + inv_alpha.ln() - (a / (us * us) + b).ln() <= -lambda + k * loglam - ln_gamma(k + 1.0) {
            return k;
        }
        if !lambda.is_finite() {
            return f64::NAN;
        }
    }
}

/// Poisson numbers of the given rates; a negative rate is given back as an error.
pub fn poisson<T: Float>(g: &mut Generator, dst: &mut [T], rates: &[T]) -> Result<(), f64> {
    if let Some(bad) = rates.iter().map(|r| r.to_f64()).find(|&r| r < 0.0) {
        return Err(bad);
    }
    for (d, r) in dst.iter_mut().zip(rates) {
        *d = T::from_f64(poisson_one(g, r.to_f64()));
    }
    Ok(())
}

/// ln k! minus Stirling's approximation.
fn stirling_tail(k: f64) -> f64 {
    const TABLE: [f64; 10] = [
        0.081_061_466_795_327_2,
        0.041_340_695_955_409_2,
        0.027_677_925_684_998_3,
        0.020_790_672_103_765_09,
        0.016_644_691_189_821_1,
        0.013_876_128_823_070_7,
        0.011_896_709_945_891_7,
        0.010_411_265_261_972_0,
        0.009_255_462_182_712_73,
        0.008_330_563_433_362_87,
    ];
    if k <= 9.0 {
        return TABLE[k.max(0.0) as usize];
    }
    let sq = (k + 1.0) * (k + 1.0);
    (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1260.0 / sq) / sq) / (k + 1.0)
}

/// Binomial for p ≤ 1/2: sums of geometric waiting times when few successes are expected, else transformed rejection.
fn binomial_low(g: &mut Generator, n: f64, p: f64) -> f64 {
    if n * p < 10.0 {
        let log_q = (-p).ln_1p();
        let (mut sum, mut successes) = (0.0, 0.0);
        loop {
            sum += (g.uniform().ln() / log_q).ceil();
            if sum > n {
                return successes;
            }
            successes += 1.0;
        }
    }
    let sd = (n * p * (1.0 - p)).sqrt();
    let b = 1.15 + 2.53 * sd;
    let a = -0.0873 + 0.0248 * b + 0.01 * p;
    let c = n * p + 0.5;
    let vr = 0.92 - 4.2 / b;
    let r = p / (1.0 - p);
    let alpha = (2.83 + 5.1 / b) * sd;
    let m = ((n + 1.0) * p).floor();
    loop {
        let u = g.uniform() - 0.5;
        let v = g.uniform();
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + c).floor();
        if us >= 0.07 && v <= vr {
            return k;
        }
        if k < 0.0 || k > n {
            continue;
        }
        let v = (v * alpha / (a / (us * us) + b)).ln();
        let bound = (m + 0.5) * ((m + 1.0) / (r * (n - m + 1.0))).ln()
            + (n + 1.0) * ((n - m + 1.0) / (n - k + 1.0)).ln()
            + (k + 0.5) * (r * (n - k + 1.0) / (k + 1.0)).ln()
            + stirling_tail(m)
            + stirling_tail(n - m)
            - stirling_tail(k)
            - stirling_tail(n - k);
        if v <= bound {
            return k;
        }
        if !n.is_finite() {
            return f64::NAN;
        }
    }
}

/// Successes among `counts[i]` trials of probability `probs[i]`.
pub fn binomial<T: Float>(g: &mut Generator, dst: &mut [T], counts: &[T], probs: &[T]) {
    for ((d, n), p) in dst.iter_mut().zip(counts).zip(probs) {
        let (n, p) = (n.to_f64(), p.to_f64());
        *d = T::from_f64(if n.is_nan() || p.is_nan() {
            f64::NAN
        } else if n <= 0.0 || p <= 0.0 {
            0.0
        } else if p >= 1.0 {
            n
        } else if p <= 0.5 {
            binomial_low(g, n, p)
        } else {
            n - binomial_low(g, n, 1.0 - p)
        });
    }
}

/// Why a row of weights is no distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadWeights {
    Negative,
    NotFinite,
    AllZero,
}

/// `samples` draws with replacement from each row of weights, in proportion to them.
pub fn multinomial_replace<T: Float>(
    g: &mut Generator,
    dst: &mut [i64],
    weights: &[T],
    classes: usize,
    samples: usize,
) -> Result<(), BadWeights> {
    if classes == 0 || samples == 0 {
        return Ok(());
    }
    // 16-bit weights are summed in f32.
    let mut sums = or_stop(room::filled(classes, T::Acc::ZERO));
    for (row, out) in weights.chunks_exact(classes).zip(dst.chunks_exact_mut(samples)) {
        let mut sum = T::Acc::ZERO;
        for (s, &w) in sums.iter_mut().zip(row) {
            let v = w.to_f64();
            if !v.is_finite() {
                return Err(BadWeights::NotFinite);
            }
            if v < 0.0 {
                return Err(BadWeights::Negative);
            }
            sum += w.to_acc();
            *s = sum;
        }
        if sum.to_f64() <= 0.0 {
            return Err(BadWeights::AllZero);
        }
        for s in &mut sums {
            *s = *s / sum;
        }
        sums[classes - 1] = T::Acc::ONE;
        for o in out {
            let u = g.uniform();
            *o = sums.partition_point(|s| s.to_f64() < u).min(classes - 1) as i64;
        }
    }
    Ok(())
}
