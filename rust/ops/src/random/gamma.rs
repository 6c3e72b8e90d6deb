//! Gamma and Dirichlet numbers, through which gradients reach the parameters.

use super::generator;
use crate::args::IntoRet;
use crate::compose::{mul, sub, sum_dims};
use crate::registry::{OpDef, TORCH, op};
use crate::shape::view;
use rustnn_core::base::{Element, not_implemented, runtime_error, with_float};
use rustnn_core::graph::{save, save_output};
use rustnn_core::{DType, Generator, Result, Tensor, attach, grads};
use rustnn_kernels::random as kernel;

/// The smallest normal number, below which draws are not given back.
fn smallest(d: DType) -> f64 {
    match d {
        DType::F64 => f64::MIN_POSITIVE,
        DType::F16 => 6.103_515_625e-5,
        _ => f64::from(f32::MIN_POSITIVE),
    }
}

fn draw(alpha: &Tensor, g: &Generator) -> Result<Tensor> {
    let shapes = view::contiguous(&alpha.detach())?;
    let out = Tensor::empty(alpha.shape(), alpha.dtype())?;
    with_float!(alpha.dtype(), T => {
        let (dst, src) = (out.slice_mut::<T>()?, shapes.slice::<T>()?);
        g.with(|g| kernel::standard_gamma(g, dst, src, smallest(alpha.dtype())));
    }, else return Err(not_implemented!("\"gamma_cpu\" not implemented for '{}'", alpha.dtype().torch_name())));
    Ok(out)
}

/// `f(a, x)` for each pair of elements.
fn each(a: &Tensor, x: &Tensor, f: impl Fn(usize, f64, f64) -> f64) -> Result<Tensor> {
    let (a, x) = (view::contiguous(&a.detach())?, view::contiguous(&x.detach())?);
    let out = x.empty_like()?;
    with_float!(x.dtype(), T => {
        let (dst, a, x) = (out.slice_mut::<T>()?, a.slice::<T>()?, x.slice::<T>()?);
        for (i, d) in dst.iter_mut().enumerate() {
            *d = T::from_f64(f(i, a[i].to_f64(), x[i].to_f64()));
        }
    }, else {});
    Ok(out)
}

/// Gamma numbers of rate 1.
pub fn standard_gamma(alpha: &Tensor, g: &Generator) -> Result<Tensor> {
    let out = draw(alpha, g)?;
    let (shapes, drawn) = (save(alpha), save_output(&out));
    attach("StandardGammaBackward0", out, &[alpha], move |c, g| {
        c.no_second_derivative()?;
        let slope = each(&shapes.get(c)?, &drawn.get(c)?, |_, a, x| kernel::gamma_slope(a, x))?;
        Ok(grads![mul(g, &slope)?])
    })
}

/// Dirichlet numbers: gamma numbers over their sum along the last dimension.
pub fn dirichlet(alpha: &Tensor, g: &Generator) -> Result<Tensor> {
    if alpha.ndim() == 0 {
        return Err(runtime_error!("dirichlet: the concentrations need a dimension to sum to 1 along"));
    }
    let shapes = view::contiguous(&alpha.detach())?;
    let out = Tensor::empty(alpha.shape(), alpha.dtype())?;
    let classes = alpha.shape()[alpha.ndim() - 1].max(1);
    with_float!(alpha.dtype(), T => {
        let (dst, src) = (out.slice_mut::<T>()?, shapes.slice::<T>()?);
        let mut wide = vec![0.0f64; src.len()];
        g.with(|g| kernel::standard_gamma_wide(g, &mut wide, src));
        let most = match alpha.dtype() {
            DType::F64 => 1.0 - f64::EPSILON / 2.0,
            DType::F32 => 1.0 - f64::from(f32::EPSILON) / 2.0,
            DType::F16 => 1.0 - 2.0f64.powi(-11),
            _ => 1.0 - 2.0f64.powi(-8),
        };
        for (d, w) in dst.chunks_mut(classes).zip(wide.chunks(classes)) {
            let sum: f64 = w.iter().sum();
            for (d, &v) in d.iter_mut().zip(w) {
                *d = T::from_f64((v / sum).clamp(smallest(alpha.dtype()), most));
            }
        }
    }, else return Err(not_implemented!("\"dirichlet\" not implemented for '{}'", alpha.dtype().torch_name())));
    let (shapes, drawn) = (save(alpha), save_output(&out));
    attach("SampleDirichletBackward0", out, &[alpha], move |c, g| {
        c.no_second_derivative()?;
        let (a, x) = (shapes.get(c)?, drawn.get(c)?);
        let total = sum_dims(&a, &[-1], true)?;
        let totals = view::contiguous(&total)?;
        let sums = with_float!(totals.dtype(), T => totals.slice::<T>()?.iter().map(|v| v.to_f64()).collect(), else Vec::new());
        let slope = each(&a, &x, |i, a, x| kernel::beta_slope(a, sums[i / classes] - a, x) / (1.0 - x))?;
        let along = sub(g, &sum_dims(&mul(&x, g)?, &[-1], true)?)?;
        Ok(grads![mul(&slope, &along)?])
    })
}

pub(super) fn ops() -> Vec<OpDef> {
    vec![
        op("_standard_gamma(Tensor input, Generator? generator=None)", TORCH, |a| {
            standard_gamma(a.tensor(0)?, generator(a, 1)).ret()
        })
        .doc("Gamma numbers of rate 1 and the shapes given, differentiable by them."),
        op("_sample_dirichlet(Tensor input, Generator? generator=None)", TORCH, |a| {
            dirichlet(a.tensor(0)?, generator(a, 1)).ret()
        })
        .doc("Dirichlet numbers of the concentrations along the last dimension, differentiable by them."),
    ]
}
