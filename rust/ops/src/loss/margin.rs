//! Margin losses: ranking, hinge, cosine, triplet, multi-class and multi-label margins.

use super::Reduction;
use super::cross_entropy::out_of_bounds;
use super::distance::pairwise_distance;
use super::pointwise::logits_loss;
use crate::args::IntoRet;
use crate::compose as c;
use crate::registry::{NN, OpDef, op};
use rustnn_core::base::{runtime_error, value_error};
use rustnn_core::{DType, Result, Tensor};
use rustnn_kernels::loss::bad_target;
use rustnn_kernels::room;

fn relu(x: &Tensor) -> Result<Tensor> {
    c::clamp_min(x, 0.0)
}

/// `x` where `t` is `v`, else 0.
fn only(x: &Tensor, t: &Tensor, v: f64) -> Result<Tensor> {
    let shape = rustnn_core::base::layout::broadcast_shapes(x.shape(), t.shape())?;
    let mask = c::compare("ne", t, v)?;
    c::masked_fill(&c::expand(x, &shape)?, &mask, 0.0)
}

fn hinge_embedding(x: &Tensor, t: &Tensor, margin: f64) -> Result<Tensor> {
    let far = relu(&c::rsub_s(margin, x)?)?;
    let shape = rustnn_core::base::layout::broadcast_shapes(x.shape(), t.shape())?;
    let off = c::masked_fill(&c::expand(&far, &shape)?, &c::compare("eq", t, 1.0)?, 0.0)?;
    let on = c::masked_fill(&c::expand(x, &shape)?, &c::compare("eq", t, -1.0)?, 0.0)?;
    c::add(&off, &on)
}

fn cosine_embedding(a: &Tensor, b: &Tensor, t: &Tensor, margin: f64) -> Result<Tensor> {
    if !(t.ndim() == 0 && a.ndim() == 1 || t.ndim() == 1 && a.ndim() == 2) {
        return Err(runtime_error!(
            "{}D target tensor expects {}D input tensors, but found inputs with sizes {:?} and {:?}.",
            t.ndim(),
            t.ndim() + 1,
            a.shape(),
            b.shape()
        ));
    }
    let sum = |x: &Tensor| c::sum_dims(x, &[-1], false);
    let (na, nb) = (c::add_s(&sum(&c::square(a)?)?, 1e-12)?, c::add_s(&sum(&c::square(b)?)?, 1e-12)?);
    let cos = c::div(&sum(&c::mul(a, b)?)?, &c::sqrt(&c::mul(&na, &nb)?)?)?;
    c::add(&only(&c::rsub_s(1.0, &cos)?, t, 1.0)?, &only(&relu(&c::add_s(&cos, -margin)?)?, t, -1.0)?)
}

fn triplet(a: &Tensor, pos: &Tensor, neg: &Tensor, margin: f64, p: f64, eps: f64, swap: bool) -> Result<Tensor> {
    if margin <= 0.0 {
        return Err(value_error!("margin must be greater than 0, got {margin}"));
    }
    if a.ndim() != pos.ndim() || a.ndim() != neg.ndim() {
        return Err(runtime_error!(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: anchor {}D, positive {}D, and negative {}D inputs",
            a.ndim(),
            pos.ndim(),
            neg.ndim()
        ));
    }
    let dp = pairwise_distance(a, pos, p, eps, false)?;
    let mut dn = pairwise_distance(a, neg, p, eps, false)?;
    if swap {
        dn = c::minimum(&dn, &pairwise_distance(pos, neg, p, eps, false)?)?;
    }
    relu(&c::add_s(&c::sub(&dp, &dn)?, margin)?)
}

/// The batch as `[N, C]` and whether it was a single sample.
fn batched(x: &Tensor) -> Result<(Tensor, bool)> {
    match *x.shape() {
        [n] => Ok((c::reshape(x, &[1, n])?, true)),
        [_, _] => Ok((x.clone(), false)),
        _ => Err(runtime_error!(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got: {:?}",
            x.shape()
        )),
    }
}

