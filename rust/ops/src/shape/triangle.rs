//! Triangles, diagonals, and indices of them.

use super::{select, view};
use crate::args::IntoRet;
use crate::registry::{INPLACE, METHOD, OUT, OpDef, TORCH, op};
use rustnn_core::base::layout::wrap_dim;
use rustnn_core::base::{Element, runtime_error, with_dtype};
use rustnn_core::{DType, Dims, Layout, Result, Tensor, attach, grads};
use rustnn_kernels::{copy, index as kernel};

/// A copy that is zero above (for `upper`: below) the `k`-th diagonal.
pub fn triangle(x: &Tensor, k: i64, upper: bool) -> Result<Tensor> {
    let name = if upper { "triu" } else { "tril" };
    if x.ndim() < 2 {
        return Err(runtime_error!("{name}: input tensor must have at least 2 dimensions"));
    }
    let src = x.to_contiguous()?;
    let out = Tensor::empty(x.shape(), x.dtype())?;
    let n = x.ndim();
    kernel::keep_triangle(out.raw(), src.raw(), x.shape()[n - 2], x.shape()[n - 1], k, upper)?;
    attach(if upper { "TriuBackward0" } else { "TrilBackward0" }, out, &[x], move |_, g| {
        Ok(grads![triangle(g, k, upper)?])
    })
}

/// The last dimension on a diagonal of two new dimensions.
pub fn diag_embed(x: &Tensor, offset: i64, dim1: i64, dim2: i64) -> Result<Tensor> {
    let nd = x.ndim() + 1;
    let (a, b) = (wrap_dim(dim1, nd)?, wrap_dim(dim2, nd)?);
    if a == b {
        return Err(runtime_error!("diagonal dimensions cannot be identical {dim1}, {dim2}"));
    }
    let Some((&len, lead)) = x.shape().split_last() else {
        return Err(runtime_error!("diag_embed: input must have at least 1 dimension"));
    };
    let n = len
        .checked_add(offset.unsigned_abs() as usize)
        .filter(|&n| i64::try_from(n).is_ok())
        .ok_or_else(|| runtime_error!("diag_embed: offset {offset} is beyond any size"))?;
    let mut shape: Dims = lead.into();
    let (low, high) = (a.min(b), a.max(b));
    shape.insert(low, n);
    shape.insert(high, n);
    let out = Tensor::zeros(&shape, x.dtype())?;
    let diagonal = select::diagonal(&out.detach(), offset, a as i64, b as i64)?;
    copy::copy(&diagonal.raw(), &x.raw())?;
    attach("DiagEmbedBackward0", out, &[x], move |_, g| Ok(grads![select::diagonal(g, offset, a as i64, b as i64)?]))
}

/// A vector as a diagonal matrix, or the diagonal of a matrix.
pub fn diag(x: &Tensor, k: i64) -> Result<Tensor> {
    match x.ndim() {
        1 => diag_embed(x, k, 0, 1),
        2 => {
            let d = select::diagonal(x, k, 0, 1)?;
            view::clone(&d)
        }
        n => Err(runtime_error!("diag(): Supports 1D or 2D tensors. Got {n}D")),
    }
}

/// The sum of a matrix's diagonal.
pub fn trace(x: &Tensor) -> Result<Tensor> {
    if x.ndim() != 2 {
        return Err(runtime_error!("trace: expected a matrix, but got tensor with dim {}", x.ndim()));
    }
    let diagonal = x.view_of(select::diagonal(&x.detach(), 0, 0, 1)?.layout().clone()).to_contiguous()?;
    let dtype = if x.dtype().is_float() { x.dtype() } else { DType::I64 };
    let out = Tensor::empty(&[], dtype)?;
    with_dtype!(x.dtype(), T => {
        let v = diagonal.slice::<T>()?;
        if dtype == DType::I64 {
            out.slice_mut::<i64>()?[0] = v.iter().fold(0i64, |a, x| a.wrapping_add(x.to_i64()));
        } else {
            out.slice_mut::<T>()?[0] = T::from_f64(v.iter().map(|x| x.to_f64()).sum());
        }
    });
    let shape: Dims = x.shape().into();
    attach("TraceBackward0", out, &[x], move |_, g| {
        let n = shape[0].min(shape[1]);
        let g = super::expand::expand_to(g, &[n])?;
        let rule = move |l: &Layout| Layout {
            shape: Dims::from_slice(&[n]),
            strides: rustnn_core::Strides::from_slice(&[l.strides[0] + l.strides[1]]),
            offset: l.offset,
        };
        Ok(grads![super::unpart("TraceBackward0", &g, &shape, rule)?])
    })
}

