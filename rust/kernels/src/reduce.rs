//! Reductions over any set of dimensions of a strided tensor.
//!
//! A fold runs in 32 lanes over pieces of 1024 elements, the lanes are joined by a fixed tree, and the pieces, in
//! order, in a wider type; long reductions are cut into chunks whose bounds depend on the length alone. So the bits
//! depend on neither the instruction set nor the threads, and the error of a sum grows with 32 additions, not with n.

mod arg;
mod folds;
mod walk;

pub use arg::{Best, arg_reduce};
pub use walk::{Fold, Space, run};

use crate::Raw;
use crate::convert::convert;
use crate::copy::copy;
use crate::room;
use folds::*;
use rustnn_base::{DType, Element, Kind, Result};

/// What a reduction computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reduce {
    Sum,
    NanSum,
    Mean,
    Prod,
    /// NaN propagates.
    Max,
    Min,
    Any,
    All,
    CountNonzero,
    /// p-norm; infinities give the largest and smallest magnitude.
    Norm(f64),
    LogSumExp,
    /// Divided by max(0, n − correction).
    Var(f64),
    Std(f64),
}

/// `dst = op(src)` over the dimensions that have size 1 in `dst` (whose rank is `src`'s). Computed in f32 with f64
/// totals, in f64, or in i64, by `src`'s dtype, except that an integer `src` with a float `dst` is read as f64.
pub fn reduce(op: Reduce, dst: &Raw, src: &Raw) -> Result<()> {
    let space = Space::new(dst, src)?;
    if space.outputs == 0 {
        return Ok(());
    }
    let float = dst.dtype().is_float() || src.dtype().is_float();
    let double = src.dtype() == DType::F64 || (float && !src.dtype().is_float());
    match op {
        Reduce::Any => emit(dst, &run(&space, &AnyTrue, None)?),
        Reduce::All => emit(dst, &run(&space, &AllTrue, None)?),
        Reduce::CountNonzero => emit(dst, &run(&space, &Count, None)?),
        _ if !float => integer(op, dst, &space, src.dtype()),
        _ if double => real::<f64>(op, dst, &space),
        _ => real::<f32>(op, dst, &space),
    }
}

fn integer(op: Reduce, dst: &Raw, space: &Space, src: DType) -> Result<()> {
    match op {
        Reduce::Prod => emit(dst, &run(space, &IntProd, None)?),
        Reduce::Max if src == DType::Bool => emit(dst, &run(space, &AnyTrue, None)?),
        Reduce::Min if src == DType::Bool => emit(dst, &run(space, &AllTrue, None)?),
        Reduce::Max => emit(dst, &run(space, &IntMax, None)?),
        Reduce::Min => emit(dst, &run(space, &IntMin, None)?),
        _ => emit(dst, &run(space, &IntSum, None)?),
    }
}

fn real<R: Lane>(op: Reduce, dst: &Raw, space: &Space) -> Result<()> {
    let n = space.length as f64;
    match op {
        Reduce::Sum => emit(dst, &run(space, &Sum::<R>::new(), None)?),
        Reduce::NanSum => emit(dst, &run(space, &NanSum::<R>::new(), None)?),
        Reduce::Mean => {
            let mut t = run(space, &Sum::<R>::new(), None)?;
            t.iter_mut().for_each(|v| *v /= n);
            emit(dst, &t)
        }
        Reduce::Prod => emit(dst, &run(space, &Prod::<R>::new(), None)?),
        Reduce::Max => emit(dst, &run(space, &Max::<R>::new(), None)?),
        Reduce::Min => emit(dst, &run(space, &Min::<R>::new(), None)?),
        Reduce::Norm(p) => norm::<R>(p, dst, space),
        Reduce::LogSumExp => {
            let mut top = run(space, &Max::<R>::new(), None)?;
            // An infinite maximum is its own answer's shift of 0.
            top.iter_mut().for_each(|v| *v = if v.is_infinite() { 0.0 } else { *v });
            let mut t = run(space, &SumExp::<R>::new(), Some(&top))?;
            t.iter_mut().zip(&top).for_each(|(v, m)| *v = v.ln() + m);
            emit(dst, &t)
        }
        Reduce::Var(correction) | Reduce::Std(correction) => {
            let mean = run(space, &Sum::<R>::new(), None)?;
            // The mean as the loop can hold it, and what that lacks.
            let shift: Vec<f64> = room::collected(mean.iter().map(|s| R::from_f64(s / n).to_f64()))?;
            let mut t = run(space, &SquaredFrom::<R>::new(), Some(&shift))?;
            let by = (n - correction).max(0.0);
            for ((v, s), m) in t.iter_mut().zip(&shift).zip(&mean) {
                let lack = m / n - s;
                *v = (*v - n * lack * lack).max(if v.is_nan() { f64::NAN } else { 0.0 }) / by;
                if v.is_nan() {
                    *v = f64::NAN;
                }
            }
            if matches!(op, Reduce::Std(_)) {
                t.iter_mut().for_each(|v| *v = v.sqrt());
            }
            emit(dst, &t)
        }
        Reduce::Any | Reduce::All | Reduce::CountNonzero => Ok(()),
    }
}

fn norm<R: Lane>(p: f64, dst: &Raw, space: &Space) -> Result<()> {
    if p == 2.0 {
        let mut t = run(space, &SquaredFrom::<R>::new(), Some(&room::filled(space.outputs, 0.0)?))?;
        t.iter_mut().for_each(|v| *v = v.sqrt());
        return emit(dst, &t);
    }
    if p == 1.0 {
        return emit(dst, &run(space, &SumAbs::<R>::new(), None)?);
    }
    if p == f64::INFINITY {
        return emit(dst, &run(space, &MaxAbs::<R>::new(), None)?);
    }
    if p == f64::NEG_INFINITY {
        return emit(dst, &run(space, &MinAbs::<R>::new(), None)?);
    }
    if p == 0.0 {
        return emit(dst, &run(space, &Count, None)?);
    }
    let mut t = run(space, &SumPow::<R>::new(p), None)?;
    t.iter_mut().for_each(|v| *v = v.powf(1.0 / p));
    emit(dst, &t)
}

/// Up to so many results are cast straight into place.
const FEW: usize = 512;

/// Writes results, row-major, to `dst`, cast.
fn emit<W: Element>(dst: &Raw, values: &[W]) -> Result<()> {
    if values.len() <= FEW && dst.is_contiguous() {
        // SAFETY: as many elements of the destination's dtype lie there, side by side.
        unsafe { convert(W::DTYPE, dst.dtype())(dst.ptr(), values.as_ptr().cast(), values.len()) };
        return Ok(());
    }
    let strides = rustnn_base::layout::contiguous_strides(dst.shape());
    // SAFETY: `values` holds an element for each of `dst`'s, row-major, and is only read.
    let src = unsafe { Raw::new(values.as_ptr().cast_mut().cast(), W::DTYPE, dst.shape(), &strides) };
    copy(dst, &src)
}

/// The dtype a sum or product of `dtype` has: i64 for integers and bools.
#[must_use]
pub fn sum_dtype(dtype: DType) -> DType {
    if dtype.kind() == Kind::Float { dtype } else { DType::I64 }
}

#[cfg(test)]
mod tests;
