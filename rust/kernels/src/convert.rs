//! Casts between dtypes as loops over contiguous elements. All are branch-free where the instruction sets allow, so
//! that they vectorise; 16-bit floats are converted by integer arithmetic, with the bits the `half` crate gives.

use rustnn_base::{B8, DType, Element, Kind, bf16, f16, with_dtype};
use rustnn_simd::dispatch;

/// f16 bits to f32: exact.
#[inline(always)]
#[must_use]
pub fn f16_to_f32(h: u16) -> f32 {
    let em = u32::from(h & 0x7fff);
    let sign = u32::from(h & 0x8000) << 16;
    // Shifting places the exponent 112 too low; the product puts it right, for subnormals as well.
    let finite = (f32::from_bits(em << 13) * f32::from_bits(0x7780_0000)).to_bits();
    let special = (em << 13) | 0x7f80_0000 | if em > 0x7c00 { 0x0040_0000 } else { 0 };
    f32::from_bits(sign | if em >= 0x7c00 { special } else { finite })
}

/// f32 to f16 bits, to nearest, ties to even.
#[inline(always)]
#[must_use]
pub fn f32_to_f16(v: f32) -> u16 {
    let bits = v.to_bits();
    let a = bits & 0x7fff_ffff;
    let sign = (bits >> 16) & 0x8000;
    let normal = a.wrapping_add(0xfff + ((a >> 13) & 1)).wrapping_sub(0x3800_0000) >> 13;
    // Adding 0.5 leaves the subnormal's bits, rounded, at the end of the significand.
    let small = (f32::from_bits(a) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let special = if a > 0x7f80_0000 { 0x7e00 | ((a >> 13) & 0x3ff) } else { 0x7c00 };
    let r = if a >= 0x3880_0000 { normal } else { small };
    (sign | if a >= 0x4780_0000 { special } else { r }) as u16
}

/// bf16 bits to f32: exact.
#[inline(always)]
#[must_use]
pub fn bf16_to_f32(h: u16) -> f32 {
    f32::from_bits(u32::from(h) << 16)
}

/// f32 to bf16 bits, to nearest, ties to even.
#[inline(always)]
#[must_use]
pub fn f32_to_bf16(v: f32) -> u16 {
    let bits = v.to_bits();
    let round = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let nan = (bits >> 16) | 0x40;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { nan } else { round }) as u16
}

/// One element from dtype to dtype, as PyTorch casts.
#[inline(always)]
pub fn cast<S: Element, D: Element>(s: S) -> D {
    match (S::DTYPE.kind(), D::DTYPE.kind()) {
        (_, Kind::Bool) => D::from_i64(i64::from(s.is_true())),
        (Kind::Float, Kind::Float) if matches!(S::DTYPE, DType::F64) && matches!(D::DTYPE, DType::F64) => {
            D::from_f64(s.to_f64())
        }
        (Kind::Float, Kind::Float) if matches!(D::DTYPE, DType::F64) => D::from_f64(f64::from(to_f32(s))),
        (_, Kind::Float) if matches!(D::DTYPE, DType::F64) => D::from_f64(s.to_f64()),
        (_, Kind::Float) => from_f32(to_f32(s)),
        (Kind::Float, Kind::Int) if matches!(S::DTYPE, DType::F64) => D::from_f64(s.to_f64()),
        (Kind::Float, Kind::Int) => D::from_f32(to_f32(s)),
        _ => D::from_i64(s.to_i64()),
    }
}

/// Any element in single precision.
#[inline(always)]
fn to_f32<S: Element>(s: S) -> f32 {
    match S::DTYPE {
        // SAFETY: the dtype says that `S` is this 16-bit type.
        DType::F16 => f16_to_f32(unsafe { std::mem::transmute_copy::<S, u16>(&s) }),
        // SAFETY: as above.
        DType::BF16 => bf16_to_f32(unsafe { std::mem::transmute_copy::<S, u16>(&s) }),
        DType::F64 => s.to_f64() as f32,
        _ => s.to_f32(),
    }
}

