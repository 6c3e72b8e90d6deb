//! Depthwise convolutions: with one input channel per group there is no sum over channels to fill tiles with, so planes are
//! done one by one. A plane is copied with its borders, dealt to as many parts as the strides have phases, so that a tap is
//! one offset for all outputs, rows and all: outputs are computed straight through, the few between rows are dropped.

use super::direct::Pass;
use super::geometry::Geometry;
use super::window::AxisRun;
use crate::gemm::blocked::Gemm;
use crate::parallel::{SendPtr, for_range};
use crate::room;
use crate::scratch;
use rustnn_base::{Error, Result};
use rustnn_simd::dispatch;
use std::sync::atomic::{AtomicBool, Ordering};

/// Output channels per group up to which this is the better way.
const MOST: usize = 4;
/// Outputs computed side by side, in f32; half as many in f64.
const SIDE: usize = 64;
/// Lanes of a tap's sum in the weight's gradient, for every instruction set, and taps summed side by side.
const LANES: usize = 16;
const TAPS: usize = 3;
/// Values of a plane, borders included, beyond which it is not copied whole.
const LARGEST: usize = 4 << 20;
/// Values worth handing to another thread, read or written.
const GRAIN: usize = 65_536;

fn trivial(a: &AxisRun) -> bool {
    a.n == 1 && a.step == 1 && matches!(a.taps[..], [(0, 0)])
}

/// Whether this is the way to run a pass, by its shape alone.
pub fn suits<T>(p: &Pass<T>) -> bool {
    p.cin == 1 && p.cout <= MOST && p.source[0] == 1 && p.target[0] == 1 && trivial(&p.axes[0]) && some(&p.axes)
}

/// Whether this is the way to a weight's gradient, by its shape alone.
pub fn suits_weight(geo: &Geometry, axes: &[AxisRun; 3]) -> bool {
    geo.cin == 1 && geo.cout <= MOST && geo.axes[0].input == 1 && trivial(&axes[0]) && some(axes) && geo.batch > 0
}

/// Whether there is something to do, on planes that may be copied whole.
fn some(axes: &[AxisRun; 3]) -> bool {
    axes.iter().all(|a| a.n > 0 && !a.taps.is_empty())
        && axes.iter().map(|a| a.span(0, a.n).1.saturating_add(a.step)).fold(1, usize::saturating_mul) <= LARGEST
}

/// Layout of a plane's copy.
struct Plane {
    /// Strides of height and width.
    step: [usize; 2],
    /// Rows and columns of a phase.
    rows: usize,
    row: usize,
    /// Outputs from the first to the last, those between rows included.
    flat: usize,
    /// Where each tap lies relative to an output's place.
    offsets: Vec<usize>,
    /// What is copied from the source.
    runs: Vec<Run>,
}

/// `len` values of a row of the source, the width's stride apart, and their place in a row of a phase.
struct Run {
    src: usize,
    dst: usize,
    len: usize,
}

impl Plane {
    fn new(axes: &[AxisRun; 3], source: [usize; 3]) -> Result<Plane> {
        let a = [&axes[1], &axes[2]];
        let low = a.map(|a| a.span(0, a.n).0);
        let span = a.map(|a| a.span(0, a.n).1);
        let step = a.map(|a| a.step);
        let (rows, row) = (span[0].div_ceil(step[0]), span[1].div_ceil(step[1]));
        let mut offsets = room::with_capacity(a[0].taps.len() * a[1].taps.len())?;
        for h in &a[0].taps {
            for w in &a[1].taps {
                let (y, x) = ((h.1 - low[0]) as usize, (w.1 - low[1]) as usize);
                let phase = (y % step[0]) * step[1] + x % step[1];
                offsets.push((phase * rows + y / step[0]) * row + x / step[1]);
            }
        }
        let flat = (a[0].n - 1).saturating_mul(row).saturating_add(a[1].n);
        let mut runs = room::with_capacity(span[0].min(source[1]).saturating_mul(step[1].min(span[1]).min(source[2])))?;
        let [_, sh, sw] = source;
        // Not over the rows read, of which padding may make any number, but over those there are.
        for y in 0..sh {
            let r = y as isize - low[0];
            if r < 0 || r as usize >= span[0] {
                continue;
            }
            let r = r as usize;
            for c in 0..step[1].min(span[1]) {
                // Columns first, first + step, ..: those below 0 and from sw on have no source.
                let first = low[1] + c as isize;
                let a = if first < 0 { ((-first) as usize).div_ceil(step[1]) } else { 0 };
                let b = if first < sw as isize { ((sw as isize - first) as usize).div_ceil(step[1]) } else { 0 };
                let b = b.min(row);
                if a < b {
                    let place = (((r % step[0]) * step[1] + c) * rows + r / step[0]) * row + a;
                    let from = y * sw + (first + (a * step[1]) as isize) as usize;
                    runs.push(Run { src: from, dst: place, len: b - a });
                }
            }
        }
        Ok(Plane { step, rows, row, flat, offsets, runs })
    }

