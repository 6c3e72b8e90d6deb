//! gather and scatter along a dimension.

use super::{arith, long_for};
use crate::args::IntoRet;
use crate::compose;
use crate::registry::{INPLACE, METHOD, OUT, OpDef, TORCH, op};
use crate::shape::{expand, part, unpart, view};
use rustnn_core::base::layout::{broadcast_shapes, wrap_dim, wrap_own_dim};
use rustnn_core::base::{not_implemented, runtime_error};
use rustnn_core::{DType, Dims, Layout, Result, Scalar, Tensor, attach, grads, mode, needs_grad, save, save_output};
use rustnn_kernels::copy;
use rustnn_kernels::index::{self as kernel, Reduce};

fn prepared(op: &str, x: &Tensor, dim: i64, index: &Tensor) -> Result<(usize, Tensor)> {
    let d = wrap_dim(dim, x.ndim())?;
    if !matches!(index.dtype(), DType::I64 | DType::I32) {
        return Err(
            runtime_error!("{op}(): Expected dtype int32/int64 for index").hint(format!("it is {}", index.dtype()))
        );
    }
    if index.numel() > 0 && index.ndim() != x.ndim() {
        return Err(runtime_error!("Index tensor must have the same number of dimensions as input tensor")
            .hint(format!("in {op}: the index has shape {:?}, the input {:?}", index.shape(), x.shape())));
    }
    Ok((d, long_for(index, op)?))
}

/// `out[i][j] = x[index[i][j]][j]` (for dim 0).
pub fn gather(x: &Tensor, dim: i64, index: &Tensor) -> Result<Tensor> {
    let (d, index) = prepared("gather", x, dim, index)?;
    let out = Tensor::empty(index.shape(), x.dtype())?;
    if index.numel() > 0 {
        if (0..x.ndim()).any(|k| k != d && index.shape()[k] > x.shape()[k]) {
            return Err(runtime_error!(
                "Size does not match at dimension {} expected index {:?} to be no larger than self {:?} apart from dimension {d}",
                (0..x.ndim()).find(|&k| k != d && index.shape()[k] > x.shape()[k]).unwrap_or(0),
                index.shape(),
                x.shape()
            ));
        }
        kernel::gather(out.raw(), x.raw(), d, index.raw())?;
    }
    if !needs_grad(&[x]) {
        return Ok(out);
    }
    let shape: Dims = x.shape().into();
    attach("GatherBackward0", out, &[x], move |_, g| {
        Ok(grads![scatter(&Tensor::zeros(&shape, g.dtype())?, d as i64, &index, g, Reduce::Add)?])
    })
}

fn check_scatter(x: &Tensor, d: usize, index: &Tensor, src: Option<&Tensor>) -> Result<()> {
    let small = (0..x.ndim()).all(|k| k == d || index.shape()[k] <= x.shape()[k]);
    match src {
        Some(s) if s.dtype() != x.dtype() => Err(runtime_error!(
            "scatter(): Expected self.dtype to be equal to src.dtype"
        )
        .hint(format!("they are {} and {}", x.dtype(), s.dtype()))),
        Some(s) if !small || s.ndim() != x.ndim() || (0..x.ndim()).any(|k| index.shape()[k] > s.shape()[k]) => {
            Err(runtime_error!(
                "Expected index {:?} to be no larger than self {:?} apart from dimension {d} and to be no larger size than src {:?}",
                index.shape(),
                x.shape(),
                s.shape()
            ))
        }
        None if !small => Err(runtime_error!(
            "Expected index {:?} to be no larger than self {:?} apart from dimension {d}",
            index.shape(),
            x.shape()
        )),
        _ => Ok(()),
    }
}

/// The gradient of the part of `src` that the index reaches, zero for the rest.
fn fit(g: Tensor, shape: &[usize]) -> Result<Tensor> {
    if g.shape() == shape {
        return Ok(g);
    }
    let sizes: Dims = g.shape().into();
    unpart("SliceBackward0", &g, shape, move |l: &Layout| Layout { shape: sizes.clone(), ..l.clone() })
}

