//! Factorisations of dense matrices in double precision: LU, Cholesky, Householder QR, Jacobi eigenvalues and singular
//! values. Plain loops on row-major slices; single precision operands are computed in double too.

use rustnn_core::Result;
use rustnn_kernels::parallel::Watch;
use rustnn_kernels::room::{self, or_stop};

/// A matrix of zeros. Its factors may have sizes that no memory holds, of an input without elements.
fn zeros(rows: usize, columns: usize) -> Vec<f64> {
    or_stop(room::filled(rows.saturating_mul(columns), 0.0))
}

/// Ones on the diagonal.
pub(crate) fn eye(n: usize) -> Vec<f64> {
    let mut out = zeros(n, n);
    (0..n).for_each(|i| out[i * n + i] = 1.0);
    out
}

/// LU with row exchanges, in place; the order of rows and the sign of the permutation. A zero pivot is left as it is.
pub(crate) fn lu(a: &mut [f64], n: usize) -> (Vec<usize>, f64) {
    let mut rows: Vec<usize> = or_stop(room::collected(0..n));
    let mut sign = 1.0;
    let mut watch = Watch::default();
    for k in 0..n {
        or_stop(watch.tick());
        let mut p = k;
        for i in k + 1..n {
            if a[i * n + k].abs() > a[p * n + k].abs() {
                p = i;
            }
        }
        if p != k {
            for j in 0..n {
                a.swap(k * n + j, p * n + j);
            }
            rows.swap(k, p);
            sign = -sign;
        }
        let pivot = a[k * n + k];
        if pivot == 0.0 {
            continue;
        }
        for i in k + 1..n {
            let f = a[i * n + k] / pivot;
            a[i * n + k] = f;
            if f != 0.0 {
                for j in k + 1..n {
                    a[i * n + j] -= f * a[k * n + j];
                }
            }
        }
    }
    (rows, sign)
}

/// Solves with the factors of [`lu`]: `b` is `n x m`.
pub(crate) fn lu_solve(f: &[f64], rows: &[usize], n: usize, b: &[f64], m: usize) -> Vec<f64> {
    let mut x = zeros(n, m);
    for i in 0..n {
        x[i * m..][..m].copy_from_slice(&b[rows[i] * m..][..m]);
    }
    for i in 0..n {
        for k in 0..i {
            let c = f[i * n + k];
            for j in 0..m {
                x[i * m + j] -= c * x[k * m + j];
            }
        }
    }
    for i in (0..n).rev() {
        for k in i + 1..n {
            let c = f[i * n + k];
            for j in 0..m {
                x[i * m + j] -= c * x[k * m + j];
            }
        }
        for j in 0..m {
            x[i * m + j] /= f[i * n + i];
        }
    }
    x
}

/// The lower Cholesky factor of the matrix whose lower half is given; `Err(k)` if the leading minor of order `k` is not
/// positive.
pub(crate) fn cholesky(a: &[f64], n: usize) -> Result<Vec<f64>, usize> {
    let mut l = zeros(n, n);
    let mut watch = Watch::default();
    for i in 0..n {
        or_stop(watch.tick());
        for j in 0..=i {
            let s: f64 = (0..j).map(|k| l[i * n + k] * l[j * n + k]).sum();
            let v = a[i * n + j] - s;
            if i == j {
                // NaN must not pass either.
                if v.is_nan() || v <= 0.0 {
                    return Err(i + 1);
                }
                l[i * n + i] = v.sqrt();
            } else {
                l[i * n + j] = v / l[j * n + j];
            }
        }
    }
    Ok(l)
}

