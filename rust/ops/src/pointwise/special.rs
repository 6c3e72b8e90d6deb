//! Special functions: gamma and its kin, Bessel, normal distribution, entropy; and the names of `special`.

use super::{
    Num, add, apply, compare, cos, div, erfinv, exp, expm1, log1p, mul, neg, one_minus, sigmoid, sin, square, sub,
    times, where_,
};
use crate::inplace::float_dtype;
use crate::registry::{DIRECT, INPLACE, METHOD, OUT, SPECIAL, TORCH, op};
use crate::{IntoRet, OpDef, Result, Tensor, attach, grads, needs_grad, save, save_output};
use rustnn_core::base::{not_implemented, runtime_error};
use rustnn_kernels::elementwise::Unary;
use std::f64::consts::PI;

const ALL: u32 = METHOD | TORCH | INPLACE | OUT | DIRECT;

/// A float function whose gradient is `f'(x)` times what comes in, written with ordinary ops.
fn smooth(kernel: Unary, node: &'static str, x: &Tensor, slope: fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let out = apply(kernel, x, float_dtype(x.dtype()))?;
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let s = save(x);
    attach(node, out, &[x], move |c, g| Ok(grads![mul(g, &slope(&s.get(c)?)?)?]))
}

/// log|Γ(x)|
pub fn lgamma(x: &Tensor) -> Result<Tensor> {
    smooth(Unary::Lgamma, "LgammaBackward0", x, digamma)
}
/// The logarithmic derivative of Γ.
pub fn digamma(x: &Tensor) -> Result<Tensor> {
    smooth(Unary::Digamma, "DigammaBackward0", x, |x| polygamma(1, x))
}
/// The n-th derivative of digamma.
pub fn polygamma(n: i64, x: &Tensor) -> Result<Tensor> {
    if n < 0 {
        return Err(runtime_error!("polygamma(n, x) does not support negative n."));
    }
    let out = apply(Unary::Polygamma(n as f64), x, float_dtype(x.dtype()))?;
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let s = save(x);
    attach("PolygammaBackward0", out, &[x], move |c, g| {
        Ok(grads![mul(g, &polygamma(n.saturating_add(1), &s.get(c)?)?)?])
    })
}
/// Bessel I₀.
pub fn i0(x: &Tensor) -> Result<Tensor> {
    smooth(Unary::I0, "I0Backward0", x, i1)
}
/// Bessel I₁.
pub fn i1(x: &Tensor) -> Result<Tensor> {
    smooth(Unary::I1, "SpecialI1Backward0", x, |x| {
        let q = div(&i1(x)?, x)?;
        let zero = compare::eq(x, 0i64)?;
        where_(&zero, 0.5, &sub(&i0(x)?, &q)?)
    })
}
fn i0e(x: &Tensor) -> Result<Tensor> {
    smooth(Unary::I0e, "SpecialI0EBackward0", x, |x| sub(&i1e(x)?, &mul(&super::rounding::sign(x)?, &i0e(x)?)?))
}
fn i1e(x: &Tensor) -> Result<Tensor> {
    smooth(Unary::I1e, "SpecialI1EBackward0", x, |x| {
        let q = add(&super::rounding::sign(x)?, &super::reciprocal(x)?)?;
        let zero = compare::eq(x, 0i64)?;
        where_(&zero, 0.5, &sub(&i0e(x)?, &mul(&q, &i1e(x)?)?)?)
    })
}
/// sin(πx) / πx
pub fn sinc(x: &Tensor) -> Result<Tensor> {
    smooth(Unary::Sinc, "SincBackward0", x, |x| {
        let t = times(x, PI)?;
        let d = div(&sub(&mul(&t, &cos(&t)?)?, &sin(&t)?)?, &mul(&t, x)?)?;
        where_(&compare::eq(x, 0i64)?, 0.0, &d)
    })
}
/// Φ(x), the normal distribution function.
pub fn ndtr(x: &Tensor) -> Result<Tensor> {
    smooth(Unary::Ndtr, "SpecialNdtrBackward0", x, super::activation::density)
}
fn ndtri(x: &Tensor) -> Result<Tensor> {
    let out = apply(Unary::Ndtri, x, float_dtype(x.dtype()))?;
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let s = save_output(&out);
    attach("SpecialNdtriBackward0", out, &[x], move |c, g| {
        let y = s.get(c)?;
        Ok(grads![mul(g, &times(&exp(&times(&square(&y)?, 0.5)?)?, (2.0 * PI).sqrt())?)?])
    })
}
fn entr(x: &Tensor) -> Result<Tensor> {
    smooth(Unary::Entr, "SpecialEntrBackward0", x, |x| super::affine(&super::log(x)?, -1.0, -1.0))
}
/// log(x / (1 − x)), of x limited to [eps, 1 − eps] if eps is given.
pub fn logit(x: &Tensor, eps: Option<f64>) -> Result<Tensor> {
    let e = eps.unwrap_or(-1.0);
    let out = apply(Unary::Logit(e), x, float_dtype(x.dtype()))?;
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let s = save(x);
    attach("LogitBackward0", out, &[x], move |c, g| {
        let x = s.get(c)?;
        let d = div(g, &mul(&x, &one_minus(&x)?)?)?;
        let (lo, hi) = if eps.is_some() { (e, 1.0 - e) } else { (0.0, 1.0) };
        let off = compare::logical_or(&compare::lt(&x, lo)?, &compare::gt(&x, hi)?)?;
        Ok(grads![where_(&off, if eps.is_some() { 0.0 } else { f64::NAN }, &d)?])
    })
}
fn mvlgamma(x: &Tensor, p: i64) -> Result<Tensor> {
    if p < 1 {
        return Err(runtime_error!("p has to be greater than or equal to 1"));
    }
    if p > 1 << 16 {
        return Err(runtime_error!("mvlgamma: p = {p} is too large: the sum has p terms (at most 65536)"));
    }
    let constant = p as f64 * (p as f64 - 1.0) / 4.0 * PI.ln();
    let mut sum = lgamma(x)?;
    for j in 1..p {
        sum = add(&sum, &lgamma(&sub(x, j as f64 / 2.0)?)?)?;
    }
    add(&sum, constant)
}
fn log_ndtr(x: &Tensor) -> Result<Tensor> {
    // Far out Φ underflows before its logarithm does: there by the asymptotic series of the tail.
    let near = super::log(&ndtr(&super::clamp(x, Some(Num::from(-12.0)), None)?)?)?;
    let t = super::clamp(x, None, Some(Num::from(-5.0)))?;
    let z = super::reciprocal(&square(&t)?)?;
    let series = super::affine(
        &mul(
            &z,
            &super::affine(
                &mul(&z, &super::affine(&mul(&z, &super::affine(&z, 105.0, -15.0)?)?, 1.0, 3.0)?)?,
                1.0,
                -1.0,
            )?,
        )?,
        1.0,
        0.0,
    )?;
    let far = sub(&sub(&times(&square(&t)?, -0.5)?, &super::log(&neg(&t)?)?)?, 0.5 * (2.0 * PI).ln())?;
    let far = add(&far, &log1p(&series)?)?;
    where_(&compare::lt(x, -12.0)?, &far, &near)
}
/// e^(x²)·erfc(x)
fn erfcx(x: &Tensor) -> Result<Tensor> {
    smooth(Unary::Erfcx, "SpecialErfcxBackward0", x, |x| {
        let y = mul(&times(x, 2.0)?, &erfcx(x)?)?;
        sub(&y, 2.0 / PI.sqrt())
    })
}
fn zeta(a: Num, b: Num) -> Result<Tensor> {
    let dtype = super::promote_float(&[a, b]);
    if a.needs_grad() {
        return Err(not_implemented!("the gradient of special.zeta with respect to its exponent is not implemented"));
    }
    let out = super::forward(rustnn_kernels::elementwise::Binary::Zeta, a, b, dtype, "zeta")?;
    let (ka, kb) = (super::Kept::new(a, b.needs_grad()), super::Kept::new(b, b.needs_grad()));
    super::record("SpecialZetaBackward0", out, &[a, b], move |c, g, _| {
        let (a, b) = (ka.get(c)?, kb.get(c)?);
        let next = add(a.num(), 1.0)?;
        neg(&mul(g, &mul(a.num(), &zeta(Num::T(&next), b.num())?)?)?)
    })
}