/// A copy of `x` with elements of `src` written (or reduced) to `out[index[i][j]][j]` (for dim 0), in order.
pub fn scatter(x: &Tensor, dim: i64, index: &Tensor, src: &Tensor, how: Reduce) -> Result<Tensor> {
    let (d, index) = prepared("scatter", x, dim, index)?;
    let out = Tensor::empty(x.shape(), x.dtype())?;
    copy::copy(&out.raw(), &x.raw())?;
    if index.numel() > 0 {
        check_scatter(x, d, &index, Some(src))?;
        kernel::scatter(out.raw(), d, index.raw(), src.raw(), how)?;
    }
    if !needs_grad(&[x, src]) {
        return Ok(out);
    }
    let from: Dims = src.shape().into();
    match how {
        Reduce::Assign => attach("ScatterBackward0", out, &[x, src], move |c, g| {
            Ok(grads![c;
                0 => scatter_value(g, d as i64, &index, Scalar::Int(0), Reduce::Assign)?,
                1 => fit(gather(g, d as i64, &index)?, &from)?])
        }),
        Reduce::Add => attach("ScatterAddBackward0", out, &[x, src], move |c, g| {
            Ok(grads![c; 0 => g.clone(), 1 => fit(gather(g, d as i64, &index)?, &from)?])
        }),
        _ => Err(not_implemented!("gradients of scatter with reduce='multiply': use scatter_reduce")),
    }
}

/// [`scatter`] of one number.
pub fn scatter_value(x: &Tensor, dim: i64, index: &Tensor, value: Scalar, how: Reduce) -> Result<Tensor> {
    let (d, index) = prepared("scatter", x, dim, index)?;
    let out = Tensor::empty(x.shape(), x.dtype())?;
    copy::copy(&out.raw(), &x.raw())?;
    if index.numel() > 0 {
        check_scatter(x, d, &index, None)?;
        let one = Tensor::scalar(value, x.dtype())?;
        let src = one.view_of(one.layout().expand(index.shape())?);
        kernel::scatter(out.raw(), d, index.raw(), src.raw(), how)?;
    }
    if how == Reduce::Mul && needs_grad(&[x]) {
        return Err(not_implemented!("gradients of scatter with reduce='multiply': use scatter_reduce"));
    }
    attach("ScatterBackward1", out, &[x], move |_, g| {
        Ok(grads![if how == Reduce::Assign {
            scatter_value(g, d as i64, &index, Scalar::Int(0), how)?
        } else {
            g.clone()
        }])
    })
}

/// The value that leaves a reduction unchanged.
fn neutral(how: Reduce, dtype: DType) -> Scalar {
    let (low, high) = match dtype {
        DType::I64 => (i64::MIN, i64::MAX),
        DType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        DType::I16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        DType::I8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        DType::U8 => (0, 255),
        DType::Bool => (0, 1),
        _ => match how {
            Reduce::Amax => return Scalar::Float(f64::NEG_INFINITY),
            Reduce::Amin => return Scalar::Float(f64::INFINITY),
            _ => (0, 0),
        },
    };
    Scalar::Int(match how {
        Reduce::Mul => 1,
        Reduce::Amax => low,
        Reduce::Amin => high,
        _ => 0,
    })
}

/// `scatter_reduce`: "sum", "prod", "mean", "amax", "amin".
pub fn scatter_reduce(
    x: &Tensor,
    dim: i64,
    index: &Tensor,
    src: &Tensor,
    reduce: &str,
    include_self: bool,
) -> Result<Tensor> {
    let (how, mean) = match reduce {
        "sum" => (Reduce::Add, false),
        "mean" => (Reduce::Add, true),
        "prod" => (Reduce::Mul, false),
        "amax" => (Reduce::Amax, false),
        "amin" => (Reduce::Amin, false),
        other => {
            return Err(runtime_error!("reduce argument must be either sum, prod, mean, amax or amin, got {other}."));
        }
    };
    let (d, index) = prepared("scatter_reduce", x, dim, index)?;
    let start =
        if include_self { x.clone() } else { scatter_value(x, dim, &index, neutral(how, x.dtype()), Reduce::Assign)? };
    if how == Reduce::Add {
        let sum = scatter(&start, dim, &index, src, Reduce::Add)?;
        if !mean {
            return Ok(sum);
        }
        let one = Tensor::full(x.shape(), Scalar::Int(1), x.dtype())?;
        let ones = Tensor::full(src.shape(), Scalar::Int(1), x.dtype())?;
        let base = if include_self { one } else { scatter_value(&one, dim, &index, Scalar::Int(0), Reduce::Assign)? };
        let count = scatter(&base, dim, &index, &ones, Reduce::Add)?;
        return crate::index::arith::mean_div(&sum, &count);
    }
    let out = {
        let out = Tensor::empty(x.shape(), x.dtype())?;
        copy::copy(&out.raw(), &start.raw())?;
        if index.numel() > 0 {
            check_scatter(x, d, &index, Some(src))?;
            kernel::scatter(out.raw(), d, index.raw(), src.raw(), how)?;
        }
        out
    };
    if !needs_grad(&[x, src]) {
        return Ok(out);
    }
    let (sx, ss, so) = (save(x), save(src), save_output(&out));
    let from: Dims = src.shape().into();
    attach("ScatterReduceBackward0", out, &[x, src], move |c, g| {
        let (x, src, out) = (sx.get(c)?, ss.get(c)?, so.get(c)?);
        let start = if include_self {
            x
        } else {
            scatter_value(&x, d as i64, &index, neutral(how, x.dtype()), Reduce::Assign)?
        };
        let sizes: Dims = index.shape().into();
        let used = part("SliceBackward0", &src, move |l: &Layout| Layout { shape: sizes.clone(), ..l.clone() })?;
        let (own, other) = if how == Reduce::Mul {
            factors(&start, &used, &out, d, &index)?
        } else {
            // Piecewise linear: no further derivatives. Ties share the gradient evenly.
            let (start, used, out) = (start.detach(), used.detach(), out.detach());
            let own = arith::equal(&start, &out)?;
            let hit = arith::equal(&used, &gather(&out, d as i64, &index)?)?;
            let count = scatter(&own, d as i64, &index, &hit, Reduce::Add)?;
            (arith::div(&own, &count)?, arith::div(&hit, &gather(&count, d as i64, &index)?)?)
        };
        Ok(grads![c;
            0 => {
                let gx = arith::mul(g, &own)?;
                if include_self { gx } else { scatter_value(&gx, d as i64, &index, Scalar::Int(0), Reduce::Assign)? }
            },
            1 => fit(arith::mul(&gather(g, d as i64, &index)?, &other)?, &from)?])
    })
}

