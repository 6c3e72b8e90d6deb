//! Activations, with the signatures of `torch.nn.functional`. Forward and gradient are one pass each; when the
//! gradient is itself recorded (`create_graph`), it is written with ordinary ops instead.

use super::{
    Num, add, affine, apply, compare, div, exp, mul, neg, one_minus, place, square, sub, times, unsupported, where_,
    zeros_like,
};
use crate::registry::{DIRECT, FORGETS, INPLACE, METHOD, NN, OUT, TORCH, op};
use crate::{Args, DType, IntoRet, OpDef, Result, Ret, Tensor, attach, grads, needs_grad, save, save_output};
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::{not_implemented, runtime_error};
use rustnn_core::{dest, graph, mode};
use rustnn_kernels::elementwise::{self, Backward, Unary};

use super::special::ndtr;

/// One pass of a gradient kernel over (gradient, saved value), without a graph.
fn fused(kernel: Backward, g: &Tensor, v: &Tensor) -> Result<Tensor> {
    let out = place(&[Num::T(g), Num::T(v)], g.dtype())?;
    elementwise::backward(kernel, &out.raw(), &g.raw(), &v.raw())?;
    Ok(out)
}

/// The gradient of something piecewise linear: the kernel, and `g`'s own gradient by the same kernel.
pub(crate) fn masked(kernel: Backward, g: &Tensor, v: &Tensor) -> Result<Tensor> {
    let out = fused(kernel, g, v)?;
    if !needs_grad(&[g]) {
        return Ok(out);
    }
    let s = save(&v.detach());
    attach("ThresholdBackwardBackward0", out, &[g], move |c, gg| Ok(grads![masked(kernel, gg, &s.get(c)?)?]))
}

/// How an activation's slope is written with ordinary ops, for higher derivatives.
type Slope = fn(&Tensor, Backward) -> Result<Tensor>;

#[derive(Clone, Copy, PartialEq)]
enum Save {
    Input,
    Output,
}

/// An activation in one pass, its gradient in one pass.
fn activate(
    x: &Tensor,
    forward: Unary,
    node: &'static str,
    keep: Save,
    back: Backward,
    slope: Option<Slope>,
) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return Err(unsupported(node.trim_end_matches("Backward0"), x.dtype()));
    }
    let over = if keep == Save::Output { graph::overwrite(x) } else { None };
    let out = match over {
        None => apply(forward, x, x.dtype())?,
        Some(out) => {
            elementwise::unary(forward, &out.raw(), &x.raw())?;
            out
        }
    };
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let s = if keep == Save::Input { save(x) } else { save_output(&out) };
    attach(node, out, &[x], move |c, g| {
        let v = s.get(c)?;
        Ok(grads![match slope {
            None => masked(back, g, &v)?,
            Some(f) if mode::grad_enabled() => mul(g, &f(&v, back)?)?,
            Some(_) => fused(back, g, &v)?,
        }])
    })
}

/// e^(−x²/2) / sqrt(2π)
pub(crate) fn density(x: &Tensor) -> Result<Tensor> {
    times(&exp(&times(&square(x)?, -0.5)?)?, 0.398_942_280_401_432_7)
}

/// 1 / (1 + e^−x)
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return apply(Unary::Sigmoid, x, mode::default_dtype());
    }
    activate(
        x,
        Unary::Sigmoid,
        "SigmoidBackward0",
        Save::Output,
        Backward::Sigmoid,
        Some(|y, _| mul(y, &one_minus(y)?)),
    )
}

/// Hyperbolic tangent.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return apply(Unary::Tanh, x, mode::default_dtype());
    }
    activate(x, Unary::Tanh, "TanhBackward0", Save::Output, Backward::Tanh, Some(|y, _| one_minus(&square(y)?)))
}

