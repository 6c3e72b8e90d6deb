//! Pointwise ops: one operand, two, three; comparisons, logic, activations, casts.
//!
//! This file holds what they share: operands that are tensors or numbers, PyTorch's type promotion, the result's
//! place, and recording.

pub mod activation;
pub mod arithmetic;
pub mod bitwise;
pub mod cast;
pub mod compare;
pub mod math;
pub mod real;
pub mod rounding;
pub mod special;
pub mod ternary;

pub use activation::*;
pub use arithmetic::*;
pub use compare::*;
pub use math::*;
pub use ternary::*;

use crate::{Arg, Args, Ctx, DType, Grads, OpDef, Result, Saved, Scalar, Tensor, attach, needs_grad, save};
use rustnn_core::base::dtype::{Operand, result_type};
use rustnn_core::base::layout::broadcast_shapes;
use rustnn_core::base::{Kind, not_implemented, type_error};
use rustnn_core::{Dims, Raw, dest, graph, mode};
use rustnn_kernels::convert::Number;
use rustnn_kernels::elementwise::{self, Binary};
use smallvec::SmallVec;

/// An operand: a tensor or a Python number.
#[derive(Clone, Copy)]
pub enum Num<'a> {
    T(&'a Tensor),
    S(Scalar),
}

impl<'a> From<&'a Tensor> for Num<'a> {
    fn from(t: &'a Tensor) -> Self {
        Num::T(t)
    }
}
impl From<Scalar> for Num<'_> {
    fn from(s: Scalar) -> Self {
        Num::S(s)
    }
}
impl From<f64> for Num<'_> {
    fn from(v: f64) -> Self {
        Num::S(Scalar::Float(v))
    }
}
impl From<i64> for Num<'_> {
    fn from(v: i64) -> Self {
        Num::S(Scalar::Int(v))
    }
}

impl<'a> Num<'a> {
    /// Argument `i` of a call.
    pub fn of(a: &'a Args, i: usize) -> Result<Num<'a>> {
        match a.arg(i) {
            Arg::Tensor(t) => Ok(Num::T(t)),
            _ => a.scalar(i).map(Num::S),
        }
    }
    /// The tensor, if it is one.
    #[must_use]
    pub fn tensor(self) -> Option<&'a Tensor> {
        match self {
            Num::T(t) => Some(t),
            Num::S(_) => None,
        }
    }
    /// The dtype it has by itself.
    #[must_use]
    pub fn dtype(self) -> DType {
        match self {
            Num::T(t) => t.dtype(),
            Num::S(s) => s.dtype(mode::default_dtype()),
        }
    }
    /// Whether both are tensors in one block of memory.
    #[must_use]
    pub fn shares(self, other: Num) -> bool {
        self.tensor().zip(other.tensor()).is_some_and(|(a, b)| a.storage().same(b.storage()))
    }
    /// Whether it needs a gradient.
    #[must_use]
    pub fn needs_grad(self) -> bool {
        self.tensor().is_some_and(|t| needs_grad(&[t]))
    }
    fn operand(self) -> Operand {
        match self {
            Num::T(t) if t.ndim() > 0 => Operand::Dimensioned(t.dtype()),
            Num::T(t) => Operand::ZeroDim(t.dtype()),
            Num::S(s) => Operand::Number(s.kind()),
        }
    }
}

/// The dtype in which operands meet.
#[inline]
#[must_use]
pub fn promote(nums: &[Num]) -> DType {
    if let [Num::T(a), rest @ ..] = nums {
        let d = a.dtype();
        let same = rest.iter().all(|n| match n {
            Num::T(b) => b.dtype() == d,
            Num::S(s) => a.ndim() > 0 && s.kind() <= d.kind(),
        });
        if same {
            return d;
        }
    }
    promote_mixed(nums)
}

