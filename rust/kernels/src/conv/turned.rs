//! Convolutions whose rows of outputs would leave much of a vector empty, or that step over their input, with a weight of
//! which a packed copy is kept: output channels are the lanes, so none is empty, and outputs the rows. Each reads the
//! padded block of the input at places of its own ([`Window`]), or the input as it lies where there are no borders; what
//! comes out is turned back into planes, eight by eight.
//!
//! The weight has to be turned too, which without a kept copy costs more than it gives. Sums are made in the direct way's
//! order, so that no result depends on whether there is a copy.

use super::direct::{self, Pass};
use super::window::Window;
use crate::gemm::View;
use crate::gemm::blocked::{Gemm, PACK};
use crate::gemm::pack::{pack_b, panel_start};
use crate::packs::{self, Key, Order};
use crate::parallel::{SendPtr, for_chunks, for_range, num_threads};
use crate::room;
use crate::scratch;
use rustnn_base::{Error, Result};
use rustnn_simd::Isa;
use rustnn_simd::arch::{Add, GemmArgs, Micro, TapsArgs};
use std::sync::atomic::{AtomicBool, Ordering};

/// Outputs of a chunk, about: with [`WIDTH`] channels their sums fill a quarter of L2.
const PIXELS: usize = 256;
/// Output channels of a chunk.
const WIDTH: usize = 128;
/// Fewest output channels, and fewest steps of the sum.
const LEAST: usize = 64;
/// Lanes that the direct way fills.
const LANES: usize = 8;
/// Vectors that are at least so full are not worth turning.
const FULL: f64 = 0.9;
/// Rows of a tile: outputs that are summed side by side.
const ROWS: usize = 6;

/// Whether this is the better way for a pass that would otherwise go the direct one, and a copy of its weight is kept.
pub fn suits<T: Gemm>(p: &Pass<T>, isa: Isa) -> bool {
    let line = &p.axes[2];
    let poor = line.step > 1 || (line.n as f64) < FULL * line.n.next_multiple_of(LANES) as f64;
    let whole = p.target.iter().zip(&p.axes).all(|(&t, a)| t == a.n && t > 0);
    let large = p.cout >= LEAST && p.cin.saturating_mul(p.taps()) >= LEAST && p.batch > 0;
    poor && whole && large && p.in_order() && p.weights.keep.known(|| key(p, 0, T::micro(isa)))
}

fn key<T: Gemm>(p: &Pass<T>, g: usize, micro: &Micro<T>) -> Key {
    p.weights.key(Order::Turned, &[], [g, p.cout, p.cin], [micro.nr(), 0])
}

/// What chunks share.
struct Plan<'a, T: 'static> {
    p: &'a Pass<'a, T>,
    micro: &'a Micro<T>,
    /// None where the input is read as it lies.
    window: Option<Window>,
    /// Axis along which images are cut, and outputs along it in a band.
    axis: usize,
    rows: usize,
    bands: usize,
    taps: usize,
    /// Steps of the sum, and of a block of it.
    k: usize,
    block: usize,
    /// Where each step reads, relative to an output's place in its block's first channel.
    offsets: Vec<u32>,
    /// Panels of output channels, and runs of them.
    panels: usize,
    runs: usize,
}

/// Runs a pass.
///
/// # Safety
/// As [`super::direct::run`]; [`suits`].
pub unsafe fn run<T: Gemm>(p: &Pass<T>, isa: Isa) -> Result<()> {
    let plan = plan(p, T::micro(isa))?;
    let (micro, k, block, cout) = (plan.micro, plan.k, plan.block, p.cout);
    let failed = AtomicBool::new(false);
    for g in 0..p.groups {
        let w = &p.weights;
        let values = View { ptr: w.values.as_ptr().wrapping_add(g * w.group), rs: 1, cs: w.out as isize };
        let pack = |to: *mut T| {
            let to = SendPtr(to);
            for_range(k.div_ceil(block) * plan.panels, (PACK / (block * micro.nr())).max(1), |range| {
                for i in range {
                    let (k0, j) = (i / plan.panels * block, i % plan.panels * micro.nr());
                    let (kc, cols) = (block.min(k - k0), micro.nr().min(cout - j));
                    // SAFETY: steps and channels that exist, and their panel's own place.
                    unsafe { pack_b(micro, values.at(k0, j), kc, cols, to.get().add(plan.panel(k0, kc, j))) };
                }
            });
        };
        let len = k * cout.next_multiple_of(micro.lanes);
        packs::with(w.keep, key(p, g, micro), len, pack, |packed: *const T| {
            let packed = SendPtr(packed.cast_mut());
            for_chunks(p.batch * plan.bands * plan.runs, &|i| {
                let (run, i) = (i % plan.runs, i / plan.runs);
                let (image, band) = (i / plan.bands, i % plan.bands);
                // SAFETY: a band of an image that exists and its own channels; the packed weight.
                if unsafe { plan.chunk(g, image, band, run, packed.get()) }.is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
            });
        })?;
    }
    if failed.load(Ordering::Relaxed) {
        return Err(Error::out_of_memory((PIXELS * WIDTH * size_of::<T>()) as u64));
    }
    Ok(())
}

