//! Distances and similarities between rows.

use crate::args::{Arg, IntoRet, Ret};
use crate::compose as c;
use crate::registry::{NN, OpDef, TORCH, op};
use rustnn_core::base::runtime_error;
use rustnn_core::{Result, Tensor};
use rustnn_kernels::room;

/// `sum(x1 * x2) / (max(|x1|, eps) * max(|x2|, eps))` along `dim`.
pub fn cosine_similarity(a: &Tensor, b: &Tensor, dim: i64, eps: f64) -> Result<Tensor> {
    let shape = rustnn_core::base::layout::broadcast_shapes(a.shape(), b.shape())?;
    let (a, b) = (c::expand(a, &shape)?, c::expand(b, &shape)?);
    let unit = |x: &Tensor| c::div(x, &c::clamp_min(&c::norm_dim(x, 2.0, dim, true)?, eps)?);
    c::sum_dims(&c::mul(&unit(&a)?, &unit(&b)?)?, &[dim], false)
}

/// `p`-norm of `a - b + eps` along the last dimension.
pub fn pairwise_distance(a: &Tensor, b: &Tensor, p: f64, eps: f64, keep: bool) -> Result<Tensor> {
    c::norm_dim(&c::add_s(&c::sub(a, b)?, eps)?, p, -1, keep)
}

/// Distances between all pairs of rows i < j.
fn pdist(x: &Tensor, p: f64) -> Result<Tensor> {
    let &[n, _] = x.shape() else {
        return Err(runtime_error!("pdist only supports 2D tensors, got: {}D", x.ndim()));
    };
    let count = n.saturating_mul(n.saturating_sub(1)) / 2;
    let mut pairs: Vec<(i64, i64)> = room::with_capacity(count)?;
    pairs.extend((0..n as i64).flat_map(|i| (i + 1..n as i64).map(move |j| (i, j))));
    let side = |f: fn(&(i64, i64)) -> i64| -> Result<Tensor> {
        let index: Vec<i64> = room::collected(pairs.iter().map(f))?;
        let args = [Arg::Tensor(x.clone()), Arg::Int(0), Arg::Tensor(Tensor::from_slice(&index, &[index.len()])?)];
        match c::call("index_select", &args)? {
            Ret::Tensor(t) => Ok(t),
            _ => Err(runtime_error!("index_select gives one tensor")),
        }
    };
    c::norm_dim(&c::sub(&side(|p| p.0)?, &side(|p| p.1)?)?, p, -1, false)
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("cosine_similarity(Tensor x1, Tensor x2, int dim=1, float eps=1e-08)", NN | TORCH, |a| {
            cosine_similarity(a.tensor(0)?, a.tensor(1)?, a.int(2)?, a.float(3)?).ret()
        })
        .doc("Cosine of the angle between vectors along dim.")
        .samples(&["t(3,4), t(3,4)", "t(3,4), t(4), dim=-1", "t(5), t(5), dim=0"])
        .oracle("(x1 * x2).sum(dim) / np.linalg.norm(x1 + 0 * x2, axis=dim) / np.linalg.norm(x2 + 0 * x1, axis=dim)"),
        op(
            "pairwise_distance(Tensor x1, Tensor x2, float p=2.0, float eps=1e-06, bool keepdim=False)",
            NN | TORCH,
            |a| pairwise_distance(a.tensor(0)?, a.tensor(1)?, a.float(2)?, a.float(3)?, a.bool(4)?).ret(),
        )
        .doc("p-norm of x1 - x2 + eps along the last dimension.")
        .samples(&["t(3,4), t(3,4)", "t(3,4), t(4), p=1., keepdim=True"])
        .oracle("np.linalg.norm(x1 - x2 + eps, ord=p, axis=-1, keepdims=keepdim)"),
        op("pdist(Tensor input, float p=2)", NN | TORCH, |a| pdist(a.tensor(0)?, a.float(1)?).ret())
            .doc("Distances between all pairs of rows, as a vector.")
            .samples(&["t(4,3)", "t(4,3), 1"])
            .oracle("scipy.spatial.distance.pdist(input, 'minkowski', p=p)"),
    ]
}
