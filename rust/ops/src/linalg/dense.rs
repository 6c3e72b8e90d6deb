//! `linalg`: inverse, determinant, solving, and the factorisations, for batches of matrices.

use super::batch::{batch, eye, mask, named, place, singular, square, together};
use super::decompose as d;
use super::glue::{mt, product_of as mul3};
use super::matmul::product;
use crate::args::IntoRet;
use crate::compose as f;
use crate::registry::{LINALG, METHOD, OUT, OpDef, TORCH, op};
use rustnn_core::base::layout::count;
use rustnn_core::base::{linalg_error, runtime_error};
use rustnn_core::{Dims, Grads, Result, Tensor, attach, attach_many, grads, save, save_output};
use rustnn_kernels::parallel::Watch;
use rustnn_kernels::room::{self, or_stop};

/// The inverse.
pub fn inv(x: &Tensor) -> Result<Tensor> {
    let b = square("linalg.inv", x)?;
    let n = b.n;
    let mut eye = Vec::new();
    let [data] = b.map([count(&[n, n])], |i, a, [data]| {
        if i == 0 {
            eye = d::eye(n);
        }
        let mut a = room::copied(a)?;
        let (rows, _) = d::lu(&mut a, n);
        if let Some(k) = (0..n).find(|&k| a[k * n + k] == 0.0) {
            return Err(singular("linalg.inv", &b, i, k));
        }
        data.extend(d::lu_solve(&a, &rows, n, &eye, n));
        Ok(())
    })?;
    let out = b.tensor(&data, &[n, n], x.dtype())?;
    let saved = save_output(&out);
    attach("LinalgInvExBackward0", out, &[x], move |c, g| {
        let t = mt(&saved.get(c)?)?;
        Ok(grads![f::neg(&mul3(&[&t, g, &t])?)?])
    })
}

/// Cofactors of a square matrix: the gradient of its determinant, also where it is singular.
fn cofactors(a: &[f64], n: usize) -> Vec<f64> {
    let mut out = or_stop(room::filled(n * n, 0.0));
    let mut watch = Watch::default();
    for i in 0..n {
        for j in 0..n {
            or_stop(watch.tick());
            let rest = (0..n * n).filter(|k| k / n != i && k % n != j);
            let mut minor: Vec<f64> = or_stop(room::collected(rest.map(|k| a[k])));
            let (_, sign) = d::lu(&mut minor, n - 1);
            let det: f64 = (0..n - 1).map(|k| minor[k * (n - 1) + k]).product::<f64>() * sign;
            out[i * n + j] = if (i + j) % 2 == 0 { det } else { -det };
        }
    }
    out
}

/// The determinant.
pub fn det(x: &Tensor) -> Result<Tensor> {
    let b = square("linalg.det", x)?;
    let n = b.n;
    let mut any_singular = false;
    let [values] = b.map([1], |_, a, [values]| {
        let mut a = room::copied(a)?;
        let (_, sign) = d::lu(&mut a, n);
        let v = (0..n).map(|k| a[k * n + k]).product::<f64>() * sign;
        any_singular |= v == 0.0;
        values.push(v);
        Ok(())
    })?;
    let out = b.tensor(&values, &[], x.dtype())?;
    let saved = save(x);
    attach("LinalgDetBackward0", out, &[x], move |c, g| {
        let x = saved.get(c)?;
        let wide = |t: &Tensor| -> Result<Tensor> { f::unsqueeze(&f::unsqueeze(t, -1)?, -1) };
        if any_singular {
            let b = square("linalg.det", &x)?;
            let [data] = b.map([count(&[b.n, b.n])], |_, a, [data]| {
                data.extend(cofactors(a, b.n));
                Ok(())
            })?;
            let co = b.tensor(&data, &[b.n, b.n], x.dtype())?;
            return Ok(grads![f::mul(&wide(g)?, &co)?]);
        }
        let scaled = f::mul(g, &det(&x)?)?;
        Ok(grads![f::mul(&wide(&scaled)?, &mt(&inv(&x)?)?)?])
    })
}

