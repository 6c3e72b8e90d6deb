//! Batch norm: statistics per channel of `[batch, channels, space]`, the normalisation and its gradients.

use crate::norm::{Ncs, widen};
use crate::parallel::{self, SendPtr};
use crate::room::{self, or_stop};
use crate::rowmath::{Math, Row, rows_per_chunk, sum1, sum2x2};
use rustnn_base::dtype::Real;
use rustnn_simd::dispatch;

/// Columns handled together when space is 1.
const COLS: usize = 64;
/// Elements whose mean and squares are taken while they sit in the first-level cache.
const PIECE: usize = 4096;

/// Count, mean and sum of squared distances of two sets together (Chan's formula).
#[inline(always)]
fn join<A: Math>(a: (A, A, A), b: (A, A, A)) -> (A, A, A) {
    let n = a.0 + b.0;
    let d = b.1 - a.1;
    (n, a.1 + d * (b.0 / n), a.2 + b.2 + d * d * (a.0 * b.0 / n))
}

/// Mean and biased variance of each channel over batch and space.
pub fn channel_stats<T: Row>(x: &[T], d: Ncs, mean: &mut [T::Acc], var: &mut [T::Acc]) {
    if x.is_empty() || x.len() != d.numel() || mean.len() != d.c || var.len() != d.c {
        return;
    }
    let (pm, pv) = (SendPtr(mean.as_mut_ptr()), SendPtr(var.as_mut_ptr()));
    let put = |c: usize, m: T::Acc, v: T::Acc| {
        // SAFETY: c < channels, and each channel is visited once.
        unsafe {
            *pm.get().add(c) = m;
            *pv.get().add(c) = v;
        }
    };
    if d.s == 1 {
        let inv = T::Acc::ONE / T::Acc::of(d.n);
        columns(d, |c0, w| {
            let (mut m, mut v) = ([T::Acc::ZERO; COLS], [T::Acc::ZERO; COLS]);
            for i in 0..d.n {
                for (m, x) in m.iter_mut().zip(&x[i * d.c + c0..][..w]) {
                    *m += x.to_acc();
                }
            }
            m.iter_mut().for_each(|m| *m *= inv);
            for i in 0..d.n {
                for ((v, m), x) in v.iter_mut().zip(&m).zip(&x[i * d.c + c0..][..w]) {
                    let e = x.to_acc() - *m;
                    *v = e.mul_add(e, *v);
                }
            }
            for j in 0..w {
                put(c0 + j, m[j], v[j] * inv);
            }
        });
        return;
    }
    parallel::for_range(d.c, rows_per_chunk(d.n * d.s), |r| {
        for c in r {
            let mut all = (T::Acc::ZERO, T::Acc::ZERO, T::Acc::ZERO);
            for i in 0..d.n {
                for piece in x[(i * d.c + c) * d.s..][..d.s].chunks(PIECE) {
                    let one = dispatch(
                        #[inline(always)]
                        || {
                            let n = T::Acc::of(piece.len());
                            let m = sum1(piece, |v| v.to_acc()) / n;
                            (
                                n,
                                m,
                                sum1(piece, |v| {
                                    let e = v.to_acc() - m;
                                    e * e
                                }),
                            )
                        },
                    );
                    all = join(all, one);
                }
            }
            put(c, all.1, all.2 / all.0);
        }
    });
}

/// Runs `f(first_column, width)` over blocks of columns of `[batch, channels]`.
fn columns(d: Ncs, f: impl Fn(usize, usize) + Sync) {
    parallel::for_range(d.c.div_ceil(COLS), rows_per_chunk(d.n * COLS), |r| {
        for b in r {
            let w = COLS.min(d.c - b * COLS);
            dispatch(
                #[inline(always)]
                || f(b * COLS, w),
            );
        }
    });
}

