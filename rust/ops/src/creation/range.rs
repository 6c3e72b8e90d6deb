//! Numbers in steps: arange, linspace, logspace.

use super::leaf;
use crate::args::{Arg, Args};
use crate::registry::{OUT, OpDef, TORCH, op};
use rustnn_core::base::{Element, runtime_error, with_dtype};
use rustnn_core::{DType, Result, Scalar, Tensor, mode};
use rustnn_kernels::map::by_index;

/// From `start` to (not including) `end` by `step`.
pub fn arange(start: Scalar, end: Scalar, step: Scalar, dtype: Option<DType>) -> Result<Tensor> {
    let whole = [start, end, step].iter().all(|s| !matches!(s, Scalar::Float(_)));
    let dtype = dtype.unwrap_or(if whole { DType::I64 } else { mode::default_dtype() });
    let (a, b, s) = (start.to_f64(), end.to_f64(), step.to_f64());
    if s == 0.0 || s.is_nan() {
        return Err(runtime_error!("step must be nonzero"));
    }
    if !a.is_finite() || !b.is_finite() {
        return Err(runtime_error!("unsupported range: {a} -> {b}"));
    }
    if (s > 0.0 && b < a) || (s < 0.0 && b > a) {
        return Err(runtime_error!("upper bound and lower bound inconsistent with step sign")
            .hint(format!("start {a}, end {b}, step {s}")));
    }
    let exact = whole && !dtype.is_float();
    let count = if exact {
        let (a, b, s) = (i128::from(start.to_i64()), i128::from(end.to_i64()), i128::from(step.to_i64()));
        ((b - a + s - s.signum()) / s) as f64
    } else {
        ((b - a) / s).ceil()
    };
    if !(count < 9e18) {
        return Err(runtime_error!("invalid size, possible overflow?"));
    }
    let out = Tensor::empty(&[count as usize], dtype)?;
    with_dtype!(dtype, T => {
        let dst = out.slice_mut::<T>()?;
        if dtype.is_float() {
            by_index(dst, #[inline(always)] |i| T::from_f64(s.mul_add(i as i64 as f64, a)));
        } else {
            let (a, s) = (start.to_i64(), step.to_i64());
            by_index(dst, #[inline(always)] |i| T::from_i64(a.wrapping_add(s.wrapping_mul(i as i64))));
        }
    });
    Ok(out)
}

fn count(steps: i64) -> Result<usize> {
    usize::try_from(steps).map_err(|_| runtime_error!("number of steps must be non-negative"))
}

/// Place `i` of `n` evenly spaced numbers, from whichever end is nearer, in the precision of the dtype. (Places are converted
/// as signed numbers: one instruction.)
fn spaced(dtype: DType, start: f64, end: f64, n: usize) -> impl Fn(usize) -> f64 {
    let single = dtype != DType::F64 && dtype.is_float();
    let step = if n < 2 {
        0.0
    } else if single {
        f64::from((end as f32 - start as f32) / (n - 1) as f32)
    } else {
        (end - start) / (n - 1) as f64
    };
    #[inline(always)]
    move |i| {
        if n == 1 {
            return start;
        }
        let (from, sign, k) = if i < n / 2 { (start, 1.0, i) } else { (end, -1.0, n - 1 - i) };
        if single {
            f64::from((sign as f32 * step as f32).mul_add(k as i64 as f32, from as f32))
        } else {
            (sign * step).mul_add(k as i64 as f64, from)
        }
    }
}

/// `steps` numbers from `start` to `end`, both included.
pub fn linspace(start: f64, end: f64, steps: i64, dtype: DType) -> Result<Tensor> {
    let n = count(steps)?;
    let out = Tensor::empty(&[n], dtype)?;
    let at = spaced(dtype, start, end, n);
    with_dtype!(dtype, T => {
        by_index(out.slice_mut::<T>()?, #[inline(always)] |i| T::from_f64(at(i)));
    });
    Ok(out)
}

/// Powers of `base` with evenly spaced exponents.
pub fn logspace(start: f64, end: f64, steps: i64, base: f64, dtype: DType) -> Result<Tensor> {
    let n = count(steps)?;
    let out = Tensor::empty(&[n], dtype)?;
    let at = spaced(DType::F64, start, end, n);
    with_dtype!(dtype, T => {
        by_index(out.slice_mut::<T>()?, #[inline(always)] |i| T::from_f64(base.powf(at(i))));
    });
    Ok(out)
}

fn number(a: &Args, i: usize) -> Result<Scalar> {
    match a.arg(i) {
        Arg::Tensor(t) => t.item(),
        _ => a.scalar(i),
    }
}

fn space_dtype(a: &Args, i: usize) -> DType {
    a.dtype(i).unwrap_or_else(mode::default_dtype)
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("arange(Scalar|Tensor end, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", TORCH | OUT, |a| {
            leaf(arange(Scalar::Int(0), number(a, 0)?, Scalar::Int(1), a.dtype(1))?, a, 5)
        })
        .doc("Numbers from start (0) to, not including, end by step (1). int64 if all are integers, else the default dtype.")
        .samples(&["5", "2.5", "0"])
        .oracle("np.arange(end)")
        .nondiff(),
        op("arange(Scalar|Tensor start, Scalar|Tensor end, Scalar|Tensor step=1, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", TORCH | OUT, |a| {
            leaf(arange(number(a, 0)?, number(a, 1)?, number(a, 2)?, a.dtype(3))?, a, 7)
        })
        .doc("Numbers from start to, not including, end by step.")
        .samples(&["1, 6", "1, 6, 2", "0., 1., 0.3", "5, 0, -1"])
        .oracle("np.arange(start, end, step)")
        .nondiff(),
        op("range(Scalar start, Scalar end, Scalar step=1, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? requires_grad=False)", TORCH, |a| {
            let (s, e, k) = (a.float(0)?, a.float(1)?, a.float(2)?);
            let d = space_dtype(a, 3);
            leaf(arange(Scalar::Float(s), Scalar::Float(e + k.signum() * k.abs().min(1.0) * 1e-9 + if (e - s) % k == 0.0 { k * 0.5 } else { 0.0 }), Scalar::Float(k), Some(d))?, a, 6)
        })
        .nondiff(),
        op("linspace(Scalar|Tensor start, Scalar|Tensor end, int steps, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", TORCH | OUT, |a| {
            leaf(linspace(number(a, 0)?.to_f64(), number(a, 1)?.to_f64(), a.int(2)?, space_dtype(a, 3))?, a, 7)
        })
        .doc("steps evenly spaced numbers from start to end, both included.")
        .samples(&["0., 1., 5", "3, -2, 4", "1., 2., 1", "0, 1, 0"])
        .oracle("np.linspace(start, end, steps)")
        .nondiff(),
        op("logspace(Scalar|Tensor start, Scalar|Tensor end, int steps, float base=10.0, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", TORCH | OUT, |a| {
            leaf(logspace(number(a, 0)?.to_f64(), number(a, 1)?.to_f64(), a.int(2)?, a.float(3)?, space_dtype(a, 4))?, a, 8)
        })
        .doc("Powers of base with steps evenly spaced exponents from start to end.")
        .samples(&["0., 2., 5", "0, 3, 4, 2."])
        .oracle("np.logspace(start, end, steps, base=base)")
        .nondiff(),
    ]
}
