//! LU factors with row exchanges, equations solved with them, and the forms of `inv` and `solve` that report instead of
//! raising.

use super::batch::{Batch, batch, eye, failed, infos, named, place, singular, square, together};
use super::decompose as d;
use super::dense::{inv, solve};
use super::glue::mt;
use super::matmul::product;
use super::triangular::solve_triangular;
use crate::args::{IntoRet, Ret};
use crate::compose as f;
use crate::registry::{LINALG, METHOD, OUT, OpDef, TORCH, op};
use crate::shape::triangle::triangle;
use rustnn_core::base::layout::count;
use rustnn_core::base::{linalg_error, runtime_error};
use rustnn_core::graph::save_output_at;
use rustnn_core::{DType, Dims, Result, Tensor, attach, attach_many, grads, save_output};
use rustnn_kernels::room;

/// The packed factors of a batch, LAPACK's pivots (rows exchanged, counted from 1) and infos.
struct Factored {
    b: Batch,
    lu: Vec<f64>,
    pivots: Vec<f64>,
    info: Vec<f64>,
}

fn factor(name: &str, x: &Tensor, pivot: bool) -> Result<Factored> {
    if !pivot {
        return Err(runtime_error!("linalg.lu_factor: LU without pivoting is not implemented on the CPU"));
    }
    let b = batch(name, x)?;
    let (m, n) = (b.m, b.n);
    let [lu, pivots, info] = b.map([count(&[m, n]), m.min(n), 1], |_, a, [lu, pivots, info]| {
        let at = lu.len();
        lu.extend(a);
        let (p, k) = d::lu_pivots(&mut lu[at..], m, n);
        pivots.extend(p);
        info.push(k);
        Ok(())
    })?;
    Ok(Factored { b, lu, pivots, info })
}

/// The strictly lower part with ones on the diagonal, and the upper part, of packed factors.
fn unpacked(lu: &Tensor) -> Result<(Tensor, Tensor)> {
    let (m, n) = (lu.shape()[lu.ndim() - 2], lu.shape()[lu.ndim() - 1]);
    let k = m.min(n);
    let lower = triangle(&f::narrow(lu, -1, 0, k)?, -1, false)?;
    Ok((f::add(&lower, &eye(m, k, lu.dtype())?)?, triangle(&f::narrow(lu, -2, 0, k)?, 0, true)?))
}

/// The matrix P of `A = P L U` from pivots.
fn permutation(pivots: &Tensor, m: usize, dtype: DType) -> Result<Tensor> {
    let n = pivots.shape().last().copied().unwrap_or(0);
    let lead: Dims = pivots.shape()[..pivots.ndim().saturating_sub(1)].into();
    let data: Vec<f64> = {
        let whole = pivots.copied_as(DType::I64)?.to_contiguous()?;
        room::collected(whole.slice::<i64>()?.iter().map(|&p| p as f64))?
    };
    // A row of pivots for each matrix.
    let b = Batch { data, count: count(&lead), lead, m: 1, n };
    let [data] = b.map([count(&[m, m])], |_, pivots, [data]| {
        let mut rows: Vec<usize> = room::collected(0..m)?;
        for (k, &p) in pivots.iter().enumerate() {
            if !(p >= 1.0 && p <= m as f64 && k < m) {
                return Err(runtime_error!("lu_unpack: pivots must be in [1, {m}], got {p} for row {k}")
                    .hint("they are those of linalg.lu_factor"));
            }
            rows.swap(k, p as usize - 1);
        }
        let at = data.len();
        data.resize(at + m * m, 0.0);
        for (to, &from) in rows.iter().enumerate() {
            data[at + from * m + to] = 1.0;
        }
        Ok(())
    })?;
    b.tensor(&data, &[m, m], dtype)
}