fn multi_margin(x: &Tensor, target: &Tensor, p: i64, margin: f64, w: Option<&Tensor>) -> Result<Tensor> {
    if p != 1 && p != 2 {
        return Err(value_error!("only p == 1 and p == 2 supported"));
    }
    if let Some(w) = w.filter(|w| w.ndim() != 1) {
        return Err(value_error!("weight must be one-dimensional, got shape {:?}", w.shape()));
    }
    let (x, single) = batched(x)?;
    let (n, classes) = (x.shape()[0], x.shape()[1]);
    let t = target.detach().copied_as(DType::I64)?.to_contiguous()?;
    if t.numel() != n {
        return Err(runtime_error!("inconsistent target size, expected {n} but got {:?}", target.shape()));
    }
    if let Some((at, v)) = bad_target(t.slice()?, classes, -1) {
        return Err(out_of_bounds(&t, at, v, classes));
    }
    let t = c::reshape(&t, &[n, 1])?;
    let own = c::gather(&x, 1, &t)?;
    let mut z = relu(&c::add_s(&c::sub(&x, &own)?, margin)?)?;
    if p == 2 {
        z = c::square(&z)?;
    }
    if let Some(w) = w {
        z = c::mul(&z, &c::gather(&c::expand(&c::reshape(w, &[1, classes])?, &[n, classes])?, 1, &t)?)?;
    }
    // The target's own class takes no part.
    let mut keep = room::filled(z.numel(), 1.0)?;
    for (i, &v) in t.slice::<i64>()?.iter().enumerate() {
        keep[i * classes + v as usize] = 0.0;
    }
    let keep = c::cast(&Tensor::from_slice(&keep, &[n, classes])?, x.dtype())?;
    let loss = c::div_s(&c::sum_dims(&c::mul(&z, &keep)?, &[1], false)?, classes as f64)?;
    if single { c::reshape(&loss, &[]) } else { Ok(loss) }
}

