"""Layouts, index expressions, draws and error types beside PyTorch, on inputs drawn at random from a fixed seed."""

# ruff: noqa: E501  (programs of one line each)

from __future__ import annotations

import random
from typing import Any

import beside
import numpy as np
import pytest
import rustnn

torch = pytest.importorskip("torch", reason="compares with PyTorch")

CALLS = """
x.sort()|x.argsort()|x.sort(0,descending=True)|x.msort()|x.flip(0)|x.flip(0,-1)|x.fliplr()|x.flipud()|x.rot90()
x.frexp()|x.isreal()|x.exp()|x+x|x*2|x.clamp(min=0)|torch.where(x>0,x,-x)|x.softmax(0)|x.cumsum(0)|x.clone()
torch.zeros_like(x)|x.double()|x.round()|x.masked_fill(x>0,1)|x.sum(0)|x.topk(1)|x.contiguous()|x.nan_to_num()
""".strip().replace("\n", "|").split("|")


@pytest.mark.parametrize("layout", ["turned", "every other", "expanded", "channels_last"])
@pytest.mark.parametrize("call", CALLS)
def test_layouts(call: str, layout: str) -> None:
    def code(lib: Any) -> Any:
        x = beside.tensor(lib, beside.draw(np.random.default_rng(1), (2, 3, 4, 5), "float32"), "float32")
        if layout == "turned":
            x = x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)
        elif layout == "every other":
            big = lib.zeros(4, 6, 8, 10)
            big[::2, ::2, ::2, ::2] = x
            x = big[::2, ::2, ::2, ::2]
        elif layout == "expanded":
            x = x[:1].expand(2, 3, 4, 5)
        else:
            x = x.to(memory_format=lib.channels_last)
        return eval(call, {"x": x, "torch": lib})

    assert beside.compare(rustnn, torch, code) is None


ERRORS = """
torch.ones(2,dtype=torch.int64).det()|torch.ones(3).inverse()|torch.linalg.eigh(torch.tensor(1))
torch.ones(0).amax()|torch.ones(0).argmax()|torch.ones(0).aminmax()|torch.ones(0,3).amin()|torch.ones(0,3).amax(0)|torch.ones(3)[torch.tensor([0],dtype=torch.int16)]
torch.ones(3)[torch.tensor(0,dtype=torch.int8)]|torch.ones(3)[torch.tensor([0],dtype=torch.int32)]
torch.multinomial(torch.ones(0),3,True)|torch.multinomial(torch.zeros(3),2)|torch.nn.functional.adaptive_avg_pool2d(torch.ones(1,1,4,4),0)
torch.nn.functional.embedding_bag(torch.tensor([0]),torch.ones(3),torch.tensor([0]))
torch.nn.functional.embedding_bag(torch.tensor([0,1]),torch.ones(3,2),torch.tensor([1]))
torch.nn.functional.pad(torch.ones(1,1,3),(4,0),'circular')
""".strip().replace("\n", "|").split("|")


@pytest.mark.parametrize("call", ERRORS)
def test_error_types(call: str) -> None:
    assert beside.compare(rustnn, torch, lambda lib: eval(call, {"torch": lib})) is None


@pytest.mark.parametrize("sides", [(1, -1), (-1, 2), (-2, -1), (2, -2), (1, 2, -1, 3), (-1, 1, 2, -2, 1, -1)])
def test_circular_padding_that_cuts(sides: tuple[int, ...]) -> None:
    dims = len(sides) // 2

    def code(lib: Any) -> Any:
        x = lib.arange(2.0 * 4**dims).reshape(1, 2, *[4] * dims).requires_grad_()
        y = lib.nn.functional.pad(x, sides, mode="circular")
        (y * lib.arange(float(y.numel())).reshape(y.shape)).sum().backward()
        return y, x.grad

    assert beside.compare(rustnn, torch, code) is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rms_norm_of_narrow_floats(dtype: str) -> None:
    def code(lib: Any) -> Any:
        x = beside.tensor(lib, beside.draw(np.random.default_rng(2), (3, 5), dtype) * 1e-3, dtype).requires_grad_()
        y = lib.nn.functional.rms_norm(x, (5,))
        (y * lib.arange(5, dtype=y.dtype)).sum().backward()
        return y, x.grad

    assert beside.compare(rustnn, torch, code) is None


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags_scaled_by_frequency(mode: str) -> None:
    def code(lib: Any) -> Any:
        weight = lib.arange(15.0).reshape(5, 3).requires_grad_()
        args = lib.tensor([1, 2, 2, 4, 1]), weight, lib.tensor([0, 2])
        out = lib.nn.functional.embedding_bag(*args, mode=mode, scale_grad_by_freq=True)
        (out * lib.arange(6.0).reshape(2, 3)).sum().backward()
        return out, weight.grad

    assert beside.compare(rustnn, torch, code) is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("samples", [1, 3])
