//! Elements by mask.

use super::{bits, bits_mut, same_dtype, with_bits};
use crate::Raw;
use crate::parallel::for_slices;
use rustnn_base::{B8, Element, Result, Scalar, runtime_error, with_dtype};
use rustnn_simd::dispatch;

/// How many are true.
pub fn count_true(mask: Raw<'_>) -> Result<usize> {
    with_dtype!(mask.dtype(), T => {
        let mask = mask.slice::<T>()?;
        Ok(dispatch(#[inline(always)] || {
            mask.chunks(255).map(|c| c.iter().fold(0u8, |n, v| n + u8::from(v.is_true())) as usize).sum()
        }))
    })
}

fn same_len(a: usize, b: usize, op: &str) -> Result<()> {
    if a == b { Ok(()) } else { Err(runtime_error!("{op}: the mask has {b} elements for {a}")) }
}

/// `value` wherever the mask is true.
pub fn masked_fill(dst: Raw<'_>, mask: &[B8], value: Scalar) -> Result<()> {
    with_dtype!(dst.dtype(), T => {
        let to = dst.slice_mut::<T>()?;
        same_len(to.len(), mask.len(), "masked_fill")?;
        let v = T::from_scalar(value);
        for_slices(to, 32 * 1024, |start, piece| {
            let mask = &mask[start..start + piece.len()];
            dispatch(#[inline(always)] || {
                for (d, m) in piece.iter_mut().zip(mask) {
                    *d = if m.get() { v } else { *d };
                }
            });
        });
    });
    Ok(())
}

/// The elements where the mask is true, in order; `dst` has as many places as the mask has trues.
pub fn masked_select(dst: Raw<'_>, src: Raw<'_>, mask: &[B8]) -> Result<()> {
    same_dtype(&dst, &src)?;
    with_bits!(dst.dtype(), T => {
        let (to, from) = (bits_mut::<T>(&dst)?, bits::<T>(&src)?);
        same_len(from.len(), mask.len(), "masked_select")?;
        let mut places = to.iter_mut();
        for (&v, _) in from.iter().zip(mask).filter(|(_, m)| m.get()) {
            match places.next() {
                Some(p) => *p = v,
                None => return Err(runtime_error!("masked_select: the mask changed meanwhile")),
            }
        }
    });
    Ok(())
}

/// Elements of `src`, in order, to the places where the mask is true.
pub fn masked_scatter(dst: Raw<'_>, mask: &[B8], src: Raw<'_>) -> Result<()> {
    same_dtype(&dst, &src)?;
    with_bits!(dst.dtype(), T => {
        let (to, from) = (bits_mut::<T>(&dst)?, bits::<T>(&src)?);
        same_len(to.len(), mask.len(), "masked_scatter")?;
        let mut values = from.iter();
        for (d, _) in to.iter_mut().zip(mask).filter(|(_, m)| m.get()) {
            *d = *values.next().ok_or_else(|| {
                runtime_error!("masked_scatter: expected self to have at least as many elements in source as there are ones in mask, but source has {}", from.len())
            })?;
        }
    });
    Ok(())
}

/// Coordinates of the elements that are not zero: `dst` is ndim x count, one row per dimension.
pub fn nonzero(dst: &mut [i64], src: Raw<'_>) -> Result<()> {
    let shape = src.shape();
    let nd = shape.len();
    if nd == 0 || dst.is_empty() {
        return Ok(());
    }
    let count = dst.len() / nd;
    with_dtype!(src.dtype(), T => {
        let from = src.slice::<T>()?;
        for (k, (p, _)) in from.iter().enumerate().filter(|(_, v)| v.is_true()).take(count).enumerate() {
            let mut rest = p;
            for d in (1..nd).rev() {
                dst[d * count + k] = (rest % shape[d]) as i64;
                rest /= shape[d];
            }
            dst[k] = rest as i64;
        }
    });
    Ok(())
}
