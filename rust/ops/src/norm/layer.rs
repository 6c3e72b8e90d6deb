//! Layer norm and RMS norm over the last dimensions.

use super::{acc_tensor, composite, float_only, narrow_to, present};
use crate::args::IntoRet;
use crate::compose as c;
use crate::registry::{NN, OpDef, TORCH, op};
use rustnn_core::base::layout;
use rustnn_core::base::{dtype::Float, runtime_error, with_float};
use rustnn_core::{Element, Grads, Result, Tensor, attach, needs_grad, save};
use rustnn_kernels::norm as kernel;

fn list(v: &[usize]) -> String {
    v.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Checks `normalized_shape` against the input and the parameters; gives the row length.
fn row_length(x: &Tensor, shape: &[i64], params: [(Option<&Tensor>, &str); 2]) -> Result<usize> {
    let want: Vec<usize> = shape.iter().map(|&d| d.max(0) as usize).collect();
    if want.is_empty() {
        return Err(runtime_error!(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got normalized_shape = []"
        ));
    }
    for (p, name) in params {
        if let Some(p) = p.filter(|p| p.shape() != want) {
            return Err(runtime_error!(
                "Expected {name} to be of same shape as normalized_shape, but got {name} of shape [{}] and normalized_shape = [{}]",
                list(p.shape()),
                list(&want)
            ));
        }
    }
    if x.ndim() < want.len() || x.shape()[x.ndim() - want.len()..] != want[..] {
        return Err(runtime_error!(
            "Given normalized_shape=[{}], expected input with shape [*, {}], but got input of size[{}]",
            list(&want),
            list(&want),
            list(x.shape())
        ));
    }
    Ok(layout::count(&want))
}

/// Layer norm over the last dimensions `shape`.
pub fn layer_norm(x: &Tensor, shape: &[i64], w: Option<&Tensor>, b: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let n = row_length(x, shape, [(w, "weight"), (b, "bias")])?;
    rows(x, n, w, b, eps, false)
}

/// RMS norm: as layer norm without the mean and the bias. Without `eps` that of the dtype it is computed in.
pub fn rms_norm(x: &Tensor, shape: &[i64], w: Option<&Tensor>, eps: Option<f64>) -> Result<Tensor> {
    let n = row_length(x, shape, [(w, "weight"), (None, "bias")])?;
    let eps = eps.unwrap_or(match x.dtype() {
        rustnn_core::DType::F64 => f64::EPSILON,
        _ => f64::from(f32::EPSILON),
    });
    rows(x, n, w, None, eps, true)
}

fn rows(x: &Tensor, n: usize, w: Option<&Tensor>, b: Option<&Tensor>, eps: f64, rms: bool) -> Result<Tensor> {
    let d = x.dtype();
    let w = w.map(|w| crate::basic::to_dtype(w, d)).transpose()?;
    let b = b.map(|b| crate::basic::to_dtype(b, d)).transpose()?;
    let count = if n == 0 { 0 } else { x.numel() / n };
    let xc = x.to_contiguous()?;
    let y = Tensor::empty(x.shape(), d)?;
    let (wc, bc) = (contiguous(w.as_ref())?, contiguous(b.as_ref())?);
    let (mean, rstd) = float_only!("LayerNormKernelImpl", d, T => {
        let (mean, rstd) = (acc_tensor::<T>(count)?, acc_tensor::<T>(count)?);
        kernel::layer_norm::<T>(
            xc.slice()?, slice(wc.as_ref())?, slice(bc.as_ref())?, y.slice_mut()?, mean.slice_mut()?, rstd.slice_mut()?,
            n, eps, rms,
        );
        (mean, rstd)
    });
    let (inputs, iw, ib) = present(x, w.as_ref(), b.as_ref());
    if !needs_grad(&inputs) {
        return Ok(y);
    }
    let (sx, sw) = (save(x), w.as_ref().map(save));
    let shapes = (w.as_ref().map(|w| w.shape().to_vec()), b.as_ref().map(|b| b.shape().to_vec()));
    let name = if rms { "FusedRmsNormBackward0" } else { "NativeLayerNormBackward0" };
    attach(name, y, &inputs, move |ctx, g| {
        let x = sx.get(ctx)?;
        let w = sw.as_ref().map(|w| w.get(ctx)).transpose()?;
        let mut out = Grads::from_elem(None, 1 + usize::from(iw.is_some()) + usize::from(ib.is_some()));
        if needs_grad(&[g, &x]) || w.as_ref().is_some_and(|w| needs_grad(&[w])) {
            let flat = |t: &Tensor| c::reshape(t, &[count, n]);
            let w1 = w.as_ref().map(|w| c::reshape(w, &[n])).transpose()?;
            let (gx, gxhat) = composite(&flat(g)?, &flat(&x)?, w1.as_ref(), &[1], eps, rms, None)?;
            out[0] = Some(c::reshape(&gx, x.shape())?);
            if let (Some(i), Some(s)) = (iw, &shapes.0) {
                out[i] = Some(c::reshape(&c::sum_dims(&gxhat, &[0], false)?, s)?);
            }
            if let (Some(i), Some(s)) = (ib, &shapes.1) {
                out[i] = Some(c::reshape(&c::sum_dims(&flat(g)?, &[0], false)?, s)?);
            }
            return Ok(out);
        }
        let (g, xc, wc) = (g.to_contiguous()?, x.to_contiguous()?, contiguous(w.as_ref())?);
        with_float!(x.dtype(), T => {
            let gx = if ctx.wants(0) { Some(Tensor::empty(x.shape(), x.dtype())?) } else { None };
            let acc = |i: Option<usize>| match i {
                Some(i) if ctx.wants(i) => Ok(Some(acc_tensor::<T>(n)?)),
                _ => Result::Ok(None),
            };
            let (gw, gb) = (acc(iw)?, acc(ib)?);
            if count == 0 {
                for t in [&gw, &gb].into_iter().flatten() {
                    t.slice_mut::<<T as Float>::Acc>()?.fill(<<T as Float>::Acc>::from_f64(0.0));
                }
            }
            kernel::layer_norm_backward::<T>(
                g.slice()?, xc.slice()?, slice(wc.as_ref())?, mean.slice()?, rstd.slice()?, slice_mut(gx.as_ref())?,
                slice_mut(gw.as_ref())?, slice_mut(gb.as_ref())?, n, rms,
            );
            out[0] = gx;
            if let (Some(i), Some(t), Some(s)) = (iw, gw, &shapes.0) {
                out[i] = Some(narrow_to(&t, s, x.dtype())?);
            }
            if let (Some(i), Some(t), Some(s)) = (ib, gb, &shapes.1) {
                out[i] = Some(narrow_to(&t, s, x.dtype())?);
            }
        }, else {});
        Ok(out)
    })
}

pub(super) fn contiguous(t: Option<&Tensor>) -> Result<Option<Tensor>> {
    t.map(Tensor::to_contiguous).transpose()
}
pub(super) fn slice<T: Element>(t: Option<&Tensor>) -> Result<Option<&[T]>> {
    t.map(Tensor::slice::<T>).transpose()
}
pub(super) fn slice_mut<T: Element>(t: Option<&Tensor>) -> Result<Option<&mut [T]>> {
    t.map(Tensor::slice_mut::<T>).transpose()
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("layer_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, Tensor? bias=None, float eps=1e-05)", NN | TORCH, |a| {
            layer_norm(a.tensor(0)?, a.ints(1)?, a.opt_tensor(2), a.opt_tensor(3), a.float(4)?).ret()
        })
        .doc("Normalises over the last dimensions: (x - mean) / sqrt(var + eps) * weight + bias.")
        .samples(&["t(3,5), [5]", "t(2,3,4), [3,4], t(3,4), t(3,4)", "t(4,6), [6], t(6), eps=0.1", "t(0,3), [3], t(3), t(3)"])
        .oracle("(lambda ax: (input - input.mean(ax, keepdims=True)) / np.sqrt(input.var(ax, keepdims=True) + eps) * (1 if weight is None else weight) + (0 if bias is None else bias))(tuple(range(input.ndim - len(normalized_shape), input.ndim)))"),
        op("rms_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, float? eps=None)", NN | TORCH, |a| {
            rms_norm(a.tensor(0)?, a.ints(1)?, a.opt_tensor(2), a.opt_float(3)).ret()
        })
        .doc("Divides by the root of the mean square over the last dimensions, then scales by weight.")
        .samples(&["t(3,5), [5], eps=1e-5", "t(2,3,4), [3,4], t(3,4), eps=0.1"])
        .oracle("(lambda ax: input / np.sqrt((input**2).mean(ax, keepdims=True) + eps) * (1 if weight is None else weight))(tuple(range(input.ndim - len(normalized_shape), input.ndim)))"),
    ]
}
