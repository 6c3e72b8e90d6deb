//! Convolutions of many channels on small images, whose rows would leave most of a vector empty (a row of 2 fills a
//! quarter of 8 lanes): outputs of all images stand side by side as the columns of one matrix product, whose right operand
//! is packed straight from the images, panel by panel, and whose result goes back to its planes.
//!
//! Packing costs about a cycle per value, which `cout` multiplications pay for; so it is for 32 channels and more.
//! The weight's gradient is the same product turned round: outputs are what is summed over.

use super::direct::{Pass, WORK};
use super::geometry::Geometry;
use super::window::AxisRun;
use crate::gemm::View;
use crate::gemm::blocked::{Block, Gemm, KC, PACK, Problem, tiles};
use crate::gemm::pack::{panel_start, strip};
use crate::packs::{self, Order};
use crate::parallel::{SendPtr, for_range};
use crate::room;
use crate::scratch;
use rustnn_base::{Error, Result};
use rustnn_simd::Isa;
use rustnn_simd::arch::{Add, Micro};
use std::sync::atomic::{AtomicBool, Ordering};

/// Values of packed patches at a time (f32: 8 MiB).
const SHARED: usize = 2 << 20;
/// Rows and panels of columns in a chunk of the product.
const ROWS: usize = 126;
const PANELS: usize = 8;
/// Panels of rows that are packed at a time.
const UP: usize = 16;
/// Columns of the widest panel of any instruction set.
const WIDEST: usize = 32;
/// Images above this many outputs have rows long enough for the direct way.
const SMALL: usize = 100;
/// The weight's gradient is better made here up to this many outputs: padded blocks are then mostly borders.
const TINY: usize = 49;
/// Lanes that the direct way fills, the same for every instruction set: the choice decides the order of sums.
const LANES: usize = 8;

/// Whether this is the better way for a pass, by its shape alone.
pub fn suits<T>(p: &Pass<T>) -> bool {
    let [d, h, w] = [p.axes[0].n, p.axes[1].n, p.axes[2].n];
    let plane = d.saturating_mul(h).saturating_mul(w);
    let steps = p.taps().saturating_mul(p.cin);
    if plane == 0 || plane > SMALL || p.cout < 32 || steps < 32 || p.batch.saturating_mul(plane) < 16 {
        return false;
    }
    // Vectors that the direct way computes per vector of outputs, against this one's packing.
    let filled = w as f64 / w.next_multiple_of(LANES) as f64;
    (1.0 + 24.0 / p.cout as f64) * 1.05 < 1.0 / filled
}

/// A step of the sum within one channel: where it reads relative to an output's origin, per axis.
type Tap = [isize; 3];

