//! Softmax and log-softmax along one dimension, forward and backward, for any layout `[outer, n, inner]` that is
//! contiguous. Arithmetic in `Acc`; each row is reduced in a fixed order.

use crate::parallel;
use crate::parallel::SendPtr;
use crate::room::{self, or_stop};
use crate::rowmath::{Math, Row, max1, rows_per_chunk, sum1, sum2};
use rustnn_base::dtype::Real;
use rustnn_simd::dispatch;

/// Columns handled together when the dimension is not the last one.
const COLS: usize = 64;

/// Runs `f(o, first_column, columns)` over all column blocks of `[outer, n, inner]`.
pub(crate) fn for_columns(outer: usize, n: usize, inner: usize, f: impl Fn(usize, usize, usize) + Sync) {
    let blocks = inner.div_ceil(COLS);
    let grain = rows_per_chunk(n * COLS.min(inner.max(1)));
    parallel::for_range(outer * blocks, grain, |r| {
        for i in r {
            let (o, c) = (i / blocks, i % blocks * COLS);
            f(o, c, COLS.min(inner - c));
        }
    });
}

/// `y = softmax(x)` or `log_softmax(x)` along the middle dimension. `x` and `y` hold `outer * n * inner` elements.
pub fn softmax<T: Row>(x: &[T], y: &mut [T], outer: usize, n: usize, inner: usize, log: bool) {
    if x.is_empty() || x.len() != y.len() || x.len() != outer * n * inner {
        return;
    }
    if inner == 1 {
        let grain = rows_per_chunk(n);
        parallel::for_slices(y, grain * n, |start, y| {
            let mut buf = or_stop(room::filled(n, T::Acc::ZERO));
            for (i, y) in y.chunks_exact_mut(n).enumerate() {
                let x = &x[start + i * n..][..n];
                dispatch(
                    #[inline(always)]
                    || row(x, y, &mut buf, log),
                );
            }
        });
        return;
    }
    let out = SendPtr(y.as_mut_ptr());
    for_columns(outer, n, inner, |o, c, w| {
        let base = o * n * inner + c;
        dispatch(
            #[inline(always)]
            || {
                let (max, sum) = column_stats(x, base, n, inner, w);
                let log_sum: [T::Acc; COLS] =
                    std::array::from_fn(|j| if log { sum[j].ln() } else { T::Acc::ONE / sum[j] });
                for i in 0..n {
                    let x = &x[base + i * inner..][..w];
                    // SAFETY: column blocks of `out` are disjoint and inside it: base + i*inner + w <= outer*n*inner.
                    let y = unsafe { std::slice::from_raw_parts_mut(out.get().add(base + i * inner), w) };
                    for j in 0..w {
                        let d = x[j].to_acc() - max[j];
                        y[j] = T::from_acc(if log { d - log_sum[j] } else { d.exp_low() * log_sum[j] });
                    }
                }
            },
        );
    });
}

/// Maximum and sum of `exp(x - max)` of each of `w` columns.
#[inline(always)]
pub(crate) fn column_stats<T: Row>(
    x: &[T],
    base: usize,
    n: usize,
    inner: usize,
    w: usize,
) -> ([T::Acc; COLS], [T::Acc; COLS]) {
    let mut max = [T::Acc::NEG_INFINITY; COLS];
    let mut sum = [T::Acc::ZERO; COLS];
    for i in 0..n {
        for (m, v) in max.iter_mut().zip(&x[base + i * inner..][..w]) {
            let v = v.to_acc();
            *m = if v > *m { v } else { *m };
        }
    }
    for i in 0..n {
        for ((s, m), v) in sum.iter_mut().zip(&max).zip(&x[base + i * inner..][..w]) {
            *s += (v.to_acc() - *m).exp_low();
        }
    }
    (max, sum)
}

#[inline(always)]
fn row<T: Row>(x: &[T], y: &mut [T], buf: &mut [T::Acc], log: bool) {
    let max = max1(x, |v| v.to_acc());
    if log {
        let lse = sum1(x, |v| (v.to_acc() - max).exp_low()).ln();
        for (y, x) in y.iter_mut().zip(x) {
            *y = T::from_acc(x.to_acc() - max - lse);
        }
    } else {
        for (b, x) in buf.iter_mut().zip(x) {
            *b = (x.to_acc() - max).exp_low();
        }
        let inv = T::Acc::ONE / sum1(buf, |v| v);
        for (y, b) in y.iter_mut().zip(&*buf) {
            *y = T::from_acc(*b * inv);
        }
    }
}