/// max(x, 0)
pub fn relu(x: &Tensor) -> Result<Tensor> {
    if x.dtype() == DType::Bool {
        return Err(not_implemented!("Boolean inputs not supported for relu"));
    }
    if !x.dtype().is_float() {
        return apply(Unary::Relu, x, x.dtype());
    }
    activate(x, Unary::Relu, "ReluBackward0", Save::Output, Backward::Threshold(0.0), None)
}

/// x above 0, slope · x below.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    // The result's sign is the operand's: one of both is in memory for the next layer's sake.
    let keep = if slope >= 0.0 { Save::Output } else { Save::Input };
    activate(x, Unary::LeakyRelu(slope), "LeakyReluBackward0", keep, Backward::LeakyRelu(slope), None)
}

/// scale · x above 0, scale · alpha · (e^(input · x) − 1) below.
pub fn elu(x: &Tensor, alpha: f64, scale: f64, input: f64) -> Result<Tensor> {
    activate(
        x,
        Unary::Elu(alpha, scale, input),
        "EluBackward0",
        Save::Input,
        Backward::Elu(alpha, scale, input),
        Some(|x, k| {
            let Backward::Elu(alpha, scale, input) = k else { return zeros_like(x) };
            let below = times(&exp(&times(x, input)?)?, alpha * scale * input)?;
            where_(&compare::le(x, 0.0)?, &below, scale)
        }),
    )
}

/// x · Φ(x), or its tanh approximation.
pub fn gelu(x: &Tensor, approximate: &str) -> Result<Tensor> {
    match approximate {
        "none" => activate(
            x,
            Unary::Gelu,
            "GeluBackward0",
            Save::Input,
            Backward::Gelu,
            Some(|x, _| add(&ndtr(x)?, &mul(x, &density(x)?)?)),
        ),
        "tanh" => activate(
            x,
            Unary::GeluTanh,
            "GeluBackward0",
            Save::Input,
            Backward::GeluTanh,
            Some(|x, _| {
                let (k, c) = (0.797_884_560_802_865_4, 0.044_715);
                let x2 = square(x)?;
                let t = tanh(&mul(x, &affine(&x2, k * c, k)?)?)?;
                let inner = mul(&mul(x, &affine(&x2, 3.0 * k * c, k)?)?, &one_minus(&square(&t)?)?)?;
                times(&add(&affine(&t, 1.0, 1.0)?, &inner)?, 0.5)
            }),
        ),
        _ => Err(runtime_error!("approximate argument must be either none or tanh.")),
    }
}

/// x · sigmoid(x)
pub fn silu(x: &Tensor) -> Result<Tensor> {
    activate(
        x,
        Unary::Silu,
        "SiluBackward0",
        Save::Input,
        Backward::Silu,
        Some(|x, _| {
            let s = sigmoid(x)?;
            mul(&s, &affine(&mul(x, &one_minus(&s)?)?, 1.0, 1.0)?)
        }),
    )
}

/// x · tanh(softplus(x))
pub fn mish(x: &Tensor) -> Result<Tensor> {
    activate(
        x,
        Unary::Mish,
        "MishBackward0",
        Save::Input,
        Backward::Mish,
        Some(|x, _| {
            let t = tanh(&softplus(x, 1.0, 20.0)?)?;
            add(&t, &mul(&mul(x, &sigmoid(x)?)?, &one_minus(&square(&t)?)?)?)
        }),
    )
}

/// log(1 + e^(βx)) / β; x itself where βx is above the threshold.
pub fn softplus(x: &Tensor, beta: f64, threshold: f64) -> Result<Tensor> {
    activate(
        x,
        Unary::Softplus(beta, threshold),
        "SoftplusBackward0",
        Save::Input,
        Backward::Softplus(beta, threshold),
        Some(|x, k| {
            let Backward::Softplus(beta, threshold) = k else { return zeros_like(x) };
            let t = times(x, beta)?;
            where_(&compare::gt(&t, threshold)?, 1.0, &sigmoid(&t)?)
        }),
    )
}