/// Reflects the columns `js` of rows `n` long by `I - tau (1, v) (1, v)^T`, row by row as they lie in memory.
fn reflect(a: &mut [f64], n: usize, js: std::ops::Range<usize>, v: &[f64], tau: f64) {
    let (first, rest) = a.split_at_mut(n);
    let first = &mut first[js.clone()];
    let mut sums = or_stop(room::copied(first));
    for (v, row) in v.iter().zip(rest.chunks_exact(n)) {
        sums.iter_mut().zip(&row[js.clone()]).for_each(|(s, a)| *s += v * a);
    }
    sums.iter_mut().for_each(|s| *s *= tau);
    first.iter_mut().zip(&sums).for_each(|(a, s)| *a -= s);
    for (v, row) in v.iter().zip(rest.chunks_exact_mut(n)) {
        row[js.clone()].iter_mut().zip(&sums).for_each(|(a, s)| *a -= s * v);
    }
}

/// Householder QR of an `m x n` matrix, packed as LAPACK packs it: R on and above the diagonal, below it the vectors
/// (their leading 1 left out), and the factors tau.
pub(crate) fn geqrf(a: &[f64], m: usize, n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut r = or_stop(room::copied(a));
    let mut taus = or_stop(room::with_capacity(m.min(n)));
    let mut watch = Watch::default();
    for k in 0..m.min(n) {
        or_stop(watch.tick());
        let alpha = r[k * n + k];
        let rest: f64 = (k + 1..m).map(|i| r[i * n + k] * r[i * n + k]).sum();
        let mut tau = 0.0;
        if rest != 0.0 {
            let beta = -(alpha * alpha + rest).sqrt().copysign(alpha);
            tau = (beta - alpha) / beta;
            let scale = 1.0 / (alpha - beta);
            (k + 1..m).for_each(|i| r[i * n + k] *= scale);
            r[k * n + k] = beta;
            let v: Vec<f64> = or_stop(room::collected((k + 1..m).map(|i| r[i * n + k])));
            reflect(&mut r[k * n..], n, k + 1..n, &v, tau);
        }
        taus.push(tau);
    }
    (r, taus)
}

/// Householder QR of an `m x n` matrix: Q `m x cols` and R `cols x n` (signs as LAPACK leaves them).
pub(crate) fn qr(a: &[f64], m: usize, n: usize, cols: usize) -> (Vec<f64>, Vec<f64>) {
    let (packed, taus) = geqrf(a, m, n);
    let mut q = zeros(m, cols);
    for i in 0..cols.min(m) {
        q[i * cols + i] = 1.0;
    }
    let mut watch = Watch::default();
    for (k, tau) in taus.iter().enumerate().rev() {
        or_stop(watch.tick());
        let v: Vec<f64> = or_stop(room::collected((k + 1..m).map(|i| packed[i * n + k])));
        reflect(&mut q[k * cols..], cols, 0..cols, &v, *tau);
    }
    let mut upper = zeros(cols, n);
    for i in 0..cols {
        for j in i..n {
            upper[i * n + j] = packed[i * n + j];
        }
    }
    (q, upper)
}

/// Solves with the upper or lower triangle of `a` (with ones on its diagonal for `unit`): `b` is `n x m`.
pub(crate) fn triangular(a: &[f64], n: usize, b: &[f64], m: usize, upper: bool, unit: bool) -> Vec<f64> {
    let mut x = or_stop(room::copied(b));
    let mut watch = Watch::default();
    for step in 0..n {
        or_stop(watch.tick());
        let i = if upper { n - 1 - step } else { step };
        let known = if upper { i + 1..n } else { 0..i };
        for k in known {
            let c = a[i * n + k];
            for j in 0..m {
                x[i * m + j] -= c * x[k * m + j];
            }
        }
        if !unit {
            (0..m).for_each(|j| x[i * m + j] /= a[i * n + i]);
        }
    }
    x
}

