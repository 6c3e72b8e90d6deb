//! Losses taken element by element: squared, absolute, Huber, binary cross-entropy.

use super::{Reduction, size_text};
use crate::args::IntoRet;
use crate::basic::to_dtype;
use crate::compose as c;
use crate::registry::{NN, OpDef, op};
use rustnn_core::base::dtype::{Operand, result_type};
use rustnn_core::base::{runtime_error, value_error};
use rustnn_core::{DType, Result, Tensor, attach, grads, mode, save};

/// Both in the dtype that PyTorch promotes them to.
fn promoted(x: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
    if x.dtype() == y.dtype() {
        return Ok((x.clone(), y.clone()));
    }
    let o = |t: &Tensor| if t.ndim() == 0 { Operand::ZeroDim(t.dtype()) } else { Operand::Dimensioned(t.dtype()) };
    let d: DType = result_type([o(x), o(y)], mode::default_dtype());
    Ok((to_dtype(x, d)?, to_dtype(y, d)?))
}

fn difference(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let (x, y) = promoted(x, y)?;
    c::sub(&x, &y)
}

/// Reduces weighted losses: a mean divides by the sum of the weights.
fn weighted(loss: &Tensor, w: Option<&Tensor>, x: &Tensor, r: Reduction) -> Result<Tensor> {
    let Some(w) = w else { return r.apply(loss) };
    if w.shape() != x.shape() {
        return Err(value_error!("Weights and input must have the same size."));
    }
    let loss = c::mul(loss, w)?;
    if r == Reduction::Mean { c::div(&c::sum(&loss)?, &c::sum(w)?) } else { r.apply(&loss) }
}

/// Squared difference.
pub fn mse_loss(x: &Tensor, y: &Tensor, r: Reduction, w: Option<&Tensor>) -> Result<Tensor> {
    weighted(&c::square(&difference(x, y)?)?, w, x, r)
}

/// Absolute difference.
pub fn l1_loss(x: &Tensor, y: &Tensor, r: Reduction, w: Option<&Tensor>) -> Result<Tensor> {
    weighted(&c::abs(&difference(x, y)?)?, w, x, r)
}

/// Quadratic within `beta`, linear outside, scaled to slope 1.
pub fn smooth_l1_loss(x: &Tensor, y: &Tensor, r: Reduction, beta: f64) -> Result<Tensor> {
    if beta < 0.0 {
        return Err(runtime_error!("smooth_l1_loss does not support negative values for beta."));
    }
    let d = difference(x, y)?;
    let a = c::abs(&d)?;
    if beta == 0.0 {
        return r.apply(&a);
    }
    let near = c::compare("lt", &a.detach(), beta)?;
    r.apply(&c::where_(&near, &c::mul_s(&c::square(&d)?, 0.5 / beta)?, &c::add_s(&a, -0.5 * beta)?)?)
}

/// Quadratic within `delta`, linear with slope `delta` outside.
pub fn huber_loss(x: &Tensor, y: &Tensor, r: Reduction, delta: f64, w: Option<&Tensor>) -> Result<Tensor> {
    if delta <= 0.0 {
        return Err(runtime_error!("huber_loss does not support non-positive values for delta."));
    }
    let d = difference(x, y)?;
    let a = c::abs(&d)?;
    let near = c::compare("le", &a.detach(), delta)?;
    let far = c::mul_s(&c::add_s(&a, -0.5 * delta)?, delta)?;
    if w.is_some_and(|w| w.shape() != x.shape()) {
        return Err(value_error!("Weights and input must have the same size."));
    }
    // Here a mean divides by the number of elements also with weights, as in PyTorch.
    scaled(&c::where_(&near, &c::mul_s(&c::square(&d)?, 0.5)?, &far)?, w, r)
}

fn scaled(loss: &Tensor, w: Option<&Tensor>, r: Reduction) -> Result<Tensor> {
    let loss = w.map_or_else(|| Ok(loss.clone()), |w| c::mul(loss, w))?;
    r.apply(&loss)
}

