"""`cdist` of more rows and columns than the registry's samples, its gradients, and rows that meet or are not finite."""

from __future__ import annotations

import numpy as np
import pytest
import rustnn as torch

SHAPES = [
    ((3, 4), (5, 4)),
    ((2, 3, 17), (2, 6, 17)),
    ((1, 40, 33), (4, 2, 33)),
    ((70, 100), (9, 100)),
    ((2, 1, 1, 5), (3, 7, 5)),
    ((0, 4), (5, 4)),
    ((3, 4), (0, 4)),
    ((3, 0), (5, 0)),
]


def folded(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sums over what broadcasting to `x` repeated."""
    x = x.sum(tuple(range(x.ndim - len(shape))))
    return x.sum(tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1), keepdims=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_distances_and_gradients(left: tuple[int, ...], right: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    loose = dtype == "float32"
    a, b = (rng.standard_normal(s).astype(dtype) for s in (left, right))
    x, y = (torch.tensor(v, requires_grad=True) for v in (a, b))
    got = torch.cdist(x, y)
    diff = a[..., :, None, :].astype("f8") - b[..., None, :, :]
    want = np.sqrt((diff**2).sum(-1))
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=3e-6 if loose else 1e-13)
    grad = rng.standard_normal(want.shape).astype(dtype)
    got.backward(torch.tensor(grad))
    pull = diff * (grad / np.where(want == 0, 1, want))[..., None]
    for leaf, each in ((x, pull.sum(-2)), (y, -pull.sum(-3))):
        np.testing.assert_allclose(leaf.grad.numpy(), folded(each, tuple(leaf.shape)), atol=1e-4 if loose else 1e-11)


def test_second_gradients() -> None:
    x, y = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (4, 5))
    assert torch.autograd.gradgradcheck(torch.cdist, (x, y))


def test_rows_that_nearly_meet_far_from_zero() -> None:
    """What the product of the matrices would lose: the distances are a ten-thousandth of the rows."""
    x = (torch.randn(50, 8) + 1e4).requires_grad_()
    y = torch.randn(40, 8) + 1e4
    d = torch.cdist(x, y)
    diff = x.detach().double()[:, None] - y.double()[None]
    want = diff.norm(dim=-1)
    torch.testing.assert_close(d.detach().double(), want, rtol=1e-6, atol=0)
    d.sum().backward()
    torch.testing.assert_close(x.grad.double(), (diff / want[..., None]).sum(1), rtol=1e-4, atol=1e-4)


def test_rows_that_meet_and_rows_that_are_not_finite() -> None:
    x = torch.randn(5, 3, requires_grad=True)
    torch.cdist(x, x).sum().backward()
    assert torch.cdist(x, x).diagonal().eq(0).all() and x.grad.isfinite().all()
    y = torch.randn(4, 3)
    y[1] = float("inf")
    y.requires_grad_()
    d = torch.cdist(x.detach(), y)
    d.sum().backward()
    assert d[:, 1].isinf().all() and d[:, [0, 2, 3]].isfinite().all()
    assert y.grad[[0, 2, 3]].isfinite().all()
    assert torch.cdist(torch.full((1, 2), float("nan")), torch.zeros(3, 2)).isnan().all()
