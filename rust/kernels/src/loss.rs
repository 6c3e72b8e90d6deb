//! Cross-entropy on scores without keeping the log-probabilities: forward gives each position's loss and its
//! log-sum-exp, backward rebuilds the probabilities from it. Scores are `[outer, classes, inner]`, contiguous.

use crate::parallel::{self, SendPtr};
use crate::room::{self, or_stop};
use crate::rowmath::{Math, Row, max1, rows_per_chunk, sum1, sum2};
use crate::softmax::{column_stats, for_columns};
use rustnn_base::{Element, dtype::Real};
use rustnn_simd::dispatch;

/// The first target that is neither a class nor `ignore`: where it stands and what it is.
#[must_use]
pub fn bad_target(target: &[i64], classes: usize, ignore: i64) -> Option<(usize, i64)> {
    target.iter().position(|&t| t != ignore && (t < 0 || t >= classes as i64)).map(|i| (i, target[i]))
}

/// Settings of cross-entropy with class indices.
#[derive(Clone, Copy)]
pub struct Indexed<'a, A> {
    /// One class (or `ignore`) per position; checked with [`bad_target`] before.
    pub target: &'a [i64],
    pub weight: Option<&'a [A]>,
    pub ignore: i64,
    pub smoothing: f64,
}

impl<A: Real> Indexed<'_, A> {
    fn weight(&self, c: usize) -> A {
        self.weight.map_or(A::ONE, |w| w[c])
    }
    /// What a mean divides by: the weights of all counted targets.
    #[must_use]
    pub fn total_weight(&self) -> A {
        let mut parts = [A::ZERO; 16];
        for (i, &t) in self.target.iter().enumerate() {
            if t != self.ignore {
                parts[i % 16] += self.weight(t as usize);
            }
        }
        parts.into_iter().fold(A::ZERO, |a, b| a + b)
    }
}

/// Sizes of the scores: `[outer, classes, inner]`.
#[derive(Debug, Clone, Copy)]
pub struct Scores {
    pub outer: usize,
    pub classes: usize,
    pub inner: usize,
}
impl Scores {
    #[must_use]
    pub fn positions(self) -> usize {
        self.outer * self.inner
    }
}

/// Loss and log-sum-exp of each position; ignored ones get loss 0.
pub fn cross_entropy<T: Row>(x: &[T], d: Scores, t: Indexed<'_, T::Acc>, loss: &mut [T::Acc], lse: &mut [T::Acc]) {
    let n = d.classes;
    if n == 0 || x.len() != d.positions() * n || t.target.len() != d.positions() {
        return;
    }
    if loss.len() != d.positions() || lse.len() != loss.len() || t.weight.is_some_and(|w| w.len() != n) {
        return;
    }
    let eps = T::Acc::from_f64(t.smoothing);
    let spread = eps / T::Acc::of(n);
    let total = t.weight.map_or(T::Acc::of(n), |w| sum1(w, |v| v));
    let (pl, ps) = (SendPtr(loss.as_mut_ptr()), SendPtr(lse.as_mut_ptr()));
    let finish =
        |pos: usize, max: T::Acc, sum: T::Acc, smooth: &dyn Fn() -> T::Acc, score: &dyn Fn(usize) -> T::Acc| {
            let log = sum.ln();
            let c = t.target[pos];
            let mut l = T::Acc::ZERO;
            if c != t.ignore {
                let c = c as usize;
                // (max - x) + log keeps the digits that max + log would lose.
                l = (T::Acc::ONE - eps) * t.weight(c) * ((max - score(c)) + log);
                if t.smoothing != 0.0 {
                    l += spread * (smooth() + total * log);
                }
            }
            // SAFETY: each position is visited once and lies inside both (lengths checked above).
            unsafe {
                *pl.get().add(pos) = l;
                *ps.get().add(pos) = max + log;
            }
        };
    if d.inner == 1 {
        parallel::for_range(d.outer, rows_per_chunk(n), |r| {
            for o in r {
                let x = &x[o * n..][..n];
                let (max, sum) = dispatch(
                    #[inline(always)]
                    || {
                        let max = max1(x, |v| v.to_acc());
                        (max, sum1(x, |v| (v.to_acc() - max).exp_low()))
                    },
                );
                let smooth = || match t.weight {
                    None => sum1(x, |v| max - v.to_acc()),
                    Some(w) => sum2(x, w, |v, w| w * (max - v.to_acc())),
                };
                finish(o, max, sum, &smooth, &|c| x[c].to_acc());
            }
        });
        return;
    }
    for_columns(d.outer, n, d.inner, |o, c0, w| {
        let base = o * n * d.inner + c0;
        let (max, sum) = dispatch(
            #[inline(always)]
            || column_stats(x, base, n, d.inner, w),
        );
        for j in 0..w {
            let score = |c: usize| x[base + c * d.inner + j].to_acc();
            let smooth = || (0..n).fold(T::Acc::ZERO, |s, c| s + t.weight(c) * (max[j] - score(c)));
            finish(o * d.inner + c0 + j, max[j], sum[j], &smooth, &score);
        }
    });
}

