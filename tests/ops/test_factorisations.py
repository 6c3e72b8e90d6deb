"""Factorisations and what is solved with them: batches, singular matrices, tolerances, drivers, errors."""

from __future__ import annotations

import numpy as np
import pytest
import rustnn
from rustnn.autograd import gradcheck

F64 = rustnn.float64


def matrix(*shape: int, seed: int = 0) -> rustnn.Tensor:
    return rustnn.from_numpy(np.random.default_rng(seed).normal(size=shape))


def test_a_singular_matrix_raises_linalg_error() -> None:
    zero = rustnn.zeros(2, 2)
    with pytest.raises(rustnn.linalg.LinAlgError, match="singular"):
        rustnn.linalg.inv(zero)
    with pytest.raises(rustnn.linalg.LinAlgError, match="singular"):
        rustnn.linalg.solve(zero, rustnn.ones(2))
    with pytest.raises(rustnn.linalg.LinAlgError, match="not positive-definite"):
        rustnn.linalg.cholesky(-rustnn.eye(2))
    assert issubclass(rustnn.linalg.LinAlgError, RuntimeError)


def test_forms_that_report() -> None:
    batch = rustnn.stack([rustnn.eye(2), rustnn.zeros(2, 2)])
    inverse, info = rustnn.linalg.inv_ex(batch)
    assert info.tolist() == [0, 1] and info.dtype == rustnn.int32
    assert inverse[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    with pytest.raises(rustnn.linalg.LinAlgError, match="Batch element 1"):
        rustnn.linalg.inv_ex(batch, check_errors=True)
    result, info = rustnn.linalg.solve_ex(batch, rustnn.ones(2, 2, 1))
    assert info.tolist() == [0, 1] and result[0].flatten().tolist() == [1.0, 1.0]
    factor, info = rustnn.linalg.cholesky_ex(rustnn.stack([rustnn.eye(2), -rustnn.eye(2)]))
    assert info.tolist() == [0, 1] and factor[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    with pytest.raises(rustnn.linalg.LinAlgError):
        rustnn.linalg.cholesky_ex(-rustnn.eye(2), check_errors=True)
    assert rustnn.linalg.lu_factor_ex(rustnn.zeros(2, 2)).info.item() == 1
    with pytest.raises(RuntimeError, match=r"U\[1,1\] is zero"):
        rustnn.linalg.lu_factor(rustnn.zeros(2, 2))
    with pytest.raises(RuntimeError, match="without pivoting"):
        rustnn.linalg.lu(rustnn.eye(2), pivot=False)


def test_only_one_triangle_is_read() -> None:
    a, b = matrix(3, 3) + 3 * rustnn.eye(3, dtype=F64), matrix(3, 2, seed=1)
    spoiled = a + rustnn.full((3, 3), float("nan"), dtype=F64).tril(-1)
    x = rustnn.linalg.solve_triangular(spoiled, b, upper=True)
    np.testing.assert_allclose((a.triu() @ x).numpy(), b.numpy(), rtol=1e-12)
    with pytest.raises(RuntimeError, match="Incompatible shapes"):
        rustnn.linalg.solve_triangular(a, matrix(4, 2), upper=True)
    with pytest.raises(RuntimeError, match="same dtype"):
        rustnn.linalg.solve_triangular(a, b.float(), upper=True)


def test_rank_deficient_matrices() -> None:
    low = matrix(5, 2) @ matrix(2, 4, seed=1)
    p = rustnn.linalg.pinv(low)
    np.testing.assert_allclose((low @ p @ low).numpy(), low.numpy(), atol=1e-12)
    np.testing.assert_allclose(p.numpy(), np.linalg.pinv(low.numpy()), atol=1e-11)
    assert rustnn.linalg.matrix_rank(low).item() == 2
    assert rustnn.linalg.matrix_rank(rustnn.zeros(0, 3)).item() == 0
    assert rustnn.linalg.matrix_rank(rustnn.eye(3), atol=rustnn.tensor(2.0)).item() == 0
    x = rustnn.linalg.lstsq(low, matrix(5, 1, seed=2)).solution
    np.testing.assert_allclose(
        x.numpy(), np.linalg.lstsq(low.numpy(), matrix(5, 1, seed=2).numpy(), rcond=None)[0], atol=1e-11
    )


def test_gradients_through_symmetric_and_low_rank_forms() -> None:
    a = matrix(3, 3).requires_grad_()
    assert gradcheck(lambda a: rustnn.linalg.pinv(a + a.mT, hermitian=True), (a,))
    tall, b = matrix(5, 3).requires_grad_(), matrix(5, 2, seed=3).requires_grad_()
    assert gradcheck(lambda a, b: rustnn.linalg.lstsq(a, b, driver="gelsd").residuals, (tall, b))


def test_lstsq_says_what_its_driver_gives() -> None:
    a, b = matrix(5, 3), matrix(5, 2, seed=1)
    shapes = {
        None: [(3, 2), (0,), (), (0,)],
        "gels": [(3, 2), (2,), (0,), (0,)],
        "gelsd": [(3, 2), (2,), (), (3,)],
    }
    for driver, wanted in shapes.items():
        assert [tuple(t.shape) for t in rustnn.linalg.lstsq(a, b, driver=driver)] == wanted
    with pytest.raises(RuntimeError, match="driver"):
        rustnn.linalg.lstsq(a, b, driver="svd")


def test_condition_of_a_singular_matrix_is_infinite() -> None:
    assert rustnn.linalg.cond(rustnn.zeros(2, 2), "fro").item() == float("inf")
    assert rustnn.linalg.cond(rustnn.zeros(0, 0)).item() == 0.0
    with pytest.raises(RuntimeError, match="square"):
        rustnn.linalg.cond(rustnn.ones(2, 3), 1)


def test_pivots_are_checked() -> None:
    lu, pivots = rustnn.linalg.lu_factor(matrix(3, 3))
    for wrong in (pivots + 7, pivots * 0, pivots.long(), pivots[:2]):
        with pytest.raises(RuntimeError):
            rustnn.linalg.lu_solve(lu, wrong, matrix(3, 1))


@pytest.mark.parametrize("call", [
    "linalg.matrix_exp(x)", "linalg.lu(x)", "linalg.pinv(x)", "linalg.cond(x)", "linalg.inv_ex(x)", "geqrf(x)",
    "linalg.matrix_rank(x)", "linalg.lu_factor_ex(x)", "linalg.lstsq(x, x)", "orgqr(x, x)",
    "linalg.solve_triangular(x, x, upper=True)", "cholesky_inverse(x)", "svd(x)", "linalg.householder_product(x, x)",
])  # fmt: skip
def test_what_is_no_matrix_raises(call: str) -> None:
    for x in (rustnn.ones(3), rustnn.ones(2, 2).int(), rustnn.tensor(1.0)):
        with pytest.raises((RuntimeError, IndexError)):
            eval(f"rustnn.{call}", {"rustnn": rustnn, "x": x})  # noqa: S307


def test_large_and_special_matrices_end() -> None:
    assert rustnn.linalg.matrix_exp(rustnn.full((2, 2), float("nan"))).isnan().all()
    assert rustnn.linalg.matrix_exp(rustnn.full((2, 2), float("inf"))).isnan().all()
    assert rustnn.linalg.pinv(rustnn.full((2, 2), float("nan"))).isnan().any()
    np.testing.assert_allclose(rustnn.linalg.matrix_exp(rustnn.eye(2) * 30)[0, 0].item(), np.exp(30.0), rtol=1e-5)
