//! Equations with triangular matrices, and what Cholesky factors are used for.

use super::batch::{eye, failed, infos, named, place, square, together};
use super::decompose as d;
use super::dense::{cholesky, lower_half};
use super::glue::mt;
use super::matmul::product;
use crate::args::{IntoRet, Ret};
use crate::compose as f;
use crate::registry::{LINALG, METHOD, OUT, OpDef, TORCH, op};
use crate::shape::triangle::triangle;
use rustnn_core::base::layout::count;
use rustnn_core::base::{linalg_error, not_implemented, runtime_error};
use rustnn_core::{Grads, Result, Tensor, attach, save, save_output};

/// `X` with `A X = B` (or `X A = B`), of A only the upper or lower triangle being read, with ones on its diagonal for
/// `unit`.
pub fn solve_triangular(a: &Tensor, b: &Tensor, upper: bool, left: bool, unit: bool) -> Result<Tensor> {
    const NAME: &str = "linalg.solve_triangular";
    if !a.dtype().is_float() {
        return Err(not_implemented!("\"triangular_solve_cpu\" not implemented for '{}'", a.dtype().torch_name()));
    }
    if !left {
        return mt(&solve_triangular(&mt(a)?, &mt(b)?, !upper, true, unit)?);
    }
    let n = square(NAME, a)?.n;
    let (wa, wb) = together(NAME, a, b)?;
    if wb.m != n {
        return Err(runtime_error!(
            "{NAME}: Incompatible shapes of A and B for the equation AX = B ({n}x{n} and {}x{})",
            wb.m,
            wb.n
        ));
    }
    let [data] = wa.map([count(&[n, wb.n])], |i, a, [data]| {
        data.extend(d::triangular(a, n, wb.item(i), wb.n, upper, unit));
        Ok(())
    })?;
    let out = wb.tensor(&data, &[n, wb.n], a.dtype())?;
    let (sa, sx) = (save(a), save_output(&out));
    attach("LinalgSolveTriangularBackward0", out, &[a, b], move |c, g| {
        let gb = solve_triangular(&mt(&sa.get(c)?)?, g, !upper, true, unit)?;
        let ga = if c.wants(0) {
            let whole = f::neg(&product(&gb, &mt(&sx.get(c)?)?, 1.0)?)?;
            let k = i64::from(unit);
            Some(triangle(&whole, if upper { k } else { -k }, upper)?)
        } else {
            None
        };
        let mut out = Grads::new();
        out.push(ga);
        out.push(Some(gb));
        Ok(out)
    })
}

/// `X` with `A X = B`, given the Cholesky factor of A.
pub fn cholesky_solve(b: &Tensor, factor: &Tensor, upper: bool) -> Result<Tensor> {
    if b.ndim() < 2 || factor.ndim() < 2 {
        return Err(runtime_error!(
            "b should have at least 2 dimensions, and the factor too, but they have {} and {} dimensions instead",
            b.ndim(),
            factor.ndim()
        ));
    }
    let turned = mt(factor)?;
    let (first, last) = if upper { (&turned, factor) } else { (factor, &turned) };
    solve_triangular(last, &solve_triangular(first, b, false, true, false)?, true, true, false)
}

/// The inverse of a matrix, given its Cholesky factor.
pub fn cholesky_inverse(factor: &Tensor, upper: bool) -> Result<Tensor> {
    let b = square("cholesky_inverse", factor)?;
    cholesky_solve(&eye(b.n, b.n, factor.dtype())?, factor, upper)
}

