//! What singular values tell and give: pseudo-inverse, rank, condition, least squares; `svd` and
//! `qr` under their old signatures.

use super::batch::{Batch, batch, named, square};
use super::decompose as d;
use super::dense::{qr, svd};
use super::glue::{mt, product_of as mul3};
use super::lu::inv_ex;
use super::matmul::matmul;
use super::norms::matrix_norm;
use crate::args::{Arg, IntoRet};
use crate::compose as f;
use crate::registry::{LINALG, METHOD, OUT, OpDef, TORCH, op};
use rustnn_core::base::{layout, not_implemented, runtime_error};
use rustnn_core::{DType, Dims, Result, Tensor, attach, grads, save, save_output};
use rustnn_kernels::room;

fn epsilon(d: DType) -> f64 {
    if d == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) }
}

/// A batch of single or double precision: tolerances mean nothing below.
fn precise(name: &str, x: &Tensor) -> Result<Batch> {
    let b = batch(name, x)?;
    if matches!(x.dtype(), DType::F16 | DType::BF16) {
        return Err(not_implemented!("{name}: Low precision dtypes not supported. Got {}", x.dtype().torch_name()));
    }
    Ok(b)
}

/// A tolerance for all matrices, given as a number, or for each, as a tensor that broadcasts to the leading dimensions.
fn tolerance(a: &Arg, lead: &[usize]) -> Result<Option<Vec<f64>>> {
    Ok(match a {
        Arg::None => None,
        Arg::Float(v) => Some(vec![*v]),
        Arg::Int(v) => Some(vec![*v as f64]),
        Arg::Tensor(t) => {
            let wide = t.view_of(t.layout().expand(lead)?).copied_as(DType::F64)?.to_contiguous()?;
            Some(room::copied(wide.slice::<f64>()?)?)
        }
        other => return Err(runtime_error!("a tolerance must be a number or a tensor, got {other:?}")),
    })
}

/// The size up to which a singular value counts as zero.
struct Cuts {
    atol: Option<Vec<f64>>,
    rtol: Option<Vec<f64>>,
    default: f64,
}

impl Cuts {
    fn new(b: &Batch, dtype: DType, atol: &Arg, rtol: &Arg) -> Result<Cuts> {
        let default = epsilon(dtype) * b.m.max(b.n) as f64;
        Ok(Cuts { atol: tolerance(atol, &b.lead)?, rtol: tolerance(rtol, &b.lead)?, default })
    }

    /// For matrix `i`, whose singular values fall.
    fn of(&self, i: usize, values: &[f64]) -> f64 {
        let largest = values.first().copied().unwrap_or(0.0);
        let given = |t: &Option<Vec<f64>>| t.as_ref().and_then(|v| v.get(if v.len() == 1 { 0 } else { i }).copied());
        let a = given(&self.atol).unwrap_or(0.0);
        let r = given(&self.rtol).unwrap_or(if a > 0.0 { 0.0 } else { self.default });
        a.max(r * largest)
    }
}

/// The symmetric matrix whose lower half is given; its gradient is that of a matrix which is symmetric anyway.
fn symmetric(x: &Tensor) -> Result<Tensor> {
    let b = square("linalg.pinv", x)?;
    let n = b.n;
    let [data] = b.map([layout::count(&[n, n])], |_, a, [data]| {
        data.extend((0..n * n).map(|k| if k % n > k / n { a[(k % n) * n + k / n] } else { a[k] }));
        Ok(())
    })?;
    let out = b.tensor(&data, &[n, n], x.dtype())?;
    attach("LinalgSymmetricBackward0", out, &[x], |_, g| Ok(grads![g.clone()]))
}

