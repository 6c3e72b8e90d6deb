//! Packing of operands into panels that the tile kernels read straight through.

use rustnn_base::dtype::Real;
use rustnn_simd::arch::{Micro, TurnFn, fetch};
use rustnn_simd::dispatch;

/// A matrix as it lies: element `(i, j)` at `ptr + i * rs + j * cs`.
#[derive(Clone, Copy)]
pub struct View<T> {
    pub ptr: *const T,
    pub rs: isize,
    pub cs: isize,
}

// SAFETY: an address that is only read while the operands are borrowed by the call that made the view.
unsafe impl<T> Send for View<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for View<T> {}

impl<T> View<T> {
    /// The view that starts at element `(i, j)`.
    #[must_use]
    pub fn at(self, i: usize, j: usize) -> Self {
        View { ptr: self.ptr.wrapping_offset(i as isize * self.rs + j as isize * self.cs), ..self }
    }
    /// Rows and columns swapped.
    #[must_use]
    pub fn t(self) -> Self {
        View { ptr: self.ptr, rs: self.cs, cs: self.rs }
    }
}

/// First row of panel `p` when `m` rows are dealt evenly to `panels`.
#[inline(always)]
#[must_use]
pub fn panel_start(p: usize, panels: usize, m: usize) -> usize {
    p * m / panels
}

/// Copies `kc` runs of `W` neighbouring values to every `width`-th place.
///
/// # Safety
/// As [`interleave`], with `src.rs == 1`.
#[inline(always)]
unsafe fn columns<T: Real, const W: usize>(src: View<T>, kc: usize, width: usize, dst: *mut T) {
    for k in 0..kc {
        // SAFETY: by this function's contract.
        unsafe {
            let run = src.ptr.offset(k as isize * src.cs).cast::<[T; W]>().read_unaligned();
            dst.add(k * width).cast::<[T; W]>().write_unaligned(run);
        }
    }
}

/// Rows that are fetched ahead while they are dealt to panels: what lies a row apart no hardware sees coming.
const AHEAD: isize = 8;
/// Panels that rows are dealt to at a time: longer runs than one panel's, few enough to write side by side.
pub const SIDE: usize = 4;

/// Deals `kc` rows of `SIDE * W` neighbouring values to as many panels of `W` columns.
///
/// # Safety
/// `src` shows `kc x SIDE * W` readable values, rows contiguous; `dst` has room for them.
#[inline(always)]
unsafe fn deal<T: Real, const W: usize>(src: View<T>, kc: usize, dst: *mut T) {
    for k in 0..kc {
        let row = src.ptr.wrapping_offset(k as isize * src.rs);
        let next = row.wrapping_offset(AHEAD * src.rs);
        for i in (0..SIDE * W).step_by(64 / size_of::<T>()) {
            fetch(next.wrapping_add(i));
        }
        for p in 0..SIDE {
            // SAFETY: by this function's contract.
            unsafe {
                let run = row.add(p * W).cast::<[T; W]>().read_unaligned();
                dst.add(p * W * kc + k * W).cast::<[T; W]>().write_unaligned(run);
            }
        }
    }
}

/// Panels that steps of neighbouring rows are dealt to at a time: whole lines of the steps.
const BESIDE: usize = 8;

/// Deals `kc` steps of `BESIDE * MR` neighbouring rows to as many panels of `MR`, `W` values at a time: what is too much
/// the panel's next step overwrites.
///
/// # Safety
/// `src` shows `BESIDE * MR` rows and `W - MR` more, each step's contiguous; `dst` has room for them.
#[inline(always)]
unsafe fn deal_rows<T: Real, const MR: usize, const W: usize>(src: View<T>, kc: usize, dst: *mut T) {
    for k in 0..kc {
        let step = src.ptr.wrapping_offset(k as isize * src.cs);
        let next = step.wrapping_offset(AHEAD * src.cs);
        for i in (0..BESIDE * MR).step_by(64 / size_of::<T>()) {
            fetch(next.wrapping_add(i));
        }
        for p in 0..BESIDE {
            // SAFETY: by this function's contract; past the last step of a panel nothing is written.
            unsafe {
                let (from, to) = (step.add(p * MR), dst.add(p * MR * kc + k * MR));
                if k + 1 < kc {
                    to.cast::<[T; W]>().write_unaligned(from.cast::<[T; W]>().read_unaligned());
                } else {
                    to.cast::<[T; MR]>().write_unaligned(from.cast::<[T; MR]>().read_unaligned());
                }
            }
        }
    }
}

