//! Copies between windows of any dtype and strides, and fills.

use crate::convert::{convert, scalar_bits};
use crate::map::{gather, scatter, strided};
use crate::plan::Plan;
use crate::{Raw, parallel};
use rustnn_base::{DType, Result, Scalar, runtime_error};
use std::mem::MaybeUninit;

/// Elements below which a copy stays on the calling thread.
const GRAIN: usize = 1 << 15;

/// Side of the squares in which transposes are copied: both sides' lines stay in the first-level cache.
const SQUARE: usize = 16;
/// Elements cast at a time.
const BLOCK: usize = 512;

/// `dst[...] = src[...]`, cast to `dst`'s dtype; `src` is broadcast. The windows are equal or do not overlap.
pub fn copy(dst: &Raw, src: &Raw) -> Result<()> {
    check_broadcast(dst, src)?;
    if dst.numel() == 0 {
        return Ok(());
    }
    let mut plan = Plan::new([dst, src]);
    if dst.dtype() != src.dtype() {
        cast_rows(&plan, src.dtype(), dst.dtype());
        return Ok(());
    }
    let size = dst.dtype().size();
    let inner = plan.axes[0];
    let across = plan.axes.iter().position(|a| a.step[1] == size as isize);
    match across {
        Some(k) if k > 0 && inner.step[0] == size as isize && inner.size > 1 => {
            plan.axes[1..=k].rotate_right(1);
            match size {
                1 => transpose::<u8>(&plan),
                2 => transpose::<u16>(&plan),
                4 => transpose::<u32>(&plan),
                _ => transpose::<u64>(&plan),
            }
        }
        _ => parallel::for_range(plan.numel, GRAIN, |r| {
            plan.rows(r.start, r.end, |[d, s], n| {
                // SAFETY: the plan stays inside both windows; where they are the same, so are the steps.
                unsafe {
                    match size {
                        _ if inner.step == [size as isize; 2] => std::ptr::copy(s, d, n * size),
                        1 => strided::<u8>(d, inner.step[0], s, inner.step[1], n),
                        2 => strided::<u16>(d, inner.step[0], s, inner.step[1], n),
                        4 => strided::<u32>(d, inner.step[0], s, inner.step[1], n),
                        _ => strided::<u64>(d, inner.step[0], s, inner.step[1], n),
                    }
                }
            });
        }),
    }
    Ok(())
}

/// Copies with a cast, block by block through the stack where elements do not lie side by side.
fn cast_rows(plan: &Plan<2>, from: DType, to: DType) {
    let cast = convert(from, to);
    let (ds, ss) = (to.size(), from.size());
    let [d_step, s_step] = plan.axes[0].step;
    parallel::for_range(plan.numel, GRAIN, |r| {
        let (mut raw, mut lanes) = (MaybeUninit::<[u64; BLOCK]>::uninit(), MaybeUninit::<[u64; BLOCK]>::uninit());
        let (raw, lanes) = (raw.as_mut_ptr().cast::<u8>(), lanes.as_mut_ptr().cast::<u8>());
        plan.rows(r.start, r.end, |[d, s], n| {
            let mut at = 0;
            while at < n {
                let m = (n - at).min(BLOCK);
                let here = d.wrapping_offset(at as isize * d_step);
                let mut there = s.wrapping_offset(at as isize * s_step).cast_const();
                // SAFETY: the plan stays inside both windows, which do not overlap as their dtypes differ; blocks hold
                // BLOCK elements of at most 8 bytes.
                unsafe {
                    if s_step != ss as isize {
                        gather(raw, there, s_step, m, ss);
                        there = raw;
                    }
                    if d_step == ds as isize {
                        cast(here, there, m);
                    } else {
                        cast(lanes, there, m);
                        scatter(here, d_step, lanes, m, ds);
                    }
                }
                at += m;
            }
        });
    });
}

/// Copies where the destination is contiguous along axis 0 and the source along axis 1, square by square.
fn transpose<T: Copy>(plan: &Plan<2>) {
    let (x, y) = (plan.axes[0], plan.axes[1]);
    let outer: usize = plan.axes[2..].iter().map(|a| a.size).product();
    // A task is a band of rows of the destination.
    let band = (GRAIN / x.size.max(1)).max(1).next_multiple_of(SQUARE);
    let bands = y.size.div_ceil(band);
    let task = |i: usize| {
        let (mut rest, first) = (i / bands, i % bands * band);
        let [mut d, mut s] = plan.ptr;
        for a in &plan.axes[2..] {
            let at = (rest % a.size) as isize;
            rest /= a.size;
            d = d.wrapping_offset(at * a.step[0]);
            s = s.wrapping_offset(at * a.step[1]);
        }
        let last = (first + band).min(y.size);
        for j0 in (first..last).step_by(SQUARE) {
            let j1 = (j0 + SQUARE).min(last);
            for i0 in (0..x.size).step_by(SQUARE) {
                let i1 = (i0 + SQUARE).min(x.size);
                for j in j0..j1 {
                    let to = d.wrapping_offset(j as isize * y.step[0]).cast::<T>();
                    let from = s.wrapping_add(j * size_of::<T>());
                    for i in i0..i1 {
                        // SAFETY: both places are inside the windows of this plan.
                        unsafe { to.add(i).write(from.offset(i as isize * x.step[1]).cast::<T>().read()) };
                    }
                }
            }
        }
    };
    if plan.numel <= GRAIN {
        (0..outer * bands).for_each(task);
    } else {
        parallel::for_chunks(outer * bands, &task);
    }
}

/// Sets every element to `value`, cast to `dst`'s dtype.
pub fn fill(dst: &Raw, value: Scalar) -> Result<()> {
    if dst.numel() == 0 {
        return Ok(());
    }
    let bits = scalar_bits(value, dst.dtype());
    let size = dst.dtype().size();
    // SAFETY: called below with `n` elements `step` bytes apart from `d`, inside the window.
    let row = |d: *mut u8, step: isize, n: usize| unsafe {
        match size {
            1 => fill_row(d, step, n, bits as u8),
            2 => fill_row(d, step, n, bits as u16),
            4 => fill_row(d, step, n, bits as u32),
            _ => fill_row(d, step, n, bits),
        }
    };
    if dst.numel() <= GRAIN && dst.is_contiguous() {
        row(dst.ptr(), size as isize, dst.numel());
        return Ok(());
    }
    let plan = Plan::new([dst]);
    let step = plan.axes[0].step[0];
    parallel::for_range(plan.numel, GRAIN, |r| plan.rows(r.start, r.end, |[d], n| row(d, step, n)));
    Ok(())
}

/// # Safety
/// `n` elements of `T` lie `step` bytes apart from `dst`, writable.
unsafe fn fill_row<T: Copy>(dst: *mut u8, step: isize, n: usize, v: T) {
    if step == size_of::<T>() as isize {
        // SAFETY: this function's contract.
        unsafe { std::slice::from_raw_parts_mut(dst.cast::<T>(), n) }.fill(v);
        return;
    }
    for i in 0..n as isize {
        // SAFETY: this function's contract.
        unsafe { dst.offset(i * step).cast::<T>().write(v) }
    }
}

/// An error unless `src` broadcasts to `dst`'s shape.
pub(crate) fn check_broadcast(dst: &Raw, src: &Raw) -> Result<()> {
    let (d, s) = (dst.shape(), src.shape());
    let fits = s.len() <= d.len() && s.iter().rev().zip(d.iter().rev()).all(|(&a, &b)| a == b || a == 1);
    if fits { Ok(()) } else { Err(runtime_error!("shape {s:?} does not broadcast to the destination's shape {d:?}")) }
}
