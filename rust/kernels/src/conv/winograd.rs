//! 3×3 convolutions in steps of one by Winograd's F(2×2, 3×3): four outputs of a channel for 16 multiplications instead of
//! 36.
//!
//! A tile of 4×4 inputs (neighbours overlap by two) and the kernel are each brought to 16 points, where the convolution is
//! a product per point: of the kernels, `[cout, cin]`, with the tiles, `[cin, tiles]`. Four outputs come back from the 16
//! sums. A chunk transforms the tiles of all its channels into panels that stay in L2, and takes the sums of a few output
//! channels back to outputs at once, so that neither goes through memory.
//!
//! All transforms are sums with factors of one (the kernel's: of a half), so that only the order of additions is another
//! one. But what is large in a tile leaves its rounding error to all four outputs, also those that do not see it, and what
//! is infinite would come out NaN. So where a value is that large the pass is done the direct way.

mod kernels;
mod tiles;

use super::direct::{self, Pass, WORK};
use super::pixels;
use super::window::AxisRun;
use crate::gemm::blocked::{Gemm, PACK};
use crate::gemm::pack::panel_start;
use crate::packs::{self, Order};
use crate::parallel::{SendPtr, for_range};
use crate::room;
use crate::scratch;
use kernels::weights;
use rustnn_base::dtype::Real;
use rustnn_base::{Error, Result};
use rustnn_simd::Isa;
use rustnn_simd::arch::Micro;
use std::sync::atomic::{AtomicBool, Ordering};
use tiles::Tiles;

/// Points of a tile.
const POINTS: usize = 16;
/// Taps of the kernel.
const TAPS: usize = 9;
/// Most channels in a block of the sum, the same for every instruction set because it decides the order of the sum.
const KC: usize = 128;
/// Bytes of a chunk's transformed tiles, at most: half of L2.
const TILES: usize = 256 << 10;
/// Panels of output channels that use a panel of tiles while it is in L1.
const SIDE: usize = 2;
/// Values that are moved at a time, and that may be written behind a run's end where later ones overwrite them.
const RUN: usize = 8;
/// Fewest output channels of a chunk: each transforms its tiles anew.
const CHANNELS: usize = 32;
/// Chunks that a small image is cut into.
const FEW: usize = 4;

/// What bringing a tile to its points, or back, costs in multiplications per channel.
const TILE: f64 = 10.0;
/// What transforming a kernel costs in multiplications, what packing it for the direct way does, and the way for small images
/// beyond its products; and how much more of the first two it is for so many kernels that they do not stay in the cache.
const KERNEL: f64 = 300.0;
const PACKED: f64 = 150.0;
const SMALL: f64 = 500.0;
const MANY: usize = 128 << 10;
const FAR: f64 = 2.5;
/// Lanes that the direct way fills, for the choice: the same for every instruction set.
const LANES: f64 = 8.0;

/// Whether a pass can go this way: three neighbouring taps per axis, in either order, and no steps.
pub fn fits<T>(p: &Pass<T>) -> bool {
    let line = |a: &AxisRun| {
        a.step == 1 && a.taps.len() == 3 && {
            let step = a.taps[1].1 - a.taps[0].1;
            step.abs() == 1 && a.taps[2].1 - a.taps[1].1 == step
        }
    };
    let flat = &p.axes[0];
    flat.n == 1
        && flat.step == 1
        && flat.taps == [(0, 0)]
        && p.source[0] == 1
        && p.target[0] == 1
        && p.weights.kernel == [1, 3, 3]
        && line(&p.axes[1])
        && line(&p.axes[2])
        && p.cin > 0
        && p.cout > 0
}

/// Whether this is the better way for a pass, by its shape alone: multiplications per kernel, with what transforms cost,
/// both as measured.
pub fn suits<T>(p: &Pass<T>) -> bool {
    if !fits(p) || p.cin < 16 || p.cout < 16 {
        return false;
    }
    let [_, h, w] = [p.axes[0].n, p.axes[1].n, p.axes[2].n].map(|n| n as f64);
    let (cin, cout, batch) = (p.cin as f64, p.cout as f64, p.batch as f64);
    let tiles = batch * (h / 2.0).ceil() * (w / 2.0).ceil();
    let far = if p.cin * p.cout > MANY { FAR } else { 1.0 };
    let here = 16.0 * tiles * (1.0 + TILE / cin + TILE / cout) + KERNEL * far;
    // The direct way computes whole vectors of a row; the one for small images, all of them.
    let other = if pixels::suits(p) {
        9.0 * batch * h * w + SMALL
    } else {
        9.0 * batch * h * (w / LANES).ceil() * LANES + PACKED * far
    };
    here < other
}

