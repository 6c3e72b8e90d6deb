//! Optimizer steps over lists of parameters, in place, in one call; and gradient clipping.

use crate::args::{Args, IntoRet, Ret};
use crate::registry::{OpDef, PRIVATE, op};
use rustnn_core::base::{runtime_error, with_float};
use rustnn_core::inplace::check_writable;
use rustnn_core::{DType, Result, Scalar, Tensor, mode};
use rustnn_kernels::rowmath::Row;
use rustnn_kernels::{copy, optim as kernel};
use smallvec::SmallVec;

/// One parameter, its gradient and its states (up to three).
#[derive(Clone, Copy)]
struct Item<'a> {
    p: &'a Tensor,
    g: &'a Tensor,
    s: [Option<&'a Tensor>; 3],
    step: f64,
    fresh: bool,
}

type Items<'a> = SmallVec<[Item<'a>; 8]>;

/// A list that is either empty or as long as the parameters.
fn list<'a>(a: &'a Args, i: usize, n: usize, what: &str) -> Result<Option<&'a [Tensor]>> {
    let v = a.tensors(i)?;
    if v.is_empty() && n > 0 {
        return Ok(None);
    }
    if v.len() != n {
        return Err(runtime_error!("optimizer: {n} parameters, but {} {what}", v.len()));
    }
    Ok(Some(v))
}

fn items(a: &Args, states: [Option<usize>; 3]) -> Result<Items<'_>> {
    let params = a.tensors(0)?;
    let grads = list(a, 1, params.len(), "gradients")?.unwrap_or(&[]);
    let mut s = [None; 3];
    for (slot, i) in s.iter_mut().zip(states) {
        if let Some(i) = i {
            *slot = list(a, i, params.len(), "states")?;
        }
    }
    let mut items = Items::with_capacity(params.len());
    for (i, (p, g)) in params.iter().zip(grads).enumerate() {
        check_writable(p)?;
        if p.shape() != g.shape() {
            return Err(runtime_error!(
                "optimizer: a parameter of shape {:?} has a gradient of shape {:?}",
                p.shape(),
                g.shape()
            ));
        }
        if !p.dtype().is_float() {
            return Err(runtime_error!("optimizer: parameters must be floating point, got {}", p.dtype()));
        }
        items.push(Item { p, g, s: s.map(|s| s.map(|s| &s[i])), step: 1.0, fresh: false });
    }
    Ok(items)
}

/// Runs `f` on items with their new step counts: step tensors (0-d) are counted up, and down again if it fails.
fn counted<'a>(
    mut items: Items<'a>,
    steps: Option<&[Tensor]>,
    f: impl FnOnce(&[Item<'a>]) -> Result<()>,
) -> Result<()> {
    let steps = steps.unwrap_or(&[]);
    let write = |t: &Tensor, step: f64| copy::fill(&t.raw(), Scalar::Float(step)).map(|()| t.bump_version());
    for (item, t) in items.iter_mut().zip(steps) {
        item.step = t.item()?.to_f64() + 1.0;
        write(t, item.step)?;
    }
    f(&items).inspect_err(|_| {
        for (item, t) in items.iter().zip(steps) {
            // It was written a moment ago.
            let _ = write(t, item.step - 1.0);
        }
    })
}

impl Item<'_> {
    /// Whether a kernel can take the memory as it is: a dense parameter whose gradient and states lie alike is one run
    /// of memory in any order of dimensions.
    fn direct(&self) -> bool {
        let all = [Some(self.g), self.s[0], self.s[1], self.s[2]];
        let alike = |t: &&Tensor| t.strides() == self.p.strides() && t.dtype() == self.p.dtype();
        (self.p.is_contiguous() || self.p.layout().is_dense()) && all.iter().flatten().all(alike)
    }
}

/// Row-major copies of an item's tensors (themselves where they are row-major), to be stepped in their stead.
struct Own {
    p: Tensor,
    g: Tensor,
    s: [Option<Tensor>; 3],
}

impl Own {
    /// What has to be copied back is noted as (to, from).
    fn new(i: &Item, back: &mut Vec<(Tensor, Tensor)>) -> Result<Own> {
        let d = i.p.dtype();
        let mut own = |t: &Tensor, write: bool| -> Result<Tensor> {
            if t.is_contiguous() && t.dtype() == d {
                return Ok(t.detach());
            }
            let c = t.detach().copied_as(d)?.to_contiguous()?;
            if write {
                back.push((t.clone(), c.clone()));
            }
            Ok(c)
        };
        let (p, g) = (own(i.p, true)?, own(i.g, false)?);
        let mut s = [None, None, None];
        for (slot, t) in s.iter_mut().zip(i.s) {
            *slot = t.map(|t| own(t, true)).transpose()?;
        }
        Ok(Own { p, g, s })
    }
}

