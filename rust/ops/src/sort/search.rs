//! Binary search and counting.

use crate::args::{Arg, Args, IntoRet, Ret};
use crate::basic::to_dtype;
use crate::registry::{METHOD, OUT, OpDef, TORCH, op};
use rustnn_core::base::{Element, not_implemented, runtime_error, with_dtype, with_float};
use rustnn_core::{DType, Result, Scalar, Tensor};
use rustnn_kernels::sort as kernel;

/// Where values would go in sorted sequences: before equal ones, or after them for `right`.
pub fn searchsorted(
    seq: &Tensor,
    values: &Tensor,
    right: bool,
    int32: bool,
    sorter: Option<&Tensor>,
) -> Result<Tensor> {
    if seq.ndim() == 0 {
        return Err(runtime_error!(
            "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension"
        ));
    }
    let lead = seq.ndim() - 1;
    if seq.ndim() != 1 && (values.ndim() != seq.ndim() || values.shape()[..lead] != seq.shape()[..lead]) {
        return Err(runtime_error!(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor and input value tensor must match, but we got boundaries tensor {:?} and input value tensor {:?}",
            seq.shape(),
            values.shape()
        ));
    }
    if let Some(s) = sorter
        && s.shape() != seq.shape()
    {
        return Err(runtime_error!(
            "torch.searchsorted(): boundary and sorter must have the same size, but got boundary tensor {:?} and got sorter tensor {:?}",
            seq.shape(),
            s.shape()
        ));
    }
    let dtype = seq.dtype().promote(values.dtype());
    let n = seq.shape()[lead];
    let (a, v) =
        (to_dtype(&seq.detach(), dtype)?.to_contiguous()?, to_dtype(&values.detach(), dtype)?.to_contiguous()?);
    let order = sorter.map(crate::index::long).transpose()?;
    let per_row = if seq.ndim() == 1 { values.numel() } else { values.shape()[lead] };
    let out = Tensor::empty(values.shape(), DType::I64)?;
    let order = order.as_ref().map(|o| o.slice::<i64>()).transpose()?;
    with_dtype!(dtype, T => match order {
        // A sorter per row: one row at a time.
        Some(o) if seq.ndim() > 1 => {
            let (a, v, d) = (a.slice::<T>()?, v.slice::<T>()?, out.slice_mut::<i64>()?);
            for (r, d) in d.chunks_mut(per_row.max(1)).enumerate() {
                let (low, at) = (r * n, r * per_row);
                kernel::searchsorted(&a[low..low + n], n, Some(&o[low..low + n]), &v[at..at + per_row], per_row, right, d)?;
            }
        }
        _ => kernel::searchsorted(a.slice::<T>()?, n, order, v.slice::<T>()?, per_row, right, out.slice_mut::<i64>()?)?,
    });
    if int32 { out.copied_as(DType::I32) } else { Ok(out) }
}

fn value(a: &Args, i: usize, like: &Tensor) -> Result<Tensor> {
    match a.arg(i) {
        Arg::Tensor(t) => Ok(t.clone()),
        _ => {
            let s = a.scalar(i)?;
            let float = matches!(s, Scalar::Float(_)) && !like.dtype().is_float();
            Tensor::scalar(s, if float { rustnn_core::mode::default_dtype() } else { like.dtype() })
        }
    }
}

fn search_call(a: &Args) -> Result<Ret> {
    let seq = a.tensor(0)?;
    let right = match a.opt_str(4) {
        None => a.bool(3)?,
        Some("right") => true,
        Some("left") if a.bool(3)? => {
            return Err(runtime_error!(
                "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
            ));
        }
        Some("left") => false,
        Some(s) => return Err(runtime_error!("torch.searchsorted(): side can only be 'left' or 'right' but got {s}")),
    };
    searchsorted(seq, &value(a, 1, seq)?, right, a.bool(2)?, a.opt_tensor(5)).ret()
}

