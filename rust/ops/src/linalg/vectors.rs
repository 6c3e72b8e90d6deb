//! Products of vectors in three dimensions, and distances between the rows of batches.

use crate::args::IntoRet;
use crate::compose as f;
use crate::registry::{LINALG, METHOD, OUT, OpDef, TORCH, op};
use rustnn_core::base::{layout, runtime_error};
use rustnn_core::{Result, Tensor};

/// Vector products in three dimensions along `dim`.
pub fn cross(a: &Tensor, b: &Tensor, dim: Option<i64>) -> Result<Tensor> {
    let shape = layout::broadcast_shapes(a.shape(), b.shape())?;
    let dim = match dim {
        // A 0-d tensor has a dimension to name, but none of size 3.
        Some(_) if shape.is_empty() => {
            return Err(runtime_error!("linalg.cross: inputs must have at least 1 dimension"));
        }
        Some(d) => layout::wrap_dim(d, shape.len())?,
        None => shape.iter().position(|&s| s == 3).ok_or_else(|| runtime_error!("no dimension of size 3 in input"))?,
    } as i64;
    let (a, b) = (f::expand(a, &shape)?, f::expand(b, &shape)?);
    if shape[dim as usize] != 3 {
        return Err(runtime_error!(
            "linalg.cross: inputs dimension {dim} must have length 3. Got {} and {}",
            a.shape()[dim as usize],
            b.shape()[dim as usize]
        ));
    }
    let part = |x: &Tensor, i: usize| f::narrow(x, dim, i, 1);
    let one = |i: usize, j: usize| -> Result<Tensor> {
        f::sub(&f::mul(&part(&a, i)?, &part(&b, j)?)?, &f::mul(&part(&a, j)?, &part(&b, i)?)?)
    };
    f::cat(&[one(1, 2)?, one(2, 0)?, one(0, 1)?], dim)
}

/// Distances between all rows of one batch and all of another.
pub fn cdist(a: &Tensor, b: &Tensor, p: f64) -> Result<Tensor> {
    for (t, name) in [(a, "X1"), (b, "X2")] {
        if t.ndim() < 2 {
            return Err(runtime_error!("cdist only supports at least 2D tensors, {name} got: {}D", t.ndim()));
        }
    }
    let (ka, kb) = (a.shape()[a.ndim() - 1], b.shape()[b.ndim() - 1]);
    if ka != kb {
        return Err(runtime_error!("X1 and X2 must have the same number of columns. X1: {ka} X2: {kb}"));
    }
    if p < 0.0 {
        return Err(runtime_error!("cdist only supports non-negative p values"));
    }
    let diff = f::sub(&f::unsqueeze(a, -2)?, &f::unsqueeze(b, -3)?)?;
    f::norm_dim(&diff, p, -1, false)
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("cross(Tensor input, Tensor other, *, int dim=-1)", LINALG | OUT, |a| {
            cross(a.tensor(0)?, a.tensor(1)?, Some(a.int(2)?)).ret()
        })
        .doc("Vector products in three dimensions.")
        .samples(&["t(4,3), t(4,3)", "t(3,4), t(3,4), dim=0", "t(2,3), t(3)"])
        .oracle("np.cross(input, other, axis=-1) if dim == -1 else np.cross(input, other, axis=dim)"),
        op("cross(Tensor input, Tensor other, int? dim=None)", METHOD | TORCH | OUT, |a| {
            cross(a.tensor(0)?, a.tensor(1)?, a.opt_int(2)).ret()
        })
        .doc("Vector products in three dimensions; without dim, along the first dimension of size 3.")
        .samples(&["t(4,3), t(4,3)", "t(3,4), t(3,4), 0"])
        .oracle("np.cross(input, other, axis=-1 if dim is None else dim)"),
        op("cdist(Tensor x1, Tensor x2, float p=2.0, str? compute_mode=None)", TORCH, |a| {
            cdist(a.tensor(0)?, a.tensor(1)?, a.float(2)?).ret()
        })
        .doc("p-norm distances between all rows of x1 and all rows of x2.")
        .samples(&["t(3,4), t(5,4)", "t(2,3,4), t(2,5,4), p=1.0", "t(3,2), t(4,2), p=3.0"])
        .oracle("np.linalg.norm(x1[..., :, None, :] - x2[..., None, :, :], ord=p, axis=-1)"),
    ]
}