/// Copies `w x kc` values so that `dst[k * width + i] = src(i, k)`; places `w..width` of each step stay as they are. With
/// `spare`, eight rows may be read and eight places of the last step written though `w` is less.
///
/// # Safety
/// `src` shows `w x kc` readable values (`8 x kc` if `spare`); `dst` has room for `width * kc` (and the spare ones).
#[inline(always)]
pub(crate) unsafe fn interleave<T: Real>(
    turn: TurnFn<T>,
    src: View<T>,
    w: usize,
    kc: usize,
    width: usize,
    spare: bool,
    dst: *mut T,
) {
    // SAFETY: every index below is within what the caller vouches for.
    unsafe {
        if src.rs == 1 {
            // Widths of full panels as constants: a copy of unknown length is a call.
            match w {
                6 => columns::<T, 6>(src, kc, width, dst),
                8 => columns::<T, 8>(src, kc, width, dst),
                12 => columns::<T, 12>(src, kc, width, dst),
                16 => columns::<T, 16>(src, kc, width, dst),
                32 => columns::<T, 32>(src, kc, width, dst),
                _ => {
                    for k in 0..kc {
                        let s = src.ptr.offset(k as isize * src.cs);
                        std::ptr::copy_nonoverlapping(s, dst.add(k * width), w);
                    }
                }
            }
        } else if src.cs == 1 {
            // Eight rows at a time, the last eight again if the number is not a multiple; the last steps one by one.
            let steps = if w >= 8 || spare { kc & !7 } else { 0 };
            let mut i = 0;
            while i < w && steps > 0 {
                let first = i.min(w.saturating_sub(8));
                turn(src.ptr.offset(first as isize * src.rs), src.rs, steps, dst.add(first), width);
                i += 8;
            }
            for i in 0..w {
                let row = src.ptr.offset(i as isize * src.rs);
                for k in steps..kc {
                    *dst.add(k * width + i) = *row.add(k);
                }
            }
        } else {
            for k in 0..kc {
                for i in 0..w {
                    *dst.add(k * width + i) = *src.ptr.offset(i as isize * src.rs + k as isize * src.cs);
                }
            }
        }
    }
}

/// As [`interleave`]; places `w..width` of each step become zero.
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn strip<T: Real>(
    turn: TurnFn<T>,
    src: View<T>,
    w: usize,
    kc: usize,
    width: usize,
    spare: bool,
    dst: *mut T,
) {
    // SAFETY: passed on; places within `width * kc`.
    unsafe {
        if w < width {
            for k in 0..kc {
                for i in w..width {
                    *dst.add(k * width + i) = T::ZERO;
                }
            }
        }
        interleave(turn, src, w, kc, width, spare, dst);
    }
}

/// Packs `m x kc` of a left operand into `panels` panels of rows, panel `p` at `panel_start(p) * kc`.
///
/// # Safety
/// `a` shows `m x kc` readable values; `dst` has room for `m * kc`.
pub unsafe fn pack_a<T: Real>(micro: &Micro<T>, a: View<T>, m: usize, kc: usize, panels: usize, dst: *mut T) {
    dispatch(
        #[inline(always)]
        || {
            let mut p = 0;
            while a.rs == 1 && m == panels * micro.mr() && p + BESIDE < panels {
                let i0 = p * micro.mr();
                // SAFETY: `BESIDE` whole panels of rows from i0 on, after which there is another, and their places in `dst`.
                unsafe {
                    match micro.mr() {
                        6 => deal_rows::<T, 6, 8>(a.at(i0, 0), kc, dst.add(i0 * kc)),
                        12 => deal_rows::<T, 12, 16>(a.at(i0, 0), kc, dst.add(i0 * kc)),
                        _ => break,
                    }
                }
                p += BESIDE;
            }
            for p in p..panels {
                let (i0, i1) = (panel_start(p, panels, m), panel_start(p + 1, panels, m));
                // A panel of six is made of eight rows whose last two the next panel's first step overwrites.
                let spare = i0 + 8 <= m && (m - i1) * kc >= 8;
                // SAFETY: rows i0..i1 of `a`, and their place in `dst`.
                unsafe { strip(micro.turn, a.at(i0, 0), i1 - i0, kc, i1 - i0, spare, dst.add(i0 * kc)) }
            }
        },
    );
}

/// Packs `kc x n` of a right operand into panels of `nr` columns, panel `p` at `p * nr * kc`. The last is as many
/// vectors wide as it needs.
///
/// # Safety
/// `b` shows `kc x n` readable values; `dst` has room for `kc` times `n` rounded up to the lanes of a vector; the CPU has
/// `micro`'s instruction set.
pub unsafe fn pack_b<T: Real>(micro: &Micro<T>, b: View<T>, kc: usize, n: usize, dst: *mut T) {
    let (nr, lanes) = (micro.nr(), micro.lanes);
    dispatch(
        #[inline(always)]
        || {
            let mut j = 0;
            while b.cs == 1 && j + SIDE * nr <= n {
                // SAFETY: `SIDE` whole panels of columns from j on, and their places in `dst`.
                unsafe {
                    match nr {
                        8 => deal::<T, 8>(b.at(0, j), kc, dst.add(j * kc)),
                        16 => deal::<T, 16>(b.at(0, j), kc, dst.add(j * kc)),
                        32 => deal::<T, 32>(b.at(0, j), kc, dst.add(j * kc)),
                        _ => break,
                    }
                }
                j += SIDE * nr;
            }
            while j < n {
                let w = nr.min(n - j);
                // SAFETY: columns j..j+w of `b`, and their place in `dst`.
                unsafe { strip(micro.turn, b.at(0, j).t(), w, kc, w.next_multiple_of(lanes), false, dst.add(j * kc)) }
                j += nr;
            }
        },
    );
}
