//! `linalg.vector_norm`, `linalg.matrix_norm` and `linalg.norm`, which is one or the other.

use super::dense::svd;
use super::glue::permute;
use crate::args::{Arg, Args, IntoRet};
use crate::compose as f;
use crate::reduce::vector_norm;
use crate::registry::{LINALG, OUT, OpDef, op};
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::runtime_error;
use rustnn_core::{Dims, Result, Tensor};

/// The norm of matrices in two dimensions: `fro`, `nuc`, or of order 1, -1, 2, -2, inf, -inf.
pub fn matrix_norm(x: &Tensor, ord: &Arg, dims: &[i64], keep: bool) -> Result<Tensor> {
    let n = x.ndim();
    if n < 2 || dims.len() != 2 {
        return Err(runtime_error!("linalg.matrix_norm: The input tensor A must have at least 2 dimensions."));
    }
    let (r, c) = (wrap_dim(dims[0], n)?, wrap_dim(dims[1], n)?);
    if r == c {
        return Err(runtime_error!("linalg.matrix_norm: dims must be different. Got ({}, {})", dims[0], dims[1]));
    }
    let order = match ord {
        Arg::Str(s) if s == "fro" => return vector_norm(x, 2.0, Some(dims), keep, None),
        Arg::Str(s) if s == "nuc" => None,
        Arg::Int(i) => Some(*i as f64),
        Arg::Float(v) => Some(*v),
        other => return Err(runtime_error!("linalg.matrix_norm: Order {other:?} not supported.")),
    };
    let last: Dims = (0..n).filter(|&d| d != r && d != c).chain([r, c]).collect();
    let m = permute(x, &last)?;
    let out = match order.map(f64::abs) {
        Some(v) if v == 1.0 || v.is_infinite() => {
            let sums = f::sum_dims(&f::abs(&m)?, &[if v == 1.0 { -2 } else { -1 }], false)?;
            extreme(&sums, order)?
        }
        Some(2.0) | None => {
            let s = svd(&m, false)?.swap_remove(1);
            if order.is_none() { f::sum_dims(&s, &[-1], false)? } else { extreme(&s, order)? }
        }
        Some(_) => return Err(runtime_error!("linalg.matrix_norm: Order {ord:?} not supported.")),
    };
    if !keep {
        return Ok(out);
    }
    let mut shape: Dims = x.shape().into();
    shape[r] = 1;
    shape[c] = 1;
    f::reshape(&out, &shape)
}

/// Largest along the last dimension, or smallest for a negative order.
fn extreme(x: &Tensor, order: Option<f64>) -> Result<Tensor> {
    let largest = |x: &Tensor| -> Result<Tensor> {
        let y = f::max_dim(x, -1)?;
        f::reshape(&y, &y.shape()[..y.ndim() - 1])
    };
    if order.is_some_and(|o| o < 0.0) { f::neg(&largest(&f::neg(x)?)?) } else { largest(x) }
}

fn norm(a: &Args) -> Result<Tensor> {
    let (x, dims, keep, dtype) = (a.tensor(0)?, a.opt_ints(2), a.bool(3)?, a.dtype(4));
    let x = &crate::basic::to_dtype(x, dtype.unwrap_or(x.dtype()))?;
    if a.is_none(1) {
        return vector_norm(x, 2.0, dims, keep, None);
    }
    let ord = a.arg(1);
    match dims {
        Some(d) if d.len() == 2 => matrix_norm(x, ord, d, keep),
        None if x.ndim() == 2 => matrix_norm(x, ord, &[-2, -1], keep),
        _ => match a.opt_float(1) {
            Some(p) => vector_norm(x, p, dims, keep, None),
            None => Err(runtime_error!(
                "linalg.norm: If ord is a string, dim must have two elements or the input two dimensions, got {ord:?}"
            )),
        },
    }
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("vector_norm(Tensor x, Scalar ord=2, int|int[]? dim=None, bool keepdim=False, *, dtype? dtype=None)", LINALG | OUT, |a| {
            vector_norm(a.tensor(0)?, a.float(1)?, a.opt_ints(2), a.bool(3)?, a.dtype(4)).ret()
        })
        .doc("The norm of the elements as one vector, or of vectors along dim.")
        .samples(&["t(3,4)", "t(3,4), 3, 1", "t(3,4), 1, 0, True"])
        .oracle("(lambda x, p, d, k: (np.abs(x) ** p).sum(axis=d, keepdims=k) ** (1 / p))(x, ord, tuple(dim) if isinstance(dim, (list, tuple)) else dim, keepdim)"),
        op("matrix_norm(Tensor input, Scalar|str ord='fro', int[] dim=(-2, -1), bool keepdim=False, *, dtype? dtype=None)", LINALG | OUT, |a| {
            let x = a.tensor(0)?;
            matrix_norm(&crate::basic::to_dtype(x, a.dtype(4).unwrap_or(x.dtype()))?, a.arg(1), a.ints(2)?, a.bool(3)?).ret()
        })
        .doc("The norm of matrices: 'fro', 'nuc', or of order 1, -1, 2, -2, inf, -inf.")
        .samples(&["t(3,4)", "t(2,3,4), 'nuc'", "t(3,4), 2", "t(3,4), 1", "t(3,4), inf", "t(3,4), -2"])
        .oracle("np.linalg.norm(input, ord=ord, axis=tuple(dim), keepdims=keepdim)"),
        op("norm(Tensor input, Scalar|str? ord=None, int|int[]? dim=None, bool keepdim=False, *, dtype? dtype=None)", LINALG | OUT, |a| norm(a).ret())
            .doc("A vector norm, or for two dimensions with an order a matrix norm.")
            .samples(&["t(3,4)", "t(3,4), 'fro'", "t(4), 3", "t(3,4), 2, 1"])
            .oracle("np.linalg.norm(input.ravel() if ord is None and dim is None else input, ord=ord, axis=dim, keepdims=keepdim)"),
    ]
}
