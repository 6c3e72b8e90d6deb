//! Element types, their Rust counterparts, and PyTorch's promotion rules.

use crate::Scalar;
use half::{bf16, f16};

/// The element types of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    Bool,
    U8,
    I8,
    I16,
    I32,
    I64,
    F16,
    BF16,
    F32,
    F64,
}

/// The category that decides promotion: a higher one always wins over a lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Bool,
    Int,
    Float,
}

impl DType {
    /// Every dtype, in promotion order.
    pub const ALL: [DType; 10] = [
        DType::Bool,
        DType::U8,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
    ];

    /// Bytes an element takes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 | DType::I8 => 1,
            DType::I16 | DType::F16 | DType::BF16 => 2,
            DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// Category in promotion.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            DType::Bool => Kind::Bool,
            DType::U8 | DType::I8 | DType::I16 | DType::I32 | DType::I64 => Kind::Int,
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => Kind::Float,
        }
    }

    /// True for the four floating-point dtypes, which alone can have gradients.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self.kind(), Kind::Float)
    }

    /// The name on the Python surface: `torch.float32`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "uint8",
            DType::I8 => "int8",
            DType::I16 => "int16",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            DType::F32 => "float32",
            DType::F64 => "float64",
        }
    }

    /// The C-style name that PyTorch's error messages use: `Float`, `Long`, ...
    #[must_use]
    pub const fn torch_name(self) -> &'static str {
        match self {
            DType::Bool => "Bool",
            DType::U8 => "Byte",
            DType::I8 => "Char",
            DType::I16 => "Short",
            DType::I32 => "Int",
            DType::I64 => "Long",
            DType::F16 => "Half",
            DType::BF16 => "BFloat16",
            DType::F32 => "Float",
            DType::F64 => "Double",
        }
    }

    /// The dtype of an op between two tensors of these dtypes (both with dimensions).
    #[must_use]
    pub const fn promote(self, other: DType) -> DType {
        use DType::*;
        if self as u8 == other as u8 {
            return self;
        }
        match (self, other) {
            (Bool, x) | (x, Bool) => x,
            // uint8 with a signed type needs the next signed type that holds both.
            (U8, I8) | (I8, U8) => I16,
            (U8, x) | (x, U8) => x,
            (F16, BF16) | (BF16, F16) => F32,
            (a, b) => {
                if a as u8 > b as u8 {
                    a
                } else {
                    b
                }
            }
        }
    }

    /// Whether a value of this dtype may be written into a tensor of `to` in place:
    /// never down a category (float into int, int into bool).
    #[must_use]
    pub fn can_cast(self, to: DType) -> bool {
        self.kind() <= to.kind()
    }

    /// The dtype in which sums of this one are kept: 16-bit floats in f32, integers in i64.
    #[must_use]
    pub const fn accumulate(self) -> DType {
        match self {
            DType::F16 | DType::BF16 | DType::F32 => DType::F32,
            DType::F64 => DType::F64,
            _ => DType::I64,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One operand as promotion sees it.
#[derive(Debug, Clone, Copy)]
pub enum Operand {
    /// A tensor with at least one dimension.
    Dimensioned(DType),
    /// A zero-dimensional tensor: its width only counts if its category is higher.
    ZeroDim(DType),
    /// A Python number: only its category counts.
    Number(Kind),
}

/// PyTorch's `result_type` over any number of operands.
#[must_use]
pub fn result_type(operands: impl IntoIterator<Item = Operand>, default_float: DType) -> DType {
    let (mut dim, mut zero, mut num): (Option<DType>, Option<DType>, Option<DType>) = (None, None, None);
    let join = |slot: &mut Option<DType>, d: DType| *slot = Some(slot.map_or(d, |s| s.promote(d)));
    for o in operands {
        match o {
            Operand::Dimensioned(d) => join(&mut dim, d),
            Operand::ZeroDim(d) => join(&mut zero, d),
            Operand::Number(k) => join(
                &mut num,
                match k {
                    Kind::Bool => DType::Bool,
                    Kind::Int => DType::I64,
                    Kind::Float => default_float,
                },
            ),
        }
    }
    let combine = |high: Option<DType>, low: Option<DType>| match (high, low) {
        (Some(h), Some(l)) if l.kind() > h.kind() => Some(h.promote(l)),
        (Some(h), _) => Some(h),
        (None, l) => l,
    };
    combine(dim, combine(zero, num)).unwrap_or(default_float)
}

/// A bool as it lies in memory: any non-zero byte is true, so foreign memory is never undefined.
#[derive(Debug, Clone, Copy, Default)]
#[repr(transparent)]
pub struct B8(pub u8);

impl B8 {
    /// Its truth.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> bool {
        self.0 != 0
    }
}
impl From<bool> for B8 {
    #[inline(always)]
    fn from(b: bool) -> Self {
        B8(b as u8)
    }
}
impl PartialEq for B8 {
    #[inline(always)]
    fn eq(&self, o: &Self) -> bool {
        self.get() == o.get()
    }
}
impl PartialOrd for B8 {
    #[inline(always)]
    fn partial_cmp(&self, o: &Self) -> Option<std::cmp::Ordering> {
        Some(self.get().cmp(&o.get()))
    }
}

/// A Rust type that a tensor can hold. Conversions are PyTorch's casts: float to int cuts toward zero,
/// integers wrap, anything non-zero is true.
pub trait Element: Copy + Send + Sync + Default + PartialEq + PartialOrd + std::fmt::Debug + 'static {
    const DTYPE: DType;
    /// From a double (rounded once to nearest for floats).
    fn from_f64(v: f64) -> Self;
    fn to_f64(self) -> f64;
    fn from_i64(v: i64) -> Self;
    fn to_i64(self) -> i64;
    /// From single precision; exact for f64, rounded for 16-bit types.
    fn from_f32(v: f32) -> Self;
    fn to_f32(self) -> f32;
    fn is_true(self) -> bool;
    /// True for NaN.
    #[inline(always)]
    fn is_nan(self) -> bool {
        false
    }
    #[inline(always)]
    fn from_scalar(s: Scalar) -> Self {
        match s {
            Scalar::Bool(b) => Self::from_i64(i64::from(b)),
            Scalar::Int(i) => Self::from_i64(i),
            Scalar::Float(f) => Self::from_f64(f),
        }
    }
    #[inline(always)]
    fn to_scalar(self) -> Scalar {
        match Self::DTYPE.kind() {
            Kind::Bool => Scalar::Bool(self.is_true()),
            Kind::Int => Scalar::Int(self.to_i64()),
            Kind::Float => Scalar::Float(self.to_f64()),
        }
    }
}

