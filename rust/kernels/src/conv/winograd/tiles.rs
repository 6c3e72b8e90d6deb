//! Blocks of tiles: to their points, through the products, and back to outputs.

use super::{Lanes, POINTS, Plan, RUN, SIDE, limit};
use crate::conv::direct::Pass;
use crate::gemm::blocked::Gemm;
use crate::gemm::pack::panel_start;
use crate::room::{self, or_stop};
use crate::scratch;
use rustnn_base::Result;
use rustnn_base::dtype::Real;
use rustnn_simd::arch::{Add, GemmArgs, Micro, TilesArgs};
use rustnn_simd::dispatch;
use std::ops::Range;

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
pub(super) struct Tiles {
    pub(super) group: usize,
    count: usize,
    lines: Vec<Line>,
    runs: Vec<Run>,
    /// Outputs that follow one another in a plane: of the group's first channel, from its first place on.
    spans: Vec<(usize, Range<usize>)>,
    /// Pairs of columns over all rows that are read.
    positions: usize,
}

impl Tiles {
    /// Block `i`: bands of whole rows of tiles, and parts of a row at the ends.
    pub(super) fn new<T>(p: &Pass<T>, plan: &Plan, micro: &Micro<T>, i: usize) -> Self {
        let [_, height, width] = p.source;
        let [_, high, wide] = p.target;
        let (group, first, nr) = (i / plan.blocks, i % plan.blocks * plan.size, micro.nr());
        let end = (first + plan.size).min(plan.tiles);
        let (mut lines, mut runs, mut spans) = (Vec::new(), Vec::new(), Vec::new());
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
            // Whole rows follow one another; of a part of a row of tiles, each row of outputs does.
            let (top, bottom) = (2 * row, (2 * (row + rows)).min(high));
            let (left, right) = (2 * col, (2 * (col + cols)).min(wide));
            if cols == plan.cols {
                or_stop(room::push(&mut spans, (item * p.cout, top * wide..bottom * wide)));
            } else {
                for y in top..bottom {
                    or_stop(room::push(&mut spans, (item * p.cout, y * wide + left..y * wide + right)));
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
        Tiles { group, count: end - first, lines, runs, spans, positions: start }
    }

    /// Values of a panel's point, with room for what is written behind its end.
    fn point<T>(micro: &Micro<T>, kc: usize) -> usize {
        kc * micro.nr() + micro.nr().max(RUN)
    }

    /// Values of `kc` channels' transformed tiles: panels of `[point][channel][tile]`.
    pub(super) fn values<T>(&self, micro: &Micro<T>, kc: usize) -> usize {
        self.count.div_ceil(micro.nr()) * POINTS * Self::point(micro, kc)
    }

    /// Tiles that a panel has room for: whole vectors.
    fn width<T>(&self, micro: &Micro<T>, panel: usize) -> usize {
        (self.count - panel * micro.nr()).min(micro.nr()).next_multiple_of(micro.lanes)
    }

    /// Transforms the tiles of channels `ks` of a block of `kc` from `k0` on. False if a value was too large.
    ///
    /// # Safety
    /// As [`run`]; `v` has room for `self.values(micro, kc)`.
    pub(super) unsafe fn fill<T: Gemm>(
        &self,
        p: &Pass<T>,
        micro: &Micro<T>,
        kc: usize,
        k0: usize,
        ks: std::ops::Range<usize>,
        v: *mut T,
    ) -> Result<bool> {
        let in_plane: usize = p.source.iter().product();
        let point = Self::point(micro, kc);
        // Vectors are read behind the last line.
        let n = self.positions + 2 * RUN;
        let len = 2 * n + 2;
        let last = self.count.div_ceil(micro.nr()) - 1;
        let width = self.width(micro, last);
        // What is written behind a channel's tiles is the next one's, which may be another thread's: then aside first.
        let whole = ks.end == kc.min(p.cin - k0);
        let aside = micro.nr() + micro.nr().max(RUN);
        let room = if whole { 0 } else { (last + 1) * POINTS * aside };
        let end = ks.end;
        scratch::with(len + 4 * n + room, |x: *mut T| {
            let r = x.wrapping_add(len);
            let edge = r.wrapping_add(4 * n);
            // SAFETY: places of the blocks; borders stay zero, and so do lanes without a tile.
            unsafe {
                std::slice::from_raw_parts_mut(x, len).fill(T::ZERO);
                if self.count % micro.lanes != 0 {
                    for i in 0..POINTS {
                        let to = v.add((last * POINTS + i) * point + ks.start * width);
                        std::slice::from_raw_parts_mut(to, ks.len() * width).fill(T::ZERO);
                    }
                }
            }
            for k in ks {
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
                    let kept = whole || k + 1 < end;
                    let width = |panel| if panel == last { width } else { micro.nr() };
                    for run in &self.runs {
                        let (to, point) = if kept {
                            (v.add(run.panel * POINTS * point + k * width(run.panel) + run.lane), point)
                        } else {
                            (edge.add(run.panel * POINTS * aside + run.lane), aside)
                        };
                        (micro.tiles)(&TilesArgs {
                            rows: r.add(run.at),
                            apart: n,
                            pitch: run.pitch,
                            count: run.count,
                            to,
                            point,
                        });
                    }
                    for i in 0..if kept { 0 } else { (last + 1) * POINTS } {
                        let width = width(i / POINTS);
                        std::ptr::copy_nonoverlapping(edge.add(i * aside), v.add(i * point + k * width), width);
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
    pub(super) unsafe fn multiply<T: Gemm>(
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
                if let (Some(told), true) = (p.told, k0 + kc == p.cin) {
                    let (top, bottom) = (rows(side.start).start, rows(side.end - 1).end);
                    for (plane, places) in &self.spans {
                        told(plane + top..plane + bottom, places.clone());
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
                    if !first {
                        moved::<T, true>(from, to, self.len, T::ZERO);
                    } else if p.bias.is_null() {
                        moved::<T, false>(from, to, self.len, T::ZERO);
                    } else {
                        moved::<T, false>(from, to, self.len, *p.bias.add(g * p.cout + row));
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

/// `to[i] = from[i] + bias`, or `to[i] += from[i]`.
///
/// # Safety
/// Both have `len` values.
#[inline(always)]
unsafe fn moved<T: Real, const ONTO: bool>(from: *const T, to: *mut T, len: usize, bias: T) {
    let mut i = 0;
    // SAFETY: by this function's contract.
    unsafe {
        while i + RUN <= len {
            some::<T, ONTO, RUN>(from.add(i), to.add(i), bias);
            i += RUN;
        }
        if i + RUN / 2 <= len {
            some::<T, ONTO, { RUN / 2 }>(from.add(i), to.add(i), bias);
            i += RUN / 2;
        }
        while i < len {
            some::<T, ONTO, 1>(from.add(i), to.add(i), bias);
            i += 1;
        }
    }
}

/// `N` values of [`moved`].
///
/// # Safety
/// Both have `N` values.
#[inline(always)]
unsafe fn some<T: Real, const ONTO: bool, const N: usize>(from: *const T, to: *mut T, bias: T) {
    // SAFETY: by this function's contract.
    unsafe {
        let added = if ONTO { Lanes::<T, N>::load(to) } else { Lanes([bias; N]) };
        (Lanes::<T, N>::load(from) + added).store(to);
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
