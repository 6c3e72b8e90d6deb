//! Elements by mask, and where masks are true.

use super::put::write_in_place;
use crate::args::{Arg, IntoRet, Ret};
use crate::basic::to_dtype;
use crate::registry::{INPLACE, METHOD, OUT, OpDef, TORCH, op};
use crate::shape::view;
use rustnn_core::base::layout;
use rustnn_core::base::layout::broadcast_shapes;
use rustnn_core::base::{B8, runtime_error};
use rustnn_core::{DType, Dims, Result, Scalar, Tensor, attach, grads, needs_grad};
use rustnn_kernels::room;
use rustnn_kernels::{copy, index as kernel};

/// A mask broadcast to `shape`, row-major.
fn wide_mask(mask: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if mask.shape() == shape {
        return mask.to_contiguous();
    }
    mask.detach().view_of(mask.layout().expand(shape)?).to_contiguous()
}

fn check_mask(mask: &Tensor) -> Result<()> {
    if mask.dtype() == DType::Bool {
        return Ok(());
    }
    Err(runtime_error!("masked_fill_ only supports boolean masks, but got mask with dtype {}", mask.dtype().name()))
}

/// `value` where the mask is true.
pub fn masked_fill(x: &Tensor, mask: &Tensor, value: Scalar) -> Result<Tensor> {
    check_mask(mask)?;
    let shape = broadcast_shapes(mask.shape(), x.shape())?;
    let m = wide_mask(mask, &shape)?;
    let out = Tensor::empty(&shape, x.dtype())?;
    copy::copy(&out.raw(), &x.raw())?;
    kernel::masked_fill(out.raw(), m.slice::<B8>()?, value)?;
    attach("MaskedFillBackward0", out, &[x], move |_, g| Ok(grads![masked_fill(g, &m, Scalar::Int(0))?]))
}

/// [`masked_fill`] with a 0-d tensor as the value, which may have a gradient.
pub fn masked_fill_tensor(x: &Tensor, mask: &Tensor, value: &Tensor) -> Result<Tensor> {
    if value.ndim() > 0 {
        return Err(runtime_error!(
            "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {} dimension(s).",
            value.ndim()
        ));
    }
    check_mask(mask)?;
    let out = masked_fill(&x.detach(), mask, value.item()?)?;
    if !needs_grad(&[x, value]) {
        return Ok(out);
    }
    let m = wide_mask(mask, out.shape())?;
    attach("MaskedFillBackward0", out, &[x, value], move |c, g| {
        Ok(grads![c;
            0 => masked_fill(g, &m, Scalar::Int(0))?,
            1 => masked_fill(g, &inverted(&m)?, Scalar::Int(0))?])
    })
}

fn inverted(mask: &Tensor) -> Result<Tensor> {
    let v: Vec<B8> = room::collected(mask.slice::<B8>()?.iter().map(|b| B8::from(!b.get())))?;
    Tensor::from_slice(&v, mask.shape())
}

/// `masked_fill_`: `y[mask] = value` without indices.
pub fn masked_fill_in_place(y: &Tensor, mask: &Tensor, value: Scalar) -> Result<()> {
    check_mask(mask)?;
    let m = wide_mask(mask, y.shape())?;
    let kept = m.clone();
    let write = || {
        if y.is_contiguous() {
            return kernel::masked_fill(y.raw(), m.slice::<B8>()?, value);
        }
        let t = y.to_contiguous()?;
        kernel::masked_fill(t.raw(), m.slice::<B8>()?, value)?;
        copy::copy(&y.raw(), &t.raw())
    };
    write_in_place("MaskedFillBackward0", y, &[], write, move |_, g| Ok(grads![masked_fill(g, &kept, Scalar::Int(0))?]))
}

/// Elements where the mask is true.
pub fn masked_select(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    if mask.dtype() != DType::Bool {
        return Err(runtime_error!("masked_select: expected BoolTensor for mask"));
    }
    let shape = broadcast_shapes(x.shape(), mask.shape())?;
    let m = wide_mask(mask, &shape)?;
    let src = x.detach().view_of(x.layout().expand(&shape)?).to_contiguous()?;
    let out = Tensor::empty(&[kernel::count_true(m.raw())?], x.dtype())?;
    kernel::masked_select(out.raw(), src.raw(), m.slice::<B8>()?)?;
    attach("MaskedSelectBackward0", out, &[x], move |_, g| Ok(grads![spread(g, &m)?]))
}

/// Zeros with the elements of `g` where the mask is true.
fn spread(g: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let out = Tensor::zeros(mask.shape(), g.dtype())?;
    kernel::masked_scatter(out.raw(), mask.slice::<B8>()?, g.to_contiguous()?.raw())?;
    let mask = mask.clone();
    attach("MaskedScatterBackward0", out, &[g], move |_, gg| Ok(grads![masked_select(gg, &mask)?]))
}

