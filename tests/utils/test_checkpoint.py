"""Activation checkpointing: the gradients of the plain call, less memory, and errors when the runs differ."""

from __future__ import annotations

import pytest
import rustnn
from rustnn import nn
from rustnn.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential


def gradients(run):
    rustnn.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 2))
    x = rustnn.randn(3, 4, requires_grad=True)
    out = run(model, x)
    out.sum().backward()
    return [out.tolist(), x.grad.tolist(), *(p.grad.tolist() for p in model.parameters()), rustnn.rand(1).item()]


@pytest.mark.parametrize("reentrant", [True, False])
def test_same_gradients(reentrant):
    plain = gradients(lambda m, x: m(x))
    assert gradients(lambda m, x: checkpoint(m, x, use_reentrant=reentrant)) == plain
    assert gradients(lambda m, x: checkpoint_sequential(m, 3, x, use_reentrant=reentrant)) == plain


def test_the_function_runs_twice_and_keeps_nothing():
    runs = []

    def block(x):
        runs.append(1)
        return (x.sin() * 2).exp()

    x = rustnn.ones(3, requires_grad=True)
    y = checkpoint(block, x, use_reentrant=False)
    assert len(runs) == 1
    y.sum().backward()
    assert len(runs) == 2
    expected = rustnn.ones(3, requires_grad=True)
    block(expected).sum().backward()
    assert x.grad.tolist() == expected.grad.tolist()


def test_nested_and_keyword_arguments():
    def inner(x, scale=1.0):
        return (x * scale).sin()

    def outer(x):
        return checkpoint(inner, x, scale=2.0, use_reentrant=False).exp()

    x = rustnn.ones(2, requires_grad=True)
    checkpoint(outer, x, use_reentrant=False).sum().backward()
    y = rustnn.ones(2, requires_grad=True)
    (y * 2.0).sin().exp().sum().backward()
    assert x.grad.tolist() == y.grad.tolist()


def test_backward_twice_with_retain_graph():
    x = rustnn.ones(2, requires_grad=True)
    y = checkpoint(lambda a: a.sin().exp(), x, use_reentrant=False).sum()
    y.backward(retain_graph=True)
    once = x.grad.clone()
    y.backward()
    assert x.grad.tolist() == (once * 2).tolist()


def test_runs_that_differ():
    calls = []

    def fewer(x):
        calls.append(1)
        return x.sin().exp() if len(calls) == 1 else x * 1

    x = rustnn.ones(2, requires_grad=True)
    with pytest.raises(CheckpointError, match="A different number of tensors was saved"):
        checkpoint(fewer, x, use_reentrant=False).sum().backward()
    calls.clear()

    def smaller(x):
        calls.append(1)
        return x.sin().exp() if len(calls) == 1 else x.sin()[:1].exp()

    with pytest.raises(CheckpointError, match="different metadata|A different number"):
        checkpoint(smaller, x, use_reentrant=False, early_stop=False).sum().backward()


def test_without_gradients():
    with rustnn.no_grad():
        assert checkpoint(lambda a: a * 2, rustnn.ones(1), use_reentrant=False).item() == 2.0


def test_warnings_and_refusals():
    x = rustnn.ones(1, requires_grad=True)
    with pytest.warns(UserWarning, match="use_reentrant parameter should be passed explicitly"):
        checkpoint(lambda a: a * 2, x)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: foo"):
        checkpoint(lambda a: a * 2, x, use_reentrant=True, foo=1)
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        checkpoint(lambda a: a * 2, rustnn.ones(1), use_reentrant=True)