/// Per channel, what a value's distance from the mean is multiplied by, and what is added then.
pub fn factors<T: Row>(rstd: &[T::Acc], w: Option<&[T]>, b: Option<&[T]>) -> [Vec<T::Acc>; 2] {
    let (w, b) = (widen(w, rstd.len(), T::Acc::ONE), widen(b, rstd.len(), T::Acc::ZERO));
    [or_stop(room::collected(w.iter().zip(rstd).map(|(w, r)| *w * *r))), b]
}

/// One value of [`channel_normalize`], with its channel's [`factors`].
#[inline(always)]
pub(crate) fn normalized<T: Row>(x: T, mean: T::Acc, scale: T::Acc, shift: T::Acc) -> T {
    T::from_acc((x.to_acc() - mean).mul_add(scale, shift))
}

/// `y = (x - mean) * rstd * w + b` per channel.
pub fn channel_normalize<T: Row>(
    x: &[T],
    mean: &[T::Acc],
    rstd: &[T::Acc],
    w: Option<&[T]>,
    b: Option<&[T]>,
    y: &mut [T],
    d: Ncs,
) {
    if x.is_empty() || x.len() != d.numel() || y.len() != x.len() || mean.len() != d.c || rstd.len() != d.c {
        return;
    }
    let [scale, b] = factors(rstd, w, b);
    if d.s == 1 {
        parallel::for_slices(y, rows_per_chunk(d.c) * d.c, |start, y| {
            for (i, y) in y.chunks_exact_mut(d.c).enumerate() {
                let x = &x[start + i * d.c..][..d.c];
                dispatch(
                    #[inline(always)]
                    || {
                        for ((((y, x), m), a), b) in y.iter_mut().zip(x).zip(mean).zip(&scale).zip(&b) {
                            *y = normalized(*x, *m, *a, *b);
                        }
                    },
                );
            }
        });
        return;
    }
    parallel::for_slices(y, rows_per_chunk(d.s) * d.s, |start, y| {
        let rows = y.chunks_exact_mut(d.s).zip(x[start..].chunks_exact(d.s));
        dispatch(
            #[inline(always)]
            || {
                for (i, (y, x)) in rows.enumerate() {
                    let c = (start / d.s + i) % d.c;
                    let (m, a, b) = (mean[c], scale[c], b[c]);
                    for (y, x) in y.iter_mut().zip(x) {
                        *y = normalized(*x, m, a, b);
                    }
                }
            },
        );
    });
}

/// Per channel: sum of `g` (the bias's gradient) and of `g * xhat` (the weight's).
pub fn channel_sums<T: Row>(
    g: &[T],
    x: &[T],
    mean: &[T::Acc],
    rstd: &[T::Acc],
    d: Ncs,
    sum_g: &mut [T::Acc],
    sum_gx: &mut [T::Acc],
) {
    if x.len() != d.numel() || g.len() != x.len() || mean.len() != d.c || rstd.len() != d.c {
        return;
    }
    if sum_g.len() != d.c || sum_gx.len() != d.c {
        return;
    }
    if x.is_empty() {
        sum_g.fill(T::Acc::ZERO);
        sum_gx.fill(T::Acc::ZERO);
        return;
    }
    let (pg, px) = (SendPtr(sum_g.as_mut_ptr()), SendPtr(sum_gx.as_mut_ptr()));
    let put = |c: usize, a: T::Acc, b: T::Acc| {
        // SAFETY: c < channels, and each channel is visited once.
        unsafe {
            *pg.get().add(c) = a;
            *px.get().add(c) = b;
        }
    };
    if d.s == 1 {
        columns(d, |c0, w| {
            let (mut a, mut b) = ([T::Acc::ZERO; COLS], [T::Acc::ZERO; COLS]);
            let m = &mean[c0..][..w];
            for i in 0..d.n {
                let at = i * d.c + c0;
                for ((((a, b), m), g), x) in a.iter_mut().zip(&mut b).zip(m).zip(&g[at..][..w]).zip(&x[at..][..w]) {
                    let g = g.to_acc();
                    *a += g;
                    *b = g.mul_add(x.to_acc() - *m, *b);
                }
            }
            for j in 0..w {
                put(c0 + j, a[j], b[j] * rstd[c0 + j]);
            }
        });
        return;
    }
    parallel::for_range(d.c, rows_per_chunk(d.n * d.s), |r| {
        for c in r {
            let (mut a, mut b) = (T::Acc::ZERO, T::Acc::ZERO);
            let m = mean[c];
            for i in 0..d.n {
                let at = (i * d.c + c) * d.s;
                for (g, x) in g[at..][..d.s].chunks(PIECE).zip(x[at..][..d.s].chunks(PIECE)) {
                    let (u, v) = dispatch(
                        #[inline(always)]
                        || {
                            sum2x2(g, x, |g, x| {
                                let g = g.to_acc();
                                (g, g * (x.to_acc() - m))
                            })
                        },
                    );
                    a += u;
                    b += v;
                }
            }
            put(c, a, b * rstd[c]);
        }
    });
}

