"""Recording switched off and on; `backward` and `grad`; hooks; anomaly detection; functional derivatives."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import rustnn as torch
from rustnn import autograd
from rustnn.autograd import functional


def test_no_grad_as_context_and_decorator() -> None:
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert not (x * 2).requires_grad
        with torch.enable_grad():
            assert (x * 2).requires_grad
    assert (x * 2).requires_grad

    @torch.no_grad()
    def f() -> bool:
        return (x * 2).requires_grad

    @torch.no_grad
    def g() -> bool:
        return (x * 2).requires_grad

    assert not f()
    assert not g()
    assert torch.is_grad_enabled()


def test_no_grad_around_a_generator() -> None:
    @torch.no_grad()
    def numbers():
        got = yield torch.is_grad_enabled()
        try:
            yield got, torch.is_grad_enabled()
        except ValueError:
            yield "caught", torch.is_grad_enabled()
        return 5

    generator = numbers()
    assert next(generator) is False
    assert torch.is_grad_enabled()
    assert generator.send(3) == (3, False)
    assert generator.throw(ValueError("x")) == ("caught", False)
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == 5


def test_mode_comes_back_after_an_error() -> None:
    with pytest.raises(KeyError), torch.no_grad():
        raise KeyError
    assert torch.is_grad_enabled()


def test_set_grad_enabled() -> None:
    torch.set_grad_enabled(False)
    assert not torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    with torch.set_grad_enabled(False):
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_inference_mode() -> None:
    x = torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        assert torch.is_inference_mode_enabled()
        y = x * 2
    assert not y.requires_grad
    assert not torch.is_inference_mode_enabled()
    with torch.inference_mode(False):
        assert (x * 2).requires_grad


def test_threads_have_modes_of_their_own() -> None:
    import threading

    seen = []
    with torch.no_grad():
        thread = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_grad_and_its_options() -> None:
    x, y = torch.tensor(3.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    assert [g.item() for g in autograd.grad(x * y, [x, y])] == [2, 3]
    assert x.grad is None
    with pytest.raises(RuntimeError, match="appears to not have been used"):
        autograd.grad(x * 2, [x, y])
    assert autograd.grad(x * 2, [x, y], allow_unused=True)[1] is None
    assert autograd.grad(x * 2, [x, y], materialize_grads=True)[1].item() == 0
    (second,) = autograd.grad(autograd.grad(x**3, x, create_graph=True)[0], x)
    assert second.item() == 18
    (third,) = autograd.grad(
        autograd.grad(autograd.grad(x**4, x, create_graph=True)[0], x, create_graph=True)[0], x
    )
    assert third.item() == 72
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        autograd.grad(x * torch.ones(2), x, torch.ones(3))
    z = torch.ones(3, requires_grad=True)
    (rows,) = autograd.grad(z * 2, z, torch.eye(3), is_grads_batched=True)
    assert rows.tolist() == (2 * np.eye(3)).tolist()


def test_backward_of_several_with_inputs() -> None:
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    autograd.backward([(x * y).sum(), x * 3], [None, torch.ones(2)], inputs=[x])
    assert x.grad.tolist() == [4, 4]
    assert y.grad is None
    with pytest.raises(RuntimeError, match="cannot be empty"):
        (x * 2).sum().backward(inputs=[])
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.ones(1).backward()


def test_accumulation_and_retain_graph() -> None:
    x = torch.ones(2, requires_grad=True)
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert x.grad.tolist() == [4, 4]
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_hooks() -> None:
    x = torch.ones(2, requires_grad=True)
    seen = []
    y = x * 2
    handle = y.register_hook(lambda g: seen.append(g.tolist()))
    doubling = x.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert seen == [[1, 1]]
    assert x.grad.tolist() == [20, 20]
    handle.remove()
    handle.remove()
    doubling.remove()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [22, 22]
    with pytest.raises(RuntimeError, match="doesn't require gradient"):
        torch.ones(1).register_hook(print)

    def angry(g):
        raise LookupError("from a hook")

    z = x * 1
    z.register_hook(angry)
    with pytest.raises(LookupError, match="from a hook"):
        z.sum().backward()
    (x * 2).sum().backward()


def test_retain_grad() -> None:
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    y.retain_grad()
    y.retain_grad()
    assert y.retains_grad
    (y * 3).sum().backward()
    assert y.grad.tolist() == [3, 3]
    with pytest.raises(RuntimeError, match="requires_grad=False"):
        torch.ones(1).retain_grad()


def test_multi_grad_hook() -> None:
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    seen = []
    autograd.graph.register_multi_grad_hook([x, y], lambda grads: seen.append(len(grads)))
    (x * y).sum().backward()
    assert seen == [2]


def test_graph_nodes() -> None:
    x = torch.ones(2, requires_grad=True)
    y = (x * 2).exp()
    assert y.grad_fn.name() == "ExpBackward0"
    inner = y.grad_fn.next_functions[0][0]
    assert inner.name() == "MulBackward0"
    assert "AccumulateGrad" in inner.next_functions[0][0].name()
    assert x.grad_fn is None


def test_saved_tensors_hooks() -> None:
    packed = []

    def pack(tensor):
        packed.append(tensor.shape)
        return tensor.numpy().copy()

    x = torch.tensor([2.0, 3.0], requires_grad=True)
    with autograd.graph.saved_tensors_hooks(pack, torch.from_numpy):
        y = x.sin().sum()
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), np.cos([2.0, 3.0]), rtol=1e-6)
    assert packed


def forward_line(x):
    return torch.sqrt(x - 1)


def test_anomaly_names_the_forward_line() -> None:
    x = torch.ones(2, requires_grad=True)
    with autograd.detect_anomaly(), pytest.raises(RuntimeError) as info:
        (forward_line(x) * 0).sum().backward()
    assert "nan" in str(info.value).lower()
    assert "forward_line" in str(info.value) or "torch.sqrt(x - 1)" in str(info.value)
    assert "SqrtBackward" in str(info.value)


def test_graph_is_freed_without_the_collector() -> None:
    gc.disable()
    try:
        x = torch.ones(10, requires_grad=True)
        y = x * 2
        here = weakref.ref(y)
        z = y.exp().sum()
        del y
        z.backward()
        del z
        assert here() is None
    finally:
        gc.enable()


def test_functional_derivatives() -> None:
    x = torch.tensor([1.0, 2.0], dtype=torch.float64)
    np.testing.assert_allclose(functional.jacobian(lambda x: x**2, x).numpy(), np.diag([2, 4]))
    np.testing.assert_allclose(functional.hessian(lambda x: (x**3).sum(), x).numpy(), np.diag([6, 12]))
    v = torch.tensor([1.0, -1.0], dtype=torch.float64)
    _, product = functional.hvp(lambda x: (x**3).sum(), x, v)
    np.testing.assert_allclose(product.numpy(), [6, -12])
    _, product = functional.jvp(lambda x: x**2, x, v)
    np.testing.assert_allclose(product.numpy(), [2, -4])
    value, product = functional.vjp(lambda x: (x**2).sum(), x)
    assert value.item() == 5
    np.testing.assert_allclose(product.numpy(), [2, 4])
    blocks = functional.jacobian(lambda a, b: (a * b, a + b), (x, v))
    np.testing.assert_allclose(blocks[0][1].numpy(), np.diag([1, 2]))


def test_gradcheck_finds_a_wrong_gradient() -> None:
    class Wrong(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 3

    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    with pytest.raises(autograd.GradcheckError, match="Jacobian mismatch"):
        autograd.gradcheck(Wrong.apply, (x,))
    assert autograd.gradcheck(Wrong.apply, (x,), raise_exception=False) is False
    with pytest.raises(ValueError, match="require gradient"):
        autograd.gradcheck(lambda x: x, (torch.ones(1),))


def test_vmap() -> None:
    a, b = torch.ones(3, 4), torch.arange(12.0).reshape(3, 4)
    np.testing.assert_allclose(torch.vmap(torch.dot)(a, b).numpy(), b.numpy().sum(1))
    np.testing.assert_allclose(
        torch.vmap(lambda x, y: x + y, in_dims=(0, None), out_dims=1)(b, torch.ones(4)).numpy(),
        b.numpy().T + 1,
    )
