//! Gradients of the weight of a convolution of one tap: a product of the output's channels and the input's, summed over the
//! places of all images. A run of places at a time, the side with fewer channels is packed to be the lanes, and the other one
//! is read where it lies.
//!
//! Runs are summed in a number of groups that the shape fixes, then the groups in order: the same bits however many threads
//! there are, whichever side is packed.

use super::geometry::Geometry;
use super::weight::add_up;
use crate::gemm::View;
use crate::gemm::blocked::{Block, Gemm, KC, Problem, tiles};
use crate::gemm::pack::{interleave, pack_b, panel_start};
use crate::parallel::{SendPtr, for_chunks};
use crate::scratch;
use rustnn_base::{Error, Result};
use rustnn_simd::Isa;
use rustnn_simd::arch::fetch_far;
use std::sync::atomic::{AtomicBool, Ordering};

/// Lanes of a chunk: each reads the other side once more.
const WIDTH: usize = 128;
/// Rows that are multiplied with all lanes before the next: their runs, short and far apart, stay in L2 meanwhile.
const BAND: usize = 48;
/// Rows in a share of them, and places in a group of runs, at least: lanes are packed for each share, and sums of groups added.
const SHARE: usize = 192;
const PLACES: usize = 1024;
/// Fewest places of a plane, and channels of either side.
const LONG: usize = 64;
const LEAST: usize = 8;
/// Multiplications worth a chunk of their own.
const WORK: usize = 400_000;
/// Chunks, enough for 16 threads.
const CHUNKS: usize = 16;

/// Whether this is the way to a weight's gradient, by its shape alone.
pub fn suits(geo: &Geometry) -> bool {
    geo.pointwise() && geo.batch > 0 && geo.out_plane() >= LONG && geo.cin >= LEAST && geo.cout >= LEAST
}

/// What a value of every channel costs, about, if there are so many lanes beside so many rows: packing the lanes (a cycle
/// each), and the products of whole vectors.
fn cost(lanes: usize, rows: usize) -> usize {
    16 * lanes + lanes.next_multiple_of(LEAST) * rows
}

/// One side of the product: the first plane, and the channels of a group.
#[derive(Clone, Copy)]
struct Side<T> {
    ptr: SendPtr<T>,
    channels: usize,
}

/// `weight[g, m, c] = sum over images and places of grad[n, g, m, q] * input[n, g, c, q]`.
///
/// # Safety
/// `grad` and `input` hold the geometry's output and input, `weight` is its weight; the CPU has `isa`; [`suits`].
pub unsafe fn grad_weight<T: Gemm>(
    geo: &Geometry,
    grad: *const T,
    input: *const T,
    weight: *mut T,
    isa: Isa,
) -> Result<()> {
    let micro = T::micro(isa);
    let (cin, cout, groups, plane) = (geo.cin, geo.cout, geo.groups, geo.out_plane());
    let size = groups * cout * cin;
    let grad = Side { ptr: SendPtr(grad.cast_mut()), channels: cout };
    let input = Side { ptr: SendPtr(input.cast_mut()), channels: cin };
    let turned = cost(cout, cin) < cost(cin, cout);
    let (rows, lanes) = if turned { (input, grad) } else { (grad, input) };
    let nr = micro.nr();

    let run = plane.div_ceil(plane.div_ceil(KC));
    let runs = plane.div_ceil(run);
    let visits = geo.batch * runs;
    let width = lanes.channels.div_ceil(lanes.channels.div_ceil(WIDTH)).next_multiple_of(16).min(lanes.channels);
    let blocks = lanes.channels.div_ceil(width);
    let work = size.saturating_mul(plane).saturating_mul(geo.batch);
    let shares = (rows.channels / SHARE).clamp(1, CHUNKS.div_ceil(blocks * groups));
    let most = (work / WORK).min(geo.batch.saturating_mul(plane) / PLACES).max(1);
    let partials = visits.min(CHUNKS.div_ceil(blocks * groups * shares)).min(most);
    let per = visits.div_ceil(partials);
    let partials = visits.div_ceil(per);

    let failed = AtomicBool::new(false);
    scratch::with(if partials > 1 { partials * size } else { 0 }, |sums: *mut T| {
        let sums = SendPtr(if partials > 1 { sums } else { weight });
        for_chunks(partials * groups * shares * blocks, &|i| {
            let (block, i) = (i % blocks, i / blocks);
            let (share, i) = (i % shares, i / shares);
            let (g, part) = (i % groups, i / groups);
            let l0 = block * width;
            let wide = width.min(lanes.channels - l0);
            let panels = wide.div_ceil(nr);
            let c0 = panel_start(share, shares, rows.channels);
            let high = panel_start(share + 1, shares, rows.channels) - c0;
            let done = scratch::with(high * wide + run * wide.next_multiple_of(micro.lanes), |acc: *mut T| {
                let packed = acc.wrapping_add(high * wide);
                let problem = Problem::of_blocks(high, wide, plane, acc, wide);
                let first = part * per;
                for v in first..(first + per).min(visits) {
                    let (image, at) = (v / runs * groups + g, v % runs * run);
                    let kc = run.min(plane - at);
                    let place = |s: Side<T>, c: usize| {
                        s.ptr.get().wrapping_add((image * s.channels + c) * plane + at).cast_const()
                    };
                    // SAFETY: places of planes that exist, room for those of the lanes, this chunk's own sums.
                    unsafe {
                        let b = View { ptr: place(lanes, l0), rs: 1, cs: plane as isize };
                        pack_b(micro, b, kc, wide, packed);
                        for r0 in (0..high).step_by(BAND) {
                            let [r1, r2] = [r0 + BAND, r0 + 2 * BAND].map(|r| r.min(high));
                            let a = Block::InPlace(View { ptr: place(rows, c0 + r0), rs: plane as isize, cs: 1 });
                            let up = (r1 - r0).div_ceil(micro.mr());
                            for q in 0..panels {
                                // The next band, a part with every panel.
                                for r in r1 + q * (r2 - r1) / panels..r1 + (q + 1) * (r2 - r1) / panels {
                                    for i in (0..kc).step_by(64 / size_of::<T>()) {
                                        fetch_far(place(rows, c0 + r).wrapping_add(i));
                                    }
                                }
                                let j = q * nr;
                                let pb = packed.add(j * kc).cast_const();
                                tiles(&problem, micro, a, pb, r0, r1 - r0, up, j, nr.min(wide - j), kc, v == first);
                            }
                        }
                    }
                }
                let own = sums.get().wrapping_add(part * size + g * cout * cin);
                // SAFETY: the chunk's sums, and their places among the weights, which are nobody else's.
                unsafe {
                    if turned {
                        let from = View { ptr: acc.cast_const(), rs: wide as isize, cs: 1 };
                        interleave(micro.turn, from, high, wide, cin, false, own.add(l0 * cin + c0));
                    } else {
                        for m in 0..high {
                            std::ptr::copy_nonoverlapping(acc.add(m * wide), own.add((c0 + m) * cin + l0), wide);
                        }
                    }
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
        return Err(Error::out_of_memory((rows.channels * width * size_of::<T>()) as u64));
    }
    Ok(())
}