def test_multinomial_of_turned_weights(samples: int, dtype: str) -> None:
    def code(lib: Any) -> Any:
        weights = beside.tensor(lib, np.random.default_rng(3).random((7, 5)) + 0.1, dtype).T
        lib.manual_seed(11)
        return lib.multinomial(weights, samples), lib.rand(2)

    assert beside.compare(rustnn, torch, code) is None


def component(rng: random.Random, size: int, shapes: list[tuple[int, ...]]) -> tuple[str, int]:
    """A part of an index, and how many dimensions it takes."""
    kind = rng.random()
    if kind < 0.2:
        return str(rng.randrange(-size - (rng.random() < 0.05), size) if size else 0), 1
    if kind < 0.5:
        ends = [rng.choice(["", str(rng.randrange(-size - 2, size + 3))]) for _ in range(2)]
        return ":".join(ends) + rng.choice(["", f":{rng.randrange(1, 4)}"]), 1
    if kind < 0.6:
        return "None", 0
    if kind < 0.85:
        shape = rng.choice(shapes)
        values = np.array([rng.randrange(-size, size) if size else 0 for _ in range(int(np.prod(shape)))])
        return f"mk({values.reshape(shape).tolist()}, '{rng.choice(['int64', 'int32'])}')", 1
    if kind < 0.93:
        return f"mk({[rng.random() < 0.5 for _ in range(size)]}, 'bool')", 1
    if kind < 0.97:
        return str([rng.randrange(-size, size) if size else 0 for _ in range(rng.choice([1, 2, 3]))]), 1
    return rng.choice(["True", "False"]), 0


def index(rng: random.Random, shape: tuple[int, ...]) -> str:
    shapes = rng.choice([[(2,)], [(2,), (1,), ()], [(2,), (3, 2), (3, 1)], [(2,), (3,)]])
    parts: list[str] = []
    at, dots = 0, False
    for _ in range(rng.randrange(1, len(shape) + 2)):
        if not dots and rng.random() < 0.12:
            parts.append("...")
            dots, at = True, at + rng.randrange(0, 2)
            continue
        if at >= len(shape) and rng.random() < 0.95:
            break
        text, used = component(rng, shape[at] if at < len(shape) else 2, shapes)
        parts.append(text)
        at += used
    return ", ".join(parts) or "..."


@pytest.mark.parametrize("seed", range(8))
def test_index_expressions(seed: int) -> None:
    rng = random.Random(seed)
    for number in range(60):
        shape = rng.choice([(4,), (3, 4), (2, 3, 4), (2, 1, 3, 2), (0, 3), (3, 0, 2), (5, 5), ()])
        text, dtype = index(rng, shape), rng.choice(["float32", "float64", "int64", "bool", "bfloat16", "uint8"])

        def code(lib: Any, shape=shape, text=text, dtype=dtype, number=number) -> Any:
            draws = np.random.default_rng(number)
            x = beside.tensor(lib, beside.draw(draws, shape, dtype), dtype)
            names = {"mk": lambda v, d: lib.tensor(v, dtype=getattr(lib, d)), "x": x, "torch": lib}
            read = eval(f"x[{text}]", names).clone()
            value = beside.tensor(lib, beside.draw(draws, tuple(read.shape), dtype), dtype)
            results = [read]
            if x.is_floating_point():
                leaf, put = x.clone().requires_grad_(), value.clone().requires_grad_()
                names.update(x=leaf)
                eval(f"x[{text}]", names).double().sin().sum().backward()
                written = leaf * 1
                names.update(x=written, value=put)
                exec(f"x[{text}] = value", names)
                written.double().sin().sum().backward()
                results += [leaf.grad, written, put.grad if read.numel() else None]
            names.update(x=x, value=value)
            exec(f"x[{text}] = value", names)
            exec(f"x[{text}] = 1", names)
            return [*results, x]

        found = beside.compare(rustnn, torch, code, strides=False)
        assert found is None, f"x of {dtype}{shape}: x[{text}]: {found}"
