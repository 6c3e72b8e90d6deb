//! Dropout: elements, whole channels, and the variants that keep mean and variance of SELU networks.

use super::fill::fill_memory;
use crate::args::{IntoRet, Ret};
use crate::compose;
use crate::inplace::write_back;
use crate::registry::{NN, OpDef, PRIVATE, TORCH, op};
use crate::shape::view;
use rustnn_core::base::{B8, Element, runtime_error, value_error, with_float};
use rustnn_core::generator::default_generator;
use rustnn_core::{DType, Dims, Layout, Result, Scalar, Strides, Tensor, attach, grads};
use rustnn_kernels::copy;
use rustnn_kernels::random as kernel;

fn check(p: f64) -> Result<()> {
    if (0.0..=1.0).contains(&p) {
        return Ok(());
    }
    Err(value_error!("dropout probability has to be between 0 and 1, but got {p}"))
}

fn flat(t: &Tensor) -> Result<Tensor> {
    t.with_layout(Layout {
        shape: Dims::from_slice(&[t.numel()]),
        strides: Strides::from_slice(&[1]),
        offset: t.offset(),
    })
}

/// Elements set to zero with probability `p`, the others scaled by `1 / (1 - p)`; in training only.
pub fn dropout(x: &Tensor, p: f64, training: bool) -> Result<Tensor> {
    check(p)?;
    if !training || p == 0.0 || x.numel() == 0 {
        return Ok(x.clone());
    }
    if !x.dtype().is_float() {
        return Err(runtime_error!(
            "result type Float can't be cast to the desired output type {}",
            x.dtype().torch_name()
        ));
    }
    if p == 1.0 {
        return compose::mul_s(x, 0.0);
    }
    let src = if x.layout().is_dense() { x.detach() } else { x.copied()? };
    let out = Tensor::empty_strided(x.shape(), src.strides(), x.dtype())?;
    let kept = Tensor::empty(&[x.numel()], DType::Bool)?;
    with_float!(x.dtype(), T => {
        let (s, d) = (flat(&src)?, flat(&out)?);
        let (s, d, k) = (s.slice::<T>()?, d.slice_mut::<T>()?, kept.slice_mut::<B8>()?);
        default_generator().with(|g| kernel::dropout(g, s, d, k, p));
    }, else {});
    let strides: Strides = src.strides().into();
    attach("DropoutBackward0", out, &[x], move |_, g| Ok(grads![masked_scale(g, &kept, &strides, p)?]))
}

/// The kept elements of `g` scaled, the others zero; `kept` lies in memory as a tensor of `strides` does.
fn masked_scale(g: &Tensor, kept: &Tensor, strides: &Strides, p: f64) -> Result<Tensor> {
    let src = if g.strides() == &strides[..] {
        g.detach()
    } else {
        let t = Tensor::empty_strided(g.shape(), strides, g.dtype())?;
        copy::copy(&t.raw(), &g.raw())?;
        t
    };
    let out = Tensor::empty_strided(g.shape(), strides, g.dtype())?;
    with_float!(g.dtype(), T => {
        let (s, d) = (flat(&src)?, flat(&out)?);
        kernel::masked_scale(s.slice::<T>()?, d.slice_mut::<T>()?, kept.slice::<B8>()?, p);
    }, else {});
    let (kept, strides) = (kept.clone(), strides.clone());
    attach("MaskedScaleBackward0", out, &[g], move |_, gg| Ok(grads![masked_scale(gg, &kept, &strides, p)?]))
}

/// Random 0s and 1s, one per element or (for `channels`) one per sample and channel.
fn noise(x: &Tensor, channels: bool, f: impl FnOnce(&Tensor) -> Result<()>) -> Result<Tensor> {
    let n = if channels {
        if x.ndim() < 2 {
            return Err(runtime_error!("Feature dropout requires at least 2 dimensions in the input")
                .hint(format!("its shape is {:?}", x.shape())));
        }
        let mut shape: Dims = x.shape().iter().map(|_| 1).collect();
        shape[..2].copy_from_slice(&x.shape()[..2]);
        Tensor::empty(&shape, x.dtype())?
    } else {
        x.empty_like()?
    };
    fill_memory(&n, f)?;
    Ok(n)
}

/// Whole channels set to zero.
fn channel_dropout(x: &Tensor, p: f64, training: bool) -> Result<Tensor> {
    check(p)?;
    if !training || p == 0.0 || x.numel() == 0 {
        return Ok(x.clone());
    }
    if p == 1.0 {
        return compose::mul_s(x, 0.0);
    }
    let n = noise(x, true, |t| {
        with_float!(t.dtype(), T => {
            let dst = t.slice_mut::<T>()?;
            default_generator().with(|g| kernel::feature_dropout(g, dst, p));
            Ok(())
        }, else Err(runtime_error!("result type Float can't be cast to the desired output type {}", t.dtype().torch_name())))
    })?;
    compose::mul(x, &n)
}

