//! Gradients of a convolution's weight and bias.
//!
//! Each weight is a dot product of an output channel's gradient with the shifted input, so tiles of four channels by
//! three taps are dotted over whole rows, again on the padded block. Images are summed in a number of groups that the
//! shape fixes, then the groups in order.

use super::geometry::Geometry;
use super::window::{AxisRun, Window};
use crate::gemm::blocked::Gemm;
use crate::parallel::{SendPtr, for_chunks, for_range};
use crate::scratch;
use rustnn_base::{Error, Result};
use rustnn_simd::arch::DotArgs;
use rustnn_simd::{Isa, dispatch};
use std::sync::atomic::{AtomicBool, Ordering};

/// Values of an input block, about: half of L2 in f32.
const BLOCK: usize = 64 << 10;
/// Outputs a tile is summed over before it is added to the result, at least.
const DEEP: usize = 512;

/// `weight[g, m, c, tap] = sum over images and outputs of grad[n, g, m, q] * input[n, g, c, q * stride + tap]`.
///
/// # Safety
/// `grad` and `input` hold the geometry's output and input, `weight` is its weight; the CPU has `isa`.
pub unsafe fn grad_weight<T: Gemm>(
    geo: &Geometry,
    axes: [AxisRun; 3],
    grad: *const T,
    input: *const T,
    weight: *mut T,
    isa: Isa,
) -> Result<()> {
    let micro = T::micro(isa);
    let lanes = micro.dot_lanes;
    let (cin, cout, groups, batch) = (geo.cin, geo.cout, geo.groups, geo.batch);
    let (taps, plane, in_plane) = (geo.taps(), geo.out_plane(), geo.in_plane());
    let size = groups * cout * cin * taps;
    if size == 0 {
        return Ok(());
    }
    if batch == 0 || plane == 0 {
        // SAFETY: the whole weight.
        unsafe { std::slice::from_raw_parts_mut(weight, size).fill(T::ZERO) };
        return Ok(());
    }
    let source: [usize; 3] = std::array::from_fn(|d| geo.axes[d].input);
    let whole: [usize; 3] = std::array::from_fn(|d| axes[d].n);

    // Chunks: runs of channels, then groups of images until there are 16.
    let runs = (cin / 16).clamp(1, 16);
    let run = cin.div_ceil(runs);
    let runs = cin.div_ceil(run);
    let total = size.saturating_mul(plane).saturating_mul(batch);
    let partials = batch.min(16usize.div_ceil(runs * groups)).min((total / 400_000).max(1));
    let per = batch.div_ceil(partials);
    let partials = batch.div_ceil(per);

    // A visit covers several small images, or some rows of a large one.
    let axis = if whole[0] > 1 { 0 } else { 1 };
    let mut rows = whole[axis];
    let room = |rows: usize| {
        let mut most = whole;
        most[axis] = rows;
        Window::new(axes.clone(), source, most, lanes).map_or(usize::MAX, |w| w.len(run, lanes))
    };
    while rows > 1 && room(rows) > BLOCK && rows.div_ceil(2) * (plane / whole[axis]) >= DEEP {
        rows = rows.div_ceil(2);
    }
    let mut most = whole;
    most[axis] = rows;
    let window = Window::new(axes.clone(), source, most, lanes)?;
    let images = DEEP.div_ceil(plane).min(per);
    let image = window.len(run, lanes);
    let far = images * groups * cout * plane;
    if image.saturating_mul(images) > u32::MAX as usize || far > u32::MAX as usize {
        return Err(Error::Runtime("this convolution's rows are too large".into()));
    }
    let offsets = window.offsets(run, |at| at)?;
    let failed = AtomicBool::new(false);
    let reserve = if partials > 1 { partials * size } else { 0 };
    scratch::with(reserve, |sums: *mut T| {
        let sums = SendPtr(if partials > 1 { sums } else { weight });
        let (grad, input) = (SendPtr(grad.cast_mut()), SendPtr(input.cast_mut()));
        let (window, offsets, failed) = (&window, &offsets, &failed);
        for_chunks(partials * groups * runs, &|i| {
            let (r, i) = (i % runs, i / runs);
            let (g, part) = (i % groups, i / groups);
            let (c0, c1) = (r * run, ((r + 1) * run).min(cin));
            let columns = (c1 - c0) * taps;
            // The chunk's own weights: rows of `columns` values, `cin * taps` apart.
            let first = part * size + g * cout * cin * taps + c0 * taps;
            let own = sums.get().wrapping_add(first);
            for m in 0..cout {
                // SAFETY: weights of this chunk alone.
                unsafe { std::slice::from_raw_parts_mut(own.add(m * cin * taps), columns).fill(T::ZERO) };
            }
            let done = scratch::with(image * images, |buffer: *mut T| {
                for x in 0..images {
                    // SAFETY: room for `images` windows.
                    unsafe { window.clear(buffer.add(x * image), run, lanes) };
                }
                let mut list: Vec<(u32, u32)> = Vec::new();
                let (mut n, last) = (part * per, ((part + 1) * per).min(batch));
                while n < last {
                    let count = images.min(last - n);
                    let mut q = 0;
                    while q < whole[axis] {
                        let (mut from, mut to) = ([0; 3], whole);
                        from[axis] = q;
                        to[axis] = (q + rows).min(whole[axis]);
                        list.clear();
                        for x in 0..count {
                            let src = input.get().wrapping_add(((n + x) * groups + g) * cin * in_plane + c0 * in_plane);
                            // SAFETY: channels c0..c1 of image n + x; room for `images` windows.
                            unsafe { window.fill(src, c1 - c0, from, to, buffer.add(x * image)) };
                            for d in from[0]..to[0] {
                                for h in from[1]..to[1] {
                                    let a = x * groups * cout * plane + (d * whole[1] + h) * whole[2];
                                    let b = x * image + window.base(d - from[0], h - from[1], 0);
                                    list.push((a as u32, b as u32));
                                }
                            }
                        }
                        let dy = grad.get().wrapping_add((n * groups + g) * cout * plane);
                        // SAFETY: rows of the gradient and taps within the window; this chunk's weights.
                        unsafe {
                            visit(
                                micro,
                                &list,
                                whole[2],
                                dy,
                                plane,
                                cout,
                                buffer,
                                &offsets[..columns],
                                own,
                                cin * taps,
                            );
                        }
                        q += rows;
                    }
                    n += count;
                }
            });
            if done.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
        });
        if partials > 1 {
            // SAFETY: every chunk wrote its sums of `size` weights.
            unsafe { add_up(sums, partials, size, SendPtr(weight)) };
        }
    })?;
    if failed.load(Ordering::Relaxed) {
        return Err(Error::out_of_memory((image * images * size_of::<T>()) as u64));
    }
    Ok(())
}