/// log(sigmoid(x))
pub fn logsigmoid(x: &Tensor) -> Result<Tensor> {
    activate(
        x,
        Unary::LogSigmoid,
        "LogSigmoidBackward0",
        Save::Input,
        Backward::LogSigmoid,
        Some(|x, _| sigmoid(&neg(x)?)),
    )
}

/// x limited to [lo, hi].
pub fn hardtanh(x: &Tensor, lo: f64, hi: f64) -> Result<Tensor> {
    if lo > hi {
        return Err(rustnn_core::base::value_error!("min_val cannot be greater than max_val"));
    }
    match x.dtype() {
        DType::Bool => return Err(not_implemented!("Bool inputs not supported for hardtanh")),
        d if !d.is_float() => return apply(Unary::Clamp(lo, hi), x, d),
        _ => {}
    }
    // The result says whether a limit was met, unless limits are rounded with it.
    let keep = if matches!(x.dtype(), DType::F32 | DType::F64) { Save::Output } else { Save::Input };
    activate(x, Unary::Clamp(lo, hi), "HardtanhBackward0", keep, Backward::Hardtanh(lo, hi), None)
}

/// relu6(x + 3) / 6
pub fn hardsigmoid(x: &Tensor) -> Result<Tensor> {
    activate(x, Unary::Hardsigmoid, "HardsigmoidBackward0", Save::Input, Backward::Hardsigmoid, None)
}

/// x · relu6(x + 3) / 6
pub fn hardswish(x: &Tensor) -> Result<Tensor> {
    activate(
        x,
        Unary::Hardswish,
        "HardswishBackward0",
        Save::Input,
        Backward::Hardswish,
        Some(|x, _| {
            let mid = affine(x, 1.0 / 3.0, 0.5)?;
            where_(&compare::le(x, -3.0)?, 0.0, &where_(&compare::ge(x, 3.0)?, 1.0, &mid)?)
        }),
    )
}

fn hardshrink(x: &Tensor, lambda: f64) -> Result<Tensor> {
    activate(x, Unary::Hardshrink(lambda), "HardshrinkBackward0", Save::Input, Backward::Shrink(lambda), None)
}

fn softshrink(x: &Tensor, lambda: f64) -> Result<Tensor> {
    if lambda.is_nan() || lambda < 0.0 {
        return Err(runtime_error!("lambda must be greater or equal to 0, but found to be {lambda}."));
    }
    activate(x, Unary::Softshrink(lambda), "SoftshrinkBackward0", Save::Input, Backward::Shrink(lambda), None)
}

fn threshold(x: &Tensor, limit: f64, value: f64) -> Result<Tensor> {
    if super::is_int(x.dtype()) {
        return apply(Unary::Threshold(limit, value), x, x.dtype());
    }
    activate(x, Unary::Threshold(limit, value), "ThresholdBackward0", Save::Input, Backward::Threshold(limit), None)
}

fn softsign(x: &Tensor) -> Result<Tensor> {
    div(x, &affine(&super::abs(x)?, 1.0, 1.0)?)
}

fn tanhshrink(x: &Tensor) -> Result<Tensor> {
    sub(x, &tanh(x)?)
}

/// x above 0, `weight` (one, or one per channel of dimension 1) times x below.
pub fn prelu(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if weight.ndim() > 1 {
        return Err(runtime_error!(
            "prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {}",
            weight.ndim()
        ));
    }
    if x.dtype() != weight.dtype() {
        return Err(runtime_error!("prelu: Type promoting not supported. Got {} and {}", x.dtype(), weight.dtype()));
    }
    let n = weight.numel();
    let w = if n == 1 {
        crate::shape::view::reshape(weight, &[])?
    } else {
        if x.ndim() == 0 {
            return Err(runtime_error!("Not allow zero-dim input tensor."));
        }
        let channels = if x.ndim() > 1 { x.shape()[1] } else { 1 };
        if channels != n {
            return Err(runtime_error!(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = {n} and channel size = {channels}."
            ));
        }
        let mut shape = vec![1i64; x.ndim()];
        shape[1] = n as i64;
        crate::shape::view::reshape(weight, &shape)?
    };
    let positive = compare::gt(x, 0.0)?;
    where_(&positive, x, &mul(x, &w)?)
}

