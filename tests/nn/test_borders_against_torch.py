"""Layers at their borders beside PyTorch: outputs with their layout, gradients, state, reprs, error types."""

from __future__ import annotations

from typing import Any

import beside
import numpy as np
import pytest
import rustnn
from nn.border_cases import MORE, REFUSED

torch = pytest.importorskip("torch", reason="PyTorch is not installed: the comparison with it is skipped")


def makers(lib: Any) -> dict[str, Any]:
    rng = np.random.default_rng(7)
    made: list[Any] = []

    def floats(draw: Any, grad: bool = True) -> Any:
        def make(*shape: int) -> Any:
            x = beside.tensor(lib, np.asarray(draw(shape), np.float32), "float32")
            made.append(x.requires_grad_(grad))
            return x

        return make

    return {
        "nn": lib.nn, "torch": lib, "F": lib.nn.functional, "made": made,
        "square": lib.nn.Transformer.generate_square_subsequent_mask,
        "t": floats(rng.standard_normal), "pos": floats(lambda s: rng.random(s) + 0.1),
        "unit": floats(lambda s: rng.random(s) * 0.9 + 0.05, False),
        "vec": floats(lambda s: rng.random(s) + 0.1, False),
        "sign": floats(lambda s: np.sign(rng.standard_normal(s)), False),
        "i": lambda *s, n: beside.tensor(lib, rng.integers(0, n, s), "int64"),
        "call": lambda *args, **kwargs: (args, kwargs),
    }  # fmt: skip


def flat(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [x for v in value for x in flat(v)]
    return [value] if beside.is_tensor(value) else []


def program(maker: str, inputs: str, train: bool) -> Any:
    def code(lib: Any) -> Any:
        names = makers(lib)
        lib.manual_seed(3)
        module = eval(maker, names).train(train)
        lib.manual_seed(5)
        args, kwargs = eval(f"call({inputs})", names)
        out = flat(module(*args, **kwargs))
        total: Any = 0
        for k, o in enumerate(out):
            if o.is_floating_point() and o.requires_grad:
                weight = lib.arange(o.numel(), dtype=lib.float64).reshape(o.shape) * 0.1 + k + 1
                total = total + (o.double() * weight).sin().sum()
        if not isinstance(total, int):
            total.backward()
        return [
            repr(module), out, dict(module.state_dict()), [x.grad for x in names["made"]],
            [p.grad for p in module.parameters()],
        ]  # fmt: skip

    return code


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("maker", "inputs"), MORE)
def test_same(maker: str, inputs: str, train: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(beside.TOLERANCE, "float32", (2e-4, 2e-5))
    assert beside.compare(rustnn, torch, program(maker, inputs, train)) is None


@pytest.mark.parametrize(("maker", "inputs"), REFUSED)
def test_refused(maker: str, inputs: str) -> None:
    theirs = beside.outcome(torch, program(maker, inputs, True))
    assert theirs[0] == "error"
    assert beside.outcome(rustnn, program(maker, inputs, True)) == theirs
