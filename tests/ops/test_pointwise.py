"""Pointwise ops and reductions where PyTorch's rules are particular: promotion, errors, gradients of ties and edges."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import rustnn

torch = pytest.importorskip("torch", reason="compares with PyTorch")

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
ARITHMETIC = ["add", "mul", "div", "maximum", "eq", "lt", "pow", "remainder", "logical_and"]


def outcome(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Dtype, shape and values, or the error's type."""
    try:
        result = function(*args, **kwargs)
    except Exception as error:
        return type(error).__name__
    if not hasattr(result, "dtype"):
        return result
    dtype = str(result.dtype).rsplit(".", 1)[-1]
    values = [float(v) for v in np.ravel(result.double().numpy())]
    return dtype, tuple(result.shape), ["nan" if math.isnan(v) else round(v, 2) for v in values]


@pytest.mark.parametrize("name", ARITHMETIC)
def test_promotion_is_pytorchs(name: str) -> None:
    for a, b in itertools.product(DTYPES, DTYPES):
        for left, right in (([1, 0, 3], [2, 1, 2]), ([1, 0, 3], 2), (3, [2, 1, 2])):
            got = outcome(getattr(rustnn, name), rustnn.tensor(left, dtype=getattr(rustnn, a)),
                          rustnn.tensor(right, dtype=getattr(rustnn, b)))
            want = outcome(getattr(torch, name), torch.tensor(left, dtype=getattr(torch, a)),
                           torch.tensor(right, dtype=getattr(torch, b)))
            assert got == want, f"{name}({a} {left}, {b} {right})"


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "floor_divide", "remainder", "pow", "eq", "ge"])
def test_numbers_promote_by_kind(name: str) -> None:
    for dtype, number in itertools.product(DTYPES, [2, 2.5, True]):
        for values in ([1, 0, 3], 3):
            got = outcome(getattr(rustnn, name), rustnn.tensor(values, dtype=getattr(rustnn, dtype)), number)
            want = outcome(getattr(torch, name), torch.tensor(values, dtype=getattr(torch, dtype)), number)
            assert got == want, f"{name}({dtype} {values}, {number})"


UNARY = ["abs", "neg", "sign", "exp", "log", "sqrt", "sin", "tanh", "sigmoid", "floor", "round", "square", "isnan",
         "relu", "logical_not", "reciprocal", "erf", "trunc", "frac", "isfinite", "nan_to_num", "signbit"]


@pytest.mark.parametrize("name", UNARY)
def test_unary_dtypes(name: str) -> None:
    for dtype in DTYPES:
        got = outcome(getattr(rustnn, name), rustnn.tensor([1, 0, 3], dtype=getattr(rustnn, dtype)))
        want = outcome(getattr(torch, name), torch.tensor([1, 0, 3], dtype=getattr(torch, dtype)))
        assert got == want, f"{name}({dtype})"


REDUCTIONS = [
    "sum", "mean", "prod", "amax", "amin", "any", "all", "std", "var", "argmax", "count_nonzero", "nansum", "median_",
]


@pytest.mark.parametrize("name", REDUCTIONS[:-1])
def test_reduction_dtypes(name: str) -> None:
    for dtype in DTYPES:
        for shape in ((3,), (), (2, 3)):
            values = np.arange(1, 1 + math.prod(shape)).reshape(shape).tolist()
            got = outcome(getattr(rustnn, name), rustnn.tensor(values, dtype=getattr(rustnn, dtype)))
            want = outcome(getattr(torch, name), torch.tensor(values, dtype=getattr(torch, dtype)))
            assert got == want, f"{name}({dtype}, {shape})"


def gradient(module: Any, source: str) -> list[float]:
    x = module.tensor([3.0, 0.0, 3.0, -1.0], requires_grad=True)
    y = eval(source, {"x": x, "torch": module, "F": module.nn.functional})  # noqa: S307
    y.sum().backward()
    return [float(v) for v in x.grad]


