//! Functions of three operands, and what gradients are masked with.

use super::{Kept, Num, compare, div, mul, neg, place, promote, record, sub, times, unsupported, windows};
use crate::registry::{DIRECT, INPLACE, METHOD, OUT, TORCH, op};
use crate::{Arg, Args, DType, IntoRet, OpDef, Result, Ret, Scalar, Tensor, attach, grads, needs_grad, save};
use rustnn_core::base::runtime_error;
use rustnn_kernels::elementwise::{self, Backward, Unary};

const ALL: u32 = METHOD | TORCH | INPLACE | OUT | DIRECT;

/// Zeros of the same shape and dtype.
pub fn zeros_like(x: &Tensor) -> Result<Tensor> {
    Tensor::full(x.shape(), Scalar::Int(0), x.dtype())
}

/// `a` where `cond`, else `b`.
pub fn where_<'a, 'b>(cond: &Tensor, a: impl Into<Num<'a>>, b: impl Into<Num<'b>>) -> Result<Tensor> {
    let (a, b) = (a.into(), b.into());
    if !matches!(cond.dtype(), DType::Bool | DType::U8) {
        return Err(runtime_error!(
            "where expected condition to be a boolean tensor, but got a tensor with dtype {}",
            cond.dtype().torch_name()
        ));
    }
    let dtype = promote(&[a, b]);
    let out = place(&[Num::T(cond), a, b], dtype).map_err(|e| e.in_op("where"))?;
    // Numbers must have the result's own dtype here: the kernel moves bits.
    windows([Num::T(cond), a, b], dtype, |[rc, ra, rb]| elementwise::where_(&out.raw(), rc, ra, rb))?;
    if !(a.needs_grad() || b.needs_grad()) {
        return Ok(out);
    }
    let s = save(cond);
    record("WhereBackward0", out, &[Num::S(Scalar::Int(0)), a, b], move |c, g, i| {
        let cond = s.get(c)?;
        if i == 1 { where_(&cond, g, 0.0) } else { where_(&cond, 0.0, g) }
    })
}

/// `g` where `mask`, else 0, in `g`'s dtype.
pub fn mul_mask(g: &Tensor, mask: &Tensor) -> Result<Tensor> {
    where_(mask, g, 0i64)
}

/// Limits elements to [lo, hi] given as tensors or numbers; where they cross, hi.
pub fn clamp(x: &Tensor, lo: Option<Num>, hi: Option<Num>) -> Result<Tensor> {
    let all: Vec<Num> = std::iter::once(Num::T(x)).chain(lo).chain(hi).collect();
    if all.len() == 1 {
        return Err(runtime_error!("torch.clamp: At least one of 'min' or 'max' must not be None"));
    }
    let dtype = promote(&all);
    let number = |n: Option<Num>| match n {
        None => Some(None),
        Some(Num::S(s)) => Some(Some(s.to_f64())),
        Some(Num::T(_)) => None,
    };
    if let (Some(l), Some(h), true) = (number(lo), number(hi), dtype.is_float()) {
        let (l, h) = (l.unwrap_or(f64::NEG_INFINITY), h.unwrap_or(f64::INFINITY));
        return clamp_numbers(x, l, h, dtype);
    }
    let (lowest, highest) = if dtype.is_float() {
        (Scalar::Float(f64::NEG_INFINITY), Scalar::Float(f64::INFINITY))
    } else {
        (Scalar::Int(i64::MIN), Scalar::Int(i64::MAX))
    };
    let (l, h) = (lo.unwrap_or(Num::S(lowest)), hi.unwrap_or(Num::S(highest)));
    let compute = if dtype == DType::Bool { DType::I64 } else { dtype };
    let out = place(&[Num::T(x), l, h], dtype).map_err(|e| e.in_op("clamp"))?;
    let target = if dtype == DType::Bool { Tensor::empty(out.shape(), compute)? } else { out.clone() };
    windows([Num::T(x), l, h], compute, |[rx, rl, rh]| elementwise::clamp(&target.raw(), rx, rl, rh))?;
    if dtype == DType::Bool {
        rustnn_kernels::copy::copy(&out.raw(), &target.raw())?;
    }
    if ![Num::T(x), l, h].iter().any(|n| n.needs_grad()) {
        return Ok(out);
    }
    let (kx, kl, kh) = (Kept::new(Num::T(x), true), Kept::new(l, true), Kept::new(h, true));
    record("ClampBackward1", out, &[Num::T(x), l, h], move |c, g, i| {
        let (x, l, h) = (kx.get(c)?, kl.get(c)?, kh.get(c)?);
        let crossed = match (l.num(), h.num()) {
            (Num::S(a), Num::S(b)) => Tensor::scalar((a.to_f64() > b.to_f64()).into(), DType::Bool)?,
            (a, b) => compare::gt(a, b)?,
        };
        let below = compare::lt(x.num(), l.num())?;
        let above = compare::gt(x.num(), h.num())?;
        let mask = match i {
            0 => compare::logical_not(&compare::logical_or(
                &compare::le(x.num(), l.num())?,
                &compare::ge(x.num(), h.num())?,
            )?)?,
            1 => compare::logical_and(&below, &compare::logical_not(&crossed)?)?,
            _ => compare::logical_or(&above, &crossed)?,
        };
        mul_mask(g, &mask)
    })
}

