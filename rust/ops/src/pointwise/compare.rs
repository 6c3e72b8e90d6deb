//! Comparisons, logic, and questions about single elements. None has a gradient.

use super::{Num, place, promote, windows};
use crate::registry::{DIRECT, INPLACE, METHOD, OUT, TORCH, op};
use crate::{DType, IntoRet, OpDef, Result, Tensor};
use rustnn_core::base::runtime_error;
use rustnn_core::mode;
use rustnn_kernels::elementwise::{self, Compare, Logical, Predicate};
use rustnn_kernels::reduce::{Reduce, reduce};

const PAIR: u32 = METHOD | TORCH | INPLACE | OUT | DIRECT;

/// `a op b` as a bool tensor.
pub fn compare(kernel: Compare, a: Num, b: Num, name: &str) -> Result<Tensor> {
    let run = || -> Result<Tensor> {
        let common = promote(&[a, b]);
        let out = place(&[a, b], DType::Bool)?;
        windows([a, b], common, |[ra, rb]| elementwise::compare(kernel, &out.raw(), ra, rb, common))?;
        Ok(out)
    };
    run().map_err(|e| e.in_op(name))
}

macro_rules! comparisons {
    ($($name:ident $kernel:ident, $doc:literal;)*) => {$(
        #[doc = $doc]
        pub fn $name<'a, 'b>(a: impl Into<Num<'a>>, b: impl Into<Num<'b>>) -> Result<Tensor> {
            compare(Compare::$kernel, a.into(), b.into(), stringify!($name))
        }
    )*};
}
comparisons! {
    eq Eq, "Where both are equal.";
    ne Ne, "Where they differ.";
    lt Lt, "Where the first is less.";
    le Le, "Where the first is at most the second.";
    gt Gt, "Where the first is greater.";
    ge Ge, "Where the first is at least the second.";
}

fn logic<'a, 'b>(kernel: Logical, a: impl Into<Num<'a>>, b: impl Into<Num<'b>>, name: &str) -> Result<Tensor> {
    let (a, b) = (a.into(), b.into());
    let out = place(&[a, b], DType::Bool).map_err(|e| e.in_op(name))?;
    windows([a, b], DType::Bool, |[ra, rb]| elementwise::logical(kernel, &out.raw(), ra, rb))?;
    Ok(out)
}

/// Where both are true (not zero).
pub fn logical_and(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    logic(Logical::And, a, b, "logical_and")
}
/// Where one at least is true.
pub fn logical_or(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    logic(Logical::Or, a, b, "logical_or")
}
/// Where exactly one is true.
pub fn logical_xor(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    logic(Logical::Xor, a, b, "logical_xor")
}

/// One question of every element.
pub fn ask(kernel: Predicate, x: &Tensor) -> Result<Tensor> {
    let out = place(&[Num::T(x)], DType::Bool)?;
    elementwise::predicate(kernel, &out.raw(), &x.raw())?;
    Ok(out)
}

/// Where an element is zero.
pub fn logical_not(x: &Tensor) -> Result<Tensor> {
    ask(Predicate::LogicalNot, x)
}
/// Where an element is neither infinite nor NaN.
pub fn isfinite(x: &Tensor) -> Result<Tensor> {
    ask(Predicate::IsFinite, x)
}
/// Where an element is NaN.
pub fn isnan(x: &Tensor) -> Result<Tensor> {
    ask(Predicate::IsNan, x)
}
/// As [`isnan`] for a number as well.
pub(crate) fn isnan_num(n: Num) -> Result<Tensor> {
    match n {
        Num::T(t) => isnan(t),
        Num::S(s) => Tensor::scalar(s.to_f64().is_nan().into(), DType::Bool),
    }
}