/// Dropout to SELU's lower limit instead of zero, then an affine map that restores mean and variance.
fn alpha(x: &Tensor, p: f64, training: bool, channels: bool) -> Result<Tensor> {
    check(p)?;
    if !training || p == 0.0 || x.numel() == 0 {
        return Ok(x.clone());
    }
    if p == 1.0 {
        return compose::mul_s(x, 0.0);
    }
    const ALPHA: f64 = 1.758_099_340_847_376_6;
    let a = 1.0 / ((ALPHA * ALPHA * p + 1.0) * (1.0 - p)).sqrt();
    let keep = noise(x, channels, |t| super::fill::bernoulli(t, default_generator(), 1.0 - p))?;
    let shift = keep.copied()?;
    fill_memory(&shift, |t| {
        with_float!(t.dtype(), T => {
            let (up, down) = (T::from_f64(ALPHA * a * p), T::from_f64(ALPHA * a));
            let dropped = T::from_f64(up.to_f64() - down.to_f64());
            for v in t.slice_mut::<T>()? {
                *v = if v.is_true() { up } else { dropped };
            }
        }, else {});
        Ok(())
    })?;
    fill_memory(&keep, |t| {
        with_float!(t.dtype(), T => {
            for v in t.slice_mut::<T>()? {
                *v = if v.is_true() { T::from_f64(a) } else { T::from_f64(0.0) };
            }
        }, else {});
        Ok(())
    })?;
    compose::add(&compose::mul(x, &keep)?, &shift)
}

/// The result, or the input after it was overwritten with it.
fn finish(x: &Tensor, out: Tensor, inplace: bool) -> Result<Ret> {
    if inplace {
        write_back(x, &out)?;
        return x.clone().ret();
    }
    out.ret()
}

/// `dropout1d` and `dropout3d` take input with or without a batch dimension.
fn maybe_batched(x: &Tensor, p: f64, training: bool, ranks: (usize, usize), name: &str) -> Result<Tensor> {
    if training && name == "dropout1d" && x.ndim() != ranks.0 && x.ndim() != ranks.1 {
        return Err(runtime_error!(
            "dropout1d: Expected 2D or 3D input, but received a {}D input. Note that dropout1d exists to provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an optional batch dimension (i.e. 2D or 3D inputs).",
            x.ndim()
        ));
    }
    if x.ndim() != ranks.0 {
        return channel_dropout(x, p, training);
    }
    view::squeeze(&channel_dropout(&view::unsqueeze(x, 0)?, p, training)?, Some(&[0]))
}

pub(super) fn ops() -> Vec<OpDef> {
    macro_rules! variant {
        ($name:literal, $doc:literal, $f:expr) => {
            variant!($name, "True", $doc, $f)
        };
        ($name:literal, $training:literal, $doc:literal, $f:expr) => {
            op(
                concat!($name, "(Tensor input, float p=0.5, bool training=", $training, ", bool inplace=False)"),
                NN,
                |a| {
                    let x = a.tensor(0)?;
                    let f: fn(&Tensor, f64, bool) -> Result<Tensor> = $f;
                    finish(x, f(x, a.float(1)?, a.bool(2)?)?, a.bool(3)?)
                },
            )
            .doc($doc)
            .samples(&["t(2,3,4), 0.5, False"])
            .oracle("input")
        };
    }
    vec![
        variant!(
            "dropout",
            "Elements set to zero with probability p, the others scaled by 1/(1-p); in training only.",
            dropout
        ),
        variant!("dropout1d", "Whole channels of (N,C,L) or (C,L) set to zero with probability p.", |x, p, t| {
            maybe_batched(x, p, t, (2, 3), "dropout1d")
        }),
        variant!("dropout2d", "Whole channels of (N,C,H,W) set to zero with probability p.", channel_dropout),
        variant!(
            "dropout3d",
            "Whole channels of (N,C,D,H,W) or (C,D,H,W) set to zero with probability p.",
            |x, p, t| maybe_batched(x, p, t, (4, 5), "dropout3d")
        ),
        variant!("alpha_dropout", "False", "Dropout that keeps mean and variance of SELU networks.", |x, p, t| alpha(
            x, p, t, false
        )),
        variant!("feature_alpha_dropout", "False", "alpha_dropout of whole channels.", |x, p, t| alpha(x, p, t, true)),
        op("dropout(Tensor input, float p, bool train)", TORCH, |a| {
            dropout(a.tensor(0)?, a.float(1)?, a.bool(2)?).ret()
        })
        .doc("Elements set to zero with probability p, the others scaled by 1/(1-p); in training only.")
        .samples(&["t(2,3), 0.5, False"])
        .oracle("input"),
        op("dropout_(Tensor input, float p, bool train)", TORCH, |a| {
            let x = a.tensor(0)?;
            finish(x, dropout(x, a.float(1)?, a.bool(2)?)?, true)
        }),
        op("feature_dropout(Tensor input, float p, bool train)", TORCH, |a| {
            channel_dropout(a.tensor(0)?, a.float(1)?, a.bool(2)?).ret()
        })
        .doc("Whole channels set to zero with probability p.")
        .samples(&["t(2,3), 0.5, False"])
        .oracle("input"),
        op("alpha_dropout(Tensor input, float p, bool train)", TORCH, |a| {
            alpha(a.tensor(0)?, a.float(1)?, a.bool(2)?, false).ret()
        })
        .doc("Dropout that keeps mean and variance of SELU networks.")
        .samples(&["t(2,3), 0.5, False"])
        .oracle("input"),
        op("feature_alpha_dropout(Tensor input, float p, bool train)", TORCH, |a| {
            alpha(a.tensor(0)?, a.float(1)?, a.bool(2)?, true).ret()
        })
        .doc("alpha_dropout of whole channels.")
        .samples(&["t(2,3), 0.5, False"])
        .oracle("input"),
        op("_dropout_noise(Tensor input, float p)", PRIVATE, |a| {
            // The mask alone, as PyTorch's dropout would draw it.
            dropout(&Tensor::full(a.tensor(0)?.shape(), Scalar::Int(1), a.tensor(0)?.dtype())?, a.float(1)?, true).ret()
        })
        .nondiff(),
    ]
}