/// The first half of `dim` times the sigmoid of the second.
pub fn glu(x: &Tensor, dim: i64) -> Result<Tensor> {
    if x.ndim() == 0 {
        return Err(runtime_error!("glu does not support 0-dimensional tensors"));
    }
    let d = wrap_dim(dim, x.ndim())?;
    let n = x.shape()[d];
    if n % 2 != 0 {
        return Err(runtime_error!("Halving dimension must be even, but dimension {d} is size {n}"));
    }
    let a = crate::shape::select::narrow(x, d as i64, 0, n as i64 / 2)?;
    let b = crate::shape::select::narrow(x, d as i64, n as i64 / 2, n as i64 / 2)?;
    mul(&a, &sigmoid(&b)?)
}

fn celu(x: &Tensor, alpha: f64) -> Result<Tensor> {
    if alpha == 0.0 {
        return Err(runtime_error!("ZeroDivisionError: alpha cannot be 0 for CELU"));
    }
    elu(x, alpha, 1.0, 1.0 / alpha)
}

fn selu(x: &Tensor) -> Result<Tensor> {
    elu(x, 1.673_263_242_354_377_2, 1.050_700_987_355_480_5, 1.0)
}

/// Writes the result back when the call says `inplace=True`.
fn maybe_inplace(a: &Args, flag: usize, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Ret> {
    let x = a.tensor(0)?;
    if a.opt_bool(flag) != Some(true) {
        return f(x)?.ret();
    }
    rustnn_core::inplace::check_writable(x)?;
    if !needs_grad(&[x]) {
        // One kernel's result each, so it may go straight to where its operand is.
        let y = dest::offer(x, || f(x)).inspect_err(|_| x.storage().bump(false))?;
        if y.same(x) {
            x.bump_version();
        } else {
            crate::inplace::write_back(x, &y)?;
        }
        return x.clone().ret();
    }
    let y = graph::overwriting(x, true, || f(x))?;
    crate::inplace::write_back(x, &y)?;
    x.clone().ret()
}

const ALL: u32 = METHOD | TORCH | INPLACE | OUT | DIRECT;

pub(crate) fn ops() -> Vec<OpDef> {
    let three: &[&str] = &["t(3,4)", "t()", "t(0,3)", "t(5) * 8"];
    let mut v = vec![
        op("sigmoid(Tensor input)", ALL | FORGETS | NN, |a| sigmoid(a.tensor(0)?).ret())
            .doc("1 / (1 + e^−x).").samples(three).oracle("special.expit(input)"),
        op("tanh(Tensor input)", ALL | FORGETS | NN, |a| tanh(a.tensor(0)?).ret())
            .doc("Hyperbolic tangent.").samples(three).oracle("np.tanh(input)"),
        op("relu(Tensor input)", METHOD | TORCH | INPLACE | DIRECT | FORGETS, |a| relu(a.tensor(0)?).ret())
            .doc("max(x, 0); NaN stays.").samples(three).oracle("np.maximum(input, 0)"),
        op("softplus(Tensor input, float beta=1, float threshold=20)", NN | OUT, |a| softplus(a.tensor(0)?, a.float(1)?, a.float(2)?).ret())
            .doc("log(1 + e^(βx)) / β; x where βx > threshold.").samples(&["t(3,4)", "t(5) * 30", "t(3), 2.0, 1.0"])
            .oracle("np.where(beta * input > threshold, input, np.logaddexp(0, beta * input) / beta)"),
        op("logsigmoid(Tensor input)", NN, |a| logsigmoid(a.tensor(0)?).ret())
            .doc("log(sigmoid(x)).").samples(three).oracle("-np.logaddexp(0, -input)"),
        op("gelu(Tensor input, *, str approximate='none')", NN, |a| gelu(a.tensor(0)?, a.str(1)?).ret())
            .doc("x · Φ(x); approximate='tanh' for the tanh form.").samples(&["t(3,4)", "t()", "t(0,3)", "t(5) * 4", "t(3,4), approximate='tanh'", "t(5) * 4, approximate='tanh'"])
            .oracle("input * special.ndtr(input) if approximate == 'none' else 0.5 * input * (1 + np.tanh(np.sqrt(2 / np.pi) * (input + 0.044715 * input ** 3)))"),
        op("softsign(Tensor input)", NN, |a| softsign(a.tensor(0)?).ret())
            .doc("x / (1 + |x|).").samples(&["t(3,4)", "t()", "t(0,3)"]).oracle("input / (1 + np.abs(input))"),
        op("tanhshrink(Tensor input)", NN, |a| tanhshrink(a.tensor(0)?).ret())
            .doc("x − tanh(x).").samples(&["t(3,4)", "t()", "t(0,3)"]).oracle("input - np.tanh(input)"),
        op("hardshrink(Tensor input, float lambd=0.5)", NN | METHOD | TORCH, |a| hardshrink(a.tensor(0)?, a.float(1)?).ret())
            .doc("0 in [−lambd, lambd], x outside.").samples(&["t(3,4)", "t(3,4), 0.9"]).oracle("np.where(np.abs(input) <= lambd, 0, input)"),
        op("softshrink(Tensor input, float lambd=0.5)", NN | OUT, |a| softshrink(a.tensor(0)?, a.float(1)?).ret())
            .doc("x drawn toward 0 by lambd.").samples(&["t(3,4)", "t(3,4), 0.9"]).oracle("np.sign(input) * np.maximum(np.abs(input) - lambd, 0)"),
        op("prelu(Tensor input, Tensor weight)", NN | METHOD | TORCH, |a| prelu(a.tensor(0)?, a.tensor(1)?).ret())
            .doc("x above 0, weight · x below; one weight, or one per channel (dimension 1).")
            .samples(&["t(3,4), t(4)", "t(3,4), t(1)", "t(2,3,4), t(3)"])
            .oracle("np.where(input > 0, input, input * (weight.reshape(-1) if weight.size == 1 else weight.reshape([1, -1] + [1] * (input.ndim - 2))))"),
        op("glu(Tensor input, int dim=-1)", NN, |a| glu(a.tensor(0)?, a.int(1)?).ret())
            .doc("The first half of dim times the sigmoid of the second half.").samples(&["t(3,4)", "t(4,3), 0"])
            .oracle("np.split(input, 2, dim)[0] * special.expit(np.split(input, 2, dim)[1])"),
    ];
    let hard: &[&str] = &["t(3,4) * 3", "t()", "t(0,3)"];
    v.extend([
        op("relu(Tensor input, bool inplace=False)", NN, |a| maybe_inplace(a, 1, relu))
            .doc("max(x, 0); NaN stays.")
            .samples(three)
            .oracle("np.maximum(input, 0)"),
        op("relu6(Tensor input, bool inplace=False)", NN, |a| maybe_inplace(a, 1, |x| hardtanh(x, 0.0, 6.0)))
            .doc("x limited to [0, 6].")
            .samples(&["t(3,4) * 5"])
            .oracle("np.clip(input, 0, 6)"),
        op("leaky_relu(Tensor input, float negative_slope=0.01, bool inplace=False)", NN, |a| {
            maybe_inplace(a, 2, |x| leaky_relu(x, a.float(1)?))
        })
        .doc("x above 0, negative_slope · x below.")
        .samples(&["t(3,4)", "t(3,4), 0.3"])
        .oracle("np.where(input > 0, input, negative_slope * input)"),
        op("elu(Tensor input, float alpha=1.0, bool inplace=False)", NN, |a| {
            maybe_inplace(a, 2, |x| elu(x, a.float(1)?, 1.0, 1.0))
        })
        .doc("x above 0, alpha · (e^x − 1) below.")
        .samples(&["t(3,4)", "t(3,4), 0.7"])
        .oracle("np.where(input > 0, input, alpha * np.expm1(np.minimum(input, 0)))"),
        op("selu(Tensor input, bool inplace=False)", NN, |a| maybe_inplace(a, 1, selu))
            .doc("elu scaled so that activations keep mean 0 and variance 1.")
            .samples(three)
            .oracle(
                "1.0507009873554805 * np.where(input > 0, input, 1.6732632423543772 * np.expm1(np.minimum(input, 0)))",
            ),
        op("selu(Tensor input)", TORCH | INPLACE, |a| selu(a.tensor(0)?).ret())
            .doc("As nn.functional.selu.")
            .samples(three)
            .oracle(
                "1.0507009873554805 * np.where(input > 0, input, 1.6732632423543772 * np.expm1(np.minimum(input, 0)))",
            ),
        op("celu(Tensor input, float alpha=1.0, bool inplace=False)", NN, |a| {
            maybe_inplace(a, 2, |x| celu(x, a.float(1)?))
        })
        .doc("x above 0, alpha · (e^(x/alpha) − 1) below.")
        .samples(&["t(3,4)", "t(3,4), 0.7"])
        .oracle("np.where(input > 0, input, alpha * np.expm1(np.minimum(input, 0) / alpha))"),
        op("celu(Tensor input, Scalar alpha=1.0)", TORCH | INPLACE, |a| celu(a.tensor(0)?, a.float(1)?).ret())
            .doc("As nn.functional.celu.")
            .samples(&["t(3,4), 0.7"])
            .oracle("np.where(input > 0, input, alpha * np.expm1(np.minimum(input, 0) / alpha))"),
        op("silu(Tensor input, bool inplace=False)", NN, |a| maybe_inplace(a, 1, silu))
            .doc("x · sigmoid(x).")
            .samples(three)
            .oracle("input * special.expit(input)"),
        op("mish(Tensor input, bool inplace=False)", NN, |a| maybe_inplace(a, 1, mish))
            .doc("x · tanh(softplus(x)).")
            .samples(three)
            .oracle("input * np.tanh(np.logaddexp(0, input))"),
        op("hardtanh(Tensor input, float min_val=-1.0, float max_val=1.0, bool inplace=False)", NN, |a| {
            maybe_inplace(a, 3, |x| hardtanh(x, a.float(1)?, a.float(2)?))
        })
        .doc("x limited to [min_val, max_val].")
        .samples(&["t(3,4)", "t(3,4), -0.3, 0.6"])
        .oracle("np.clip(input, min_val, max_val)"),
        op("hardsigmoid(Tensor input, bool inplace=False)", NN, |a| maybe_inplace(a, 1, hardsigmoid))
            .doc("relu6(x + 3) / 6.")
            .samples(hard)
            .oracle("np.clip(input + 3, 0, 6) / 6"),
        op("hardswish(Tensor input, bool inplace=False)", NN, |a| maybe_inplace(a, 1, hardswish))
            .doc("x · relu6(x + 3) / 6.")
            .samples(&["t(3,4) * 3", "t()", "t(0,3)"])
            .oracle("input * np.clip(input + 3, 0, 6) / 6"),
        op("threshold(Tensor input, float threshold, float value, bool inplace=False)", NN, |a| {
            maybe_inplace(a, 3, |x| threshold(x, a.float(1)?, a.float(2)?))
        })
        .doc("x above the threshold, value elsewhere.")
        .samples(&["t(3,4), 0.1, 20.0"])
        .oracle("np.where(input > threshold, input, value)"),
        op("threshold(Tensor input, Scalar threshold, Scalar value)", TORCH | INPLACE, |a| {
            threshold(a.tensor(0)?, a.float(1)?, a.float(2)?).ret()
        })
        .doc("x above the threshold, value elsewhere.")
        .samples(&["t(3,4), 0.1, 20.0"])
        .oracle("np.where(input > threshold, input, value)"),
    ]);
    v
}
