//! Kernels at their points, in panels as the tile kernels of products read them.

use super::{Lanes, POINTS, Plan, RUN, TAPS, limit};
use crate::conv::direct::Pass;
use crate::gemm::blocked::{Gemm, PACK};
use crate::gemm::pack::panel_start;
use crate::parallel::{SendPtr, for_range};
use crate::room::or_stop;
use crate::scratch;
use rustnn_base::dtype::Real;
use rustnn_simd::arch::{Micro, fetch};
use rustnn_simd::dispatch;
use std::sync::atomic::{AtomicBool, Ordering};

/// Brings all kernels to their points: per group, block of `kc` channels and panel of output channels
/// `[point][channel][row]`. Returns whether one was too large.
///
/// # Safety
/// `u` has room for 16 values per kernel.
pub(super) unsafe fn weights<T: Gemm>(p: &Pass<T>, plan: &Plan, micro: &Micro<T>, u: *mut T) -> bool {
    let (cin, cout, panels, kc) = (p.cin, p.cout, plan.panels, plan.kc);
    let blocks = cin.div_ceil(kc);
    let (u, w, turn, taps) = (SendPtr(u), &p.weights, micro.turn, &plan.taps);
    let large = AtomicBool::new(false);
    let grain = (PACK / (kc * micro.mr() * POINTS)).max(1);
    for_range(p.groups * blocks * panels, grain, |range| {
        let room = TAPS * (kc * micro.mr() + RUN);
        let done = or_stop(scratch::with(room, |aside: *mut T| {
            let mut seen = false;
            for i in range {
                let (q, b, g) = (i % panels, i / panels % blocks, i / panels / blocks);
                let (m0, m1) = (panel_start(q, panels, cout), panel_start(q + 1, panels, cout));
                let (k0, rows) = (b * kc, m1 - m0);
                let kc = kc.min(cin - k0);
                let pitch = kc * rows + RUN;
                let base = w.values.as_ptr().wrapping_add(g * w.group + m0 * w.out + k0 * w.input);
                // SAFETY: kernels that exist, room for them tap by tap, and each panel's own place among the results.
                unsafe {
                    for k in 0..kc {
                        let from = base.wrapping_add(k * w.input);
                        for r in (0..rows).step_by(8) {
                            let (from, to) = (from.wrapping_add(r * w.out), aside.add(k * rows + r));
                            // A later channel's: in one of the directions it is far away.
                            fetch(from.wrapping_add(4 * w.input));
                            if m0 + r + 8 <= cout {
                                // Rows beyond the panel's are overwritten by the next channel.
                                turn(from, w.out as isize, 8, to, pitch);
                                for i in 0..8.min(rows - r) {
                                    *to.add(8 * pitch + i) = *from.add(i * w.out + 8);
                                }
                            } else {
                                for i in 0..8.min(rows - r) {
                                    for t in 0..TAPS {
                                        *to.add(t * pitch + i) = *from.add(i * w.out + t);
                                    }
                                }
                            }
                        }
                    }
                    let to = u.get().add(POINTS * (g * cin * cout + k0 * cout + m0 * kc));
                    seen |= dispatch(
                        #[inline(always)]
                        || kernels(aside, pitch, taps, kc * rows, to),
                    );
                }
            }
            seen
        }));
        if done {
            large.store(true, Ordering::Relaxed);
        }
    });
    large.load(Ordering::Relaxed)
}

/// Transforms `n` kernels whose tap `t` lies at `from[t * pitch ..]`, to `to[point * n ..]`. Returns whether one was large.
///
/// # Safety
/// Source and destination reach that far and are apart.
#[inline(always)]
unsafe fn kernels<T: Real>(from: *const T, pitch: usize, taps: &[usize; TAPS], n: usize, to: *mut T) -> bool {
    let limit = limit::<T>();
    let mut large = false;
    // SAFETY: by this function's contract.
    unsafe {
        for t in 0..TAPS {
            for v in std::slice::from_raw_parts(from.add(t * pitch), n) {
                large |= !(v.abs() < limit);
            }
        }
        let at = taps.map(|t| from.add(t * pitch));
        for i in (0..n / RUN).map(|i| i * RUN) {
            some_kernels::<T, RUN>(at, i, n, to);
        }
        for i in n / RUN * RUN..n {
            some_kernels::<T, 1>(at, i, n, to);
        }
    }
    large
}

/// Transforms kernels `i..i + N` of `n`.
///
/// # Safety
/// As [`kernels`].
#[inline(always)]
unsafe fn some_kernels<T: Real, const N: usize>(at: [*const T; TAPS], i: usize, n: usize, to: *mut T) {
    let half = T::ONE / (T::ONE + T::ONE);
    // SAFETY: by this function's contract.
    unsafe {
        let g = |t: usize| Lanes::<T, N>::load(at[t].add(i));
        // Down the columns, then along the rows.
        let mut points = [[g(0); 3]; 4];
        for c in 0..3 {
            let (s, d) = ((g(c) + g(6 + c)).times(half), g(3 + c).times(half));
            points[0][c] = g(c);
            points[1][c] = s + d;
            points[2][c] = s - d;
            points[3][c] = g(6 + c);
        }
        for y in 0..4 {
            let [a, b, c] = points[y];
            let (s, d) = ((a + c).times(half), b.times(half));
            let to = to.add(4 * y * n + i);
            a.store(to);
            (s + d).store(to.add(n));
            (s - d).store(to.add(2 * n));
            c.store(to.add(3 * n));
        }
    }
}
