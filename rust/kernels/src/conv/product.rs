//! Convolutions that are matrix products nearly as they stand: of one tap, where each image is the right operand, and of so
//! few outputs that the weight is read once where it lies.

use super::direct::Pass;
use super::geometry::{Axis, Geometry};
use super::sizes;
use super::window::AxisRun;
use crate::gemm::blocked::{Gemm, Items, Problem, TellItem, wide};
use crate::gemm::{View, skinny};
use crate::packs::Keep;
use crate::parallel::{SendPtr, for_range};
use crate::scratch;
use rustnn_base::Result;
use rustnn_simd::Isa;
use rustnn_simd::arch::Add;
use std::ops::Range;

/// Outputs of all images together up to which nothing is gained by packing the weight.
const FEW: usize = 15;

/// A convolution with one tap and a stride reads every so many values: of those alone it is one without a stride.
pub fn thinned(geo: &Geometry) -> Option<Geometry> {
    let one = geo.axes.iter().all(|a| a.kernel == 1 && a.padding == 0);
    let axes = geo.axes.map(|a| Axis { input: a.output, stride: 1, ..a });
    let some = geo.batch > 0 && geo.cin > 0 && geo.out_plane() > 0;
    (one && some && geo.axes.iter().any(|a| a.stride > 1)).then_some(Geometry { axes, ..*geo })
}

/// Calls `f(values of a line in the thinned planes, place of the first in the whole ones)` for every line of every plane.
pub fn thin_lines(geo: &Geometry, planes: usize, f: impl Fn(std::ops::Range<usize>, usize) + Sync) {
    let [d, h, w] = sizes(geo, |a| a.output);
    let [sd, sh, _] = sizes(geo, |a| a.stride);
    let [_, ih, iw] = sizes(geo, |a| a.input);
    for_range(planes * d * h, (32_768 / w.max(1)).max(1), |r| {
        for i in r {
            let (plane, z, y) = (i / (d * h), i / h % d, i % h);
            f(i * w..(i + 1) * w, plane * geo.in_plane() + (z * sd * ih + y * sh) * iw);
        }
    });
}

/// Calls `f` with the values of `x` that a convolution of one tap reads, as planes of the output's size.
pub fn with_thin<T: Gemm>(geo: &Geometry, x: &[T], f: impl FnOnce(&[T]) -> Result<()>) -> Result<()> {
    let (planes, step) = (geo.batch * geo.groups * geo.cin, geo.axes[2].stride);
    let len = planes * geo.out_plane();
    scratch::with(len, |thin: *mut T| {
        let to = SendPtr(thin);
        thin_lines(geo, planes, |line, from| {
            for (i, place) in line.enumerate() {
                // SAFETY: one of `len` places; lines are disjoint.
                unsafe { *to.get().add(place) = x[from + i * step] };
            }
        });
        // SAFETY: `len` values, all written: the lines cover the planes.
        f(unsafe { std::slice::from_raw_parts(thin, len) })
    })?
}

/// Whether a pass has one tap in place (see [`super::flatten`]), so that each image is a matrix product, large enough to pack.
pub fn suits<T>(p: &Pass<T>) -> bool {
    let line = |a: &AxisRun| a.step == 1 && a.taps.len() == 1 && a.taps[0].1 == 0;
    p.axes.iter().all(line)
        && p.axes[0].n == 1
        && p.axes[1].n == 1
        && p.axes[2].n == p.source[2]
        && p.source == p.target
        && p.cout >= 8
        && p.cin >= 16
        && p.axes[2].n >= if p.batch == 1 { 32 } else { 48 }
}

