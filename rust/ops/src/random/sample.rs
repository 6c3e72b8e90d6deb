//! Samples from given probabilities, weights and rates.

use super::fill::{bernoulli, bernoulli_each, exponential, fill_memory};
use super::generator;
use crate::args::{Args, IntoRet, Ret};
use crate::registry::{METHOD, OUT, OpDef, TORCH, op};
use crate::shape::view;
use rustnn_core::base::{Element, runtime_error, with_float};
use rustnn_core::{DType, Dims, Generator, Result, Tensor};
use rustnn_kernels::random::{self as kernel, BadWeights};
use rustnn_kernels::room;
use rustnn_kernels::sort;

/// `samples` indices per row of weights.
pub fn multinomial(x: &Tensor, samples: i64, replacement: bool, g: &Generator) -> Result<Tensor> {
    if x.ndim() != 1 && x.ndim() != 2 {
        return Err(runtime_error!("prob_dist must be 1 or 2 dim"));
    }
    if !x.dtype().is_float() {
        return Err(runtime_error!(
            "multinomial only supports floating-point dtypes for input, got: {}",
            x.dtype().torch_name()
        ));
    }
    if samples <= 0 {
        return Err(runtime_error!("cannot sample n_sample <= 0 samples"));
    }
    let classes = x.shape()[x.ndim() - 1];
    let n = samples as usize;
    if !replacement && n > classes {
        return Err(runtime_error!("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
            .hint(format!("{n} samples were asked for, there are {classes} classes")));
    }
    let mut shape: Dims = x.shape().into();
    shape[x.ndim() - 1] = n;
    let out = Tensor::empty(&shape, DType::I64)?;
    let w = x.detach().to_contiguous()?;
    check_weights(&w, classes)?;
    if replacement && n > 1 {
        with_float!(w.dtype(), T => {
            let (dst, src) = (out.slice_mut::<i64>()?, w.slice::<T>()?);
            g.with(|g| kernel::multinomial_replace(g, dst, src, classes, n)).map_err(bad)?;
        }, else {});
        return Ok(out);
    }
    // Exponential races: the smallest waiting times at the weights' rates win.
    // They are drawn in the order of the weights' memory.
    let q = x.empty_like()?;
    fill_memory(&q, |t| exponential(t, g, 1.0))?;
    let q = q.to_contiguous()?;
    with_float!(w.dtype(), T => {
        let (race, rates) = (q.slice_mut::<T>()?, w.slice::<T>()?);
        for (r, &rate) in race.iter_mut().zip(rates) {
            *r = ratio(rate, *r);
        }
        let mut values = room::filled(out.numel(), T::from_f64(0.0))?;
        sort::topk_rows(q.slice::<T>()?, classes, n, true, &mut values, out.slice_mut::<i64>()?)?;
    }, else {});
    Ok(out)
}

fn ratio<T: rustnn_core::base::Float>(a: T, b: T) -> T {
    T::from_acc(a.to_acc() / b.to_acc())
}

fn bad(b: BadWeights) -> rustnn_core::Error {
    match b {
        BadWeights::AllZero => runtime_error!("invalid multinomial distribution (sum of probabilities <= 0)"),
        _ => runtime_error!("probability tensor contains either `inf`, `nan` or element < 0"),
    }
}

fn check_weights(w: &Tensor, classes: usize) -> Result<()> {
    if classes == 0 {
        return Err(bad(BadWeights::AllZero));
    }
    with_float!(w.dtype(), T => {
        for row in w.slice::<T>()?.chunks(classes.max(1)) {
            if row.iter().any(|v| !(v.to_f64() >= 0.0 && v.to_f64().is_finite())) {
                return Err(bad(BadWeights::Negative));
            }
            if row.iter().all(|v| v.to_f64() == 0.0) {
                return Err(bad(BadWeights::AllZero));
            }
        }
    }, else {});
    Ok(())
}

fn poisson(a: &Args) -> Result<Ret> {
    let x = a.tensor(0)?;
    let rates = view::contiguous(&x.detach())?;
    let out = Tensor::empty(x.shape(), x.dtype())?;
    with_float!(x.dtype(), T => {
        let (dst, src) = (out.slice_mut::<T>()?, rates.slice::<T>()?);
        generator(a, 1).with(|g| kernel::poisson(g, dst, src)).map_err(|rate| {
            runtime_error!("invalid Poisson rate, expected rate to be non-negative").hint(format!("a rate is {rate}"))
        })?;
    }, else return Err(rustnn_core::base::not_implemented!("\"poisson_cpu\" not implemented for '{}'", x.dtype().torch_name())));
    out.ret()
}

fn binomial(a: &Args) -> Result<Ret> {
    let (n, p) = (a.tensor(0)?.detach(), a.tensor(1)?.detach());
    let shape = rustnn_core::base::layout::broadcast_shapes(n.shape(), p.shape())?;
    let wide = |t: &Tensor| -> Result<Tensor> { t.view_of(t.layout().expand(&shape)?).to_contiguous() };
    if n.dtype() != p.dtype() {
        return Err(runtime_error!("binomial: Expected count and prob to have the same dtype"));
    }
    let (n, p) = (wide(&n)?, wide(&p)?);
    let out = Tensor::empty(&shape, n.dtype())?;
    with_float!(n.dtype(), T => {
        let (dst, n, p) = (out.slice_mut::<T>()?, n.slice::<T>()?, p.slice::<T>()?);
        generator(a, 2).with(|g| kernel::binomial(g, dst, n, p));
    }, else return Err(runtime_error!("binomial only supports floating-point dtypes for count, got: {}", n.dtype().torch_name())));
    out.ret()
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("bernoulli(Tensor input, *, Generator? generator=None)", METHOD | TORCH | OUT, |a| {
            let p = a.tensor(0)?;
            let out = Tensor::empty(p.shape(), p.dtype())?;
            bernoulli_each(&out, generator(a, 1), p)?;
            out.ret()
        })
        .doc("1 with the probability given for each element, else 0.")
        .nondiff(),
        op("bernoulli(Tensor input, float p, *, Generator? generator=None)", METHOD | TORCH, |a| {
            let out = Tensor::empty(a.tensor(0)?.shape(), a.tensor(0)?.dtype())?;
            let p = a.float(1)?;
            fill_memory(&out, |t| bernoulli(t, generator(a, 2), p))?;
            out.ret()
        })
        .nondiff(),
        op(
            "multinomial(Tensor input, int num_samples, bool replacement=False, *, Generator? generator=None)",
            METHOD | TORCH | OUT,
            |a| multinomial(a.tensor(0)?, a.int(1)?, a.bool(2)?, generator(a, 3)).ret(),
        )
        .doc("Indices drawn in proportion to the weights of each row.")
        .nondiff(),
        op("poisson(Tensor input, Generator? generator=None)", TORCH, poisson)
            .doc("Poisson numbers of given rates.")
            .nondiff(),
        op("binomial(Tensor count, Tensor prob, Generator? generator=None)", TORCH, binomial)
            .doc("Successes among count trials of probability prob.")
            .nondiff(),
    ]
}