/// LU of an `m x n` matrix in place; rows exchanged, counted from 1 as LAPACK counts, and 0 or the place of the first
/// zero pivot.
pub(crate) fn lu_pivots(a: &mut [f64], m: usize, n: usize) -> (Vec<f64>, f64) {
    let (mut pivots, mut info) = (or_stop(room::with_capacity(m.min(n))), 0.0);
    let mut watch = Watch::default();
    for k in 0..m.min(n) {
        or_stop(watch.tick());
        let mut p = k;
        for i in k + 1..m {
            if a[i * n + k].abs() > a[p * n + k].abs() {
                p = i;
            }
        }
        pivots.push((p + 1) as f64);
        if p != k {
            (0..n).for_each(|j| a.swap(k * n + j, p * n + j));
        }
        let pivot = a[k * n + k];
        if pivot == 0.0 {
            info = if info == 0.0 { (k + 1) as f64 } else { info };
            continue;
        }
        for i in k + 1..m {
            let f = a[i * n + k] / pivot;
            a[i * n + k] = f;
            for j in k + 1..n {
                a[i * n + j] -= f * a[k * n + j];
            }
        }
    }
    (pivots, info)
}

fn times(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let mut out = zeros(n, n);
    let mut watch = Watch::default();
    for i in 0..n {
        or_stop(watch.tick());
        for k in 0..n {
            let c = a[i * n + k];
            for j in 0..n {
                out[i * n + j] += c * b[k * n + j];
            }
        }
    }
    out
}

/// The exponential of a matrix: halved until small, Taylor's series, squared back.
pub(crate) fn exponential(a: &[f64], n: usize) -> Vec<f64> {
    let norm = (0..n).map(|j| (0..n).map(|i| a[i * n + j].abs()).sum::<f64>()).fold(0.0, f64::max);
    if !norm.is_finite() {
        return or_stop(room::filled(n.saturating_mul(n), f64::NAN));
    }
    let halvings = if norm > 0.5 { (norm / 0.5).log2().ceil() as i32 } else { 0 };
    let scaled: Vec<f64> = or_stop(room::collected(a.iter().map(|v| v * 0.5f64.powi(halvings))));
    let mut out = eye(n);
    let mut term = or_stop(room::copied(&out));
    // 0.5^18 / 18! is far below the precision of a double.
    for k in 1..=18 {
        term = times(&term, &scaled, n);
        term.iter_mut().for_each(|v| *v /= f64::from(k));
        out.iter_mut().zip(&term).for_each(|(o, t)| *o += t);
    }
    for _ in 0..halvings {
        out = times(&out, &out, n);
    }
    out
}

/// Eigenvalues, rising, and eigenvectors (columns) of the symmetric matrix whose lower half is given: cyclic Jacobi.
pub(crate) fn eigh(a: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut s = zeros(n, n);
    for i in 0..n {
        for j in 0..=i {
            s[i * n + j] = a[i * n + j];
            s[j * n + i] = a[i * n + j];
        }
    }
    let mut v = eye(n);
    let mut watch = Watch::default();
    for _ in 0..60 {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| s[i * n + j] * s[i * n + j]).sum();
        let all: f64 = s.iter().map(|x| x * x).sum();
        if off.is_nan() || off <= all * 1e-34 || off == 0.0 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                or_stop(watch.tick());
                let (app, aqq, apq) = (s[p * n + p], s[q * n + q], s[p * n + q]);
                if apq == 0.0 {
                    continue;
                }
                let theta = (aqq - app) / (2.0 * apq);
                let t = 1.0f64.copysign(theta) / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let d = t * c;
                for k in 0..n {
                    let (x, y) = (s[k * n + p], s[k * n + q]);
                    s[k * n + p] = c * x - d * y;
                    s[k * n + q] = d * x + c * y;
                }
                for k in 0..n {
                    let (x, y) = (s[p * n + k], s[q * n + k]);
                    s[p * n + k] = c * x - d * y;
                    s[q * n + k] = d * x + c * y;
                }
                for k in 0..n {
                    let (x, y) = (v[k * n + p], v[k * n + q]);
                    v[k * n + p] = c * x - d * y;
                    v[k * n + q] = d * x + c * y;
                }
            }
        }
    }
    let mut order: Vec<usize> = or_stop(room::collected(0..n));
    order.sort_by(|&i, &j| s[i * n + i].total_cmp(&s[j * n + j]));
    let values = or_stop(room::collected(order.iter().map(|&i| s[i * n + i])));
    let mut vectors = zeros(n, n);
    for (to, &from) in order.iter().enumerate() {
        for k in 0..n {
            vectors[k * n + to] = v[k * n + from];
        }
    }
    (values, vectors)
}