/// A float cut toward zero and wrapped into 64 bits; what does not fit at all becomes `i64::MIN`, as on x86.
#[inline(always)]
fn cut(v: f64) -> i64 {
    if v >= -9.223_372_036_854_775_8e18 && v < 9.223_372_036_854_775_8e18 { v as i64 } else { i64::MIN }
}

macro_rules! int_element {
    ($($t:ty => $d:ident),*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            #[inline(always)] fn from_f64(v: f64) -> Self { cut(v) as $t }
            #[inline(always)] fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)] fn from_i64(v: i64) -> Self { v as $t }
            #[inline(always)] fn to_i64(self) -> i64 { self as i64 }
            #[inline(always)] fn from_f32(v: f32) -> Self { cut(v as f64) as $t }
            #[inline(always)] fn to_f32(self) -> f32 { self as f32 }
            #[inline(always)] fn is_true(self) -> bool { self != 0 }
        }
    )*};
}
int_element!(u8 => U8, i8 => I8, i16 => I16, i32 => I32, i64 => I64);

macro_rules! float_element {
    ($($t:ty => $d:ident),*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            #[inline(always)] fn from_f64(v: f64) -> Self { v as $t }
            #[inline(always)] fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)] fn from_i64(v: i64) -> Self { v as $t }
            #[inline(always)] fn to_i64(self) -> i64 { cut(self as f64) }
            #[inline(always)] fn from_f32(v: f32) -> Self { v as $t }
            #[inline(always)] fn to_f32(self) -> f32 { self as f32 }
            #[inline(always)] fn is_true(self) -> bool { self != 0.0 }
            #[inline(always)] fn is_nan(self) -> bool { self != self }
        }
    )*};
}
float_element!(f32 => F32, f64 => F64);

macro_rules! half_element {
    ($($t:ty => $d:ident),*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            #[inline(always)] fn from_f64(v: f64) -> Self { <$t>::from_f32(v as f32) }
            #[inline(always)] fn to_f64(self) -> f64 { <$t>::to_f32(self) as f64 }
            #[inline(always)] fn from_i64(v: i64) -> Self { <$t>::from_f32(v as f32) }
            #[inline(always)] fn to_i64(self) -> i64 { cut(<$t>::to_f32(self) as f64) }
            #[inline(always)] fn from_f32(v: f32) -> Self { <$t>::from_f32(v) }
            #[inline(always)] fn to_f32(self) -> f32 { <$t>::to_f32(self) }
            #[inline(always)] fn is_true(self) -> bool { <$t>::to_f32(self) != 0.0 }
            #[inline(always)] fn is_nan(self) -> bool { <$t>::is_nan(self) }
        }
    )*};
}
half_element!(bf16 => BF16, f16 => F16);

impl Element for B8 {
    const DTYPE: DType = DType::Bool;
    #[inline(always)]
    fn from_f64(v: f64) -> Self {
        (v != 0.0).into()
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self.get()))
    }
    #[inline(always)]
    fn from_i64(v: i64) -> Self {
        (v != 0).into()
    }
    #[inline(always)]
    fn to_i64(self) -> i64 {
        i64::from(self.get())
    }
    #[inline(always)]
    fn from_f32(v: f32) -> Self {
        (v != 0.0).into()
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(u8::from(self.get()))
    }
    #[inline(always)]
    fn is_true(self) -> bool {
        self.get()
    }
}