fn plan<'a, T: Gemm>(p: &'a Pass<'a, T>, micro: &'a Micro<T>) -> Result<Plan<'a, T>> {
    let (taps, block) = (p.taps(), direct::block(p.taps()));
    let (k, whole, source) = (p.cin * taps, p.target, p.source);
    let axis = (0..2).find(|&d| whole[d] > 1).unwrap_or(2);
    let plane: usize = whole.iter().product();
    let rows = (PIXELS / (plane / whole[axis])).clamp(1, whole[axis]);
    let mut bands = whole[axis].div_ceil(rows);
    let panels = p.cout.div_ceil(micro.nr());
    let mut runs = panels.div_ceil(WIDTH / micro.nr());
    // Enough chunks for all threads: bands share the weight, runs the input, so the larger of the two is cut.
    let want = (2 * num_threads()).div_ceil(p.batch.saturating_mul(bands).saturating_mul(runs).max(1));
    if p.cout.saturating_mul(k) < p.cin.saturating_mul(source.iter().product()) {
        bands = (bands * want).min(whole[axis]);
    } else {
        runs = (runs * want).min(panels);
    }
    let rows = whole[axis].div_ceil(bands);
    let mut most = whole;
    most[axis] = rows;
    let borders = (0..3).any(|d| {
        let (first, n) = p.axes[d].span(0, whole[d]);
        first < 0 || first as usize + n > source[d]
    });
    let window = if borders { Some(Window::new(p.axes.clone(), source, most, 1)?) } else { None };
    let in_plane: usize = source.iter().product();
    let channels = window.as_ref().map_or(p.cin, |_| block / taps);
    let apart = window.as_ref().map_or(in_plane, |w| w.plane);
    if apart.saturating_mul(channels) > u32::MAX as usize {
        return Err(Error::Runtime("this convolution's input block is too large".into()));
    }
    let mut offsets = room::with_capacity(k)?;
    for i in 0..k {
        let (c, t) = (i / taps, i % taps);
        let [_, h, w] = p.axes.each_ref().map(|a| a.taps.len());
        let t = [t / (h * w), t / w % h, t % w];
        let at = match &window {
            Some(window) => c % (block / taps) * apart + window.tap(t[0], t[1], t[2]),
            None => {
                let at: [usize; 3] = std::array::from_fn(|d| p.axes[d].taps[t[d]].1 as usize);
                c * apart + (at[0] * source[1] + at[1]) * source[2] + at[2]
            }
        };
        offsets.push(at as u32);
    }
    Ok(Plan { p, micro, window, axis, rows, bands: whole[axis].div_ceil(rows), taps, k, block, offsets, panels, runs })
}

