//! Serial products of the blocks inside attention and RNN kernels. Each element of C is summed over k in order, so
//! results never depend on how the caller cuts m and n.

use crate::gemm::{Gemm, Problem, one};
use rustnn_base::Result;
use rustnn_base::dtype::Real;
use rustnn_simd::arch::Add;
use rustnn_simd::isa;

pub use crate::gemm::View as Mat;

/// A row-major slice as a matrix of `cols` columns.
#[must_use]
pub fn rows<T>(x: &[T], cols: usize) -> Mat<T> {
    Mat { ptr: x.as_ptr(), rs: cols as isize, cs: 1 }
}

/// Rows and columns of the register tile.
pub const MR: usize = 6;
pub const NR: usize = 16;

/// `C[m, n] (row stride ldc) = alpha * A[m, k] B[k, n] + (add ? C : 0)` on the calling thread.
///
/// # Safety
/// `a`, `b` and `c` reach only valid elements for these sizes; `c` overlaps neither and nobody else uses it meanwhile.
pub unsafe fn gemm<T: Gemm>(
    m: usize,
    n: usize,
    k: usize,
    alpha: T,
    a: Mat<T>,
    b: Mat<T>,
    add: bool,
    c: *mut T,
    ldc: usize,
) -> Result<()> {
    let add = if add { Add::Dst } else { Add::Nothing };
    let p = Problem { m, n, k, a, b, c, ldc, alpha, add, bias: std::ptr::null() };
    // SAFETY: by this function's contract.
    unsafe { one(&p, isa(), true) }
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
                        gemm(m, n, k, 0.5, am, rows(&b, n), add, c.as_mut_ptr(), n).unwrap();
                    }
                    near(&c, &want, 1e-12);
                }
            }
        }
    }
}