pub(crate) fn ops() -> Vec<OpDef> {
    let pos: &[&str] = &["pos(3,4)", "pos()", "pos(0,3)"];
    let t: &[&str] = &["t(3,4)", "t()", "t(0,3)"];
    let unit: &[&str] = &["unit(3,4) * 0.4 + 0.5", "unit() * 0.4 + 0.5"];
    let mut v = vec![
        op("lgamma(Tensor input)", ALL, |a| lgamma(a.tensor(0)?).ret())
            .doc("log|Γ(x)|.")
            .samples(pos)
            .oracle("special.gammaln(input)"),
        op("digamma(Tensor input)", ALL, |a| digamma(a.tensor(0)?).ret())
            .doc("The logarithmic derivative of Γ.")
            .samples(pos)
            .oracle("special.digamma(input)"),
        op("polygamma(int n, Tensor input)", TORCH | OUT, |a| polygamma(a.int(0)?, a.tensor(1)?).ret())
            .doc("The n-th derivative of digamma.")
            .samples(&["1, pos(3,4)", "2, pos(3)"])
            .oracle("special.polygamma(n, input)"),
        op("polygamma(Tensor input, int n)", METHOD | INPLACE, |a| polygamma(a.int(1)?, a.tensor(0)?).ret())
            .doc("The n-th derivative of digamma.")
            .samples(&["pos(3,4), 1"])
            .oracle("special.polygamma(n, input)"),
        op("mvlgamma(Tensor input, int p)", METHOD | TORCH | INPLACE | OUT, |a| {
            mvlgamma(a.tensor(0)?, a.int(1)?).ret()
        })
        .doc("The logarithm of the multivariate gamma function.")
        .samples(&["pos(3,4) + 2, 3"])
        .oracle("np.vectorize(lambda x: special.multigammaln(x, p), otypes=[float])(input)"),
        op("i0(Tensor input)", ALL, |a| i0(a.tensor(0)?).ret())
            .doc("Modified Bessel function of order 0.")
            .samples(t)
            .oracle("special.i0(input)"),
        op("sinc(Tensor input)", ALL | SPECIAL, |a| sinc(a.tensor(0)?).ret())
            .doc("sin(πx) / πx, 1 at 0.")
            .samples(t)
            .oracle("np.sinc(input)"),
        op("logit(Tensor input, float? eps=None)", ALL | SPECIAL, |a| logit(a.tensor(0)?, a.opt_float(1)).ret())
            .doc("log(x / (1 − x)); eps limits x to [eps, 1 − eps].")
            .samples(&["unit(3,4) * 0.4 + 0.5", "unit(3) * 0.4 + 0.5, 0.3"])
            .oracle("special.logit(input if eps is None else np.clip(input, eps, 1 - eps))"),
        op("i0e(Tensor input)", SPECIAL | OUT, |a| i0e(a.tensor(0)?).ret())
            .doc("e^−|x|·I₀(x).")
            .samples(t)
            .oracle("special.i0e(input)"),
        op("i1(Tensor input)", SPECIAL | OUT, |a| i1(a.tensor(0)?).ret())
            .doc("Modified Bessel function of order 1.")
            .samples(t)
            .oracle("special.i1(input)"),
        op("i1e(Tensor input)", SPECIAL | OUT, |a| i1e(a.tensor(0)?).ret())
            .doc("e^−|x|·I₁(x).")
            .samples(t)
            .oracle("special.i1e(input)"),
        op("entr(Tensor input)", SPECIAL | OUT, |a| entr(a.tensor(0)?).ret())
            .doc("−x·log x.")
            .samples(pos)
            .oracle("special.entr(input)"),
        op("ndtr(Tensor input)", SPECIAL | OUT, |a| ndtr(a.tensor(0)?).ret())
            .doc("The normal distribution function.")
            .samples(t)
            .oracle("special.ndtr(input)"),
        op("ndtri(Tensor input)", SPECIAL | OUT, |a| ndtri(a.tensor(0)?).ret())
            .doc("The normal quantile function.")
            .samples(unit)
            .oracle("special.ndtri(input)"),
        op("log_ndtr(Tensor input)", SPECIAL | OUT, |a| log_ndtr(a.tensor(0)?).ret())
            .doc("log Φ(x), also far out in the tail.")
            .samples(t)
            .oracle("special.log_ndtr(input)"),
        op("polygamma(int n, Tensor input)", SPECIAL | OUT, |a| polygamma(a.int(0)?, a.tensor(1)?).ret())
            .doc("The n-th derivative of digamma.")
            .samples(&["1, pos(3,4)"])
            .oracle("special.polygamma(n, input)"),
        op("multigammaln(Tensor input, int p)", SPECIAL | OUT, |a| mvlgamma(a.tensor(0)?, a.int(1)?).ret())
            .doc("The logarithm of the multivariate gamma function.")
            .samples(&["pos(3,4) + 2, 3"])
            .oracle("np.vectorize(lambda x: special.multigammaln(x, p), otypes=[float])(input)"),
        op("round(Tensor input, *, int decimals=0)", SPECIAL | OUT, |a| {
            super::rounding::round(a.tensor(0)?, a.int(1)?).ret()
        })
        .doc("To nearest, ties to even; at `decimals` digits after the point.")
        .samples(&["t(3,4)", "t(5) * 3, decimals=1"])
        .oracle("np.round(input, decimals)"),
        op("logsumexp(Tensor input, int[] dim, bool keepdim=False)", SPECIAL | OUT, |a| {
            crate::reduce::logsumexp(a.tensor(0)?, Some(a.ints(1)?), a.bool(2)?).ret()
        })
        .doc("log Σ e^x over dim, without overflow.")
        .samples(&["t(3,4), 0"])
        .oracle("special.logsumexp(input, axis=dim, keepdims=keepdim)"),
        op("softmax(Tensor input, int dim, *, dtype? dtype=None)", SPECIAL, |a| {
            crate::softmax::softmax(a.tensor(0)?, a.int(1)?, a.dtype(2), false).ret()
        })
        .doc("As torch.softmax.")
        .samples(&["t(3,4), 1"])
        .oracle("special.softmax(input, axis=dim)"),
        op("log_softmax(Tensor input, int dim, *, dtype? dtype=None)", SPECIAL, |a| {
            crate::softmax::softmax(a.tensor(0)?, a.int(1)?, a.dtype(2), true).ret()
        })
        .doc("As torch.log_softmax.")
        .samples(&["t(3,4), 1"])
        .oracle("special.log_softmax(input, axis=dim)"),
        op("zeta(Tensor|Scalar input, Tensor|Scalar other)", SPECIAL | OUT, |a| {
            zeta(Num::of(a, 0)?, Num::of(a, 1)?).ret()
        })
        .doc("Hurwitz' zeta function.")
        .samples(&["i(3,4, lo=2, hi=6), pos(4)"])
        .oracle("special.zeta(input, other)"),
    ];
    macro_rules! names {
        ($($sig:literal $f:expr, $samples:expr, $oracle:literal;)*) => {$(
            v.push(op($sig, SPECIAL | OUT, |a| $f(a.tensor(0)?).ret()).doc("The name in `special`.").samples($samples).oracle($oracle));
        )*};
    }
    names! {
        "gammaln(Tensor input)" lgamma, pos, "special.gammaln(input)";
        "psi(Tensor input)" digamma, pos, "special.digamma(input)";
        "digamma(Tensor input)" digamma, pos, "special.digamma(input)";
        "i0(Tensor input)" i0, t, "special.i0(input)";
        "erf(Tensor input)" super::erf, t, "special.erf(input)";
        "erfc(Tensor input)" super::erfc, t, "special.erfc(input)";
        "erfinv(Tensor input)" erfinv, &["unit(3,4)"], "special.erfinv(input)";
        "exp2(Tensor input)" super::exp2, t, "np.exp2(input)";
        "expm1(Tensor input)" expm1, t, "np.expm1(input)";
        "log1p(Tensor input)" log1p, pos, "np.log1p(input)";
        "erfcx(Tensor input)" erfcx, &["t(3,4)", "pos(5) * 8", "pos(3) * 40", "t()"], "special.erfcx(input)";
        "expit(Tensor input)" sigmoid, t, "special.expit(input)";
    }
    v
}