/// Sign and logarithm of the absolute value of the determinant.
pub fn slogdet(x: &Tensor) -> Result<Vec<Tensor>> {
    let b = square("linalg.slogdet", x)?;
    let n = b.n;
    let [signs, logs] = b.map([1, 1], |_, a, [signs, logs]| {
        let mut a = room::copied(a)?;
        let (_, mut sign) = d::lu(&mut a, n);
        let mut log = 0.0;
        for k in 0..n {
            let v = a[k * n + k];
            sign *= if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else {
                v
            };
            log += v.abs().ln();
        }
        signs.push(sign);
        logs.push(log);
        Ok(())
    })?;
    let (sign, log) = (b.tensor(&signs, &[], x.dtype())?, b.tensor(&logs, &[], x.dtype())?);
    let saved = save(x);
    attach_many("LinalgSlogdetBackward0", vec![sign, log], &[x], move |c, gs| match &gs[1] {
        Some(g) => {
            let g = f::unsqueeze(&f::unsqueeze(g, -1)?, -1)?;
            Ok(grads![f::mul(&g, &mt(&inv(&saved.get(c)?)?)?)?])
        }
        None => Ok(Grads::new()),
    })
}

/// `X` with `A X = B`; `B` may be a vector, and batches broadcast.
pub fn solve(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let s = square("linalg.solve", a)?;
    let vector = b.ndim() == 1 || (b.ndim() + 1 == a.ndim() && b.shape() == &a.shape()[..a.ndim() - 1]);
    if vector {
        let x = solve(a, &f::unsqueeze(b, -1)?)?;
        let shape: Dims = x.shape()[..x.ndim() - 1].into();
        return f::reshape(&x, &shape);
    }
    let n = s.n;
    if b.ndim() < 2 {
        return Err(runtime_error!(
            "linalg.solve: The tensor B must have at least 2 dimensions, or be a vector (or batch of vectors) that fits A"
        )
        .hint(format!("A has shape {:?}, B {:?}", a.shape(), b.shape())));
    }
    if b.shape()[b.ndim() - 2] != n {
        return Err(runtime_error!(
            "linalg.solve: Incompatible shapes of A and B for the equation AX = B ({n}x{n} and {}x{})",
            b.shape()[b.ndim() - 2],
            b.shape()[b.ndim() - 1]
        ));
    }
    let (wa, wb) = together("linalg.solve", a, b)?;
    let m = wb.n;
    let [data] = wa.map([count(&[n, m])], |i, a, [data]| {
        let mut lu = room::copied(a)?;
        let (rows, _) = d::lu(&mut lu, n);
        if (0..n).any(|k| lu[k * n + k] == 0.0) {
            return Err(linalg_error!(
                "torch.linalg.solve: {}The solver failed because the input matrix is singular.",
                place(&wa, i)
            ));
        }
        data.extend(d::lu_solve(&lu, &rows, n, wb.item(i), m));
        Ok(())
    })?;
    let out = wb.tensor(&data, &[n, m], a.dtype())?;
    let (sa, sx) = (save(a), save_output(&out));
    attach("LinalgSolveExBackward0", out, &[a, b], move |c, g| {
        let gb = solve(&mt(&sa.get(c)?)?, g)?;
        let ga = if c.wants(0) { Some(f::neg(&product(&gb, &mt(&sx.get(c)?)?, 1.0)?)?) } else { None };
        let mut out = Grads::new();
        out.push(ga);
        out.push(Some(gb));
        Ok(out)
    })
}

/// `X` with `A X = B`, or `X A = B` unless `left`.
fn solve_side(a: &Tensor, b: &Tensor, left: bool) -> Result<Tensor> {
    if left {
        return solve(a, b);
    }
    square("linalg.solve", a)?;
    if b.ndim() < 2 {
        // A vector is a row here.
        if b.ndim() == 0 {
            return Err(runtime_error!("linalg.solve: The tensor B must have at least 1 dimension"));
        }
        return solve(&mt(a)?, b);
    }
    mt(&solve(&mt(a)?, &mt(b)?)?)
}

/// A matrix of which one half is read, that half below.
pub(super) fn lower_half(a: &[f64], n: usize, upper: bool) -> Result<Vec<f64>> {
    if upper { room::collected((0..n * n).map(|k| a[(k % n) * n + k / n])) } else { room::copied(a) }
}