/// Runs `f` on all items of one dtype after the other. Memory that is not row-major takes a detour through a copy.
fn step<'a>(items: &[Item<'a>], f: impl Fn(DType, &[Item]) -> Result<()>) -> Result<()> {
    let _guard = mode::GradGuard::new(false);
    let (mut owns, mut back) = (Vec::new(), Vec::new());
    if !items.iter().all(Item::direct) {
        for i in items {
            owns.push(if i.direct() { None } else { Some(Own::new(i, &mut back)?) });
        }
    }
    let taken = |(k, i): (usize, &Item<'a>)| match owns.get(k) {
        Some(Some(o)) => Item { p: &o.p, g: &o.g, s: [0, 1, 2].map(|k| o.s[k].as_ref()), ..*i },
        _ => *i,
    };
    for d in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let of: Items =
            items.iter().enumerate().filter(|(_, i)| i.p.dtype() == d && i.p.numel() > 0).map(taken).collect();
        if !of.is_empty() {
            // A step that fails may have written some of them.
            f(d, &of).inspect_err(|_| items.iter().for_each(|i| i.p.storage().bump(false)))?;
        }
    }
    for (to, from) in back {
        copy::copy(&to.raw(), &from.raw())?;
    }
    for i in items {
        i.p.bump_version();
        i.s.iter().flatten().for_each(|t| t.bump_version());
    }
    Ok(())
}

fn jobs<'a, T: Row>(items: &[Item<'a>]) -> Result<SmallVec<[kernel::Job<'a, T>; 8]>> {
    let mut jobs = SmallVec::with_capacity(items.len());
    for i in items {
        jobs.push(kernel::Job::new(i.p.raw(), i.g.raw(), i.s.map(|t| t.map(Tensor::raw)), i.step, i.fresh)?);
    }
    Ok(jobs)
}

macro_rules! run {
    ($items:expr, $kernel:path, $h:expr) => {
        step($items, |d, of| {
            with_float!(d, T => $kernel(&jobs::<T>(of)?, $h), else {});
            Ok(())
        })
    };
}

fn sgd(a: &Args) -> Result<Ret> {
    let h = kernel::Sgd {
        lr: a.float(3)?,
        momentum: a.float(4)?,
        dampening: a.float(5)?,
        weight_decay: a.float(6)?,
        nesterov: a.bool(7)?,
        maximize: a.bool(8)?,
    };
    let mut items = items(a, [Some(2), None, None])?;
    let first = a.bool(9)?;
    items.iter_mut().for_each(|i| i.fresh = first);
    if h.momentum != 0.0 && items.iter().any(|i| i.s[0].is_none()) {
        return Err(runtime_error!("_sgd_step: momentum needs a buffer for each parameter"));
    }
    run!(&items, kernel::sgd, h).ret()
}

fn adam(a: &Args) -> Result<Ret> {
    let h = kernel::Adam {
        lr: a.float(6)?,
        beta1: a.float(7)?,
        beta2: a.float(8)?,
        eps: a.float(9)?,
        weight_decay: a.float(10)?,
        amsgrad: a.bool(11)?,
        maximize: a.bool(12)?,
        decoupled: a.bool(13)?,
    };
    let items = items(a, [Some(2), Some(3), Some(4)])?;
    if items.iter().any(|i| i.s[0].is_none() || i.s[1].is_none() || (h.amsgrad && i.s[2].is_none())) {
        return Err(runtime_error!("_adam_step: a state is missing"));
    }
    let steps = list(a, 5, a.tensors(0)?.len(), "steps")?;
    counted(items, steps, |items| run!(items, kernel::adam, h)).ret()
}

fn rmsprop(a: &Args) -> Result<Ret> {
    let h = kernel::RmsProp {
        lr: a.float(6)?,
        alpha: a.float(7)?,
        eps: a.float(8)?,
        weight_decay: a.float(9)?,
        momentum: a.float(10)?,
        centered: a.bool(11)?,
        maximize: a.bool(12)?,
    };
    let items = items(a, [Some(2), Some(4), Some(3)])?;
    if items
        .iter()
        .any(|i| i.s[0].is_none() || (h.momentum > 0.0 && i.s[1].is_none()) || (h.centered && i.s[2].is_none()))
    {
        return Err(runtime_error!("_rmsprop_step: a state is missing"));
    }
    let steps = list(a, 5, a.tensors(0)?.len(), "steps")?;
    counted(items, steps, |items| run!(items, kernel::rmsprop, h)).ret()
}

