//! What complex numbers have and real ones have trivially, parts of floating point numbers, incomplete gamma functions.

use super::{Kept, Num, compare, forward, mul, promote_float, record, unsupported, where_};
use crate::args::Ret;
use crate::basic::to_dtype;
use crate::inplace::float_dtype;
use crate::registry::{DIRECT, INPLACE, METHOD, OUT, SPECIAL, TORCH, op};
use crate::{DType, IntoRet, OpDef, Result, Tensor, attach_many, grads, save};
use rustnn_core::base::{Element, not_implemented, runtime_error, with_float};
use rustnn_kernels::elementwise::Binary;
use std::f64::consts::PI;

/// The angle in the complex plane: 0, π for negative numbers.
fn angle(x: &Tensor) -> Result<Tensor> {
    let wide = to_dtype(x, float_dtype(x.dtype()))?;
    let half_turn = Tensor::scalar(PI.into(), wide.dtype())?;
    let flat = where_(&compare::lt(&wide, 0.0)?, &half_turn, 0.0)?;
    // NaN stays; x itself contributes no slope.
    where_(&compare::isnan(&wide)?, &wide, &flat)
}

/// Mantissa in [0.5, 1) and exponent of a number.
fn parts(v: f64) -> (f64, i32) {
    if v == 0.0 || !v.is_finite() {
        return (v, 0);
    }
    // Denormal numbers are brought into the range where the exponent's bits tell.
    let (v, shift) = if v.abs() < f64::MIN_POSITIVE { (v * 2f64.powi(64), -64) } else { (v, 0) };
    let bits = v.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1022;
    (f64::from_bits((bits & !(0x7ff << 52)) | (1022 << 52)), exponent + shift)
}

fn frexp(x: &Tensor) -> Result<Vec<Tensor>> {
    if !x.dtype().is_float() {
        return Err(runtime_error!("torch.frexp() only supports floating-point dtypes"));
    }
    let (m, e) = (Tensor::empty(x.shape(), x.dtype())?, Tensor::empty(x.shape(), DType::I32)?);
    let dense = x.to_contiguous()?;
    with_float!(x.dtype(), T => {
        let (ms, es) = (m.slice_mut::<T>()?, e.slice_mut::<i32>()?);
        for ((v, m), e) in dense.slice::<T>()?.iter().zip(ms).zip(es) {
            let (a, b) = parts(v.to_f64());
            *m = T::from_f64(a);
            *e = b;
        }
    }, else ());
    let (m, e) = (crate::basic::in_layout_of(x, m)?, crate::basic::in_layout_of(x, e)?);
    let s = save(&e);
    attach_many("FrexpBackward0", vec![m, e], &[x], move |c, gs| match &gs[0] {
        Some(g) => {
            let down = super::neg(&to_dtype(&s.get(c)?, g.dtype())?)?;
            Ok(grads![super::ldexp(g, &down)?])
        }
        None => Ok(crate::Grads::new()),
    })
}

/// An incomplete gamma function, with the sign of its slope in the second operand.
fn incomplete(kernel: Binary, a: Num, x: Num, name: &'static str, sign: f64) -> Result<Tensor> {
    if let (Num::T(p), Num::T(q)) = (a, x) {
        if !p.dtype().is_float() && !q.dtype().is_float() {
            return Err(unsupported(name, p.dtype()));
        }
    }
    let out = forward(kernel, a, x, promote_float(&[a, x]), name)?;
    if !(a.needs_grad() || x.needs_grad()) {
        return Ok(out);
    }
    let (ka, kx) = (Kept::new(a, true), Kept::new(x, true));
    record("IgammaBackward0", out, &[a, x], move |c, g, i| {
        if i == 0 {
            return Err(not_implemented!("the derivative for 'igamma: input' is not implemented."));
        }
        let (a, x) = (ka.get(c)?, kx.get(c)?);
        // x^(a-1) e^-x / Γ(a)
        let power = super::xlogy(&super::sub(a.num(), 1.0)?, x.num())?;
        let slope = super::sub(&super::sub(&power, x.num())?, &super::special::lgamma(&super::add(a.num(), 0.0)?)?)?;
        mul(g, &mul(&super::exp(&slope)?, sign)?)
    })
}

