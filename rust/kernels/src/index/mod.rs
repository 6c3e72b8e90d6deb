//! Moving elements by index: gather and scatter, rows, masks, advanced indexing.
//!
//! Moves do not look at values, so they run on unsigned integers as wide as the dtype. Whatever adds, adds in the
//! order of the indices, so results do not depend on threads.

mod gather;
mod mask;
mod rows;
mod shift;

pub use gather::{Picks, Reduce, gather, put_picks, scatter, take_picks};
pub use mask::{count_true, masked_fill, masked_scatter, masked_select, nonzero};
pub use rows::{count_rows, divide_rows, index_add, index_copy, index_fill, index_select, one_hot};
pub use shift::{copy_block, flip, keep_triangle, roll};

use crate::Raw;
use rustnn_base::{Element, Error, Kind, Result, index_error, layout, runtime_error};

/// Runs `$body` with `$T` the unsigned integer as wide as the dtype.
macro_rules! with_bits {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype.size() {
            1 => {
                type $T = u8;
                $body
            }
            2 => {
                type $T = u16;
                $body
            }
            4 => {
                type $T = u32;
                $body
            }
            _ => {
                type $T = u64;
                $body
            }
        }
    };
}
pub(crate) use with_bits;

/// The contiguous elements of a window as integers of their width.
pub(crate) fn bits<'a, T: Copy>(raw: &Raw<'a>) -> Result<&'a [T]> {
    check(raw, size_of::<T>())?;
    // SAFETY: the window's contract, checked contiguous; any bytes are a valid unsigned integer of the same size.
    Ok(unsafe { std::slice::from_raw_parts(raw.ptr(), raw.numel()) })
}

/// As [`bits`], to write. Only for results that nothing else reads meanwhile.
pub(crate) fn bits_mut<'a, T: Copy>(raw: &Raw<'a>) -> Result<&'a mut [T]> {
    check(raw, size_of::<T>())?;
    // SAFETY: as in `bits`; exclusivity is the caller's promise, as for `Raw::slice_mut`.
    Ok(unsafe { std::slice::from_raw_parts_mut(raw.ptr(), raw.numel()) })
}

fn check(raw: &Raw<'_>, size: usize) -> Result<()> {
    if raw.dtype().size() != size || !raw.is_contiguous() {
        return Err(runtime_error!(
            "this kernel needs contiguous memory, got shape {:?} with strides {:?} (row-major would be {:?})",
            raw.shape(),
            raw.strides(),
            &layout::contiguous_strides(raw.shape())[..]
        ));
    }
    Ok(())
}

pub(crate) fn same_dtype(a: &Raw<'_>, b: &Raw<'_>) -> Result<()> {
    if a.dtype() == b.dtype() {
        return Ok(());
    }
    Err(runtime_error!("expected both tensors to be {}, got {}", a.dtype().torch_name(), b.dtype().torch_name()))
}

/// An index that is not in `-size..size` (or `0..size`), as PyTorch words it.
#[cold]
pub fn out_of_bounds(index: i64, dim: usize, size: usize) -> Error {
    index_error!("index {index} is out of bounds for dimension {dim} with size {size}")
}

/// The first place whose index is not in `low..high`.
#[must_use]
pub fn find_outside(index: &[i64], low: i64, high: i64) -> Option<usize> {
    let bad = rustnn_simd::dispatch(
        #[inline(always)]
        || index.iter().fold(false, |bad, &i| bad | (i < low) | (i >= high)),
    );
    bad.then(|| index.iter().position(|&i| i < low || i >= high)).flatten()
}

/// What a reduction does with an old and a new value.
#[inline(always)]
pub(crate) fn combine<T: Element>(old: T, new: T, how: Reduce) -> T {
    match how {
        Reduce::Assign => new,
        Reduce::Amax => {
            if new.is_nan() || (new > old && !old.is_nan()) {
                new
            } else {
                old
            }
        }
        Reduce::Amin => {
            if new.is_nan() || (new < old && !old.is_nan()) {
                new
            } else {
                old
            }
        }
        Reduce::Add => add(old, new),
        Reduce::Mul => match T::DTYPE.kind() {
            Kind::Float if T::DTYPE.size() == 8 => T::from_f64(old.to_f64() * new.to_f64()),
            Kind::Float => T::from_f32(old.to_f32() * new.to_f32()),
            _ => T::from_i64(old.to_i64().wrapping_mul(new.to_i64())),
        },
    }
}

#[inline(always)]
pub(crate) fn add<T: Element>(a: T, b: T) -> T {
    match T::DTYPE.kind() {
        Kind::Float if T::DTYPE.size() == 8 => T::from_f64(a.to_f64() + b.to_f64()),
        Kind::Float => T::from_f32(a.to_f32() + b.to_f32()),
        _ => T::from_i64(a.to_i64().wrapping_add(b.to_i64())),
    }
}

/// Walks the coordinates of `shape` row-major and keeps the element offsets of `K` stridings of it.
pub(crate) struct Walk<'a, const K: usize> {
    shape: &'a [usize],
    strides: [&'a [isize]; K],
    at: rustnn_base::Dims,
    pub offset: [isize; K],
}

impl<'a, const K: usize> Walk<'a, K> {
    /// Starts at the `start`-th coordinate.
    pub fn new(shape: &'a [usize], strides: [&'a [isize]; K], start: usize) -> Self {
        let mut at: rustnn_base::Dims = shape.iter().map(|_| 0).collect();
        let mut offset = [0; K];
        let mut rest = start;
        for d in (0..shape.len()).rev() {
            let size = shape[d].max(1);
            at[d] = rest % size;
            rest /= size;
            for k in 0..K {
                offset[k] += at[d] as isize * strides[k][d];
            }
        }
        Walk { shape, strides, at, offset }
    }

    /// On to the next coordinate (around to the first after the last).
    #[inline(always)]
    pub fn step(&mut self) {
        for d in (0..self.shape.len()).rev() {
            self.at[d] += 1;
            for k in 0..K {
                self.offset[k] += self.strides[k][d];
            }
            if self.at[d] < self.shape[d] {
                return;
            }
            for k in 0..K {
                self.offset[k] -= self.strides[k][d] * self.shape[d] as isize;
            }
            self.at[d] = 0;
        }
    }
}

#[cfg(test)]
mod tests;