/// Adds the sums of groups of images, `size` values each, in their order.
///
/// # Safety
/// `sums` holds `partials` times `size` values, one or more, and `out` has room for `size`.
pub unsafe fn add_up<T: Gemm>(sums: SendPtr<T>, partials: usize, size: usize, out: SendPtr<T>) {
    for_range(size, 16_384, |r| {
        // SAFETY: disjoint ranges of the result, the same ranges of every partial sum.
        let part = |i: usize| unsafe { std::slice::from_raw_parts(sums.get().add(i * size + r.start), r.len()) };
        // SAFETY: as above.
        let dst = unsafe { std::slice::from_raw_parts_mut(out.get().add(r.start), r.len()) };
        dst.copy_from_slice(part(0));
        for i in 1..partials {
            dst.iter_mut().zip(part(i)).for_each(|(d, &s)| *d += s);
        }
    });
}

/// Adds one visit's products to all weights of a chunk.
///
/// # Safety
/// `list` names rows of `width` values in `dy` (channels `plane` apart) and in `buffer` at every offset; `own` has `cout`
/// rows of weights, `pitch` apart.
unsafe fn visit<T: Gemm>(
    micro: &rustnn_simd::arch::Micro<T>,
    list: &[(u32, u32)],
    width: usize,
    dy: *const T,
    plane: usize,
    cout: usize,
    buffer: *const T,
    offsets: &[usize],
    own: *mut T,
    pitch: usize,
) {
    let lanes = micro.dot_lanes;
    for (j, triple) in offsets.chunks(3).enumerate() {
        let columns: [*const T; 3] = std::array::from_fn(|t| buffer.wrapping_add(triple[t.min(triple.len() - 1)]));
        let mut m = 0;
        while m < cout {
            let rows = 4.min(cout - m);
            let mut out = [T::ZERO; 12];
            // SAFETY: by this function's contract.
            unsafe {
                (micro.dot[rows - 1][triple.len() - 1])(&DotArgs {
                    rows: list.as_ptr(),
                    nrows: list.len(),
                    full: width / lanes,
                    tail: width % lanes,
                    a: dy.add(m * plane),
                    a_rs: plane,
                    b: columns.as_ptr(),
                    out: out.as_mut_ptr(),
                });
                for i in 0..rows {
                    for t in 0..triple.len() {
                        *own.add((m + i) * pitch + 3 * j + t) += out[i * triple.len() + t];
                    }
                }
            }
            m += 4;
        }
    }
}

/// `bias[c] = sum over images and outputs of grad[n, c, q]`.
pub fn grad_bias<T: Gemm>(batch: usize, channels: usize, plane: usize, grad: &[T], bias: &mut [T]) {
    const L: usize = 16;
    let per = (65_536 / (batch * plane).max(1)).max(1);
    crate::parallel::for_slices(bias, per, |start, piece| {
        dispatch(
            #[inline(always)]
            || {
                for (i, out) in piece.iter_mut().enumerate() {
                    let mut acc = [T::ZERO; L];
                    let mut total = T::ZERO;
                    for n in 0..batch {
                        let at = (n * channels + start + i) * plane;
                        let mut blocks = grad[at..at + plane].chunks_exact(L);
                        for b in &mut blocks {
                            for l in 0..L {
                                acc[l] += b[l];
                            }
                        }
                        blocks.remainder().iter().for_each(|&v| total += v);
                    }
                    let mut n = L;
                    while n > 1 {
                        n /= 2;
                        for l in 0..n {
                            acc[l] += acc[l + n];
                        }
                    }
                    *out = acc[0] + total;
                }
            },
        );
    });
}