    /// Values to reserve, with room for a block of outputs past the end.
    fn len(&self) -> usize {
        let phases = self.step[0].saturating_mul(self.step[1]);
        phases.saturating_mul(self.rows).saturating_mul(self.row).saturating_add(2 * SIDE)
    }

    /// Zeros everywhere: the borders that [`Plane::fill`] leaves as they are, to be called once for a block of memory.
    ///
    /// # Safety
    /// `dst` has room for [`Plane::len`] values.
    unsafe fn clear<T: Gemm>(&self, dst: *mut T) {
        // SAFETY: by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(dst, self.len()).fill(T::ZERO) };
    }

    /// Copies a plane to where it stands between its borders.
    ///
    /// # Safety
    /// `src` has a plane of the source's size, `dst` room for [`Plane::len`] values.
    unsafe fn fill<T: Gemm>(&self, src: *const T, dst: *mut T) {
        for &Run { src: from, dst: to, len } in &self.runs {
            let from = src.wrapping_add(from);
            // SAFETY: values of a row of the source, places of a row of a phase.
            unsafe {
                if self.step[1] == 1 {
                    std::ptr::copy_nonoverlapping(from, dst.add(to), len);
                } else {
                    for i in 0..len {
                        *dst.add(to + i) = *from.wrapping_add(i * self.step[1]);
                    }
                }
            }
        }
    }
}

/// Sums of all taps for `flat` outputs, `B` side by side.
///
/// # Safety
/// `src + offset` has `flat` values rounded up to whole blocks for every offset, `out` room for as many.
#[inline(always)]
unsafe fn correlate<T: Gemm, const B: usize>(src: *const T, offsets: &[usize], w: &[T], flat: usize, out: *mut T) {
    for i in (0..flat).step_by(B) {
        let mut acc = [T::ZERO; B];
        for (&o, &w) in offsets.iter().zip(w) {
            // SAFETY: by this function's contract.
            let x = unsafe { &*src.add(o + i).cast::<[T; B]>() };
            for l in 0..B {
                acc[l] = w.mul_add(x[l], acc[l]);
            }
        }
        // SAFETY: by this function's contract.
        unsafe { out.add(i).cast::<[T; B]>().write(acc) };
    }
}

