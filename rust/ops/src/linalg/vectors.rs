//! Vectors and tensors seen as such: cross and dot products, distances, norms over all but one dimension, powers,
//! inverses and equations of tensors.

use super::dense::{inv, solve};
use super::glue::mt;
use super::norms::matrix_norm;
use crate::args::{Arg, IntoRet};
use crate::compose as f;
use crate::reduce::{cumprod, vector_norm};
use crate::registry::{LINALG, METHOD, OUT, OpDef, TORCH, op};
use crate::shape::{permute, repeat, select};
use rustnn_core::base::{layout, not_implemented, runtime_error};
use rustnn_core::{DType, Dims, Result, Tensor, attach, grads, needs_grad, save, save_output};
use rustnn_kernels::distance;

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
    if p == 2.0 && a.dtype() == b.dtype() && matches!(a.dtype(), DType::F32 | DType::F64) {
        return euclidean(a, b);
    }
    let diff = f::sub(&f::unsqueeze(a, -2)?, &f::unsqueeze(b, -3)?)?;
    f::norm_dim(&diff, p, -1, false)
}

/// [`cdist`] by p = 2.
fn euclidean(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let ([p, k], r) = (tail(a), tail(b)[0]);
    let mut batch = layout::broadcast_shapes(&a.shape()[..a.ndim() - 2], &b.shape()[..b.ndim() - 2])?;
    let n = batch.len();
    batch.extend([p, k]);
    let a = f::expand(a, &batch)?;
    batch[n] = r;
    let b = f::expand(b, &batch)?;
    let count = layout::count(&batch[..n]);
    (batch[n], batch[n + 1]) = (p, r);
    let out = Tensor::empty(&batch, a.dtype())?;
    distance::euclidean(a.to_contiguous()?.raw(), b.to_contiguous()?.raw(), out.raw(), [count, p, r, k])?;
    if !needs_grad(&[&a, &b]) {
        return Ok(out);
    }
    let (x, y, d) = (save(&a), save(&b), save_output(&out));
    attach("CdistBackward0", out, &[&a, &b], move |c, g| {
        let (x, y, d) = (x.get(c)?, y.get(c)?, d.get(c)?);
        // Rows that meet have no direction.
        let meet = f::compare("eq", &d.detach(), 0.0)?;
        let w = f::masked_fill(&f::div(g, &f::masked_fill(&d, &meet, 1.0)?)?, &meet, 0.0)?;
        // The sums of w (x - y), around a middle, so that what all rows share does not cost places.
        let middle = f::mean_dims(&y.detach(), &[-2], true)?;
        let middle = f::masked_fill(&middle, &f::compare("ne", &f::sub(&middle, &middle)?, 0.0)?, 0.0)?;
        let (x, y) = (f::sub(&x, &middle)?, f::sub(&y, &middle)?);
        let wt = mt(&w)?;
        let one =
            |x: &Tensor, y: &Tensor, w: &Tensor| f::sub(&f::mul(x, &f::sum_dims(w, &[-1], true)?)?, &f::matmul(w, y)?);
        Ok(grads![one(&x, &y, &w)?, one(&y, &x, &wt)?])
    })
}

fn tail(x: &Tensor) -> [usize; 2] {
    let s = x.shape();
    [s[s.len() - 2], s[s.len() - 1]]
}

/// The p-norm of the difference.
pub fn dist(a: &Tensor, b: &Tensor, p: f64) -> Result<Tensor> {
    vector_norm(&f::sub(a, b)?, p, None, false, None)
}

/// Sums of products along one dimension.
pub fn vecdot(a: &Tensor, b: &Tensor, dim: i64) -> Result<Tensor> {
    if !a.dtype().is_float() {
        return Err(not_implemented!(
            "linalg.vecdot: Expected a floating point or complex tensor as input. Got {}",
            a.dtype().torch_name()
        ));
    }
    if a.dtype() != b.dtype() {
        return Err(runtime_error!(
            "linalg.vecdot: Expected x and y to have the same dtype, but found x of type {} and y of type {} instead",
            a.dtype().torch_name(),
            b.dtype().torch_name()
        ));
    }
    f::sum_dims(&f::mul(a, b)?, &[dim], false)
}