/// Single precision to any float element (not f64).
#[inline(always)]
fn from_f32<D: Element>(v: f32) -> D {
    match D::DTYPE {
        // SAFETY: the dtype says that `D` is this 16-bit type.
        DType::F16 => unsafe { std::mem::transmute_copy::<f16, D>(&f16::from_bits(f32_to_f16(v))) },
        // SAFETY: as above.
        DType::BF16 => unsafe { std::mem::transmute_copy::<bf16, D>(&bf16::from_bits(f32_to_bf16(v))) },
        _ => D::from_f32(v),
    }
}

/// A loop over contiguous elements from one dtype to another.
pub type Convert = unsafe fn(dst: *mut u8, src: *const u8, n: usize);

/// # Safety
/// `src` holds `n` elements of `S`; `dst` has room for `n` of `D`; they do not overlap.
unsafe fn convert_loop<S: Element, D: Element>(dst: *mut u8, src: *const u8, n: usize) {
    // SAFETY: this function's contract.
    let (dst, src) =
        unsafe { (std::slice::from_raw_parts_mut(dst.cast::<D>(), n), std::slice::from_raw_parts(src.cast::<S>(), n)) };
    dispatch(
        #[inline(always)]
        || {
            for (d, s) in dst.iter_mut().zip(src) {
                *d = cast(*s);
            }
        },
    );
}

/// The loop that casts `from` to `to` (for equal dtypes a copy, in which bools come out as 0 or 1).
#[must_use]
pub fn convert(from: DType, to: DType) -> Convert {
    with_dtype!(from, S => with_dtype!(to, D => convert_loop::<S, D>))
}

/// A scalar as the bytes of one element, low end first in a `u64`.
#[must_use]
pub fn scalar_bits(s: rustnn_base::Scalar, dtype: DType) -> u64 {
    let mut out = 0u64;
    with_dtype!(dtype, T => {
        let v: T = if dtype == DType::Bool {
            T::from_i64(i64::from(s.to_bool()))
        } else {
            T::from_scalar(s)
        };
        // SAFETY: every element type is at most 8 bytes of plain data.
        unsafe { std::ptr::copy_nonoverlapping((&raw const v).cast::<u8>(), (&raw mut out).cast::<u8>(), size_of::<T>()) }
    });
    out
}

/// One number as a window: what a kernel reads where a scalar stands for a tensor.
pub struct Number {
    bits: u64,
    dtype: DType,
}

impl Number {
    /// `s` cast to `dtype`.
    #[must_use]
    pub fn new(s: rustnn_base::Scalar, dtype: DType) -> Self {
        Number { bits: scalar_bits(s, dtype), dtype }
    }
    /// A zero-dimensional window, to be read only.
    #[must_use]
    pub fn raw(&self) -> crate::Raw<'_> {
        // SAFETY: the bits hold one element of the dtype, 8-aligned; kernels do not write their sources.
        unsafe { crate::Raw::new((&raw const self.bits).cast_mut().cast(), self.dtype, &[], &[]) }
    }
}

const _: () = assert!(size_of::<B8>() == 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bit_floats_convert_as_the_half_crate_does() {
        for h in 0..=u16::MAX {
            let (a, b) = (f16_to_f32(h), f16::from_bits(h).to_f32());
            assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()), "{h:x}");
            assert!(bf16_to_f32(h).to_bits() == bf16::from_bits(h).to_f32().to_bits() || bf16_to_f32(h).is_nan());
        }
        let mut x = 12345u32;
        for _ in 0..2_000_000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let v = f32::from_bits(x);
            if v.is_nan() {
                assert!(f16::from_bits(f32_to_f16(v)).is_nan() && bf16::from_bits(f32_to_bf16(v)).is_nan());
            } else {
                assert_eq!(f32_to_f16(v), f16::from_f32(v).to_bits(), "{v:e}");
                assert_eq!(f32_to_bf16(v), bf16::from_f32(v).to_bits(), "{v:e}");
            }
        }
    }
}