/// `|a − b| ≤ atol + rtol·|b|`, equal infinities being close.
pub fn isclose(a: &Tensor, b: &Tensor, rtol: f64, atol: f64, equal_nan: bool) -> Result<Tensor> {
    if a.dtype() != b.dtype() {
        return Err(runtime_error!("{} did not match {}", a.dtype().torch_name(), b.dtype().torch_name()));
    }
    if rtol < 0.0 || atol < 0.0 {
        let (name, v) = if rtol < 0.0 { ("rtol", rtol) } else { ("atol", atol) };
        return Err(runtime_error!("{name} must be greater than or equal to zero, but got {v}"));
    }
    mode_off(|| {
        let mut close = eq(a, b)?;
        if equal_nan && a.dtype().is_float() {
            close = logical_or(&close, &logical_and(&isnan(a)?, &isnan(b)?)?)?;
        }
        if rtol == 0.0 && atol == 0.0 {
            return Ok(close);
        }
        let wide = |t: &Tensor| {
            if t.dtype() == DType::F64 || !t.dtype().is_float() {
                crate::basic::to_dtype(t, DType::F64)
            } else {
                Ok(t.clone())
            }
        };
        let (x, y) = (wide(a)?, wide(b)?);
        let allowed = super::affine(&super::abs(&y)?, rtol, atol)?;
        let error = super::abs(&super::sub(&x, &y)?)?;
        let near = logical_and(&le(&error, &allowed)?, &isfinite(&error)?)?;
        logical_or(&close, &near)
    })
}

fn mode_off<R>(f: impl FnOnce() -> R) -> R {
    mode::no_grad(f)
}

/// Whether every element is true.
pub(crate) fn all_true(x: &Tensor) -> Result<bool> {
    let x = x.to_contiguous()?;
    let ones = vec![1usize; x.ndim()];
    let out = Tensor::empty(&ones, DType::Bool)?;
    reduce(Reduce::All, &out.raw(), &x.raw())?;
    Ok(out.item()?.to_bool())
}

/// Same shape and elements.
pub fn equal(a: &Tensor, b: &Tensor) -> Result<bool> {
    Ok(a.shape() == b.shape() && all_true(&eq(a, b)?)?)
}

const PAIRS: &[&str] =
    &["t(3,4), t(3,4)", "t(3,4), t(4)", "t(3,4), 0.5", "t(), t()", "t(0,3), t(3)", "i(3,4), i(4)", "i(3), 4"];
