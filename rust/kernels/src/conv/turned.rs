//! Convolutions whose outputs would leave much of a vector empty, or that step over their input, with a weight of which a
//! packed copy is kept: output channels are the lanes, so none is empty, and outputs the rows. They read a padded block of
//! the input ([`Window`]) or, where there are no borders, the input as it lies: at places of their own, or packed panel by panel
//! first, where what they read lies so far apart that it does not stay in L1 beside the weight. What comes out is turned back
//! into planes, eight by eight.
//!
//! The weight has to be turned too, which without a kept copy costs more than it gives. Sums are made in the order of the way
//! that this one stands in for, so that no result depends on whether there is a copy.

use super::direct::Pass;
use super::window::Window;
use crate::gemm::View;
use crate::gemm::blocked::{Block, Gemm, PACK, Problem, tiles};
use crate::gemm::pack::{pack_b, panel_start};
use crate::packs::{self, Keep, Key, Order};
use crate::parallel::{SendPtr, for_chunks, for_range, num_threads};
use crate::room;
use crate::scratch;
use rustnn_base::dtype::Real;
use rustnn_base::{Error, Result};
use rustnn_simd::arch::{Add, GemmArgs, Micro, TapsArgs};
use rustnn_simd::{Isa, dispatch};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Outputs of a band, about: what a block of steps reads for them fills half of L2.
const PIXELS: usize = 224;
/// Fewest output channels, and fewest steps of the sum.
const LEAST: usize = 64;
/// Rows of a tile of outputs that are read at places of their own.
const ROWS: usize = 6;
/// Lanes that the other ways fill.
const LANES: usize = 8;
/// Vectors that are at least so full are not worth turning.
const FULL: f64 = 0.9;

/// Whether this is the better way for a pass that would otherwise go one of the ways along rows of outputs, and a copy of its
/// weight is kept.
pub fn suits_rows<T: Gemm>(p: &Pass<T>, isa: Isa) -> bool {
    let line = &p.axes[2];
    (line.step > 1 || poor(line.n)) && suits(p, isa)
}

/// Whether this is the better way for a pass whose outputs would otherwise stand side by side in one row.
pub fn suits_planes<T: Gemm>(p: &Pass<T>, isa: Isa) -> bool {
    p.batch == 1 && poor(p.target.iter().product()) && suits(p, isa)
}

/// Whether `n` values leave much of their vectors empty.
fn poor(n: usize) -> bool {
    (n as f64) < FULL * n.next_multiple_of(LANES) as f64
}

fn suits<T: Gemm>(p: &Pass<T>, isa: Isa) -> bool {
    let whole = p.target.iter().zip(&p.axes).all(|(&t, a)| t == a.n && t > 0);
    let large = p.cout >= LEAST && p.cin.saturating_mul(p.taps()) >= LEAST && p.batch > 0;
    whole && large && p.in_order() && p.weights.keep.known(|| key(p, 0, T::micro(isa)))
}

fn key<T: Gemm>(p: &Pass<T>, g: usize, micro: &Micro<T>) -> Key {
    p.weights.key(Order::Turned, &[], [g, p.cout, p.cin], [micro.nr(), 0])
}

/// What chunks share.
struct Plan<'a, T: 'static> {
    p: &'a Pass<'a, T>,
    micro: &'a Micro<T>,
    /// Whether what outputs read is packed first.
    packs: bool,
    /// None where the input is read as it lies.
    window: Option<Window>,
    /// Axis along which images are cut, and the number of bands.
    axis: usize,
    bands: usize,
    taps: usize,
    /// Steps of the sum, and of a block of it.
    k: usize,
    block: usize,
    /// Where each step reads, relative to an output's place in the first channel of its block.
    offsets: Vec<u32>,
    /// Panels of output channels, and runs of them that are chunks of their own.
    panels: usize,
    runs: usize,
}

/// Some outputs of an image: those of a band.
struct Band {
    image: usize,
    from: [usize; 3],
    to: [usize; 3],
    /// Where each output reads its first tap.
    places: Vec<usize>,
}

