//! Losses between distributions: Kullback-Leibler, Poisson and Gaussian negative log-likelihood.

use super::Reduction;
use crate::args::{Arg, IntoRet};
use crate::compose as c;
use crate::registry::{NN, OpDef, op};
use rustnn_core::base::value_error;
use rustnn_core::{Result, Scalar, Tensor, mode};

/// t log t, 0 at t = 0.
fn t_log_t(t: &Tensor) -> Result<Tensor> {
    let zero = c::compare("eq", &t.detach(), 0.0)?;
    c::mul(t, &c::log(&c::masked_fill(t, &zero, 1.0)?)?)
}

/// `target * (log target - input)` of log-probabilities `x`.
pub fn kl_div(x: &Tensor, t: &Tensor, log_target: bool) -> Result<Tensor> {
    if log_target {
        return c::mul(&c::exp(t)?, &c::sub(t, x)?);
    }
    c::sub(&t_log_t(t)?, &c::mul(t, x)?)
}

fn poisson(x: &Tensor, t: &Tensor, log_input: bool, full: bool, eps: f64) -> Result<Tensor> {
    let loss = if log_input {
        c::sub(&c::exp(x)?, &c::mul(t, x)?)?
    } else {
        c::sub(x, &c::mul(t, &c::log(&c::add_s(x, eps)?)?)?)?
    };
    if !full {
        return Ok(loss);
    }
    // Stirling's approximation of log t!, for t > 1; elsewhere the logarithm sees 1, so that no gradient is NaN.
    let small = c::compare("le", t, 1.0)?;
    let t = c::masked_fill(t, &small, 1.0)?;
    let log = c::mul_s(&c::log(&c::mul_s(&t, 2.0 * std::f64::consts::PI)?)?, 0.5)?;
    let s = c::add(&c::sub(&c::mul(&t, &c::log(&t)?)?, &t)?, &log)?;
    let stirling = c::masked_fill(&s, &small, 0.0)?;
    c::add(&loss, &stirling)
}

fn gaussian(x: &Tensor, t: &Tensor, var: &Tensor, full: bool, eps: f64) -> Result<Tensor> {
    let (xs, vs) = (x.shape(), var.shape());
    let var = if vs == xs || vs.is_empty() {
        var.clone()
    } else if !xs.is_empty() && vs == &xs[..xs.len() - 1] {
        c::unsqueeze(var, -1)?
    } else if xs.len() == vs.len() && vs[..vs.len() - 1] == xs[..xs.len() - 1] && vs[vs.len() - 1] == 1 {
        var.clone()
    } else {
        return Err(value_error!("var is of incorrect size").hint(format!("input has shape {xs:?}, var {vs:?}")));
    };
    // At least eps; the gradient passes as if var had that value.
    let lift = mode::no_grad(|| {
        let v = var.detach();
        if c::any(&c::compare("lt", &v, 0.0)?)? {
            return Err(value_error!("var has negative entry/entries"));
        }
        c::sub(&c::clamp_min(&v, eps)?, &v)
    })?;
    let var = c::add(&var, &lift)?;
    let loss = c::mul_s(&c::add(&c::log(&var)?, &c::div(&c::square(&c::sub(x, t)?)?, &var)?)?, 0.5)?;
    if full { c::add_s(&loss, 0.5 * (2.0 * std::f64::consts::PI).ln()) } else { Ok(loss) }
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("kl_div(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str reduction='mean', bool log_target=False)", NN, |a| {
            let (x, t) = (a.tensor(0)?, a.tensor(1)?);
            let loss = kl_div(x, t, a.bool(5)?)?;
            if a.str(4)? == "batchmean" && a.is_none(2) && a.is_none(3) {
                let n = x.shape().first().copied().unwrap_or(1);
                return c::div_s(&c::sum(&loss)?, n as f64).ret();
            }
            Reduction::of(a, 2, 3, 4)?.apply(&loss).ret()
        })
        .doc("Kullback-Leibler divergence of log-probabilities input from target; reduction 'batchmean' is the mathematical one.")
        .samples(&["t(3,4), pos(3,4)", "t(3,4), pos(3,4), reduction='batchmean'", "t(3,4), t(3,4), reduction='none', log_target=True"])
        .oracle("(lambda l: l if reduction == 'none' else l.sum() / input.shape[0] if reduction == 'batchmean' else l.mean())(np.exp(target) * (target - input) if log_target else scipy.special.xlogy(target, target) - target * input)"),
        op("poisson_nll_loss(Tensor input, Tensor target, bool log_input=True, bool full=False, bool? size_average=None, float eps=1e-08, bool? reduce=None, str reduction='mean')", NN, |a| {
            let loss = poisson(a.tensor(0)?, a.tensor(1)?, a.bool(2)?, a.bool(3)?, a.float(5)?)?;
            Reduction::of(a, 4, 6, 7)?.apply(&loss).ret()
        })
        .doc("Negative log-likelihood of Poisson counts, with rate exp(input) or input.")
        .samples(&["t(3,4), pos(3,4)", "pos(3,4), pos(3,4), log_input=False"])
        .oracle("(np.exp(input) - target * input if log_input else input - target * np.log(input + eps)).mean()"),
        op("gaussian_nll_loss(Tensor input, Tensor target, Tensor|float var, bool full=False, float eps=1e-06, str reduction='mean')", NN, |a| {
            let x = a.tensor(0)?;
            let var = match a.arg(2) {
                Arg::Tensor(t) => t.clone(),
                _ => Tensor::full(x.shape(), Scalar::Float(a.float(2)?), x.dtype())?,
            };
            let loss = gaussian(x, a.tensor(1)?, &var, a.bool(3)?, a.float(4)?)?;
            Reduction::parse(None, None, a.str(5)?)?.apply(&loss).ret()
        })
        .doc("Negative log-likelihood of a Gaussian with mean input and variance var.")
        .samples(&["t(3,4), t(3,4), pos(3,4)", "t(3,4), t(3,4), pos(3), full=True, reduction='sum'"])
        .oracle("(lambda v: (lambda l: l.sum() if reduction == 'sum' else l.mean())(0.5 * (np.log(v) + (input - target)**2 / v) + (0.5 * np.log(2 * np.pi) if full else 0)))(var if var.ndim == input.ndim else var[..., None])"),
    ]
}
