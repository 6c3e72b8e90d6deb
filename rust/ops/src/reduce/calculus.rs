//! Integrals by trapezoids, finite differences, covariance, and norms held below a bound.

use super::{scan, vector_norm};
use crate::compose as f;
use crate::pointwise::{Num, compare, div, mul, where_};
use crate::registry::{INPLACE, METHOD, OUT, TORCH, op};
use crate::{Arg, Args, DType, IntoRet, OpDef, Result, Ret, Scalar, Tensor};
use rustnn_core::Dims;
use rustnn_core::base::layout::{wrap_dim, wrap_own_dim};
use rustnn_core::base::{not_implemented, runtime_error};

/// Distances between neighbours: of places along `dim` (a vector, or a tensor that broadcasts), or one for all.
enum Steps<'a> {
    Places(&'a Tensor),
    Same(Scalar),
}

fn need_numbers(name: &str, t: &Tensor, what: &str) -> Result<()> {
    if t.dtype() == DType::Bool {
        return Err(not_implemented!("{name}: received a bool input for `{what}`, but bool is not supported"));
    }
    Ok(())
}

/// The area of each strip between neighbours along `dim`, a number of them that is at least 1.
fn strips(name: &str, y: &Tensor, steps: &Steps, dim: usize) -> Result<Tensor> {
    need_numbers(name, y, "y")?;
    let (n, d) = (y.shape()[dim], dim as i64);
    let sum = f::add(&f::narrow(y, d, 0, n - 1)?, &f::narrow(y, d, 1, n - 1)?)?;
    let half = mul(&sum, 0.5)?;
    match steps {
        Steps::Same(s) => mul(&half, *s),
        Steps::Places(x) => {
            need_numbers(name, x, "x")?;
            let (x, at) = if x.ndim() == 1 {
                if x.shape()[0] != n {
                    return Err(runtime_error!("{name}: There must be one `x` value for each sample point")
                        .hint(format!("x has {}, dimension {dim} of y {n}", x.shape()[0])));
                }
                let mut shape: Dims = Dims::from_elem(1, y.ndim());
                shape[dim] = n;
                (f::reshape(x, &shape)?, dim)
            } else if x.ndim() <= y.ndim() && x.ndim() + dim >= y.ndim() {
                ((*x).clone(), x.ndim() + dim - y.ndim())
            } else {
                return Err(runtime_error!(
                    "{name}: x of shape {:?} does not fit y of shape {:?}",
                    x.shape(),
                    y.shape()
                ));
            };
            let k = x.shape()[at];
            if k == 0 {
                return Err(runtime_error!("{name}: There must be one `x` value for each sample point"));
            }
            let width = f::sub(&f::narrow(&x, at as i64, 1, k - 1)?, &f::narrow(&x, at as i64, 0, k - 1)?)?;
            f::mul(&half, &width)
        }
    }
}

fn trapezoid(a: &Args, steps: &Steps, dim: i64) -> Result<Tensor> {
    let y = a.tensor(0)?;
    let d = wrap_dim(dim, y.ndim())?;
    if y.ndim() == 0 {
        return Err(runtime_error!("trapezoid: y must have at least one dimension"));
    }
    if y.shape()[d] == 0 {
        let shape: Dims = y.shape().iter().enumerate().filter(|&(k, _)| k != d).map(|(_, &s)| s).collect();
        return Tensor::zeros(&shape, y.dtype());
    }
    f::sum_dims(&strips("trapezoid", y, steps, d)?, &[d as i64], false)
}

fn cumulative(a: &Args, steps: &Steps, dim: i64) -> Result<Tensor> {
    let y = a.tensor(0)?;
    let d = wrap_dim(dim, y.ndim())?;
    if y.ndim() == 0 || y.shape()[d] == 0 {
        return crate::shape::view::clone(y);
    }
    scan::cumsum(&strips("cumulative_trapezoid", y, steps, d)?, d as i64, None)
}

fn step(a: &Args, i: usize) -> Result<Steps<'static>> {
    Ok(Steps::Same(match a.arg(i) {
        Arg::None => Scalar::Int(1),
        _ => a.scalar(i)?,
    }))
}