fn adagrad(a: &Args) -> Result<Ret> {
    let h = kernel::Adagrad {
        lr: a.float(4)?,
        lr_decay: a.float(5)?,
        weight_decay: a.float(6)?,
        eps: a.float(7)?,
        maximize: a.bool(8)?,
    };
    let items = items(a, [Some(2), None, None])?;
    if items.iter().any(|i| i.s[0].is_none()) {
        return Err(runtime_error!("_adagrad_step: a state is missing"));
    }
    let steps = list(a, 3, a.tensors(0)?.len(), "steps")?;
    counted(items, steps, |items| run!(items, kernel::adagrad, h)).ret()
}

/// Norm of all gradients together.
pub fn total_norm(grads: &[Tensor], p: f64) -> Result<Tensor> {
    let mut norms = Vec::with_capacity(grads.len());
    let mut dtype = None;
    for g in grads {
        dtype = Some(dtype.map_or(g.dtype(), |d: DType| d.promote(g.dtype())));
        let g = g.detach().to_contiguous()?;
        norms.push(with_float!(g.dtype(), T => kernel::norm::<T>(g.slice()?, p), else {
            return Err(runtime_error!("gradients are floating point, got {}", g.dtype()));
        }));
    }
    Tensor::scalar(Scalar::Float(kernel::combine_norms(&norms, p, false)), dtype.unwrap_or_else(mode::default_dtype))
}

/// Scales gradients in place so that their norm is at most `max_norm`; gives the norm they had.
fn clip(grads: &[Tensor], max_norm: f64, p: f64, strict: bool) -> Result<Tensor> {
    let total = total_norm(grads, p)?;
    let n = total.item()?.to_f64();
    if strict && !n.is_finite() {
        return Err(runtime_error!(
            "The total norm of order {p} for gradients from `parameters` is non-finite, so it cannot be clipped. To disable this error and scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`"
        ));
    }
    let factor = max_norm / (n + 1e-6);
    let factor = if factor > 1.0 { 1.0 } else { factor };
    if factor != 1.0 {
        for g in grads {
            scale(g, factor)?;
        }
    }
    Ok(total)
}

/// `g *= factor`, in place.
fn scale(g: &Tensor, factor: f64) -> Result<()> {
    let c = if g.is_contiguous() { g.detach() } else { g.detach().to_contiguous()? };
    with_float!(g.dtype(), T => kernel::scale::<T>(c.slice_mut()?, factor), else {});
    if !g.is_contiguous() {
        copy::copy(&g.raw(), &c.raw())?;
    }
    g.bump_version();
    Ok(())
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("_sgd_step(Tensor[] params, Tensor[] grads, Tensor[] bufs, float lr, float momentum, float dampening, float weight_decay, bool nesterov, bool maximize, bool first)", PRIVATE, sgd)
            .doc("One SGD step of all parameters in place; bufs are momentum buffers (empty list: none), written only when first.")
            .nondiff(),
        op("_adam_step(Tensor[] params, Tensor[] grads, Tensor[] exp_avgs, Tensor[] exp_avg_sqs, Tensor[] max_exp_avg_sqs, Tensor[] steps, float lr, float beta1, float beta2, float eps, float weight_decay, bool amsgrad, bool maximize, bool decoupled)", PRIVATE, adam)
            .doc("One Adam or (decoupled) AdamW step of all parameters in place; counts up steps.")
            .nondiff(),
        op("_rmsprop_step(Tensor[] params, Tensor[] grads, Tensor[] square_avgs, Tensor[] grad_avgs, Tensor[] bufs, Tensor[] steps, float lr, float alpha, float eps, float weight_decay, float momentum, bool centered, bool maximize)", PRIVATE, rmsprop)
            .doc("One RMSprop step of all parameters in place; counts up steps.")
            .nondiff(),
        op("_adagrad_step(Tensor[] params, Tensor[] grads, Tensor[] sums, Tensor[] steps, float lr, float lr_decay, float weight_decay, float eps, bool maximize)", PRIVATE, adagrad)
            .doc("One Adagrad step of all parameters in place; counts up steps.")
            .nondiff(),
        op("_total_norm(Tensor[] grads, float norm_type=2.0)", PRIVATE, |a| total_norm(a.tensors(0)?, a.float(1)?).ret())
            .doc("Norm of all gradients together, as one number.")
            .nondiff(),
        op("_clip_grad_norm(Tensor[] grads, float max_norm, float norm_type=2.0, bool error_if_nonfinite=False)", PRIVATE, |a| {
            clip(a.tensors(0)?, a.float(1)?, a.float(2)?, a.bool(3)?).ret()
        })
        .doc("Scales gradients in place to a total norm of at most max_norm; gives the norm they had.")
        .nondiff(),
    ]
}