/// The gradient of `A = P L U` from those of L and U.
fn plu_grad(p: &Tensor, l: &Tensor, u: &Tensor, gl: &Tensor, gu: &Tensor) -> Result<Tensor> {
    let (m, k) = (l.shape()[l.ndim() - 2], l.shape()[l.ndim() - 1]);
    let n = u.shape()[u.ndim() - 1];
    let (l1, u1) = (f::narrow(l, -2, 0, k)?, f::narrow(u, -1, 0, k)?);
    let (mut gl1, mut gu1) = (f::narrow(gl, -2, 0, k)?, f::narrow(gu, -1, 0, k)?);
    // X with X U^T = g, and with L^T X = g.
    let over_u = |g: &Tensor| -> Result<Tensor> { mt(&solve_triangular(&u1, &mt(g)?, true, true, false)?) };
    let under_l = |g: &Tensor| solve_triangular(&mt(&l1)?, g, true, true, true);
    let (mut below, mut beside) = (None, None);
    if m > k {
        let g = over_u(&f::narrow(gl, -2, k, m - k)?)?;
        let l2 = f::narrow(l, -2, k, m - k)?;
        gu1 = f::sub(&gu1, &product(&mt(&l2)?, &g, 1.0)?)?;
        below = Some(g);
    }
    if n > k {
        let g = under_l(&f::narrow(gu, -1, k, n - k)?)?;
        let u2 = f::narrow(u, -1, k, n - k)?;
        gl1 = f::sub(&gl1, &product(&g, &mt(&u2)?, 1.0)?)?;
        beside = Some(g);
    }
    let inner = f::add(
        &triangle(&product(&mt(&l1)?, &gl1, 1.0)?, -1, false)?,
        &triangle(&product(&gu1, &mt(&u1)?, 1.0)?, 0, true)?,
    )?;
    let mut g = over_u(&under_l(&inner)?)?;
    if let Some(more) = below {
        g = f::cat(&[g, more], -2)?;
    }
    if let Some(more) = beside {
        g = f::cat(&[g, more], -1)?;
    }
    product(p, &g, 1.0)
}

/// Packed LU factors, pivots and infos.
pub fn lu_factor_ex(name: &str, x: &Tensor, pivot: bool) -> Result<(Tensor, Tensor, Tensor)> {
    let r = factor(name, x, pivot)?;
    let (m, n) = (r.b.m, r.b.n);
    let out = r.b.tensor(&r.lu, &[m, n], x.dtype())?;
    let pivots = r.b.tensor(&r.pivots, &[m.min(n)], DType::I32)?;
    let (s, kept) = (save_output(&out), pivots.clone());
    let out = attach("LinalgLuFactorExBackward0", out, &[x], move |c, g| {
        let (l, u) = unpacked(&s.get(c)?)?;
        let k = m.min(n);
        let p = permutation(&kept, m, g.dtype())?;
        Ok(grads![plu_grad(&p, &l, &u, &f::narrow(g, -1, 0, k)?, &triangle(&f::narrow(g, -2, 0, k)?, 0, true)?)?])
    })?;
    Ok((out, pivots, infos(&r.b, &r.info)?))
}

fn lu_factor(x: &Tensor, pivot: bool) -> Result<(Tensor, Tensor)> {
    let (lu, pivots, info) = lu_factor_ex("linalg.lu_factor", x, pivot)?;
    let b = batch("linalg.lu_factor", x)?;
    if let Some((i, k)) = info.slice::<i32>()?.iter().enumerate().find(|(_, k)| **k != 0) {
        return Err(runtime_error!(
            "torch.linalg.lu_factor: {}U[{k},{k}] is zero and using it on lu_solve would result in a division by zero. If you still want to perform the factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)",
            place(&b, i)
        ));
    }
    Ok((lu, pivots))
}

/// P, L and U with `A = P L U`.
pub fn lu(x: &Tensor, pivot: bool) -> Result<Vec<Tensor>> {
    let r = factor("linalg.lu", x, pivot)?;
    let (m, n) = (r.b.m, r.b.n);
    let packed = r.b.tensor(&r.lu, &[m, n], x.dtype())?;
    let p = permutation(&r.b.tensor(&r.pivots, &[m.min(n)], DType::I32)?, m, x.dtype())?;
    let (l, u) = unpacked(&packed)?;
    let (sl, su, kept) = (save_output_at(&l, 0), save_output_at(&u, 1), p.clone());
    let mut outs = attach_many("LinalgLuBackward0", vec![l, u], &[x], move |c, gs| {
        let (l, u) = (sl.get(c)?, su.get(c)?);
        let given = |g: &Option<Tensor>, like: &Tensor| match g {
            Some(g) => Ok(g.clone()),
            None => Tensor::zeros(like.shape(), like.dtype()),
        };
        let (gl, gu) = (given(&gs[0], &l)?, triangle(&given(&gs[1], &u)?, 0, true)?);
        Ok(grads![plu_grad(&kept, &l, &u, &gl, &gu)?])
    })?;
    outs.insert(0, p);
    Ok(outs)
}

