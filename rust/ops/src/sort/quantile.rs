//! Quantiles with linear and other interpolations.

use super::order::sort;
use crate::args::{Arg, Args, IntoRet, Ret};
use crate::compose;
use crate::index::gather;
use crate::registry::{METHOD, OUT, OpDef, TORCH, op};
use crate::shape::{permute, view};
use rustnn_core::base::layout;
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::{Element, runtime_error, with_float};
use rustnn_core::{DType, Dims, Result, Scalar, Tensor, needs_grad};
use rustnn_kernels::room;

/// Quantiles `q` (0-d or 1-d) of `x` along `dim`, of all elements if none.
pub fn quantile(x: &Tensor, q: &Tensor, dim: Option<i64>, keep: bool, how: &str, skip_nan: bool) -> Result<Tensor> {
    let name = if skip_nan { "nanquantile" } else { "quantile" };
    if x.numel() == 0 {
        return Err(runtime_error!("{name}() input tensor must be non-empty"));
    }
    if q.ndim() > 1 {
        return Err(runtime_error!("{name}() q must be a scalar or 1D tensor"));
    }
    if !matches!(x.dtype(), DType::F32 | DType::F64) {
        return Err(runtime_error!("{name}() input tensor must be either float or double dtype"));
    }
    if q.dtype() != x.dtype() {
        return Err(runtime_error!("{name}() q tensor must be same dtype as the input tensor"));
    }
    if !matches!(how, "linear" | "lower" | "higher" | "midpoint" | "nearest") {
        return Err(runtime_error!(
            "{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {how}"
        ));
    }
    let qs = q.to_contiguous()?;
    let qs: Vec<f64> =
        with_float!(qs.dtype(), T => room::collected(qs.slice::<T>()?.iter().map(|v| v.to_f64()))?, else Vec::new());
    if qs.iter().any(|v| !(0.0..=1.0).contains(v)) {
        return Err(runtime_error!("{name}() q values must be in the range [0, 1]"));
    }
    // Rows with the reduced dimension last.
    let (moved, d) = match dim {
        None => (view::reshape_to(x, &[x.numel()])?, None),
        Some(d) => {
            let d = wrap_dim(d, x.ndim())?;
            (if x.ndim() == 0 { view::reshape_to(x, &[1])? } else { permute::transpose(x, d as i64, -1)? }, Some(d))
        }
    };
    let sorted = sort(&moved, -1, false)?.0;
    let n = moved.shape()[moved.ndim() - 1];
    let lead: Dims = moved.shape()[..moved.ndim() - 1].into();
    let count: usize = layout::count(&lead);
    // Per row and quantile: the two neighbours and the weight of the upper one.
    let places = count.saturating_mul(qs.len());
    let (mut low, mut high) = (room::with_capacity(places)?, room::with_capacity(places)?);
    let (mut weight, mut tops) = (room::with_capacity(places)?, Vec::new());
    let values = sorted.detach().to_contiguous()?;
    with_float!(values.dtype(), T => {
        for r in 0..count {
            let row = &values.slice::<T>()?[r * n..(r + 1) * n];
            let nans = row.iter().rev().take_while(|v| v.is_nan()).count();
            tops.push(if nans > 0 && !skip_nan { 0.0 } else { ((n - nans).max(1) - 1) as f64 });
            for &q in &qs {
                let (a, b, w) = place(q, n, nans, how, skip_nan, x.dtype());
                low.push(a);
                high.push(b);
                weight.push(w);
            }
        }
    }, else {});
    let mut shape = lead.clone();
    shape.push(qs.len());
    let (low, high) = (Tensor::from_slice(&low, &shape)?, Tensor::from_slice(&high, &shape)?);
    let weight = Tensor::from_slice(&weight, &shape)?.copied_as(x.dtype())?;
    let weight = if how == "linear" && needs_grad(&[q]) { moving(&weight, q, &tops, &lead)? } else { weight };
    let (a, b) = (gather::gather(&sorted, -1, &low)?, gather::gather(&sorted, -1, &high)?);
    let out = compose::add(&a, &compose::mul(&compose::sub(&b, &a)?, &weight)?)?;
    // From rows x quantiles to quantiles x (shape without, or with a 1 for, the dimension).
    let nd = out.ndim() as i64;
    let out = permute::movedim(&out, &[nd - 1], &[0])?;
    let mut shape = Dims::from_slice(&[qs.len()]);
    match d {
        None if keep => shape.extend(x.shape().iter().map(|_| 1)),
        None => {}
        Some(d) => {
            if x.ndim() > 0 {
                // The dimension that was last before the exchange stands at `d` among the rows.
                let out = permute::transpose(&view::unsqueeze(&out, -1)?, d as i64 + 1, -1)?;
                let out = if keep { out } else { view::squeeze(&out, Some(&[d as i64 + 1]))? };
                return if q.ndim() == 0 { view::squeeze(&out, Some(&[0])) } else { Ok(out) };
            }
        }
    }
    let out = view::reshape_to(&out, &shape)?;
    if q.ndim() == 0 { view::squeeze(&out, Some(&[0])) } else { Ok(out) }
}

