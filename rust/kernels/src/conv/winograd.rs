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

use super::direct::{self, Pass, WORK};
use super::pixels;
use super::window::AxisRun;
use crate::gemm::blocked::{Gemm, PACK};
use crate::gemm::pack::panel_start;
use crate::parallel::{SendPtr, for_range};
use crate::room::{self, or_stop};
use crate::scratch;
use rustnn_base::dtype::Real;
use rustnn_base::{Error, Result};
use rustnn_simd::arch::{Add, GemmArgs, Micro, TilesArgs, fetch};
use rustnn_simd::{Isa, dispatch};
use std::sync::atomic::{AtomicBool, Ordering};

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
        a.step == 1 && a.dst_step == 1 && a.dst_start == 0 && a.taps.len() == 3 && {
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

/// Values from here on are too large for this way: two of them, transformed and multiplied, summed over any number of
/// channels, are still finite, so that what is below gives no infinities.
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
    let done = scratch::with(len, |u: *mut T| {
        // SAFETY: room for `len` values.
        unsafe {
            if weights(p, &plan, micro, u) {
                *u = T::ZERO / T::ZERO;
            }
        };
        // SAFETY: as above, all written.
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
                                if !tiles.fill(p, micro, plan.kc, k0, v)? {
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
            for_range(blocks * steps, (PACK / cost.max(1)).max(1), |range| {
                for i in range {
                    let (i, k0) = (i / steps, i % steps * plan.kc);
                    // SAFETY: channels that exist; a place of their own.
                    note(unsafe { tiles[i].fill(p, micro, plan.kc, k0, place(i, k0)) });
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

/// Brings all kernels to their points: per group, block of `kc` channels and panel of output channels
/// `[point][channel][row]`. Returns whether one was too large.
///
/// # Safety
/// `u` has room for 16 values per kernel.
unsafe fn weights<T: Gemm>(p: &Pass<T>, plan: &Plan, micro: &Micro<T>, u: *mut T) -> bool {
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

/// A row of the source and its place in the padded copy.
struct Line {
    from: usize,
    to: usize,
    len: usize,
}

/// Tiles side by side in one row of an image and in one panel.
struct Run {
    panel: usize,
    lane: usize,
    count: usize,
    /// Place of the first tile's first row among the transformed rows, and from there to the next row.
    at: usize,
    pitch: usize,
    /// Place of the first output in the target, for the group's first channel; columns and rows of outputs.
    to: usize,
    len: usize,
    high: usize,
}

/// A block of tiles: what it reads and where its tiles stand.
struct Tiles {
    group: usize,
    count: usize,
    lines: Vec<Line>,
    runs: Vec<Run>,
    /// Pairs of columns over all rows that are read.
    positions: usize,
}

impl Tiles {
    /// Block `i`: bands of whole rows of tiles, and parts of a row at the ends.
    fn new<T>(p: &Pass<T>, plan: &Plan, micro: &Micro<T>, i: usize) -> Self {
        let [_, height, width] = p.source;
        let [_, high, wide] = p.target;
        let (group, first, nr) = (i / plan.blocks, i % plan.blocks * plan.size, micro.nr());
        let end = (first + plan.size).min(plan.tiles);
        let (mut lines, mut runs) = (Vec::new(), Vec::new());
        let (mut t, mut start) = (first, 0);
        while t < end {
            let (image, row, col) = (t / (plan.rows * plan.cols), t / plan.cols % plan.rows, t % plan.cols);
            let left = end - t;
            let (rows, cols) = if col > 0 || left < plan.cols {
                (1, left.min(plan.cols - col))
            } else {
                ((left / plan.cols).min(plan.rows - row), plan.cols)
            };
            let pitch = cols + 1;
            let item = image * p.groups + group;
            let x = plan.low[1] + 2 * col as isize;
            let (a, b) = (x.clamp(0, width as isize), (x + 2 * pitch as isize).clamp(0, width as isize));
            for i in 0..2 * rows + 2 {
                let y = plan.low[0] + (2 * row + i) as isize;
                if y >= 0 && y < height as isize && a < b {
                    let from = (item * p.cin * height + y as usize) * width + a as usize;
                    let to = 2 * (start + i * pitch) + (a - x) as usize;
                    or_stop(room::push(&mut lines, Line { from, to, len: (b - a) as usize }));
                }
            }
            for i in 0..rows {
                let mut j = 0;
                while j < cols {
                    let lane = t - first;
                    let count = (cols - j).min(nr - lane % nr);
                    let [y, x] = [2 * (row + i), 2 * (col + j)];
                    let run = Run {
                        panel: lane / nr,
                        lane: lane % nr,
                        count,
                        at: start + 2 * i * pitch + j,
                        pitch,
                        to: (item * p.cout * high + y) * wide + x,
                        len: (2 * count).min(wide - x),
                        high: 2.min(high - y),
                    };
                    or_stop(room::push(&mut runs, run));
                    j += count;
                    t += count;
                }
            }
            start += (2 * rows + 2) * pitch;
        }
        Tiles { group, count: end - first, lines, runs, positions: start }
    }

    /// Values of a panel's point, with room for what is written behind its end.
    fn point<T>(micro: &Micro<T>, kc: usize) -> usize {
        kc * micro.nr() + micro.nr().max(RUN)
    }

    /// Values of `kc` channels' transformed tiles: panels of `[point][channel][tile]`.
    fn values<T>(&self, micro: &Micro<T>, kc: usize) -> usize {
        self.count.div_ceil(micro.nr()) * POINTS * Self::point(micro, kc)
    }

    /// Tiles that a panel has room for: whole vectors.
    fn width<T>(&self, micro: &Micro<T>, panel: usize) -> usize {
        (self.count - panel * micro.nr()).min(micro.nr()).next_multiple_of(micro.lanes)
    }

    /// Transforms the tiles of `kc` channels from `k0` on. False if a value was too large.
    ///
    /// # Safety
    /// As [`run`]; `v` has room for `self.values(micro, kc)`.
    unsafe fn fill<T: Gemm>(&self, p: &Pass<T>, micro: &Micro<T>, kc: usize, k0: usize, v: *mut T) -> Result<bool> {
        let in_plane: usize = p.source.iter().product();
        let point = Self::point(micro, kc);
        // Vectors are read behind the last line.
        let n = self.positions + 2 * RUN;
        let len = 2 * n + 2;
        let last = self.count.div_ceil(micro.nr()) - 1;
        let width = self.width(micro, last);
        scratch::with(len + 4 * n, |x: *mut T| {
            let r = x.wrapping_add(len);
            // SAFETY: places of the blocks; borders stay zero, and so do lanes without a tile.
            unsafe {
                std::slice::from_raw_parts_mut(x, len).fill(T::ZERO);
                if self.count % micro.lanes != 0 {
                    std::slice::from_raw_parts_mut(v.add(last * POINTS * point), POINTS * point).fill(T::ZERO);
                }
            }
            for k in 0..kc.min(p.cin - k0) {
                // SAFETY: lines of the source's planes; runs of their panels.
                unsafe {
                    let src = p.src.add((k0 + k) * in_plane);
                    let large = dispatch(
                        #[inline(always)]
                        || {
                            for line in &self.lines {
                                copied(src.add(line.from), x.add(line.to), line.len);
                            }
                            along(x, n, r)
                        },
                    );
                    if large {
                        return false;
                    }
                    for run in &self.runs {
                        let width = if run.panel == last { width } else { micro.nr() };
                        (micro.tiles)(&TilesArgs {
                            rows: r.add(run.at),
                            apart: n,
                            pitch: run.pitch,
                            count: run.count,
                            to: v.add(run.panel * POINTS * point + k * width + run.lane),
                            point,
                        });
                    }
                }
            }
            true
        })
    }

    /// Multiplies the tiles with the kernels of a block of channels from `k0` on, for the output channels of `panels`, and
    /// writes the outputs, or adds them to those of earlier channels.
    ///
    /// # Safety
    /// As [`run`]; `v` is as [`Tiles::fill`] and `u` as [`weights`] left it; the outputs are nobody else's.
    unsafe fn multiply<T: Gemm>(
        &self,
        p: &Pass<T>,
        plan: &Plan,
        micro: &Micro<T>,
        k0: usize,
        v: *const T,
        u: *const T,
        panels: std::ops::Range<usize>,
    ) -> Result<()> {
        let (nr, tile) = (micro.nr(), micro.mr() * micro.nr().next_multiple_of(RUN));
        let (point, kc) = (Self::point(micro, plan.kc), plan.kc.min(p.cin - k0));
        let rows = |q: usize| panel_start(q, plan.panels, p.cout)..panel_start(q + 1, plan.panels, p.cout);
        scratch::with((SIDE * POINTS + 4) * tile, |m: *mut T| {
            let y = m.wrapping_add(SIDE * POINTS * tile);
            for q0 in panels.clone().step_by(SIDE) {
                let side = q0..(q0 + SIDE).min(panels.end);
                let mut left = &self.runs[..];
                for panel in 0..self.count.div_ceil(nr) {
                    let width = self.width(micro, panel);
                    let (runs, others) = left.split_at(left.iter().take_while(|r| r.panel == panel).count());
                    left = others;
                    for i in 0..POINTS {
                        for q in side.clone() {
                            let rows = rows(q);
                            let args = GemmArgs {
                                k: kc,
                                a: u.wrapping_add(POINTS * (k0 * p.cout + rows.start * kc) + i * kc * rows.len()),
                                a_rs: 0,
                                a_ks: 0,
                                b: v.wrapping_add((panel * POINTS + i) * point),
                                b_ks: 0,
                                c: m.wrapping_add(((q - q0) * POINTS + i) * tile),
                                ldc: width,
                                alpha: T::ONE,
                                add: Add::Nothing,
                                bias: std::ptr::null(),
                                last: micro.lanes,
                            };
                            // SAFETY: panels of both operands, and room for the tile.
                            unsafe { micro.gemm[rows.len() - 1][width / micro.lanes - 1](&args) };
                        }
                    }
                    for q in side.clone() {
                        let rows = rows(q);
                        // SAFETY: the sums just made; outputs of this chunk.
                        unsafe {
                            (micro.outputs)(m.add((q - q0) * POINTS * tile), tile, rows.len() * width, y);
                            dispatch(
                                #[inline(always)]
                                || {
                                    for run in runs {
                                        run.put(p, self.group, rows.clone(), y, width, tile, k0 == 0);
                                    }
                                },
                            );
                        }
                    }
                }
            }
        })
    }
}

impl Run {
    /// Writes the outputs of channels `rows` to their planes: with the bias at first, onto what is there later.
    ///
    /// # Safety
    /// `y` holds upper outputs, `width` tiles per channel, and `2 * tile` on lower ones; the pass's target takes them.
    #[inline(always)]
    unsafe fn put<T: Gemm>(
        &self,
        p: &Pass<T>,
        g: usize,
        rows: std::ops::Range<usize>,
        y: *const T,
        width: usize,
        tile: usize,
        first: bool,
    ) {
        let [_, h, w] = p.target;
        for (i, row) in rows.enumerate() {
            for half in 0..self.high {
                // SAFETY: by this function's contract.
                unsafe {
                    let to = p.dst.add(self.to + row * h * w + half * w);
                    let from = y.add(2 * (half * tile + i * width + self.lane));
                    if first {
                        let bias = if p.bias.is_null() { T::ZERO } else { *p.bias.add(g * p.cout + row) };
                        moved(
                            from,
                            to,
                            self.len,
                            #[inline(always)]
                            |v, _| v + bias,
                        );
                    } else {
                        moved(
                            from,
                            to,
                            self.len,
                            #[inline(always)]
                            |v, c| c + v,
                        );
                    }
                }
            }
        }
    }
}

/// The transform along rows, of `n` pairs of columns: `r[v * n + i]`. Returns whether a value was large.
///
/// # Safety
/// `x` shows `2 * n + 2` values, `r` has room for `4 * n`.
#[inline(always)]
unsafe fn along<T: Real>(x: *const T, n: usize, r: *mut T) -> bool {
    let limit = limit::<T>();
    // SAFETY: by this function's contract.
    let (x, r) = unsafe { (std::slice::from_raw_parts(x, 2 * n + 2), std::slice::from_raw_parts_mut(r, 4 * n)) };
    let (r0, r) = r.split_at_mut(n);
    let (r1, r) = r.split_at_mut(n);
    let (r2, r3) = r.split_at_mut(n);
    let mut large = false;
    for i in 0..n {
        let (a, b, c, d) = (x[2 * i], x[2 * i + 1], x[2 * i + 2], x[2 * i + 3]);
        large |= !(a.abs() < limit) | !(b.abs() < limit);
        r0[i] = a - c;
        r1[i] = b + c;
        r2[i] = c - b;
        r3[i] = b - d;
    }
    large
}

/// `to[i] = f(from[i], to[i])`.
///
/// # Safety
/// Both have `len` values.
#[inline(always)]
unsafe fn moved<T: Real>(from: *const T, to: *mut T, len: usize, f: impl Fn(T, T) -> T) {
    let mut i = 0;
    // SAFETY: by this function's contract.
    unsafe {
        while i + RUN <= len {
            some::<T, RUN>(from.add(i), to.add(i), &f);
            i += RUN;
        }
        if i + RUN / 2 <= len {
            some::<T, { RUN / 2 }>(from.add(i), to.add(i), &f);
            i += RUN / 2;
        }
        while i < len {
            some::<T, 1>(from.add(i), to.add(i), &f);
            i += 1;
        }
    }
}

/// `N` values of [`moved`].
///
/// # Safety
/// Both have `N` values.
#[inline(always)]
unsafe fn some<T: Real, const N: usize>(from: *const T, to: *mut T, f: &impl Fn(T, T) -> T) {
    // SAFETY: by this function's contract.
    unsafe {
        let (v, mut c) = (Lanes::<T, N>::load(from), Lanes::<T, N>::load(to));
        for l in 0..N {
            c.0[l] = f(v.0[l], c.0[l]);
        }
        c.store(to);
    }
}

/// Copies a line: shorter ones than a library's function is made for.
///
/// # Safety
/// Both have `len` values and are apart.
#[inline(always)]
unsafe fn copied<T: Real>(from: *const T, to: *mut T, len: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        if len < RUN {
            for i in 0..len {
                *to.add(i) = *from.add(i);
            }
            return;
        }
        for i in 0..len / RUN {
            Lanes::<T, RUN>::load(from.add(i * RUN)).store(to.add(i * RUN));
        }
        Lanes::<T, RUN>::load(from.add(len - RUN)).store(to.add(len - RUN));
    }
}
