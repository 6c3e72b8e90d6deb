//! The ops that compositions (losses, second derivatives of fused kernels) are written with, found in the registry by
//! name: each call is the op itself, gradient and all.

use crate::args::{Arg, Args, Ret};
use crate::registry::{self, Call};
use crate::sig::{Signature, ty};
use rustnn_core::base::{layout, runtime_error};
use rustnn_core::{DType, Result, Scalar, Tensor, attach, grads, mode, save, save_output};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::LazyLock;

static TABLE: LazyLock<HashMap<&'static str, Vec<(Signature, Call)>>> = LazyLock::new(|| {
    let mut m: HashMap<&'static str, Vec<(Signature, Call)>> = HashMap::new();
    for op in registry::all() {
        if let Ok(s) = Signature::parse(op.sig) {
            m.entry(op.name()).or_default().push((s, op.call));
        }
    }
    m
});

fn fits(a: &Arg, types: u32) -> bool {
    let want = match a {
        Arg::None => ty::NONE,
        Arg::Tensor(_) => ty::TENSOR,
        Arg::Tensors(_) => ty::TENSORS,
        Arg::OptTensors(_) => ty::OPT_TENSORS,
        Arg::Bool(_) => ty::BOOL | ty::SCALAR,
        Arg::Int(_) => ty::INT | ty::SCALAR | ty::FLOAT,
        Arg::Float(_) => ty::FLOAT | ty::SCALAR,
        Arg::Ints(_) => ty::INTS,
        Arg::Floats(_) => ty::FLOATS,
        Arg::Str(_) => ty::STR,
        Arg::DType(_) => ty::DTYPE,
        Arg::MemoryFormat(_) => ty::MEMORY_FORMAT,
        Arg::Generator(_) => ty::GENERATOR,
        Arg::Other => ty::DEVICE | ty::LAYOUT,
    };
    types & want != 0
}

/// Calls the op `name` with its first arguments; the others take their defaults.
pub fn call(name: &str, given: &[Arg]) -> Result<Ret> {
    let rows = TABLE.get(name).ok_or_else(|| runtime_error!("there is no op '{name}'"))?;
    'next: for (sig, f) in rows {
        if given.len() > sig.params.len() {
            continue;
        }
        let mut args = Args::new(&[]);
        for (i, p) in sig.params.iter().enumerate() {
            match (given.get(i), &p.default) {
                (Some(a), _) if fits(a, p.types) => args.push(a.clone()),
                (None, Some(d)) => args.push(d.clone()),
                _ => continue 'next,
            }
        }
        return f(&args);
    }
    Err(runtime_error!("no form of the op '{name}' takes {given:?}"))
}

fn one(name: &str, given: &[Arg]) -> Result<Tensor> {
    match call(name, given)? {
        Ret::Tensor(t) => Ok(t),
        _ => Err(runtime_error!("the op '{name}' does not give one tensor")),
    }
}

fn t(x: &Tensor) -> Arg {
    Arg::Tensor(x.clone())
}

macro_rules! unary {
    ($($name:ident),*) => {$(
        pub fn $name(x: &Tensor) -> Result<Tensor> {
            one(stringify!($name), &[t(x)])
        }
    )*};
}
macro_rules! binary {
    ($($name:ident),*) => {$(
        pub fn $name(a: &Tensor, b: &Tensor) -> Result<Tensor> {
            one(stringify!($name), &[t(a), t(b)])
        }
    )*};
}
unary!(neg, relu, tanh, exp, log, log1p, abs, sqrt, sigmoid, sign, lgamma, logical_not);
binary!(add, sub, mul, div, maximum, minimum, matmul, eq, ne, lt, le, gt, ge, logical_or);

