//! Serial products of the blocks inside attention and RNN kernels. Each element of C is summed over k in order, so
//! results never depend on how the caller cuts m and n.

use crate::gemm::blocked::{Block, KC, key, pack_right, tiles};
use crate::gemm::pack::SIDE;
use crate::gemm::{Gemm, Problem, one};
use crate::packs::{self, Held, Keep, Order};
use rustnn_base::Result;
use rustnn_simd::arch::{Add, ConvArgs, Micro};
use rustnn_simd::isa;

pub use crate::gemm::View as Mat;

/// A row-major slice as a matrix of `cols` columns.
#[must_use]
pub fn rows<T>(x: &[T], cols: usize) -> Mat<T> {
    Mat { ptr: x.as_ptr(), rs: cols as isize, cs: 1 }
}

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
    let p = Problem { m, n, k, a, b, c, ldc, alpha, add, bias: std::ptr::null(), keep: [Keep::NOT; 2] };
    // SAFETY: by this function's contract.
    unsafe { one(&p, isa(), true) }
}

/// A right operand that is packed once and multiplied with many left ones.
pub struct Right<T: Gemm> {
    panels: Held<T>,
    k: usize,
    n: usize,
    /// Columns of a panel.
    nr: usize,
    micro: &'static Micro<T>,
}

impl<T: Gemm> Right<T> {
    /// Packs a `k x n` matrix for left operands of many rows, or for single rows, or finds the copy that was kept.
    ///
    /// # Safety
    /// `b` reaches only valid elements for these sizes.
    pub unsafe fn pack(b: Mat<T>, k: usize, n: usize, single: bool, keep: Keep) -> Result<Self> {
        let micro = T::micro(isa());
        let nr = if single { micro.lanes } else { micro.nr() };
        let wide = n.next_multiple_of(micro.lanes);
        let width = if single { nr } else { SIDE * nr };
        let panels = packs::held(keep, key(Order::Right, b, [k, n, nr]), wide.saturating_mul(k), |panels| {
            // SAFETY: the caller's matrix; room for its panels, which are whole vectors.
            unsafe { pack_right(micro, b, k, n, width, panels) }
        })?;
        Ok(Right { panels, k, n, nr, micro })
    }

    /// Columns that one tile covers.
    #[must_use]
    pub fn nr(&self) -> usize {
        self.nr
    }

    /// Columns `j0..j0 + w` of `A B (+ what add says)`, to `c[m, w]` with row stride `ldc`; `j0` is a multiple of
    /// [`Right::nr`]. `bias` belongs to `B`'s columns. What is packed for single rows takes one whose values lie side by
    /// side.
    ///
    /// # Safety
    /// `a` shows `m` rows of `k` readable values, `c` has room, nobody else uses it meanwhile, and `bias` has what `add`
    /// reads.
    pub unsafe fn times(
        &self,
        a: Mat<T>,
        m: usize,
        j0: usize,
        w: usize,
        c: *mut T,
        ldc: usize,
        add: Add,
        bias: *const T,
    ) {
        debug_assert!(j0 % self.nr() == 0 && j0 + w <= self.n);
        if self.nr < self.micro.nr() {
            debug_assert!(m == 1 && a.cs == 1);
            // SAFETY: passed on.
            return unsafe { self.row(a.ptr, j0, w, c, add, bias) };
        }
        let wide = self.n.next_multiple_of(self.micro.lanes);
        // `tiles` counts columns of the whole product.
        let c = c.wrapping_sub(j0);
        let p = Problem { m, n: self.n, k: self.k, a, b: a, c, ldc, alpha: T::ONE, add, bias, keep: [Keep::NOT; 2] };
        for k0 in (0..self.k).step_by(KC) {
            let kc = KC.min(self.k - k0);
            let panels = self.panels.ptr().wrapping_add(k0 * wide + j0 * kc);
            // SAFETY: this function's contract; the panels of block k0 from column j0 on.
            unsafe {
                let a = Block::InPlace(a.at(0, k0));
                tiles(&p, self.micro, a, panels, 0, m, m.div_ceil(self.micro.mr()), j0, w, kc, k0 == 0);
            }
        }
    }

