//! Normalisation over rows: layer norm, RMS norm and group norm, forward and backward. Statistics and sums are kept
//! in `Acc`; weight gradients are added up in a number of parts that depends on the shape alone.

use crate::parallel::{self, SendPtr};
use crate::room::{self, or_stop};
use crate::rowmath::{Math, Row, rows_per_chunk, sum_parts, sum1, sum2x2};
use rustnn_base::{Element, dtype::Real};
use rustnn_simd::dispatch;

/// Per-element scale as `Acc`, ones where there is none.
pub(crate) fn widen<T: Row>(w: Option<&[T]>, n: usize, fill: T::Acc) -> Vec<T::Acc> {
    or_stop(w.map_or_else(|| room::filled(n, fill), |w| room::collected(w.iter().map(|v| v.to_acc()))))
}

/// Mean (0 for RMS) and 1/sqrt(variance + eps) of a row.
#[inline(always)]
fn row_stats<T: Row>(x: &[T], eps: T::Acc, rms: bool) -> (T::Acc, T::Acc) {
    let n = T::Acc::of(x.len());
    let mean = if rms { T::Acc::ZERO } else { sum1(x, |v| v.to_acc()) / n };
    let var = sum1(x, |v| {
        let d = v.to_acc() - mean;
        d * d
    }) / n;
    (mean, T::Acc::ONE / (var + eps).sqrt())
}

/// `y = (x - mean) * rstd * w + b` over rows of `n`; `mean` and `rstd` receive one value a row. With `rms` the mean
/// is not subtracted.
pub fn layer_norm<T: Row>(
    x: &[T],
    w: Option<&[T]>,
    b: Option<&[T]>,
    y: &mut [T],
    mean: &mut [T::Acc],
    rstd: &mut [T::Acc],
    n: usize,
    eps: f64,
    rms: bool,
) {
    if n == 0 || x.len() != y.len() || x.len() != mean.len() * n || rstd.len() != mean.len() {
        return;
    }
    let (w, b) = (widen(w, n, T::Acc::ONE), widen(b, n, T::Acc::ZERO));
    let eps = T::Acc::from_f64(eps);
    let (pm, pr) = (SendPtr(mean.as_mut_ptr()), SendPtr(rstd.as_mut_ptr()));
    parallel::for_slices(y, rows_per_chunk(n) * n, |start, y| {
        for (i, y) in y.chunks_exact_mut(n).enumerate() {
            let row = start / n + i;
            let x = &x[row * n..][..n];
            dispatch(
                #[inline(always)]
                || {
                    let (m, r) = row_stats(x, eps, rms);
                    for (((y, x), w), b) in y.iter_mut().zip(x).zip(&w).zip(&b) {
                        *y = T::from_acc(((x.to_acc() - m) * r).mul_add(*w, *b));
                    }
                    // SAFETY: each row is visited once and row < mean.len() == rstd.len().
                    unsafe {
                        *pm.get().add(row) = m;
                        *pr.get().add(row) = r;
                    }
                },
            );
        }
    });
}