/// Gradient of [`softmax`] from its result `y` and the gradient `g` of it.
pub fn softmax_backward<T: Row>(g: &[T], y: &[T], gx: &mut [T], outer: usize, n: usize, inner: usize, log: bool) {
    if gx.is_empty() || g.len() != y.len() || g.len() != gx.len() || gx.len() != outer * n * inner {
        return;
    }
    if inner == 1 {
        let grain = rows_per_chunk(n);
        parallel::for_slices(gx, grain * n, |start, gx| {
            for (i, gx) in gx.chunks_exact_mut(n).enumerate() {
                let (g, y) = (&g[start + i * n..][..n], &y[start + i * n..][..n]);
                dispatch(
                    #[inline(always)]
                    || {
                        if log {
                            let s = sum1(g, |v| v.to_acc());
                            for ((d, g), y) in gx.iter_mut().zip(g).zip(y) {
                                *d = T::from_acc(g.to_acc() - y.to_acc().exp() * s);
                            }
                        } else {
                            let s = sum2(g, y, |a, b| a.to_acc() * b.to_acc());
                            for ((d, g), y) in gx.iter_mut().zip(g).zip(y) {
                                *d = T::from_acc(y.to_acc() * (g.to_acc() - s));
                            }
                        }
                    },
                );
            }
        });
        return;
    }
    let out = SendPtr(gx.as_mut_ptr());
    for_columns(outer, n, inner, |o, c, w| {
        let base = o * n * inner + c;
        dispatch(
            #[inline(always)]
            || {
                let mut sum = [T::Acc::ZERO; COLS];
                for i in 0..n {
                    let at = base + i * inner;
                    for ((s, g), y) in sum.iter_mut().zip(&g[at..][..w]).zip(&y[at..][..w]) {
                        *s += if log { g.to_acc() } else { g.to_acc() * y.to_acc() };
                    }
                }
                for i in 0..n {
                    let at = base + i * inner;
                    // SAFETY: as in `softmax`.
                    let d = unsafe { std::slice::from_raw_parts_mut(out.get().add(at), w) };
                    for (((d, s), g), y) in d.iter_mut().zip(&sum).zip(&g[at..][..w]).zip(&y[at..][..w]) {
                        let (g, y) = (g.to_acc(), y.to_acc());
                        *d = T::from_acc(if log { g - y.exp() * *s } else { y * (g - *s) });
                    }
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testutil::{near, noise};
    use rustnn_base::bf16;

    fn naive(x: &[f64], o: usize, n: usize, inner: usize, log: bool) -> Vec<f64> {
        let mut y = vec![0.0; x.len()];
        for a in 0..o {
            for c in 0..inner {
                let at = |i: usize| (a * n + i) * inner + c;
                let m = (0..n).map(|i| x[at(i)]).fold(f64::NEG_INFINITY, f64::max);
                let s: f64 = (0..n).map(|i| (x[at(i)] - m).exp()).sum();
                for i in 0..n {
                    y[at(i)] = if log { x[at(i)] - m - s.ln() } else { (x[at(i)] - m).exp() / s };
                }
            }
        }
        y
    }

    fn check<T: Row>(o: usize, n: usize, inner: usize, log: bool, tol: f64) {
        let x: Vec<T> = noise(o * n * inner, 1).iter().map(|&v| T::from_f64(v * 3.0)).collect();
        let g: Vec<T> = noise(o * n * inner, 2).iter().map(|&v| T::from_f64(v)).collect();
        let mut y = vec![T::default(); x.len()];
        softmax(&x, &mut y, o, n, inner, log);
        let xd: Vec<f64> = x.iter().map(|v| v.to_f64()).collect();
        let want = naive(&xd, o, n, inner, log);
        near(&y, &want, tol);
        let mut gx = vec![T::default(); x.len()];
        softmax_backward(&g, &y, &mut gx, o, n, inner, log);
        let mut wg = vec![0.0; x.len()];
        for a in 0..o {
            for c in 0..inner {
                let at = |i: usize| (a * n + i) * inner + c;
                for i in 0..n {
                    wg[at(i)] = (0..n)
                        .map(|j| {
                            let p = if log { want[at(i)].exp() } else { want[at(j)] };
                            let d = f64::from(u8::from(i == j));
                            g[at(j)].to_f64() * if log { d - p } else { p * (d - want[at(i)]) }
                        })
                        .sum();
                }
            }
        }
        near(&gx, &wg, tol * 4.0);
    }

    #[test]
    fn matches_naive() {
        for log in [false, true] {
            for (o, n, i) in [(3, 7, 1), (1, 100, 1), (5, 33, 2), (2, 10, 70), (2, 1, 3), (0, 4, 1), (3, 4000, 1)] {
                check::<f64>(o, n, i, log, 1e-13);
                check::<f32>(o, n, i, log, 1e-5);
                check::<bf16>(o, n, i, log, 4e-2);
            }
        }
    }

    #[test]
    fn special_values() {
        let x = [f32::NEG_INFINITY, 0.0, 0.0, f32::NAN, 1.0, 2.0, 1e30, -1e30, 1e30];
        let mut y = [0.0; 9];
        softmax(&x, &mut y, 3, 3, 1, false);
        assert_eq!(&y[..3], &[0.0, 0.5, 0.5]);
        assert!(y[3..6].iter().all(|v| v.is_nan()));
        assert_eq!(&y[6..], &[0.5, 0.0, 0.5]);
    }
}