/// Runs a pass.
///
/// # Safety
/// As [`super::direct::run`].
pub unsafe fn run<T: Gemm>(p: &Pass<T>, isa: Isa) -> Result<()> {
    let micro = T::micro(isa);
    let (nr, lanes) = (micro.nr(), micro.lanes);
    let flat = p.flat_taps()?;
    let [ax, ay, az] = &p.axes;
    let taps: Vec<Tap> = room::collected(
        ax.taps.iter().flat_map(|x| ay.taps.iter().flat_map(move |y| az.taps.iter().map(move |z| [x.1, y.1, z.1]))),
    )?;
    let (n, k) = (taps.len(), p.cin * taps.len());
    let plane: usize = p.axes.iter().map(|a| a.n).product();
    let pixels = p.batch * plane;
    let out_plane: usize = p.target.iter().product();
    // Steps contiguous in memory need no packing: the forward pass over a whole kernel. A kept copy is better still, since
    // it is read in order.
    let in_order = p.weights.input == n && flat.iter().enumerate().all(|(i, &t)| i == t);
    // Even shares.
    let blocks = match p.cout.div_ceil(ROWS) {
        1 => 1,
        n => n.next_multiple_of(4),
    };
    let mb = p.cout.div_ceil(blocks);
    let most = (SHARED / k).max(nr) / nr * nr;
    let failed = AtomicBool::new(false);
    let (src, dst, bias) = (SendPtr(p.src.cast_mut()), SendPtr(p.dst), SendPtr(p.bias.cast_mut()));
    for g in 0..p.groups {
        let key = || p.weights.key(Order::Pixels, &flat, [g, p.cout, p.cin], [mb, micro.mr()]);
        let in_place = in_order && !p.weights.keep.known(key);
        let pack = |pa: *mut T| {
            let pa = SendPtr(pa);
            if !in_place {
                let steps = k.div_ceil(KC);
                for_range(blocks * steps, (PACK / (mb * KC)).max(1), |range| {
                    for i in range {
                        let (i0, k0) = (i / steps * mb, i % steps * KC);
                        let (rows, kc) = (mb.min(p.cout - i0), KC.min(k - k0));
                        let panels = rows.div_ceil(micro.mr());
                        for q in 0..panels {
                            let (m0, m1) = (q * rows / panels, (q + 1) * rows / panels);
                            // SAFETY: each panel has its own place among `cout * k` values.
                            unsafe {
                                let to = pa.get().add(i0 * k + k0 * rows + m0 * kc);
                                p.weights.pack(g, i0 + m0, i0 + m1, k0, kc, &flat, to);
                            }
                        }
                    }
                });
            }
        };
        packs::with(p.weights.keep, key(), if in_place { 0 } else { p.cout * k }, pack, |pa: *const T| {
            let pa = SendPtr(pa.cast_mut());
            for j0 in (0..pixels).step_by(most) {
                let cols = most.min(pixels - j0);
                let panels = cols.div_ceil(nr);
                let done = scratch::with(k * panels * nr, |pb: *mut T| {
                    let pb = SendPtr(pb);
                    for_range(panels, (PACK / (k * nr)).max(1), |range| {
                        for q in range {
                            let w = nr.min(cols - q * nr);
                            // SAFETY: a panel's own place; outputs j0 + q * nr.. exist.
                            unsafe {
                                let to = pb.get().add(q * nr * k);
                                pack_panel(
                                    p,
                                    src.get(),
                                    g,
                                    plane,
                                    j0 + q * nr,
                                    w,
                                    w.next_multiple_of(lanes),
                                    &taps,
                                    to,
                                );
                            }
                        }
                    });
                    let groups = panels.div_ceil(PANELS);
                    let work = mb.saturating_mul(k).saturating_mul(nr * PANELS.min(panels));
                    for_range(blocks * groups, (WORK / work.max(1)).max(1), |range| {
                        for i in range {
                            let (i0, q0) = (i % blocks * mb, i / blocks * PANELS);
                            let rows = mb.min(p.cout - i0);
                            let width = (nr * PANELS).min(cols - q0 * nr);
                            let a = |k0: usize| {
                                if in_place {
                                    let w = &p.weights;
                                    let ptr = w.values.as_ptr().wrapping_add(g * w.group + i0 * w.out + k0);
                                    Block::InPlace(View { ptr, rs: w.out as isize, cs: 1 })
                                } else {
                                    Block::Packed(pa.get().wrapping_add(i0 * k + k0 * rows).cast_const())
                                }
                            };
                            let done = scratch::with(rows * width, |c: *mut T| {
                                let problem = Problem {
                                    add: if p.bias.is_null() { Add::Nothing } else { Add::PerRow },
                                    bias: bias.get().wrapping_add(g * p.cout + i0).cast_const(),
                                    ..Problem::of_blocks(rows, width, k, c, width)
                                };
                                for k0 in (0..k).step_by(KC) {
                                    let kc = KC.min(k - k0);
                                    for j in (0..width).step_by(nr) {
                                        let w = nr.min(width - j);
                                        let at = (q0 * nr + j) * k + k0 * w.next_multiple_of(lanes);
                                        // SAFETY: the packed panel and rows of the weights; this chunk's own tile.
                                        unsafe {
                                            let pb = pb.get().add(at).cast_const();
                                            let up = rows.div_ceil(micro.mr());
                                            tiles(&problem, micro, a(k0), pb, 0, rows, up, j, w, kc, k0 == 0);
                                        }
                                    }
                                }
                                // SAFETY: the tile was written; each output belongs to one chunk.
                                unsafe {
                                    put_back(p, dst.get(), g, i0, rows, plane, out_plane, j0 + q0 * nr, width, c)
                                };
                            });
                            if done.is_err() {
                                failed.store(true, Ordering::Relaxed);
                            }
                        }
                    });
                });
                if done.is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
            }
        })?;
    }
    if failed.load(Ordering::Relaxed) {
        return Err(Error::out_of_memory((SHARED.max(k * nr) * size_of::<T>()) as u64));
    }
    Ok(())
}

