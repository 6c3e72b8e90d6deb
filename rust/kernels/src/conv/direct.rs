//! The convolution engine: output channels times vectors of outputs, reading a padded block of the input in place.
//!
//! No matrix of patches is built: each tap is a constant offset into the block ([`Window`]), the weights are packed
//! once. The forward pass runs it once; the input gradient once per residue of the stride.

use super::window::{AxisRun, Window};
use crate::gemm::blocked::{Gemm, PACK};
use crate::gemm::pack::panel_start;
use crate::packs::{self, Keep, Key, Order};
use crate::parallel::{SendPtr, for_range, num_threads};
use crate::room::{self, or_stop};
use crate::scratch;
use rustnn_base::layout::count;
use rustnn_base::{Error, Result};
use rustnn_simd::Isa;
use rustnn_simd::arch::{Add, ConvArgs, fetch};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Steps per block of the sum, in whole channels; the same for every instruction set.
const STEPS: usize = 288;
/// Values of a chunk's input block, about: half of L2 in f32.
const BLOCK: usize = 64 << 10;
/// Outputs of a line that a part of it has at least.
const VECTORS: usize = 256;
/// Output channels in a share of them, at least.
const SHARE: usize = 48;
/// Multiplications worth handing to another thread.
pub(super) const WORK: usize = 400_000;

/// One pass: `dst[n, g, m, q] = bias[g, m] + sum over c, taps of weight * src[n, g, c, q * step + tap]`.
pub struct Pass<'a, T> {
    pub batch: usize,
    pub groups: usize,
    pub cin: usize,
    pub cout: usize,
    pub src: *const T,
    pub source: [usize; 3],
    pub dst: *mut T,
    pub target: [usize; 3],
    pub axes: [AxisRun; 3],
    pub weights: Weights<'a, T>,
    /// `groups * cout` values or null.
    pub bias: *const T,
    pub told: Told<'a>,
}

/// Who is told of outputs that are final, in some planes (`image * groups * cout + channel`) from one place to another, by the
/// thread that has just written them: of each output once, unless all are written anew.
pub type Told<'a> = Option<&'a (dyn Fn(Range<usize>, Range<usize>) + Sync)>;

// SAFETY: addresses whose use the function that runs the pass answers for; its chunks write disjoint parts of `dst`.
unsafe impl<T: Sync> Sync for Pass<'_, T> {}

/// Where the weights of a pass lie: that of (group, output channel m, input channel c, tap of flat index t) at
/// `group * g + m * out + c * input + t`.
#[derive(Clone, Copy)]
pub struct Weights<'a, T> {
    pub values: &'a [T],
    pub group: usize,
    pub out: usize,
    pub input: usize,
    /// Sizes of the kernel.
    pub kernel: [usize; 3],
    pub keep: Keep<'a>,
}

impl<T: Gemm> Weights<'_, T> {
    /// What tells a packed copy of these weights from another: where they lie and how they are cut.
    pub fn key(&self, order: Order, taps: &[usize], sizes: [usize; 3], cut: [usize; 2]) -> Key {
        let form = [self.group, self.out, self.input, sizes[0], sizes[1], sizes[2], cut[0], cut[1]];
        // Taps that a pass leaves out, or walks backwards, make another copy.
        let form = form.iter().chain(taps).map(|&v| v as isize).collect();
        Key { order, first: self.values.as_ptr() as usize, size: size_of::<T>(), form }
    }

    /// Packs rows `m0..m1` and steps `k0..k0 + kc` of a group's matrix `[cout][channel, tap]` as `[step][row]`.
    ///
    /// # Safety
    /// `dst` has room for `kc * (m1 - m0)` values; rows, channels and taps exist.
    pub unsafe fn pack(&self, g: usize, m0: usize, m1: usize, k0: usize, kc: usize, taps: &[usize], dst: *mut T) {
        let (rows, n) = (m1 - m0, taps.len());
        let base = self.values.as_ptr().wrapping_add(g * self.group + m0 * self.out);
        let mut k = 0;
        // Channel by channel: the taps of neighbouring rows lie together in one of the two directions.
        while k < kc {
            let (c, t0) = ((k0 + k) / n, (k0 + k) % n);
            let run = (n - t0).min(kc - k);
            for i in 0..rows {
                let from = base.wrapping_add(i * self.out + c * self.input);
                // A later channel's: in one of the directions it is far away.
                fetch(from.wrapping_add(4 * self.input));
                for (t, &tap) in taps[t0..t0 + run].iter().enumerate() {
                    // SAFETY: by this function's contract.
                    unsafe { *dst.add((k + t) * rows + i) = *from.add(tap) };
                }
            }
            k += run;
        }
    }
}

