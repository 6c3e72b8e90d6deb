//! Group norm: statistics per image and group of channels.

use super::layer::{contiguous, slice, slice_mut};
use super::{acc_tensor, composite, float_only, narrow_to, parameter, present};
use crate::args::IntoRet;
use crate::compose as c;
use crate::registry::{NN, OpDef, TORCH, op};
use rustnn_core::base::layout;
use rustnn_core::base::{runtime_error, with_float};
use rustnn_core::{Grads, Result, Tensor, attach, needs_grad, save};
use rustnn_kernels::norm::{self as kernel, Ncs};

/// Batch, channels and everything behind.
pub(super) fn ncs(x: &Tensor) -> Ncs {
    let s = x.shape();
    Ncs { n: s[0], c: s[1], s: layout::count(&s[2..]) }
}

/// Group norm of `[batch, channels, ...]` with scale and shift per channel.
pub fn group_norm(x: &Tensor, groups: i64, w: Option<&Tensor>, b: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    if x.ndim() < 2 {
        return Err(runtime_error!("Expected at least 2 dimensions for input tensor but received {}", x.ndim()));
    }
    let d = ncs(x);
    if groups <= 0 || d.c % groups as usize != 0 {
        return Err(runtime_error!(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape {:?} and num_groups={groups}",
            x.shape()
        ));
    }
    let groups = groups as usize;
    let w = parameter(w, d.c, x.dtype(), "weight")?;
    let b = parameter(b, d.c, x.dtype(), "bias")?;
    let xc = x.to_contiguous()?;
    let y = Tensor::empty(x.shape(), x.dtype())?;
    let (wc, bc) = (contiguous(w.as_ref())?, contiguous(b.as_ref())?);
    let (mean, rstd) = float_only!("GroupNormKernelImpl", x.dtype(), T => {
        let rows = layout::count(&[d.n, groups]);
        let (mean, rstd) = (acc_tensor::<T>(rows)?, acc_tensor::<T>(rows)?);
        kernel::group_norm::<T>(
            xc.slice()?, slice(wc.as_ref())?, slice(bc.as_ref())?, y.slice_mut()?, mean.slice_mut()?, rstd.slice_mut()?,
            d, groups, eps,
        );
        (mean, rstd)
    });
    let (inputs, iw, ib) = present(x, w.as_ref(), b.as_ref());
    if !needs_grad(&inputs) {
        return Ok(y);
    }
    let (sx, sw) = (save(x), w.as_ref().map(save));
    attach("NativeGroupNormBackward0", y, &inputs, move |ctx, g| {
        let x = sx.get(ctx)?;
        let w = sw.as_ref().map(|w| w.get(ctx)).transpose()?;
        let mut out = Grads::from_elem(None, 1 + usize::from(iw.is_some()) + usize::from(ib.is_some()));
        if needs_grad(&[g, &x]) || w.as_ref().is_some_and(|w| needs_grad(&[w])) {
            let cg = d.c / groups;
            let flat = |t: &Tensor| c::reshape(t, &[d.n, groups, cg, d.s]);
            let w1 = w.as_ref().map(|w| c::reshape(w, &[1, groups, cg, 1])).transpose()?;
            let (gx, gxhat) = composite(&flat(g)?, &flat(&x)?, w1.as_ref(), &[2, 3], eps, false, None)?;
            out[0] = Some(c::reshape(&gx, x.shape())?);
            let per_channel = |t: &Tensor| c::reshape(&c::sum_dims(t, &[0, 3], false)?, &[d.c]);
            if let Some(i) = iw {
                out[i] = Some(per_channel(&gxhat)?);
            }
            if let Some(i) = ib {
                out[i] = Some(per_channel(&flat(g)?)?);
            }
            return Ok(out);
        }
        let (g, xc, wc) = (g.to_contiguous()?, x.to_contiguous()?, contiguous(w.as_ref())?);
        with_float!(x.dtype(), T => {
            let gx = if ctx.wants(0) { Some(Tensor::empty(x.shape(), x.dtype())?) } else { None };
            let acc = |i: Option<usize>| match i {
                Some(i) if ctx.wants(i) => {
                    let t = acc_tensor::<T>(d.c)?;
                    rustnn_kernels::copy::fill(&t.raw(), 0i64.into())?;
                    Ok(Some(t))
                }
                _ => Result::Ok(None),
            };
            let (gw, gb) = (acc(iw)?, acc(ib)?);
            kernel::group_norm_backward::<T>(
                g.slice()?, xc.slice()?, slice(wc.as_ref())?, mean.slice()?, rstd.slice()?, slice_mut(gx.as_ref())?,
                slice_mut(gw.as_ref())?, slice_mut(gb.as_ref())?, d, groups,
            );
            out[0] = gx;
            for (i, t) in [(iw, gw), (ib, gb)] {
                if let (Some(i), Some(t)) = (i, t) {
                    out[i] = Some(narrow_to(&t, &[d.c], x.dtype())?);
                }
            }
        }, else {});
        Ok(out)
    })
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float eps=1e-05)", NN | TORCH, |a| {
            group_norm(a.tensor(0)?, a.int(1)?, a.opt_tensor(2), a.opt_tensor(3), a.float(4)?).ret()
        })
        .doc("Normalises each group of channels of each sample, then scales and shifts per channel.")
        .samples(&["t(2,4,3), 2", "t(2,6,2,2), 3, t(6), t(6)", "t(3,4), 2, t(4), t(4), eps=0.1"])
        .oracle("(lambda r, sh: (((r - r.mean(2, keepdims=True)) / np.sqrt(r.var(2, keepdims=True) + eps)).reshape(input.shape) * (1 if weight is None else weight.reshape(sh)) + (0 if bias is None else bias.reshape(sh))))(input.reshape(input.shape[0], num_groups, -1), (1, -1) + (1,) * (input.ndim - 2))"),
    ]
}