@pytest.mark.parametrize("source", [
    "x.max()", "x.min()", "x.max(0)[0]", "x.amax(0)", "torch.maximum(x, torch.tensor([3., 1., 2., -1.]))",
    "torch.fmax(x, torch.tensor([3., 1., 2., -1.]))", "x.prod()", "x[:3].prod()", "x.clamp(0., 3.)", "x.clamp(min=0.)",
    "x.abs()", "x ** 0", "x ** 2", "x.norm()", "x.norm(1)", "x.std()", "x.var(unbiased=False)", "F.relu(x)",
    "F.hardtanh(x)", "F.relu6(x)", "F.leaky_relu(x, 0.2)", "F.elu(x)", "F.hardswish(x)", "F.hardsigmoid(x)",
    "F.softshrink(x)", "F.threshold(x, 0., 5.)", "x.cumprod(0)", "x.cummax(0)[0]", "x.logcumsumexp(0)",
    "torch.where(x > 0, x, 2 * x)",
    "torch.atan2(x, torch.ones(4))", "x.sign()", "x.floor()", "x.frac()", "torch.logaddexp(x, x * 2)", "x.nansum()",
    "torch.lerp(x, x * 2, 0.3)", "torch.copysign(x, torch.tensor(-1.))",
    "torch.xlogy(x, torch.tensor([1., 2., 3., 4.]))",
    "x.remainder(2.)", "x.fmod(torch.tensor(2.))", "torch.addcmul(x, x, x)", "x.logsumexp(0)",
    "x.aminmax()[1]", "2. ** x",
])
def test_gradients_at_ties_and_edges(source: str) -> None:
    np.testing.assert_allclose(gradient(rustnn, source), gradient(torch, source), rtol=2e-5, atol=1e-6)


ERRORS = [
    "t([1]) // t([0])", "t([1]) % 0", "t([True]) - t([False])", "-t([True])", "t([2]) ** -1",
    "torch.add(t([1]), t([1]), alpha=1.5)", "torch.div(t([1]), t([2]), rounding_mode='x')", "torch.clamp(t([1.]))",
    "torch.max(t([]))", "torch.argmax(t([]))", "torch.amax(torch.empty(0, 3), 0)", "t([1.]).sum(1)",
    "torch.ones(2, 2).sum((0, 0))", "torch.mean(t([1]))", "torch.std(t([1]))", "torch.ones(3) + torch.ones(4)",
    "torch.where(t([1, 0]), t([1., 2.]), t([3., 4.]))", "torch.isclose(t([1.]), t([1]))", "~t([1.])",
    "torch.bitwise_and(t([1.]), t([1]))", "torch.nn.functional.glu(torch.ones(3))", "torch.lerp(t([1.]), t([1]), .5)",
    "torch.nn.functional.gelu(t([1.]), approximate='x')", "t([1]).add_(1.5)", "torch.ones(1, 3).add_(torch.ones(2, 3))",
    "torch.addcdiv(t([1]), t([1]), t([1]))", "torch.cumsum(torch.ones(2), 5)", "t([1.]) << 1",
    "torch.frac(t([1]))", "torch.maximum(t([1]), 2)",
]


def message(module: Any, source: str) -> tuple[type, str]:
    try:
        eval(source, {"t": module.tensor, "torch": module})  # noqa: S307
    except Exception as error:
        return type(error), str(error).splitlines()[0]
    return type(None), ""


@pytest.mark.parametrize("source", ERRORS)
def test_errors_are_pytorchs(source: str) -> None:
    got, want = message(rustnn, source), message(torch, source)
    assert issubclass(got[0], want[0]) or issubclass(want[0], got[0]), f"{got} for {want}"
    assert want[1][:25] in got[1] or got[1][:25] in want[1], f"{got} for {want}"


def test_in_place_forms_keep_the_object() -> None:
    x = rustnn.ones(3, 4)
    y = x
    x += 1
    x.mul_(rustnn.ones(4)).sub_(0.5).clamp_(max=1.0)
    assert y is x
    assert x.tolist() == [[1.0] * 4] * 3
    z = rustnn.arange(6.0)
    z[1:].add_(z[:-1])
    assert z.tolist() == [0.0, 1.0, 3.0, 5.0, 7.0, 9.0]