/// Powers 0 to `n - 1` of the elements as a last dimension, rising or falling.
pub fn vander(x: &Tensor, n: i64, rising: bool) -> Result<Tensor> {
    let n = usize::try_from(n).map_err(|_| runtime_error!("N must be non-negative."))?;
    let mut shape: Dims = x.shape().into();
    shape.push(n);
    layout::numel(&shape)?;
    // Products of integers are int64.
    let x = if x.dtype().is_float() { x.clone() } else { x.copied_as(DType::I64)? };
    shape[x.ndim()] = 1;
    let one = Tensor::ones(&shape, x.dtype())?;
    if n == 0 {
        return f::narrow(&one, -1, 0, 0);
    }
    shape[x.ndim()] = n - 1;
    let wide = f::expand(&f::unsqueeze(&x, -1)?, &shape)?;
    let powers = if n == 1 { one } else { f::cat(&[one, cumprod(&wide, -1, Some(x.dtype()))?], -1)? };
    if rising { Ok(powers) } else { repeat::flip(&powers, &[-1]) }
}

/// The norm of the elements that share a place in `dim` (of all for -1), dimensions kept.
pub fn norm_except_dim(v: &Tensor, p: i64, dim: i64) -> Result<Tensor> {
    if dim == -1 {
        return vector_norm(v, p as f64, None, false, None);
    }
    let d = layout::wrap_dim(dim, v.ndim())? as i64;
    let others: Vec<i64> = (0..v.ndim() as i64).filter(|&k| k != d).collect();
    if others.is_empty() {
        return vector_norm(&f::unsqueeze(v, -1)?, p as f64, Some(&[-1]), false, None);
    }
    // In PyTorch's memory order: the kept dimension comes first and is moved to its place.
    let norm = vector_norm(v, p as f64, Some(&others), true, None)?;
    let mut shape = Dims::from_elem(1, v.ndim());
    shape[0] = norm.numel();
    f::transpose(&f::reshape(&norm, &shape)?, 0, d)
}

/// The inverse of a tensor as a linear map from its last dimensions to its first `ind`.
pub fn tensorinv(a: &Tensor, ind: i64) -> Result<Tensor> {
    if ind <= 0 {
        return Err(runtime_error!("Expected a strictly positive integer for 'ind', but got {ind}"));
    }
    let cut = (ind as usize).min(a.ndim());
    let (first, last) = a.shape().split_at(cut);
    let n = layout::count(first);
    if n != layout::count(last) {
        return Err(runtime_error!(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got {} != {n}",
            layout::count(last)
        ));
    }
    let shape: Dims = last.iter().chain(first).copied().collect();
    f::reshape(&inv(&f::reshape(a, &[n, n])?)?, &shape)
}

