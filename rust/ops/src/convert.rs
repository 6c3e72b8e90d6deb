//! Casts and copies: `to` and its short forms, `copy_`, `fill_`, `zero_`.

use crate::args::{Args, IntoRet, Ret};
use crate::basic::to_dtype;
use crate::registry::{DIRECT, INPLACE, INPLACE_ONLY, METHOD, OpDef, TORCH, op};
use crate::shape::view::in_format;
use rustnn_core::base::layout::broadcast_shapes;
use rustnn_core::base::runtime_error;
use rustnn_core::{DType, Result, Scalar, Tensor, attach, dest, grads, needs_grad};
use rustnn_kernels::copy as kernel;

/// `preserve_format` as the binding numbers it.
const PRESERVE: u8 = 1;

/// `x` in `dtype` and memory format (`None` keeps the order); itself when nothing changes.
pub fn to(x: &Tensor, dtype: DType, copy: bool, format: Option<u8>) -> Result<Tensor> {
    let y = if dtype != x.dtype() || copy {
        let from = x.dtype();
        attach("ToCopyBackward0", x.copied_as(dtype)?, &[x], move |_, g| Ok(grads![to_dtype(g, from)?]))?
    } else {
        x.clone()
    };
    match format {
        None | Some(PRESERVE) => Ok(y),
        Some(f) => in_format(&y, f, true),
    }
}

fn format(a: &Args, i: usize) -> Option<u8> {
    match a.arg(i) {
        crate::args::Arg::MemoryFormat(f) => Some(*f),
        _ => None,
    }
}

fn flag(a: &Args, i: usize) -> bool {
    a.opt_bool(i).unwrap_or(false)
}

/// The value that `x.copy_(src)` writes.
fn copied(x: &Tensor, src: &Tensor) -> Result<Tensor> {
    let fits = broadcast_shapes(x.shape(), src.shape()).is_ok_and(|s| s[..] == *x.shape());
    if !fits {
        return Err(runtime_error!(
            "output with shape {:?} doesn't match the broadcast shape of the source {:?}",
            x.shape(),
            src.shape()
        )
        .hint("copy_ needs a source that broadcasts to the tensor it writes"));
    }
    if needs_grad(&[x, src]) {
        let cast = to_dtype(src, x.dtype())?;
        return crate::shape::expand::expand_to(&cast, x.shape());
    }
    match dest::take(x.shape(), x.dtype()) {
        Some(out) if !overlaps(&out, src) => {
            kernel::copy(&out.raw(), &src.raw())?;
            Ok(out)
        }
        _ => {
            let out = x.empty_like()?;
            kernel::copy(&out.raw(), &src.raw())?;
            Ok(out)
        }
    }
}

/// Whether writing `x` may change what is still to be read of `src`.
fn overlaps(x: &Tensor, src: &Tensor) -> bool {
    x.storage().same(src.storage()) && x.layout() != src.layout()
}

fn filled(x: &Tensor, value: Scalar) -> Result<Tensor> {
    let out = match dest::take(x.shape(), x.dtype()) {
        Some(out) => out,
        None => x.empty_like()?,
    };
    kernel::fill(&out.raw(), value)?;
    // The old value gets a zero gradient; what is new is a constant.
    attach("FillBackward0", out, &[x], |_, g| Ok(grads![Tensor::zeros(g.shape(), g.dtype())?]))
}

fn cast(a: &Args, dtype: DType) -> Result<Ret> {
    to(a.tensor(0)?, dtype, false, format(a, 1)).ret()
}

macro_rules! casts {
    ($($name:literal => $d:ident),*) => {
        [$( op(concat!($name, "(Tensor input, memory_format? memory_format=None)"), METHOD, |a| cast(a, DType::$d))
            .doc(concat!("The tensor as dtype ", stringify!($d), "; itself when it has that dtype already."))
            .samples(&["t(2,3)"])
            .nondiff() ),*]
    };
}

pub(crate) fn ops() -> Vec<OpDef> {
    let mut v: Vec<OpDef> = casts!(
        "float" => F32, "double" => F64, "half" => F16, "bfloat16" => BF16, "long" => I64, "int" => I32,
        "short" => I16, "char" => I8, "byte" => U8, "bool" => Bool
    )
    .into();
    v.extend([
        op(
            "to(Tensor input, dtype dtype, bool non_blocking=False, bool copy=False, *, memory_format? memory_format=None)",
            METHOD,
            |a| {
                let x = a.tensor(0)?;
                to(x, a.dtype(1).unwrap_or(x.dtype()), flag(a, 3), format(a, 4)).ret()
            },
        )
        .doc("The tensor in another dtype (or device: there is one); itself when nothing changes and `copy` is False.")
        .samples(&["t(2,3), torch.float64"])
        .oracle("input"),
        op(
            "to(Tensor input, Tensor other, bool non_blocking=False, bool copy=False, *, memory_format? memory_format=None)",
            METHOD,
            |a| to(a.tensor(0)?, a.tensor(1)?.dtype(), flag(a, 3), format(a, 4)).ret(),
        ),
        op(
            "to(Tensor input, device? device=None, dtype? dtype=None, bool non_blocking=False, bool copy=False, *, memory_format? memory_format=None)",
            METHOD,
            |a| {
                let x = a.tensor(0)?;
                to(x, a.dtype(2).unwrap_or(x.dtype()), flag(a, 4), format(a, 5)).ret()
            },
        ),
        op("type_as(Tensor input, Tensor other)", METHOD, |a| {
            to(a.tensor(0)?, a.tensor(1)?.dtype(), false, None).ret()
        })
        .doc("The tensor in the dtype of `other`.")
        .samples(&["t(2,3), t(1)"])
        .oracle("input"),
        op("cpu(Tensor input, memory_format? memory_format=None)", METHOD, |a| a.tensor(0)?.clone().ret())
            .doc("The tensor on the CPU: itself."),
        op("copy(Tensor input, Tensor src, bool non_blocking=False)", METHOD | INPLACE | INPLACE_ONLY | DIRECT, |a| {
            copied(a.tensor(0)?, a.tensor(1)?).ret()
        })
        .doc("Writes the elements of `src` (broadcast, cast) into the tensor."),
        op("fill(Tensor input, Scalar value)", METHOD | TORCH | INPLACE | INPLACE_ONLY | DIRECT, |a| {
            filled(a.tensor(0)?, a.scalar(1)?).ret()
        })
        .doc("Sets every element to `value`."),
        op("fill(Tensor input, Tensor value)", METHOD | TORCH | INPLACE | INPLACE_ONLY, |a| {
            let v = a.tensor(1)?;
            if v.ndim() != 0 {
                return Err(runtime_error!(
                    "fill_ only supports 0-dimension value tensor but got tensor with {} dimensions.",
                    v.ndim()
                ));
            }
            copied(a.tensor(0)?, v).ret()
        }),
        op("zero(Tensor input)", METHOD | TORCH | INPLACE | INPLACE_ONLY | DIRECT, |a| {
            filled(a.tensor(0)?, Scalar::Int(0)).ret()
        })
        .doc("Sets every element to zero."),
    ]);
    v
}