/// `X` with `A X = B` (`A^T X = B` for `adjoint`, `X A = B` for not `left`), given A's packed factors.
pub fn lu_solve(lu: &Tensor, pivots: &Tensor, b: &Tensor, left: bool, adjoint: bool) -> Result<Tensor> {
    if !left {
        return mt(&lu_solve(lu, pivots, &mt(b)?, true, !adjoint)?);
    }
    let s = square("linalg.lu_solve", lu)?;
    if pivots.dtype() != DType::I32 {
        return Err(runtime_error!("linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32"));
    }
    if pivots.shape() != &lu.shape()[..lu.ndim() - 1] {
        return Err(runtime_error!(
            "linalg.lu_solve: Number of pivots per batch should be same as the dimension of the matrix"
        )
        .hint(format!("LU is {:?}, pivots {:?}", lu.shape(), pivots.shape())));
    }
    if b.ndim() >= 2 && b.shape()[b.ndim() - 2] != s.n {
        return Err(runtime_error!(
            "linalg.lu_solve: Incompatible shapes of A and B for the equation AX = B ({0}x{0} and {1}x{2})",
            s.n,
            b.shape()[b.ndim() - 2],
            b.shape()[b.ndim() - 1]
        ));
    }
    together("linalg.lu_solve", lu, b)?; // dtypes and leading dimensions
    let p = permutation(pivots, s.n, lu.dtype())?;
    if adjoint {
        let y = solve_triangular(&mt(lu)?, b, false, true, false)?;
        return product(&p, &solve_triangular(&mt(lu)?, &y, true, true, true)?, 1.0);
    }
    let y = solve_triangular(lu, &product(&mt(&p)?, b, 1.0)?, false, true, true)?;
    solve_triangular(lu, &y, true, true, false)
}

/// Per matrix 0, or the place (from 1) of the first zero on U's diagonal.
fn singularities(b: &Batch) -> Result<Vec<f64>> {
    let [info] = b.map([1], |_, a, [info]| {
        info.push(d::lu_pivots(&mut room::copied(a)?, b.m, b.n).1);
        Ok(())
    })?;
    Ok(info)
}

/// The inverse, and per matrix 0 or where its factor has a zero.
pub fn inv_ex(x: &Tensor, check: bool) -> Result<(Tensor, Tensor)> {
    let b = square("linalg.inv_ex", x)?;
    let info = singularities(&b)?;
    let report = infos(&b, &info)?;
    let Some((i, k)) = failed(&info) else {
        return Ok((inv(x)?, report));
    };
    if check {
        return Err(singular("linalg.inv_ex", &b, i, k - 1));
    }
    let unit = d::eye(b.n);
    let [data] = b.map([count(&[b.n, b.n])], |_, a, [data]| {
        data.extend(by_lu(a, b.n, &unit, b.n)?);
        Ok(())
    })?;
    Ok((b.tensor(&data, &[b.n, b.n], x.dtype())?, report))
}

/// Solved whether or not there is a zero to divide by.
fn by_lu(a: &[f64], n: usize, b: &[f64], m: usize) -> Result<Vec<f64>> {
    let mut a = room::copied(a)?;
    let (rows, _) = d::lu(&mut a, n);
    Ok(d::lu_solve(&a, &rows, n, b, m))
}

