//! New random tensors: rand, randn, randint, randperm, normal.

use super::fill::{check_std, fill_memory, normal, randint, uniform};
use super::generator;
use crate::args::{Args, IntoRet, Ret};
use crate::creation::{leaf, like, sizes};
use crate::registry::{OUT, OpDef, TORCH, op};
use rustnn_core::base::{Element, runtime_error, with_dtype};
use rustnn_core::{DType, Result, Tensor, mode};
use rustnn_kernels::random as kernel;

fn fresh(a: &Args, size: usize, dtype: usize, default: DType) -> Result<Tensor> {
    Tensor::empty(&sizes("rand", a.ints(size)?)?, a.dtype(dtype).unwrap_or(default))
}

/// A normal tensor around per-element means and deviations.
fn normal_of(a: &Args, mean: Option<&Tensor>, std: Option<&Tensor>, g: usize) -> Result<Ret> {
    let refer = mean.or(std).ok_or_else(|| runtime_error!("normal: no tensor"))?;
    let shape = match (mean, std) {
        (Some(m), Some(s)) => rustnn_core::base::layout::broadcast_shapes(m.shape(), s.shape())?,
        _ => refer.shape().into(),
    };
    if let Some(s) = std {
        let s = s.to_contiguous()?;
        let bad = with_dtype!(s.dtype(), T => s.slice::<T>()?.iter().any(|v| v.to_f64() < 0.0));
        if bad {
            return Err(runtime_error!("normal expects all elements of std >= 0.0"));
        }
    }
    let out = Tensor::empty(&shape, refer.dtype())?;
    fill_memory(&out, |t| normal(t, generator(a, g), 0.0, 1.0, true))?;
    let scaled = match std {
        Some(s) => crate::compose::mul(&out, &s.detach())?,
        None => match a.opt_float(1) {
            Some(s) if s != 1.0 => {
                check_std(s)?;
                crate::compose::mul_s(&out, s)?
            }
            _ => out,
        },
    };
    match mean {
        Some(m) => crate::compose::add(&scaled, &m.detach()).ret(),
        None => match a.opt_float(0) {
            Some(m) if m != 0.0 => crate::compose::add_s(&scaled, m).ret(),
            _ => scaled.ret(),
        },
    }
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("rand(int[]... size, *, Generator? generator=None, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", TORCH | OUT, |a| {
            let t = fresh(a, 0, 2, mode::default_dtype())?;
            fill_memory(&t, |t| uniform(t, generator(a, 1), 0.0, 1.0))?;
            leaf(t, a, 6)
        })
        .doc("Uniform numbers in [0, 1).")
        .nondiff(),
        op("rand_like(Tensor input, *, Generator? generator=None, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False, memory_format memory_format=None)", TORCH, |a| {
            let x = a.tensor(0)?;
            let t = like(x, a.dtype(2).unwrap_or(x.dtype()), a.arg(7))?;
            fill_memory(&t, |t| uniform(t, generator(a, 1), 0.0, 1.0))?;
            leaf(t, a, 6)
        })
        .doc("rand in the input's shape, dtype and memory order.")
        .nondiff(),
        op("randn(int[]... size, *, Generator? generator=None, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", TORCH | OUT, |a| {
            let t = fresh(a, 0, 2, mode::default_dtype())?;
            fill_memory(&t, |t| normal(t, generator(a, 1), 0.0, 1.0, true))?;
            leaf(t, a, 6)
        })
        .doc("Standard normal numbers.")
        .nondiff(),
        op("randn_like(Tensor input, *, Generator? generator=None, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False, memory_format memory_format=None)", TORCH, |a| {
            let x = a.tensor(0)?;
            let t = like(x, a.dtype(2).unwrap_or(x.dtype()), a.arg(7))?;
            fill_memory(&t, |m| normal(m, generator(a, 1), 0.0, 1.0, t.is_contiguous()))?;
            leaf(t, a, 6)
        })
        .doc("randn in the input's shape, dtype and memory order.")
        .nondiff(),
        op("randint(int high, int[] size, *, Generator? generator=None, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", TORCH | OUT, |a| {
            let t = fresh(a, 1, 3, DType::I64)?;
            randint_into(&t, a, 2, 0, a.int(0)?)?;
            leaf(t, a, 7)
        })
        .doc("Whole numbers in [low, high), low 0 when not given.")
        .nondiff(),
        op("randint(int low, int high, int[] size, *, Generator? generator=None, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", TORCH | OUT, |a| {
            let t = fresh(a, 2, 4, DType::I64)?;
            randint_into(&t, a, 3, a.int(0)?, a.int(1)?)?;
            leaf(t, a, 8)
        })
        .nondiff(),
        op("randint_like(Tensor input, int high, *, Generator? generator=None, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False, memory_format memory_format=None)", TORCH, |a| {
            let x = a.tensor(0)?;
            let t = like(x, a.dtype(3).unwrap_or(x.dtype()), a.arg(8))?;
            randint_into(&t, a, 2, 0, a.int(1)?)?;
            leaf(t, a, 7)
        })
        .doc("randint in the input's shape and dtype.")
        .nondiff(),
        op("randint_like(Tensor input, int low, int high, *, Generator? generator=None, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False, memory_format memory_format=None)", TORCH, |a| {
            let x = a.tensor(0)?;
            let t = like(x, a.dtype(4).unwrap_or(x.dtype()), a.arg(9))?;
            randint_into(&t, a, 3, a.int(1)?, a.int(2)?)?;
            leaf(t, a, 8)
        })
        .nondiff(),
        op("randperm(int n, *, Generator? generator=None, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", TORCH | OUT, |a| {
            let n = a.int(0)?;
            let t = Tensor::empty(&sizes("randperm", &[n])?, a.dtype(2).unwrap_or(DType::I64))?;
            with_dtype!(t.dtype(), T => {
                let dst = t.slice_mut::<T>()?;
                generator(a, 1).with(|g| kernel::randperm(g, dst));
            });
            leaf(t, a, 6)
        })
        .doc("A random order of 0 to n - 1.")
        .nondiff(),
        op("normal(Tensor mean, Tensor std, *, Generator? generator=None)", TORCH | OUT, |a| {
            normal_of(a, a.opt_tensor(0), a.opt_tensor(1), 2)
        })
        .doc("Normal numbers of given means and standard deviations.")
        .nondiff(),
        op("normal(Tensor mean, float std=1, *, Generator? generator=None)", TORCH | OUT, |a| normal_of(a, a.opt_tensor(0), None, 2)).nondiff(),
        op("normal(float mean, Tensor std, *, Generator? generator=None)", TORCH | OUT, |a| normal_of(a, None, a.opt_tensor(1), 2)).nondiff(),
        op("normal(float mean, float std, int[] size, *, Generator? generator=None, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", TORCH | OUT, |a| {
            let (m, s) = (a.float(0)?, a.float(1)?);
            check_std(s)?;
            let t = fresh(a, 2, 4, mode::default_dtype())?;
            fill_memory(&t, |t| normal(t, generator(a, 3), m, s, true))?;
            leaf(t, a, 8)
        })
        .nondiff(),
    ]
}

fn randint_into(t: &Tensor, a: &Args, g: usize, low: i64, high: i64) -> Result<()> {
    if t.numel() == 0 && low < high {
        return Ok(());
    }
    if low >= high {
        return Err(runtime_error!("random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"));
    }
    fill_memory(t, |t| randint(t, generator(a, g), low, high))
}