/// The slope along a dimension: differences of neighbours inside, of the first (or second) order at both ends.
fn slope(x: &Tensor, dim: usize, places: Option<&Tensor>, step: f64, order: i64) -> Result<Tensor> {
    let (n, d) = (x.shape()[dim], dim as i64);
    let at = |i: usize, len: usize| f::narrow(x, d, i, len);
    let Some(p) = places else {
        let inside = div(&f::sub(&at(2, n - 2)?, &at(0, n - 2)?)?, 2.0 * step)?;
        let (first, last) = if order == 1 {
            (div(&f::sub(&at(1, 1)?, &at(0, 1)?)?, step)?, div(&f::sub(&at(n - 1, 1)?, &at(n - 2, 1)?)?, step)?)
        } else {
            let edge = |a: usize, b: usize, c: usize, by: f64| -> Result<Tensor> {
                let near = f::sub(&mul(&at(b, 1)?, 2.0)?, &mul(&at(a, 1)?, 1.5)?)?;
                div(&f::sub(&near, &mul(&at(c, 1)?, 0.5)?)?, by)
            };
            (edge(0, 1, 2, step)?, edge(n - 1, n - 2, n - 3, -step)?)
        };
        return f::cat(&[first, inside, last], d);
    };
    // Places of their own: the parabola through three neighbours.
    let mut shape = Dims::from_elem(1, x.ndim());
    shape[dim] = n;
    let p = f::reshape(p, &shape)?;
    let gap = f::sub(&f::narrow(&p, d, 1, n - 1)?, &f::narrow(&p, d, 0, n - 1)?)?;
    let (g1, g2) = (f::narrow(&gap, d, 0, n - 2)?, f::narrow(&gap, d, 1, n - 2)?);
    let both = f::add(&g1, &g2)?;
    let weighted = |a: &Tensor, b: &Tensor, c: &Tensor, x: [&Tensor; 3]| -> Result<Tensor> {
        f::add(&f::add(&f::mul(a, x[0])?, &f::mul(b, x[1])?)?, &f::mul(c, x[2])?)
    };
    let low = f::neg(&f::div(&g2, &f::mul(&g1, &both)?)?)?;
    let mid = f::div(&f::sub(&g2, &g1)?, &f::mul(&g1, &g2)?)?;
    let high = f::div(&g1, &f::mul(&g2, &both)?)?;
    let inside = weighted(&low, &mid, &high, [&at(0, n - 2)?, &at(1, n - 2)?, &at(2, n - 2)?])?;
    let step_at = |i: usize| f::narrow(&gap, d, i, 1);
    let (first, last) = if order == 1 {
        (
            f::div(&f::sub(&at(1, 1)?, &at(0, 1)?)?, &step_at(0)?)?,
            f::div(&f::sub(&at(n - 1, 1)?, &at(n - 2, 1)?)?, &step_at(n - 2)?)?,
        )
    } else {
        // a is the gap at the edge, b the next one.
        let edge = |a: &Tensor, b: &Tensor, x: [&Tensor; 3], sign: f64| -> Result<Tensor> {
            let sum = f::add(a, b)?;
            let near = f::neg(&f::div(&f::add(&mul(a, 2.0)?, b)?, &f::mul(a, &sum)?)?)?;
            let mid = f::div(&sum, &f::mul(a, b)?)?;
            let far = f::neg(&f::div(a, &f::mul(b, &sum)?)?)?;
            mul(&weighted(&near, &mid, &far, x)?, sign)
        };
        (
            edge(&step_at(0)?, &step_at(1)?, [&at(0, 1)?, &at(1, 1)?, &at(2, 1)?], 1.0)?,
            edge(&step_at(n - 2)?, &step_at(n - 3)?, [&at(n - 1, 1)?, &at(n - 2, 1)?, &at(n - 3, 1)?], -1.0)?,
        )
    };
    f::cat(&[first, inside, last], d)
}