/// Gradients of [`layer_norm`]: of `x` into `gx`, of the weight and bias into `gw` and `gb` (each `n` long, set).
pub fn layer_norm_backward<T: Row>(
    g: &[T],
    x: &[T],
    w: Option<&[T]>,
    mean: &[T::Acc],
    rstd: &[T::Acc],
    gx: Option<&mut [T]>,
    gw: Option<&mut [T::Acc]>,
    gb: Option<&mut [T::Acc]>,
    n: usize,
    rms: bool,
) {
    let rows = mean.len();
    if n == 0 || g.len() != rows * n || x.len() != g.len() || rstd.len() != rows {
        return;
    }
    let w = widen(w, n, T::Acc::ONE);
    let parts = sum_parts(rows, n);
    let want = [gw.is_some(), gb.is_some()];
    let zeros = |n: usize| or_stop(room::filled(n, T::Acc::ZERO));
    let mut part_w = zeros(if want[0] { parts * n } else { 0 });
    let mut part_b = zeros(if want[1] { parts * n } else { 0 });
    let (pw, pb) = (SendPtr(part_w.as_mut_ptr()), SendPtr(part_b.as_mut_ptr()));
    let px = gx.map(|s| SendPtr(s.as_mut_ptr()));
    let inv = T::Acc::ONE / T::Acc::of(n);
    parallel::for_chunks(parts, &|p| {
        // SAFETY: part p of each buffer belongs to this chunk alone; an unwanted buffer is not touched (length 0).
        let (sw, sb) = unsafe {
            (
                std::slice::from_raw_parts_mut(
                    if want[0] { pw.get().add(p * n) } else { pw.get() },
                    n * usize::from(want[0]),
                ),
                std::slice::from_raw_parts_mut(
                    if want[1] { pb.get().add(p * n) } else { pb.get() },
                    n * usize::from(want[1]),
                ),
            )
        };
        for row in p * rows / parts..(p + 1) * rows / parts {
            let (g, x, m, r) = (&g[row * n..][..n], &x[row * n..][..n], mean[row], rstd[row]);
            dispatch(
                #[inline(always)]
                || {
                    if let Some(px) = px {
                        // SAFETY: each row is visited once; gx has rows * n elements (checked by the length of x).
                        let gx = unsafe { std::slice::from_raw_parts_mut(px.get().add(row * n), n) };
                        row_gradient(g, x, &w, m, r, inv, gx, rms);
                    }
                    for ((s, g), x) in sw.iter_mut().zip(g).zip(x) {
                        *s = g.to_acc().mul_add((x.to_acc() - m) * r, *s);
                    }
                    for (s, g) in sb.iter_mut().zip(g) {
                        *s += g.to_acc();
                    }
                },
            );
        }
    });
    for (dst, part) in [(gw, part_w), (gb, part_b)] {
        if let Some(dst) = dst {
            add_parts(&part, dst);
        }
    }
}

/// Sums consecutive blocks of `dst.len()` elements into `dst`, in order.
pub(crate) fn add_parts<A: Real>(parts: &[A], dst: &mut [A]) {
    dst.fill(A::ZERO);
    for p in parts.chunks_exact(dst.len().max(1)) {
        for (d, v) in dst.iter_mut().zip(p) {
            *d += *v;
        }
    }
}

#[inline(always)]
fn row_gradient<T: Row>(
    g: &[T],
    x: &[T],
    w: &[T::Acc],
    mean: T::Acc,
    rstd: T::Acc,
    inv: T::Acc,
    gx: &mut [T],
    rms: bool,
) {
    let n = g.len();
    let cut = n - n % 16;
    // Three rows at once, hence not `sum2x2`: the same fixed lanes by hand.
    let (mut a, mut b) = ([T::Acc::ZERO; 16], [T::Acc::ZERO; 16]);
    for ((g, x), w) in g[..cut].chunks_exact(16).zip(x[..cut].chunks_exact(16)).zip(w[..cut].chunks_exact(16)) {
        for l in 0..16 {
            let wg = g[l].to_acc() * w[l];
            a[l] += wg;
            b[l] = wg.mul_add((x[l].to_acc() - mean) * rstd, b[l]);
        }
    }
    for (l, i) in (cut..n).enumerate() {
        let wg = g[i].to_acc() * w[i];
        a[l] += wg;
        b[l] = wg.mul_add((x[i].to_acc() - mean) * rstd, b[l]);
    }
    for h in [8, 4, 2, 1] {
        for l in 0..h {
            let (u, v) = (a[l + h], b[l + h]);
            a[l] += u;
            b[l] += v;
        }
    }
    let c1 = if rms { T::Acc::ZERO } else { a[0] * inv };
    let c2 = b[0] * inv;
    for (((d, g), x), w) in gx.iter_mut().zip(g).zip(x).zip(w) {
        let xhat = (x.to_acc() - mean) * rstd;
        *d = T::from_acc(rstd * (g.to_acc() * *w - c1 - xhat * c2));
    }
}

