//! `histogram`: counts (or weights) of elements in bins given by their edges.

use crate::args::{Arg, Args, Ret};
use crate::creation::linspace;
use crate::registry::{METHOD, OpDef, TORCH, op};
use rustnn_core::base::{Element, not_implemented, runtime_error, with_float};
use rustnn_core::{Result, Tensor};

fn edges(x: &Tensor, bins: i64, range: Option<Vec<f64>>) -> Result<Tensor> {
    if bins <= 0 {
        return Err(runtime_error!("torch.histogram(): number of bins must be positive, got {bins}"));
    }
    let (mut low, mut high) = match range.as_deref() {
        Some([a, b]) => (*a, *b),
        Some(other) => {
            return Err(runtime_error!(
                "torch.histogramdd(): For a 1-dimensional input tensor, range should have 2 elements, but got {}",
                other.len()
            ));
        }
        None => {
            let dense = x.to_contiguous()?;
            with_float!(x.dtype(), T => dense.slice::<T>()?.iter().map(|v| v.to_f64()).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| {
                // NaN wins, so that it is noticed.
                (if v < a || v.is_nan() { v } else { a }, if v > b || v.is_nan() { v } else { b })
            }), else (0.0, 1.0))
        }
    };
    if x.numel() == 0 && range.is_none() {
        (low, high) = (0.0, 1.0);
    }
    if !low.is_finite() || !high.is_finite() {
        return Err(runtime_error!("torch.histogramdd(): dimension 0's range [{low}, {high}] is not finite"));
    }
    if low > high {
        return Err(runtime_error!(
            "torch.histogramdd(): min should not exceed max, but got min {low} max {high} for dimension 0"
        ));
    }
    if low == high {
        (low, high) = (low - 0.5, high + 0.5);
    }
    linspace(low, high, bins.saturating_add(1), x.dtype())
}

fn histogram(x: &Tensor, edges: &Tensor, weight: Option<&Tensor>, density: bool) -> Result<Vec<Tensor>> {
    if let Some(w) = weight {
        if w.shape() != x.shape() {
            return Err(runtime_error!(
                "torch.histogramdd(): if weight tensor is provided it should have the same shape as the input tensor excluding its innermost dimension: input {:?}, weight {:?}",
                x.shape(),
                w.shape()
            ));
        }
        if w.dtype() != x.dtype() {
            return Err(runtime_error!(
                "torch.histogramdd(): if weight tensor is provided, input tensor and weight tensor should have the same dtype"
            ));
        }
    }
    if edges.dtype() != x.dtype() {
        return Err(runtime_error!(
            "torch.histogramdd(): input tensor and bins tensors should have the same dtype, but got input with dtype {} and bins with dtype {}",
            x.dtype(),
            edges.dtype()
        ));
    }
    if edges.ndim() != 1 || edges.numel() == 0 {
        return Err(runtime_error!(
            "torch.histogramdd(): bins tensor should have one dimension, and at least one element, but got {:?}",
            edges.shape()
        ));
    }
    let read = |t: &Tensor| -> Result<Vec<f64>> {
        let dense = t.to_contiguous()?;
        Ok(with_float!(t.dtype(), T => dense.slice::<T>()?.iter().map(|v| v.to_f64()).collect(), else Vec::new()))
    };
    let (values, cuts) = (read(x)?, read(edges)?);
    if !cuts.windows(2).all(|w| w[0] <= w[1]) {
        return Err(runtime_error!("torch.histogram(): bins must be in increasing order"));
    }
    let weights = weight.map(read).transpose()?;
    let n = cuts.len() - 1;
    let mut counts = vec![0.0f64; n];
    for (i, &v) in values.iter().enumerate() {
        // Elements outside (and NaN) count nowhere; the last bin holds its right edge too.
        if n == 0 || !(v >= cuts[0] && v <= cuts[n]) {
            continue;
        }
        let at = cuts.partition_point(|&c| c <= v).clamp(1, n) - 1;
        counts[at] += weights.as_ref().map_or(1.0, |w| w[i]);
    }
    let total: f64 = counts.iter().sum();
    if density {
        for (i, c) in counts.iter_mut().enumerate() {
            *c /= total * (cuts[i + 1] - cuts[i]);
        }
    }
    Ok(vec![Tensor::from_slice(&counts, &[n])?.copied_as(x.dtype())?, edges.clone()])
}

fn call(a: &Args) -> Result<Ret> {
    let x = a.tensor(0)?.detach();
    if !x.dtype().is_float() {
        return Err(not_implemented!("\"histogramdd\" not implemented for '{}'", x.dtype().torch_name()));
    }
    let (cuts, next) = match a.arg(1) {
        Arg::Tensor(t) => (t.detach(), 2),
        _ => (edges(&x, a.int(1)?, a.opt_floats(2))?, 3),
    };
    let weight = a.opt_tensor(next).map(Tensor::detach);
    let parts = histogram(&x, &cuts, weight.as_ref(), a.bool(next + 1)?)?;
    Ok(Ret::Named("histogram", &["hist", "bin_edges"], parts))
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("histogram(Tensor input, Tensor bins, *, Tensor? weight=None, bool density=False)", METHOD | TORCH, call)
            .doc("Counts of elements between the edges given in bins, and those edges; the last bin includes its right edge.")
            .samples(&["t(3,4), torch.arange(-2, 3, 0.5, dtype=torch.float64)"])
            .nondiff(),
        op("histogram(Tensor input, int bins, *, float[]? range=None, Tensor? weight=None, bool density=False)", METHOD | TORCH, call)
            .doc("Counts of elements (or sums of their weights) in bins of equal width over range (that of the elements unless given), and the bins' edges.")
            .samples(&["t(30), 4", "t(30), 4, range=(-1., 1.)", "t(30), 4, weight=pos(30)", "t(30), 5, density=True", "t(0), 3"])
            .oracle("np.histogram(input, bins, None if range is None else tuple(range), weights=weight, density=density)")
            .nondiff(),
    ]
}
