//! Gradients of a convolution's weight, where there are enough output channels to fill a vector: outputs are what is summed
//! over, `columns` (channel and tap) times output channels the product. The right operand is the gradient, packed output
//! by output; the left one is read from the padded block of the input in place, each column at an offset of its own
//! ([`Window`]), so that no matrix of patches is built and no row has a tail.
//!
//! Images are summed in a number of groups that the shape fixes, then the groups in order: the same bits however many
//! threads there are.

use super::geometry::Geometry;
use super::weight::add_up;
use super::window::{AxisRun, Window};
use crate::gemm::View;
use crate::gemm::blocked::{Gemm, KC};
use crate::gemm::pack::pack_b;
use crate::parallel::{SendPtr, for_chunks};
use crate::room;
use crate::scratch;
use rustnn_base::{Error, Result};
use rustnn_simd::Isa;
use rustnn_simd::arch::{Add, GemmArgs, Micro, TapsArgs};
use std::sync::atomic::{AtomicBool, Ordering};

/// Outputs of a visit, about: two blocks of the sum.
const VISIT: usize = 2 * KC;
/// Output channels of a chunk.
const WIDTH: usize = 64;
/// Values of a visit's input block, about: a quarter of L2 in f32.
const BLOCK: usize = 32 << 10;
/// Below this number of output channels most lanes of a vector would be empty.
const LEAST: usize = 8;

/// Whether this is the way to a weight's gradient, by its shape alone.
pub fn suits(geo: &Geometry) -> bool {
    geo.cout >= LEAST && geo.batch > 0 && geo.out_plane() > 0
}

/// What chunks share.
struct Plan<'a, T: 'static> {
    geo: &'a Geometry,
    micro: &'a Micro<T>,
    window: Window,
    /// Axis along which images are cut, and how many outputs along it a visit covers.
    axis: usize,
    rows: usize,
    whole: [usize; 3],
    /// Images of a visit, and values from one image's block to the next.
    images: usize,
    image: usize,
    /// Channels of a block, and the offsets of their taps.
    run: usize,
    offsets: Vec<usize>,
    grad: SendPtr<T>,
    input: SendPtr<T>,
}

/// `weight[g, m, c, tap] = sum over images and outputs of grad[n, g, m, q] * input[n, g, c, q * stride + tap]`.
///
/// # Safety
/// `grad` and `input` hold the geometry's output and input, `weight` is its weight; the CPU has `isa`; [`suits`].
pub unsafe fn grad_weight<T: Gemm>(
    geo: &Geometry,
    axes: &[AxisRun; 3],
    grad: *const T,
    input: *const T,
    weight: *mut T,
    isa: Isa,
) -> Result<()> {
    let (cin, cout, groups, batch) = (geo.cin, geo.cout, geo.groups, geo.batch);
    let (taps, plane) = (geo.taps(), geo.out_plane());
    let columns = cin * taps;
    let size = groups * cout * columns;
    if size == 0 {
        return Ok(());
    }
    let plan = plan(geo, axes, SendPtr(grad.cast_mut()), SendPtr(input.cast_mut()), T::micro(isa))?;
    // Chunks: blocks of output channels, then groups of images until there are 16.
    let blocks = cout.div_ceil(WIDTH);
    let width = cout.div_ceil(blocks).next_multiple_of(16).min(cout);
    let blocks = cout.div_ceil(width);
    let work = cout.saturating_mul(columns).saturating_mul(plane).saturating_mul(batch).saturating_mul(groups);
    let visits = batch.div_ceil(plan.images);
    let partials = visits.min(16usize.div_ceil(blocks * groups)).min((work / 400_000).max(1));
    let per = visits.div_ceil(partials) * plan.images;
    let partials = batch.div_ceil(per);

    let failed = AtomicBool::new(false);
    let reserve = if partials > 1 { partials * size } else { 0 };
    scratch::with(reserve, |sums: *mut T| {
        let sums = SendPtr(if partials > 1 { sums } else { weight });
        let (plan, failed) = (&plan, &failed);
        for_chunks(partials * groups * blocks, &|i| {
            let (block, i) = (i % blocks, i / blocks);
            let (g, part) = (i % groups, i / groups);
            let (m0, m1) = (block * width, ((block + 1) * width).min(cout));
            let done = scratch::with(columns * (m1 - m0), |acc: *mut T| {
                // SAFETY: room for the chunk's sums, images of the batch.
                let summed = unsafe {
                    std::slice::from_raw_parts_mut(acc, columns * (m1 - m0)).fill(T::ZERO);
                    plan.sum(g, m0, m1, part * per, ((part + 1) * per).min(batch), acc)
                };
                let own = sums.get().wrapping_add(part * size + (g * cout + m0) * columns);
                for m in 0..m1 - m0 {
                    for c in 0..columns {
                        // SAFETY: these channels' weights, which are this chunk's alone.
                        unsafe { *own.add(m * columns + c) = *acc.add(c * (m1 - m0) + m) };
                    }
                }
                summed
            });
            if done.and_then(|summed| summed).is_err() {
                failed.store(true, Ordering::Relaxed);
            }
        });
        if partials > 1 {
            // SAFETY: every chunk wrote its sums of `size` weights.
            unsafe { add_up(sums, partials, size, SendPtr(weight)) };
        }
    })?;
    if failed.load(Ordering::Relaxed) {
        return Err(Error::out_of_memory((columns * width * size_of::<T>()) as u64));
    }
    Ok(())
}

