//! The padded copy of an input block: what lets every tap of a convolution be a whole-vector load at a fixed offset.
//!
//! A chunk copies the rows it needs, borders filled with zeros, into memory that stays in L2. With a stride along the
//! width, columns are dealt to as many runs as the stride, so that neighbouring outputs still read neighbours.

use crate::room;
use rustnn_base::dtype::Real;
use rustnn_base::{Result, runtime_error};

/// How outputs along one axis read their source: output `q` at tap `i` reads `q * step + taps[i].1`.
#[derive(Debug, Clone)]
pub struct AxisRun {
    /// Outputs.
    pub n: usize,
    pub step: usize,
    /// Index of the tap in the kernel, and its place relative to the output's origin.
    pub taps: Vec<(usize, isize)>,
}

impl AxisRun {
    fn low(&self) -> isize {
        self.taps.iter().map(|t| t.1).min().unwrap_or(0)
    }
    fn high(&self) -> isize {
        self.taps.iter().map(|t| t.1).max().unwrap_or(0)
    }
    /// Source positions that outputs `q0..q1` read: first and number.
    pub fn span(&self, q0: usize, q1: usize) -> (isize, usize) {
        let first = (q0 * self.step) as isize + self.low();
        (first, (q1 - q0).saturating_sub(1) * self.step + (self.high() - self.low()) as usize + 1)
    }
}

/// Layout of a block's copy.
#[derive(Debug, Clone)]
pub struct Window {
    axes: [AxisRun; 3],
    source: [usize; 3],
    /// Values of one run of columns, one row, one slab of rows, one channel.
    run: usize,
    row: usize,
    slab: usize,
    pub plane: usize,
}

impl Window {
    /// For blocks of at most `most` outputs per axis out of `source` sizes; `lanes` are read at once.
    pub fn new(axes: [AxisRun; 3], source: [usize; 3], most: [usize; 3], lanes: usize) -> Result<Self> {
        let spans: [usize; 3] = std::array::from_fn(|d| axes[d].span(0, most[d]).1);
        let step = axes[2].step;
        let run = spans[2].div_ceil(step);
        let row = run.saturating_mul(step);
        let slab = row.saturating_mul(spans[1]);
        let mut plane = slab.saturating_mul(spans[0]);
        // Planes a multiple of 1 KiB apart would share too few cache sets.
        if plane.saturating_mul(size_of::<f32>()) % 1024 < 64 {
            plane = plane.saturating_add(2 * lanes);
        }
        if plane > u32::MAX as usize / 4 {
            return Err(runtime_error!("this convolution's input rows are too large: {spans:?} values per channel"));
        }
        Ok(Window { axes, source, run, row, slab, plane })
    }

    /// Values to reserve for `channels`, with room for a vector read past the end.
    #[must_use]
    pub fn len(&self, channels: usize, lanes: usize) -> usize {
        self.plane * channels + 2 * lanes
    }

    /// Where channel 0 of tap `(d, h, w)` (indices into the axes' tap lists) lies relative to an output's base.
    fn tap(&self, d: usize, h: usize, w: usize) -> usize {
        let at = |axis: usize, i: usize| (self.axes[axis].taps[i].1 - self.axes[axis].low()) as usize;
        let (x, step) = (at(2, w), self.axes[2].step);
        at(0, d) * self.slab + at(1, h) * self.row + (x % step) * self.run + x / step
    }

    /// Where the taps of channel 0 lie relative to an output's base, in the axes' order.
    pub fn taps(&self) -> Result<Vec<usize>> {
        let [nd, nh, nw] = self.axes.each_ref().map(|a| a.taps.len());
        let mut taps = room::with_capacity(nd * nh * nw)?;
        for d in 0..nd {
            for h in 0..nh {
                taps.extend((0..nw).map(|w| self.tap(d, h, w)));
            }
        }
        Ok(taps)
    }

    /// The same for `channels` channels, one after another, as the kernel that reads them wants it.
    pub fn offsets<I>(&self, channels: usize, index: impl Fn(usize) -> I) -> Result<Vec<I>> {
        let taps = self.taps()?;
        let mut offsets = room::with_capacity(channels * taps.len())?;
        for c in 0..channels {
            offsets.extend(taps.iter().map(|&at| index(c * self.plane + at)));
        }
        Ok(offsets)
    }