/// Thin singular value decomposition of an `m x n` matrix: U `m x k`, S falling, Vh `k x n`, `k = min(m, n)`.
pub(crate) fn svd(a: &[f64], m: usize, n: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    if m < n {
        let t: Vec<f64> = or_stop(room::collected((0..n * m).map(|i| a[(i % m) * n + i / m])));
        let (u, s, vh) = svd(&t, n, m);
        let k = m;
        let back_u: Vec<f64> = or_stop(room::collected((0..m * k).map(|i| vh[(i % k) * m + i / k])));
        let back_v: Vec<f64> = or_stop(room::collected((0..k * n).map(|i| u[(i % n) * k + i / n])));
        return (back_u, s, back_v);
    }
    // One-sided Jacobi: columns are rotated until orthogonal. Stored by column.
    let columns = |f: &dyn Fn(usize) -> Result<Vec<f64>>| or_stop(room::collected((0..n).map(|j| or_stop(f(j)))));
    let mut c: Vec<Vec<f64>> = columns(&|j| room::collected((0..m).map(|i| a[i * n + j])));
    let mut v: Vec<Vec<f64>> = columns(&|j| room::collected((0..n).map(|i| f64::from(u8::from(i == j)))));
    let mut watch = Watch::default();
    for _ in 0..60 {
        let mut turned = false;
        for p in 0..n {
            for q in p + 1..n {
                or_stop(watch.tick());
                let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(a, b)| a * b).sum::<f64>();
                let (alpha, beta, gamma) = (dot(&c[p], &c[p]), dot(&c[q], &c[q]), dot(&c[p], &c[q]));
                if gamma == 0.0 || gamma.is_nan() || gamma.abs() <= 1e-16 * (alpha * beta).sqrt() {
                    continue;
                }
                turned = true;
                let zeta = (beta - alpha) / (2.0 * gamma);
                let t = 1.0f64.copysign(zeta) / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let cs = 1.0 / (1.0 + t * t).sqrt();
                let sn = cs * t;
                for set in [&mut c, &mut v] {
                    for i in 0..set[p].len() {
                        let (x, y) = (set[p][i], set[q][i]);
                        set[p][i] = cs * x - sn * y;
                        set[q][i] = sn * x + cs * y;
                    }
                }
            }
        }
        if !turned {
            break;
        }
    }
    let norm: Vec<f64> = or_stop(room::collected(c.iter().map(|x| x.iter().map(|v| v * v).sum::<f64>().sqrt())));
    let mut order: Vec<usize> = or_stop(room::collected(0..n));
    order.sort_by(|&i, &j| norm[j].total_cmp(&norm[i]));
    let s: Vec<f64> = or_stop(room::collected(order.iter().map(|&i| norm[i])));
    let mut vh = zeros(n, n);
    for (k, &j) in order.iter().enumerate() {
        vh[k * n..][..n].copy_from_slice(&v[j]);
    }
    // Columns of length zero have no direction of their own: any that are orthogonal to the others do.
    let tiny = s.first().copied().unwrap_or(0.0) * 1e-300;
    let rank = s.iter().take_while(|&&s| s > tiny).count();
    let mut u = zeros(m, rank);
    for (k, &j) in order[..rank].iter().enumerate() {
        for i in 0..m {
            u[i * rank + k] = c[j][i] / norm[j];
        }
    }
    (if rank < n { widened(&u, m, rank, n) } else { u }, s, vh)
}

/// An `m x k` matrix with orthonormal columns made `m x cols` by more of them.
pub(crate) fn widened(u: &[f64], m: usize, k: usize, cols: usize) -> Vec<f64> {
    // Reflections that turn the first columns into the axes turn the other axes into what is orthogonal to them.
    let (mut out, _) = qr(u, m, k, cols);
    for i in 0..m {
        out[i * cols..][..k].copy_from_slice(&u[i * k..][..k]);
    }
    out
}