/// The lower triangular factor `L` of `A = L L^T`, or its transpose.
pub fn cholesky(x: &Tensor, upper: bool) -> Result<Tensor> {
    let b = square("linalg.cholesky", x)?;
    let n = b.n;
    let [data] = b.map([count(&[n, n])], |i, a, [data]| {
        data.extend(d::cholesky(&lower_half(a, n, upper)?, n).map_err(|k| {
            linalg_error!(
                "linalg.cholesky: {}The factorization could not be completed because the input is not positive-definite (the leading minor of order {k} is not positive-definite).",
                place(&b, i)
            )
        })?);
        Ok(())
    })?;
    let out = b.tensor(&data, &[n, n], x.dtype())?;
    let saved = save_output(&out);
    let out = attach("LinalgCholeskyExBackward0", out, &[x], move |c, g| {
        let l = saved.get(c)?;
        let half = mask(n, &l, |i, j| {
            if i > j {
                1.0
            } else if i == j {
                0.5
            } else {
                0.0
            }
        })?;
        let phi = f::mul(&product(&mt(&l)?, g, 1.0)?, &half)?;
        let li = inv(&l)?;
        let s = mul3(&[&mt(&li)?, &phi, &li])?;
        Ok(grads![f::mul_s(&f::add(&s, &mt(&s)?)?, 0.5)?])
    })?;
    if upper { mt(&out) } else { Ok(out) }
}

/// QR: Q with orthonormal columns, R upper triangular; `mode` is `reduced`, `complete` or `r`.
pub fn qr(x: &Tensor, mode: &str) -> Result<Vec<Tensor>> {
    let b = batch("linalg.qr", x)?;
    let (m, n) = (b.m, b.n);
    let cols = match mode {
        "reduced" | "r" => m.min(n),
        "complete" => m,
        _ => {
            return Err(runtime_error!(
                "qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
            ));
        }
    };
    let [qs, rs] = b.map([count(&[m, cols]), count(&[cols, n])], |_, a, [qs, rs]| {
        let (q, r) = d::qr(a, m, n, cols);
        qs.extend(q);
        rs.extend(r);
        Ok(())
    })?;
    let r = b.tensor(&rs, &[cols, n], x.dtype())?;
    if mode == "r" {
        return Ok(vec![Tensor::empty(&[0], x.dtype())?, r]);
    }
    let q = b.tensor(&qs, &[m, cols], x.dtype())?;
    let (sq, sr) = (rustnn_core::graph::save_output_at(&q, 0), rustnn_core::graph::save_output_at(&r, 1));
    attach_many("LinalgQrBackward0", vec![q, r], &[x], move |c, gs| {
        if n > m || cols != n {
            return Err(runtime_error!(
                "linalg.qr's gradient is there for reduced factors of matrices with at least as many rows as columns"
            ));
        }
        let (q, r) = (sq.get(c)?, sr.get(c)?);
        let gq = match &gs[0] {
            Some(g) => g.clone(),
            None => Tensor::zeros(q.shape(), q.dtype())?,
        };
        let gr = match &gs[1] {
            Some(g) => g.clone(),
            None => Tensor::zeros(r.shape(), r.dtype())?,
        };
        let m1 = f::sub(&product(&r, &mt(&gr)?, 1.0)?, &product(&mt(&gq)?, &q, 1.0)?)?;
        let low = f::mul(&m1, &mask(n, &r, |i, j| if i > j { 1.0 } else { 0.0 })?)?;
        let diagonal = f::mul(&m1, &mask(n, &r, |i, j| if i == j { 1.0 } else { 0.0 })?)?;
        let sym = f::add(&f::add(&low, &mt(&low)?)?, &diagonal)?;
        let left = f::add(&gq, &product(&q, &sym, 1.0)?)?;
        Ok(grads![product(&left, &mt(&inv(&r)?)?, 1.0)?])
    })
}

