//! Copies between windows of any dtype and strides, and fills.

use crate::convert::{convert, scalar_bits};
use crate::plan::Plan;
use crate::{Raw, parallel};
use rustnn_base::{Result, Scalar, runtime_error};

/// Elements below which a copy stays on the calling thread.
const GRAIN: usize = 1 << 15;

/// `dst[...] = src[...]`, cast to `dst`'s dtype; `src` is broadcast. The windows are equal or do not overlap.
pub fn copy(dst: &Raw, src: &Raw) -> Result<()> {
    check_broadcast(dst, src)?;
    if dst.numel() == 0 {
        return Ok(());
    }
    let plan = Plan::new([dst, src]);
    let inner = plan.axes[0];
    let (ds, ss) = (dst.dtype().size() as isize, src.dtype().size() as isize);
    let same = dst.dtype() == src.dtype();
    let cast = convert(src.dtype(), dst.dtype());
    parallel::for_range(plan.numel, GRAIN, |r| {
        plan.rows(r.start, r.end, |[d, s], n| {
            if inner.step == [ds, ss] {
                // SAFETY: the plan stays inside both windows; an exact overlap is allowed by `copy`, not by `cast`,
                // whose dtypes differ.
                unsafe {
                    if same {
                        std::ptr::copy(s, d, n * ds as usize);
                    } else {
                        cast(d, s, n);
                    }
                }
                return;
            }
            for i in 0..n as isize {
                // SAFETY: as above, one element.
                unsafe { cast(d.offset(i * inner.step[0]), s.offset(i * inner.step[1]), 1) }
            }
        });
    });
    Ok(())
}

/// Sets every element to `value`, cast to `dst`'s dtype.
pub fn fill(dst: &Raw, value: Scalar) -> Result<()> {
    if dst.numel() == 0 {
        return Ok(());
    }
    let bits = scalar_bits(value, dst.dtype());
    let size = dst.dtype().size();
    let plan = Plan::new([dst]);
    let step = plan.axes[0].step[0];
    parallel::for_range(plan.numel, GRAIN, |r| {
        plan.rows(r.start, r.end, |[d], n| {
            // SAFETY: the plan stays inside the window.
            unsafe {
                match size {
                    1 => fill_row(d, step, n, bits as u8),
                    2 => fill_row(d, step, n, bits as u16),
                    4 => fill_row(d, step, n, bits as u32),
                    _ => fill_row(d, step, n, bits),
                }
            }
        });
    });
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
