//! What one uniform draw per element makes: uniform, Bernoulli, dropout masks, and inverse-CDF distributions.

use super::{Generator, pair, unit24, unit53};
use rustnn_base::dtype::Real;
use rustnn_base::{B8, Element, Float};
use rustnn_simd::dispatch;

/// Uniform in [from, to). 64-bit draws for f64, 32-bit ones for all other types.
pub fn uniform<T: Float>(g: &mut Generator, dst: &mut [T], from: f64, to: f64) {
    // 16-bit types keep their bounds in f32; only the result is rounded, and what rounds up to `to` becomes `from`.
    let (a, b) = (T::Acc::from_f64(from), T::Acc::from_f64(to));
    let width = b - a;
    let (low, high) = (T::from_acc(a), T::from_acc(b));
    if T::DTYPE.size() == 8 {
        g.in_blocks(dst.len(), 2, |start, draws| {
            let dst = &mut dst[start..start + draws.len() / 2];
            dispatch(
                #[inline(always)]
                || {
                    for (i, d) in dst.iter_mut().enumerate() {
                        let x = T::from_acc(T::Acc::from_f64(unit53(pair(draws, i))).mul_add(width, a));
                        *d = if x == high { low } else { x };
                    }
                },
            );
        });
    } else {
        g.in_blocks(dst.len(), 1, |start, draws| {
            let dst = &mut dst[start..start + draws.len()];
            dispatch(
                #[inline(always)]
                || {
                    for (d, &u) in dst.iter_mut().zip(draws) {
                        let x = T::from_acc(T::Acc::from_f32(unit24(u)).mul_add(width, a));
                        *d = if x == high { low } else { x };
                    }
                },
            );
        });
    }
}

/// Doubles in [0, 1), one 64-bit draw each.
pub fn uniform_double(g: &mut Generator, dst: &mut [f64]) {
    uniform(g, dst, 0.0, 1.0);
}

/// The integer below which 53 bits of a draw mean "a uniform double less than p".
fn threshold(p: f64) -> i64 {
    (p * (1u64 << 53) as f64).ceil() as i64
}

const LOW53: u64 = (1 << 53) - 1;

/// 1 with probability `p`, else 0: one 64-bit draw each.
pub fn bernoulli<T: Element>(g: &mut Generator, dst: &mut [T], p: f64) {
    let limit = threshold(p);
    let (zero, one) = (T::from_i64(0), T::from_i64(1));
    g.in_blocks(dst.len(), 2, |start, draws| {
        let dst = &mut dst[start..start + draws.len() / 2];
        dispatch(
            #[inline(always)]
            || {
                for (i, d) in dst.iter_mut().enumerate() {
                    *d = if ((pair(draws, i) & LOW53) as i64) < limit { one } else { zero };
                }
            },
        );
    });
}

/// 1 with probability `p[i]`: 64-bit draws when the probabilities are f64, else 32-bit ones.
/// Gives the first probability that is outside [0, 1] as an error.
pub fn bernoulli_from<P: Float, T: Element>(g: &mut Generator, dst: &mut [T], p: &[P]) -> Result<(), f64> {
    if let Some(bad) = p.iter().map(|p| p.to_f64()).find(|p| !(0.0..=1.0).contains(p)) {
        return Err(bad);
    }
    let wide = P::DTYPE.size() == 8;
    g.in_blocks(dst.len(), if wide { 2 } else { 1 }, |start, draws| {
        let n = if wide { draws.len() / 2 } else { draws.len() };
        let (dst, p) = (&mut dst[start..start + n], &p[start..start + n]);
        for i in 0..n {
            let hit = if wide { unit53(pair(draws, i)) < p[i].to_f64() } else { unit24(draws[i]) < p[i].to_f32() };
            dst[i] = T::from_i64(i64::from(hit));
        }
    });
    Ok(())
}

/// Dropout in one pass: keeps each element with probability `1 - p`, scaled by `1 / (1 - p)`, and writes down which.
pub fn dropout<T: Float>(g: &mut Generator, src: &[T], dst: &mut [T], kept: &mut [B8], p: f64) {
    let limit = threshold(1.0 - p);
    let scale = T::from_f64(1.0 / (1.0 - p)).to_acc();
    let zero = T::Acc::from_i64(0);
    g.in_blocks(dst.len(), 2, |start, draws| {
        let n = draws.len() / 2;
        let (src, dst, kept) = (&src[start..start + n], &mut dst[start..start + n], &mut kept[start..start + n]);
        dispatch(
            #[inline(always)]
            || {
                for i in 0..n {
                    let keep = ((pair(draws, i) & LOW53) as i64) < limit;
                    kept[i] = keep.into();
                    // Multiplied, not chosen: inf times a dropped 0 is NaN, as in PyTorch.
                    dst[i] = T::from_acc(src[i].to_acc() * if keep { scale } else { zero });
                }
            },
        );
    });
}

/// The gradient of [`dropout`]: scaled where kept, zero times the value elsewhere.
pub fn masked_scale<T: Float>(src: &[T], dst: &mut [T], kept: &[B8], p: f64) {
    let scale = T::from_f64(1.0 / (1.0 - p)).to_acc();
    let zero = T::Acc::from_i64(0);
    crate::parallel::for_slices(dst, 32 * 1024, |start, piece| {
        let (src, kept) = (&src[start..start + piece.len()], &kept[start..start + piece.len()]);
        dispatch(
            #[inline(always)]
            || {
                for ((d, s), k) in piece.iter_mut().zip(src).zip(kept) {
                    *d = T::from_acc(s.to_acc() * if k.get() { scale } else { zero });
                }
            },
        );
    });
}

/// The multipliers of a dropout: `1 / (1 - p)` or 0.
pub fn feature_dropout<T: Float>(g: &mut Generator, noise: &mut [T], p: f64) {
    bernoulli(g, noise, 1.0 - p);
    let scale = T::from_f64(1.0 / (1.0 - p));
    for v in noise {
        if v.is_true() {
            *v = scale;
        }
    }
}

/// Each element from one uniform double.
fn from_uniform<T: Element>(g: &mut Generator, dst: &mut [T], f: impl Fn(f64) -> f64) {
    g.in_blocks(dst.len(), 2, |start, draws| {
        for (i, d) in dst[start..start + draws.len() / 2].iter_mut().enumerate() {
            *d = T::from_f64(f(unit53(pair(draws, i))));
        }
    });
}

/// Exponential of rate `lambda`.
pub fn exponential<T: Element>(g: &mut Generator, dst: &mut [T], lambda: f64) {
    from_uniform(g, dst, |u| -1.0 / lambda * (-u).ln_1p());
}

/// Number of trials up to the first success.
pub fn geometric<T: Element>(g: &mut Generator, dst: &mut [T], p: f64) {
    from_uniform(g, dst, |u| (u.ln() / (-p).ln_1p()).ceil());
}

/// Cauchy.
pub fn cauchy<T: Element>(g: &mut Generator, dst: &mut [T], median: f64, sigma: f64) {
    from_uniform(g, dst, |u| sigma.mul_add((std::f64::consts::PI * (u - 0.5)).tan(), median));
}
