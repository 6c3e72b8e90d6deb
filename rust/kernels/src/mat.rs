//! A serial matrix product on strided operands for the blocks inside attention and RNN kernels: packed panels and a
//! register tile that LLVM vectorises. Each element of C is summed over k in order, so results never depend on how
//! the caller cuts m and n.

use rustnn_base::dtype::Real;
use rustnn_simd::dispatch;

/// A matrix by address, row stride and column stride (elements).
#[derive(Clone, Copy)]
pub struct Mat<T> {
    pub ptr: *const T,
    pub rs: isize,
    pub cs: isize,
}

impl<T> Mat<T> {
    /// The matrix that starts `r` rows and `c` columns further.
    ///
    /// # Safety
    /// That element lies in the same allocation.
    #[inline(always)]
    #[must_use]
    pub unsafe fn at(self, r: usize, c: usize) -> Self {
        // SAFETY: by this function's contract.
        Mat { ptr: unsafe { self.ptr.offset(r as isize * self.rs + c as isize * self.cs) }, ..self }
    }
    /// Rows and columns exchanged.
    #[must_use]
    pub fn t(self) -> Self {
        Mat { ptr: self.ptr, rs: self.cs, cs: self.rs }
    }
}

/// A row-major slice as a matrix of `cols` columns.
#[must_use]
pub fn rows<T>(x: &[T], cols: usize) -> Mat<T> {
    Mat { ptr: x.as_ptr(), rs: cols as isize, cs: 1 }
}

/// Rows and columns of the register tile.
pub const MR: usize = 6;
pub const NR: usize = 16;
const KC: usize = 256;

/// Scratch for packed panels, reused over calls.
#[derive(Default)]
pub struct Scratch<T> {
    a: Vec<T>,
    b: Vec<T>,
}

/// `C[m, n] (row stride ldc) = alpha * A[m, k] B[k, n] + (add ? C : 0)`.
///
/// # Safety
/// `a`, `b` and `c` reach only valid elements for these sizes; `c` overlaps neither and nobody else uses it meanwhile.
pub unsafe fn gemm<T: Real>(
    s: &mut Scratch<T>,
    m: usize,
    n: usize,
    k: usize,
    alpha: T,
    a: Mat<T>,
    b: Mat<T>,
    add: bool,
    c: *mut T,
    ldc: usize,
) {
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !add {
            for i in 0..m {
                // SAFETY: rows of `c` by the contract.
                unsafe { std::slice::from_raw_parts_mut(c.add(i * ldc), n) }.fill(T::ZERO);
            }
        }
        return;
    }
    let panels_a = m.div_ceil(MR);
    s.a.clear();
    s.a.resize(panels_a * MR * KC.min(k), T::ZERO);
    s.b.clear();
    s.b.resize(NR * KC.min(k), T::ZERO);
    let mut k0 = 0;
    while k0 < k {
        let kc = KC.min(k - k0);
        let add = add || k0 > 0;
        for p in 0..panels_a {
            let rows = MR.min(m - p * MR);
            let dst = &mut s.a[p * MR * kc..][..MR * kc];
            // SAFETY: rows p*MR.. and columns k0.. lie inside `a`.
            unsafe { pack(dst, a.at(p * MR, k0), rows, MR, kc, alpha) };
        }
        for j0 in (0..n).step_by(NR) {
            let cols = NR.min(n - j0);
            // SAFETY: as above for `b`, seen transposed.
            unsafe { pack(&mut s.b[..NR * kc], b.at(k0, j0).t(), cols, NR, kc, T::ONE) };
            for p in 0..panels_a {
                let rows = MR.min(m - p * MR);
                let (pa, pb) = (&s.a[p * MR * kc..][..MR * kc], &s.b[..NR * kc]);
                let t = dispatch(
                    #[inline(always)]
                    || tile(pa, pb),
                );
                for i in 0..rows {
                    // SAFETY: row p*MR + i < m and columns j0..j0+cols <= n of `c`.
                    let dst = unsafe { std::slice::from_raw_parts_mut(c.add((p * MR + i) * ldc + j0), cols) };
                    for (d, &v) in dst.iter_mut().zip(&t[i]) {
                        *d = if add { *d + v } else { v };
                    }
                }
            }
        }
        k0 += kc;
    }
}

/// Packs `rows` rows of `a` into a `[k][w]` panel, filled up with zeros.
///
/// # Safety
/// `a` has `rows` rows and `k` columns; `dst.len() == w * k`, `rows <= w`.
pub unsafe fn pack<T: Real>(dst: &mut [T], a: Mat<T>, rows: usize, w: usize, k: usize, alpha: T) {
    if rows == w && a.rs == 1 {
        for (p, d) in dst.chunks_exact_mut(w).enumerate() {
            // SAFETY: column p of `a` has w consecutive rows.
            let src = unsafe { std::slice::from_raw_parts(a.ptr.offset(p as isize * a.cs), w) };
            for (d, v) in d.iter_mut().zip(src) {
                *d = *v * alpha;
            }
        }
        return;
    }
    for i in 0..w {
        for p in 0..k {
            dst[p * w + i] = if i < rows {
                // SAFETY: i < rows and p < k.
                unsafe { *a.ptr.offset(i as isize * a.rs + p as isize * a.cs) * alpha }
            } else {
                T::ZERO
            };
        }
    }
}

/// Product of a `[k][MR]` and a `[k][NR]` panel.
#[inline(always)]
pub fn tile<T: Real>(a: &[T], b: &[T]) -> [[T; NR]; MR] {
    let mut acc = [[T::ZERO; NR]; MR];
    for (a, b) in a.chunks_exact(MR).zip(b.chunks_exact(NR)) {
        for i in 0..MR {
            for j in 0..NR {
                acc[i][j] = a[i].mul_add(b[j], acc[i][j]);
            }
        }
    }
    acc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testutil::{near, noise};

    #[test]
    fn matches_naive() {
        for (m, n, k) in [(1, 1, 1), (7, 17, 5), (6, 16, 300), (13, 40, 520), (3, 2, 0)] {
            let (a, b, c0) = (noise(m * k, 1), noise(k * n, 2), noise(m * n, 3));
            for ta in [false, true] {
                for add in [false, true] {
                    let at = |i: usize, p: usize| if ta { a[p * m + i] } else { a[i * k + p] };
                    let mut want = vec![0.0; m * n];
                    for i in 0..m {
                        for j in 0..n {
                            let s: f64 = (0..k).map(|p| at(i, p) * b[p * n + j]).sum();
                            want[i * n + j] = 0.5 * s + if add { c0[i * n + j] } else { 0.0 };
                        }
                    }
                    let mut c = c0.clone();
                    let am = if ta { rows(&a, m).t() } else { rows(&a, k) };
                    // SAFETY: sizes as allocated.
                    unsafe {
                        gemm(&mut Scratch::default(), m, n, k, 0.5, am, rows(&b, n), add, c.as_mut_ptr(), n);
                    }
                    near(&c, &want, 1e-12);
                }
            }
        }
    }
}
