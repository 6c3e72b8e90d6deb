//! Rows of a table: embeddings, bags of them, and one-hot rows.

use super::rows;
use crate::args::{IntoRet, Ret};
use crate::registry::{NN, OpDef, PRIVATE, op};
use crate::shape::view;
use rustnn_core::base::{runtime_error, value_error, with_float};
use rustnn_core::{DType, Dims, Element, Result, Scalar, Tensor, attach, grads, inplace, needs_grad};
use rustnn_kernels::index as kernel;
use rustnn_kernels::room;

fn check_indices(indices: &Tensor, op: &str) -> Result<Tensor> {
    match indices.dtype() {
        DType::I64 => indices.to_contiguous(),
        DType::I32 => indices.copied_as(DType::I64)?.to_contiguous(),
        d => Err(runtime_error!(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got torch.{}Tensor instead (while checking arguments for {op})",
            d.torch_name()
        )
        .hint("word indices are integers: .long()")),
    }
}

/// Rows of `weight`; rows equal to `padding` get no gradient.
pub fn embedding(weight: &Tensor, indices: &Tensor, padding: Option<i64>, by_freq: bool) -> Result<Tensor> {
    if weight.ndim() != 2 {
        return Err(runtime_error!("'weight' must be 2-D").hint(format!("its shape is {:?}", weight.shape())));
    }
    let index = check_indices(indices, "embedding")?;
    let mut shape: Dims = index.shape().into();
    shape.push(weight.shape()[1]);
    let out = Tensor::empty(&shape, weight.dtype())?;
    kernel::index_select(out.raw(), weight.to_contiguous()?.raw(), 0, index.slice::<i64>()?, "embedding")?;
    if !needs_grad(&[weight]) {
        return Ok(out);
    }
    let n = weight.shape()[0];
    attach("EmbeddingBackward0", out, &[weight], move |_, g| {
        Ok(grads![embedding_backward(g, &index, n, padding, by_freq)?])
    })
}

/// The gradient of [`embedding`]: rows of `g` added up in the order of the indices.
fn embedding_backward(g: &Tensor, index: &Tensor, n: usize, padding: Option<i64>, by_freq: bool) -> Result<Tensor> {
    let inner = g.shape().last().copied().unwrap_or(1);
    let out = Tensor::zeros(&[n, inner], g.dtype())?;
    let flat = index.slice::<i64>()?;
    kernel::index_add(out.raw(), 0, flat, g.to_contiguous()?.raw(), Scalar::Int(1), padding, "embedding")?;
    if by_freq {
        let counts = kernel::count_rows(flat, n)?;
        with_float!(out.dtype(), T => kernel::divide_rows(out.slice_mut::<T>()?, &counts, inner), else {});
    }
    let index = index.clone();
    attach("EmbeddingDenseBackward0", out, &[g], move |_, gg| {
        let rows = embedding(gg, &index, None, false)?;
        let Some(p) = padding else { return Ok(grads![rows]) };
        let mask: Vec<rustnn_core::base::B8> = room::collected(index.slice::<i64>()?.iter().map(|&i| (i == p).into()))?;
        let mut shape: Dims = index.shape().into();
        shape.push(1);
        Ok(grads![super::mask::masked_fill(&rows, &Tensor::from_slice(&mask, &shape)?, Scalar::Int(0))?])
    })
}

/// Scales, in place and without a graph, the rows in use whose norm is larger than `max`.
fn renorm_rows(weight: &Tensor, index: &Tensor, max: f64, p: f64) -> Result<()> {
    let &[_, inner] = weight.shape() else {
        return Err(runtime_error!("'weight' must be 2-D").hint(format!("its shape is {:?}", weight.shape())));
    };
    let mut seen: Vec<i64> = room::copied(index.slice::<i64>()?)?;
    seen.sort_unstable();
    seen.dedup();
    kernel::count_rows(&seen, weight.shape()[0])?;
    let w = weight.to_contiguous()?;
    let w = if w.same(weight) { weight.copied()? } else { w };
    with_float!(w.dtype(), T => {
        let all = w.slice_mut::<T>()?;
        for &i in &seen {
            let row = &mut all[i as usize * inner..][..inner];
            let norm = if p == f64::INFINITY {
                row.iter().map(|v| v.to_f64().abs()).fold(0.0, f64::max)
            } else {
                row.iter().map(|v| v.to_f64().abs().powf(p)).sum::<f64>().powf(1.0 / p)
            };
            if norm > max {
                let scale = max / (norm + 1e-7);
                for v in row {
                    *v = T::from_f64(v.to_f64() * scale);
                }
            }
        }
    }, else return Err(runtime_error!("embedding weights are floating point")));
    rustnn_core::mode::no_grad(|| inplace::assign(weight, &w))
}