impl<T> Pass<'_, T> {
    /// Taps of the kernel that the pass uses.
    pub fn taps(&self) -> usize {
        count(&self.axes.each_ref().map(|a| a.taps.len()))
    }

    /// Whether the pass uses all taps, in the kernel's order, and those of an input channel lie together.
    pub fn in_order(&self) -> bool {
        let all = self.axes.iter().zip(self.weights.kernel).all(|(a, k)| a.taps.iter().map(|t| t.0).eq(0..k));
        all && self.weights.input == self.taps()
    }

    /// Flat index in the kernel of each tap that the pass uses, in its order.
    pub fn flat_taps(&self) -> Result<Vec<usize>> {
        let [_, h, w] = self.weights.kernel;
        let [a, b, c] = &self.axes;
        room::collected(
            a.taps
                .iter()
                .flat_map(|x| b.taps.iter().flat_map(move |y| c.taps.iter().map(move |z| (x.0 * h + y.0) * w + z.0))),
        )
    }
}

/// A vector of outputs: where it reads relative to the block, where it writes in its plane, how many values count.
struct Lane {
    src: u32,
    dst: usize,
    lanes: u32,
}

/// Outputs `from..to` per axis, cut into vectors.
struct Part {
    from: [usize; 3],
    to: [usize; 3],
    vectors: Vec<Lane>,
}

/// How a pass is cut into chunks. The cut changes no result, so it may follow the number of threads.
struct Cut {
    /// The outermost axis that has more than one output (or the last), and outputs along it in a part.
    axis: usize,
    rows: usize,
    /// Runs of output channels.
    shares: usize,
}

fn cut<T>(p: &Pass<T>, window_rows: impl Fn(usize, usize) -> usize, k: usize) -> Cut {
    let axis = (0..2).find(|&d| p.axes[d].n > 1).unwrap_or(2);
    let n = p.axes[axis].n;
    // Of a line, whole vectors.
    let whole = |rows: usize| if axis == 2 { rows.next_multiple_of(VECTORS).min(n) } else { rows };
    let items = p.batch.saturating_mul(p.groups).max(1);
    // Small enough for the cache.
    let mut rows = n;
    while rows > whole(1) && window_rows(axis, rows) > BLOCK {
        rows = whole(rows.div_ceil(2));
    }
    let work = p.axes.iter().fold(p.cout.saturating_mul(k), |w, a| w.saturating_mul(a.n)).saturating_mul(items);
    let want = (2 * num_threads()).min((work / WORK).max(1));
    let have = items * n.div_ceil(rows);
    let (mut shares, more) = (1, want.div_ceil(have));
    if more > 1 {
        // Every part reads all weights, every share the whole input: the smaller of the two is read more often.
        if p.cout.saturating_mul(k) > p.cin.saturating_mul(count(&p.source)) {
            shares = more.min(p.cout.div_ceil(SHARE));
        } else {
            rows = whole(rows.div_ceil(more));
        }
    }
    Cut { axis, rows, shares }
}

/// Steps of a block of the sum, for this number of taps.
pub fn block(taps: usize) -> usize {
    (STEPS / taps.max(1)).max(1) * taps.max(1)
}