fn gradient(a: &Args) -> Result<Vec<Tensor>> {
    let x = a.tensor(0)?;
    let order = a.int(3)?;
    if !matches!(order, 1 | 2) {
        return Err(runtime_error!("torch.gradient only supports edge_order=1 and edge_order=2."));
    }
    need_numbers("torch.gradient", x, "input")?;
    let given = !a.is_none(2);
    let dims: Dims = match a.opt_ints(2) {
        Some(list) => crate::shape::wrap_dims(list, x.ndim())?,
        None => (0..x.ndim()).collect(),
    };
    let wrong = |n: usize| {
        if given {
            runtime_error!(
                "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim arguments to have the same length, but got a spacing argument of length {n} and a dim argument of length {}.",
                dims.len()
            )
        } else {
            runtime_error!(
                "torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to 'self.dim() = {}', since dim argument was not given, but got a list of length {n}",
                x.ndim()
            )
        }
    };
    if let (0, Some(&d)) = (x.ndim(), dims.first()) {
        wrap_own_dim(d as i64, 0)?; // has none
    }
    for &d in &dims {
        if x.shape()[d] < order as usize + 1 {
            return Err(runtime_error!("torch.gradient expected each dimension size to be at least edge_order+1")
                .hint(format!("dimension {d} of the input has size {}", x.shape()[d])));
        }
    }
    match a.arg(1) {
        Arg::Tensors(places) => {
            if places.len() != dims.len() {
                return Err(wrong(places.len()));
            }
            dims.iter()
                .zip(places)
                .map(|(&d, p)| {
                    if p.ndim() != 1 || p.shape()[0] != x.shape()[d] {
                        return Err(runtime_error!(
                            "torch.gradient expected each element of spacing to be a vector as long as its dimension: dimension {d} has size {}, spacing shape {:?}",
                            x.shape()[d],
                            p.shape()
                        ));
                    }
                    slope(x, d, Some(p), 1.0, order)
                })
                .collect()
        }
        _ => {
            let steps = a.opt_floats(1).unwrap_or_else(|| vec![1.0]);
            let one = !matches!(a.arg(1), Arg::Floats(_) | Arg::Ints(_));
            if !one && steps.len() != dims.len() {
                return Err(wrong(steps.len()));
            }
            dims.iter().enumerate().map(|(i, &d)| slope(x, d, None, steps[if one { 0 } else { i }], order)).collect()
        }
    }
}

/// Covariances of rows (variables) over columns (observations).
pub fn cov(x: &Tensor, correction: i64, fweights: Option<&Tensor>, aweights: Option<&Tensor>) -> Result<Tensor> {
    if x.ndim() > 2 {
        return Err(runtime_error!(
            "cov(): expected input to have two or fewer dimensions but got an input with {} dimensions",
            x.ndim()
        ));
    }
    if x.dtype() == DType::Bool {
        return Err(runtime_error!("cov(): bool dtype is not supported for input"));
    }
    let x = crate::basic::to_dtype(x, crate::inplace::float_dtype(x.dtype()))?;
    let rows = if x.ndim() < 2 { f::reshape(&x, &[1, x.numel()])? } else { x.clone() };
    let n = rows.shape()[1];
    let mut weight: Option<Tensor> = None;
    for (w, name) in [(fweights, "fweights"), (aweights, "aweights")] {
        let Some(w) = w else { continue };
        if w.ndim() > 1 {
            return Err(runtime_error!(
                "cov(): expected {name} to have one or fewer dimensions but got {name} with {} dimensions",
                w.ndim()
            ));
        }
        if w.dtype().is_float() != (name == "aweights") {
            return Err(runtime_error!(
                "cov(): expected {name} to have {} dtype but got {name} with {} dtype",
                if name == "aweights" { "floating point" } else { "integral" },
                w.dtype().torch_name()
            ));
        }
        if w.numel() != n {
            return Err(runtime_error!(
                "cov(): expected {name} to have the same numel as there are observations in the input but got {} != {n}",
                w.numel()
            ));
        }
        if n > 0 && f::any(&f::compare("lt", &w.detach(), 0.0)?)? {
            return Err(runtime_error!("cov(): {name} cannot be negative"));
        }
        let w = crate::basic::to_dtype(&f::reshape(w, &[n])?, x.dtype())?;
        weight = Some(match weight {
            Some(v) => f::mul(&v, &w)?,
            None => w,
        });
    }
    let (mean, total) = match &weight {
        None => (f::mean_dims(&rows, &[1], true)?, None),
        Some(w) => {
            let total = f::sum(w)?;
            (f::div(&f::sum_dims(&f::mul(&rows, w)?, &[1], true)?, &total)?, Some(total))
        }
    };
    let off = f::sub(&rows, &mean)?;
    // Divided by the number of observations, or by what weights stand for, less the correction.
    let by = match (&weight, &total, aweights) {
        (Some(w), Some(t), Some(a)) if correction != 0 => {
            let a = crate::basic::to_dtype(&f::reshape(a, &[n])?, x.dtype())?;
            let share = f::div(&f::sum(&f::mul(w, &a)?)?, t)?;
            f::sub(t, &f::mul_s(&share, correction as f64)?)?
        }
        (_, Some(t), _) => f::add_s(t, -(correction as f64))?,
        _ => f::constant(&rows, n as f64 - correction as f64)?,
    };
    let by = crate::pointwise::clamp(&by, Some(Num::from(0.0)), None)?;
    if by.detach().item()?.to_f64() <= 0.0 {
        rustnn_core::mode::warn(
            "cov(): degrees of freedom is <= 0. Correction should be strictly less than the number of observations.",
        )?;
    }
    let right = match &weight {
        Some(w) => f::mul(&off, w)?,
        None => off.clone(),
    };
    let out = f::div(&f::matmul(&off, &f::transpose(&right, 0, 1)?)?, &by)?;
    if rows.shape()[0] == 1 { f::reshape(&out, &[]) } else { Ok(out) }
}