fn clamp_numbers(x: &Tensor, lo: f64, hi: f64, dtype: DType) -> Result<Tensor> {
    let out = super::apply(Unary::Clamp(lo, hi), x, dtype)?;
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let s = save(x);
    attach("ClampBackward0", out, &[x], move |c, g| {
        let x = s.get(c)?;
        Ok(grads![super::activation::masked(Backward::Hardtanh(lo, hi), g, &x)?])
    })
}

/// `start + weight·(end − start)`
pub fn lerp(start: &Tensor, end: &Tensor, weight: Num) -> Result<Tensor> {
    let dtype = start.dtype();
    for (t, name) in [(Some(end), "end"), (weight.tensor(), "weight")] {
        if let Some(t) = t.filter(|t| t.dtype() != dtype) {
            let c = |d: DType| match d {
                DType::F32 => "float",
                DType::F64 => "double",
                DType::I64 => "long int",
                d => d.name(),
            };
            return Err(runtime_error!("expected dtype {} for `{name}` but got dtype {}", c(dtype), c(t.dtype())));
        }
    }
    if !dtype.is_float() {
        return Err(unsupported("lerp_kernel_scalar", dtype));
    }
    let nums = [Num::T(start), Num::T(end), weight];
    let out = place(&nums, dtype).map_err(|e| e.in_op("lerp"))?;
    windows(nums, dtype, |[a, b, w]| elementwise::lerp(&out.raw(), a, b, w))?;
    if !nums.iter().any(|n| n.needs_grad()) {
        return Ok(out);
    }
    let w_grad = weight.needs_grad();
    let (ka, kb, kw) = (Kept::new(nums[0], w_grad), Kept::new(nums[1], w_grad), Kept::new(weight, true));
    record("LerpBackward0", out, &nums, move |c, g, i| {
        let w = kw.get(c)?;
        match i {
            0 => match w.num() {
                Num::S(s) => times(g, 1.0 - s.to_f64()),
                w => mul(g, &sub(1.0, w)?),
            },
            1 => mul(g, w.num()),
            _ => mul(g, &sub(kb.get(c)?.num(), ka.get(c)?.num())?),
        }
    })
}

/// `x + value·a·b`
pub fn addcmul(x: &Tensor, a: &Tensor, b: &Tensor, value: Scalar) -> Result<Tensor> {
    let nums = [Num::T(x), Num::T(a), Num::T(b)];
    let dtype = promote(&nums);
    if dtype == DType::Bool {
        return Err(unsupported("addcmul_cpu_out", dtype));
    }
    let out = place(&nums, dtype).map_err(|e| e.in_op("addcmul"))?;
    windows(nums, dtype, |[x, a, b]| elementwise::addcmul(&out.raw(), x, a, b, value))?;
    if !needs_grad(&[x, a, b]) {
        return Ok(out);
    }
    let (ka, kb) = (Kept::new(nums[1], nums[2].needs_grad()), Kept::new(nums[2], nums[1].needs_grad()));
    record("AddcmulBackward0", out, &nums, move |c, g, i| {
        if i == 0 {
            return Ok(g.clone());
        }
        mul(&mul(g, if i == 1 { &kb } else { &ka }.get(c)?.num())?, value)
    })
}

/// `x + value·a/b`
pub fn addcdiv(x: &Tensor, a: &Tensor, b: &Tensor, value: Scalar) -> Result<Tensor> {
    let nums = [Num::T(x), Num::T(a), Num::T(b)];
    if !a.dtype().is_float() && !b.dtype().is_float() {
        return Err(runtime_error!(
            "Integer division with addcdiv is no longer supported, and in a future  release addcdiv will perform a true division of tensor1 and tensor2. The historic addcdiv behavior can be implemented as (input + value * torch.trunc(tensor1 / tensor2)).to(input.dtype) for integer inputs and as (input + value * tensor1 / tensor2) for float inputs. The future addcdiv behavior is just the latter implementation: (input + value * tensor1 / tensor2), for all dtypes."
        ));
    }
    let dtype = promote(&nums);
    let out = place(&nums, dtype).map_err(|e| e.in_op("addcdiv"))?;
    windows(nums, dtype, |[x, a, b]| elementwise::addcdiv(&out.raw(), x, a, b, value))?;
    if !needs_grad(&[x, a, b]) {
        return Ok(out);
    }
    let (ka, kb) = (Kept::new(nums[1], nums[2].needs_grad()), Kept::new(nums[2], true));
    record("AddcdivBackward0", out, &nums, move |c, g, i| {
        if i == 0 {
            return Ok(g.clone());
        }
        let b = kb.get(c)?;
        let q = mul(&div(g, b.num())?, value)?;
        if i == 1 { Ok(q) } else { neg(&mul(&q, &div(ka.get(c)?.num(), b.num())?)?) }
    })
}

