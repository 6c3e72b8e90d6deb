//! Tensors from nothing: constants, ranges, grids of numbers, and their `like` and `new` forms.

mod range;
mod window;

pub(crate) use range::linspace;

use crate::args::{Arg, Args, Ret};
use crate::registry::{METHOD, OUT, OpDef, TORCH, op};
use crate::shape::view::format_of;
use rustnn_core::base::runtime_error;
use rustnn_core::{DType, Dims, Result, Scalar, Tensor, mode};

/// Sizes from Python, none negative.
pub(crate) fn sizes(op: &str, size: &[i64]) -> Result<Dims> {
    // What nearly all calls are, without the machinery of collecting results.
    if size.len() <= 5 && size.iter().all(|&s| s >= 0) {
        let mut dims = [0; 5];
        for (d, &s) in dims.iter_mut().zip(size) {
            *d = s as usize;
        }
        return Ok(Dims::from_buf_and_len(dims, size.len()));
    }
    size.iter()
        .map(|&s| {
            usize::try_from(s).map_err(|_| match op {
                "zeros" | "ones" | "full" => {
                    runtime_error!("{op}: Dimension size must be non-negative.").hint(format!("sizes are {size:?}"))
                }
                _ => runtime_error!("Trying to create tensor with negative dimension {s}: {size:?}"),
            })
        })
        .collect()
}

/// A fresh tensor, asking for a gradient if argument `i` says so.
pub(crate) fn leaf(t: Tensor, a: &Args, i: usize) -> Result<Ret> {
    if a.opt_bool(i) == Some(true) {
        if !t.dtype().is_float() {
            return Err(runtime_error!("Only Tensors of floating point and complex dtype can require gradients")
                .hint(format!("the dtype is {}", t.dtype())));
        }
        t.meta_or_new().set_wants_grad(true);
    }
    Ok(Ret::Tensor(t))
}

fn dtype_or_default(a: &Args, i: usize) -> DType {
    a.dtype(i).unwrap_or_else(mode::default_dtype)
}

/// A fresh tensor like `x` in shape and (unless another format is asked for) memory order.
pub(crate) fn like(x: &Tensor, dtype: DType, format: &Arg) -> Result<Tensor> {
    match format_of(format, 1) {
        0 => Tensor::empty(x.shape(), dtype),
        1 => x.empty_like_as(dtype),
        f => {
            let strides = crate::shape::view::strides_in(x.shape(), f)?;
            Tensor::empty_strided(x.shape(), &strides, dtype)
        }
    }
}

/// A fresh tensor in a memory format, row-major unless one is given.
fn in_format(shape: &[usize], dtype: DType, format: &Arg) -> Result<Tensor> {
    match format_of(format, 0) {
        0 | 1 => Tensor::empty(shape, dtype),
        f => Tensor::empty_strided(shape, &crate::shape::view::strides_in(shape, f)?, dtype),
    }
}

fn filled(t: Tensor, v: Scalar) -> Result<Tensor> {
    rustnn_kernels::copy::fill(&t.raw(), v)?;
    Ok(t)
}