/// Image and place per axis of output number `j`.
fn output<T>(p: &Pass<T>, plane: usize, j: usize) -> (usize, [usize; 3]) {
    let (h, w) = (p.axes[1].n, p.axes[2].n);
    let q = j % plane;
    (j / plane, [q / (h * w), q / w % h, q % w])
}

/// Packs what outputs `j..j + w` read: `dst[(channel * taps + tap) * width + i]`, zero where there is no source and for
/// `i` from `w` on.
///
/// # Safety
/// The outputs exist, `src` is the pass's source, `w <= width <= WIDEST`, and `dst` has room for `cin * taps * width`.
unsafe fn pack_panel<T: Gemm>(
    p: &Pass<T>,
    src: *const T,
    g: usize,
    plane: usize,
    j: usize,
    w: usize,
    width: usize,
    taps: &[Tap],
    dst: *mut T,
) {
    let [sd, sh, sw] = p.source;
    let (in_plane, n) = (sd * sh * sw, taps.len());
    for (t, tap) in taps.iter().enumerate() {
        let (mut from, mut inside) = ([0usize; WIDEST], [false; WIDEST]);
        for i in 0..w {
            let (image, o) = output(p, plane, j + i);
            let at: [isize; 3] = std::array::from_fn(|a| (o[a] * p.axes[a].step) as isize + tap[a]);
            inside[i] = (0..3).all(|a| at[a] >= 0 && at[a] < p.source[a] as isize);
            if inside[i] {
                let place = (at[0] as usize * sh + at[1] as usize) * sw + at[2] as usize;
                from[i] = (image * p.groups + g) * p.cin * in_plane + place;
            }
        }
        let line = (0..w).all(|i| inside[i] && from[i] == from[0] + i);
        for c in 0..p.cin {
            // SAFETY: by this function's contract; what is not inside reads the source's first value and drops it.
            unsafe {
                let (x, to) = (src.add(c * in_plane), dst.add((c * n + t) * width));
                if line {
                    std::ptr::copy_nonoverlapping(x.add(from[0]), to, w);
                } else {
                    for i in 0..w {
                        let v = *x.add(from[i]);
                        *to.add(i) = if inside[i] { v } else { T::ZERO };
                    }
                }
                for i in w..width {
                    *to.add(i) = T::ZERO;
                }
            }
        }
    }
}

/// Writes a tile of `rows` channels from `i0` on by `width` outputs from `j` on to its planes.
///
/// # Safety
/// `dst` is the pass's target; the channels and outputs exist and are nobody else's; `c` holds the tile.
unsafe fn put_back<T: Gemm>(
    p: &Pass<T>,
    dst: *mut T,
    g: usize,
    i0: usize,
    rows: usize,
    plane: usize,
    out_plane: usize,
    j: usize,
    width: usize,
    c: *const T,
) {
    let place = |i: usize| {
        let (image, o) = output(p, plane, j + i);
        (image * p.groups + g) * p.cout * out_plane + (o[0] * p.target[1] + o[1]) * p.target[2] + o[2]
    };
    let mut i = 0;
    while i < width {
        let first = place(i);
        let mut run = 1;
        while i + run < width && place(i + run) == first + run {
            run += 1;
        }
        for m in 0..rows {
            // SAFETY: by this function's contract.
            unsafe { std::ptr::copy_nonoverlapping(c.add(m * width + i), dst.add(first + (i0 + m) * out_plane), run) };
        }
        if let Some(told) = p.told {
            let (plane, at) = (first / out_plane + i0, first % out_plane);
            told(plane..plane + rows, at..at + run);
        }
        i += run;
    }
}