/// Cross-entropy of probabilities `x` and `y`; logarithms are at least -100, as in PyTorch.
pub fn binary_cross_entropy(x: &Tensor, y: &Tensor, w: Option<&Tensor>, r: Reduction) -> Result<Tensor> {
    if x.shape() != y.shape() {
        return Err(value_error!(
            "Using a target size ({}) that is different to the input size ({}) is deprecated. Please ensure they have the same size.",
            size_text(y.shape()),
            size_text(x.shape())
        ));
    }
    if x.dtype() != y.dtype() {
        return Err(runtime_error!("Found dtype {} but expected {}", y.dtype().torch_name(), x.dtype().torch_name())
            .hint("the target must have the input's dtype: target.float()"));
    }
    let loss = mode::no_grad(|| {
        let bad = c::logical_or(&c::compare("lt", x, 0.0)?, &c::compare("gt", x, 1.0)?)?;
        if crate::compose::any(&bad)? {
            return Err(runtime_error!("all elements of input should be between 0 and 1")
                .hint("apply a sigmoid first, or use binary_cross_entropy_with_logits on the raw scores"));
        }
        let a = c::mul(y, &c::clamp_min(&c::log(x)?, -100.0)?)?;
        let b = c::mul(&c::rsub_s(1.0, y)?, &c::clamp_min(&c::log1p(&c::neg(x)?)?, -100.0)?)?;
        c::neg(&c::add(&a, &b)?)
    })?;
    let (sx, sy) = (save(x), save(y));
    let loss = attach("BinaryCrossEntropyBackward0", loss, &[x, y], move |ctx, g| {
        let (x, y) = (sx.get(ctx)?, sy.get(ctx)?);
        Ok(grads![ctx;
            0 => c::mul(g, &c::div(&c::sub(&x, &y)?, &c::clamp_min(&c::mul(&x, &c::rsub_s(1.0, &x)?)?, 1e-12)?)?)?,
            1 => c::mul(g, &c::sub(&c::log1p(&c::neg(&x)?)?, &c::log(&x)?)?)?,
        ])
    })?;
    scaled(&loss, w, r)
}

/// log(1 + e^-x) without overflow, outside of any graph.
fn softplus_neg(x: &Tensor) -> Result<Tensor> {
    c::add(&c::log1p(&c::exp(&c::neg(&c::abs(x)?)?)?)?, &c::clamp_min(&c::neg(x)?, 0.0)?)
}

/// The same with a gradient: that is -sigmoid(-x), also at 0.
fn softplus_of_neg(x: &Tensor) -> Result<Tensor> {
    let sx = save(x);
    attach("SoftplusBackward0", mode::no_grad(|| softplus_neg(x))?, &[x], move |ctx, g| {
        Ok(grads![c::neg(&c::mul(g, &c::sigmoid(&c::neg(&sx.get(ctx)?)?)?)?)?])
    })
}

/// Binary cross-entropy of scores per element, without weight or reduction.
pub(super) fn logits_loss(x: &Tensor, y: &Tensor, pos_weight: Option<&Tensor>) -> Result<Tensor> {
    let soft = softplus_of_neg(x)?;
    let soft = match pos_weight {
        None => soft,
        Some(p) => c::mul(&soft, &c::add_s(&c::mul(&c::add_s(p, -1.0)?, y)?, 1.0)?)?,
    };
    c::add(&c::mul(&c::rsub_s(1.0, y)?, x)?, &soft)
}