#[inline(never)]
fn promote_mixed(nums: &[Num]) -> DType {
    result_type(nums.iter().map(|n| n.operand()), mode::default_dtype())
}

/// As [`promote`], integers becoming the default float.
#[must_use]
pub fn promote_float(nums: &[Num]) -> DType {
    crate::inplace::float_dtype(promote(nums))
}

/// The shape that operands broadcast to.
pub fn broadcast(nums: &[Num]) -> Result<Dims> {
    let mut shape: Option<Dims> = None;
    for t in nums.iter().filter_map(|n| n.tensor()) {
        shape = Some(match shape {
            None => Dims::from_slice(t.shape()),
            Some(s) if &s[..] == t.shape() => s,
            Some(s) => broadcast_shapes(&s, t.shape())?,
        });
    }
    Ok(shape.unwrap_or_default())
}

/// A place for the result: the destination on offer, or a fresh tensor in the operands' memory order.
#[inline]
pub fn place(nums: &[Num], dtype: DType) -> Result<Tensor> {
    if let Some(Num::T(first)) = nums.first() {
        let alike = |t: &Tensor| same_shape(t.shape(), first.shape());
        if nums[1..].iter().all(|n| n.tensor().is_none_or(alike)) {
            if first.is_contiguous() && !dest::offered() {
                return Tensor::empty(first.shape(), dtype);
            }
            return place_shaped(nums, first.shape(), dtype);
        }
    }
    let shape = broadcast(nums)?;
    place_shaped(nums, &shape, dtype)
}

/// As `==`, which calls the system's `memcmp` for these few numbers.
#[inline]
fn same_shape(a: &[usize], b: &[usize]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b)
}

#[inline(never)]
fn place_shaped(nums: &[Num], shape: &[usize], dtype: DType) -> Result<Tensor> {
    if let Some(d) = dest::take(shape, dtype) {
        // An operand that shares memory with it in any other way than being it must not be overwritten early.
        let safe = nums
            .iter()
            .filter_map(|n| n.tensor())
            .all(|t| !t.storage().same(d.storage()) || (t.dtype() == dtype && t.layout() == d.layout()));
        if safe {
            return Ok(d);
        }
    }
    match nums.iter().filter_map(|n| n.tensor()).find(|t| t.shape() == shape) {
        Some(t) if !t.is_contiguous() => t.empty_like_as(dtype),
        _ => Tensor::empty(shape, dtype),
    }
}

/// Runs `f` on windows of the operands; numbers are cast to `dtype`'s arithmetic.
#[inline]
pub fn windows<const N: usize, R>(nums: [Num; N], dtype: DType, f: impl FnOnce([&Raw; N]) -> R) -> R {
    if nums.iter().all(|n| matches!(n, Num::T(_))) {
        let nothing = Scalar::Bool(false);
        let nowhere = Number::new(nothing, DType::Bool);
        // A loop: an array's `map` is at the compiler's whim a call for each element.
        let mut raws = [nowhere.raw(); N];
        for (raw, n) in raws.iter_mut().zip(&nums) {
            if let Num::T(t) = n {
                *raw = t.raw();
            }
        }
        return f(raws.each_ref());
    }
    let lane = rustnn_kernels::elementwise::lane(dtype);
    let numbers = nums.map(|n| match n {
        Num::S(s) => Number::new(s, lane),
        Num::T(_) => Number::new(Scalar::Bool(false), DType::Bool),
    });
    let mut i = 0;
    let raws = nums.map(|n| {
        let r = match n {
            Num::T(t) => t.raw(),
            Num::S(_) => numbers[i].raw(),
        };
        i += 1;
        r
    });
    f(raws.each_ref())
}