/// Correlations of rows: covariances over the products of deviations, within [-1, 1].
pub fn corrcoef(x: &Tensor) -> Result<Tensor> {
    if x.ndim() > 2 {
        return Err(runtime_error!(
            "corrcoef(): expected input to have two or fewer dimensions but got an input with {} dimensions",
            x.ndim()
        ));
    }
    let c = cov(x, 1, None, None)?;
    if c.ndim() == 0 {
        return f::div(&c, &c);
    }
    let deviation = f::sqrt(&crate::shape::select::diagonal(&c, 0, 0, 1)?)?;
    let out = f::div(&f::div(&c, &f::unsqueeze(&deviation, 1)?)?, &f::unsqueeze(&deviation, 0)?)?;
    crate::pointwise::clamp(&out, Some(Num::from(-1.0)), Some(Num::from(1.0)))
}

/// Parts along `dim` whose p-norm is above `most`, brought down to it.
pub fn renorm(x: &Tensor, p: f64, dim: i64, most: f64) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return Err(runtime_error!("renorm: expected a floating point tensor, got {}", x.dtype().torch_name()));
    }
    if p <= 0.0 || p.is_nan() {
        return Err(runtime_error!("renorm: non-positive-norm not supported"));
    }
    if most < 0.0 || most.is_nan() {
        return Err(runtime_error!("renorm: expected maxnorm to be >= 0 but got {most}"));
    }
    if x.ndim() < 2 {
        return Err(runtime_error!("renorm: input needs at least 2 dimensions, got {} dimensions", x.ndim()));
    }
    let d = wrap_dim(dim, x.ndim())?;
    let others: Vec<i64> = (0..x.ndim()).filter(|&k| k != d).map(|k| k as i64).collect();
    let norm = vector_norm(x, p, Some(&others), true, None)?;
    let shrink = div(most, &f::add_s(&norm, 1e-7)?)?;
    f::mul(x, &where_(&compare::gt(&norm, most)?, &shrink, 1.0)?)
}

