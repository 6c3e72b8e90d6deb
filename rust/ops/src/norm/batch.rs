//! Batch norm and instance norm, with running statistics written in place.

use super::group::ncs;
use super::layer::{contiguous, slice};
use super::{acc_tensor, composite, float_only, narrow_to, parameter, present};
use crate::args::IntoRet;
use crate::compose as c;
use crate::conv::fused;
use crate::registry::{NN, OpDef, op};
use rustnn_core::base::{dtype::Float, dtype::Real, layout, runtime_error, value_error, with_float};
use rustnn_core::{DType, Element, Grads, Result, Tensor, attach, mode, needs_grad, save};
use rustnn_kernels::room;
use rustnn_kernels::{copy, norm::Ncs, norm_batch as kernel};

fn size_text(s: &[usize]) -> String {
    format!("torch.Size([{}])", s.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

/// `running = (1 - momentum) * running + momentum * seen`, in place.
fn update(running: &Tensor, seen: &[f64], momentum: f64) -> Result<()> {
    let old = running.copied_as(DType::F64)?.to_contiguous()?;
    let mixed = old.slice::<f64>()?.iter().zip(seen).map(|(o, s)| (1.0 - momentum) * o + momentum * s);
    let new: Vec<f64> = room::collected(mixed)?;
    copy::copy(&running.raw(), &Tensor::from_slice(&new, running.shape())?.raw())?;
    running.bump_version();
    Ok(())
}

fn values(t: &Tensor) -> Result<Vec<f64>> {
    room::copied(t.copied_as(DType::F64)?.slice::<f64>()?)
}

/// Batch norm of `[batch, channels, ...]`. In training the batch's own statistics are used and, where running ones
/// are given, mixed into them; in evaluation the running ones are used.
pub fn batch_norm(
    x: &Tensor,
    running: (Option<&Tensor>, Option<&Tensor>),
    w: Option<&Tensor>,
    b: Option<&Tensor>,
    training: bool,
    momentum: f64,
    eps: f64,
) -> Result<Tensor> {
    if x.ndim() < 2 {
        return Err(runtime_error!(
            "batch_norm: expected an input of at least 2 dimensions, got shape {:?}",
            x.shape()
        ));
    }
    let d = ncs(x);
    let count = layout::count(&[d.n, d.s]);
    if training && count == 1 {
        return Err(value_error!(
            "Expected more than 1 value per channel when training, got input size {}", size_text(x.shape())
        )
        .hint("a batch of one sample has no variance: call model.eval() for inference, or DataLoader(drop_last=True) for the last batch"));
    }
    for (r, name) in [(running.0, "running_mean"), (running.1, "running_var")] {
        if let Some(r) = r.filter(|r| r.numel() != d.c) {
            return Err(runtime_error!("{name} should contain {} elements not {}", d.c, r.numel()));
        }
        if !training && r.is_none() {
            return Err(runtime_error!("{name} must be defined in evaluation mode"));
        }
    }
    for (p, name) in [(w, "weight"), (b, "bias")] {
        if let Some(p) = p.filter(|p| p.numel() != d.c) {
            return Err(runtime_error!("{name} should contain {} elements not {}", d.c, p.numel()));
        }
    }
    let w = parameter(w, d.c, x.dtype(), "weight")?;
    let b = parameter(b, d.c, x.dtype(), "bias")?;
    let xc = x.to_contiguous()?;
    let (wc, bc) = (contiguous(w.as_ref())?, contiguous(b.as_ref())?);
    let (y, mean, rstd) = float_only!("batch_norm", x.dtype(), T => {
        let (mean, var) = (acc_tensor::<T>(d.c)?, acc_tensor::<T>(d.c)?);
        if let (false, Some(m), Some(v)) = (training, running.0, running.1) {
            copy::copy(&mean.raw(), &m.raw())?;
            copy::copy(&var.raw(), &v.raw())?;
        } else if count == 0 {
            copy::fill(&mean.raw(), 0i64.into())?;
            copy::fill(&var.raw(), 1i64.into())?;
        } else {
            kernel::channel_stats::<T>(xc.slice()?, d, mean.slice_mut()?, var.slice_mut()?);
            mode::no_grad(|| {
                if let Some(r) = running.0 {
                    update(r, &values(&mean)?, momentum)?;
                }
                if let Some(r) = running.1 {
                    let k = count as f64 / (count as f64 - 1.0);
                    let unbiased: Vec<f64> = room::collected(values(&var)?.iter().map(|v| v * k))?;
                    update(r, &unbiased, momentum)?;
                }
                Result::Ok(())
            })?;
        }
        type A<T> = <T as Float>::Acc;
        for v in var.slice_mut::<A<T>>()? {
            *v = A::<T>::ONE / (*v + A::<T>::from_f64(eps)).sqrt();
        }
        let (w, b) = (slice(wc.as_ref())?, slice(bc.as_ref())?);
        let factors = || {
            let [scale, shift] = kernel::factors::<T>(var.slice()?, w, b);
            let single = |v: &[A<T>]| room::collected(v.iter().map(|v| v.to_f64() as f32));
            Ok([single(mean.slice()?)?, single(&scale)?, single(&shift)?])
        };
        let y = match if training { None } else { fused::normalize(x, factors)? } {
            Some(y) => y,
            None => {
                let y = Tensor::empty(x.shape(), x.dtype())?;
                kernel::channel_normalize::<T>(
                    xc.slice()?, mean.slice()?, var.slice()?, w, b, y.slice_mut()?, d,
                );
                y
            }
        };
        (y, mean, var)
    });
    record(x, w, b, y, d, training, eps, mean, rstd)
}

fn record(
    x: &Tensor,
    w: Option<Tensor>,
    b: Option<Tensor>,
    y: Tensor,
    d: Ncs,
    training: bool,
    eps: f64,
    mean: Tensor,
    rstd: Tensor,
) -> Result<Tensor> {
    let (inputs, iw, ib) = present(x, w.as_ref(), b.as_ref());
    if !needs_grad(&inputs) {
        return Ok(y);
    }
    let (sx, sw) = (save(x), w.as_ref().map(save));
    attach("NativeBatchNormBackward0", y, &inputs, move |ctx, g| {
        let x = sx.get(ctx)?;
        let w = sw.as_ref().map(|w| w.get(ctx)).transpose()?;
        let mut out = Grads::from_elem(None, 1 + usize::from(iw.is_some()) + usize::from(ib.is_some()));
        if needs_grad(&[g, &x]) || w.as_ref().is_some_and(|w| needs_grad(&[w])) {
            let flat = |t: &Tensor| c::reshape(t, &[d.n, d.c, d.s]);
            let wide = |t: &Tensor| c::reshape(t, &[1, d.c, 1]);
            let w1 = w.as_ref().map(wide).transpose()?;
            let (m, r) = (wide(&mean.copied_as(x.dtype())?)?, wide(&rstd.copied_as(x.dtype())?)?);
            let fixed = (!training).then_some((&m, &r));
            let (gx, gxhat) = composite(&flat(g)?, &flat(&x)?, w1.as_ref(), &[0, 2], eps, false, fixed)?;
            out[0] = Some(c::reshape(&gx, x.shape())?);
            if let Some(i) = iw {
                out[i] = Some(c::sum_dims(&gxhat, &[0, 2], false)?);
            }
            if let Some(i) = ib {
                out[i] = Some(c::sum_dims(&flat(g)?, &[0, 2], false)?);
            }
            return Ok(out);
        }
        let (g, xc, wc) = (g.to_contiguous()?, x.to_contiguous()?, contiguous(w.as_ref())?);
        with_float!(x.dtype(), T => {
            let (sg, sx) = (acc_tensor::<T>(d.c)?, acc_tensor::<T>(d.c)?);
            kernel::channel_sums::<T>(
                g.slice()?, xc.slice()?, mean.slice()?, rstd.slice()?, d, sg.slice_mut()?, sx.slice_mut()?,
            );
            if ctx.wants(0) {
                let gx = Tensor::empty(x.shape(), x.dtype())?;
                let sums = if training { Some((sg.slice()?, sx.slice()?)) } else { None };
                kernel::channel_backward::<T>(
                    g.slice()?, xc.slice()?, mean.slice()?, rstd.slice()?, slice(wc.as_ref())?, sums, gx.slice_mut()?, d,
                );
                out[0] = Some(gx);
            }
            for (i, t) in [(iw, sx), (ib, sg)] {
                if let Some(i) = i.filter(|&i| ctx.wants(i)) {
                    out[i] = Some(narrow_to(&t, &[d.c], x.dtype())?);
                }
            }
        }, else {});
        Ok(out)
    })
}

/// Instance norm: each channel of each sample by itself; or, without `use_input_stats`, by running statistics.
pub fn instance_norm(
    x: &Tensor,
    running: (Option<&Tensor>, Option<&Tensor>),
    w: Option<&Tensor>,
    b: Option<&Tensor>,
    use_input_stats: bool,
    momentum: f64,
    eps: f64,
) -> Result<Tensor> {
    if x.ndim() < 2 {
        return Err(runtime_error!(
            "instance_norm: expected an input of at least 2 dimensions, got shape {:?}",
            x.shape()
        ));
    }
    if !use_input_stats {
        return batch_norm(x, running, w, b, false, momentum, eps);
    }
    let d = ncs(x);
    if d.s == 1 {
        return Err(value_error!(
            "Expected more than 1 spatial element when training, got input size {}",
            size_text(x.shape())
        ));
    }
    let y = super::group_norm(x, d.c.max(1) as i64, w, b, eps)?;
    if running.0.is_some() || running.1.is_some() {
        mode::no_grad(|| -> Result<()> {
            let x = x.detach().copied_as(DType::F64)?.to_contiguous()?;
            let (n, s) = (d.n as f64, d.s as f64);
            let (mut means, mut vars) = (room::filled(d.c, 0.0)?, room::filled(d.c, 0.0)?);
            for (i, row) in x.slice::<f64>()?.chunks_exact(d.s.max(1)).enumerate() {
                let m = row.iter().sum::<f64>() / s;
                means[i % d.c] += m / n;
                vars[i % d.c] += row.iter().map(|v| (v - m) * (v - m)).sum::<f64>() / (s - 1.0) / n;
            }
            if let Some(r) = running.0 {
                update(r, &means, momentum)?;
            }
            if let Some(r) = running.1 {
                update(r, &vars, momentum)?;
            }
            Ok(())
        })?;
    }
    Ok(y)
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("batch_norm(Tensor input, Tensor? running_mean, Tensor? running_var, Tensor? weight=None, Tensor? bias=None, bool training=False, float momentum=0.1, float eps=1e-05)", NN, |a| {
            batch_norm(a.tensor(0)?, (a.opt_tensor(1), a.opt_tensor(2)), a.opt_tensor(3), a.opt_tensor(4), a.bool(5)?, a.float(6)?, a.float(7)?).ret()
        })
        .doc("Normalises each channel by the batch's statistics (training, which also updates the running ones in place) or by the running ones.")
        .samples(&["t(4,3), None, None, None, None, True", "t(4,3,2), None, None, t(3), t(3), True", "t(2,3,2,2), None, None, t(3), t(3), True, 0.1, 0.1", "t(4,3), t(3).detach(), pos(3).detach(), t(3), t(3), False"])
        .oracle("(lambda sh, ax: (input - (input.mean(ax, keepdims=True) if training else running_mean.reshape(sh))) / np.sqrt((input.var(ax, keepdims=True) if training else running_var.reshape(sh)) + eps) * (1 if weight is None else weight.reshape(sh)) + (0 if bias is None else bias.reshape(sh)))((1, -1) + (1,) * (input.ndim - 2), (0,) + tuple(range(2, input.ndim)))"),
        op("instance_norm(Tensor input, Tensor? running_mean=None, Tensor? running_var=None, Tensor? weight=None, Tensor? bias=None, bool use_input_stats=True, float momentum=0.1, float eps=1e-05)", NN, |a| {
            instance_norm(a.tensor(0)?, (a.opt_tensor(1), a.opt_tensor(2)), a.opt_tensor(3), a.opt_tensor(4), a.bool(5)?, a.float(6)?, a.float(7)?).ret()
        })
        .doc("Normalises each channel of each sample by itself.")
        .samples(&["t(2,3,4)", "t(2,3,2,2), None, None, t(3), t(3)"])
        .oracle("(lambda sh, ax: (input - input.mean(ax, keepdims=True)) / np.sqrt(input.var(ax, keepdims=True) + eps) * (1 if weight is None else weight.reshape(sh)) + (0 if bias is None else bias.reshape(sh)))((1, -1) + (1,) * (input.ndim - 2), tuple(range(2, input.ndim)))"),
    ]
}
