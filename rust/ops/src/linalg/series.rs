//! The matrix exponential, and orthogonal factors as LAPACK packs them.

use super::batch::{batch, eye, square};
use super::decompose as d;
use super::glue::mt;
use super::matmul::product;
use crate::args::{IntoRet, Ret};
use crate::compose as f;
use crate::registry::{LINALG, METHOD, OUT, OpDef, TORCH, op};
use crate::shape::triangle::triangle;
use rustnn_core::base::{layout, runtime_error};
use rustnn_core::{Dims, Result, Tensor, attach, grads, save};
use rustnn_kernels::parallel::Watch;

/// The exponential of square matrices.
pub fn matrix_exp(x: &Tensor) -> Result<Tensor> {
    let b = square("linalg.matrix_exp", x)?;
    let n = b.n;
    let [data] = b.map([layout::count(&[n, n])], |_, a, [data]| {
        data.extend(d::exponential(a, n));
        Ok(())
    })?;
    let out = b.tensor(&data, &[n, n], x.dtype())?;
    let s = save(x);
    attach("LinalgMatrixExpBackward0", out, &[x], move |c, g| {
        // The upper right block of exp([[A^T, G], [0, A^T]]).
        let t = mt(&s.get(c)?)?;
        let nothing = Tensor::zeros(t.shape(), t.dtype())?;
        let above = f::cat(&[t.clone(), f::expand(g, t.shape())?], -1)?;
        let whole = matrix_exp(&f::cat(&[above, f::cat(&[nothing, t], -1)?], -2)?)?;
        Ok(grads![f::narrow(&f::narrow(&whole, -2, 0, n)?, -1, n, n)?])
    })
}

/// Householder vector `i` of a packed factor, as a column.
fn vector(vs: &Tensor, i: usize) -> Result<Tensor> {
    f::narrow(vs, -1, i, 1)
}

fn checked(name: &str, x: &Tensor, tau: &Tensor) -> Result<(usize, usize, usize)> {
    if x.ndim() < 2 {
        return Err(runtime_error!("{name}: input must have at least 2 dimensions."));
    }
    let (m, n) = (x.shape()[x.ndim() - 2], x.shape()[x.ndim() - 1]);
    let k = tau.shape().last().copied().unwrap_or(0);
    if m < n {
        return Err(runtime_error!("{name}: input.shape[-2] must be greater than or equal to input.shape[-1]"));
    }
    if n < k {
        return Err(runtime_error!("{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]"));
    }
    if tau.ndim() + 1 != x.ndim() || tau.shape()[..tau.ndim() - 1] != x.shape()[..x.ndim() - 2] {
        return Err(runtime_error!(
            "{name}: Expected tau to have one dimension less than input, and its leading dimensions, but got tau {:?} and input {:?}",
            tau.shape(),
            x.shape()
        ));
    }
    if x.dtype() != tau.dtype() {
        return Err(runtime_error!("{name}: tau dtype {} does not match input dtype {}", tau.dtype(), x.dtype()));
    }
    Ok((m, n, k))
}

/// `H y` for the reflections `H = H_1 ... H_k` (in turn from the last, or from the first: the transpose).
fn reflect(vs: &Tensor, tau: &Tensor, y: Tensor, k: usize, transposed: bool) -> Result<Tensor> {
    let mut y = y;
    let mut watch = Watch::default();
    for step in 0..k {
        watch.tick()?;
        let i = if transposed { step } else { k - 1 - step };
        let v = vector(vs, i)?;
        let t = f::unsqueeze(&f::narrow(tau, -1, i, 1)?, -1)?;
        let along = product(&v, &product(&mt(&v)?, &y, 1.0)?, 1.0)?;
        y = f::sub(&y, &f::mul(&t, &along)?)?;
    }
    Ok(y)
}

/// The vectors with their leading ones.
fn vectors(x: &Tensor, m: usize, n: usize) -> Result<Tensor> {
    f::add(&triangle(x, -1, false)?, &eye(m, n, x.dtype())?)
}

/// The first columns of the product of Householder reflections.
pub fn householder_product(x: &Tensor, tau: &Tensor) -> Result<Tensor> {
    let (m, n, k) = checked("torch.linalg.householder_product", x, tau)?;
    let shape: Dims = x.shape().into();
    layout::numel(&shape)?;
    let start = f::expand(&eye(m, n, x.dtype())?, &shape)?;
    reflect(&vectors(x, m, n)?, tau, start, k, false)
}