/// How to go through the images, by the shape alone.
fn plan<'a, T: Gemm>(
    geo: &'a Geometry,
    axes: &[AxisRun; 3],
    grad: SendPtr<T>,
    input: SendPtr<T>,
    micro: &'a Micro<T>,
) -> Result<Plan<'a, T>> {
    let whole: [usize; 3] = std::array::from_fn(|d| axes[d].n);
    let source: [usize; 3] = std::array::from_fn(|d| geo.axes[d].input);
    let plane = geo.out_plane();
    let axis = if whole[0] > 1 { 0 } else { 1 };
    let rows = (VISIT / (plane / whole[axis])).clamp(1, whole[axis]);
    let rows = whole[axis].div_ceil(whole[axis].div_ceil(rows));
    let images = if rows == whole[axis] { (VISIT / plane).clamp(1, geo.batch) } else { 1 };
    let mut most = whole;
    most[axis] = rows;
    let window = Window::new(axes.clone(), source, most, 1)?;
    let run = (BLOCK / window.plane.saturating_mul(images).max(1)).clamp(1, geo.cin);
    let run = geo.cin.div_ceil(geo.cin.div_ceil(run));
    let image = window.len(run, 1);
    if image.saturating_mul(images) > u32::MAX as usize {
        return Err(Error::Runtime("this convolution's rows are too large".into()));
    }
    let offsets = window.offsets(run, |at| at)?;
    Ok(Plan { geo, micro, window, axis, rows, whole, images, image, run, offsets, grad, input })
}