/// Gradient of the scores. `g` holds the gradient of each position's loss, or one value for all of them (already
/// divided by what a mean divides by).
pub fn cross_entropy_backward<T: Row>(
    x: &[T],
    d: Scores,
    t: Indexed<'_, T::Acc>,
    lse: &[T::Acc],
    g: &[T::Acc],
    gx: &mut [T],
) {
    let n = d.classes;
    if n == 0 || x.len() != d.positions() * n || gx.len() != x.len() || t.target.len() != d.positions() {
        return;
    }
    if lse.len() != d.positions() || t.weight.is_some_and(|w| w.len() != n) || (g.len() != 1 && g.len() != lse.len()) {
        return;
    }
    let one = T::Acc::ONE;
    let eps = T::Acc::from_f64(t.smoothing);
    let spread = eps / T::Acc::of(n);
    let total = t.weight.map_or(T::Acc::of(n), |w| sum1(w, |v| v));
    let smooth_w: Option<Vec<T::Acc>> =
        (t.smoothing != 0.0).then(|| or_stop(room::collected((0..n).map(|c| spread * t.weight(c)))));
    // d loss / d x_c = p_c * a - spread * w_c - (c == target) * b
    let coef = |pos: usize| {
        let c = t.target[pos];
        if c == t.ignore {
            return None;
        }
        let gi = g[if g.len() == 1 { 0 } else { pos }];
        let b = (one - eps) * t.weight(c as usize);
        Some((c as usize, gi, b + if t.smoothing != 0.0 { spread * total } else { T::Acc::ZERO }, b))
    };
    if d.inner == 1 {
        parallel::for_slices(gx, rows_per_chunk(n) * n, |start, gx| {
            for (i, gx) in gx.chunks_exact_mut(n).enumerate() {
                let o = start / n + i;
                let x = &x[o * n..][..n];
                let Some((c, gi, a, b)) = coef(o) else {
                    gx.fill(T::default());
                    continue;
                };
                let (l, ga) = (lse[o], gi * a);
                dispatch(
                    #[inline(always)]
                    || match &smooth_w {
                        None => {
                            for (d, x) in gx.iter_mut().zip(x) {
                                *d = T::from_acc((x.to_acc() - l).exp_low() * ga);
                            }
                        }
                        Some(w) => {
                            for ((d, x), w) in gx.iter_mut().zip(x).zip(w) {
                                *d = T::from_acc((x.to_acc() - l).exp_low() * ga - *w * gi);
                            }
                        }
                    },
                );
                let w = smooth_w.as_ref().map_or(T::Acc::ZERO, |w| w[c]);
                gx[c] = T::from_acc(gi * ((x[c].to_acc() - l).exp_low() * a - w - b));
            }
        });
        return;
    }
    let out = SendPtr(gx.as_mut_ptr());
    for_columns(d.outer, n, d.inner, |o, c0, w| {
        let base = o * n * d.inner + c0;
        let pos = o * d.inner + c0;
        let cs: Vec<_> = (0..w).map(|j| coef(pos + j)).collect();
        let ga: Vec<T::Acc> = cs.iter().map(|c| c.map_or(T::Acc::ZERO, |c| c.1 * c.2)).collect();
        let gi: Vec<T::Acc> = cs.iter().map(|c| c.map_or(T::Acc::ZERO, |c| c.1)).collect();
        for k in 0..n {
            let at = base + k * d.inner;
            // SAFETY: column blocks are disjoint and inside gx.
            let o = unsafe { std::slice::from_raw_parts_mut(out.get().add(at), w) };
            let sw = smooth_w.as_ref().map_or(T::Acc::ZERO, |w| w[k]);
            let (x, l) = (&x[at..][..w], &lse[pos..][..w]);
            dispatch(
                #[inline(always)]
                || {
                    for j in 0..w {
                        let v = (x[j].to_acc() - l[j]).exp_low() * ga[j] - sw * gi[j];
                        // An ignored position stays 0 even where its score is not finite.
                        o[j] = T::from_acc(if gi[j] == T::Acc::ZERO { T::Acc::ZERO } else { v });
                    }
                },
            );
        }
        for (j, c) in cs.iter().enumerate() {
            if let Some((c, gi, a, b)) = *c {
                let at = base + c * d.inner + j;
                let w = smooth_w.as_ref().map_or(T::Acc::ZERO, |w| w[c]);
                // SAFETY: as above; c < classes.
                unsafe {
                    *out.get().add(at) = T::from_acc(gi * ((x[at].to_acc() - lse[pos + j]).exp_low() * a - w - b))
                };
            }
        }
    });
}