/// Sizes of a `[batch, channels, space]` tensor.
#[derive(Debug, Clone, Copy)]
pub struct Ncs {
    pub n: usize,
    pub c: usize,
    pub s: usize,
}

impl Ncs {
    #[must_use]
    pub fn numel(self) -> usize {
        rustnn_base::layout::count(&[self.n, self.c, self.s])
    }
}

/// Group norm: rows are `channels / groups * space` elements, scale and shift per channel.
/// `mean` and `rstd` receive `batch * groups` values.
pub fn group_norm<T: Row>(
    x: &[T],
    w: Option<&[T]>,
    b: Option<&[T]>,
    y: &mut [T],
    mean: &mut [T::Acc],
    rstd: &mut [T::Acc],
    d: Ncs,
    groups: usize,
    eps: f64,
) {
    let cg = d.c / groups.max(1);
    let row = cg * d.s;
    if row == 0 || x.len() != d.numel() || y.len() != x.len() || mean.len() != d.n * groups || rstd.len() != mean.len()
    {
        return;
    }
    let (w, b) = (widen(w, d.c, T::Acc::ONE), widen(b, d.c, T::Acc::ZERO));
    let eps = T::Acc::from_f64(eps);
    let (pm, pr) = (SendPtr(mean.as_mut_ptr()), SendPtr(rstd.as_mut_ptr()));
    parallel::for_slices(y, rows_per_chunk(row) * row, |start, y| {
        for (i, y) in y.chunks_exact_mut(row).enumerate() {
            let r = start / row + i;
            let x = &x[r * row..][..row];
            dispatch(
                #[inline(always)]
                || {
                    let (m, rs) = row_stats(x, eps, false);
                    for k in 0..cg {
                        let c = r % groups * cg + k;
                        let a = rs * w[c];
                        for (y, x) in y[k * d.s..][..d.s].iter_mut().zip(&x[k * d.s..][..d.s]) {
                            *y = T::from_acc((x.to_acc() - m).mul_add(a, b[c]));
                        }
                    }
                    // SAFETY: each row is visited once and r < mean.len() == rstd.len().
                    unsafe {
                        *pm.get().add(r) = m;
                        *pr.get().add(r) = rs;
                    }
                },
            );
        }
    });
}

