"""A Function that saves its own output, whose tensor object is gone when it is differentiated twice; and the second
derivative of products by index."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rustnn
from rustnn.autograd import Function, grad, gradgradcheck


class Exp(Function):
    """e^x by its saved output."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (y,) = ctx.saved_tensors
        return g * y


class Pair(Function):
    """e^x and e^2x, the second saved."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        first, second = x.exp(), (2 * x).exp()
        ctx.save_for_backward(second)
        return first, second

    @staticmethod
    def backward(ctx: Any, g: Any, h: Any) -> Any:
        (second,) = ctx.saved_tensors
        return g * second.sqrt() + 2 * h * second


def test_an_output_that_is_gone_is_differentiated_again() -> None:
    x = rustnn.tensor([0.5, 1.0], dtype=rustnn.float64, requires_grad=True)
    total = Exp.apply(x).sum()  # the output's object is gone after this line
    for _ in range(3):
        (g,) = grad(total, x, create_graph=True)
        np.testing.assert_allclose(g.detach().numpy(), np.exp([0.5, 1.0]), rtol=1e-12)
        total = g.sum()


def test_one_of_several_outputs() -> None:
    x = rustnn.tensor([0.3], dtype=rustnn.float64, requires_grad=True)
    (g,) = grad(Pair.apply(x)[1].sum(), x, create_graph=True)
    (h,) = grad(g.sum(), x)
    np.testing.assert_allclose(h.numpy(), 4 * np.exp([0.6]), rtol=1e-12)
    assert gradgradcheck(lambda x: Pair.apply(x), (x,))


def test_the_node_goes_with_its_output() -> None:
    x = rustnn.ones(2, requires_grad=True)
    y = Exp.apply(x)
    context = y.grad_fn
    assert context is not None
    del y, context
    assert Exp.apply(x).sum().item() == pytest.approx(2 * np.e)


def test_products_by_index_are_differentiated_twice() -> None:
    a = rustnn.tensor([2.0, 3.0], dtype=rustnn.float64, requires_grad=True)
    b = rustnn.tensor([1.5, 5.0, 6.0], dtype=rustnn.float64, requires_grad=True)
    index = rustnn.tensor([0, 0, 1])
    assert gradgradcheck(lambda a, b: a.scatter_reduce(0, index, b, "prod"), (a, b))
    assert gradgradcheck(lambda a, b: a.scatter_reduce(0, index, b, "prod", include_self=False), (a, b))
    zero = rustnn.tensor([0.0, 5.0, 6.0], dtype=rustnn.float64, requires_grad=True)
    product = a.scatter_reduce(0, index, zero, "prod").sum()
    with pytest.raises(NotImplementedError, match="second derivative"):
        grad(product, zero, create_graph=True)
    np.testing.assert_allclose(grad(a.scatter_reduce(0, index, zero, "prod").sum(), zero)[0].numpy(), [10, 0, 3])