pub(super) fn ops() -> Vec<OpDef> {
    let mut v = Vec::new();
    for (sig, doc) in [
        (
            "trapezoid(Tensor y, Tensor x, *, int dim=-1)",
            "The integral along dim by trapezoids, y taken at the places x.",
        ),
        (
            "trapz(Tensor y, Tensor x, *, int dim=-1)",
            "The integral along dim by trapezoids, y taken at the places x; see trapezoid.",
        ),
    ] {
        v.push(
            op(sig, TORCH, |a| trapezoid(a, &Steps::Places(a.tensor(1)?), a.int(2)?).ret())
                .doc(doc)
                .samples(&["t(3,4), t(4)", "t(3,4), t(3), dim=0", "t(3,4), t(3,4)", "t(2,3,4), t(1,4)"])
                .oracle("np.trapezoid(y, x, axis=dim)"),
        );
    }
    for (sig, doc) in [
        ("trapezoid(Tensor y, *, Scalar? dx=1, int dim=-1)", "The integral along dim by trapezoids of width dx."),
        (
            "trapz(Tensor y, *, Scalar? dx=1, int dim=-1)",
            "The integral along dim by trapezoids of width dx; see trapezoid.",
        ),
    ] {
        v.push(
            op(sig, TORCH, |a| trapezoid(a, &step(a, 1)?, a.int(2)?).ret())
                .doc(doc)
                .samples(&["t(3,4)", "t(3,4), dx=0.5, dim=0", "t(5)", "t(2,0)", "t(3,1)"])
                .oracle("np.trapezoid(y, dx=dx, axis=dim)"),
        );
    }
    v.extend([
        op("cumulative_trapezoid(Tensor y, Tensor x, *, int dim=-1)", TORCH, |a| {
            cumulative(a, &Steps::Places(a.tensor(1)?), a.int(2)?).ret()
        })
        .doc("The integral up to each place along dim by trapezoids, y taken at the places x.")
        .samples(&["t(3,4), t(4)", "t(3,4), t(3), dim=0", "t(3,4), t(3,4)"])
        .oracle("scipy.integrate.cumulative_trapezoid(y, x, axis=dim)"),
        op("cumulative_trapezoid(Tensor y, *, Scalar? dx=1, int dim=-1)", TORCH, |a| cumulative(a, &step(a, 1)?, a.int(2)?).ret())
            .doc("The integral up to each place along dim by trapezoids of width dx.")
            .samples(&["t(3,4)", "t(3,4), dx=0.5, dim=0"])
            .oracle("scipy.integrate.cumulative_trapezoid(y, dx=dx, axis=dim)"),
        op("gradient(Tensor input, *, Scalar|float[]|Tensor[]? spacing=None, int|int[]? dim=None, int edge_order=1)", TORCH, |a| {
            gradient(a).map(Ret::Tuple)
        })
        .doc("Slopes along each of dim (all if None), by differences of neighbours; spacing is the distance between them, one per dimension, or vectors of places.")
        .samples(&[
            "t(5)", "t(3,4)", "t(3,4), spacing=0.5", "t(3,4), spacing=[0.5, 2.0], edge_order=2", "t(3,4), dim=1, edge_order=2",
            "t(4,3), spacing=[pos(4).cumsum(0), pos(3).cumsum(0)]", "t(4,3), spacing=[pos(4).cumsum(0)], dim=0, edge_order=2", "t(3,4), dim=(1, 0)",
        ])
        .oracle("(lambda g: tuple(g) if isinstance(g, (list, tuple)) else (g,))(np.gradient(input, *([] if spacing is None else list(spacing) if isinstance(spacing, (list, tuple)) else [spacing]), axis=dim, edge_order=edge_order))"),
        op("cov(Tensor input, *, int correction=1, Tensor? fweights=None, Tensor? aweights=None)", METHOD | TORCH, |a| {
            cov(a.tensor(0)?, a.int(1)?, a.opt_tensor(2), a.opt_tensor(3)).ret()
        })
        .doc("Covariances of rows (variables) over columns (observations), which may be counted by fweights and weighted by aweights.")
        .samples(&["t(3,5)", "t(5)", "t(3,5), correction=0", "t(3,5), fweights=i(5, lo=1, hi=4)", "t(3,5), aweights=pos(5)", "t(3,5), fweights=i(5, lo=1, hi=4), aweights=pos(5)"])
        .oracle("np.cov(input, ddof=correction, fweights=fweights, aweights=aweights)"),
        op("corrcoef(Tensor input)", METHOD | TORCH, |a| corrcoef(a.tensor(0)?).ret())
            .doc("Correlations of rows (variables) over columns (observations).")
            .samples(&["t(3,5)", "t(5)"])
            .oracle("np.corrcoef(input)"),
        op("renorm(Tensor input, Scalar p, int dim, Scalar maxnorm)", METHOD | TORCH | INPLACE | OUT, |a| {
            renorm(a.tensor(0)?, a.float(1)?, a.int(2)?, a.float(3)?).ret()
        })
        .doc("Parts along dim whose p-norm is above maxnorm, brought down to it.")
        .samples(&["t(3,4), 2, 0, 1.0", "t(3,4), 1, 1, 2.0", "t(2,3,4), 3, -1, 0.5"])
        .oracle("(lambda n: input * np.where(n > maxnorm, maxnorm / (n + 1e-7), 1))(np.sum(np.abs(input) ** p, axis=tuple(k for k in range(input.ndim) if k != dim % input.ndim), keepdims=True) ** (1 / p))"),
    ]);
    v
}
