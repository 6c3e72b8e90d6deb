"""In-place ops whose gradient needs nothing of the old value write at once: same gradients, no second block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import rustnn as torch
from rustnn.nn import functional as F

Op = Callable[[Any, bool], Any]

OTHER = torch.rand(6, 5, dtype=torch.float64) + 0.5

OPS: dict[str, Op] = {
    "relu": lambda x, here: x.relu_() if here else x.relu(),
    "F.relu": lambda x, here: F.relu(x, inplace=here),
    "relu6": lambda x, here: F.relu6(x, inplace=here),
    "hardtanh": lambda x, here: F.hardtanh(x, -0.3, 0.7, inplace=here),
    "leaky_relu": lambda x, here: F.leaky_relu(x, 0.1, inplace=here),
    "leaky_relu(0)": lambda x, here: F.leaky_relu(x, 0.0, inplace=here),
    "leaky_relu(-1)": lambda x, here: F.leaky_relu(x, -1.0, inplace=here),
    "silu": lambda x, here: F.silu(x, inplace=here),
    "elu": lambda x, here: F.elu(x, 0.7, inplace=here),
    "sigmoid": lambda x, here: x.sigmoid_() if here else x.sigmoid(),
    "tanh": lambda x, here: x.tanh_() if here else x.tanh(),
    "add": lambda x, here: x.add_(OTHER) if here else x + OTHER,
    "add row": lambda x, here: x.add_(OTHER[0]) if here else x + OTHER[0],
    "add alpha": lambda x, here: x.add_(OTHER, alpha=3) if here else x.add(OTHER, alpha=3),
    "add itself": lambda x, here: x.add_(x) if here else x + x,
    "sub": lambda x, here: x.sub_(2.0) if here else x - 2.0,
    "mul": lambda x, here: x.mul_(OTHER) if here else x * OTHER,
    "mul its value": lambda x, here: x.mul_(x.detach()) if here else x * x.detach(),
    "mul itself": lambda x, here: x.mul_(x) if here else x * x,
    "div": lambda x, here: x.div_(OTHER) if here else x / OTHER,
}


def gradients(op: Op, here: bool, part: bool) -> list[Any]:
    """Value, gradient and the gradient of the gradient's squares, of an op on a result or on a part of it."""
    torch.manual_seed(0)
    leaf = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    x = leaf * 1.5
    if part:
        big = torch.cat([x, x])
        y = op(big[3:9], here)
        total = (big if here else torch.cat([big[:3], y, big[9:]])).pow(3).sum()
    else:
        y = op(x, here)
        if here:
            assert y is x
        total = y.pow(3).sum()
    (g,) = torch.autograd.grad(total, leaf, create_graph=True)
    (h,) = torch.autograd.grad(g.square().sum(), leaf)
    return [total, g, h]


@pytest.mark.parametrize("part", [False, True], ids=["whole", "view"])
@pytest.mark.parametrize("name", OPS)
def test_same_gradients(name: str, part: bool) -> None:
    for a, b in zip(gradients(OPS[name], True, part), gradients(OPS[name], False, part), strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["relu", "F.relu", "relu6", "hardtanh", "leaky_relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_limits_that_a_dtype_rounds(name: str, dtype: Any) -> None:
    grads = []
    for here in (True, False):
        leaf = torch.linspace(-2, 8, 2001).to(dtype).requires_grad_()
        OPS[name](leaf * 1.0, here).sum().backward()
        grads.append(leaf.grad)
    assert torch.equal(*grads)


def test_hardtanh_counts_limits_as_met() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        lo, hi = torch.tensor([0.1, 0.7]).to(dtype).tolist()
        x = torch.tensor([lo, hi, (lo + hi) / 2, float("nan")], dtype=dtype, requires_grad=True)
        F.hardtanh(x, lo, hi).backward(torch.ones(4, dtype=dtype))
        assert x.grad.tolist() == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("name", ["relu", "F.relu", "relu6", "leaky_relu", "sigmoid", "add row", "sub", "mul"])
def test_takes_no_block(name: str) -> None:
    global OTHER
    before, OTHER = OTHER, torch.ones(300, 1000)
    try:
        x = torch.randn(300, 1000, requires_grad=True) * 2.0
        there = x.data_ptr()
        used = torch.memory_stats()["allocated"]
        y = OPS[name](x, True)
        assert torch.memory_stats()["allocated"] - used < 300 * 1000 * 2
        assert y.data_ptr() == there
        y.sum().backward()
    finally:
        OTHER = before


def test_written_after_it_was_saved() -> None:
    x = torch.randn(4, requires_grad=True) * 1.0
    y = x.sigmoid_()
    y.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    # What was saved before is noticed too, and what is written before anything is saved is not.
    x = torch.randn(4, requires_grad=True) * 1.0
    z = x * x
    x.relu_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    x = torch.randn(4, requires_grad=True) * 1.0
    x.add_(1.0).mul_(2.0).relu_().sum().backward()


def test_who_may_not_be_written() -> None:
    leaf = torch.randn(3, requires_grad=True)
    for op in (OPS["relu"], OPS["F.relu"], OPS["add row"]):
        with pytest.raises(RuntimeError, match="leaf Variable"):
            op(leaf, True)
    assert leaf._version == 0
    wide = torch.zeros(1, 5).expand(6, 5)
    with pytest.raises(RuntimeError, match="single memory location"):
        F.relu6(wide, inplace=True)
    x = torch.ones(2, 5, dtype=torch.float64, requires_grad=True) * 1.0
    with pytest.raises(RuntimeError, match="must match the size"):
        x.add_(OTHER)
    assert torch.equal(x, torch.ones(2, 5, dtype=torch.float64))


def test_versions_count_once() -> None:
    x = torch.ones(4, requires_grad=True) * 1.0
    versions = [x._version]
    for op in (x.relu_, x.sigmoid_, lambda: x.add_(1.0), lambda: F.leaky_relu(x, 0.1, inplace=True), x.exp_):
        op()
        versions.append(x._version)
    assert versions == [0, 1, 2, 3, 4, 5]
    with torch.no_grad():
        F.relu(x, inplace=True)
    assert x._version == 6