fn value(a: &Args, i: usize) -> Result<Scalar> {
    match a.arg(i) {
        Arg::Tensor(t) => t.item(),
        _ => a.scalar(i),
    }
}

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v = range::ops();
    v.extend(window::ops());
    macro_rules! constant {
        ($name:literal, $value:expr, $doc:literal, $oracle:literal, $format:literal) => {
            v.push(
                op(concat!($name, "(int[]... size, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False", $format, ")"),
                    TORCH | OUT, |a| {
                        let t = in_format(&sizes($name, a.ints(0)?)?, dtype_or_default(a, 1), a.arg(6))?;
                        leaf(match $value { Some(v) => filled(t, v)?, None => t }, a, 5)
                    })
                .doc($doc).samples(if $oracle.is_empty() { &[] } else { &["2, 3", "(0, 2)", "()"] }).oracle($oracle).nondiff(),
            );
            v.push(
                op(concat!($name, "_like(Tensor input, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False, memory_format memory_format=None)"),
                    TORCH, |a| {
                        let x = a.tensor(0)?;
                        let t = like(x, a.dtype(1).unwrap_or(x.dtype()), a.arg(6))?;
                        leaf(match $value { Some(v) => filled(t, v)?, None => t }, a, 5)
                    })
                .doc(concat!("As ", $name, ", in the input's shape, dtype and memory order."))
                .samples(if $oracle.is_empty() { &[] } else { &["t(2,3)", "t()"] })
                .oracle(if $oracle.is_empty() { "" } else { concat!("np.", $name, "_like(input)") }).nondiff(),
            );
            v.push(
                op(concat!("new_", $name, "(Tensor input, int[]... size, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)"),
                    METHOD, |a| {
                        let t = Tensor::empty(&sizes($name, a.ints(1)?)?, a.dtype(2).unwrap_or(a.tensor(0)?.dtype()))?;
                        leaf(match $value { Some(v) => filled(t, v)?, None => t }, a, 6)
                    })
                .doc(concat!("As ", $name, ", in the input's dtype.")).nondiff(),
            );
        };
    }
    constant!("zeros", Some(Scalar::Int(0)), "A tensor of zeros.", "np.zeros(size)", "");
    constant!("ones", Some(Scalar::Int(1)), "A tensor of ones.", "np.ones(size)", "");
    constant!("empty", None::<Scalar>, "A tensor of arbitrary content.", "", ", memory_format? memory_format=None");
    v.extend([
        op("full(int[] size, Scalar|Tensor fill_value, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", TORCH | OUT, |a| {
            let v = value(a, 1)?;
            let own = match a.arg(1) {
                Arg::Tensor(t) => t.dtype(),
                _ => v.dtype(mode::default_dtype()),
            };
            leaf(Tensor::full(&sizes("full", a.ints(0)?)?, v, a.dtype(2).unwrap_or(own))?, a, 6)
        })
        .doc("A tensor of one value; the dtype follows the value's kind unless given.")
        .samples(&["(2, 3), 1.5", "(2,), 3", "(), 0."])
        .oracle("np.full(size, fill_value)")
        .nondiff(),
        op("full_like(Tensor input, Scalar|Tensor fill_value, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False, memory_format memory_format=None)", TORCH, |a| {
            let x = a.tensor(0)?;
            leaf(filled(like(x, a.dtype(2).unwrap_or(x.dtype()), a.arg(7))?, value(a, 1)?)?, a, 6)
        })
        .doc("A tensor of one value in the input's shape, dtype and memory order.")
        .samples(&["t(2, 3), 1.5"])
        .oracle("np.full_like(input, fill_value)")
        .nondiff(),
        op("new_full(Tensor input, int[] size, Scalar|Tensor fill_value, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", METHOD, |a| {
            let d = a.dtype(3).unwrap_or(a.tensor(0)?.dtype());
            leaf(Tensor::full(&sizes("full", a.ints(1)?)?, value(a, 2)?, d)?, a, 7)
        })
        .doc("A tensor of one value in the input's dtype.")
        .nondiff(),
        op("empty_strided(int[] size, int[] stride, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", TORCH, |a| {
            strided(a.ints(0)?, a.ints(1)?, dtype_or_default(a, 2)).and_then(|t| leaf(t, a, 6))
        })
        .doc("A tensor of arbitrary content with the strides given.")
        .nondiff(),
        op("new_empty_strided(Tensor input, int[] size, int[] stride, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", METHOD, |a| {
            strided(a.ints(1)?, a.ints(2)?, a.dtype(3).unwrap_or(a.tensor(0)?.dtype())).and_then(|t| leaf(t, a, 7))
        })
        .nondiff(),
        op("scalar_tensor(Scalar s, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? requires_grad=False)", TORCH, |a| {
            leaf(Tensor::scalar(a.scalar(0)?, dtype_or_default(a, 1))?, a, 4)
        })
        .doc("A number as a 0-d tensor.")
        .samples(&["1.5"])
        .oracle("np.array(s)")
        .nondiff(),
        op("eye(int n, int? m=None, *, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)", TORCH | OUT, |a| {
            let n = a.int(0)?;
            let m = a.opt_int(1).unwrap_or(n);
            for (name, v) in [("n", n), ("m", m)] {
                if v < 0 {
                    return Err(runtime_error!("{name} must be greater or equal to 0, got {v}"));
                }
            }
            let t = Tensor::zeros(&[n as usize, m as usize], dtype_or_default(a, 2))?;
            if n > 0 && m > 0 {
                filled(crate::shape::select::diagonal(&t.detach(), 0, 0, 1)?, Scalar::Int(1))?;
            }
            leaf(t, a, 6)
        })
        .doc("A matrix with ones on the diagonal.")
        .samples(&["3", "2, 4", "4, 2", "0"])
        .oracle("np.eye(n, m)")
        .nondiff(),
    ]);
    v
}

fn strided(size: &[i64], stride: &[i64], dtype: DType) -> Result<Tensor> {
    if size.len() != stride.len() || stride.iter().any(|&s| s < 0) {
        return Err(runtime_error!(
            "dimensionality of sizes ({}) must match dimensionality of strides ({}), none negative",
            size.len(),
            stride.len()
        ));
    }
    let strides: Vec<isize> = stride.iter().map(|&s| s as isize).collect();
    Tensor::empty_strided(&sizes("empty_strided", size)?, &strides, dtype)
}