fn optional(a: &Args, i: usize) -> Result<Option<Num<'_>>> {
    match a.arg(i) {
        Arg::None => Ok(None),
        _ => Num::of(a, i).map(Some),
    }
}

fn clamped(a: &Args) -> Result<Ret> {
    clamp(a.tensor(0)?, optional(a, 1)?, optional(a, 2)?).ret()
}

pub(crate) fn ops() -> Vec<OpDef> {
    let oracle = "np.minimum(np.maximum(input, -np.inf if min is None else min), np.inf if max is None else max)";
    let samples: &[&str] = &[
        "t(3,4), -0.5, 0.5",
        "t(0,3), min=0.",
        "t(), max=1.",
        "t(3,4), t(4) - 1, t(3,1) + 1",
        "t(3,4), max=t(4)",
        "i(5), 3, 6",
    ];
    let mut v = vec![
        op("where(Tensor condition, Tensor|Scalar input, Tensor|Scalar other)", TORCH | OUT, |a| {
            where_(a.tensor(0)?, Num::of(a, 1)?, Num::of(a, 2)?).ret()
        })
        .doc("input where condition holds, else other.")
        .samples(&["b(3,4), t(3,4), t(4)", "b(3,1), t(4), 0.5", "b(), t(), t()", "b(0,3), t(3), t(0,3)"])
        .oracle("np.where(condition, input, other)"),
        op("clamp(Tensor input, Tensor|Scalar? min=None, Tensor|Scalar? max=None)", ALL, clamped)
            .doc("Limits every element to [min, max]; NaN stays; where the limits cross, max.")
            .samples(samples)
            .oracle(oracle),
        op("clip(Tensor input, Tensor|Scalar? min=None, Tensor|Scalar? max=None)", ALL, clamped)
            .doc("Alias of clamp.")
            .samples(&["t(3,4), -0.5, 0.5"])
            .oracle(oracle),
        op("clamp_min(Tensor input, Tensor|Scalar min)", ALL, |a| clamp(a.tensor(0)?, optional(a, 1)?, None).ret())
            .doc("At least min.")
            .samples(&["t(3,4), -0.5", "t(3,4), t(4)"])
            .oracle("np.maximum(input, min)"),
        op("clamp_max(Tensor input, Tensor|Scalar max)", ALL, |a| clamp(a.tensor(0)?, None, optional(a, 1)?).ret())
            .doc("At most max.")
            .samples(&["t(3,4), 0.5", "t(3,4), t(4)"])
            .oracle("np.minimum(input, max)"),
        op("lerp(Tensor input, Tensor end, Tensor|Scalar weight)", ALL, |a| {
            lerp(a.tensor(0)?, a.tensor(1)?, Num::of(a, 2)?).ret()
        })
        .doc("input + weight · (end − input), exact at both ends.")
        .samples(&["t(3,4), t(3,4), 0.3", "t(3,4), t(4), t(3,1)", "t(), t(), 0.7"])
        .oracle("input + weight * (end - input)"),
        op("addcmul(Tensor input, Tensor tensor1, Tensor tensor2, *, Scalar value=1)", ALL, |a| {
            addcmul(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.scalar(3)?).ret()
        })
        .doc("input + value · tensor1 · tensor2.")
        .samples(&["t(3,4), t(3,4), t(4)", "t(3,4), t(3,1), t(4), value=0.5"])
        .oracle("input + value * tensor1 * tensor2"),
        op("addcdiv(Tensor input, Tensor tensor1, Tensor tensor2, *, Scalar value=1)", ALL, |a| {
            addcdiv(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.scalar(3)?).ret()
        })
        .doc("input + value · tensor1 / tensor2.")
        .samples(&["t(3,4), t(3,4), pos(4)", "t(3,4), t(3,1), pos(4), value=0.5"])
        .oracle("input + value * tensor1 / tensor2"),
    ];
    v.push(
        op("where(Tensor input, Tensor condition, Tensor|Scalar other)", METHOD, |a| {
            where_(a.tensor(1)?, a.tensor(0)?, Num::of(a, 2)?).ret()
        })
        .doc("The tensor where condition holds, else other.")
        .samples(&["t(3,4), b(3,4), t(4)", "t(3), b(3), 0.0"])
        .oracle("np.where(condition, input, other)"),
    );
    v
}