impl<T: Gemm> Plan<'_, T> {
    /// Where the panel of channels from `j` on lies in block `k0..k0 + kc` of the packed weight: panels of a block follow
    /// one another, for panels that are a power of two apart share few sets of the cache.
    fn panel(&self, k0: usize, kc: usize, j: usize) -> usize {
        k0 * self.p.cout.next_multiple_of(self.micro.lanes) + j * kc
    }

    /// The outputs of one band of an image in one run of channels.
    ///
    /// # Safety
    /// As [`run`]; `packed` holds the group's weight.
    unsafe fn chunk(&self, g: usize, image: usize, band: usize, run: usize, packed: *const T) -> Result<()> {
        let (p, micro) = (self.p, self.micro);
        let (mut from, mut to) = ([0; 3], p.target);
        from[self.axis] = band * self.rows;
        to[self.axis] = ((band + 1) * self.rows).min(p.target[self.axis]);
        let outputs: usize = (0..3).map(|d| to[d] - from[d]).product();
        let nr = micro.nr();
        let [j0, j1] = [run, run + 1].map(|r| (panel_start(r, self.runs, self.panels) * nr).min(p.cout));
        if j0 == j1 {
            return Ok(());
        }
        let ldc = (j1 - j0).next_multiple_of(micro.lanes);
        let in_plane: usize = p.source.iter().product();
        let src = p.src.wrapping_add((image * p.groups + g) * p.cin * in_plane);
        let mut places = room::with_capacity(outputs)?;
        for d in from[0]..to[0] {
            for h in from[1]..to[1] {
                for w in from[2]..to[2] {
                    places.push(match &self.window {
                        Some(window) => window.base(d - from[0], h - from[1], w - from[2]),
                        None => {
                            let at: [usize; 3] = std::array::from_fn(|i| [d, h, w][i] * p.axes[i].step);
                            (at[0] * p.source[1] + at[1]) * p.source[2] + at[2]
                        }
                    });
                }
            }
        }
        let channels = (self.block / self.taps).min(p.cin);
        let room = self.window.as_ref().map_or(0, |w| w.len(channels, 1));
        scratch::with(outputs * ldc + room, |c: *mut T| {
            let buffer = c.wrapping_add(outputs * ldc);
            if let Some(window) = &self.window {
                // SAFETY: room for the window's channels.
                unsafe { window.clear(buffer, channels, 1) };
            }
            for k0 in (0..self.k).step_by(self.block) {
                let kc = self.block.min(self.k - k0);
                let first = k0 / self.taps;
                let base = match &self.window {
                    Some(window) => {
                        let n = kc / self.taps;
                        // SAFETY: channels that exist; room for them.
                        unsafe { window.fill(src.add(first * in_plane), n, from, to, buffer) };
                        buffer.cast_const()
                    }
                    None => src,
                };
                // SAFETY: places of the input's block; the weight's panels; room for all sums.
                unsafe { self.multiply(g, base, &places, k0, kc, packed, j0, j1, c, ldc) };
            }
            // SAFETY: the sums just made; outputs of this chunk.
            unsafe { self.put(g, image, from, outputs, j0, j1, c, ldc) };
        })
    }

    /// Adds block `k0..k0 + kc` to the sums of channels `j0..j1`.
    ///
    /// # Safety
    /// `base` shows a value at every place and offset; `packed` holds the weight, `c` the sums, `ldc` apart.
    unsafe fn multiply(
        &self,
        g: usize,
        base: *const T,
        places: &[usize],
        k0: usize,
        kc: usize,
        packed: *const T,
        j0: usize,
        j1: usize,
        c: *mut T,
        ldc: usize,
    ) {
        let (p, micro) = (self.p, self.micro);
        let (nr, lanes) = (micro.nr(), micro.lanes);
        let add = match (k0 == 0, p.bias.is_null()) {
            (true, true) => Add::Nothing,
            (true, false) => Add::PerColumn,
            (false, _) => Add::Dst,
        };
        let panels = places.len().div_ceil(ROWS);
        for j in (j0..j1).step_by(nr) {
            let cols = nr.min(j1 - j);
            let vecs = cols.div_ceil(lanes);
            for q in 0..panels {
                let (r0, r1) = (panel_start(q, panels, places.len()), panel_start(q + 1, panels, places.len()));
                let rows: [*const T; ROWS] = std::array::from_fn(|i| base.wrapping_add(places[(r0 + i).min(r1 - 1)]));
                // SAFETY: by this function's contract.
                unsafe {
                    (micro.taps[r1 - r0 - 1][vecs - 1])(&TapsArgs {
                        gemm: GemmArgs {
                            k: kc,
                            a: std::ptr::null(),
                            a_rs: 0,
                            a_ks: 0,
                            b: packed.add(self.panel(k0, kc, j)),
                            b_ks: 0,
                            c: c.add(r0 * ldc + j - j0),
                            ldc,
                            alpha: T::ONE,
                            add,
                            bias: p.bias.wrapping_add(g * p.cout + j),
                            last: cols - (vecs - 1) * lanes,
                        },
                        rows: rows.as_ptr(),
                        off: self.offsets[k0..].as_ptr(),
                    });
                }
            }
        }
    }

    /// Brings `outputs` sums of channels `j0..j1` to their planes.
    ///
    /// # Safety
    /// `c` holds the sums, `ldc` apart; the outputs exist and are nobody else's.
    unsafe fn put(
        &self,
        g: usize,
        image: usize,
        from: [usize; 3],
        outputs: usize,
        j0: usize,
        j1: usize,
        c: *const T,
        ldc: usize,
    ) {
        let p = self.p;
        let plane: usize = p.target.iter().product();
        // A band's outputs follow one another: only the outermost axis of several outputs is cut.
        let place = (from[0] * p.target[1] + from[1]) * p.target[2] + from[2];
        let first = (image * p.groups + g) * p.cout + j0;
        let dst = p.dst.wrapping_add(first * plane + place);
        let channels = j1 - j0;
        let turned = if outputs < 8 { 0 } else { channels & !7 };
        // SAFETY: by this function's contract.
        unsafe {
            for r in (0..if turned > 0 { outputs } else { 0 }).step_by(8) {
                // The last eight again, if the number is not a multiple.
                let r = r.min(outputs - 8);
                (self.micro.turn)(c.add(r * ldc), ldc as isize, turned, dst.add(r), plane);
            }
            for m in turned..channels {
                for r in 0..outputs {
                    *dst.add(m * plane + r) = *c.add(r * ldc + m);
                }
            }
        }
        if let Some(told) = p.told {
            told(first..first + channels, place..place + outputs);
        }
    }
}