/// Writes a number along the main diagonal, in place.
fn fill_diagonal(x: &Tensor, value: rustnn_core::Scalar, wrap: bool) -> Result<()> {
    let n = x.ndim();
    if n < 2 {
        return Err(runtime_error!("dimensions must larger than 1"));
    }
    if n > 2 && x.shape().windows(2).any(|w| w[0] != w[1]) {
        return Err(runtime_error!("all dimensions of input must be of equal length"));
    }
    let (rows, cols) = (x.shape()[0], x.shape()[1]);
    let step: isize = x.strides().iter().sum();
    let len = x.shape().iter().copied().min().unwrap_or(0);
    let diagonal = |l: &Layout, start: usize, len: usize| {
        x.view_of(Layout {
            shape: Dims::from_slice(&[len]),
            strides: rustnn_core::Strides::from_slice(&[step]),
            offset: l.offset + start,
        })
    };
    let write = || {
        copy::fill(&diagonal(x.layout(), 0, len).raw(), value)?;
        let period = cols + 1;
        if wrap && n == 2 && cols > 0 {
            for first in (period..rows).step_by(period) {
                let start = first * x.strides()[0] as usize;
                copy::fill(&diagonal(x.layout(), start, cols.min(rows - first)).raw(), value)?;
            }
        }
        Ok(())
    };
    crate::index::put::write_in_place("FillDiagonalBackward0", x, &[], write, move |_, g| {
        let g = view::clone(g)?;
        rustnn_core::mode::no_grad(|| fill_diagonal(&g.detach(), rustnn_core::Scalar::Int(0), wrap))?;
        Ok(grads![g])
    })
}