/// With a number as the second operand.
pub fn with_number(name: &str, x: &Tensor, v: f64) -> Result<Tensor> {
    one(name, &[t(x), Arg::Float(v)])
}
pub fn add_s(x: &Tensor, v: f64) -> Result<Tensor> {
    with_number("add", x, v)
}
pub fn mul_s(x: &Tensor, v: f64) -> Result<Tensor> {
    with_number("mul", x, v)
}
pub fn div_s(x: &Tensor, v: f64) -> Result<Tensor> {
    with_number("div", x, v)
}
/// `v - x`.
pub fn rsub_s(v: f64, x: &Tensor) -> Result<Tensor> {
    add_s(&neg(x)?, v)
}
pub fn pow_s(x: &Tensor, v: f64) -> Result<Tensor> {
    if v == v.trunc() && v.abs() < 1e9 { one("pow", &[t(x), Arg::Int(v as i64)]) } else { with_number("pow", x, v) }
}
pub fn square(x: &Tensor) -> Result<Tensor> {
    mul(x, x)
}
pub fn clamp_min(x: &Tensor, v: f64) -> Result<Tensor> {
    one("clamp", &[t(x), Arg::Float(v)])
}
pub fn clamp_max(x: &Tensor, v: f64) -> Result<Tensor> {
    one("clamp", &[t(x), Arg::None, Arg::Float(v)])
}
pub fn where_(c: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    one("where", &[t(c), t(a), t(b)])
}
/// Sum over dimensions.
pub fn sum_dims(x: &Tensor, dims: &[i64], keep: bool) -> Result<Tensor> {
    one("sum", &[t(x), Arg::Ints(dims.into()), Arg::Bool(keep)])
}
pub fn sum(x: &Tensor) -> Result<Tensor> {
    one("sum", &[t(x)])
}
pub fn mean(x: &Tensor) -> Result<Tensor> {
    one("mean", &[t(x)])
}
pub fn mean_dims(x: &Tensor, dims: &[i64], keep: bool) -> Result<Tensor> {
    one("mean", &[t(x), Arg::Ints(dims.into()), Arg::Bool(keep)])
}
/// `p`-norm along one dimension; its gradient is 0 where the norm is, as in PyTorch.
pub fn norm_dim(x: &Tensor, p: f64, dim: i64, keep: bool) -> Result<Tensor> {
    let d = layout::wrap_dim(dim, x.ndim())? as i64;
    let wide = if p == 1.0 {
        sum_dims(&abs(x)?, &[d], true)?
    } else if p == f64::INFINITY {
        max_dim(&abs(x)?, d)?
    } else if p == 0.0 {
        sum_dims(&cast(&compare("ne", &x.detach(), 0.0)?, x.dtype())?, &[d], true)?
    } else {
        let n = mode::no_grad(|| {
            if p == 2.0 {
                sqrt(&sum_dims(&square(x)?, &[d], true)?)
            } else {
                pow_s(&sum_dims(&pow_s(&abs(x)?, p)?, &[d], true)?, 1.0 / p)
            }
        })?;
        let (sx, sn) = (save(x), save_output(&n));
        attach("LinalgVectorNormBackward0", n, &[x], move |ctx, g| {
            let (x, n) = (sx.get(ctx)?, sn.get(ctx)?);
            let none = compare("eq", &n.detach(), 0.0)?;
            let unit = if p == 2.0 {
                x
            } else {
                // sign(x) |x|^(p-1), 0 at 0.
                let zero = compare("eq", &x.detach(), 0.0)?;
                let size = pow_s(&masked_fill(&abs(&x)?, &zero, 1.0)?, p - 1.0)?;
                mul(&sign(&x)?, &size)?
            };
            let by = if p == 2.0 { n } else { pow_s(&masked_fill(&n, &none, 1.0)?, p - 1.0)? };
            Ok(grads![mul(&unit, &masked_fill(&div(g, &masked_fill(&by, &none, 1.0)?)?, &none, 0.0)?)?])
        })?
    };
    if keep {
        return Ok(wide);
    }
    let mut shape = x.shape().to_vec();
    if !shape.is_empty() {
        shape.remove(d as usize);
    }
    reshape(&wide, &shape)
}
/// Largest value along a dimension, which stays with size 1.
pub fn max_dim(x: &Tensor, dim: i64) -> Result<Tensor> {
    one("amax", &[t(x), Arg::Ints(SmallVec::from_elem(dim, 1)), Arg::Bool(true)])
}
pub fn reshape(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if x.shape() == shape {
        return Ok(x.clone());
    }
    one("reshape", &[t(x), Arg::Ints(shape.iter().map(|&d| d as i64).collect())])
}
pub fn expand(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    one("expand", &[t(x), Arg::Ints(shape.iter().map(|&d| d as i64).collect())])
}
pub fn unsqueeze(x: &Tensor, dim: i64) -> Result<Tensor> {
    one("unsqueeze", &[t(x), Arg::Int(dim)])
}
pub fn transpose(x: &Tensor, a: i64, b: i64) -> Result<Tensor> {
    one("transpose", &[t(x), Arg::Int(a), Arg::Int(b)])
}
pub fn narrow(x: &Tensor, dim: i64, start: usize, len: usize) -> Result<Tensor> {
    one("narrow", &[t(x), Arg::Int(dim), Arg::Int(start as i64), Arg::Int(len as i64)])
}
pub fn cat(xs: &[Tensor], dim: i64) -> Result<Tensor> {
    one("cat", &[Arg::Tensors(xs.to_vec()), Arg::Int(dim)])
}
pub fn gather(x: &Tensor, dim: i64, index: &Tensor) -> Result<Tensor> {
    one("gather", &[t(x), Arg::Int(dim), t(index)])
}
pub fn masked_fill(x: &Tensor, mask: &Tensor, v: f64) -> Result<Tensor> {
    one("masked_fill", &[t(x), t(mask), Arg::Float(v)])
}
/// Dropout as `F.dropout` draws it.
pub fn dropout(x: &Tensor, p: f64) -> Result<Tensor> {
    one("dropout", &[t(x), Arg::Float(p), Arg::Bool(true)])
}
/// A number as a tensor of `x`'s dtype.
pub fn constant(x: &Tensor, v: f64) -> Result<Tensor> {
    Tensor::scalar(Scalar::Float(v), x.dtype())
}
/// Comparison with a number.
pub fn compare(name: &str, x: &Tensor, v: f64) -> Result<Tensor> {
    if x.dtype().is_float() { with_number(name, x, v) } else { one(name, &[t(x), Arg::Int(v as i64)]) }
}
/// The dtype without a graph, for constants.
pub fn cast(x: &Tensor, d: DType) -> Result<Tensor> {
    crate::basic::to_dtype(x, d)
}
/// Whether any element of a bool tensor is true.
pub fn any(x: &Tensor) -> Result<bool> {
    Ok(x.detach().to_contiguous()?.slice::<rustnn_core::base::B8>()?.iter().any(|b| b.get()))
}