const LOGIC: &[&str] = &["t(3,4), t(4)", "b(3,4), b(3,4)", "i(3,4, hi=2), i(4, hi=2)"];
const ONE: &[&str] = &["t(3,4)", "t()", "t(0,3)", "t(3) / 0", "i(3)"];

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = Vec::new();
    macro_rules! rows {
        ($($name:literal $alias:literal $f:ident $doc:literal $oracle:literal;)*) => {$(
            for sig in [concat!($name, "(Tensor input, Tensor|Scalar other)"), concat!($alias, "(Tensor input, Tensor|Scalar other)")] {
                v.push(op(sig, PAIR, |a| $f(Num::of(a, 0)?, Num::of(a, 1)?).ret()).doc($doc).samples(PAIRS).oracle($oracle).nondiff());
            }
        )*};
    }
    rows! {
        "ne" "not_equal" ne "Where the elements differ." "input != other";
        "lt" "less" lt "Where input is less." "input < other";
        "le" "less_equal" le "Where input is at most other." "input <= other";
        "gt" "greater" gt "Where input is greater." "input > other";
        "ge" "greater_equal" ge "Where input is at least other." "input >= other";
    }
    v.push(
        op("eq(Tensor input, Tensor|Scalar other)", PAIR, |a| eq(Num::of(a, 0)?, Num::of(a, 1)?).ret())
            .doc("Where the elements are equal.")
            .samples(PAIRS)
            .oracle("input == other")
            .nondiff(),
    );
    macro_rules! logics {
        ($($sig:literal $kernel:ident $name:literal $oracle:literal;)*) => {$(
            v.push(op($sig, PAIR, |a| logic(Logical::$kernel, a.tensor(0)?, a.tensor(1)?, $name).ret())
                .doc("Logic on truth values: anything but zero is true.").samples(LOGIC).oracle($oracle).nondiff());
        )*};
    }
    logics! {
        "logical_and(Tensor input, Tensor other)" And "logical_and" "np.logical_and(input, other)";
        "logical_or(Tensor input, Tensor other)" Or "logical_or" "np.logical_or(input, other)";
        "logical_xor(Tensor input, Tensor other)" Xor "logical_xor" "np.logical_xor(input, other)";
    }
    macro_rules! questions {
        ($($sig:literal $kernel:ident $doc:literal $oracle:literal;)*) => {$(
            v.push(op($sig, METHOD | TORCH, |a| ask(Predicate::$kernel, a.tensor(0)?).ret()).doc($doc).samples(ONE).oracle($oracle).nondiff());
        )*};
    }
    questions! {
        "isnan(Tensor input)" IsNan "Where an element is NaN." "np.isnan(input)";
        "isinf(Tensor input)" IsInf "Where an element is infinite." "np.isinf(input)";
        "isfinite(Tensor input)" IsFinite "Where an element is neither infinite nor NaN." "np.isfinite(input)";
    }
    macro_rules! signed {
        ($($sig:literal $kernel:ident $doc:literal $oracle:literal;)*) => {$(
            v.push(op($sig, METHOD | TORCH | OUT, |a| ask(Predicate::$kernel, a.tensor(0)?).ret()).doc($doc).samples(ONE).oracle($oracle).nondiff());
        )*};
    }
    signed! {
        "isposinf(Tensor input)" IsPosInf "Where an element is +inf." "np.isposinf(input)";
        "isneginf(Tensor input)" IsNegInf "Where an element is −inf." "np.isneginf(input)";
        "signbit(Tensor input)" Signbit "Where an element is negative, −0 included." "np.signbit(input)";
    }
    v.extend([
        op("logical_not(Tensor input)", PAIR, |a| logical_not(a.tensor(0)?).ret())
            .doc("Where an element is zero.")
            .samples(ONE)
            .oracle("np.logical_not(input)")
            .nondiff(),
        op("isreal(Tensor input)", METHOD | TORCH, |a| {
            let x = a.tensor(0)?;
            crate::basic::in_layout_of(x, Tensor::full(x.shape(), true.into(), DType::Bool)?)?.ret()
        })
        .doc("True everywhere: there are no complex dtypes.")
        .samples(ONE)
        .oracle("np.isreal(input)")
        .nondiff(),
        op(
            "isclose(Tensor input, Tensor other, float rtol=1e-05, float atol=1e-08, bool equal_nan=False)",
            METHOD | TORCH,
            |a| isclose(a.tensor(0)?, a.tensor(1)?, a.float(2)?, a.float(3)?, a.bool(4)?).ret(),
        )
        .doc("Where |input − other| ≤ atol + rtol·|other|.")
        .samples(&["t(3,4), t(3,4)", "t(3,4), t(4), rtol=0.5, atol=0.5", "t(3) / 0, t(3) / 0, equal_nan=True"])
        .oracle("np.isclose(input, other, rtol, atol, equal_nan)")
        .nondiff(),
        op(
            "allclose(Tensor input, Tensor other, float rtol=1e-05, float atol=1e-08, bool equal_nan=False)",
            METHOD | TORCH,
            |a| {
                let close = isclose(a.tensor(0)?, a.tensor(1)?, a.float(2)?, a.float(3)?, a.bool(4)?)?;
                all_true(&close).ret()
            },
        )
        .doc("Whether isclose holds everywhere.")
        .samples(&["t(3,4), t(3,4)", "pos(3), pos(3), rtol=10.0"])
        .oracle("np.allclose(input, other, rtol, atol, equal_nan)")
        .nondiff(),
        op("equal(Tensor input, Tensor other)", METHOD | TORCH, |a| equal(a.tensor(0)?, a.tensor(1)?).ret())
            .doc("Whether both have the same shape and elements.")
            .samples(&["t(3,4), t(3,4)", "t(3), t(4)", "i(3) * 0, i(3) * 0"])
            .oracle("np.array_equal(input, other)")
            .nondiff(),
    ]);
    v
}