/// The Cholesky factor, and per matrix 0 or the order of the leading minor that is not positive.
pub fn cholesky_ex(x: &Tensor, upper: bool, check: bool) -> Result<(Tensor, Tensor)> {
    let b = square("linalg.cholesky_ex", x)?;
    let n = b.n;
    let [data, info] = b.map([count(&[n, n]), 1], |i, a, [data, info]| {
        let lower = lower_half(a, n, upper)?;
        match d::cholesky(&lower, n) {
            Ok(l) => {
                data.extend(l);
                info.push(0.0);
            }
            Err(k) if check => {
                return Err(linalg_error!(
                    "linalg.cholesky_ex: {}The factorization could not be completed because the input is not positive-definite (the leading minor of order {k} is not positive-definite).",
                    place(&b, i)
                ));
            }
            Err(k) => {
                // Not a factor: the half that was read.
                data.extend((0..n * n).map(|p| if p % n <= p / n { lower[p] } else { 0.0 }));
                info.push(k as f64);
            }
        }
        Ok(())
    })?;
    let l = if failed(&info).is_none() {
        cholesky(x, upper)?
    } else {
        let l = b.tensor(&data, &[n, n], x.dtype())?;
        if upper { mt(&l)? } else { l }
    };
    Ok((l, infos(&b, &info)?))
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("solve_triangular(Tensor input, Tensor B, *, bool upper, bool left=True, bool unitriangular=False)", LINALG | OUT, |a| {
            solve_triangular(a.tensor(0)?, a.tensor(1)?, a.bool(2)?, a.bool(3)?, a.bool(4)?).ret()
        })
        .doc("X with A X = B (X A = B for left=False), A triangular: its other half is not read.")
        .samples(&[
            "pos(3,3), t(3,2), upper=True", "pos(3,3), t(3,2), upper=False", "pos(3,3), t(2,3), upper=True, left=False",
            "t(3,3), t(3,2), upper=False, unitriangular=True", "pos(2,3,3), t(3,2), upper=True", "t(0,0), t(0,2), upper=True",
        ])
        .oracle("(lambda a: np.linalg.solve(a, B) if left else np.swapaxes(np.linalg.solve(np.swapaxes(a, -1, -2), np.swapaxes(B, -1, -2)), -1, -2))((np.triu if upper else np.tril)(input, (1 if upper else -1) if unitriangular else 0) + (np.eye(input.shape[-1]) if unitriangular else 0))"),
        op("triangular_solve(Tensor input, Tensor A, bool upper=True, bool transpose=False, bool unitriangular=False)", METHOD | TORCH | OUT, |a| {
            let (b, m) = (a.tensor(0)?, a.tensor(1)?);
            let (upper, turned) = (a.bool(2)?, a.bool(3)?);
            let x = if turned {
                solve_triangular(&mt(m)?, b, !upper, true, a.bool(4)?)?
            } else {
                solve_triangular(m, b, upper, true, a.bool(4)?)?
            };
            Ok(Ret::Named("triangular_solve", &["solution", "cloned_coefficient"], vec![x, crate::shape::view::clone(m)?]))
        })
        .doc("X with A X = b (A^T X = b for transpose), A triangular, and a copy of A; see linalg.solve_triangular.")
        .samples(&["t(3,2), pos(3,3)", "t(3,2), pos(3,3), False, True"])
        .oracle("(lambda a: (np.linalg.solve(a.T if transpose else a, input), A))(np.triu(A) if upper else np.tril(A))"),
        op("cholesky_solve(Tensor input, Tensor input2, bool upper=False)", METHOD | TORCH | OUT, |a| {
            cholesky_solve(a.tensor(0)?, a.tensor(1)?, a.bool(2)?).ret()
        })
        .doc("X with A X = B, given the Cholesky factor L of A.")
        .samples(&["t(3,2), pos(3,3)", "t(3,2), pos(3,3), True", "t(2,3,2), pos(3,3)"])
        .oracle("np.linalg.solve((lambda u: np.swapaxes(u, -1, -2) @ u)(np.triu(input2)) if upper else (lambda l: l @ np.swapaxes(l, -1, -2))(np.tril(input2)), input)"),
        op("cholesky_inverse(Tensor input, bool upper=False)", METHOD | TORCH | OUT, |a| {
            cholesky_inverse(a.tensor(0)?, a.bool(1)?).ret()
        })
        .doc("The inverse of A, given its Cholesky factor L.")
        .samples(&["pos(3,3)", "pos(3,3), True"])
        .oracle("np.linalg.inv((lambda u: u.T @ u)(np.triu(input)) if upper else (lambda l: l @ l.T)(np.tril(input)))"),
        op("cholesky_ex(Tensor input, *, bool upper=False, bool check_errors=False)", LINALG | OUT, |a| {
            let (l, info) = cholesky_ex(a.tensor(0)?, a.bool(1)?, a.bool(2)?)?;
            named("linalg_cholesky_ex", &["L", "info"], Ok(vec![l, info]))
        })
        .doc("The triangular factor L of A = L L^T, and 0 or the order of the leading minor that is not positive-definite.")
        .samples(&["(lambda a: a @ a.mT)(t(3,3))"])
        .oracle("(np.linalg.cholesky(input), np.array(0))")
        .nondiff(),
    ]
}