/// How a pass is cut.
struct Plan {
    /// Rows and columns of tiles of an image, tiles of all images.
    rows: usize,
    cols: usize,
    tiles: usize,
    /// Blocks of so many tiles at most.
    blocks: usize,
    size: usize,
    /// Channels in a block of the sum.
    kc: usize,
    /// Panels of output channels.
    panels: usize,
    /// Place of the first tile's first value, per axis.
    low: [isize; 2],
    /// Place in the kernel of the tap at offset `3 * y + x`.
    taps: [usize; TAPS],
}

impl Plan {
    fn new<T>(p: &Pass<T>, micro: &Micro<T>) -> Self {
        let sorted = |a: &AxisRun| {
            let mut taps = [a.taps[0], a.taps[1], a.taps[2]];
            taps.sort_by_key(|t| t.1);
            taps
        };
        let (y, x) = (sorted(&p.axes[1]), sorted(&p.axes[2]));
        let (rows, cols) = (p.axes[1].n.div_ceil(2), p.axes[2].n.div_ceil(2));
        let (tiles, kc) = (p.batch * rows * cols, p.cin.div_ceil(p.cin.div_ceil(KC)));
        let vectors = tiles.div_ceil(micro.lanes);
        let most = 2 * (TILES / (POINTS * kc * micro.nr() * size_of::<T>())).max(1);
        // Of a small image, whole panels for each of a few chunks, unless there are output channels to cut instead.
        let work = tiles.saturating_mul(POINTS * p.cin).saturating_mul(p.cout);
        let chunks = if p.cout < 2 * CHANNELS { (2 * work / WORK).clamp(1, FEW) } else { 1 };
        let most = most.min(vectors.div_ceil(chunks).max(1).next_multiple_of(micro.nr() / micro.lanes));
        let size = vectors.div_ceil(vectors.div_ceil(most).max(1)) * micro.lanes;
        Plan {
            rows,
            cols,
            tiles,
            blocks: tiles.div_ceil(size.max(1)),
            size,
            kc,
            panels: p.cout.div_ceil(micro.mr()),
            low: [y[0].1, x[0].1],
            taps: std::array::from_fn(|i| y[i / 3].0 * 3 + x[i % 3].0),
        }
    }
}

/// Values from here on are too large for this way. In f32 it is 2⁴⁶: points are below 2⁴⁸, their products summed over a
/// million channels below 2¹¹⁵, so that what is below gives no infinities.
fn limit<T: Real>() -> T {
    T::ONE / (T::EPS * T::EPS)
}

/// Runs a pass.
///
/// # Safety
/// As [`direct::run`]; [`fits`].
pub unsafe fn run<T: Gemm>(p: &Pass<T>, isa: Isa) -> Result<()> {
    let micro = T::micro(isa);
    let plan = Plan::new(p, micro);
    if plan.tiles == 0 || p.groups == 0 {
        return Ok(());
    }
    let len = p.groups * p.cout * p.cin * POINTS;
    // The first value is NaN if a weight is too large: none is otherwise.
    let key = p.weights.key(Order::Winograd, &plan.taps, [p.groups, p.cout, p.cin], [plan.kc, micro.mr()]);
    let transform = |u: *mut T| {
        // SAFETY: room for `len` values.
        unsafe {
            if weights(p, &plan, micro, u) {
                *u = T::ZERO / T::ZERO;
            }
        }
    };
    let done = packs::with(p.weights.keep, key, len, transform, |u: *const T| {
        // SAFETY: `len` values, all written.
        unsafe { if *u == *u { images(p, &plan, micro, u) } else { Ok(false) } }
    })??;
    // SAFETY: passed on.
    if done { Ok(()) } else { unsafe { direct::run(p, isa) } }
}

