//! Moves by rule rather than by index: flips, rolls, blocks (concatenation), triangles.

use super::{Walk, bits, bits_mut, same_dtype, with_bits};
use crate::Raw;
use crate::parallel::{SendPtr, for_slices};
use rustnn_base::{Result, runtime_error};

const GRAIN: usize = 32 * 1024;

/// The elements of `src` (any strides) row-major into `dst`, the dimensions in `dims` backwards.
pub fn flip(dst: Raw<'_>, src: Raw<'_>, dims: &[usize]) -> Result<()> {
    same_dtype(&dst, &src)?;
    let shape = src.shape();
    if dst.shape() != shape {
        return Err(runtime_error!("flip: result of shape {:?} for {shape:?}", dst.shape()));
    }
    if dst.numel() == 0 {
        return Ok(());
    }
    let mut start = 0isize;
    let strides: rustnn_base::Strides = src
        .strides()
        .iter()
        .enumerate()
        .map(|(d, &s)| {
            if !dims.contains(&d) {
                return s;
            }
            start += (shape[d] as isize - 1) * s;
            -s
        })
        .collect();
    with_bits!(dst.dtype(), T => {
        let to = bits_mut::<T>(&dst)?;
        let from = SendPtr(src.ptr::<T>());
        let (Some((&last, outer)), Some((&step, steps))) = (shape.split_last(), strides.split_last()) else {
            to[0] = bits::<T>(&src)?[0];
            return Ok(());
        };
        for_slices(to, (GRAIN / last).max(1) * last, |first, piece| {
            let mut w = Walk::new(outer, [steps], first / last);
            for out in piece.chunks_exact_mut(last) {
                // SAFETY: the walk visits the elements of the window, each dimension forwards or backwards.
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