/// Runs a pass of one tap: `dst[n, g] = weight[g] * src[n, g]` for every image, the weight packed once.
///
/// # Safety
/// As [`super::direct::run`]; [`suits`].
pub unsafe fn run<T: Gemm>(p: &Pass<T>, isa: Isa) -> Result<()> {
    let plane = p.source[2];
    let w = &p.weights;
    for g in 0..p.groups {
        let problem = Problem {
            m: p.cout,
            n: plane,
            k: p.cin,
            a: View { ptr: w.values.as_ptr().wrapping_add(g * w.group), rs: w.out as isize, cs: w.input as isize },
            b: View { ptr: p.src.wrapping_add(g * p.cin * plane), rs: plane as isize, cs: 1 },
            c: p.dst.wrapping_add(g * p.cout * plane),
            ldc: plane,
            alpha: T::ONE,
            add: if p.bias.is_null() { Add::Nothing } else { Add::PerRow },
            bias: if p.bias.is_null() { p.bias } else { p.bias.wrapping_add(g * p.cout) },
            keep: [w.keep, Keep::NOT],
        };
        let tell = |item: usize, rows: Range<usize>, cols: Range<usize>| {
            if let Some(told) = p.told {
                let first = (item * p.groups + g) * p.cout;
                told(first + rows.start..first + rows.end, cols);
            }
        };
        let told = p.told.is_some().then_some(&tell as &TellItem);
        let items = Items { count: p.batch, b: p.groups * p.cin * plane, c: p.groups * p.cout * plane, told };
        // SAFETY: the images and the weight are as large as the pass says; images of the result are disjoint.
        unsafe { wide(&problem, T::micro(isa), items, false)? };
    }
    Ok(())
}

/// Whether there are so few outputs that reading the weight is what takes time: it lies step by step and is not copied.
pub fn suits_few<T>(p: &Pass<T>) -> bool {
    let outputs = p.axes.iter().map(|a| a.n).product::<usize>().saturating_mul(p.batch);
    let taps = p.taps();
    let whole = p.in_order() && p.target.iter().zip(&p.axes).all(|(&t, a)| t == a.n);
    whole && (1..=FEW).contains(&outputs) && p.cout >= 8 && p.cin.saturating_mul(taps) >= 64
}

/// Runs a pass of few outputs: dot products of the weight's rows with what each output reads, gathered.
///
/// # Safety
/// As [`super::direct::run`]; [`suits_few`].
pub unsafe fn run_few<T: Gemm>(p: &Pass<T>, isa: Isa) -> Result<()> {
    let plane: usize = p.target.iter().product();
    let in_plane: usize = p.source.iter().product();
    let taps = p.taps();
    let (outputs, k) = (p.batch * plane, p.cin * taps);
    let [_, h, w] = p.target;
    for g in 0..p.groups {
        scratch::with(outputs * (k + p.cout), |columns: *mut T| {
            let result = columns.wrapping_add(outputs * k);
            for o in 0..outputs {
                let (n, q) = (o / plane, o % plane);
                let at = [q / (h * w), q / w % h, q % w];
                let mut to = o * k;
                for c in 0..p.cin {
                    let from = p.src.wrapping_add(((n * p.groups + g) * p.cin + c) * in_plane);
                    for x in &p.axes[0].taps {
                        for y in &p.axes[1].taps {
                            for z in &p.axes[2].taps {
                                let place: [isize; 3] =
                                    std::array::from_fn(|d| (at[d] * p.axes[d].step) as isize + [x.1, y.1, z.1][d]);
                                let inside = (0..3).all(|d| place[d] >= 0 && place[d] < p.source[d] as isize);
                                // SAFETY: a place of the source that was checked; the output's own column.
                                unsafe {
                                    *columns.add(to) = if inside {
                                        let line = place[0] as usize * p.source[1] + place[1] as usize;
                                        *from.add(line * p.source[2] + place[2] as usize)
                                    } else {
                                        T::ZERO
                                    };
                                }
                                to += 1;
                            }
                        }
                    }
                }
            }
            let values = p.weights.values.as_ptr().wrapping_add(g * p.weights.group);
            let problem = Problem {
                m: p.cout,
                n: outputs,
                k,
                a: View { ptr: values, rs: p.weights.out as isize, cs: 1 },
                b: View { ptr: columns.cast_const(), rs: 1, cs: k as isize },
                c: result,
                ldc: outputs,
                alpha: T::ONE,
                add: if p.bias.is_null() { Add::Nothing } else { Add::PerRow },
                bias: if p.bias.is_null() { p.bias } else { p.bias.wrapping_add(g * p.cout) },
                keep: [Keep::NOT; 2],
            };
            // SAFETY: rows of the weight, the columns just written, room for the result; outputs go to their places.
            unsafe {
                skinny::dots(&problem, isa);
                for m in 0..p.cout {
                    for o in 0..outputs {
                        let (n, q) = (o / plane, o % plane);
                        *p.dst.add(((n * p.groups + g) * p.cout + m) * plane + q) = *result.add(m * outputs + o);
                    }
                }
            }
        })?;
    }
    if let Some(told) = p.told {
        told(0..p.batch * p.groups * p.cout, 0..plane);
    }
    Ok(())
}
