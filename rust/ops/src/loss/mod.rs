//! Losses: fused cross-entropy, negative log-likelihood and CTC; the others are compositions of ops, differentiable
//! any number of times.

mod cross_entropy;
mod ctc;
mod distance;
mod margin;
mod nll;
mod pointwise;
mod probability;

pub use cross_entropy::cross_entropy;
pub use ctc::ctc_loss;
pub use distance::{cosine_similarity, pairwise_distance};
pub use nll::nll_loss;

use crate::args::Args;
use crate::compose as c;
use crate::registry::OpDef;
use rustnn_core::base::value_error;
use rustnn_core::{Result, Tensor};

/// What becomes of the losses of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    None,
    Mean,
    Sum,
}

impl Reduction {
    /// From `reduction` and the old `size_average` and `reduce` flags, which win where given.
    pub fn parse(size_average: Option<bool>, reduce: Option<bool>, name: &str) -> Result<Self> {
        if size_average.is_some() || reduce.is_some() {
            return Ok(match (reduce.unwrap_or(true), size_average.unwrap_or(true)) {
                (false, _) => Reduction::None,
                (true, true) => Reduction::Mean,
                (true, false) => Reduction::Sum,
            });
        }
        match name {
            "none" => Ok(Reduction::None),
            "mean" => Ok(Reduction::Mean),
            "sum" => Ok(Reduction::Sum),
            _ => Err(value_error!("{name} is not a valid value for reduction").hint("use 'none', 'mean' or 'sum'")),
        }
    }

    /// Reads `size_average`, `reduce` and `reduction` at these places of a call.
    fn of(a: &Args, size_average: usize, reduce: usize, name: usize) -> Result<Self> {
        Self::parse(a.opt_bool(size_average), a.opt_bool(reduce), a.str(name)?)
    }

    /// Reduces a tensor of losses.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Reduction::None => Ok(x.clone()),
            Reduction::Mean => c::mean(x),
            Reduction::Sum => c::sum(x),
        }
    }
}

/// The shape as PyTorch prints it.
pub(crate) fn size_text(s: &[usize]) -> String {
    format!("torch.Size([{}])", s.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = cross_entropy::ops();
    v.extend(nll::ops());
    v.extend(ctc::ops());
    v.extend(pointwise::ops());
    v.extend(probability::ops());
    v.extend(margin::ops());
    v.extend(distance::ops());
    v
}