    /// Base of output `(d, h, w)` counted from the block's first output.
    #[must_use]
    pub fn base(&self, d: usize, h: usize, w: usize) -> usize {
        d * self.axes[0].step * self.slab + h * self.axes[1].step * self.row + w
    }

    /// Zeros everywhere: what [`Window::fill`] leaves as it is, to be called once for a block of memory.
    ///
    /// # Safety
    /// `dst` has room for [`Window::len`].
    pub unsafe fn clear<T: Real>(&self, dst: *mut T, channels: usize, lanes: usize) {
        // SAFETY: by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(dst, self.len(channels, lanes)).fill(T::ZERO) };
    }

    /// Copies what outputs `from..to` need of `channels` planes at `src` to `dst`, zeros in rows without a source. The
    /// borders on the left and right are those of every block and stay as [`Window::clear`] left them, unless outputs are cut
    /// along the width; so does what is behind the last row, which only lanes read that nobody counts.
    ///
    /// # Safety
    /// `src` has `channels` contiguous planes of the source's sizes; `dst` has room for [`Window::len`].
    pub unsafe fn fill<T: Real>(&self, src: *const T, channels: usize, from: [usize; 3], to: [usize; 3], dst: *mut T) {
        let spans: [(isize, usize); 3] = std::array::from_fn(|d| self.axes[d].span(from[d], to[d]));
        let [sd, sh, sw] = self.source;
        let (w0, wn) = spans[2];
        let step = self.axes[2].step;
        let cut = to[2] - from[2] < self.axes[2].n;
        // Of columns w0 + r, w0 + r + step, .. those from a to b are inside.
        let inside = |r: usize| {
            let first = w0 + r as isize;
            let steps = |n: usize| if step == 1 { n } else { n.div_ceil(step) };
            let have = steps(wn - r);
            let a = if first < 0 { steps((-first) as usize) } else { 0 }.min(have);
            let b = if first < sw as isize { steps((sw as isize - first) as usize) } else { 0 };
            (first, a, b.min(have).max(a))
        };
        let first_run = inside(0);
        // SAFETY: every row index is checked against the source; places in `dst` lie within `len`.
        unsafe {
            for c in 0..channels {
                for d in 0..spans[0].1 {
                    let zd = spans[0].0 + d as isize;
                    for h in 0..spans[1].1 {
                        let zh = spans[1].0 + h as isize;
                        let out = dst.add(c * self.plane + d * self.slab + h * self.row);
                        if zd < 0 || zd >= sd as isize || zh < 0 || zh >= sh as isize {
                            std::slice::from_raw_parts_mut(out, self.row).fill(T::ZERO);
                            continue;
                        }
                        let line = src.add(((c * sd + zd as usize) * sh + zh as usize) * sw);
                        if cut {
                            std::slice::from_raw_parts_mut(out, self.row).fill(T::ZERO);
                        }
                        if step == 1 {
                            let (first, a, b) = first_run;
                            std::ptr::copy_nonoverlapping(line.wrapping_offset(first + a as isize), out.add(a), b - a);
                            continue;
                        }
                        for r in 0..step.min(wn) {
                            let (first, a, b) = if r == 0 { first_run } else { inside(r) };
                            let run = std::slice::from_raw_parts_mut(out.add(r * self.run), self.run);
                            let from = line.wrapping_offset(first + (a * step) as isize);
                            every(from, step, &mut run[a..b]);
                        }
                    }
                }
            }
        }
    }
}

/// Copies every `step`-th value from `src` on.
///
/// # Safety
/// `src` shows `(dst.len() - 1) * step + 1` readable values, unless `dst` is empty.
#[inline]
unsafe fn every<T: Real>(src: *const T, step: usize, dst: &mut [T]) {
    if step == 2 && !dst.is_empty() {
        // Whole pairs by shuffles; the last value may have no neighbour.
        let (last, pairs) = (dst.len() - 1, dst.len() - 1);
        // SAFETY: `2 * pairs` values before the last one.
        let src_pairs = unsafe { std::slice::from_raw_parts(src.cast::<[T; 2]>(), pairs) };
        for (v, pair) in dst[..pairs].iter_mut().zip(src_pairs) {
            *v = pair[0];
        }
        // SAFETY: by this function's contract.
        dst[last] = unsafe { *src.add(2 * last) };
        return;
    }
    for (i, v) in dst.iter_mut().enumerate() {
        // SAFETY: by this function's contract.
        *v = unsafe { *src.add(i * step) };
    }
}