fn multilabel_margin(x: &Tensor, target: &Tensor) -> Result<Tensor> {
    if x.shape() != target.shape() {
        return Err(runtime_error!(
            "inconsistent target size: {:?} for input of size: {:?}",
            target.shape(),
            x.shape()
        ));
    }
    let (x, single) = batched(x)?;
    let (n, classes) = (x.shape()[0], x.shape()[1]);
    let t = target.detach().copied_as(DType::I64)?.to_contiguous()?;
    let labels = t.slice::<i64>()?;
    let mut index = room::filled(labels.len(), 0i64)?;
    let mut mask = room::filled(labels.len().saturating_mul(classes), 0.0)?;
    // No rows where there are no classes, of however many samples.
    for (i, row) in labels.chunks(classes.max(1)).enumerate() {
        let row: Vec<i64> = room::collected(row.iter().copied().take_while(|&v| v >= 0))?;
        for (j, &v) in row.iter().enumerate() {
            if v as usize >= classes {
                return Err(runtime_error!("argument #2 'target' is out of range")
                    .hint(format!("multilabel_margin_loss: label {v} is not one of {classes} classes")));
            }
            index[i * classes + j] = v;
            for k in 0..classes {
                if !row.contains(&(k as i64)) {
                    mask[(i * classes + j) * classes + k] = 1.0;
                }
            }
        }
    }
    let own = c::gather(&x, 1, &Tensor::from_slice(&index, &[n, classes])?)?;
    let z = relu(&c::add_s(&c::sub(&c::unsqueeze(&x, 1)?, &c::unsqueeze(&own, 2)?)?, 1.0)?)?;
    let mask = c::cast(&Tensor::from_slice(&mask, &[n, classes, classes])?, x.dtype())?;
    let loss = c::div_s(&c::sum_dims(&c::mul(&z, &mask)?, &[1, 2], false)?, classes as f64)?;
    if single { c::reshape(&loss, &[]) } else { Ok(loss) }
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("margin_ranking_loss(Tensor input1, Tensor input2, Tensor target, float margin=0, bool? size_average=None, bool? reduce=None, str reduction='mean')", NN, |a| {
            let (x1, x2, y) = (a.tensor(0)?, a.tensor(1)?, a.tensor(2)?);
            if x1.ndim() != x2.ndim() || x1.ndim() != y.ndim() {
                return Err(runtime_error!(
                    "margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: {:?}, input2: {:?}, target: {:?}",
                    x1.shape(), x2.shape(), y.shape()
                ));
            }
            let d = c::mul(&c::neg(y)?, &c::sub(x1, x2)?)?;
            Reduction::of(a, 4, 5, 6)?.apply(&relu(&c::add_s(&d, a.float(3)?)?)?).ret()
        })
        .doc("max(0, -target * (input1 - input2) + margin).")
        .samples(&["t(5), t(5), t(5).sign().detach(), margin=0.3", "t(5), t(5), t(5).sign().detach(), reduction='none'"])
        .oracle("(lambda l: l if reduction == 'none' else l.mean())(np.maximum(0, -target * (input1 - input2) + margin))"),
        op("hinge_embedding_loss(Tensor input, Tensor target, float margin=1.0, bool? size_average=None, bool? reduce=None, str reduction='mean')", NN, |a| {
            let loss = hinge_embedding(a.tensor(0)?, a.tensor(1)?, a.float(2)?)?;
            Reduction::of(a, 3, 4, 5)?.apply(&loss).ret()
        })
        .doc("input where target is 1, max(0, margin - input) where it is -1.")
        .samples(&["t(6), t(6).sign().detach()"])
        .oracle("np.where(target == 1, input, np.maximum(0, margin - input)).mean()"),
        op("cosine_embedding_loss(Tensor input1, Tensor input2, Tensor target, float margin=0, bool? size_average=None, bool? reduce=None, str reduction='mean')", NN, |a| {
            let loss = cosine_embedding(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.float(3)?)?;
            Reduction::of(a, 4, 5, 6)?.apply(&loss).ret()
        })
        .doc("1 - cos where target is 1, max(0, cos - margin) where it is -1.")
        .samples(&["t(4,3), t(4,3), t(4).sign().detach(), margin=0.1"])
        .oracle("(lambda cos: np.where(target == 1, 1 - cos, np.maximum(0, cos - margin)).mean())((input1 * input2).sum(-1) / np.linalg.norm(input1, axis=-1) / np.linalg.norm(input2, axis=-1))"),
        op("triplet_margin_loss(Tensor anchor, Tensor positive, Tensor negative, float margin=1.0, float p=2, float eps=1e-06, bool swap=False, bool? size_average=None, bool? reduce=None, str reduction='mean')", NN, |a| {
            let loss = triplet(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.float(3)?, a.float(4)?, a.float(5)?, a.bool(6)?)?;
            Reduction::of(a, 7, 8, 9)?.apply(&loss).ret()
        })
        .doc("max(0, margin + |anchor - positive| - |anchor - negative|).")
        .samples(&["t(4,3), t(4,3), t(4,3)", "t(4,3), t(4,3), t(4,3), swap=True, reduction='none'"])
        .oracle("(lambda d: (lambda dp, dn: (lambda l: l if reduction == 'none' else l.mean())(np.maximum(0, margin + dp - dn)))(d(anchor, positive), np.minimum(d(anchor, negative), d(positive, negative)) if swap else d(anchor, negative)))(lambda u, v: np.linalg.norm(u - v + eps, axis=-1))"),
        op("soft_margin_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str reduction='mean')", NN, |a| {
            let loss = c::log1p(&c::exp(&c::neg(&c::mul(a.tensor(0)?, a.tensor(1)?)?)?)?)?;
            Reduction::of(a, 2, 3, 4)?.apply(&loss).ret()
        })
        .doc("log(1 + exp(-target * input)).")
        .samples(&["t(3,4), t(3,4).sign().detach()"])
        .oracle("np.logaddexp(0, -target * input).mean()"),
        op("multilabel_soft_margin_loss(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, bool? reduce=None, str reduction='mean')", NN, |a| {
            let mut loss = logits_loss(a.tensor(0)?, a.tensor(1)?, None)?;
            if let Some(w) = a.opt_tensor(2) {
                loss = c::mul(&loss, w)?;
            }
            Reduction::of(a, 3, 4, 5)?.apply(&c::mean_dims(&loss, &[-1], false)?).ret()
        })
        .doc("Binary cross-entropy of scores, averaged over the classes.")
        .samples(&["t(3,4), t(3,4)", "t(3,4), t(3,4), pos(4).detach(), reduction='none'"])
        .oracle("(lambda l: l if reduction == 'none' else l.mean())(((target * np.log1p(np.exp(-input)) + (1 - target) * np.log1p(np.exp(input))) * (1 if weight is None else weight)).mean(-1))"),
        op("multi_margin_loss(Tensor input, Tensor target, int p=1, float margin=1.0, Tensor? weight=None, bool? size_average=None, bool? reduce=None, str reduction='mean')", NN, |a| {
            let loss = multi_margin(a.tensor(0)?, a.tensor(1)?, a.int(2)?, a.float(3)?, a.opt_tensor(4))?;
            Reduction::of(a, 5, 6, 7)?.apply(&loss).ret()
        })
        .doc("Sum over the other classes of max(0, margin - input[target] + input[i])^p, divided by the classes.")
        .samples(&["t(3,4), i(3, lo=0, hi=4)", "t(3,4), i(3, lo=0, hi=4), p=2, reduction='sum'"])
        .oracle("(lambda z: (lambda l: l.sum() if reduction == 'sum' else l.mean())((z.sum(1) - margin**p) / input.shape[1]))(np.maximum(0, margin - input[np.arange(len(target)), target][:, None] + input)**p)"),
        op("multilabel_margin_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str reduction='mean')", NN, |a| {
            let loss = multilabel_margin(a.tensor(0)?, a.tensor(1)?)?;
            Reduction::of(a, 2, 3, 4)?.apply(&loss).ret()
        })
        .doc("Sum over labels j (up to the first -1) and classes i that are no label of max(0, 1 - input[j] + input[i]), divided by the classes.")
        .samples(&["t(1,4), i(1,4, lo=0, hi=2)"])
        .oracle("sum(max(0, 1 - (input[0][j] - input[0][k])) for j in target[0] for k in range(4) if k not in target[0]) / 4"),
    ]
}