/// Runs a pass, `block` steps of each sum at a time; `packs` what outputs read first. Lines of neighbours stay in L1 without;
/// of planes and of every other value too little does.
///
/// # Safety
/// As [`super::direct::run`]; [`suits_rows`] or [`suits_planes`].
pub unsafe fn run<T: Gemm>(p: &Pass<T>, block: usize, packs: bool, isa: Isa) -> Result<()> {
    let plan = plan(p, block, packs, T::micro(isa))?;
    let (micro, k, cout) = (plan.micro, plan.k, p.cout);
    let failed = AtomicBool::new(false);
    let noted = |done: Result<()>| {
        if done.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
    };
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
            let items = p.batch * plan.bands;
            if plan.runs == 1 || !packs {
                // SAFETY: a band that exists and its own channels; the packed weight.
                let one = |i: usize| unsafe { plan.part(g, i / plan.runs, i % plan.runs, packed.get()) };
                for_chunks(items * plan.runs, &|i| noted(one(i)));
                return;
            }
            for i in 0..items {
                // SAFETY: as above.
                noted(unsafe { plan.shared(g, i, packed.get(), &noted) });
            }
        })?;
    }
    if failed.load(Ordering::Relaxed) {
        return Err(Error::out_of_memory((PIXELS * k * size_of::<T>()) as u64));
    }
    Ok(())
}

fn plan<'a, T: Gemm>(p: &'a Pass<'a, T>, block: usize, packs: bool, micro: &'a Micro<T>) -> Result<Plan<'a, T>> {
    let taps = p.taps();
    let (k, whole, source) = (p.cin * taps, p.target, p.source);
    let axis = (0..2).find(|&d| whole[d] > 1).unwrap_or(2);
    let plane: usize = whole.iter().product();
    let rows = (PIXELS / (plane / whole[axis])).clamp(1, whole[axis]);
    let mut bands = whole[axis].div_ceil(rows);
    let panels = p.cout.div_ceil(micro.nr());
    // Enough chunks for all threads: bands share the weight, runs the input, so the larger of the two is cut.
    let want = 2 * num_threads();
    let mut runs = 1;
    if num_threads() > 1 && p.batch.saturating_mul(bands) < want {
        if p.cout.saturating_mul(k) < p.cin.saturating_mul(source.iter().product()) {
            bands = want.div_ceil(p.batch).min(whole[axis]);
        } else {
            runs = want.min(panels);
        }
    }
    let mut most = whole;
    most[axis] = whole[axis].div_ceil(bands);
    let borders = (0..3).any(|d| {
        let (first, n) = p.axes[d].span(0, whole[d]);
        first < 0 || first as usize + n > source[d]
    });
    let window = if borders { Some(Window::new(p.axes.clone(), source, most, 1)?) } else { None };
    let apart = window.as_ref().map_or(source.iter().product(), |w| w.plane);
    if apart.saturating_mul(block / taps + 2) > u32::MAX as usize {
        return Err(Error::Runtime("this convolution's input block is too large".into()));
    }
    let tap_offsets = match &window {
        Some(window) => window.taps()?,
        None => {
            let place = |x: isize, y: isize, z: isize| (x as usize * source[1] + y as usize) * source[2] + z as usize;
            let [ax, ay, az] = &p.axes;
            room::collected(
                ax.taps
                    .iter()
                    .flat_map(|x| ay.taps.iter().flat_map(move |y| az.taps.iter().map(move |z| place(x.1, y.1, z.1)))),
            )?
        }
    };
    let mut offsets = room::with_capacity(k)?;
    let (mut first, mut next) = (0, 0);
    for c in 0..p.cin {
        for &at in &tap_offsets {
            if offsets.len() == next {
                (first, next) = (c, next + block);
            }
            offsets.push(((c - first) * apart + at) as u32);
        }
    }
    Ok(Plan { p, micro, packs, window, axis, bands, taps, k, block, offsets, panels, runs })
}