/// Eigenvalues, rising, and eigenvectors of symmetric matrices, of which one half is read.
pub fn eigh(x: &Tensor, uplo: &str) -> Result<Vec<Tensor>> {
    let b = square("linalg.eigh", x)?;
    let n = b.n;
    let upper = uplo.eq_ignore_ascii_case("u");
    let [ws, vs] = b.map([n, count(&[n, n])], |_, a, [ws, vs]| {
        let (w, v) = d::eigh(&lower_half(a, n, upper)?, n);
        ws.extend(w);
        vs.extend(v);
        Ok(())
    })?;
    let (w, v) = (b.tensor(&ws, &[n], x.dtype())?, b.tensor(&vs, &[n, n], x.dtype())?);
    let (sw, sv) = (rustnn_core::graph::save_output_at(&w, 0), rustnn_core::graph::save_output_at(&v, 1));
    attach_many("LinalgEighBackward0", vec![w, v], &[x], move |c, gs| {
        let (w, v) = (sw.get(c)?, sv.get(c)?);
        let eye = mask(n, &v, |i, j| if i == j { 1.0 } else { 0.0 })?;
        let mut inner = match &gs[0] {
            Some(g) => f::mul(&f::unsqueeze(g, -1)?, &eye)?,
            None => Tensor::zeros(v.shape(), v.dtype())?,
        };
        if let Some(g) = &gs[1] {
            let gap = f::add(&f::sub(&f::unsqueeze(&w, -2)?, &f::unsqueeze(&w, -1)?)?, &eye)?;
            let off = mask(n, &v, |i, j| if i == j { 0.0 } else { 1.0 })?;
            let turned = f::mul(&f::div(&product(&mt(&v)?, g, 1.0)?, &gap)?, &off)?;
            inner = f::add(&inner, &turned)?;
        }
        Ok(grads![mul3(&[&v, &inner, &mt(&v)?])?])
    })
}

/// Singular values, falling, with their vectors: `A = U diag(S) Vh`.
pub fn svd(x: &Tensor, full: bool) -> Result<Vec<Tensor>> {
    let b = batch("linalg.svd", x)?;
    let (m, n) = (b.m, b.n);
    let k = m.min(n);
    let (cu, cv) = if full { (m, n) } else { (k, k) };
    let [us, ss, vs] = b.map([count(&[m, cu]), k, count(&[cv, n])], |_, a, [us, ss, vs]| {
        let (u, s, vh) = d::svd(a, m, n);
        us.extend(d::widened(&u, m, k, cu));
        ss.extend(s);
        let v: Vec<f64> = room::collected((0..n * k).map(|t| vh[(t % k) * n + t / k]))?;
        let v = d::widened(&v, n, k, cv);
        vs.extend((0..cv * n).map(|t| v[(t % n) * cv + t / n]));
        Ok(())
    })?;
    let outs =
        vec![b.tensor(&us, &[m, cu], x.dtype())?, b.tensor(&ss, &[k], x.dtype())?, b.tensor(&vs, &[cv, n], x.dtype())?];
    let kept: Vec<_> = outs.iter().enumerate().map(|(i, t)| rustnn_core::graph::save_output_at(t, i)).collect();
    attach_many("LinalgSvdBackward0", outs, &[x], move |c, gs| {
        let (u, s, vh) = (kept[0].get(c)?, kept[1].get(c)?, kept[2].get(c)?);
        let (u, vh) = (f::narrow(&u, -1, 0, k)?, f::narrow(&vh, -2, 0, k)?);
        if full && (gs[0].is_some() || gs[2].is_some()) && m != n {
            return Err(runtime_error!(
                "svd_backward: full_matrices=True has no gradient for its vectors; use full_matrices=False"
            ));
        }
        let eye = mask(k, &u, |i, j| if i == j { 1.0 } else { 0.0 })?;
        let off = mask(k, &u, |i, j| if i == j { 0.0 } else { 1.0 })?;
        let (row, column) = (f::unsqueeze(&s, -2)?, f::unsqueeze(&s, -1)?);
        let gap = f::add(&f::sub(&f::square(&row)?, &f::square(&column)?)?, &eye)?;
        let skew = |t: &Tensor| -> Result<Tensor> { f::mul(&f::div(&f::sub(t, &mt(t)?)?, &gap)?, &off) };
        let mut inner = match &gs[1] {
            Some(g) => f::mul(&f::unsqueeze(g, -1)?, &eye)?,
            None => f::mul_s(&f::mul(&column, &eye)?, 0.0)?,
        };
        let mut rest: Option<Tensor> = None;
        if let Some(g) = &gs[0] {
            let ug = product(&mt(&u)?, g, 1.0)?;
            inner = f::add(&inner, &f::mul(&skew(&ug)?, &row)?)?;
            if m > k {
                let across = f::div(&f::sub(g, &product(&u, &ug, 1.0)?)?, &row)?;
                rest = Some(product(&across, &vh, 1.0)?);
            }
        }
        if let Some(g) = &gs[2] {
            let vg = product(&vh, &mt(g)?, 1.0)?;
            inner = f::add(&inner, &f::mul(&column, &skew(&vg)?)?)?;
            if n > k {
                let across = f::div(&f::sub(g, &product(&mt(&vg)?, &vh, 1.0)?)?, &column)?;
                let more = product(&u, &across, 1.0)?;
                rest = Some(match rest {
                    Some(r) => f::add(&r, &more)?,
                    None => more,
                });
            }
        }
        let g = mul3(&[&u, &inner, &vh])?;
        Ok(grads![match rest {
            Some(r) => f::add(&g, &r)?,
            None => g,
        }])
    })
}