/// Binary cross-entropy of scores (a sigmoid is taken inside, without overflow).
pub fn binary_cross_entropy_with_logits(
    x: &Tensor,
    y: &Tensor,
    w: Option<&Tensor>,
    r: Reduction,
    pos_weight: Option<&Tensor>,
) -> Result<Tensor> {
    if x.shape() != y.shape() {
        return Err(value_error!(
            "Target size ({}) must be the same as input size ({})",
            size_text(y.shape()),
            size_text(x.shape())
        ));
    }
    scaled(&logits_loss(x, y, pos_weight)?, w, r)
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("mse_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str reduction='mean', Tensor? weight=None)", NN, |a| {
            mse_loss(a.tensor(0)?, a.tensor(1)?, Reduction::of(a, 2, 3, 4)?, a.opt_tensor(5)).ret()
        })
        .doc("Mean squared difference.")
        .samples(&["t(3,4), t(3,4)", "t(3,4), t(3,4), reduction='none'", "t(3,4), t(3,4), reduction='sum'", "t(3,1), t(4)"])
        .oracle("(lambda l: l if reduction == 'none' else l.sum() if reduction == 'sum' else l.mean())((input - target)**2)"),
        op("l1_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str reduction='mean', Tensor? weight=None)", NN, |a| {
            l1_loss(a.tensor(0)?, a.tensor(1)?, Reduction::of(a, 2, 3, 4)?, a.opt_tensor(5)).ret()
        })
        .doc("Mean absolute difference.")
        .samples(&["t(3,4), t(3,4)", "t(3,4), t(3,4), reduction='none'"])
        .oracle("(lambda l: l if reduction == 'none' else l.mean())(np.abs(input - target))"),
        op("smooth_l1_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str reduction='mean', float beta=1.0)", NN, |a| {
            smooth_l1_loss(a.tensor(0)?, a.tensor(1)?, Reduction::of(a, 2, 3, 4)?, a.float(5)?).ret()
        })
        .doc("Quadratic below beta, absolute difference above.")
        .samples(&["t(3,4), t(3,4)", "t(3,4), t(3,4), reduction='sum', beta=0.3"])
        .oracle("(lambda l: l.sum() if reduction == 'sum' else l.mean())(scipy.special.huber(beta, input - target) / beta)"),
        op("huber_loss(Tensor input, Tensor target, str reduction='mean', float delta=1.0, Tensor? weight=None)", NN, |a| {
            huber_loss(a.tensor(0)?, a.tensor(1)?, Reduction::parse(None, None, a.str(2)?)?, a.float(3)?, a.opt_tensor(4)).ret()
        })
        .doc("Quadratic below delta, linear with slope delta above.")
        .samples(&["t(3,4), t(3,4)", "t(3,4), t(3,4), delta=0.3"])
        .oracle("scipy.special.huber(delta, input - target).mean()"),
        op("binary_cross_entropy(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, bool? reduce=None, str reduction='mean')", NN, |a| {
            binary_cross_entropy(a.tensor(0)?, a.tensor(1)?, a.opt_tensor(2), Reduction::of(a, 3, 4, 5)?).ret()
        })
        .doc("Cross-entropy between probabilities; input must lie in [0, 1].")
        .samples(&["t(3,4).sigmoid(), t(3,4).sigmoid()", "t(3,4).sigmoid(), t(3,4).sigmoid(), pos(4).detach(), reduction='none'"])
        .oracle("(lambda l: l if reduction == 'none' else l.mean())(-(scipy.special.xlogy(target, input) + scipy.special.xlog1py(1 - target, -input)) * (1 if weight is None else weight))"),
        op("binary_cross_entropy_with_logits(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, bool? reduce=None, str reduction='mean', Tensor? pos_weight=None)", NN, |a| {
            binary_cross_entropy_with_logits(a.tensor(0)?, a.tensor(1)?, a.opt_tensor(2), Reduction::of(a, 3, 4, 5)?, a.opt_tensor(6)).ret()
        })
        .doc("Binary cross-entropy of raw scores, with an optional weight of the positive class.")
        .samples(&["t(3,4), t(3,4)", "t(3,4), t(3,4), pos(4).detach(), reduction='sum'", "t(3,4), t(3,4), pos_weight=pos(4).detach()"])
        .oracle("(lambda l: l.sum() if reduction == 'sum' else l.mean())((target * np.log1p(np.exp(-input)) * (1 if pos_weight is None else pos_weight) + (1 - target) * np.log1p(np.exp(input))) * (1 if weight is None else weight))"),
    ]
}
