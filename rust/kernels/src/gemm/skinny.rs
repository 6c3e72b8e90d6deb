//! Products too small or too thin to pack: operands are read as they lie.

use super::blocked::{Gemm, Problem};
use crate::parallel::{for_range, num_threads};
use rustnn_simd::arch::{Add, DotArgs, GemmArgs, fetch};
use rustnn_simd::{Isa, dispatch};

/// Columns in a chunk so that it has work for some 15 µs.
fn grain(len: usize, per_item: usize, unit: usize) -> usize {
    (400_000 / per_item.max(1)).max(unit).next_multiple_of(unit).min(len.max(1))
}

/// Bytes of a matrix that does not stay in L2, and in one's share of L3.
const NEAR: usize = 256 << 10;
const FAR: usize = 8 << 20;
/// Sums of some rows that stay in L1, and of few.
const WIDE: usize = 4096;
const NARROW: usize = 256;
/// Rows that are summed together, at most.
const TOGETHER: usize = 12;

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
    let plain = p.alpha == T::ONE && p.add == Add::Nothing;
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
                    if plain && nj == 3 {
                        for (x, three) in out.chunks_exact(3).take(ni).enumerate() {
                            p.c.add((i + x) * p.ldc + j).cast::<[T; 3]>().write([three[0], three[1], three[2]]);
                        }
                    } else {
                        for x in 0..ni {
                            for y in 0..nj {
                                put(p, i + x, j + y, out[x * nj + y]);
                            }
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

/// Whether a few rows are better multiplied by [`rows`] than by [`loose`], whose tiles go down a matrix column by column: of
/// a large one each line then comes from a page of its own, and no CPU looks ahead. Two rows fill no tile, either. The bits
/// are the same.
pub fn streams<T>(p: &Problem<T>) -> bool {
    let bytes = p.k.saturating_mul(p.n * size_of::<T>());
    let large = if p.m <= 2 { bytes > NEAR } else { p.m <= TOGETHER && bytes > FAR };
    p.b.cs == 1 && p.n >= NARROW && large
}

/// A few rows times a matrix whose rows are contiguous: these are scaled and added, straight through memory.
///
/// # Safety
/// As [`super::blocked::serial`]; `p.m <= 12 && p.b.cs == 1`.
pub unsafe fn rows<T: Gemm>(p: &Problem<T>) {
    // Long runs of each row of `b`, which are streams then; as long for each of two chunks a thread.
    let share = p.n.div_ceil(2 * num_threads()).next_multiple_of(NARROW);
    let width = share.max(grain(p.n, p.m * p.k, NARROW)).min(WIDE / p.m.max(1));
    // SAFETY: passed on.
    unsafe { if p.m * width <= NARROW { rows_by::<T, NARROW>(p, width) } else { rows_by::<T, WIDE>(p, width) } }
}

/// [`rows`], `width` columns at a time: at most `MOST` sums.
///
/// # Safety
/// As there.
unsafe fn rows_by<T: Gemm, const MOST: usize>(p: &Problem<T>, width: usize) {
    let p = &p;
    for_range(p.n, grain(p.n, p.m * p.k, width), |r| {
        let mut j = r.start;
        while j < r.end {
            let w = width.min(r.end - j);
            let mut acc = [T::ZERO; MOST];
            dispatch(
                #[inline(always)]
                || {
                    // SAFETY: rows of `b` have `w` readable values from column j, those of `a` `k` values.
                    let at = |k: usize| unsafe { std::slice::from_raw_parts(p.b.at(k, j).ptr, w) };
                    // SAFETY: as above.
                    let x = |i: usize, k: usize| unsafe { *p.a.at(i, k).ptr };
                    let line = 64 / size_of::<T>();
                    let lines = if p.m > 2 { 4 * w.div_ceil(line) } else { 0 };
                    let mut k = 0;
                    while k + 4 <= p.k {
                        let (b0, b1, b2, b3) = (at(k), at(k + 1), at(k + 2), at(k + 3));
                        for (i, acc) in acc.chunks_exact_mut(w).enumerate().take(p.m) {
                            // The next four rows, a part with each of C: their runs are too short to be foreseen.
                            for l in i * lines / p.m..(i + 1) * lines / p.m {
                                let next = p.b.at(k + 4 + l % 4, j).ptr;
                                fetch(next.wrapping_add(l / 4 * line));
                            }
                            let (x0, x1, x2, x3) = (x(i, k), x(i, k + 1), x(i, k + 2), x(i, k + 3));
                            for t in 0..w {
                                let v = x1.mul_add(b1[t], x0.mul_add(b0[t], acc[t]));
                                acc[t] = x3.mul_add(b3[t], x2.mul_add(b2[t], v));
                            }
                        }
                        k += 4;
                    }
                    while k < p.k {
                        let b0 = at(k);
                        for (i, acc) in acc.chunks_exact_mut(w).enumerate().take(p.m) {
                            let x0 = x(i, k);
                            for t in 0..w {
                                acc[t] = x0.mul_add(b0[t], acc[t]);
                            }
                        }
                        k += 1;
                    }
                },
            );
            for (i, acc) in acc.chunks_exact(w).enumerate().take(p.m) {
                for (t, &v) in acc.iter().enumerate() {
                    // SAFETY: a place of C.
                    unsafe { put(p, i, j + t, v) };
                }
            }
            j += w;
        }
    });
}

/// The outer product of a column and a row whose values are contiguous.
///
/// # Safety
/// As [`super::blocked::serial`]; `p.k == 1 && p.b.cs == 1`.
pub unsafe fn outer<T: Gemm>(p: &Problem<T>) {
    let p = &p;
    for_range(p.m, (65_536 / p.n.max(1)).max(1), |rows| {
        // SAFETY: the one row of `b` has `n` readable values.
        let b = unsafe { std::slice::from_raw_parts(p.b.ptr, p.n) };
        for i in rows {
            // SAFETY: a value of `a`, and its row of C.
            let (a, c) = unsafe { (*p.a.at(i, 0).ptr, std::slice::from_raw_parts_mut(p.c.add(i * p.ldc), p.n)) };
            dispatch(
                #[inline(always)]
                || {
                    if p.alpha == T::ONE && p.add == Add::Nothing {
                        for (c, b) in c.iter_mut().zip(b) {
                            *c = a.mul_add(*b, T::ZERO);
                        }
                        return;
                    }
                    for j in 0..p.n {
                        // SAFETY: as above.
                        unsafe { put(p, i, j, a.mul_add(b[j], T::ZERO)) };
                    }
                },
            );
        }
    });
}
