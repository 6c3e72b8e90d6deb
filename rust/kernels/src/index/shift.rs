//! Moves by rule rather than by index: strided copies (flips), rolls, blocks (concatenation), triangles.

use super::{Walk, bits, bits_mut, same_dtype, with_bits};
use crate::Raw;
use crate::parallel::{SendPtr, for_slices};
use rustnn_base::{Result, runtime_error};

const GRAIN: usize = 32 * 1024;

/// The elements at `start + strides` (any sign) of the memory `src` is a window on, row-major into `dst`.
///
/// # Safety
/// Every place reached lies within the memory that `src` is a window on, and `dst` does not overlap it.
pub unsafe fn copy_strided(dst: Raw<'_>, src: Raw<'_>, start: isize, shape: &[usize], strides: &[isize]) -> Result<()> {
    same_dtype(&dst, &src)?;
    with_bits!(dst.dtype(), T => {
        let to = bits_mut::<T>(&dst)?;
        if to.len() != shape.iter().product::<usize>() {
            return Err(runtime_error!("copy: {} places for shape {shape:?}", to.len()));
        }
        let from = SendPtr(src.ptr::<T>());
        let (Some((&last, outer)), Some((&step, steps))) = (shape.split_last(), strides.split_last()) else {
            // SAFETY: by this function's contract `start` is an element.
            to[0] = unsafe { *from.get().offset(start) };
            return Ok(());
        };
        let row = last.max(1);
        for_slices(to, (GRAIN / row).max(1) * row, |first, piece| {
            let mut w = Walk::new(outer, [steps], first / row);
            for out in piece.chunks_exact_mut(row) {
                // SAFETY: by this function's contract.
                unsafe {
                    let base = from.get().offset(start + w.offset[0]);
                    for (j, o) in out.iter_mut().enumerate() {
                        *o = *base.offset(j as isize * step);
                    }
                }
                w.step();
            }
        });
    });
    Ok(())
}

/// Rotates `n` rows of `inner` elements by `shift` places in each of the outer blocks.
pub fn roll(dst: Raw<'_>, src: Raw<'_>, n: usize, inner: usize, shift: usize) -> Result<()> {
    same_dtype(&dst, &src)?;
    with_bits!(dst.dtype(), T => {
        let (to, from) = (bits_mut::<T>(&dst)?, bits::<T>(&src)?);
        let (block, cut) = (n * inner, shift * inner);
        if block == 0 || to.len() != from.len() || cut > block {
            return Ok(());
        }
        for (d, s) in to.chunks_exact_mut(block).zip(from.chunks_exact(block)) {
            d[cut..].copy_from_slice(&s[..block - cut]);
            d[..cut].copy_from_slice(&s[block - cut..]);
        }
    });
    Ok(())
}

/// Copies `src`, in blocks of `len`, into `dst` at `at` of every `pitch` elements: one operand of a concatenation.
pub fn copy_block(dst: Raw<'_>, src: Raw<'_>, len: usize, at: usize, pitch: usize) -> Result<()> {
    same_dtype(&dst, &src)?;
    with_bits!(dst.dtype(), T => {
        let (to, from) = (bits_mut::<T>(&dst)?, bits::<T>(&src)?);
        if len == 0 {
            return Ok(());
        }
        if at + len > pitch || from.len() / len * pitch > to.len() {
            return Err(runtime_error!("concatenation: a block of {len} at {at} does not fit rows of {pitch}"));
        }
        let rows = (GRAIN / len).max(1);
        for_slices(to, rows * pitch, |start, piece| {
            let first = start / pitch * len;
            for (d, s) in piece.chunks_mut(pitch).zip(from[first.min(from.len())..].chunks_exact(len)) {
                d[at..at + len].copy_from_slice(s);
            }
        });
    });
    Ok(())
}

/// Copies matrices, zero outside the triangle: above the `k`-th diagonal, or below it for `upper`.
pub fn keep_triangle(dst: Raw<'_>, src: Raw<'_>, rows: usize, cols: usize, k: i64, upper: bool) -> Result<()> {
    same_dtype(&dst, &src)?;
    with_bits!(dst.dtype(), T => {
        let (to, from) = (bits_mut::<T>(&dst)?, bits::<T>(&src)?);
        if rows * cols == 0 || to.len() != from.len() {
            return Ok(());
        }
        for_slices(to, (GRAIN / cols).max(1) * cols, |start, piece| {
            for (n, out) in piece.chunks_exact_mut(cols).enumerate() {
                let at = start / cols + n;
                let i = (at % rows) as i64;
                // First column of the upper part, or one past the last of the lower part.
                let edge = i.saturating_add(k).saturating_add(i64::from(!upper)).clamp(0, cols as i64) as usize;
                let row = &from[at * cols..(at + 1) * cols];
                if upper {
                    out[..edge].fill(0);
                    out[edge..].copy_from_slice(&row[edge..]);
                } else {
                    out[..edge].copy_from_slice(&row[..edge]);
                    out[edge..].fill(0);
                }
            }
        });
    });
    Ok(())
}