/// How often each whole number occurs, or the sum of weights there.
pub fn bincount(x: &Tensor, weights: Option<&Tensor>, minlength: i64) -> Result<Tensor> {
    if x.dtype().is_float() || x.dtype() == DType::Bool {
        return Err(not_implemented!("\"bincount_cpu\" not implemented for '{}'", x.dtype().torch_name()));
    }
    let wrong = || runtime_error!("bincount only supports 1-d non-negative integral inputs.");
    if minlength < 0 {
        return Err(runtime_error!("minlength should be >= 0"));
    }
    if x.ndim() != 1 {
        return Err(wrong().hint(format!("its shape is {:?}", x.shape())));
    }
    if let Some(w) = weights
        && w.shape() != x.shape()
    {
        return Err(runtime_error!("weights should be 1-d and have the same length as input"));
    }
    let index = crate::index::long(x)?;
    let flat = index.slice::<i64>()?;
    if flat.iter().any(|&v| v < 0) {
        return Err(wrong());
    }
    let bins = flat.iter().max().map_or(0, |m| m.saturating_add(1)).max(minlength);
    let Some(w) = weights else {
        let out = Tensor::zeros(&[bins as usize], DType::I64)?;
        kernel::bincount(out.slice_mut::<i64>()?, flat, None)?;
        return Ok(out);
    };
    let dtype = if w.dtype() == DType::F32 { DType::F32 } else { DType::F64 };
    let w = w.copied_as(dtype)?.to_contiguous()?;
    let out = Tensor::zeros(&[bins as usize], dtype)?;
    with_float!(dtype, T => kernel::bincount(out.slice_mut::<T>()?, flat, Some(w.slice::<T>()?))?, else {});
    Ok(out)
}

/// Counts of equally wide bins between `min` and `max` (the data's own if both are equal).
pub fn histc(x: &Tensor, bins: i64, min: f64, max: f64) -> Result<Tensor> {
    if bins <= 0 {
        return Err(runtime_error!("torch.histogram(): bins must be > 0, but got {bins} for dimension 0"));
    }
    let src = x.detach().to_contiguous()?;
    let out = Tensor::empty(&[bins as usize], x.dtype())?;
    with_float!(x.dtype(), T => {
        let v = src.slice::<T>()?;
        let (mut low, mut high) = (min, max);
        if low == high && !v.is_empty() {
            low = v.iter().map(|x| x.to_f64()).fold(f64::INFINITY, f64::min);
            high = v.iter().map(|x| x.to_f64()).fold(f64::NEG_INFINITY, f64::max);
        }
        if low == high {
            (low, high) = (low - 1.0, high + 1.0);
        }
        if !low.is_finite() || !high.is_finite() || v.iter().any(|x| x.is_nan()) && min == max {
            return Err(runtime_error!("torch.histc: range of [{low}, {high}] is not finite"));
        }
        if low > high {
            return Err(runtime_error!("torch.histc: max must be larger than min"));
        }
        kernel::histc(out.slice_mut::<T>()?, v, low, high);
    }, else return Err(not_implemented!("\"histogram_cpu\" not implemented for '{}'", x.dtype().torch_name())));
    Ok(out)
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("searchsorted(Tensor sorted_sequence, Tensor|Scalar input, *, bool out_int32=False, bool right=False, str? side=None, Tensor? sorter=None)", TORCH | OUT, search_call)
            .doc("Where values would go in sorted sequences: before equal ones, or after them for right.")
            .samples(&["torch.arange(6.).double(), t(3,2)", "torch.arange(6), i(4, lo=-2, hi=8), right=True"])
            .oracle("np.searchsorted(sorted_sequence, input, side='right' if right else 'left')")
            .nondiff(),
        op("bucketize(Tensor|Scalar input, Tensor boundaries, *, bool out_int32=False, bool right=False)", TORCH | OUT, |a| {
            let seq = a.tensor(1)?;
            if seq.ndim() != 1 {
                return Err(runtime_error!("boundaries tensor must be 1 dimension, but got dim({})", seq.ndim()));
            }
            searchsorted(seq, &value(a, 0, seq)?, a.bool(3)?, a.bool(2)?, None).ret()
        })
        .doc("The number of the bucket between boundaries that each value falls in.")
        .samples(&["t(3,2), torch.arange(4.).double()"])
        .oracle("np.searchsorted(boundaries, input, side='right' if right else 'left')")
        .nondiff(),
        op("bincount(Tensor input, Tensor? weights=None, int minlength=0)", METHOD | TORCH, |a| {
            bincount(a.tensor(0)?, a.opt_tensor(1), a.int(2)?).ret()
        })
        .doc("How often each whole number occurs, or the sum of the weights there.")
        .samples(&["i(9, lo=0, hi=4)", "i(9, lo=0, hi=4), minlength=7", "i(3, lo=0, hi=4), t(3)"])
        .oracle("np.bincount(input, weights, minlength)")
        .nondiff(),
        op("histc(Tensor input, int bins=100, Scalar min=0, Scalar max=0)", METHOD | TORCH | OUT, |a| {
            histc(a.tensor(0)?, a.int(1)?, a.float(2)?, a.float(3)?).ret()
        })
        .doc("Counts of equally wide bins from min to max; the data's own range if both are 0.")
        .samples(&["t(20), 4", "t(20), 5, -1, 1"])
        .oracle("np.histogram(input, bins, (input.min(), input.max()) if min == max else (min, max))[0].astype(float)")
        .nondiff(),
    ]
}