fn padding_of(given: Option<i64>, n: usize) -> Result<Option<i64>> {
    let n = n as i64;
    match given {
        Some(p) if p >= n || p < -n => Err(value_error!("Padding_idx must be within num_embeddings")),
        Some(p) if p < 0 => Ok(Some(p + n)),
        p => Ok(p),
    }
}

/// Ones at the classes of an index tensor.
pub fn one_hot(x: &Tensor, classes: i64) -> Result<Tensor> {
    if x.dtype() != DType::I64 {
        return Err(runtime_error!("one_hot is only applicable to index tensor of type LongTensor.")
            .hint(format!("it is {}; .long() makes it so", x.dtype())));
    }
    let index = x.to_contiguous()?;
    let flat = index.slice::<i64>()?;
    let n = match classes {
        -1 => {
            if flat.is_empty() {
                return Err(runtime_error!("Can not infer total number of classes from empty tensor."));
            }
            flat.iter().max().copied().unwrap_or(0).saturating_add(1).max(0) as usize
        }
        c if c < 1 => return Err(runtime_error!("num_classes should be positive")),
        c => c as usize,
    };
    let mut shape: Dims = x.shape().into();
    shape.push(n);
    let out = Tensor::zeros(&shape, DType::I64)?;
    kernel::one_hot(out.slice_mut::<i64>()?, flat, n)?;
    Ok(out)
}

/// Bags of embeddings reduced to one row each: 0 sum, 1 mean, 2 max. `starts` are where bags begin.
fn embedding_bag(
    weight: &Tensor,
    index: &Tensor,
    starts: &[usize],
    mode: u8,
    padding: Option<i64>,
    weights: Option<&Tensor>,
    by_freq: bool,
) -> Result<Tensor> {
    let inner = weight.shape()[1];
    let rows_all = embedding(weight, index, padding, by_freq)?;
    let flat = index.slice::<i64>()?;
    let bags = starts.len();
    let bounds = |b: usize| (starts[b], starts.get(b + 1).copied().unwrap_or(flat.len()));
    let used = |i: usize| Some(flat[i]) != padding;
    if mode == 2 {
        // Per bag and column the first row with the largest value; the result gathers them.
        let n = rows_all.shape()[0];
        let src = rows_all.detach().to_contiguous()?;
        let mut pick = room::filled(bags * inner, n as i64)?;
        with_float!(src.dtype(), T => {
            let v = src.slice::<T>()?;
            for b in 0..bags {
                for i in (bounds(b).0..bounds(b).1).filter(|&i| used(i)) {
                    for j in 0..inner {
                        let p = &mut pick[b * inner + j];
                        if *p == n as i64 || v[i * inner + j] > v[*p as usize * inner + j] {
                            *p = i as i64;
                        }
                    }
                }
            }
        }, else return Err(runtime_error!("embedding weights are floating point")));
        // An empty bag takes a row of zeros put behind the others.
        let zero = Tensor::zeros(&[1, inner], rows_all.dtype())?;
        let with_zero = crate::shape::join::cat(&[rows_all, zero], 0)?;
        return super::gather::gather(&with_zero, 0, &Tensor::from_slice(&pick, &[bags, inner])?);
    }
    let mut owner = room::filled(flat.len(), 0i64)?;
    let mut factor = room::filled(flat.len(), 0f64)?;
    for b in 0..bags {
        let (low, high) = bounds(b);
        let count = (low..high).filter(|&i| used(i)).count().max(1);
        for i in low..high {
            owner[i] = b as i64;
            factor[i] = if !used(i) {
                0.0
            } else if mode == 1 {
                1.0 / count as f64
            } else {
                1.0
            };
        }
    }
    let mut rows_all = rows_all;
    if mode == 1 || flat.iter().any(|&i| Some(i) == padding) {
        let f = Tensor::from_slice(&factor, &[flat.len(), 1])?.copied_as(weight.dtype())?;
        rows_all = super::arith::mul(&rows_all, &f)?;
    }
    if let Some(w) = weights {
        rows_all = super::arith::mul(&rows_all, &view::reshape_to(w, &[flat.len(), 1])?)?;
    }
    let zeros = Tensor::zeros(&[bags, inner], weight.dtype())?;
    rows::index_add(&zeros, 0, &Tensor::from_slice(&owner, &[flat.len()])?, &rows_all, Scalar::Int(1))
}