/// Elements of `source`, in order, where the mask is true.
pub fn masked_scatter(x: &Tensor, mask: &Tensor, source: &Tensor) -> Result<Tensor> {
    if mask.dtype() != DType::Bool {
        return Err(runtime_error!(
            "masked_scatter_ only supports boolean masks, but got mask with dtype {}",
            mask.dtype().name()
        ));
    }
    if source.dtype() != x.dtype() {
        return Err(runtime_error!(
            "masked_scatter: expected self and source to have same dtypes but got {} and {}",
            x.dtype().torch_name(),
            source.dtype().torch_name()
        ));
    }
    let shape = broadcast_shapes(x.shape(), mask.shape())?;
    let m = wide_mask(mask, &shape)?;
    let out = Tensor::empty(&shape, x.dtype())?;
    copy::copy(&out.raw(), &x.raw())?;
    kernel::masked_scatter(out.raw(), m.slice::<B8>()?, source.to_contiguous()?.raw())?;
    let from: Dims = source.shape().into();
    attach("MaskedScatterBackward0", out, &[x, source], move |c, g| {
        Ok(grads![c;
        0 => masked_fill(g, &m, Scalar::Int(0))?,
        1 => {
            let used = masked_select(g, &m)?;
            let n: usize = layout::count(&from);
            let extra = n - used.numel();
            let all = if extra == 0 { used } else { crate::shape::pad::constant(&used, &[0, extra as i64], Scalar::Int(0))? };
            view::reshape_to(&all, &from)?
        }])
    })
}

/// Coordinates of elements that are not zero, one row per dimension.
fn columns(x: &Tensor) -> Result<Tensor> {
    let src = x.to_contiguous()?;
    let out = Tensor::empty(&[x.ndim(), kernel::count_true(src.raw())?], DType::I64)?;
    kernel::nonzero(out.slice_mut::<i64>()?, src.raw())?;
    Ok(out)
}

/// Coordinates of elements that are not zero, one row each (stored by columns, as PyTorch does).
pub fn nonzero(x: &Tensor) -> Result<Tensor> {
    let c = columns(x)?;
    Ok(c.view_of(c.layout().transpose(0, 1)))
}

/// The columns of [`nonzero`], each row-major.
pub(crate) fn nonzero_columns(x: &Tensor) -> Result<Vec<Tensor>> {
    let c = columns(x)?;
    Ok((0..x.ndim()).map(|d| c.view_of(c.layout().select(0, d))).collect())
}

/// [`nonzero`] as a tuple of columns; a scalar counts as a vector.
pub fn nonzero_tuple(x: &Tensor) -> Result<Vec<Tensor>> {
    let x = if x.ndim() == 0 { view::reshape_to(&x.detach(), &[1])? } else { x.detach() };
    nonzero_columns(&x)
}

fn fill(a: &crate::Args) -> Result<Ret> {
    match a.arg(2) {
        Arg::Tensor(v) => {
            let v = if v.dtype() == a.tensor(0)?.dtype() { v.clone() } else { to_dtype(v, a.tensor(0)?.dtype())? };
            masked_fill_tensor(a.tensor(0)?, a.tensor(1)?, &v)
        }
        _ => masked_fill(a.tensor(0)?, a.tensor(1)?, a.scalar(2)?),
    }
    .ret()
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("masked_fill(Tensor input, Tensor mask, Scalar|Tensor value)", METHOD | TORCH | INPLACE, fill)
            .doc("value where the boolean mask is true; mask is broadcast.")
            .samples(&["t(3,4), b(3,4), 1.5", "t(3,4), b(4), 0.", "t(3,4), b(3,1), t()"])
            .oracle("np.where(mask, value, input)"),
        op("masked_select(Tensor input, Tensor mask)", METHOD | TORCH | OUT, |a| {
            masked_select(a.tensor(0)?, a.tensor(1)?).ret()
        })
        .doc("The elements where the boolean mask is true, as a vector.")
        .samples(&["t(3,4), b(3,4)", "t(3,4), b(4)"])
        .oracle("input[np.broadcast_to(mask, input.shape)]"),
        op("masked_scatter(Tensor input, Tensor mask, Tensor source)", METHOD | TORCH | INPLACE, |a| {
            masked_scatter(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?).ret()
        })
        .doc("Elements of source, in order, where the mask is true.")
        .samples(&["t(3,4), b(3,4), t(12)"])
        .oracle("(lambda y: (y.__setitem__(mask, source.ravel()[:mask.sum()]), y)[1])(np.array(input))"),
        op("nonzero(Tensor input, *, bool as_tuple=False)", METHOD | TORCH | OUT, |a| {
            if a.bool(1)? { nonzero_tuple(a.tensor(0)?).map(Ret::Tuple) } else { nonzero(a.tensor(0)?).ret() }
        })
        .doc("Coordinates of the elements that are not zero: n x ndim, or with as_tuple one vector per dimension.")
        .samples(&["b(3,4)", "b(5)"])
        .oracle("np.argwhere(input)")
        .nondiff(),
        op("argwhere(Tensor input)", METHOD | TORCH, |a| nonzero(a.tensor(0)?).ret())
            .doc("Coordinates of the elements that are not zero.")
            .samples(&["b(3,4)"])
            .oracle("np.argwhere(input)")
            .nondiff(),
        op("where(Tensor condition)", TORCH, |a| nonzero_tuple(a.tensor(0)?).map(Ret::Tuple))
            .doc("nonzero(condition, as_tuple=True).")
            .nondiff(),
    ]
}