/// For products `out` of elements of `start` and `used`: what each element's gradient goes by, the product of the
/// others, also where one or several are zero.
fn factors(start: &Tensor, used: &Tensor, out: &Tensor, d: usize, index: &Tensor) -> Result<(Tensor, Tensor)> {
    let dim = d as i64;
    let (none, gone) = (compose::compare("eq", &start.detach(), 0.0)?, compose::compare("eq", &used.detach(), 0.0)?);
    if !compose::any(&none)? && !compose::any(&gone)? {
        return Ok((arith::div(out, start)?, arith::div(&gather(out, dim, index)?, used)?));
    }
    if mode::grad_enabled() && needs_grad(&[start, used]) {
        return Err(not_implemented!(
            "the second derivative of scatter_reduce('prod') is not implemented where an element is zero"
        )
        .hint("torch.where can keep zeros out of the product"));
    }
    let (a, b) = (compose::masked_fill(start, &none, 1.0)?, compose::masked_fill(used, &gone, 1.0)?);
    let product = scatter(&a.detach(), dim, index, &b.detach(), Reduce::Mul)?;
    let as_number = |m: &Tensor| compose::cast(m, start.dtype());
    let zeros = scatter(&as_number(&none)?, dim, index, &as_number(&gone)?, Reduce::Add)?;
    // Without zeros beside it an element sees the product of the others, else zero.
    let share = |zero: &Tensor, value: &Tensor, product: &Tensor, zeros: &Tensor| -> Result<Tensor> {
        let others = arith::div(product, value)?;
        let beside = compose::sub(zeros, &as_number(zero)?)?;
        compose::masked_fill(&others, &compose::compare("gt", &beside, 0.0)?, 0.0)
    };
    Ok((
        share(&none, &a, &product, &zeros)?,
        share(&gone, &b, &gather(&product, dim, index)?, &gather(&zeros, dim, index)?)?,
    ))
}

/// `gather` with index and input broadcast outside of `dim`; without a dim on the flattened tensor.
pub fn take_along_dim(x: &Tensor, index: &Tensor, dim: Option<i64>) -> Result<Tensor> {
    let Some(dim) = dim else {
        return gather(&view::reshape_to(x, &[x.numel()])?, 0, &view::reshape_to(index, &[index.numel()])?);
    };
    let d = wrap_own_dim(dim, x.ndim())?;
    if x.ndim() != index.ndim() {
        return Err(runtime_error!(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got {} dimensions for input, and {} dimensions for indices",
            x.ndim(),
            index.ndim()
        ));
    }
    let (mut a, mut b): (Dims, Dims) = (x.shape().into(), index.shape().into());
    let (na, nb) = (a[d], b[d]);
    (a[d], b[d]) = (1, 1);
    let mut shape = broadcast_shapes(&a, &b)?;
    shape[d] = na;
    let x = expand::expand_to(x, &shape)?;
    shape[d] = nb;
    gather(&x, d as i64, &expand::expand_to(index, &shape)?)
}