/// The Moore-Penrose inverse.
pub fn pinv(x: &Tensor, atol: &Arg, rtol: &Arg, hermitian: bool) -> Result<Tensor> {
    let x = &if hermitian { symmetric(x)? } else { x.clone() };
    let b = precise("linalg.pinv", x)?;
    let (m, n, k) = (b.m, b.n, b.m.min(b.n));
    let cuts = Cuts::new(&b, x.dtype(), atol, rtol)?;
    let [data] = b.map([layout::count(&[n, m])], |i, a, [data]| {
        let (u, s, vh) = d::svd(a, m, n);
        let at = data.len();
        data.resize(at + n * m, 0.0);
        let out = &mut data[at..];
        let cut = cuts.of(i, &s);
        for (t, &s) in s.iter().enumerate() {
            // NaN is kept: it must show.
            if s <= cut {
                continue;
            }
            for r in 0..n {
                let c = vh[t * n + r] / s;
                for j in 0..m {
                    out[r * m + j] += c * u[j * k + t];
                }
            }
        }
        Ok(())
    })?;
    let out = b.tensor(&data, &[n, m], x.dtype())?;
    let (sx, sp) = (save(x), save_output(&out));
    attach("LinalgPinvBackward0", out, &[x], move |c, g| {
        // From d P = -P dA P + P P^T dA^T (I - A P) + (I - P A) dA^T P^T P.
        let (a, p) = (sx.get(c)?, sp.get(c)?);
        let (pt, gt) = (mt(&p)?, mt(g)?);
        let left = f::sub(&gt, &mul3(&[&a, &p, &gt])?)?;
        let right = f::sub(&gt, &mul3(&[&gt, &p, &a])?)?;
        let sum = f::add(&mul3(&[&left, &p, &pt])?, &mul3(&[&pt, &p, &right])?)?;
        Ok(grads![f::sub(&sum, &mul3(&[&pt, g, &pt])?)?])
    })
}

/// How many singular values are not zero.
pub fn matrix_rank(x: &Tensor, atol: &Arg, rtol: &Arg, hermitian: bool) -> Result<Tensor> {
    let x = &if hermitian { symmetric(&x.detach())? } else { x.detach() };
    let b = precise("linalg.matrix_rank", x)?;
    let cuts = Cuts::new(&b, x.dtype(), atol, rtol)?;
    let [ranks] = b.map([1], |i, a, [ranks]| {
        let s = d::svd(a, b.m, b.n).1;
        let cut = cuts.of(i, &s);
        ranks.push(s.iter().filter(|&&s| s > cut).count() as f64);
        Ok(())
    })?;
    b.tensor(&ranks, &[], DType::I64)
}

/// The condition number: the norm of a matrix times that of its inverse.
pub fn cond(x: &Tensor, p: &Arg) -> Result<Tensor> {
    let order = match p {
        Arg::None => Some(2.0),
        Arg::Int(v) => Some(*v as f64),
        Arg::Float(v) => Some(*v),
        _ => None,
    };
    if let Some(o) = order.filter(|o| o.abs() == 2.0) {
        let s = svd(x, false)?.swap_remove(1);
        let k = s.shape()[s.ndim() - 1];
        let lead: Dims = s.shape()[..s.ndim() - 1].into();
        if k == 0 {
            return Tensor::zeros(&lead, x.dtype());
        }
        let (first, last) = (f::narrow(&s, -1, 0, 1)?, f::narrow(&s, -1, k - 1, 1)?);
        return f::reshape(&if o > 0.0 { f::div(&first, &last)? } else { f::div(&last, &first)? }, &lead);
    }
    square("linalg.cond", x)?;
    if x.numel() == 0 {
        return Tensor::zeros(&x.shape()[..x.ndim() - 2], x.dtype());
    }
    let (inverse, info) = inv_ex(x, false)?;
    let both = f::mul(&matrix_norm(x, p, &[-2, -1], false)?, &matrix_norm(&inverse, p, &[-2, -1], false)?)?;
    f::masked_fill(&both, &f::compare("ne", &info, 0.0)?, f64::INFINITY)
}