/// The product of the orthogonal factor that `geqrf` packed, or of its transpose, and a matrix, from the left or right.
pub fn ormqr(x: &Tensor, tau: &Tensor, other: &Tensor, left: bool, transposed: bool) -> Result<Tensor> {
    if !left {
        return mt(&ormqr(x, tau, &mt(other)?, true, !transposed)?);
    }
    let (m, n, k) = checked("torch.ormqr", x, tau)?;
    if other.ndim() < 2 || other.shape()[other.ndim() - 2] != m {
        return Err(runtime_error!(
            "torch.ormqr: other.shape[-2] must be equal to input.shape[-2]: input is {:?}, other {:?}",
            x.shape(),
            other.shape()
        ));
    }
    reflect(&vectors(x, m, n)?, tau, other.clone(), k, transposed)
}

fn geqrf(x: &Tensor) -> Result<Vec<Tensor>> {
    let b = batch("torch.geqrf", x)?;
    let (m, n, k) = (b.m, b.n, b.m.min(b.n));
    let [packed, taus] = b.map([layout::count(&[m, n]), k], |_, a, [packed, taus]| {
        let (p, t) = d::geqrf(a, m, n);
        packed.extend(p);
        taus.extend(t);
        Ok(())
    })?;
    Ok(vec![b.tensor(&packed, &[m, n], x.dtype())?, b.tensor(&taus, &[k], x.dtype())?])
}

pub(crate) fn ops() -> Vec<OpDef> {
    let reflections: &[&str] = &["t(4,3), t(3)", "t(3,3), t(2)", "t(2,4,3), t(2,3)"];
    vec![
        op("matrix_exp(Tensor input)", LINALG, |a| matrix_exp(a.tensor(0)?).ret())
            .doc("The exponential of square matrices.")
            .samples(&["t(3,3)", "t(2,3,3) * 3", "t(1,1)", "t(0,0)"])
            .oracle("scipy.linalg.expm(input)"),
        op("matrix_exp(Tensor input)", METHOD | TORCH, |a| matrix_exp(a.tensor(0)?).ret())
            .doc("The exponential of square matrices.")
            .samples(&["t(3,3)"])
            .oracle("scipy.linalg.expm(input)"),
        op("householder_product(Tensor input, Tensor tau)", LINALG | OUT, |a| {
            householder_product(a.tensor(0)?, a.tensor(1)?).ret()
        })
        .doc("The first columns of the product of Householder reflections, whose vectors stand below A's diagonal.")
        .samples(reflections)
        .oracle("ref_householder(input, tau)[..., : input.shape[-1]]"),
        op("orgqr(Tensor input, Tensor input2)", METHOD | TORCH | OUT, |a| {
            householder_product(a.tensor(0)?, a.tensor(1)?).ret()
        })
        .doc("linalg.householder_product under LAPACK's name.")
        .samples(reflections)
        .oracle("ref_householder(input, input2)[..., : input.shape[-1]]"),
        op("ormqr(Tensor input, Tensor input2, Tensor input3, bool left=True, bool transpose=False)", METHOD | TORCH | OUT, |a| {
            ormqr(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.bool(3)?, a.bool(4)?).ret()
        })
        .doc("The product of the orthogonal factor that geqrf packed (or its transpose) and other, from the left or the right.")
        .samples(&["t(4,3), t(3), t(4,2)", "t(4,3), t(3), t(4,2), True, True", "t(4,3), t(3), t(2,4), False"])
        .oracle("(lambda q: q @ input3 if left else input3 @ q)((lambda q: q.T if transpose else q)(ref_householder(input, input2)))"),
        op("geqrf(Tensor input)", METHOD | TORCH | OUT, |a| Ok(Ret::Named("geqrf", &["a", "tau"], geqrf(a.tensor(0)?)?)))
            .doc("QR as LAPACK packs it: R on and above the diagonal, Householder vectors below, and their factors.")
            .samples(&["t(4,3)", "t(3,4)", "t(2,3,3)"])
            .oracle("ref_geqrf(input)")
            .nondiff(),
    ]
}