/// Row and column indices of a triangle, as a 2 x n tensor.
pub fn triangle_indices(rows: i64, cols: i64, k: i64, upper: bool, dtype: DType) -> Result<Tensor> {
    if rows < 0 || cols < 0 {
        return Err(runtime_error!("row and col must be non-negative, got row={rows} and col={cols}"));
    }
    let span = |i: i64| -> (i64, i64) {
        let edge = i.saturating_add(k);
        if upper { (edge.clamp(0, cols), cols) } else { (0, edge.saturating_add(1).clamp(0, cols)) }
    };
    // Rows below the diagonal's edge begin at `first`, and are whole from `whole` on.
    let edge = |t: i128| (-t).clamp(0, i128::from(rows));
    let t = i128::from(k) + i128::from(!upper);
    let (first, whole) = (edge(t), edge(t - i128::from(cols)));
    let rising = whole - first;
    let below = rising * (first + whole - 1) / 2 + t * rising + (i128::from(rows) - whole) * i128::from(cols);
    let total = if upper { i128::from(rows) * i128::from(cols) - below } else { below };
    let total = usize::try_from(total).map_err(|_| runtime_error!("a triangle of {total} elements"))?;
    let out = Tensor::empty(&[2, total], dtype)?;
    // Rows without elements are left out: there may be any number of them.
    let rows = if total == 0 {
        0..0
    } else if upper {
        0..whole as i64
    } else {
        first as i64..rows
    };
    with_dtype!(dtype, T => {
        let (r, c) = out.slice_mut::<T>()?.split_at_mut(total);
        let mut at = 0;
        for i in rows {
            let (low, high) = span(i);
            for j in low..high {
                r[at] = T::from_i64(i);
                c[at] = T::from_i64(j);
                at += 1;
            }
        }
    });
    Ok(out)
}

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = vec![
        op("tril(Tensor input, int diagonal=0)", METHOD | TORCH | INPLACE | OUT, |a| triangle(a.tensor(0)?, a.int(1)?, false).ret())
            .doc("A copy with zeros above the diagonal-th diagonal.")
            .samples(&["t(3,4)", "t(3,3), 1", "t(2,3,3), -1"])
            .oracle("np.tril(input, diagonal)"),
        op("triu(Tensor input, int diagonal=0)", METHOD | TORCH | INPLACE | OUT, |a| triangle(a.tensor(0)?, a.int(1)?, true).ret())
            .doc("A copy with zeros below the diagonal-th diagonal.")
            .samples(&["t(3,4)", "t(3,3), 1", "t(2,3,3), -1"])
            .oracle("np.triu(input, diagonal)"),
        op("diag(Tensor input, int diagonal=0)", METHOD | TORCH | OUT, |a| diag(a.tensor(0)?, a.int(1)?).ret())
            .doc("A vector as a diagonal matrix, or the diagonal of a matrix.")
            .samples(&["t(3)", "t(3), 1", "t(3,4)", "t(3,4), -1"])
            .oracle("np.diag(input, diagonal)"),
        op("diagflat(Tensor input, int offset=0)", METHOD | TORCH, |a| {
            let x = a.tensor(0)?;
            diag_embed(&view::reshape_to(x, &[x.numel()])?, a.int(1)?, 0, 1).ret()
        })
        .doc("All elements as a diagonal matrix.")
        .samples(&["t(2,2)", "t(2), -1"])
        .oracle("np.diagflat(input, offset)"),
        op("diag_embed(Tensor input, int offset=0, int dim1=-2, int dim2=-1)", METHOD | TORCH, |a| {
            diag_embed(a.tensor(0)?, a.int(1)?, a.int(2)?, a.int(3)?).ret()
        })
        .doc("The last dimension on the diagonal of two new ones.")
        .samples(&["t(2,3)", "t(3), 1"])
        .oracle("np.stack([np.diag(r, offset) for r in np.atleast_2d(input)]).reshape(input.shape[:-1] + (input.shape[-1] + abs(offset),) * 2)"),
        op("trace(Tensor input)", METHOD | TORCH, |a| trace(a.tensor(0)?).ret())
            .doc("The sum of a matrix's diagonal.")
            .samples(&["t(3,3)", "t(2,4)"])
            .oracle("np.trace(input)"),
    ];
    v.push(
        op("fill_diagonal_(Tensor input, Scalar fill_value, bool wrap=False)", METHOD, |a| {
            fill_diagonal(a.tensor(0)?, a.scalar(1)?, a.bool(2)?)?;
            a.tensor(0)?.clone().ret()
        })
        .doc("Sets the main diagonal; of tall matrices again after each block of rows with wrap.")
        .nondiff(),
    );
    macro_rules! indices {
        ($sig:literal, $upper:literal, $oracle:literal) => {
            v.push(
                op($sig, TORCH, |a| {
                    triangle_indices(a.int(0)?, a.int(1)?, a.int(2)?, $upper, a.dtype(3).unwrap_or(DType::I64)).ret()
                })
                .doc("Row and column indices of a triangle, as a 2 x n tensor.")
                .samples(&["3, 4", "3, 3, 1", "4, 3, -1"])
                .oracle($oracle)
                .nondiff(),
            );
        };
    }
    indices!(
        "tril_indices(int row, int col, int offset=0, *, dtype? dtype=None, device? device=None, layout? layout=None)",
        false,
        "np.array(np.tril_indices(row, offset, col))"
    );
    indices!(
        "triu_indices(int row, int col, int offset=0, *, dtype? dtype=None, device? device=None, layout? layout=None)",
        true,
        "np.array(np.triu_indices(row, offset, col))"
    );
    v
}