/// Solution, squared residuals, rank and singular values of a least squares problem, as LAPACK's drivers give them.
pub fn lstsq(a: &Tensor, b: &Tensor, rcond: Option<f64>, driver: Option<&str>) -> Result<Vec<Tensor>> {
    let driver = driver.unwrap_or("gelsy");
    if !matches!(driver, "gels" | "gelsy" | "gelsd" | "gelss") {
        return Err(runtime_error!(
            "torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss), got {driver}"
        ));
    }
    if a.ndim() < 2 || b.ndim() < 1 {
        return Err(runtime_error!(
            "torch.linalg.lstsq: input.dim() must be greater or equal to 2 and other.dim() to 1"
        ));
    }
    if a.dtype() != b.dtype() {
        return Err(runtime_error!(
            "torch.linalg.lstsq: the dtypes of input and other must match: they are {} and {}",
            a.dtype(),
            b.dtype()
        ));
    }
    let lead = &a.shape()[..a.ndim() - 1];
    let vector = b.ndim() == 1 || (b.ndim() + 1 == a.ndim() && b.shape() == lead);
    let wide = if vector { f::unsqueeze(b, -1)? } else { b.clone() };
    let (m, n) = (lead[lead.len() - 1], a.shape()[a.ndim() - 1]);
    if wide.ndim() < 2 || wide.shape()[wide.ndim() - 2] != m {
        return Err(runtime_error!(
            "torch.linalg.lstsq: input.size(-2) should match other.size({})",
            if vector { -1 } else { -2 }
        )
        .hint(format!("input is {:?}, other {:?}", a.shape(), b.shape())));
    }
    let rtol = Arg::Float(match (driver, rcond) {
        ("gels", _) => 0.0,
        (_, Some(v)) => v,
        _ => epsilon(a.dtype()) * m.max(n) as f64,
    });
    let x = matmul(&pinv(a, &Arg::None, &rtol, false)?, &wide)?;
    let rank = matrix_rank(a, &Arg::None, &rtol, false)?;
    let full = rank.slice::<i64>()?.iter().all(|&r| r == n as i64);
    let residuals = if m > n && full && driver != "gelsy" {
        let off = f::sub(&matmul(a, &x)?, &wide)?;
        f::sum_dims(&f::square(&off)?, &[-2], false)?
    } else {
        // Of no elements, but part of the graph.
        f::narrow(&f::reshape(&x, &[x.numel()])?, 0, 0, 0)?
    };
    let values = if matches!(driver, "gelsd" | "gelss") {
        svd(&a.detach(), false)?.swap_remove(1)
    } else {
        Tensor::empty(&[0], a.dtype())?
    };
    let shape: Dims = x.shape()[..x.ndim() - 1].into();
    let x = if vector { f::reshape(&x, &shape)? } else { x };
    let rank = if driver == "gels" { Tensor::empty(&[0], DType::I64)? } else { rank };
    Ok(vec![x, residuals, rank, values])
}

fn old_svd(x: &Tensor, some: bool, vectors: bool) -> Result<Vec<Tensor>> {
    let parts = svd(x, !some)?;
    if vectors {
        return Ok(vec![parts[0].clone(), parts[1].clone(), mt(&parts[2])?]);
    }
    let lead = &x.shape()[..x.ndim() - 2];
    let nothing = |n: usize| {
        let shape: Dims = lead.iter().copied().chain([n, n]).collect();
        Tensor::zeros(&shape, x.dtype())
    };
    Ok(vec![nothing(x.shape()[x.ndim() - 2])?, parts[1].clone(), nothing(x.shape()[x.ndim() - 1])?])
}