/// Whether the weight's gradient is better made by [`grad_weight`], by its shape alone.
pub fn suits_weight(geo: &Geometry) -> bool {
    let plane = geo.out_plane();
    let columns = geo.cin.saturating_mul(geo.taps());
    plane != 0 && plane <= TINY && geo.cout >= 32 && columns >= 32 && geo.batch.saturating_mul(plane) >= 16
}

/// `weight[g, m, c, tap] = sum over images and outputs of grad[n, g, m, q] * input[n, g, c, q * stride + tap]`.
///
/// # Safety
/// As [`super::weight::grad_weight`].
pub unsafe fn grad_weight<T: Gemm>(
    geo: &Geometry,
    axes: &[AxisRun; 3],
    grad: *const T,
    input: *const T,
    weight: *mut T,
    isa: Isa,
) -> Result<()> {
    let micro = T::micro(isa);
    let (nr, lanes, cout) = (micro.nr(), micro.lanes, geo.cout);
    let (plane, columns) = (geo.out_plane(), geo.cin * geo.taps());
    let pixels = geo.batch * plane;
    let up = cout.div_ceil(micro.mr());
    // Each column is a channel as it lies.
    let pointwise = geo.pointwise();
    let failed = AtomicBool::new(false);
    let (grad, input, weight) = (SendPtr(grad.cast_mut()), SendPtr(input.cast_mut()), SendPtr(weight));
    for g in 0..geo.groups {
        scratch::with(cout * pixels, |pa: *mut T| {
            let pa = SendPtr(pa);
            let runs = up.div_ceil(UP);
            for_range(pixels.div_ceil(KC) * runs, (PACK / (UP * micro.mr() * KC)).max(1), |range| {
                for i in range {
                    let (k0, q0) = (i / runs * KC, i % runs * UP);
                    let (kc, q1) = (KC.min(pixels - k0), (q0 + UP).min(up));
                    for q in q0..q1 {
                        let (m0, m1) = (panel_start(q, up, cout), panel_start(q + 1, up, cout));
                        let from = grad.get().wrapping_add((g * cout + m0) * plane).cast_const();
                        // What is too much of eight rows the next panel overwrites, if it is made after this one.
                        let spare = m0 + 8 <= cout && q + 1 < q1 && kc >= 8;
                        // SAFETY: outputs k0..k0 + kc of the gradient's planes; the panel's own place, and the next one's.
                        unsafe {
                            let to = pa.get().add(k0 * cout + m0 * kc);
                            let image = geo.groups * cout * plane;
                            pack_planes(micro, from, image, plane, m1 - m0, k0, kc, m1 - m0, spare, to);
                        }
                    }
                }
            });
            let width = nr * PANELS;
            let work = cout.saturating_mul(pixels).saturating_mul(width.min(columns));
            for_range(columns.div_ceil(width), (WORK / work.max(1)).max(1), |range| {
                let done = scratch::with(width * KC, |pb: *mut T| {
                    for j0 in range.map(|i| i * width) {
                        let nb = width.min(columns - j0);
                        let c = weight.get().wrapping_add(g * cout * columns);
                        let problem = Problem::of_blocks(cout, columns, pixels, c, columns);
                        for k0 in (0..pixels).step_by(KC) {
                            let kc = KC.min(pixels - k0);
                            for j in (0..nb).step_by(nr) {
                                let w = nr.min(nb - j);
                                // SAFETY: columns and outputs that exist; room for a panel of kc steps.
                                unsafe {
                                    let to = pb.add(j * kc);
                                    let wide = w.next_multiple_of(lanes);
                                    if pointwise {
                                        let from = input.get().add((g * geo.cin + j0 + j) * plane).cast_const();
                                        let image = geo.groups * geo.cin * plane;
                                        pack_planes(micro, from, image, plane, w, k0, kc, wide, false, to);
                                    } else {
                                        pack_columns(geo, axes, input.get(), g, k0, kc, j0 + j, w, wide, to);
                                    }
                                }
                            }
                            let a = Block::Packed(pa.get().wrapping_add(k0 * cout).cast_const());
                            // SAFETY: packed operands; these columns of the weight are this chunk's own.
                            unsafe { tiles(&problem, micro, a, pb, 0, cout, up, j0, nb, kc, k0 == 0) };
                        }
                    }
                });
                if done.is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
            });
        })?;
    }
    if failed.load(Ordering::Relaxed) {
        return Err(Error::out_of_memory((nr * PANELS * KC * size_of::<T>()) as u64));
    }
    Ok(())
}