    /// [`Right::times`] of one row: a tile is as many vectors of columns as can be summed side by side. (A tile of two,
    /// as for many rows, would wait for its own sums.)
    ///
    /// # Safety
    /// As there.
    unsafe fn row(&self, a: *const T, j0: usize, w: usize, c: *mut T, add: Add, bias: *const T) {
        const MOST: usize = 8;
        let (lanes, each) = (self.micro.conv_lanes, self.micro.lanes);
        let table = self.micro.conv[0];
        let wide = self.n.next_multiple_of(each);
        let vecs = w.div_ceil(lanes);
        let tiles = vecs.div_ceil(table.len().min(MOST));
        let mut off = [0u32; KC];
        for (t, o) in off.iter_mut().enumerate() {
            *o = (t * each) as u32;
        }
        if add == Add::PerColumn {
            // SAFETY: the bias has the columns' values, `c` room for them, and they do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(bias.add(j0), c, w) }
        }
        for k0 in (0..self.k).step_by(KC) {
            let kc = KC.min(self.k - k0);
            let add = if k0 == 0 && add == Add::Nothing { Add::Nothing } else { Add::Dst };
            for tile in 0..tiles {
                let (v0, v1) = (tile * vecs / tiles, (tile + 1) * vecs / tiles);
                let (mut src, mut dst, mut count) = ([std::ptr::null(); MOST], [std::ptr::null_mut(); MOST], [0; MOST]);
                for v in v0..v1 {
                    let j = v * lanes;
                    // Panels may be several of these vectors wide.
                    let (panel, inside) = ((j0 + j) / each * each, (j0 + j) % each);
                    src[v - v0] = self.panels.ptr().wrapping_add(k0 * wide + panel * kc + inside);
                    dst[v - v0] = c.wrapping_add(j);
                    count[v - v0] = lanes.min(w - j) as u32;
                }
                // SAFETY: this function's contract; the vectors' places in block k0's panels, which are whole vectors.
                unsafe {
                    (table[v1 - v0 - 1])(&ConvArgs {
                        k: kc,
                        a: a.add(k0),
                        off: off.as_ptr(),
                        src: src.as_ptr(),
                        dst: dst.as_ptr(),
                        lanes: count.as_ptr(),
                        ms: 0,
                        add,
                        bias: std::ptr::null(),
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testutil::{near, noise};

    #[test]
    fn packed_once_matches_naive() {
        let shapes = [(1, 1, 1), (7, 17, 5), (6, 16, 300), (13, 40, 520), (20, 70, 1024), (1, 203, 300), (1, 64, 520)];
        for ((m, n, k), panels) in shapes.into_iter().flat_map(|s| [(s, 1), (s, 3)]) {
            let (a, b, bias) = (noise(m * k, 1), noise(k * n, 2), noise(n, 3));
            // SAFETY: sizes as allocated.
            let right = unsafe { Right::pack(rows(&b, n), k, n, m == 1, Keep::NOT).unwrap() };
            let mut c = vec![0.0; m * n];
            for j0 in (0..n).step_by(panels * right.nr()) {
                let w = (panels * right.nr()).min(n - j0);
                let mut part = vec![f64::NAN; m * w];
                // SAFETY: sizes as allocated.
                unsafe { right.times(rows(&a, k), m, j0, w, part.as_mut_ptr(), w, Add::PerColumn, bias.as_ptr()) };
                for i in 0..m {
                    c[i * n + j0..][..w].copy_from_slice(&part[i * w..][..w]);
                }
            }
            let want: Vec<f64> = (0..m * n)
                .map(|x| bias[x % n] + (0..k).map(|p| a[x / n * k + p] * b[p * n + x % n]).sum::<f64>())
                .collect();
            near(&c, &want, 1e-12);
        }
    }

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