pub(crate) fn ops() -> Vec<OpDef> {
    const TALL: &[&str] = &["t(3,3)", "t(4,3)", "t(2,3,4)", "t(0,3)"];
    vec![
        op("pinv(Tensor input, *, Tensor|float? atol=None, Tensor|float? rtol=None, bool hermitian=False)", LINALG | OUT, |a| {
            pinv(a.tensor(0)?, a.arg(1), a.arg(2), a.bool(3)?).ret()
        })
        .doc("The Moore-Penrose inverse: singular values up to max(atol, rtol * the largest) count as zero.")
        .samples(TALL)
        .oracle("np.linalg.pinv(input)"),
        op("pinv(Tensor input, Tensor|float rcond, bool hermitian=False)", LINALG | OUT, |a| {
            pinv(a.tensor(0)?, &Arg::None, a.arg(1), a.bool(2)?).ret()
        })
        .doc("The Moore-Penrose inverse: singular values up to rcond times the largest count as zero.")
        .samples(&["t(4,3), 1e-8", "(lambda a: a + a.mT)(t(3,3)).detach(), 1e-8, True"])
        .oracle("np.linalg.pinv(input, rcond)"),
        op("pinverse(Tensor input, float rcond=1e-15)", METHOD | TORCH, |a| {
            pinv(a.tensor(0)?, &Arg::None, a.arg(1), false).ret()
        })
        .doc("As linalg.pinv.")
        .samples(&["t(4,3)"])
        .oracle("np.linalg.pinv(input)"),
        op("matrix_rank(Tensor input, *, Tensor|float? atol=None, Tensor|float? rtol=None, bool hermitian=False)", LINALG | OUT, |a| {
            matrix_rank(a.tensor(0)?, a.arg(1), a.arg(2), a.bool(3)?).ret()
        })
        .doc("The number of singular values above max(atol, rtol * the largest).")
        .samples(&["t(4,3)", "t(3,4) * 0 + 1", "t(2,3,3)"])
        .oracle("np.linalg.matrix_rank(input)")
        .nondiff(),
        op("matrix_rank(Tensor input, Tensor|float tol, bool hermitian=False)", LINALG | OUT, |a| {
            matrix_rank(a.tensor(0)?, a.arg(1), &Arg::Float(0.0), a.bool(2)?).ret()
        })
        .doc("The number of singular values above tol.")
        .samples(&["t(4,3), 1.0"])
        .oracle("np.linalg.matrix_rank(input, tol)")
        .nondiff(),
        op("cond(Tensor input, Scalar|str? p=None)", LINALG | OUT, |a| cond(a.tensor(0)?, a.arg(1)).ret())
            .doc("The condition number in a norm (of order 2 unless given).")
            .samples(&["t(4,3)", "t(3,3), 'fro'", "t(3,3), 1", "t(2,3,3), inf", "t(3,4), -2", "t(3,3), 'nuc'"])
            .oracle("np.linalg.cond(input, p) if p != 'nuc' else np.linalg.norm(input, 'nuc') * np.linalg.norm(np.linalg.inv(input), 'nuc')"),
        op("lstsq(Tensor input, Tensor b, float? rcond=None, *, str? driver=None)", LINALG, |a| {
            named("linalg_lstsq", &["solution", "residuals", "rank", "singular_values"],
                lstsq(a.tensor(0)?, a.tensor(1)?, a.opt_float(2), a.opt_str(3)))
        })
        .doc("X with the least |A X - B|, the shortest where there are several; squared residuals, rank and singular values as the driver gives them.")
        .samples(&["t(5,3), t(5,2), driver='gels'", "t(5,3), t(5,2)", "t(3,5), t(3,2)", "t(5,3), t(5)"])
        .oracle("(lambda x, r, k, s: (x, np.sum(np.square(input @ x - b), axis=-2) if driver else np.empty(0), np.empty(0, dtype=int) if driver else np.array(k), np.empty(0)))(*np.linalg.lstsq(input, b, rcond=None))"),
        op("svd(Tensor input, bool some=True, bool compute_uv=True)", METHOD | TORCH | OUT, |a| {
            named("svd", &["U", "S", "V"], old_svd(a.tensor(0)?, a.bool(1)?, a.bool(2)?))
        })
        .doc("U, S and V with input = U diag(S) V^T; see linalg.svd.")
        .samples(&["pos(1,1)"])
        .oracle("(lambda u, s, vh: (u, s, vh.T))(*np.linalg.svd(input, full_matrices=False))"),
        op("qr(Tensor input, bool some=True)", METHOD | TORCH, |a| {
            named("qr", &["Q", "R"], qr(a.tensor(0)?, if a.bool(1)? { "reduced" } else { "complete" }))
        })
        .doc("Q with orthonormal columns and upper triangular R; see linalg.qr.")
        .samples(&["t(4,3)"])
        .oracle("tuple(np.linalg.qr(input))"),
    ]
}
