//! Products too small or too thin to pack: operands are read as they lie.

use super::blocked::{Gemm, Problem};
use crate::parallel::for_range;
use rustnn_simd::arch::{Add, DotArgs, GemmArgs};
use rustnn_simd::{Isa, dispatch};

/// Columns in a chunk so that it has work for some 15 µs.
fn grain(len: usize, per_item: usize, unit: usize) -> usize {
    (400_000 / per_item.max(1)).max(unit).next_multiple_of(unit).min(len.max(1))
}

/// Any `a`, rows of `b` contiguous.
///
/// # Safety
/// As [`super::blocked::serial`]; `p.b.cs == 1`.
pub unsafe fn loose<T: Gemm>(p: &Problem<T>, isa: Isa) {
    let micro = T::micro(isa);
    let (mr, nr) = (micro.loose.len(), micro.nr());
    let panels = p.m.div_ceil(mr);
    let p = &p;
    for_range(p.n, grain(p.n, p.m * p.k, nr), |r| {
        let mut j = r.start;
        while j < r.end {
            let w = nr.min(r.end - j);
            let vecs = w.div_ceil(micro.lanes);
            for q in 0..panels {
                let (r0, r1) = (q * p.m / panels, (q + 1) * p.m / panels);
                let bias = match p.add {
                    Add::PerRow => p.bias.wrapping_add(r0),
                    Add::PerColumn => p.bias.wrapping_add(j),
                    _ => p.bias,
                };
                // SAFETY: the tile's rows and columns lie within the operands, which the caller vouches for.
                unsafe {
                    (micro.loose[r1 - r0 - 1][vecs - 1])(&GemmArgs {
                        k: p.k,
                        a: p.a.at(r0, 0).ptr,
                        a_rs: p.a.rs,
                        a_ks: p.a.cs,
                        b: p.b.ptr.add(j),
                        b_ks: p.b.rs,
                        c: p.c.add(r0 * p.ldc + j),
                        ldc: p.ldc,
                        alpha: p.alpha,
                        add: p.add,
                        bias,
                        last: w - (vecs - 1) * micro.lanes,
                    });
                }
            }
            j += nr;
        }
    });
}

/// Writes `alpha * v (+ add)` to C at `(i, j)`.
///
/// # Safety
/// The place lies within C, and within the bias if there is one.
#[inline(always)]
unsafe fn put<T: Gemm>(p: &Problem<T>, i: usize, j: usize, v: T) {
    let v = if p.alpha == T::ONE { v } else { p.alpha * v };
    // SAFETY: by this function's contract.
    unsafe {
        let c = p.c.add(i * p.ldc + j);
        *c = match p.add {
            Add::Nothing => v,
            Add::Dst => *c + v,
            Add::PerRow => *p.bias.add(i) + v,
            Add::PerColumn => *p.bias.add(j) + v,
        };
    }
}

/// Rows of `a` and columns of `b` contiguous: tiles of dot products.
///
/// # Safety
/// As [`super::blocked::serial`]; `p.a.cs == 1 && p.b.rs == 1`.
pub unsafe fn dots<T: Gemm>(p: &Problem<T>, isa: Isa) {
    let micro = T::micro(isa);
    let lanes = micro.dot_lanes;
    let rows = [(0u32, 0u32)];
    let p = &p;
    let block = |i0: usize, i1: usize, j0: usize, j1: usize| {
        let mut j = j0;
        while j < j1 {
            let nj = 3.min(j1 - j);
            let cols: [*const T; 3] = std::array::from_fn(|t| p.b.at(0, (j + t).min(j1 - 1)).ptr);
            let mut i = i0;
            while i < i1 {
                let ni = 4.min(i1 - i);
                let mut out = [T::ZERO; 12];
                // SAFETY: rows i.. of `a` and columns j.. of `b` have `k` readable values; `out` holds the tile.
                unsafe {
                    (micro.dot[ni - 1][nj - 1])(&DotArgs {
                        rows: rows.as_ptr(),
                        nrows: 1,
                        full: p.k / lanes,
                        tail: p.k % lanes,
                        a: p.a.at(i, 0).ptr,
                        a_rs: p.a.rs as usize,
                        b: cols.as_ptr(),
                        out: out.as_mut_ptr(),
                    });
                    for x in 0..ni {
                        for y in 0..nj {
                            put(p, i + x, j + y, out[x * nj + y]);
                        }
                    }
                }
                i += 4;
            }
            j += 3;
        }
    };
    if p.n >= p.m {
        for_range(p.n, grain(p.n, p.m * p.k, 3), |r| block(0, p.m, r.start, r.end));
    } else {
        for_range(p.m, grain(p.m, p.n * p.k, 4), |r| block(r.start, r.end, 0, p.n));
    }
}

/// One row times a matrix whose rows are contiguous: rows are scaled and added, straight through memory.
///
/// # Safety
/// As [`super::blocked::serial`]; `p.m == 1 && p.b.cs == 1`.
pub unsafe fn row<T: Gemm>(p: &Problem<T>) {
    const W: usize = 256;
    let p = &p;
    for_range(p.n, grain(p.n, p.k, W), |r| {
        let mut j = r.start;
        while j < r.end {
            let w = W.min(r.end - j);
            let mut acc = [T::ZERO; W];
            dispatch(
                #[inline(always)]
                || {
                    let acc = &mut acc[..w];
                    let mut k = 0;
                    // SAFETY: rows of `b` have `w` readable values from column j, `a` has `k` values.
                    let at = |k: usize| unsafe { std::slice::from_raw_parts(p.b.at(k, j).ptr, w) };
                    // SAFETY: as above.
                    let x = |k: usize| unsafe { *p.a.at(0, k).ptr };
                    while k + 4 <= p.k {
                        let (b0, b1, b2, b3) = (at(k), at(k + 1), at(k + 2), at(k + 3));
                        let (x0, x1, x2, x3) = (x(k), x(k + 1), x(k + 2), x(k + 3));
                        for t in 0..w {
                            let v = x1.mul_add(b1[t], x0.mul_add(b0[t], acc[t]));
                            acc[t] = x3.mul_add(b3[t], x2.mul_add(b2[t], v));
                        }
                        k += 4;
                    }
                    while k < p.k {
                        let (b0, x0) = (at(k), x(k));
                        for t in 0..w {
                            acc[t] = x0.mul_add(b0[t], acc[t]);
                        }
                        k += 1;
                    }
                },
            );
            for t in 0..w {
                // SAFETY: column j + t of the one row.
                unsafe { put(p, 0, j + t, acc[t]) };
            }
            j += W;
        }
    });
}