/// As [`arithmetic::forward`] for an op that forgets its first operand: in place where the call says so, recorded or not.
#[inline]
pub(crate) fn forward_over(kernel: Binary, a: Num, b: Num, dtype: DType, name: &str) -> Result<Tensor> {
    if let Num::T(x) = a
        && graph::is_overwriting()
        && x.dtype() == dtype
        && broadcast(&[a, b]).is_ok_and(|s| s[..] == *x.shape())
        && (!b.shares(a) || b.tensor().is_some_and(|t| t.layout() == x.layout()))
        && let Some(out) = graph::overwrite(x)
    {
        windows([a, b], dtype, |[ra, rb]| elementwise::binary(kernel, &out.raw(), ra, rb))
            .map_err(|e| e.in_op(name))?;
        return Ok(out);
    }
    arithmetic::forward(kernel, a, b, dtype, name)
}

/// An operand kept for the backward pass.
pub enum Kept {
    T(Saved),
    S(Scalar),
    /// Not needed.
    Nothing,
}

/// A kept operand, taken out again.
pub enum Held {
    T(Tensor),
    S(Scalar),
}

impl Kept {
    /// Keeps `n` if `wanted`.
    #[must_use]
    pub fn new(n: Num, wanted: bool) -> Self {
        match n {
            _ if !wanted => Kept::Nothing,
            Num::T(t) => Kept::T(save(t)),
            Num::S(s) => Kept::S(s),
        }
    }
    /// The operand as it was.
    pub fn get(&self, c: &Ctx) -> Result<Held> {
        Ok(match self {
            Kept::T(s) => Held::T(s.get(c)?),
            Kept::S(s) => Held::S(*s),
            Kept::Nothing => Held::S(Scalar::Int(0)),
        })
    }
}

impl Held {
    #[must_use]
    pub fn num(&self) -> Num<'_> {
        match self {
            Held::T(t) => Num::T(t),
            Held::S(s) => Num::S(*s),
        }
    }
}

/// Records `out`; `f(ctx, gradient, i)` is the gradient of operand `i` (numbers have none).
pub fn record(
    name: &'static str,
    out: Tensor,
    nums: &[Num],
    f: impl Fn(&Ctx, &Tensor, usize) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let mut inputs: SmallVec<[&Tensor; 4]> = SmallVec::new();
    let mut places: SmallVec<[usize; 4]> = SmallVec::new();
    for (i, n) in nums.iter().enumerate() {
        if let Num::T(t) = n {
            inputs.push(t);
            places.push(i);
        }
    }
    attach(name, out, &inputs, move |c, g| {
        let mut grads = Grads::new();
        for (k, &i) in places.iter().enumerate() {
            grads.push(if c.wants(k) { Some(f(c, g, i)?) } else { None });
        }
        Ok(grads)
    })
}

/// `"exp_cpu" not implemented for 'Bool'`, PyTorch's words for an op that a dtype lacks.
pub fn unsupported(op: &str, dtype: DType) -> rustnn_core::Error {
    not_implemented!("\"{op}_cpu\" not implemented for '{}'", dtype.torch_name())
}

/// An error unless `x` is floating point.
pub fn need_float(op: &str, x: &Tensor) -> Result<()> {
    if x.dtype().is_float() { Ok(()) } else { Err(unsupported(op, x.dtype())) }
}

/// An error unless the operand is a tensor.
pub fn need_tensor<'a>(n: Num<'a>, op: &str) -> Result<&'a Tensor> {
    n.tensor().ok_or_else(|| type_error!("{op}(): an operand must be Tensor, not a number"))
}

/// Whether a dtype is an integer one (bool is none).
#[must_use]
pub fn is_int(d: DType) -> bool {
    d.kind() == Kind::Int
}

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = Vec::new();
    v.extend(math::ops());
    v.extend(rounding::ops());
    v.extend(real::ops());
    v.extend(special::ops());
    v.extend(arithmetic::ops());
    v.extend(compare::ops());
    v.extend(bitwise::ops());
    v.extend(ternary::ops());
    v.extend(activation::ops());
    v.extend(cast::ops());
    v.extend(real::ops());
    v
}