fn legacy(reduce: Option<&str>) -> Result<Reduce> {
    match reduce {
        None => Ok(Reduce::Assign),
        Some("add") => Ok(Reduce::Add),
        Some("multiply") => Ok(Reduce::Mul),
        Some(_) => Err(runtime_error!("reduce argument must be either add or multiply.")),
    }
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("gather(Tensor input, int dim, Tensor index, *, bool sparse_grad=False)", METHOD | TORCH | OUT, |a| {
            gather(a.tensor(0)?, a.int(1)?, a.tensor(2)?).ret()
        })
        .doc("out[i][j] = input[index[i][j]][j] for dim 0, and so on.")
        .samples(&["t(3,4), 1, i(3,2, lo=0, hi=4)", "t(3,4), 0, i(2,3, lo=0, hi=3)", "t(5), -1, i(7, lo=0, hi=5)"])
        .oracle("np.take_along_axis(input[tuple(slice(0, s) if k != dim % input.ndim else slice(None) for k, s in enumerate(index.shape))], index, axis=dim)"),
        op("scatter(Tensor input, int dim, Tensor index, Tensor src, *, str? reduce=None)", METHOD | TORCH | INPLACE, |a| {
            scatter(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.tensor(3)?, legacy(a.opt_str(4))?).ret()
        })
        .doc("A copy with elements of src written to out[index[i][j]][j] for dim 0, and so on; reduce 'add' or 'multiply'.")
        .samples(&["t(3,4), 0, i(1,4, lo=0, hi=3), t(1,4)", "t(3,4), 1, i(3,1, lo=0, hi=4), t(3,2)"])
        .oracle("(lambda y: (np.put_along_axis(y, index, src[tuple(slice(0, s) for s in index.shape)], dim), y)[1])(np.array(input))"),
        op("scatter(Tensor input, int dim, Tensor index, Scalar value, *, str? reduce=None)", METHOD | TORCH | INPLACE, |a| {
            scatter_value(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.scalar(3)?, legacy(a.opt_str(4))?).ret()
        })
        .doc("A copy with a number written to out[index[i][j]][j] for dim 0, and so on.")
        .samples(&["t(3,4), 0, i(2,4, lo=0, hi=3), 1.5"])
        .oracle("(lambda y: (np.put_along_axis(y, index, value, dim), y)[1])(np.array(input))"),
        op("scatter_add(Tensor input, int dim, Tensor index, Tensor src)", METHOD | TORCH | INPLACE, |a| {
            scatter(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.tensor(3)?, Reduce::Add).ret()
        })
        .doc("A copy with elements of src added to out[index[i][j]][j] for dim 0, and so on, in order.")
        .samples(&["t(3,4), 0, i(5,4, lo=0, hi=3), t(5,4)", "t(3,4), 1, i(2,3, lo=0, hi=4), t(3,4)"])
        .oracle("(lambda y, g: (np.add.at(y, tuple(index if k == dim % input.ndim else g[k] for k in range(input.ndim)), src[tuple(slice(0, s) for s in index.shape)]), y)[1])(np.array(input), np.indices(index.shape))"),
        op("scatter_reduce(Tensor input, int dim, Tensor index, Tensor src, str reduce, *, bool include_self=True)", METHOD | TORCH | INPLACE, |a| {
            scatter_reduce(a.tensor(0)?, a.int(1)?, a.tensor(2)?, a.tensor(3)?, a.str(4)?, a.bool(5)?).ret()
        })
        .doc("A copy with elements of src reduced ('sum', 'prod', 'mean', 'amax', 'amin') into out[index[i][j]][j] for dim 0.")
        .samples(&["t(3,4), 0, i(5,4, lo=0, hi=3), t(5,4), 'sum'", "t(3,4), 0, i(5,4, lo=0, hi=3), t(5,4), 'mean'",
            "t(3,4), 1, i(3,4, lo=0, hi=4), t(3,4), 'amax'", "pos(3,4), 1, i(3,4, lo=0, hi=4), pos(3,4), 'prod'",
            "t(3,4), 1, i(3,4, lo=0, hi=4), t(3,4), 'amin', include_self=False"]),
        op("take_along_dim(Tensor input, Tensor indices, int? dim=None)", METHOD | TORCH | OUT, |a| {
            take_along_dim(a.tensor(0)?, a.tensor(1)?, a.opt_int(2)).ret()
        })
        .doc("gather with input and indices broadcast outside of dim; without dim, of the flattened tensor.")
        .samples(&["t(3,4), i(3,1, lo=0, hi=4), 1", "t(3,4), i(1,4, lo=0, hi=3), 0", "t(3,4), i(5, lo=0, hi=12)"])
        .oracle("np.take_along_axis(input, indices, dim) if dim is not None else np.take(input, indices)"),
    ]
}