/// Gradient of the input. In training (`sums` given: those of [`channel_sums`]) the statistics depend on `x`;
/// in evaluation they are constants.
pub fn channel_backward<T: Row>(
    g: &[T],
    x: &[T],
    mean: &[T::Acc],
    rstd: &[T::Acc],
    w: Option<&[T]>,
    sums: Option<(&[T::Acc], &[T::Acc])>,
    gx: &mut [T],
    d: Ncs,
) {
    if gx.is_empty() || x.len() != d.numel() || g.len() != x.len() || gx.len() != x.len() || mean.len() != d.c {
        return;
    }
    let w = widen(w, d.c, T::Acc::ONE);
    let inv = T::Acc::ONE / T::Acc::of(d.n * d.s);
    let a: Vec<T::Acc> = or_stop(room::collected(w.iter().zip(rstd).map(|(w, r)| *w * *r)));
    let zero = or_stop(room::filled(d.c, T::Acc::ZERO));
    let (sg, sx) = sums.unwrap_or((&zero, &zero));
    let k1: Vec<T::Acc> = or_stop(room::collected(sg.iter().map(|v| *v * inv)));
    let k2: Vec<T::Acc> = or_stop(room::collected(sx.iter().zip(rstd).map(|(v, r)| *v * inv * *r)));
    if a.len() != d.c || k1.len() != d.c || k2.len() != d.c {
        return;
    }
    if d.s == 1 {
        parallel::for_slices(gx, rows_per_chunk(d.c) * d.c, |start, gx| {
            for (i, gx) in gx.chunks_exact_mut(d.c).enumerate() {
                let (g, x) = (&g[start + i * d.c..][..d.c], &x[start + i * d.c..][..d.c]);
                let (a, k1, k2, m) = (&a[..d.c], &k1[..d.c], &k2[..d.c], &mean[..d.c]);
                dispatch(
                    #[inline(always)]
                    || {
                        for j in 0..d.c {
                            gx[j] = T::from_acc(a[j] * (g[j].to_acc() - k1[j] - (x[j].to_acc() - m[j]) * k2[j]));
                        }
                    },
                );
            }
        });
        return;
    }
    parallel::for_slices(gx, rows_per_chunk(d.s) * d.s, |start, gx| {
        for (i, gx) in gx.chunks_exact_mut(d.s).enumerate() {
            let row = start / d.s + i;
            let c = row % d.c;
            let (g, x) = (&g[row * d.s..][..d.s], &x[row * d.s..][..d.s]);
            let (a, k1, k2, m) = (a[c], k1[c], k2[c], mean[c]);
            dispatch(
                #[inline(always)]
                || {
                    for ((o, g), x) in gx.iter_mut().zip(g).zip(x) {
                        *o = T::from_acc(a * (g.to_acc() - k1 - (x.to_acc() - m) * k2));
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
    use rustnn_base::Element;

    fn naive(x: &[f64], w: &[f64], d: Ncs, eps: f64) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let (mut y, mut ms, mut vs) = (vec![0.0; x.len()], vec![], vec![]);
        for c in 0..d.c {
            let at = |i: usize| (i / d.s * d.c + c) * d.s + i % d.s;
            let m = (0..d.n * d.s).map(|i| x[at(i)]).sum::<f64>() / (d.n * d.s) as f64;
            let v = (0..d.n * d.s).map(|i| (x[at(i)] - m).powi(2)).sum::<f64>() / (d.n * d.s) as f64;
            for i in 0..d.n * d.s {
                y[at(i)] = (x[at(i)] - m) / (v + eps).sqrt() * w[c] + 0.5;
            }
            ms.push(m);
            vs.push(v);
        }
        (y, ms, vs)
    }

    fn check<T: Row>(n: usize, c: usize, s: usize, tol: f64) {
        let d = Ncs { n, c, s };
        let x: Vec<T> = noise(d.numel(), 1).iter().map(|v| T::from_f64(v + 30.0)).collect();
        let g: Vec<T> = noise(d.numel(), 2).iter().map(|v| T::from_f64(*v)).collect();
        let w: Vec<T> = noise(c, 3).iter().map(|v| T::from_f64(*v)).collect();
        let b = vec![T::from_f64(0.5); c];
        let (mut mean, mut var) = (vec![T::Acc::ZERO; c], vec![T::Acc::ZERO; c]);
        channel_stats(&x, d, &mut mean, &mut var);
        let rstd: Vec<T::Acc> = var.iter().map(|v| T::Acc::ONE / (*v + T::Acc::from_f64(1e-3)).sqrt()).collect();
        let mut y = x.clone();
        channel_normalize(&x, &mean, &rstd, Some(&w), Some(&b), &mut y, d);
        let (xd, gd, wd): (Vec<f64>, Vec<f64>, Vec<f64>) = (
            x.iter().map(|v| v.to_f64()).collect(),
            g.iter().map(|v| v.to_f64()).collect(),
            w.iter().map(|v| v.to_f64()).collect(),
        );
        let (wy, wm, wv) = naive(&xd, &wd, d, 1e-3);
        near(&mean, &wm, tol);
        near(&var, &wv, tol);
        near(&y, &wy, tol * 10.0);
        let (mut sg, mut sx, mut gx) = (mean.clone(), mean.clone(), x.clone());
        channel_sums(&g, &x, &mean, &rstd, d, &mut sg, &mut sx);
        channel_backward(&g, &x, &mean, &rstd, Some(&w), Some((&sg, &sx)), &mut gx, d);
        let loss = |x: &[f64], w: &[f64]| naive(x, w, d, 1e-3).0.iter().zip(&gd).map(|(a, b)| a * b).sum::<f64>();
        for i in (0..x.len()).step_by(x.len() / 12 + 1) {
            let (mut u, mut v) = (xd.clone(), xd.clone());
            u[i] += 1e-5;
            v[i] -= 1e-5;
            near(&[gx[i]], &[(loss(&u, &wd) - loss(&v, &wd)) / 2e-5], tol.max(1e-8) * 30.0);
        }
        for k in 0..c.min(3) {
            let (mut u, mut v) = (wd.clone(), wd.clone());
            u[k] += 1e-5;
            v[k] -= 1e-5;
            near(&[sx[k]], &[(loss(&xd, &u) - loss(&xd, &v)) / 2e-5], tol.max(1e-8) * 30.0);
        }
    }

    #[test]
    fn matches_naive() {
        for (n, c, s) in [(4, 3, 1), (9, 70, 1), (2, 3, 5), (3, 2, 100), (1, 2, 5000)] {
            check::<f64>(n, c, s, 1e-10);
            check::<f32>(n, c, s, 1e-5);
        }
    }
}