/// Runs a pass.
///
/// # Safety
/// As [`super::direct::run`].
pub unsafe fn run<T: Gemm>(p: &Pass<T>) -> Result<()> {
    let plane = Plane::new(&p.axes, p.source)?;
    let taps = p.flat_taps()?;
    let (groups, cout) = (p.groups, p.cout);
    let [_, ah, aw] = &p.axes;
    let (in_plane, out_plane) = (p.source[1] * p.source[2], p.target[1] * p.target[2]);
    let (src, dst, bias) = (SendPtr(p.src.cast_mut()), SendPtr(p.dst), SendPtr(p.bias.cast_mut()));
    let has_bias = !p.bias.is_null();
    let (weights, plane, failed) = (&p.weights, &plane, AtomicBool::new(false));
    let grain = (GRAIN / (plane.flat * (1 + taps.len() / 4)).max(1)).max(1);
    for_range(p.batch * groups, grain, |range| {
        let done = scratch::with(plane.len(), |buffer: *mut T| {
            scratch::with(plane.flat.next_multiple_of(SIDE) + taps.len(), |flat: *mut T| {
                // SAFETY: room for the taps' weights after the outputs.
                let w = unsafe {
                    let w = flat.add(plane.flat.next_multiple_of(SIDE));
                    w.write_bytes(0, taps.len());
                    std::slice::from_raw_parts_mut(w, taps.len())
                };
                // SAFETY: the room that was asked for.
                unsafe { plane.clear(buffer) };
                for item in range {
                    let g = item % groups;
                    // SAFETY: a plane of the source.
                    unsafe { plane.fill(src.get().add(item * in_plane).cast_const(), buffer) };
                    for m in 0..cout {
                        let of = &weights.values[g * weights.group + m * weights.out..];
                        w.iter_mut().zip(&taps).for_each(|(w, &t)| *w = of[t]);
                        // SAFETY: the copy reaches a block past the last output, and so does `flat`; lines of the
                        // target's plane, which is this chunk's alone; a bias per channel.
                        unsafe {
                            let add = if has_bias { *bias.get().add(g * cout + m) } else { T::ZERO };
                            let to = dst.get().add((item * cout + m) * out_plane);
                            dispatch(
                                #[inline(always)]
                                || {
                                    if size_of::<T>() == 4 {
                                        correlate::<T, SIDE>(buffer, &plane.offsets, w, plane.flat, flat);
                                    } else {
                                        correlate::<T, { SIDE / 2 }>(buffer, &plane.offsets, w, plane.flat, flat);
                                    }
                                    for h in 0..ah.n {
                                        let from = std::slice::from_raw_parts(flat.add(h * plane.row), aw.n);
                                        let line = std::slice::from_raw_parts_mut(to.add(h * aw.n), aw.n);
                                        line.iter_mut().zip(from).for_each(|(y, &v)| *y = v + add);
                                    }
                                },
                            );
                        }
                        if let Some(told) = p.told {
                            told(item * cout + m..item * cout + m + 1, 0..out_plane);
                        }
                    }
                }
            })
        });
        if done.and_then(|inner| inner).is_err() {
            failed.store(true, Ordering::Relaxed);
        }
    });
    if failed.load(Ordering::Relaxed) {
        Err(Error::out_of_memory((plane.len() * size_of::<T>()) as u64))
    } else {
        Ok(())
    }
}

/// Adds to the sums of some taps, lane by lane, the products of `dy` with the plane at their offsets.
///
/// # Safety
/// `dy` and `src + offset` have `flat` values, a multiple of `LANES`; there are 1 to `TAPS` offsets and as many sums.
#[inline(always)]
unsafe fn dots<T: Gemm>(dy: *const T, src: *const T, at: &[usize], flat: usize, sums: &mut [[T; LANES]]) {
    // Three variables, and no array of them, which would be kept in memory; where taps are fewer, some are done twice.
    let [mut a, mut b, mut c] = [[T::ZERO; LANES]; TAPS];
    let [xa, xb, xc]: [*const T; TAPS] = std::array::from_fn(|t| src.wrapping_add(at[t.min(at.len() - 1)]));
    for i in (0..flat).step_by(LANES) {
        // SAFETY: by this function's contract.
        unsafe {
            let y = &*dy.add(i).cast::<[T; LANES]>();
            let lanes = |x: *const T| &*x.add(i).cast::<[T; LANES]>();
            let (xa, xb, xc) = (lanes(xa), lanes(xb), lanes(xc));
            for l in 0..LANES {
                a[l] = y[l].mul_add(xa[l], a[l]);
            }
            for l in 0..LANES {
                b[l] = y[l].mul_add(xb[l], b[l]);
            }
            for l in 0..LANES {
                c[l] = y[l].mul_add(xc[l], c[l]);
            }
        }
    }
    for (sum, acc) in sums.iter_mut().zip([a, b, c]) {
        for l in 0..LANES {
            sum[l] += acc[l];
        }
    }
}

