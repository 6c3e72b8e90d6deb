//! Functions of three operands.

use super::{lane, pick, slice, slice_mut, triple};
use crate::Raw;
use crate::map::map;
use crate::math::Math;
use rustnn_base::{B8, DType, Element, Result, Scalar, not_implemented};
use rustnn_simd::dispatch;

/// Runs `$f::<R>` in the precision of `$dst`.
macro_rules! in_float {
    ($dst:expr, $R:ident => $body:expr, else $other:expr) => {
        match lane($dst.dtype()) {
            DType::F32 => {
                type $R = f32;
                $body
            }
            DType::F64 => {
                type $R = f64;
                $body
            }
            _ => $other,
        }
    };
}

fn select<T: Element>(dst: &Raw, cond: &Raw, a: &Raw, b: &Raw) -> Result<()> {
    map([dst, cond, a, b], [dst.dtype(), DType::Bool, dst.dtype(), dst.dtype()], &|[d, c, a, b], n| {
        // SAFETY: `map` hands over n elements of these sizes; T has the size of the destination's dtype.
        let (d, c, a, b) = unsafe { (slice_mut::<T>(d, n), slice::<B8>(c, n), slice::<T>(a, n), slice::<T>(b, n)) };
        dispatch(
            #[inline(always)]
            || {
                for (((d, c), a), b) in d.iter_mut().zip(c).zip(a).zip(b) {
                    *d = if c.get() { *a } else { *b };
                }
            },
        );
    })
}

/// `dst = a where cond, else b`; operands are broadcast, `a` and `b` cast to `dst`'s dtype.
pub fn where_(dst: &Raw, cond: &Raw, a: &Raw, b: &Raw) -> Result<()> {
    match dst.dtype().size() {
        1 => select::<u8>(dst, cond, a, b),
        2 => select::<i16>(dst, cond, a, b),
        4 => select::<i32>(dst, cond, a, b),
        _ => select::<i64>(dst, cond, a, b),
    }
}

/// `dst` = `x` limited to [`lo`, `hi`]; NaN in any of them gives NaN, `hi` wins where they cross.
pub fn clamp(dst: &Raw, x: &Raw, lo: &Raw, hi: &Raw) -> Result<()> {
    in_float!(dst, R => triple::<R, R>(dst, [x, lo, hi], #[inline(always)] |x, lo, hi| {
        let y = pick((x < lo) | (lo != lo), lo, x);
        let y = pick((y > hi) | (hi != hi), hi, y);
        pick(x != x, x, pick(lo != lo, lo, y))
    }), else triple::<i64, i64>(dst, [x, lo, hi], #[inline(always)] |x, lo, hi| {
        let y = if x < lo { lo } else { x };
        if y > hi { hi } else { y }
    }))
}

#[inline(always)]
fn mix<R: Math>(a: R, b: R, w: R) -> R {
    // From the nearer end, so that both ends are hit exactly.
    let near = w.abs() < R::of(0.5);
    pick(near, w.mul_add(b - a, a), (w - R::ONE).mul_add(b - a, b))
}

/// `dst = a + w·(b − a)`
pub fn lerp(dst: &Raw, a: &Raw, b: &Raw, w: &Raw) -> Result<()> {
    in_float!(dst, R => triple::<R, R>(dst, [a, b, w], #[inline(always)] |a, b, w| mix(a, b, w)),
        else Err(not_implemented!("lerp is not implemented for '{}'", dst.dtype().torch_name())))
}

/// `dst = x + value·a·b`
pub fn addcmul(dst: &Raw, x: &Raw, a: &Raw, b: &Raw, value: Scalar) -> Result<()> {
    let (v, i) = (value.to_f64(), value.to_i64());
    in_float!(dst, R => { let v = v as R; triple::<R, R>(dst, [x, a, b], #[inline(always)] move |x, a, b| (v * a).mul_add(b, x)) },
    else triple::<i64, i64>(dst, [x, a, b], #[inline(always)] move |x, a, b| {
        x.wrapping_add(i.wrapping_mul(a).wrapping_mul(b))
    }))
}

/// `dst = x + value·a/b`
pub fn addcdiv(dst: &Raw, x: &Raw, a: &Raw, b: &Raw, value: Scalar) -> Result<()> {
    let v = value.to_f64();
    in_float!(dst, R => { let v = v as R; triple::<R, R>(dst, [x, a, b], #[inline(always)] move |x, a, b| (v * a / b) + x) },
        else Err(not_implemented!("addcdiv is not implemented for '{}'", dst.dtype().torch_name())))
}