/// Gradients of [`group_norm`]; `gw` and `gb` have one element a channel and are set.
pub fn group_norm_backward<T: Row>(
    g: &[T],
    x: &[T],
    w: Option<&[T]>,
    mean: &[T::Acc],
    rstd: &[T::Acc],
    gx: Option<&mut [T]>,
    gw: Option<&mut [T::Acc]>,
    gb: Option<&mut [T::Acc]>,
    d: Ncs,
    groups: usize,
) {
    let cg = d.c / groups.max(1);
    let row = cg * d.s;
    if row == 0 || g.len() != d.numel() || x.len() != g.len() || mean.len() != d.n * groups || rstd.len() != mean.len()
    {
        return;
    }
    let w = widen(w, d.c, T::Acc::ONE);
    // Per image and channel: sum of g, sum of g * xhat.
    let zeros = || or_stop(room::filled(d.n * d.c, T::Acc::ZERO));
    let (mut sg, mut sx) = (zeros(), zeros());
    let (pg, pxh) = (SendPtr(sg.as_mut_ptr()), SendPtr(sx.as_mut_ptr()));
    let px = gx.map(|s| SendPtr(s.as_mut_ptr()));
    let inv = T::Acc::ONE / T::Acc::of(row);
    parallel::for_range(d.n * groups, rows_per_chunk(row), |rows| {
        for r in rows {
            let (g, x, m, rs) = (&g[r * row..][..row], &x[r * row..][..row], mean[r], rstd[r]);
            // SAFETY: row r owns channels r*cg.. of both sums; each row is visited once.
            let (sg, sx) = unsafe {
                (
                    std::slice::from_raw_parts_mut(pg.get().add(r * cg), cg),
                    std::slice::from_raw_parts_mut(pxh.get().add(r * cg), cg),
                )
            };
            dispatch(
                #[inline(always)]
                || {
                    let (mut c1, mut c2) = (T::Acc::ZERO, T::Acc::ZERO);
                    for k in 0..cg {
                        let (u, v) = sum2x2(&g[k * d.s..][..d.s], &x[k * d.s..][..d.s], |g, x| {
                            let g = g.to_acc();
                            (g, g * ((x.to_acc() - m) * rs))
                        });
                        (sg[k], sx[k]) = (u, v);
                        let w = w[r % groups * cg + k];
                        c1 += w * u;
                        c2 += w * v;
                    }
                    let (c1, c2) = (c1 * inv, c2 * inv);
                    if let Some(px) = px {
                        // SAFETY: as above; gx has as many elements as x.
                        let gx = unsafe { std::slice::from_raw_parts_mut(px.get().add(r * row), row) };
                        for k in 0..cg {
                            let w = w[r % groups * cg + k];
                            let at = k * d.s;
                            for ((o, g), x) in gx[at..][..d.s].iter_mut().zip(&g[at..][..d.s]).zip(&x[at..][..d.s]) {
                                *o = T::from_acc(rs * (w * g.to_acc() - c1 - (x.to_acc() - m) * rs * c2));
                            }
                        }
                    }
                },
            );
        }
    });
    if let Some(gw) = gw {
        add_parts(&sx, gw);
    }
    if let Some(gb) = gb {
        add_parts(&sg, gb);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testutil::{near, noise};
    use rustnn_base::bf16;

    /// Group norm by definition in f64, and the gradients of sum(g * y) by finite differences elsewhere: here the
    /// chain rule through mean and variance written out per element pair.
    fn naive_group(x: &[f64], w: &[f64], b: &[f64], d: Ncs, groups: usize, eps: f64, rms: bool) -> Vec<f64> {
        let row = d.c / groups * d.s;
        let mut y = vec![0.0; x.len()];
        for (r, xs) in x.chunks(row).enumerate() {
            let m = if rms { 0.0 } else { xs.iter().sum::<f64>() / row as f64 };
            let v = xs.iter().map(|x| (x - m).powi(2)).sum::<f64>() / row as f64;
            for i in 0..row {
                let c = r % groups * (d.c / groups) + i / d.s;
                y[r * row + i] = (xs[i] - m) / (v + eps).sqrt() * w[c] + b[c];
            }
        }
        y
    }

    fn numeric(f: &dyn Fn(&[f64]) -> Vec<f64>, x: &[f64], g: &[f64]) -> Vec<f64> {
        let dot = |y: Vec<f64>| y.iter().zip(g).map(|(a, b)| a * b).sum::<f64>();
        (0..x.len())
            .map(|i| {
                let (mut u, mut v) = (x.to_vec(), x.to_vec());
                u[i] += 1e-5;
                v[i] -= 1e-5;
                (dot(f(&u)) - dot(f(&v))) / 2e-5
            })
            .collect()
    }

    fn cast<T: Element>(x: &[f64]) -> Vec<T> {
        x.iter().map(|&v| T::from_f64(v)).collect()
    }
    fn back<T: Element>(x: &[T]) -> Vec<f64> {
        x.iter().map(|v| v.to_f64()).collect()
    }

    fn check_rows<T: Row>(rows: usize, n: usize, rms: bool, tol: f64) {
        let d = Ncs { n: rows, c: n, s: 1 };
        let (x, g) = (cast::<T>(&noise(rows * n, 1)), cast::<T>(&noise(rows * n, 2)));
        let (w, b) = (cast::<T>(&noise(n, 3)), cast::<T>(&noise(n, 4)));
        let (mut y, mut gx) = (vec![T::default(); rows * n], vec![T::default(); rows * n]);
        let (mut m, mut r) = (vec![T::Acc::ZERO; rows], vec![T::Acc::ZERO; rows]);
        let (mut gw, mut gb) = (vec![T::Acc::ZERO; n], vec![T::Acc::ZERO; n]);
        layer_norm(&x, Some(&w), Some(&b), &mut y, &mut m, &mut r, n, 1e-3, rms);
        layer_norm_backward(&g, &x, Some(&w), &m, &r, Some(&mut gx), Some(&mut gw), Some(&mut gb), n, rms);
        let (x, g, w, b) = (back(&x), back(&g), back(&w), back(&b));
        near(&y, &naive_group(&x, &w, &b, d, 1, 1e-3, rms), tol);
        near(&gx, &numeric(&|x| naive_group(x, &w, &b, d, 1, 1e-3, rms), &x, &g), tol.max(1e-7));
        near(&gw, &numeric(&|w| naive_group(&x, w, &b, d, 1, 1e-3, rms), &w, &g), tol.max(1e-7));
        near(&gb, &numeric(&|b| naive_group(&x, &w, b, d, 1, 1e-3, rms), &b, &g), tol.max(1e-7));
    }

    #[test]
    fn layer_and_rms_norm() {
        for rms in [false, true] {
            for (rows, n) in [(1, 5), (3, 7), (4, 40), (9, 33)] {
                check_rows::<f64>(rows, n, rms, 1e-10);
                check_rows::<f32>(rows, n, rms, 2e-5);
            }
            check_rows::<bf16>(3, 20, rms, 5e-2);
        }
    }

    #[test]
    fn weight_gradients_of_many_rows() {
        let (rows, n) = (5000, 40);
        let (x, g) = (noise(rows * n, 5), noise(rows * n, 6));
        let (mut y, mut m, mut r) = (vec![0.0; rows * n], vec![0.0; rows], vec![0.0; rows]);
        layer_norm(&x, None, None, &mut y, &mut m, &mut r, n, 1e-5, false);
        let (mut gw, mut gb) = (vec![0.0; n], vec![0.0; n]);
        layer_norm_backward(&g, &x, None, &m, &r, None, Some(&mut gw), Some(&mut gb), n, false);
        for j in 0..n {
            let s: f64 = (0..rows).map(|i| g[i * n + j] * y[i * n + j]).sum();
            let t: f64 = (0..rows).map(|i| g[i * n + j]).sum();
            assert!((s - gw[j]).abs() < 1e-9 && (t - gb[j]).abs() < 1e-9);
        }
    }

    #[test]
    fn group_norm_and_gradients() {
        for (n, c, s, groups) in [(2, 6, 5, 3), (3, 4, 1, 2), (1, 3, 50, 3), (2, 4, 9, 1)] {
            let d = Ncs { n, c, s };
            let (x, g, w, b) = (noise(d.numel(), 1), noise(d.numel(), 2), noise(c, 3), noise(c, 4));
            let (mut y, mut gx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let (mut m, mut r) = (vec![0.0; n * groups], vec![0.0; n * groups]);
            let (mut gw, mut gb) = (vec![0.0; c], vec![0.0; c]);
            group_norm(&x, Some(&w), Some(&b), &mut y, &mut m, &mut r, d, groups, 1e-3);
            group_norm_backward(&g, &x, Some(&w), &m, &r, Some(&mut gx), Some(&mut gw), Some(&mut gb), d, groups);
            near(&y, &naive_group(&x, &w, &b, d, groups, 1e-3, false), 1e-12);
            near(&gx, &numeric(&|x| naive_group(x, &w, &b, d, groups, 1e-3, false), &x, &g), 1e-7);
            near(&gw, &numeric(&|w| naive_group(&x, w, &b, d, groups, 1e-3, false), &w, &g), 1e-7);
            near(&gb, &numeric(&|b| naive_group(&x, &w, b, d, groups, 1e-3, false), &b, &g), 1e-7);
        }
    }
}