/// `weight[g, m, tap] = sum over images and outputs of grad[n, g, m, q] * input[n, g, q * stride + tap]`.
///
/// # Safety
/// `grad` and `input` hold the geometry's output and input, `weight` is its weight; [`suits_weight`].
pub unsafe fn grad_weight<T: Gemm>(
    geo: &Geometry,
    axes: &[AxisRun; 3],
    grad: *const T,
    input: *const T,
    weight: *mut T,
) -> Result<()> {
    let plane = Plane::new(axes, std::array::from_fn(|d| geo.axes[d].input))?;
    let (groups, cout, taps) = (geo.groups, geo.cout, geo.taps());
    let (in_plane, out_plane) = (geo.in_plane(), geo.out_plane());
    let (grad, input, weight) = (SendPtr(grad.cast_mut()), SendPtr(input.cast_mut()), SendPtr(weight));
    let flat = plane.flat.next_multiple_of(LANES);
    let (plane, failed) = (&plane, AtomicBool::new(false));
    let grain = (GRAIN / (flat * geo.batch * (1 + taps / 4)).max(1)).max(1);
    let (rows, cols) = (axes[1].n, axes[2].n);
    for_range(groups, grain, |range| {
        let done = scratch::with(plane.len() + flat + cout * taps * LANES, |buffer: *mut T| {
            let dy = buffer.wrapping_add(plane.len());
            // SAFETY: the three parts of the block, set before they are read.
            let sums = unsafe {
                plane.clear(buffer);
                dy.write_bytes(0, flat + cout * taps * LANES);
                std::slice::from_raw_parts_mut(dy.add(flat).cast::<[T; LANES]>(), cout * taps)
            };
            for g in range {
                sums.fill([T::ZERO; LANES]);
                for n in 0..geo.batch {
                    let item = n * groups + g;
                    // SAFETY: a plane of the input and one of the gradient; the gaps between the gradient's rows stay
                    // zero.
                    unsafe {
                        let x = input.get().add(item * in_plane).cast_const();
                        plane.fill(x, buffer);
                        let finite = finite(std::slice::from_raw_parts(x, in_plane));
                        for m in 0..cout {
                            let from = grad.get().add((item * cout + m) * out_plane).cast_const();
                            for h in 0..rows {
                                std::ptr::copy_nonoverlapping(from.add(h * cols), dy.add(h * plane.row), cols);
                            }
                            let sums = &mut sums[m * taps..(m + 1) * taps];
                            if finite {
                                all_dots(dy, buffer, &plane.offsets, flat, sums);
                            } else {
                                // Zero times infinity is not nothing: row by row, without what lies between.
                                for (sum, &o) in sums.iter_mut().zip(&plane.offsets) {
                                    for h in 0..rows {
                                        for w in h * plane.row..h * plane.row + cols {
                                            let lane = w % LANES;
                                            sum[lane] = (*dy.add(w)).mul_add(*buffer.add(o + w), sum[lane]);
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                for (i, sum) in sums.iter().enumerate() {
                    let mut sum = *sum;
                    let mut n = LANES;
                    while n > 1 {
                        n /= 2;
                        for l in 0..n {
                            sum[l] += sum[l + n];
                        }
                    }
                    // SAFETY: this group's weights.
                    unsafe { *weight.get().add(g * cout * taps + i) = sum[0] };
                }
            }
        });
        if done.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
    });
    if failed.load(Ordering::Relaxed) {
        Err(Error::out_of_memory((plane.len() * size_of::<T>()) as u64))
    } else {
        Ok(())
    }
}

/// Whether no value is infinite or NaN: zero times such a value is not zero.
fn finite<T: Gemm>(x: &[T]) -> bool {
    dispatch(
        #[inline(always)]
        || {
            let mut acc = [T::ZERO; LANES];
            let mut blocks = x.chunks_exact(LANES);
            for block in &mut blocks {
                for l in 0..LANES {
                    acc[l] += block[l] * T::ZERO;
                }
            }
            acc.iter().all(|&v| v == T::ZERO) && blocks.remainder().iter().all(|&v| v * T::ZERO == T::ZERO)
        },
    )
}

/// [`dots`] of all taps.
///
/// # Safety
/// As there.
unsafe fn all_dots<T: Gemm>(dy: *const T, src: *const T, offsets: &[usize], flat: usize, sums: &mut [[T; LANES]]) {
    dispatch(
        #[inline(always)]
        || {
            for (at, sums) in offsets.chunks(TAPS).zip(sums.chunks_mut(TAPS)) {
                // SAFETY: by this function's contract.
                unsafe { dots(dy, src, at, flat, sums) };
            }
        },
    );
}