/// The solution, and per matrix 0 or where its factor has a zero.
pub fn solve_ex(a: &Tensor, b: &Tensor, left: bool, check: bool) -> Result<(Tensor, Tensor)> {
    let s = square("linalg.solve_ex", a)?;
    let info = singularities(&s)?;
    let report = infos(&s, &info)?;
    let Some((i, _)) = failed(&info) else {
        let vector = b.ndim() == 1;
        let x = if left || vector { solve(a, b)? } else { mt(&solve(&mt(a)?, &mt(b)?)?)? };
        return Ok((x, report));
    };
    if check {
        return Err(linalg_error!(
            "torch.linalg.solve_ex: {}The solver failed because the input matrix is singular.",
            place(&s, i)
        ));
    }
    let vector = b.ndim() == 1 || (b.ndim() + 1 == a.ndim() && b.shape() == &a.shape()[..a.ndim() - 1]);
    let wide = if vector { f::unsqueeze(b, -1)? } else { b.clone() };
    let (a, wide) = if left { (a.clone(), wide) } else { (mt(a)?, mt(&wide)?) };
    let (wa, wb) = together("linalg.solve_ex", &a, &wide)?;
    if wb.m != s.n {
        return Err(runtime_error!("linalg.solve_ex: Incompatible shapes of A and B for the equation AX = B"));
    }
    let [data] = wa.map([count(&[s.n, wb.n])], |i, a, [data]| {
        data.extend(by_lu(a, s.n, wb.item(i), wb.n)?);
        Ok(())
    })?;
    let x = wb.tensor(&data, &[s.n, wb.n], a.dtype())?;
    let x = if left { x } else { mt(&x)? };
    let shape: Dims = x.shape()[..x.ndim() - 1].into();
    Ok((if vector { f::reshape(&x, &shape)? } else { x }, report))
}

fn lu_unpack(lu: &Tensor, pivots: &Tensor, data: bool, rows: bool) -> Result<Ret> {
    if lu.ndim() < 2 {
        return Err(runtime_error!(
            "torch.lu_unpack: Expected tensor with 2 or more dimensions. Got size: {:?} instead",
            lu.shape()
        ));
    }
    if rows && pivots.dtype() != DType::I32 {
        return Err(runtime_error!(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype"
        ));
    }
    let none = || Tensor::empty(&[0], lu.dtype());
    let p = if rows { permutation(pivots, lu.shape()[lu.ndim() - 2], lu.dtype())? } else { none()? };
    let (l, u) = if data { unpacked(lu)? } else { (none()?, none()?) };
    Ok(Ret::Named("lu_unpack", &["P", "L", "U"], vec![p, l, u]))
}

fn old_lu(x: &Tensor, pivot: bool, infos: bool) -> Result<Ret> {
    let (lu, pivots, info) = lu_factor_ex("torch.lu", x, pivot)?;
    if infos {
        named("_lu_with_info", &["LU", "pivots", "info"], Ok(vec![lu, pivots, info]))
    } else {
        vec![lu, pivots].ret()
    }
}