impl<T: Gemm> Plan<'_, T> {
    /// Where the panel of channels from `j` on lies in block `k0..k0 + kc` of the packed weight: panels of a block follow
    /// one another, for panels that are a power of two apart share few sets of the cache.
    fn panel(&self, k0: usize, kc: usize, j: usize) -> usize {
        k0 * self.p.cout.next_multiple_of(self.micro.lanes) + j * kc
    }

    /// Blocks of the sum: first step and number of steps.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> {
        let (k, block) = (self.k, self.block);
        (0..k).step_by(block).map(move |k0| (k0, block.min(k - k0)))
    }

    /// Output channels of a run.
    fn channels(&self, run: usize) -> Range<usize> {
        let at = |r: usize| (panel_start(r, self.runs, self.panels) * self.micro.nr()).min(self.p.cout);
        at(run)..at(run + 1)
    }

    fn band(&self, i: usize) -> Result<Band> {
        let p = self.p;
        let (image, band) = (i / self.bands, i % self.bands);
        let (mut from, mut to) = ([0; 3], p.target);
        from[self.axis] = panel_start(band, self.bands, p.target[self.axis]);
        to[self.axis] = panel_start(band + 1, self.bands, p.target[self.axis]);
        let mut places = room::with_capacity((0..3).map(|d| to[d] - from[d]).product())?;
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
        Ok(Band { image, from, to, places })
    }

    /// A band's outputs in one run of channels by one thread: what a block of steps reads is in the cache when it is multiplied.
    ///
    /// # Safety
    /// As [`run`]; `packed` holds the group's weight.
    unsafe fn part(&self, g: usize, i: usize, run: usize, packed: *const T) -> Result<()> {
        let (band, channels) = (self.band(i)?, self.channels(run));
        let (outputs, ldc) = (band.places.len(), self.ldc(&channels));
        let block = if self.packs { self.block.min(self.k) } else { 0 };
        scratch::with(outputs * (ldc + block), |c: *mut T| {
            let pa = c.wrapping_add(outputs * ldc);
            self.with_input(|input| {
                for (k0, kc) in self.blocks() {
                    let base = input(g, &band, k0, kc);
                    // SAFETY: what the block reads; room for it packed, and for all sums.
                    unsafe {
                        if self.packs {
                            self.pack(base, &band, k0, kc, pa);
                            self.multiply(g, pa, outputs, k0, kc, packed, &channels, c, ldc);
                        } else {
                            self.multiply_places(g, base, &band.places, k0, kc, packed, &channels, c, ldc);
                        }
                    }
                }
            })?;
            // SAFETY: the sums just made.
            unsafe { self.put(g, &band, &channels, c, ldc) };
            Ok(())
        })?
    }

    /// A band by all threads: blocks are packed side by side, and then runs of channels are multiplied.
    ///
    /// # Safety
    /// As [`Plan::part`].
    unsafe fn shared(&self, g: usize, i: usize, packed: *const T, noted: &(dyn Fn(Result<()>) + Sync)) -> Result<()> {
        let band = self.band(i)?;
        let outputs = band.places.len();
        scratch::with(outputs * self.k, |pa: *mut T| {
            let (pa, packed) = (SendPtr(pa), SendPtr(packed.cast_mut()));
            for_chunks(self.k.div_ceil(self.block), &|b| {
                let (k0, kc) = (b * self.block, self.block.min(self.k - b * self.block));
                // SAFETY: what the block reads, and its own place among `outputs * k` values.
                noted(self.with_input(|input| unsafe {
                    self.pack(input(g, &band, k0, kc), &band, k0, kc, pa.get().add(outputs * k0));
                }));
            });
            for_chunks(self.runs, &|run| {
                let channels = self.channels(run);
                let ldc = self.ldc(&channels);
                noted(scratch::with(outputs * ldc, |c: *mut T| {
                    // SAFETY: the blocks just packed; room for the run's sums.
                    unsafe {
                        for (k0, kc) in self.blocks() {
                            let pa = pa.get().add(outputs * k0);
                            self.multiply(g, pa, outputs, k0, kc, packed.get(), &channels, c, ldc);
                        }
                        self.put(g, &band, &channels, c, ldc);
                    }
                }));
            });
        })
    }

    /// From one output's sums to the next one's: not a power of two, so that rows do not share few sets of the cache.
    fn ldc(&self, channels: &Range<usize>) -> usize {
        channels.len().next_multiple_of(2 * LANES) + LANES
    }

    /// Calls `f` with what shows a block of steps of what a band reads: the window filled with it, or the input itself.
    fn with_input(&self, f: impl FnOnce(&dyn Fn(usize, &Band, usize, usize) -> *const T)) -> Result<()> {
        let p = self.p;
        let in_plane: usize = p.source.iter().product();
        let most = (self.block / self.taps + 2).min(p.cin);
        scratch::with(self.window.as_ref().map_or(0, |w| w.len(most, 1)), |buffer: *mut T| {
            if let Some(window) = &self.window {
                // SAFETY: room for the window's channels.
                unsafe { window.clear(buffer, most, 1) };
            }
            f(&|g, band, k0, kc| {
                let (first, end) = (k0 / self.taps, (k0 + kc).div_ceil(self.taps));
                let src = p.src.wrapping_add(((band.image * p.groups + g) * p.cin + first) * in_plane);
                let Some(window) = &self.window else { return src };
                // SAFETY: channels that exist; room for them.
                unsafe { window.fill(src, end - first, band.from, band.to, buffer) };
                buffer
            });
        })
    }

    /// Packs block `k0..k0 + kc` of what a band reads, panel by panel of outputs.
    ///
    /// # Safety
    /// `base` shows the block; `dst` has room for it.
    unsafe fn pack(&self, base: *const T, band: &Band, k0: usize, kc: usize, dst: *mut T) {
        let (places, off) = (&band.places, &self.offsets[k0..k0 + kc]);
        let panels = places.len().div_ceil(self.micro.mr());
        dispatch(
            #[inline(always)]
            || {
                for q in 0..panels {
                    let [r0, r1] = [q, q + 1].map(|q| panel_start(q, panels, places.len()));
                    // SAFETY: a value at every place and offset; the panel's own place.
                    unsafe { gather(base, &places[r0..r1], off, dst.add(r0 * kc)) };
                }
            },
        );
    }

    /// Adds block `k0..k0 + kc` to the sums of some channels.
    ///
    /// # Safety
    /// `pa` holds the block of `outputs` outputs, `packed` the weight, `c` the sums, `ldc` apart.
    unsafe fn multiply(
        &self,
        g: usize,
        pa: *const T,
        outputs: usize,
        k0: usize,
        kc: usize,
        packed: *const T,
        channels: &Range<usize>,
        c: *mut T,
        ldc: usize,
    ) {
        let (p, nothing) = (self.p, View { ptr: std::ptr::null(), rs: 0, cs: 0 });
        let problem = Problem {
            m: outputs,
            n: channels.len(),
            k: self.k,
            a: nothing,
            b: nothing,
            c,
            ldc,
            alpha: T::ONE,
            add: if p.bias.is_null() { Add::Nothing } else { Add::PerColumn },
            bias: p.bias.wrapping_add(g * p.cout + channels.start),
            keep: [Keep::NOT, p.weights.keep],
        };
        let up = outputs.div_ceil(self.micro.mr());
        // SAFETY: by this function's contract.
        unsafe {
            let pb = packed.add(self.panel(k0, kc, channels.start));
            tiles(&problem, self.micro, Block::Packed(pa), pb, 0, outputs, up, 0, channels.len(), kc, k0 == 0);
        }
    }

    /// As [`Plan::multiply`], of values as they lie: `base` shows one at every place and offset.
    ///
    /// # Safety
    /// As there.
    unsafe fn multiply_places(
        &self,
        g: usize,
        base: *const T,
        places: &[usize],
        k0: usize,
        kc: usize,
        packed: *const T,
        channels: &Range<usize>,
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
        for j in channels.clone().step_by(nr) {
            let cols = nr.min(channels.end - j);
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
                            c: c.add(r0 * ldc + j - channels.start),
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

    /// Brings the sums of a band's outputs to their planes.
    ///
    /// # Safety
    /// `c` holds the sums, `ldc` apart; the outputs exist and are nobody else's.
    unsafe fn put(&self, g: usize, band: &Band, channels: &Range<usize>, c: *const T, ldc: usize) {
        let (p, from, outputs) = (self.p, band.from, band.places.len());
        let plane: usize = p.target.iter().product();
        // A band's outputs follow one another: only the outermost axis of several outputs is cut.
        let place = (from[0] * p.target[1] + from[1]) * p.target[2] + from[2];
        let first = (band.image * p.groups + g) * p.cout + channels.start;
        let dst = p.dst.wrapping_add(first * plane + place);
        let channels = channels.len();
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

/// Packs what some outputs read, step by step: `dst[k * outputs + i] = base[places[i] + off[k]]`.
///
/// # Safety
/// `base` shows these values; `dst` has room for them.
#[inline(always)]
unsafe fn gather<T: Real>(base: *const T, places: &[usize], off: &[u32], dst: *mut T) {
    macro_rules! by_number {
        ($($n:literal)*) => {
            match places.len() {
                // SAFETY: passed on.
                $($n => unsafe { gather_of::<T, $n>(base, places, off, dst) },)*
                n => unreachable!("a panel of {n} rows"),
            }
        };
    }
    by_number!(1 2 3 4 5 6 7 8 9 10 11 12)
}

/// # Safety
/// As [`gather`]; `M` places.
#[inline(always)]
unsafe fn gather_of<T: Real, const M: usize>(base: *const T, places: &[usize], off: &[u32], dst: *mut T) {
    let first = base.wrapping_add(places[0]);
    if places.iter().enumerate().all(|(i, &p)| p == places[0] + i) {
        for (k, &o) in off.iter().enumerate() {
            // SAFETY: by this function's contract.
            unsafe {
                let run = first.add(o as usize).cast::<[T; M]>().read_unaligned();
                dst.add(k * M).cast::<[T; M]>().write_unaligned(run);
            }
        }
        return;
    }
    let at: [*const T; M] = std::array::from_fn(|i| base.wrapping_add(places[i]));
    for (k, &o) in off.iter().enumerate() {
        for (i, from) in at.iter().enumerate() {
            // SAFETY: by this function's contract.
            unsafe { *dst.add(k * M + i) = *from.add(o as usize) };
        }
    }
}