impl<T: Gemm> Plan<'_, T> {
    /// Adds what images `n0..n1` give to `acc[column][m - m0]`, channels `m0..m1` of group `g`.
    ///
    /// # Safety
    /// The images and channels exist; `acc` has room for `cin * taps * (m1 - m0)` sums.
    unsafe fn sum(&self, g: usize, m0: usize, m1: usize, n0: usize, n1: usize, acc: *mut T) -> Result<()> {
        let (geo, whole) = (self.geo, self.whole);
        let (plane, in_plane, taps) = (geo.out_plane(), geo.in_plane(), geo.taps());
        let most = self.images * self.rows * (plane / whole[self.axis]);
        let (wide, width) = (m1 - m0, (m1 - m0).next_multiple_of(self.micro.lanes));
        let mut places: Vec<u32> = room::with_capacity(most)?;
        scratch::with(most * width, |packed: *mut T| {
            scratch::with(self.image * self.images, |buffer: *mut T| {
                for x in 0..self.images {
                    // SAFETY: room for the visit's windows.
                    unsafe { self.window.clear(buffer.add(x * self.image), self.run, 1) };
                }
                for n in (n0..n1).step_by(self.images) {
                    let images = self.images.min(n1 - n);
                    for q in (0..whole[self.axis]).step_by(self.rows) {
                        let (mut from, mut to) = ([0; 3], whole);
                        from[self.axis] = q;
                        to[self.axis] = (q + self.rows).min(whole[self.axis]);
                        self.places(images, from, to, &mut places);
                        let k = places.len();
                        // SAFETY: the visit's outputs of images that exist, room for their gradients.
                        unsafe { self.pack(g, m0, wide, n, images, from, k / images, packed) };
                        for c in (0..geo.cin).step_by(self.run) {
                            let run = self.run.min(geo.cin - c);
                            for x in 0..images {
                                let item = ((n + x) * geo.groups + g) * geo.cin + c;
                                let src = self.input.get().wrapping_add(item * in_plane);
                                // SAFETY: channels c.. of image n + x; room for the visit's windows.
                                unsafe { self.window.fill(src, run, from, to, buffer.add(x * self.image)) };
                            }
                            let offsets = &self.offsets[..run * taps];
                            // SAFETY: packed gradients and filled windows; the sums of these columns.
                            unsafe { self.multiply(&places, offsets, buffer, packed, wide, acc.add(c * taps * wide)) };
                        }
                    }
                }
            })
        })?
    }

    /// Where each output of a visit reads, relative to a column's place.
    fn places(&self, images: usize, from: [usize; 3], to: [usize; 3], places: &mut Vec<u32>) {
        places.clear();
        for x in 0..images {
            for d in from[0]..to[0] {
                for h in from[1]..to[1] {
                    let line = x * self.image + self.window.base(d - from[0], h - from[1], 0);
                    places.extend((0..self.whole[2]).map(|w| (line + w) as u32));
                }
            }
        }
    }

    /// Packs the visit's gradients, `each` outputs of each image: panels of vectors, output by output.
    ///
    /// # Safety
    /// The images, channels `m0..m0 + wide` and outputs exist; `packed` has room for them, the last panel filled up.
    unsafe fn pack(
        &self,
        g: usize,
        m0: usize,
        wide: usize,
        n: usize,
        images: usize,
        from: [usize; 3],
        each: usize,
        packed: *mut T,
    ) {
        let (geo, nr) = (self.geo, self.micro.nr());
        let plane = geo.out_plane();
        let first = (from[0] * self.whole[1] + from[1]) * self.whole[2];
        for j in (0..wide).step_by(nr) {
            let cols = nr.min(wide - j);
            let width = cols.next_multiple_of(self.micro.lanes);
            for x in 0..images {
                let item = ((n + x) * geo.groups + g) * geo.cout + m0 + j;
                let ptr = self.grad.get().wrapping_add(item * plane + first).cast_const();
                // SAFETY: by this function's contract; a part of the panel at `j * outputs`.
                unsafe {
                    let to = packed.add(j * each * images + x * each * width);
                    pack_b(self.micro, View { ptr, rs: 1, cs: plane as isize }, each, cols, to);
                }
            }
        }
    }

    /// Adds a visit's products to the sums of its columns.
    ///
    /// # Safety
    /// `buffer` is filled at every offset and place, `packed` holds `places.len()` steps of `wide` channels, `acc` the
    /// sums.
    unsafe fn multiply(
        &self,
        places: &[u32],
        offsets: &[usize],
        buffer: *const T,
        packed: *const T,
        wide: usize,
        acc: *mut T,
    ) {
        let (nr, lanes) = (self.micro.nr(), self.micro.lanes);
        let k = places.len();
        let panels = offsets.len().div_ceil(6);
        for j in (0..wide).step_by(nr) {
            let cols = nr.min(wide - j);
            let vecs = cols.div_ceil(lanes);
            for (block, off) in places.chunks(KC).enumerate() {
                for p in 0..panels {
                    let (c0, c1) = (p * offsets.len() / panels, (p + 1) * offsets.len() / panels);
                    let rows: [*const T; 6] =
                        std::array::from_fn(|i| buffer.wrapping_add(offsets[(c0 + i).min(c1 - 1)]));
                    // SAFETY: by this function's contract.
                    unsafe {
                        (self.micro.taps[c1 - c0 - 1][vecs - 1])(&TapsArgs {
                            gemm: GemmArgs {
                                k: off.len(),
                                a: std::ptr::null(),
                                a_rs: 0,
                                a_ks: 0,
                                b: packed.add(j * k + block * KC * vecs * lanes),
                                b_ks: 0,
                                c: acc.add(c0 * wide + j),
                                ldc: wide,
                                alpha: T::ONE,
                                add: Add::Dst,
                                bias: std::ptr::null(),
                                last: cols - (vecs - 1) * lanes,
                            },
                            rows: rows.as_ptr(),
                            off: off.as_ptr(),
                        });
                    }
                }
            }
        }
    }
}