pub(crate) fn ops() -> Vec<OpDef> {
    const SAME: &[&str] = &["t(3,4)", "t()", "t(0,3)"];
    const GAMMA: &[&str] = &["pos(3,4), pos(3,4)", "pos(3,4).detach() * 20, pos(4) * 20", "pos(3), pos(3) * 0.1"];
    let mut v = Vec::new();
    macro_rules! itself {
        ($($sig:literal $flags:expr, $doc:literal;)*) => {$(
            v.push(op($sig, $flags, |a| a.tensor(0)?.clone().ret()).doc($doc).samples(SAME).oracle("input"));
        )*};
    }
    itself! {
        "conj(Tensor input)" TORCH, "The complex conjugate: of a real tensor, the tensor itself.";
        "resolve_conj(Tensor input)" TORCH, "The tensor with conjugation carried out: itself.";
        "resolve_neg(Tensor input)" TORCH, "The tensor with negation carried out: itself.";
        "real(Tensor input)" TORCH, "The real part: of a real tensor, the tensor itself.";
        "conj_physical(Tensor input)" METHOD | TORCH, "The complex conjugate: of a real tensor, the tensor itself.";
    }
    v.extend([
        op("detach(Tensor input)", TORCH, |a| a.tensor(0)?.detach().ret())
            .doc("The same memory outside of the graph.")
            .samples(SAME)
            .oracle("input")
            .nondiff(),
        op("angle(Tensor input)", METHOD | TORCH | OUT, |a| angle(a.tensor(0)?).ret())
            .doc("The angle in the complex plane: π for negative numbers, else 0; NaN stays.")
            .samples(SAME)
            .oracle("np.where(np.isnan(input), input, np.where(input < 0, np.pi, 0.0))"),
        op("frexp(Tensor input)", METHOD | TORCH | OUT, |a| {
            Ok(Ret::Named("frexp", &["mantissa", "exponent"], frexp(a.tensor(0)?)?))
        })
        .doc("Mantissas in [0.5, 1) and exponents: input = mantissa * 2 ** exponent.")
        .samples(&["t(3,4)", "t(5) * 1e4", "t(0,3)"])
        .oracle("tuple(np.frexp(input))"),
    ]);
    macro_rules! gamma {
        ($($sig:literal $flags:expr, $kernel:expr, $name:literal, $sign:literal, $doc:literal, $oracle:literal;)*) => {$(
            v.push(op($sig, $flags, |a| incomplete($kernel, Num::of(a, 0)?, Num::of(a, 1)?, $name, $sign).ret())
                .doc($doc).samples(GAMMA).oracle($oracle).nondiff());
        )*};
    }
    const ALL: u32 = METHOD | TORCH | INPLACE | OUT | DIRECT;
    gamma! {
        "igamma(Tensor input, Tensor other)" ALL, Binary::Igamma, "igamma", 1.0, "The regularised lower incomplete gamma function P(input, other).", "special.gammainc(input, other)";
        "igammac(Tensor input, Tensor other)" ALL, Binary::Igammac, "igammac", -1.0, "The regularised upper incomplete gamma function Q(input, other).", "special.gammaincc(input, other)";
        "gammainc(Tensor input, Tensor other)" SPECIAL | OUT, Binary::Igamma, "igamma", 1.0, "The regularised lower incomplete gamma function P(input, other).", "special.gammainc(input, other)";
        "gammaincc(Tensor input, Tensor other)" SPECIAL | OUT, Binary::Igammac, "igammac", -1.0, "The regularised upper incomplete gamma function Q(input, other).", "special.gammaincc(input, other)";
    }
    v
}