/// The pass with kernels as [`weights`] leaves them. False if a value was too large.
///
/// # Safety
/// As [`run`].
unsafe fn images<T: Gemm>(p: &Pass<T>, plan: &Plan, micro: &Micro<T>, u: *const T) -> Result<bool> {
    let (large, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let (blocks, group) = (p.groups * plan.blocks, p.cout * p.cin * POINTS);
    // Few tiles: output channels are cut, too, and the tiles transformed before, for all cuts.
    let cuts = (16 / blocks).min(p.cout / CHANNELS).max(1);
    let u = SendPtr(u.cast_mut());
    let kernels = |g: usize| u.get().wrapping_add(g * group).cast_const();
    let note = |done: Result<bool>| match done {
        Ok(true) => {}
        Ok(false) => large.store(true, Ordering::Relaxed),
        Err(_) => failed.store(true, Ordering::Relaxed),
    };
    let stop = || large.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed);
    let products = plan.size.saturating_mul(POINTS * p.cin).saturating_mul(p.cout / cuts);
    let grain = (WORK / products.max(1)).max(1);
    if cuts == 1 {
        for_range(blocks, grain, |range| {
            for i in range {
                if stop() {
                    return;
                }
                let tiles = Tiles::new(p, plan, micro, i);
                note(
                    scratch::with(tiles.values(micro, plan.kc), |v: *mut T| {
                        for k0 in (0..p.cin).step_by(plan.kc) {
                            // SAFETY: channels that exist, room for their tiles; outputs of this chunk.
                            unsafe {
                                let all = 0..plan.kc.min(p.cin - k0);
                                if !tiles.fill(p, micro, plan.kc, k0, all, v)? {
                                    return Ok(false);
                                }
                                tiles.multiply(p, plan, micro, k0, v, kernels(tiles.group), 0..plan.panels)?;
                            }
                        }
                        Ok(true)
                    })
                    .and_then(|done| done),
                );
            }
        });
    } else {
        let steps = p.cin.div_ceil(plan.kc);
        let tiles: Vec<Tiles> = room::collected((0..blocks).map(|i| Tiles::new(p, plan, micro, i)))?;
        let each = tiles[0].values(micro, plan.kc);
        scratch::with(blocks * steps * each, |v: *mut T| {
            let v = SendPtr(v);
            let place = |i: usize, k0: usize| v.get().wrapping_add((i * steps + k0 / plan.kc) * each);
            let cost = plan.size.saturating_mul(POINTS * plan.kc);
            let parts = if blocks * steps < FEW { (2 * cost / PACK).clamp(1, FEW) } else { 1 };
            for_range(blocks * steps * parts, (PACK / 2 / (cost / parts).max(1)).max(1), |range| {
                for i in range {
                    let (part, i, k0) = (i % parts, i / parts / steps, i / parts % steps * plan.kc);
                    let kc = plan.kc.min(p.cin - k0);
                    let ks = panel_start(part, parts, kc)..panel_start(part + 1, parts, kc);
                    // SAFETY: channels that exist; a place of their own.
                    note(unsafe { tiles[i].fill(p, micro, plan.kc, k0, ks, place(i, k0)) });
                }
            });
            for_range(blocks * cuts, grain, |range| {
                for i in range {
                    if stop() {
                        return;
                    }
                    let (cut, i) = (i % cuts, i / cuts);
                    let panels = panel_start(cut, cuts, plan.panels)..panel_start(cut + 1, cuts, plan.panels);
                    for k0 in (0..p.cin).step_by(plan.kc) {
                        let (v, u) = (place(i, k0).cast_const(), kernels(tiles[i].group));
                        // SAFETY: tiles that were written; outputs of this chunk.
                        note(unsafe { tiles[i].multiply(p, plan, micro, k0, v, u, panels.clone()) }.map(|()| true));
                    }
                }
            });
        })?;
    }
    if failed.load(Ordering::Relaxed) {
        return Err(Error::out_of_memory(TILES as u64));
    }
    Ok(!large.load(Ordering::Relaxed))
}

/// Values side by side: arrays become vector registers where loops over pointers would not be made vectors of.
#[derive(Clone, Copy)]
struct Lanes<T, const N: usize>([T; N]);

impl<T: Real, const N: usize> Lanes<T, N> {
    /// # Safety
    /// `N` readable values.
    #[inline(always)]
    unsafe fn load(p: *const T) -> Self {
        // SAFETY: by this function's contract.
        Lanes(unsafe { p.cast::<[T; N]>().read_unaligned() })
    }
    /// # Safety
    /// Room for `N` values.
    #[inline(always)]
    unsafe fn store(self, p: *mut T) {
        // SAFETY: by this function's contract.
        unsafe { p.cast::<[T; N]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    fn times(self, f: T) -> Self {
        Lanes(self.0.map(
            #[inline(always)]
            |v| v * f,
        ))
    }
}

impl<T: Real, const N: usize> std::ops::Add for Lanes<T, N> {
    type Output = Self;
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Lanes(std::array::from_fn(
            #[inline(always)]
            |i| self.0[i] + o.0[i],
        ))
    }
}

impl<T: Real, const N: usize> std::ops::Sub for Lanes<T, N> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Lanes(std::array::from_fn(
            #[inline(always)]
            |i| self.0[i] - o.0[i],
        ))
    }
}