/// Cross-entropy with class probabilities `q` (shaped like the scores) as target; `weight` per class.
/// Smoothing mixes `q` with the uniform distribution.
pub fn cross_entropy_probs<T: Row>(
    x: &[T],
    q: &[T],
    d: Scores,
    weight: Option<&[T::Acc]>,
    smoothing: f64,
    loss: &mut [T::Acc],
    lse: &mut [T::Acc],
) {
    let n = d.classes;
    if n == 0
        || x.len() != d.positions() * n
        || q.len() != x.len()
        || loss.len() != d.positions()
        || lse.len() != loss.len()
    {
        return;
    }
    let mix = mixer::<T>(n, smoothing);
    let (pl, ps) = (SendPtr(loss.as_mut_ptr()), SendPtr(lse.as_mut_ptr()));
    for_columns(d.outer, n, d.inner, |o, c0, w| {
        let base = o * n * d.inner + c0;
        dispatch(
            #[inline(always)]
            || {
                let (max, sum) = column_stats(x, base, n, d.inner, w);
                for j in 0..w {
                    let log = sum[j].ln();
                    let mut l = T::Acc::ZERO;
                    for c in 0..n {
                        let at = base + c * d.inner + j;
                        let wc = weight.map_or(T::Acc::ONE, |w| w[c]);
                        l += wc * mix(q[at].to_acc()) * ((max[j] - x[at].to_acc()) + log);
                    }
                    // SAFETY: each position once, inside both.
                    unsafe {
                        *pl.get().add(o * d.inner + c0 + j) = l;
                        *ps.get().add(o * d.inner + c0 + j) = max[j] + log;
                    }
                }
            },
        );
    });
}

#[inline(always)]
fn mixer<T: Row>(n: usize, smoothing: f64) -> impl Fn(T::Acc) -> T::Acc + Copy {
    let (keep, add) = (T::Acc::from_f64(1.0 - smoothing), T::Acc::from_f64(smoothing / n as f64));
    #[inline(always)]
    move |q: T::Acc| q * keep + add
}