pub(crate) fn ops() -> Vec<OpDef> {
    let matrices: &[&str] = &["t(3,3)", "t(4,3)", "t(3,5)", "t(2,3,3)"];
    vec![
        op("lu(Tensor A, *, bool pivot=True)", LINALG | OUT, |a| {
            named("linalg_lu", &["P", "L", "U"], lu(a.tensor(0)?, a.bool(1)?))
        })
        .doc("A = P L U with a permutation P, L lower triangular with ones on its diagonal, U upper triangular.")
        .samples(matrices)
        .oracle("ref_lu(A)"),
        op("lu_factor(Tensor A, *, bool pivot=True)", LINALG | OUT, |a| {
            let (lu, pivots) = lu_factor(a.tensor(0)?, a.bool(1)?)?;
            named("linalg_lu_factor", &["LU", "pivots"], Ok(vec![lu, pivots]))
        })
        .doc("L and U in one matrix, and the rows exchanged (counted from 1); for lu_solve.")
        .samples(&["t(3,3)", "t(4,3)", "t(3,5)", "t(2,3,3)"])
        .oracle("ref_lu_factor(A)"),
        op("lu_factor_ex(Tensor A, *, bool pivot=True, bool check_errors=False)", LINALG | OUT, |a| {
            if a.bool(2)? {
                lu_factor(a.tensor(0)?, a.bool(1)?)?;
            }
            let (lu, pivots, info) = lu_factor_ex("linalg.lu_factor_ex", a.tensor(0)?, a.bool(1)?)?;
            named("linalg_lu_factor_ex", &["LU", "pivots", "info"], Ok(vec![lu, pivots, info]))
        })
        .doc("As lu_factor, with 0 or the place of the first zero on U's diagonal instead of an error.")
        .samples(&["t(3,3)"])
        .oracle("(*ref_lu_factor(A), np.array(0))"),
        op("lu_solve(Tensor LU, Tensor pivots, Tensor B, *, bool left=True, bool adjoint=False)", LINALG | OUT, |a| {
            lu_solve(a.tensor(0)?, a.tensor(1)?, a.tensor(2)?, a.bool(3)?, a.bool(4)?).ret()
        })
        .doc("X with A X = B (A^T X = B for adjoint, X A = B for left=False), given what lu_factor gave for A.")
        .samples(&[
            "*torch.linalg.lu_factor(t(3,3)), t(3,2)",
            "*torch.linalg.lu_factor(t(3,3)), t(3,2), adjoint=True",
            "*torch.linalg.lu_factor(t(3,3)), t(2,3), left=False",
            "*torch.linalg.lu_factor(t(2,3,3)), t(3,2)",
        ])
        .oracle("ref_lu_solve(LU, pivots, B, left, adjoint)"),
        op("lu_solve(Tensor input, Tensor LU_data, Tensor LU_pivots)", METHOD | TORCH | OUT, |a| {
            lu_solve(a.tensor(1)?, a.tensor(2)?, a.tensor(0)?, true, false).ret()
        })
        .doc("X with A X = input, given what lu_factor gave for A.")
        .samples(&["t(3,2), *torch.linalg.lu_factor(t(3,3))"])
        .oracle("ref_lu_solve(LU_data, LU_pivots, input, True, False)"),
        op("lu(Tensor A, bool pivot=True, bool get_infos=False)", METHOD | TORCH, |a| {
            old_lu(a.tensor(0)?, a.bool(1)?, a.bool(2)?)
        })
        .doc("Packed LU factors and pivots; linalg.lu_factor under its old name.")
        .samples(&["t(3,3)"])
        .oracle("ref_lu_factor(A)"),
        op(
            "lu_unpack(Tensor LU_data, Tensor LU_pivots, bool unpack_data=True, bool unpack_pivots=True)",
            TORCH | OUT,
            |a| lu_unpack(a.tensor(0)?, a.tensor(1)?, a.bool(2)?, a.bool(3)?),
        )
        .doc("P, L and U from what lu_factor gave; empty tensors for those not asked for.")
        .samples(&[
            "*torch.linalg.lu_factor(t(3,3))",
            "*torch.linalg.lu_factor(t(4,3))",
            "*torch.linalg.lu_factor(t(3,5))",
        ])
        .oracle("ref_lu_unpack(LU_data, LU_pivots)"),
        op("inv_ex(Tensor A, *, bool check_errors=False)", LINALG | OUT, |a| {
            let (x, info) = inv_ex(a.tensor(0)?, a.bool(1)?)?;
            named("linalg_inv_ex", &["inverse", "info"], Ok(vec![x, info]))
        })
        .doc("The inverse, and 0 or the place of the first zero on the diagonal of the LU factor.")
        .samples(&["t(3,3)", "t(2,4,4)"])
        .oracle("(np.linalg.inv(A), np.zeros(A.shape[:-2], dtype=int))"),
        op("solve_ex(Tensor A, Tensor B, *, bool left=True, bool check_errors=False)", LINALG | OUT, |a| {
            let (x, info) = solve_ex(a.tensor(0)?, a.tensor(1)?, a.bool(2)?, a.bool(3)?)?;
            named("linalg_solve_ex", &["result", "info"], Ok(vec![x, info]))
        })
        .doc("The solution of A X = B, and 0 or the place of the first zero on the diagonal of the LU factor.")
        .samples(&["t(3,3), t(3,2)", "t(3,3), t(3)"])
        .oracle("(np.linalg.solve(A, B), np.array(0))"),
    ]
}