/// Runs a pass.
///
/// # Safety
/// `src` has `batch * groups * cin` planes of `source`, `dst` `batch * groups * cout` planes of `target`, `bias` is null
/// or has a value per output channel; the CPU has `isa`; nobody else touches `dst`.
pub unsafe fn run<T: Gemm>(p: &Pass<T>, isa: Isa) -> Result<()> {
    let micro = T::micro(isa);
    let lanes = micro.conv_lanes;
    let taps = p.taps();
    let outputs = count(&p.axes.each_ref().map(|a| a.n));
    if p.batch == 0 || p.groups == 0 || p.cout == 0 || outputs == 0 {
        return Ok(());
    }
    let k = p.cin * taps;
    let whole: [usize; 3] = std::array::from_fn(|d| p.axes[d].n);
    let Cut { axis, rows, shares } = cut(
        p,
        |axis, rows| {
            let mut most = whole;
            most[axis] = rows;
            Window::new(p.axes.clone(), p.source, most, lanes).map_or(usize::MAX, |w| w.len(p.cin, lanes))
        },
        k,
    );
    let mut most = whole;
    most[axis] = rows;
    let window = Window::new(p.axes.clone(), p.source, most, lanes)?;
    if window.len(p.cin, lanes) > u32::MAX as usize {
        return Err(Error::Runtime("this convolution's input block is too large".into()));
    }

    let flat = p.flat_taps()?;
    let offsets = window.offsets(p.cin, |at| at as u32)?;
    let parts: Vec<Part> = (0..whole[axis].div_ceil(rows))
        .map(|i| {
            let (mut from, mut to) = ([0; 3], whole);
            from[axis] = i * rows;
            to[axis] = ((i + 1) * rows).min(whole[axis]);
            let lines = (to[0] - from[0]) * (to[1] - from[1]);
            let mut vectors = or_stop(room::with_capacity(lines * (to[2] - from[2]).div_ceil(lanes)));
            for d in from[0]..to[0] {
                for h in from[1]..to[1] {
                    let line = (d * p.target[1] + h) * p.target[2];
                    for w in (from[2]..to[2]).step_by(lanes) {
                        vectors.push(Lane {
                            src: window.base(d - from[0], h - from[1], w - from[2]) as u32,
                            dst: line + w,
                            lanes: lanes.min(to[2] - w) as u32,
                        });
                    }
                }
            }
            Part { from, to, vectors }
        })
        .collect();

    let panels = p.cout.div_ceil(6);
    let tallest = p.cout.div_ceil(panels);
    let width = micro.conv[tallest - 1].len();
    let block = block(taps);
    let failed = AtomicBool::new(false);
    // Pack: per group, per block of steps, per panel of channels, step by step.
    let pack = |packed: *mut T| {
        let packed = SendPtr(packed);
        let blocks = k.div_ceil(block.max(1));
        let grain = (PACK / (block * tallest).max(1)).max(1);
        for_range(p.groups * blocks * panels, grain, |range| {
            for i in range {
                let (q, b, g) = (i % panels, i / panels % blocks, i / panels / blocks);
                let (m0, m1) = (panel_start(q, panels, p.cout), panel_start(q + 1, panels, p.cout));
                let (k0, kc) = (b * block, block.min(k - b * block));
                // SAFETY: each (group, block, panel) has its own place among `groups * cout * k` values.
                unsafe {
                    let dst = packed.get().add(g * p.cout * k + k0 * p.cout + m0 * kc);
                    p.weights.pack(g, m0, m1, k0, kc, &flat, dst);
                }
            }
        });
    };
    let key = p.weights.key(Order::Taps, &flat, [p.groups, p.cout, p.cin], [block, panels]);
    packs::with(p.weights.keep, key, p.groups * p.cout * k, pack, |packed: *const T| {
        let packed = SendPtr(packed.cast_mut());
        let (src, dst) = (SendPtr(p.src.cast_mut()), SendPtr(p.dst));
        let bias = SendPtr(p.bias.cast_mut());
        let (in_plane, out_plane) = (count(&p.source), count(&p.target));
        let (cin, cout, groups) = (p.cin, p.cout, p.groups);
        let has_bias = !p.bias.is_null();
        let (window, offsets, parts, failed) = (&window, &offsets, &parts, &failed);
        let work = (outputs / parts.len()).max(1).saturating_mul(cout.saturating_mul(k) / shares);
        for_range(p.batch * groups * parts.len() * shares, (WORK / work.max(1)).max(1), |range| {
            let done = scratch::with(window.len(cin, lanes), |buffer: *mut T| {
                // SAFETY: the window's room was reserved.
                unsafe { window.clear(buffer, cin, lanes) };
                for i in range.clone() {
                    let (share, i) = (i % shares, i / shares);
                    let (item, part) = (i / parts.len(), &parts[i % parts.len()]);
                    let g = item % groups;
                    // SAFETY: planes of this item; the window's room was reserved.
                    unsafe {
                        // The share before this one left the same block.
                        if k > 0 && (share == 0 || i * shares + share == range.start) {
                            window.fill(src.get().add(item * cin * in_plane), cin, part.from, part.to, buffer);
                        }
                    }
                    let out = dst.get().wrapping_add(item * cout * out_plane);
                    let mut k0 = 0;
                    // An empty sum still writes its bias or zero.
                    while k0 < k || (k == 0 && k0 == 0) {
                        let kc = block.min(k - k0);
                        let first = k0 == 0;
                        for vectors in part.vectors.chunks(width) {
                            let n = vectors.len();
                            let mut from = [std::ptr::null::<T>(); 8];
                            let mut to = [std::ptr::null_mut::<T>(); 8];
                            let mut count = [0u32; 8];
                            for (j, v) in vectors.iter().enumerate() {
                                from[j] = buffer.wrapping_add(v.src as usize);
                                to[j] = out.wrapping_add(v.dst);
                                count[j] = v.lanes;
                            }
                            for q in panel_start(share, shares, panels)..panel_start(share + 1, shares, panels) {
                                let (m0, m1) = (panel_start(q, panels, cout), panel_start(q + 1, panels, cout));
                                let bias = bias.get().wrapping_add(g * cout + m0).cast_const();
                                let add = match (first, has_bias) {
                                    (true, false) => Add::Nothing,
                                    (true, true) => Add::PerRow,
                                    (false, _) => Add::Dst,
                                };
                                let mut args = ConvArgs {
                                    k: kc,
                                    a: packed.get().wrapping_add(g * cout * k + k0 * cout + m0 * kc).cast_const(),
                                    off: offsets.as_ptr().wrapping_add(k0),
                                    src: from.as_ptr(),
                                    dst: std::ptr::null(),
                                    lanes: count.as_ptr(),
                                    ms: out_plane,
                                    add,
                                    bias,
                                };
                                let kernel = micro.conv[m1 - m0 - 1][n - 1];
                                let rows: [*mut T; 8] = std::array::from_fn(|j| to[j].wrapping_add(m0 * out_plane));
                                args.dst = rows.as_ptr();
                                // SAFETY: taps stay within the window (its room includes a vector past the end),
                                // the stores within this item's output planes, which no other chunk writes.
                                unsafe { kernel(&args) };
                            }
                        }
                        k0 += kc.max(1);
                    }
                    if let (Some(told), Some(first), Some(last)) = (p.told, part.vectors.first(), part.vectors.last()) {
                        let channel = |s: usize| panel_start(panel_start(s, shares, panels), panels, cout);
                        let planes = item * cout + channel(share)..item * cout + channel(share + 1);
                        told(planes, first.dst..last.dst + last.lanes as usize);
                    }
                }
            });
            if done.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
        });
    })?;
    if failed.load(Ordering::Relaxed) {
        return Err(Error::out_of_memory((window.len(p.cin, lanes) * size_of::<T>()) as u64));
    }
    Ok(())
}