/// Gradients of [`cross_entropy_probs`] for the scores (`gx`) and, if wanted, the probabilities (`gq`).
pub fn cross_entropy_probs_backward<T: Row>(
    x: &[T],
    q: &[T],
    d: Scores,
    weight: Option<&[T::Acc]>,
    smoothing: f64,
    lse: &[T::Acc],
    g: &[T::Acc],
    gx: &mut [T],
    gq: Option<&mut [T]>,
) {
    let n = d.classes;
    if n == 0 || x.len() != d.positions() * n || q.len() != x.len() || gx.len() != x.len() || lse.len() != d.positions()
    {
        return;
    }
    if (g.len() != 1 && g.len() != lse.len()) || gq.as_ref().is_some_and(|q| q.len() != x.len()) {
        return;
    }
    let mix = mixer::<T>(n, smoothing);
    let keep = T::Acc::from_f64(1.0 - smoothing);
    let out = SendPtr(gx.as_mut_ptr());
    let out_q = gq.map(|s| SendPtr(s.as_mut_ptr()));
    for_columns(d.outer, n, d.inner, |o, c0, w| {
        let base = o * n * d.inner + c0;
        for j in 0..w {
            let pos = o * d.inner + c0 + j;
            let gi = g[if g.len() == 1 { 0 } else { pos }];
            let wq = |c: usize| weight.map_or(T::Acc::ONE, |w| w[c]) * mix(q[base + c * d.inner + j].to_acc());
            let total = (0..n).fold(T::Acc::ZERO, |s, c| s + wq(c));
            dispatch(
                #[inline(always)]
                || {
                    for c in 0..n {
                        let at = base + c * d.inner + j;
                        let v = x[at].to_acc() - lse[pos];
                        // SAFETY: columns are disjoint; at < x.len() == gx.len() == gq.len().
                        unsafe {
                            *out.get().add(at) = T::from_acc(gi * (v.exp_low() * total - wq(c)));
                            if let Some(p) = out_q {
                                let wc = weight.map_or(T::Acc::ONE, |w| w[c]);
                                *p.get().add(at) = T::from_acc(-(gi * keep * wc * v));
                            }
                        }
                    }
                },
            );
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testutil::{near, noise};

    fn naive(x: &[f64], q: &[f64], d: Scores, w: &[f64], pos: usize) -> f64 {
        let at = |c: usize| (pos / d.inner * d.classes + c) * d.inner + pos % d.inner;
        let s: f64 = (0..d.classes).map(|c| x[at(c)].exp()).sum();
        -(0..d.classes).map(|c| w[c] * q[at(c)] * (x[at(c)].exp() / s).ln()).sum::<f64>()
    }

    fn numeric(f: impl Fn(&[f64]) -> f64, x: &[f64]) -> Vec<f64> {
        (0..x.len())
            .map(|i| {
                let (mut u, mut v) = (x.to_vec(), x.to_vec());
                u[i] += 1e-5;
                v[i] -= 1e-5;
                (f(&u) - f(&v)) / 2e-5
            })
            .collect()
    }

    fn check<T: Row>(outer: usize, n: usize, inner: usize, smoothing: f64, weighted: bool, tol: f64) {
        let d = Scores { outer, classes: n, inner };
        let x: Vec<T> = noise(outer * n * inner, 1).iter().map(|v| T::from_f64(v * 2.0)).collect();
        let xd: Vec<f64> = x.iter().map(|v| v.to_f64()).collect();
        let w: Vec<f64> = noise(n, 2).iter().map(|v| if weighted { v.abs() + 0.25 } else { 1.0 }).collect();
        let wa: Vec<T::Acc> = w.iter().map(|v| T::Acc::from_f64(*v)).collect();
        let target: Vec<i64> = (0..d.positions()).map(|i| if i % 5 == 3 { -100 } else { (i * 7 % n) as i64 }).collect();
        let g: Vec<T::Acc> = noise(d.positions(), 4).iter().map(|v| T::Acc::from_f64(*v)).collect();
        let gd: Vec<f64> = g.iter().map(|v| v.to_f64()).collect();
        // Indices as probabilities: (1-eps) w_t on the target plus eps/n w_c; weights enter per class either way.
        let mut q = vec![0.0; x.len()];
        for pos in 0..d.positions() {
            if target[pos] >= 0 {
                for c in 0..n {
                    let hit = f64::from(u8::from(c as i64 == target[pos]));
                    q[(pos / inner * n + c) * inner + pos % inner] = (1.0 - smoothing) * hit + smoothing / n as f64;
                }
            }
        }
        let t = Indexed { target: &target, weight: weighted.then_some(&wa[..]), ignore: -100, smoothing };
        let zero = vec![T::Acc::ZERO; d.positions()];
        let (mut loss, mut lse, mut gx) = (zero.clone(), zero.clone(), x.clone());
        cross_entropy(&x, d, t, &mut loss, &mut lse);
        let want: Vec<f64> = (0..d.positions()).map(|p| naive(&xd, &q, d, &w, p)).collect();
        near(&loss, &want, tol);
        cross_entropy_backward(&x, d, t, &lse, &g, &mut gx);
        let f = |x: &[f64], q: &[f64]| (0..d.positions()).map(|p| gd[p] * naive(x, q, d, &w, p)).sum::<f64>();
        near(&gx, &numeric(|x| f(x, &q), &xd), tol.max(1e-8));

        let raw: Vec<T> = noise(x.len(), 9).iter().map(|v| T::from_f64(v.abs())).collect();
        let rawd: Vec<f64> = raw.iter().map(|v| v.to_f64()).collect();
        let mixed = |r: &[f64]| r.iter().map(|v| v * (1.0 - smoothing) + smoothing / n as f64).collect::<Vec<_>>();
        let wopt = weighted.then_some(&wa[..]);
        cross_entropy_probs(&x, &raw, d, wopt, smoothing, &mut loss, &mut lse);
        let want: Vec<f64> = (0..d.positions()).map(|p| naive(&xd, &mixed(&rawd), d, &w, p)).collect();
        near(&loss, &want, tol);
        let mut gq = x.clone();
        cross_entropy_probs_backward(&x, &raw, d, wopt, smoothing, &lse, &g, &mut gx, Some(&mut gq));
        near(&gx, &numeric(|x| f(x, &mixed(&rawd)), &xd), tol.max(1e-8));
        near(&gq, &numeric(|r| f(&xd, &mixed(r)), &rawd), tol.max(1e-8));
    }

    #[test]
    fn matches_naive() {
        for (o, n, i) in [(4, 3, 1), (7, 50, 1), (2, 4, 9), (1, 5, 70), (0, 3, 1)] {
            for smoothing in [0.0, 0.1] {
                for weighted in [false, true] {
                    check::<f64>(o, n, i, smoothing, weighted, 1e-11);
                    check::<f32>(o, n, i, smoothing, weighted, 2e-5);
                }
            }
        }
    }

    #[test]
    fn targets_are_checked() {
        assert_eq!(bad_target(&[0, 2, -100, 3], 3, -100), Some((3, 3)));
        assert_eq!(bad_target(&[0, -1], 3, -100), Some((1, -1)));
        assert_eq!(bad_target(&[0, -100], 3, -100), None);
        let t = Indexed { target: &[0, 1, 7], weight: Some(&[0.5, 2.0]), ignore: 7, smoothing: 0.0 };
        assert_eq!(t.total_weight(), 2.5);
    }
}