/// A matrix to an integer power; negative ones of the inverse.
pub fn matrix_power(x: &Tensor, p: i64) -> Result<Tensor> {
    let nd = x.ndim();
    if nd < 2 || x.shape()[nd - 2] != x.shape()[nd - 1] {
        square("linalg.matrix_power", x)?; // says what is wrong
    }
    if p < 0 {
        return matrix_power(
            &inv(x)?,
            p.checked_neg().ok_or_else(|| runtime_error!("matrix_power: {p} is too small"))?,
        );
    }
    let mut out: Option<Tensor> = None;
    let (mut base, mut p) = (x.clone(), p);
    while p > 0 {
        if p & 1 == 1 {
            out = Some(match out {
                Some(o) => product(&o, &base, 1.0)?,
                None => base.clone(),
            });
        }
        p >>= 1;
        if p > 0 {
            base = product(&base, &base, 1.0)?;
        }
    }
    match out {
        Some(o) => Ok(o),
        None => {
            let n = x.shape()[nd - 1];
            let eye = eye(n, n, x.dtype())?;
            let out = eye.view_of(eye.layout().expand(x.shape())?).copied()?;
            attach("MatrixPowerBackward0", out, &[x], |_, g| Ok(grads![Tensor::zeros(g.shape(), g.dtype())?]))
        }
    }
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("inv(Tensor A)", LINALG | OUT, |a| inv(a.tensor(0)?).ret())
            .doc("The inverse of square matrices.")
            .samples(&["t(3,3)", "t(2,4,4)", "t(1,1)"])
            .oracle("np.linalg.inv(A)"),
        op("inverse(Tensor input)", METHOD | TORCH | OUT, |a| inv(a.tensor(0)?).ret())
            .doc("The inverse of square matrices.")
            .samples(&["t(3,3)"])
            .oracle("np.linalg.inv(input)"),
        op("det(Tensor A)", LINALG | OUT, |a| det(a.tensor(0)?).ret())
            .doc("The determinant of square matrices.")
            .samples(&["t(3,3)", "t(2,4,4)", "t(1,1)"])
            .oracle("np.linalg.det(A)"),
        op("det(Tensor input)", METHOD | TORCH, |a| det(a.tensor(0)?).ret())
            .doc("The determinant of square matrices.")
            .samples(&["t(3,3)"])
            .oracle("np.linalg.det(input)"),
        op("logdet(Tensor input)", METHOD | TORCH, |a| {
            let v = slogdet(a.tensor(0)?)?;
            // The logarithm of a negative determinant is NaN, of zero minus infinity.
            let bad = f::compare("lt", &v[0], 0.0)?;
            f::masked_fill(&v[1], &bad, f64::NAN).ret()
        })
        .doc("The logarithm of the determinant.")
        .samples(&["(lambda a: a @ a.mT + 1 * a.new_tensor([[1.,0.],[0.,1.]]))(t(2,2))"])
        .oracle("np.log(np.linalg.det(input))"),
        op("slogdet(Tensor A)", LINALG | OUT, |a| named("linalg_slogdet", &["sign", "logabsdet"], slogdet(a.tensor(0)?)))
            .doc("Sign and logarithm of the absolute value of the determinant.")
            .samples(&["t(3,3)", "t(2,4,4)"])
            .oracle("np.linalg.slogdet(A)"),
        op("slogdet(Tensor input)", METHOD | TORCH, |a| named("slogdet", &["sign", "logabsdet"], slogdet(a.tensor(0)?)))
            .doc("Sign and logarithm of the absolute value of the determinant.")
            .samples(&["t(3,3)"])
            .oracle("np.linalg.slogdet(input)"),
        op("solve(Tensor A, Tensor B, *, bool left=True)", LINALG | OUT, |a| {
            let (x, y) = (a.tensor(0)?, a.tensor(1)?);
            solve_side(x, y, a.bool(2)?).ret()
        })
        .doc("X with A X = B (X A = B unless left).")
        .samples(&["t(3,3), t(3,2)", "t(2,3,3), t(2,3,2)", "t(3,3), t(3)", "t(3,3), t(2,3), left=False"])
        .oracle("(np.linalg.solve(A, B[..., None])[..., 0] if B.ndim == 1 else np.linalg.solve(A, B) if left else np.swapaxes(np.linalg.solve(np.swapaxes(A, -1, -2), np.swapaxes(B, -1, -2)), -1, -2))"),
        op("cholesky(Tensor input, *, bool upper=False)", LINALG | OUT, |a| cholesky(a.tensor(0)?, a.bool(1)?).ret())
            .doc("The triangular factor L of A = L L^T; one half of A is read.")
            .samples(&["(lambda a: a @ a.mT)(t(3,3))"])
            .oracle("np.linalg.cholesky(input)")
            .nondiff(),
        op("cholesky(Tensor input, bool upper=False)", METHOD | TORCH | OUT, |a| cholesky(a.tensor(0)?, a.bool(1)?).ret())
            .doc("The triangular factor L of A = L L^T; one half of A is read.")
            .samples(&["(lambda a: a @ a.mT)(t(3,3))"])
            .oracle("np.linalg.cholesky(input)")
            .nondiff(),
        op("qr(Tensor A, str mode='reduced')", LINALG | OUT, |a| named("linalg_qr", &["Q", "R"], qr(a.tensor(0)?, a.str(1)?)))
            .doc("Q with orthonormal columns and upper triangular R, A = Q R.")
            .samples(&["t(4,3)", "t(3,3)", "t(2,5,3)"])
            .oracle("tuple(np.linalg.qr(A, mode))"),
        op("eigh(Tensor input, str UPLO='L')", LINALG | OUT, |a| named("linalg_eigh", &["eigenvalues", "eigenvectors"], eigh(a.tensor(0)?, a.str(1)?)))
            .doc("Eigenvalues, rising, and eigenvectors of symmetric matrices; one half of A is read.")
            .samples(&["pos(1,1)"])
            .oracle("tuple(np.linalg.eigh(input))"),
        op("eigvalsh(Tensor input, str UPLO='L')", LINALG | OUT, |a| {
            let mut v = eigh(a.tensor(0)?, a.str(1)?)?;
            v.truncate(1);
            v.remove(0).ret()
        })
        .doc("Eigenvalues of symmetric matrices, rising.")
        .samples(&["(lambda a: a + a.mT)(t(4,4))"])
        .oracle("np.linalg.eigvalsh(input)")
        .nondiff(),
        op("svd(Tensor A, bool full_matrices=True, *, str? driver=None)", LINALG | OUT, |a| named("linalg_svd", &["U", "S", "Vh"], svd(a.tensor(0)?, a.bool(1)?)))
            .doc("Singular values, falling, and their vectors: A = U diag(S) Vh.")
            .samples(&["pos(1,1)"])
            .oracle("tuple(np.linalg.svd(A, full_matrices))"),
        op("svdvals(Tensor A, *, str? driver=None)", LINALG | OUT, |a| svd(a.tensor(0)?, false)?.swap_remove(1).ret())
            .doc("Singular values, falling.")
            .samples(&["t(4,3)", "t(2,3,5)"])
            .oracle("np.linalg.svd(A, compute_uv=False)"),
        op("matrix_power(Tensor input, int n)", LINALG | OUT, |a| matrix_power(a.tensor(0)?, a.int(1)?).ret())
            .doc("A matrix to an integer power.")
            .samples(&["t(3,3), 3", "t(3,3), 0", "t(2,3,3), -2"])
            .oracle("np.linalg.matrix_power(input, n)"),
        op("matrix_power(Tensor input, int n)", METHOD | TORCH, |a| matrix_power(a.tensor(0)?, a.int(1)?).ret())
            .doc("A matrix to an integer power.")
            .samples(&["t(3,3), 2"])
            .oracle("np.linalg.matrix_power(input, n)"),
    ]
}
