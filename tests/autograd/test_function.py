"""`autograd.Function`: what it saves, marks, checks, and how its gradients flow."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import rustnn as torch
from rustnn.autograd import Function, gradcheck, gradgradcheck
from rustnn.autograd.function import once_differentiable


class Square(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class Exp(Function):
    """Saves its own output."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return y * grad


def leaf(*shape):
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def test_first_and_second_derivative():
    x = leaf(3, 2)
    assert gradcheck(Square.apply, (x,))
    assert gradgradcheck(Square.apply, (x,))
    assert gradcheck(Exp.apply, (x,))
    assert gradgradcheck(Exp.apply, (x,))


def test_name_and_graph():
    y = Square.apply(leaf(2))
    assert y.grad_fn.name().endswith("SquareBackward")
    assert y.requires_grad
    assert not y.is_leaf


def test_no_graph_without_gradients():
    y = Square.apply(torch.ones(2))
    assert not y.requires_grad
    with torch.no_grad():
        assert not Square.apply(leaf(2)).requires_grad


def test_setup_context_style_and_other_arguments():
    class Scale(Function):
        @staticmethod
        def forward(x, factor, name):
            return x * factor

        @staticmethod
        def setup_context(ctx, inputs, output):
            _, factor, name = inputs
            assert name == "n"
            ctx.factor = factor

        @staticmethod
        def backward(ctx, grad):
            assert ctx.needs_input_grad == (True, False, False)
            return grad * ctx.factor, None, None

    x = leaf(3)
    y = Scale.apply(x, 3.0, "n")
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(3, 3.0))


def test_several_outputs_and_materialized_gradients():
    seen = []

    class Two(Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y, x - y, 7

        @staticmethod
        def backward(ctx, a, b, c):
            seen.append((a is None, b is None, c))
            return a + b, a - b

    x, y = leaf(2), leaf(2)
    s, d, seven = Two.apply(x, y)  # noqa: RUF059
    assert seven == 7
    s.sum().backward()
    assert seen == [(False, False, None)]
    np.testing.assert_array_equal(x.grad.numpy(), np.ones(2))
    np.testing.assert_array_equal(y.grad.numpy(), np.ones(2))


def test_gradients_left_none():
    seen = []

    class Two(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 1, x * 2

        @staticmethod
        def backward(ctx, a, b):
            seen.append(b)
            return a

    x = leaf(2)
    Two.apply(x)[0].sum().backward()
    assert seen == [None]


def test_mark_dirty_changes_in_place():
    class AddOne(Function):
        @staticmethod
        def forward(ctx, x):
            x.add_(1)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, grad):
            return grad * 10

    x = leaf(3)
    y = x * 2
    z = AddOne.apply(y)
    assert z is y
    z.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(3, 20.0))


def test_mark_non_differentiable():
    class MaxWithIndex(Function):
        @staticmethod
        def forward(ctx, x):
            value, index = x.max(0)
            ctx.mark_non_differentiable(index)
            ctx.save_for_backward(index)
            ctx.size = x.shape[0]
            return value, index

        @staticmethod
        def backward(ctx, grad, _):
            (index,) = ctx.saved_tensors
            out = torch.zeros(ctx.size, dtype=grad.dtype)
            out[index] = grad
            return out

    x = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64, requires_grad=True)
    value, index = MaxWithIndex.apply(x)
    assert value.requires_grad
    assert not index.requires_grad
    value.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 1, 0])


def test_input_returned_is_another_tensor():
    class Identity(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, grad):
            return grad * 5

    x = leaf(2)
    y = Identity.apply(x)
    assert y is not x
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(2, 5.0))


def test_once_differentiable():
    class Once(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return 2 * x * grad

    x = leaf(2)
    Once.apply(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy())
    (g,) = torch.autograd.grad(Once.apply(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()


def test_wrong_number_of_gradients():
    class Bad(Function):
        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, grad):
            return grad

    with pytest.raises(RuntimeError, match=r"incorrect number of gradients \(expected 2, got 1\)"):
        Bad.apply(leaf(2), leaf(2)).sum().backward()


def test_gradient_for_what_is_no_tensor():
    class Bad(Function):
        @staticmethod
        def forward(ctx, x, k):
            return x * k

        @staticmethod
        def backward(ctx, grad):
            return grad, grad

    with pytest.raises(RuntimeError, match="different from None at position 2"):
        Bad.apply(leaf(2), 3).sum().backward()


def test_error_in_backward_surfaces_as_itself_and_engine_goes_on():
    class Angry(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, grad):
            raise KeyError("mine")

    x = leaf(2)
    with pytest.raises(KeyError, match="mine"):
        Angry.apply(x).sum().backward()
    (x * 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(2, 2.0))


def test_instances_are_refused():
    with pytest.raises(RuntimeError, match="should not be instantiated"):
        Square()


def test_saved_tensor_changed_in_place_is_noticed():
    x = leaf(3)
    y = x * 1
    z = Square.apply(y)
    with torch.no_grad():
        y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_graph_is_freed():
    """Saving an output must not tie output and node into a cycle."""

    class Holder(Function):
        context = None

        @staticmethod
        def forward(ctx, x):
            y = x * 2
            ctx.save_for_backward(x, y)
            Holder.context = weakref.ref(ctx)
            return y

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    y = Holder.apply(leaf(4))
    gc.disable()
    try:
        assert Holder.context() is not None
        del y
        assert Holder.context() is None
    finally:
        gc.enable()
