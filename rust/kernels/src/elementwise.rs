//! Pointwise kernels: tables of ops over [`crate::map`]'s driver. A float op is written once for f32 and f64
//! ([`Math`]); 16-bit floats are computed in f32 and all integers in i64, cast block by block, which wraps as
//! arithmetic in the narrow type would.

mod backward;
mod binary;
mod ternary;
mod unary;

pub use backward::{Backward, backward};
pub use binary::{Binary, Compare, Logical, add_scaled, binary, compare, logical};
pub use ternary::{addcdiv, addcmul, clamp, lerp, where_};
pub(crate) use unary::{Lines, is_line};
pub use unary::{Predicate, Unary, is_supported_for_int, predicate, unary};

use crate::Raw;
use crate::map::map;
use crate::math::Math;
use rustnn_base::{DType, Element, Kind, Result};
use rustnn_simd::dispatch;

/// The dtype that arithmetic on `dtype` is done in.
#[must_use]
pub fn lane(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        d if d.kind() == Kind::Float => DType::F32,
        DType::Bool => DType::Bool,
        _ => DType::I64,
    }
}

/// `dst[i] = f(src[i])` with a loop that reads `T` and writes `U`.
#[inline(always)]
pub fn each<T: Element, U: Element>(dst: &Raw, src: &Raw, f: impl Fn(T) -> U + Sync) -> Result<()> {
    map([dst, src], [U::DTYPE, T::DTYPE], &|[d, s], n| {
        // SAFETY: `map` hands over n elements of the loop's dtypes, destination and source apart.
        let (d, s) = unsafe { (slice_mut::<U>(d, n), slice::<T>(s, n)) };
        dispatch(
            #[inline(always)]
            || {
                for (d, s) in d.iter_mut().zip(s) {
                    *d = f(*s);
                }
            },
        );
    })
}

/// As [`each`] for a function that vectorises only within `limit`: elements outside are computed again by `far`.
#[inline(always)]
fn each_within(dst: &Raw, src: &Raw, limit: f32, f: impl Fn(f32) -> f32 + Sync, far: fn(f32) -> f32) -> Result<()> {
    map([dst, src], [DType::F32; 2], &|[d, s], n| {
        // SAFETY: as in `each`.
        let (d, s) = unsafe { (slice_mut::<f32>(d, n), slice::<f32>(s, n)) };
        let outside = dispatch(
            #[inline(always)]
            || {
                let mut outside = 0u32;
                for (d, s) in d.iter_mut().zip(s) {
                    *d = f(*s);
                    outside |= u32::from(s.abs() > limit);
                }
                outside
            },
        );
        if outside != 0 {
            for (d, s) in d.iter_mut().zip(s).filter(|(_, s)| s.abs() > limit) {
                *d = far(*s);
            }
        }
    })
}

/// `dst[i] = f(a[i], b[i])`.
#[inline(always)]
pub fn pair<T: Element, S: Element, U: Element>(
    dst: &Raw,
    a: &Raw,
    b: &Raw,
    f: impl Fn(T, S) -> U + Sync,
) -> Result<()> {
    map([dst, a, b], [U::DTYPE, T::DTYPE, S::DTYPE], &|[d, a, b], n| {
        // SAFETY: as in `each`.
        let (d, a, b) = unsafe { (slice_mut::<U>(d, n), slice::<T>(a, n), slice::<S>(b, n)) };
        dispatch(
            #[inline(always)]
            || {
                for ((d, a), b) in d.iter_mut().zip(a).zip(b) {
                    *d = f(*a, *b);
                }
            },
        );
    })
}

/// `dst[i] = f(a[i], b[i], c[i])`.
#[inline(always)]
pub fn triple<T: Element, U: Element>(dst: &Raw, [a, b, c]: [&Raw; 3], f: impl Fn(T, T, T) -> U + Sync) -> Result<()> {
    map([dst, a, b, c], [U::DTYPE, T::DTYPE, T::DTYPE, T::DTYPE], &|[d, a, b, c], n| {
        // SAFETY: as in `each`.
        let (d, a, b, c) = unsafe { (slice_mut::<U>(d, n), slice::<T>(a, n), slice::<T>(b, n), slice::<T>(c, n)) };
        dispatch(
            #[inline(always)]
            || {
                for (((d, a), b), c) in d.iter_mut().zip(a).zip(b).zip(c) {
                    *d = f(*a, *b, *c);
                }
            },
        );
    })
}

/// # Safety
/// `n` elements of `T` lie there, aligned, and nobody writes them meanwhile.
#[inline(always)]
unsafe fn slice<'a, T>(p: *mut u8, n: usize) -> &'a [T] {
    // SAFETY: this function's contract.
    unsafe { std::slice::from_raw_parts(p.cast(), n) }
}

/// # Safety
/// `n` elements of `T` lie there, aligned, and nobody else touches them meanwhile.
#[inline(always)]
unsafe fn slice_mut<'a, T>(p: *mut u8, n: usize) -> &'a mut [T] {
    // SAFETY: this function's contract.
    unsafe { std::slice::from_raw_parts_mut(p.cast(), n) }
}

/// Half of what `select`s need: `if c { a } else { b }` as one expression.
#[inline(always)]
fn pick<R: Math>(c: bool, a: R, b: R) -> R {
    if c { a } else { b }
}

#[cfg(test)]
mod tests;