/// `X` with `tensordot(A, X, X.ndim) = B`, the dimensions `dims` of A moved to its end first.
pub fn tensorsolve(a: &Tensor, b: &Tensor, dims: Option<&[i64]>) -> Result<Tensor> {
    let a = match dims {
        None => a.clone(),
        Some(dims) => {
            let to: Vec<i64> = (0..dims.len() as i64).map(|i| i - dims.len() as i64).collect();
            permute::movedim(a, dims, &to)?
        }
    };
    let shape: Dims = a.shape()[b.ndim().min(a.ndim())..].into();
    let n = layout::count(&shape);
    if n != b.numel() || n.checked_mul(n) != Some(a.numel()) {
        return Err(runtime_error!(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), but got {n} != {}",
            b.numel()
        )
        .hint(format!("A is {:?}, B {:?}", a.shape(), b.shape())));
    }
    f::reshape(&solve(&f::reshape(&a, &[n, n])?, &f::reshape(b, &[n])?)?, &shape)
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
        op("dist(Tensor input, Tensor other, Scalar p=2)", METHOD | TORCH, |a| dist(a.tensor(0)?, a.tensor(1)?, a.float(2)?).ret())
            .doc("The p-norm of input - other.")
            .samples(&["t(3,4), t(3,4)", "t(3,4), t(4), 1", "t(3,1), t(4), 3", "t(5), t(5), inf", "t(), t()"])
            .oracle("np.linalg.norm(np.ravel(input - other), ord=p)"),
        op("vecdot(Tensor x, Tensor y, *, int dim=-1)", LINALG | OUT, |a| vecdot(a.tensor(0)?, a.tensor(1)?, a.int(2)?).ret())
            .doc("Sums of products along dim, broadcast.")
            .samples(&["t(3,4), t(3,4)", "t(3,4), t(4)", "t(3,4), t(3,4), dim=0", "t(0,3), t(3)"])
            .oracle("np.sum(x * y, axis=dim)"),
        op("vander(Tensor x, int? N=None, bool increasing=False)", TORCH, |a| {
            let x = a.tensor(0)?;
            if x.ndim() != 1 {
                return Err(runtime_error!("x must be a one-dimensional tensor."));
            }
            vander(x, a.opt_int(1).unwrap_or(x.numel() as i64), a.bool(2)?).ret()
        })
        .doc("Powers of a vector's elements as columns, falling unless increasing.")
        .samples(&["t(3)", "t(3), 5", "t(3), 2, True", "t(3), 0", "i(3), 3", "t(0), 2"])
        .oracle("np.vander(x, N, increasing)"),
        op("vander(Tensor x, *, int? N=None)", LINALG, |a| {
            let x = a.tensor(0)?;
            if x.ndim() == 0 {
                return Err(runtime_error!("linalg.vander: x must be of dimension 1 or more"));
            }
            let n = a.opt_int(1).unwrap_or(x.shape()[x.ndim() - 1] as i64);
            if n <= 1 {
                return Err(runtime_error!("N must be greater than 1.").hint(format!("it is {n}")));
            }
            vander(x, n, true).ret()
        })
        .doc("Powers 0 to N - 1 of the elements as a last dimension.")
        .samples(&["t(3)", "t(2,3), N=4", "t(2,3), N=2"])
        .oracle("x[..., None] ** np.arange(x.shape[-1] if N is None else N)"),
        op("diagonal(Tensor A, *, int offset=0, int dim1=-2, int dim2=-1)", LINALG, |a| {
            select::diagonal(a.tensor(0)?, a.int(1)?, a.int(2)?, a.int(3)?).ret()
        })
        .doc("A view of a diagonal of two dimensions, the last two unless given.")
        .samples(&["t(2,3,4)", "t(2,3,4), offset=1", "t(2,3,4), dim1=0, dim2=1"])
        .oracle("np.diagonal(A, offset, dim1, dim2)"),
        op("norm_except_dim(Tensor v, int pow=2, int dim=0)", TORCH, |a| {
            norm_except_dim(a.tensor(0)?, a.int(1)?, a.int(2)?).ret()
        })
        .doc("The norm over all dimensions but one, which keep size 1.")
        .samples(&["t(3,4)", "t(2,3,4), 2, 1", "t(3,4), 1, 0", "t(3,4), 2, -1"])
        .oracle("np.sum(np.abs(v) ** pow, axis=None if dim == -1 else tuple(k for k in range(v.ndim) if k != dim), keepdims=dim != -1) ** (1 / pow)"),
        op("nuclear_norm(Tensor input, bool keepdim=False)", TORCH, |a| {
            matrix_norm(a.tensor(0)?, &Arg::Str("nuc".into()), &[-2, -1], a.bool(1)?).ret()
        })
        .doc("The sum of a matrix's singular values.")
        .samples(&["t(3,4)"])
        .oracle("np.linalg.norm(input, 'nuc')"),
        op("nuclear_norm(Tensor input, int[2] dim, bool keepdim=False)", TORCH, |a| {
            matrix_norm(a.tensor(0)?, &Arg::Str("nuc".into()), a.ints(1)?, a.bool(2)?).ret()
        })
        .doc("The sum of the singular values of matrices in two dimensions.")
        .samples(&["t(2,3,4), (0, 2), True"])
        .oracle("np.linalg.norm(input, 'nuc', axis=tuple(dim), keepdims=keepdim)"),
        op("frobenius_norm(Tensor input, int[]? dim=None, bool keepdim=False)", TORCH, |a| {
            vector_norm(a.tensor(0)?, 2.0, a.opt_ints(1), a.bool(2)?, None).ret()
        })
        .doc("The square root of the sum of squares over dim.")
        .samples(&["t(3,4), (0, 1)", "t(2,3,4), 1, True"])
        .oracle("np.sqrt(np.sum(input ** 2, axis=tuple(dim) if np.ndim(dim) else dim, keepdims=keepdim))"),
        op("tensorinv(Tensor input, int ind=2)", LINALG | OUT, |a| tensorinv(a.tensor(0)?, a.int(1)?).ret())
            .doc("The inverse of a tensor as a linear map from its last dimensions to its first ind.")
            .samples(&["t(4,2,2), 1", "t(2,3,6), 2"])
            .oracle("np.linalg.tensorinv(input, ind)"),
        op("tensorsolve(Tensor input, Tensor other, int[]? dims=None)", LINALG | OUT, |a| {
            tensorsolve(a.tensor(0)?, a.tensor(1)?, a.opt_ints(2)).ret()
        })
        .doc("X with tensordot(A, X, X.ndim) = B; dims of A are moved to its end first.")
        .samples(&["t(2,3,6), t(2,3)", "t(3,6,2), t(3,2), (1,)"])
        .oracle("np.linalg.tensorsolve(input, other, None if dims is None else tuple(dims))"),
    ]
}