fn bag_call(a: &crate::Args) -> Result<Ret> {
    // (input, weight, offsets, max_norm, norm_type, scale_grad_by_freq, mode, sparse, per_sample_weights,
    //  include_last_offset, padding_idx)
    let (input, weight) = (a.tensor(0)?, a.tensor(1)?);
    if weight.ndim() != 2 {
        return Err(value_error!("weight has to be a 2D Tensor, but got Tensor of dimension {}", weight.ndim()));
    }
    let index = check_indices(input, "embedding_bag")?;
    let n = index.numel();
    let starts: Vec<usize> = match (input.ndim(), a.opt_tensor(2)) {
        (2, None) => room::collected((0..input.shape()[0]).map(|b| b * input.shape()[1]))?,
        (2, Some(_)) => {
            return Err(value_error!(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length sequences."
            ));
        }
        (1, Some(o)) => {
            let o = super::long(o)?;
            let mut s = room::copied(o.slice::<i64>()?)?;
            if s.first() != Some(&0) {
                return Err(runtime_error!(
                    "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. However, got {}",
                    s.first().copied().unwrap_or_default()
                ));
            }
            if s.windows(2).any(|w| w[1] < w[0]) || s.iter().any(|&v| v > n as i64) {
                return Err(value_error!("offsets must not decrease nor exceed input's length {n}, got {s:?}"));
            }
            if a.bool(9)? {
                s.pop();
            }
            room::collected(s.into_iter().map(|v| v as usize))?
        }
        (1, None) => return Err(value_error!("offsets has to be a 1D Tensor but got None")),
        (d, _) => return Err(value_error!("input has to be 1D or 2D Tensor, but got Tensor of dimension {d}")),
    };
    let mode = match a.str(6)? {
        "sum" => 0,
        "mean" => 1,
        "max" => 2,
        _ => return Err(value_error!("mode has to be one of sum, mean or max")),
    };
    let weights = a.opt_tensor(8);
    if weights.is_some() && mode != 0 {
        return Err(rustnn_core::base::not_implemented!(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got mode='{}').",
            a.str(6)?
        ));
    }
    let index = view::reshape_to(&index, &[n])?;
    if let Some(max) = a.opt_float(3) {
        renorm_rows(weight, &index, max, a.float(4)?)?;
    }
    let padding = padding_of(a.opt_int(10), weight.shape()[0])?;
    embedding_bag(weight, &index, &starts, mode, padding, weights, a.bool(5)?).ret()
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op(
            "embedding(Tensor input, Tensor weight, int? padding_idx=None, float? max_norm=None, float norm_type=2.0, bool scale_grad_by_freq=False, bool sparse=False)",
            NN,
            |a| {
                let (input, weight) = (a.tensor(0)?, a.tensor(1)?);
                let n = weight.shape().first().copied().unwrap_or(0);
                let padding = padding_of(a.opt_int(2), n)?;
                if let Some(max) = a.opt_float(3) {
                    renorm_rows(weight, &check_indices(input, "embedding")?, max, a.float(4)?)?;
                }
                embedding(weight, input, padding, a.bool(5)?).ret()
            },
        )
        .doc("Rows of weight by index. Rows of padding_idx get no gradient; max_norm rescales the rows in use first.")
        .samples(&["i(2,3, lo=0, hi=5), t(5,4)", "i(3, lo=2, hi=5), t(5,2), 1", "i(0, lo=0, hi=1), t(5,2)"])
        .oracle("np.take(weight, input, axis=0)"),
        op("embedding(Tensor weight, Tensor indices, int padding_idx=-1, bool scale_grad_by_freq=False, bool sparse=False)", crate::registry::TORCH, |a| {
            let p = a.int(2)?;
            embedding(a.tensor(0)?, a.tensor(1)?, (p >= 0).then_some(p), a.bool(3)?).ret()
        })
        .doc("Rows of weight by index.")
        .samples(&["t(5,4), i(2,3, lo=0, hi=5)"])
        .oracle("np.take(weight, indices, axis=0)"),
        op(
            "embedding_bag(Tensor input, Tensor weight, Tensor? offsets=None, float? max_norm=None, float norm_type=2.0, bool scale_grad_by_freq=False, str mode='mean', bool sparse=False, Tensor? per_sample_weights=None, bool include_last_offset=False, int? padding_idx=None)",
            NN,
            bag_call,
        )
        .doc("Sums, means or maxima of bags of rows of weight.")
        .samples(&["i(2,3, lo=0, hi=5), t(5,4)", "i(2,3, lo=0, hi=5), t(5,4), mode='sum'"])
        .oracle("(np.mean if mode == 'mean' else np.sum)(np.take(weight, input, axis=0), axis=1)"),
        op("one_hot(Tensor input, int num_classes=-1)", NN, |a| one_hot(a.tensor(0)?, a.int(1)?).ret())
            .doc("Rows with a one at the class of each element.")
            .samples(&["i(4, lo=0, hi=3), 3", "i(2,2, lo=0, hi=3)"])
            .oracle("np.eye(num_classes if num_classes > 0 else input.max() + 1, dtype=np.int64)[input]")
            .nondiff(),
        op("_embedding_renorm_(Tensor weight, Tensor indices, float max_norm, float norm_type)", PRIVATE, |a| {
            renorm_rows(a.tensor(0)?, &check_indices(a.tensor(1)?, "embedding")?, a.float(2)?, a.float(3)?)?;
            a.tensor(0)?.clone().ret()
        })
        .nondiff(),
    ]
}