/// The weight as a function of q: it grows by the number of steps between a row's first and last element.
fn moving(weight: &Tensor, q: &Tensor, tops: &[f64], lead: &[usize]) -> Result<Tensor> {
    let mut shape: Dims = lead.into();
    shape.push(1);
    let tops = Tensor::from_slice(tops, &shape)?.copied_as(weight.dtype())?;
    let rank = compose::mul(&tops, &view::reshape_to(q, &[q.numel()])?)?;
    compose::add(weight, &compose::sub(&rank, &rank.detach())?)
}

/// Neighbours of a quantile in a sorted row of `n` with `nans` at its end, and the upper one's weight.
fn place(q: f64, n: usize, nans: usize, how: &str, skip_nan: bool, dtype: DType) -> (i64, i64, f64) {
    if nans > 0 && !skip_nan {
        return (n as i64 - 1, n as i64 - 1, 0.0);
    }
    let top = (n - nans).max(1) - 1;
    let at = if dtype == DType::F32 { f64::from(q as f32 * top as f32) } else { q * top as f64 };
    let at = match how {
        "lower" => at.floor(),
        "higher" => at.ceil(),
        "nearest" => at.round_ties_even(),
        _ => at,
    };
    let (low, high) = (at.floor(), at.ceil());
    let w = if how == "midpoint" { if high > low { 0.5 } else { 0.0 } } else { at - low };
    (low as i64, (high as i64).min(top as i64), w)
}

fn call(a: &Args, skip_nan: bool) -> Result<Ret> {
    let x = a.tensor(0)?;
    let q = match a.arg(1) {
        Arg::Tensor(t) => t.clone(),
        _ => {
            let v = a.float(1)?;
            if !(0.0..=1.0).contains(&v) {
                let name = if skip_nan { "nanquantile" } else { "quantile" };
                return Err(runtime_error!("{name}() q must be in the range [0, 1] but got {v}"));
            }
            Tensor::scalar(Scalar::Float(v), x.dtype())?
        }
    };
    quantile(x, &q, a.opt_int(2), a.bool(3)?, a.str(4)?, skip_nan).ret()
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("quantile(Tensor input, float|Tensor q, int? dim=None, bool keepdim=False, *, str interpolation='linear')", METHOD | TORCH | OUT, |a| call(a, false))
            .doc("Quantiles along dim (of all elements if None); one more leading dimension for a 1-d q.")
            .samples(&["t(3,5), 0.3", "t(3,5), 0.3, 1", "t(3,5), 0.4, 0, True", "t(2,6), 0.5, 1, interpolation='lower'", "t(2,3,4), 0.7, 1", "t(3,5), unit(2) * 0.4 + 0.5, 1", "t(7), unit() * 0.4 + 0.5"])
            .oracle("np.quantile(input, q, axis=dim, keepdims=keepdim, method=interpolation)"),
        op("nanquantile(Tensor input, float|Tensor q, int? dim=None, bool keepdim=False, *, str interpolation='linear')", METHOD | TORCH | OUT, |a| call(a, true))
            .doc("quantile of the elements that are not NaN.")
            .samples(&["t(3,5), 0.3", "t(3,5), 0.3, 1", "t(3,5), unit(2) * 0.4 + 0.5, 0"])
            .oracle("np.nanquantile(input, q, axis=dim, keepdims=keepdim, method=interpolation)"),
    ]
}