/// Packs places `k0..k0 + kc` of `w` planes, counted through the images (`image` values apart), as steps of a panel:
/// `dst[k * width + i]` is that of plane `i`, zero for `i` from `w` on. `spare` as in [`strip`].
///
/// # Safety
/// `src` is the first plane in the first image, all exist, and `dst` has room for `kc * width`; with `spare` there are eight
/// planes, and eight places for the last step.
unsafe fn pack_planes<T: Gemm>(
    micro: &Micro<T>,
    src: *const T,
    image: usize,
    plane: usize,
    w: usize,
    k0: usize,
    kc: usize,
    width: usize,
    spare: bool,
    dst: *mut T,
) {
    let mut k = 0;
    while k < kc {
        let (n, place) = ((k0 + k) / plane, (k0 + k) % plane);
        let run = (plane - place).min(kc - k);
        let from = View { ptr: src.wrapping_add(n * image + place), rs: plane as isize, cs: 1 };
        // SAFETY: by this function's contract.
        unsafe { strip(micro.turn, from, w, run, width, spare, dst.add(k * width)) };
        k += run;
    }
}

/// Packs what outputs `k0..k0 + kc` read at columns `j..j + w` (channel and tap): `dst[k * width + i]`, zero where there is
/// no source and for `i` from `w` on.
///
/// # Safety
/// The outputs and columns exist, `src` is the geometry's input, and `dst` has room for `kc * width`.
unsafe fn pack_columns<T: Gemm>(
    geo: &Geometry,
    axes: &[AxisRun; 3],
    src: *const T,
    g: usize,
    k0: usize,
    kc: usize,
    j: usize,
    w: usize,
    width: usize,
    dst: *mut T,
) {
    let (taps, plane, in_plane) = (geo.taps(), geo.out_plane(), geo.in_plane());
    let sizes: [usize; 3] = std::array::from_fn(|d| geo.axes[d].input);
    let kernel: [usize; 3] = std::array::from_fn(|d| geo.axes[d].kernel);
    for i in w..width {
        for k in 0..kc {
            // SAFETY: by this function's contract.
            unsafe { *dst.add(k * width + i) = T::ZERO };
        }
    }
    for i in 0..w {
        let (c, t) = ((j + i) / taps, (j + i) % taps);
        let t = [t / (kernel[1] * kernel[2]), t / kernel[2] % kernel[1], t % kernel[2]];
        let tap: [isize; 3] = std::array::from_fn(|d| axes[d].taps[t[d]].1);
        let mut k = 0;
        // Row by row of outputs, so that the inner loop has one test.
        while k < kc {
            let (image, place) = ((k0 + k) / plane, (k0 + k) % plane);
            let (h, wide) = (axes[1].n, axes[2].n);
            let (od, oh, ow) = (place / (h * wide), place / wide % h, place % wide);
            let run = (wide - ow).min(kc - k);
            let zd = (od * axes[0].step) as isize + tap[0];
            let zh = (oh * axes[1].step) as isize + tap[1];
            let inside = zd >= 0 && zd < sizes[0] as isize && zh >= 0 && zh < sizes[1] as isize;
            let line = if inside { (zd as usize * sizes[1] + zh as usize) * sizes[2] } else { 0 };
            let from = src.wrapping_add(((image * geo.groups + g) * geo.cin + c) * in_plane + line);
            for r in 0..run {
                let x = ((ow + r) * axes[2].step) as isize + tap[2];
                let there = inside && x >= 0 && x < sizes[2] as isize;
                // SAFETY: a place of the source that was checked; a place of the panel.
                unsafe { *dst.add((k + r) * width + i) = if there { *from.offset(x) } else { T::ZERO } };
            }
            k += run;
        }
    }
}