/// Floating-point elements. `Acc` is what sums and transcendental functions are computed in: f32 for 16-bit types
/// and f32, f64 for f64.
pub trait Float: Element {
    type Acc: Float + Real;
    fn to_acc(self) -> Self::Acc;
    fn from_acc(v: Self::Acc) -> Self;
}

/// f32 and f64: the types that arithmetic is done in.
pub trait Real:
    Element
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + std::ops::MulAssign
{
    const ZERO: Self;
    const ONE: Self;
    const INFINITY: Self;
    const EPS: Self;
    fn mul_add(self, a: Self, b: Self) -> Self;
    fn sqrt(self) -> Self;
    fn abs(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn trunc(self) -> Self;
    /// To nearest, ties to even.
    fn round(self) -> Self;
    fn copysign(self, s: Self) -> Self;
}

macro_rules! real {
    ($($t:ident),*) => {$(
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const INFINITY: Self = $t::INFINITY;
            const EPS: Self = $t::EPSILON;
            #[inline(always)] fn mul_add(self, a: Self, b: Self) -> Self { $t::mul_add(self, a, b) }
            #[inline(always)] fn sqrt(self) -> Self { $t::sqrt(self) }
            #[inline(always)] fn abs(self) -> Self { $t::abs(self) }
            #[inline(always)] fn floor(self) -> Self { $t::floor(self) }
            #[inline(always)] fn ceil(self) -> Self { $t::ceil(self) }
            #[inline(always)] fn trunc(self) -> Self { $t::trunc(self) }
            #[inline(always)] fn round(self) -> Self { $t::round_ties_even(self) }
            #[inline(always)] fn copysign(self, s: Self) -> Self { $t::copysign(self, s) }
        }
        impl Float for $t {
            type Acc = $t;
            #[inline(always)] fn to_acc(self) -> $t { self }
            #[inline(always)] fn from_acc(v: $t) -> $t { v }
        }
    )*};
}
real!(f32, f64);
impl Float for bf16 {
    type Acc = f32;
    #[inline(always)]
    fn to_acc(self) -> f32 {
        self.to_f32()
    }
    #[inline(always)]
    fn from_acc(v: f32) -> Self {
        bf16::from_f32(v)
    }
}
impl Float for f16 {
    type Acc = f32;
    #[inline(always)]
    fn to_acc(self) -> f32 {
        self.to_f32()
    }
    #[inline(always)]
    fn from_acc(v: f32) -> Self {
        f16::from_f32(v)
    }
}

/// Runs `$body` with `$T` bound to the Rust type of a runtime dtype. Dispatch once, at a family's border.
#[macro_export]
macro_rules! with_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::Bool => {
                type $T = $crate::B8;
                $body
            }
            $crate::DType::U8 => {
                type $T = u8;
                $body
            }
            $crate::DType::I8 => {
                type $T = i8;
                $body
            }
            $crate::DType::I16 => {
                type $T = i16;
                $body
            }
            $crate::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::DType::F16 => {
                type $T = $crate::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $T = $crate::bf16;
                $body
            }
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
        }
    };
}

/// As [`with_dtype!`] for floating dtypes; others run `$other`.
#[macro_export]
macro_rules! with_float {
    ($dtype:expr, $T:ident => $body:expr, else $other:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
            $crate::DType::BF16 => {
                type $T = $crate::bf16;
                $body
            }
            $crate::DType::F16 => {
                type $T = $crate::f16;
                $body
            }
            _ => $other,
        }
    };
}

/// As [`with_dtype!`] for everything but bool; bool runs `$other`.
#[macro_export]
macro_rules! with_number {
    ($dtype:expr, $T:ident => $body:expr, else $other:expr) => {
        match $dtype {
            $crate::DType::Bool => $other,
            $crate::DType::U8 => {
                type $T = u8;
                $body
            }
            $crate::DType::I8 => {
                type $T = i8;
                $body
            }
            $crate::DType::I16 => {
                type $T = i16;
                $body
            }
            $crate::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::DType::F16 => {
                type $T = $crate::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $T = $crate::bf16;
                $body
            }
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promotion_follows_categories() {
        use Operand::*;
        let d = DType::F32;
        assert_eq!(result_type([Dimensioned(DType::I32), Number(Kind::Float)], d), DType::F32);
        assert_eq!(result_type([Dimensioned(DType::F16), ZeroDim(DType::F64)], d), DType::F16);
        assert_eq!(result_type([Dimensioned(DType::U8), Number(Kind::Int)], d), DType::U8);
        assert_eq!(result_type([Dimensioned(DType::Bool), Number(Kind::Int)], d), DType::I64);
        assert_eq!(result_type([Dimensioned(DType::I64), ZeroDim(DType::F64)], d), DType::F64);
        assert_eq!(DType::U8.promote(DType::I8), DType::I16);
        assert_eq!(DType::F16.promote(DType::BF16), DType::F32);
        assert_eq!(DType::I64.promote(DType::F16), DType::F16);
    }
}
