"""Tensors print as PyTorch prints them: recorded texts always, random ones against PyTorch where installed."""

from __future__ import annotations

import time

import numpy as np
import pytest
import rustnn
from rustnn import nn

try:
    import torch
except ImportError:
    torch = None

RECORDED = [
    ("rustnn.tensor([1.0, 2.0, 3.5])", "tensor([1.0000, 2.0000, 3.5000])"),
    ("rustnn.tensor([1.0, 2.0, 3.0])", "tensor([1., 2., 3.])"),
    ("rustnn.tensor(3)", "tensor(3)"),
    ("rustnn.tensor(3.25)", "tensor(3.2500)"),
    ("rustnn.tensor([[True], [False]])", "tensor([[ True],\n        [False]])"),
    ("rustnn.tensor([1e-5, 1.0])", "tensor([1.0000e-05, 1.0000e+00])"),
    ("rustnn.tensor([float('nan'), float('inf'), -1.5])", "tensor([    nan,     inf, -1.5000])"),
    ("rustnn.zeros(0)", "tensor([])"),
    ("rustnn.zeros(0, 3)", "tensor([], size=(0, 3))"),
    ("rustnn.zeros(2, dtype=rustnn.float64)", "tensor([0., 0.], dtype=torch.float64)"),
    ("rustnn.zeros(2, dtype=rustnn.int32)", "tensor([0, 0], dtype=torch.int32)"),
    ("rustnn.ones(2, requires_grad=True)", "tensor([1., 1.], requires_grad=True)"),
    ("rustnn.ones(2, requires_grad=True) * 2", "tensor([2., 2.], grad_fn=<MulBackward0>)"),
    ("rustnn.zeros(2000)", "tensor([0., 0., 0.,  ..., 0., 0., 0.])"),
    ("nn.Parameter(rustnn.ones(2))", "Parameter containing:\ntensor([1., 1.], requires_grad=True)"),
    ("rustnn.zeros(2, 3).shape", "torch.Size([2, 3])"),
    ("rustnn.float32", "torch.float32"),
    ("rustnn.device('cpu')", "device(type='cpu')"),
]


@pytest.mark.parametrize(("expression", "text"), RECORDED)
def test_recorded_texts(expression: str, text: str) -> None:
    assert repr(eval(expression, {"rustnn": rustnn, "nn": nn})) == text


def test_dtype_of_torch_is_named_by_its_own_name() -> None:
    assert str(rustnn.zeros(1, dtype=rustnn.bfloat16)) == "tensor([0.], dtype=torch.bfloat16)"


def random_array(rng: np.random.Generator) -> np.ndarray:
    dims = int(rng.integers(0, 5))
    sizes = (1, 2, 3, 5, 7, 8, 15, 40, 300, 1100) if dims <= 2 else (1, 2, 3, 6, 7, 9)
    array = rng.normal(size=tuple(int(rng.choice(sizes)) for _ in range(dims)))
    kind = int(rng.integers(0, 9))
    if kind == 0:
        array = array * 10.0 ** float(rng.integers(-8, 10))
    elif kind == 1:
        array = np.round(array * 100)
    elif kind == 2:
        array = np.exp(array * 5)
    elif kind == 3:
        array = np.where(rng.random(array.shape) < 0.2, rng.choice([np.nan, np.inf, -np.inf, 0.0]), array)
    elif kind == 4:
        array = np.zeros_like(array)
    elif kind == 5:
        return np.asarray(rng.integers(-1000, 1000, size=array.shape))
    elif kind == 6:
        return np.asarray(rng.random(array.shape) < 0.5)
    with np.errstate(over="ignore"):
        return np.asarray(array, dtype=rng.choice([np.float32, np.float64, np.float16]))


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
def test_random_tensors_against_pytorch() -> None:
    rng = np.random.default_rng(0)
    try:
        for round_ in range(600):
            array = random_array(rng)
            options = {"profile": "default"}
            if round_ % 3 == 0:
                options = {
                    "precision": int(rng.choice([1, 2, 4, 6])),
                    "threshold": int(rng.choice([0, 10, 1000])),
                    "edgeitems": int(rng.choice([1, 2, 3, 5])),
                    "linewidth": int(rng.choice([20, 40, 80, 120])),
                    "sci_mode": [None, True, False][int(rng.integers(0, 3))],
                }
            torch.set_printoptions(**options)
            rustnn.set_printoptions(**options)
            ours, theirs = rustnn.tensor(array), torch.tensor(array)
            if array.dtype.kind == "f" and round_ % 2:
                ours, theirs = ours.requires_grad_(), theirs.requires_grad_()
                if round_ % 4 == 1:
                    ours, theirs = ours * 1, theirs * 1
            assert repr(ours) == repr(theirs), (options, array.shape, array.dtype)
    finally:
        torch.set_printoptions(profile="default")
        rustnn.set_printoptions(profile="default")


def test_format_of_one_number() -> None:
    assert f"{rustnn.tensor(3.14159):.2f}" == "3.14"
    assert f"{rustnn.tensor(7):05d}" == "00007"
    assert f"{rustnn.tensor(2.5)}" == "2.5"
    assert f"{rustnn.tensor([1.0])}" == "tensor([1.])"
    with pytest.raises(TypeError, match="unsupported format string"):
        f"{rustnn.tensor([1.0, 2.0]):.2f}"


def test_options_can_be_read_and_put_back() -> None:
    before = rustnn.get_printoptions()
    with rustnn.printoptions(precision=2):
        assert repr(rustnn.tensor([1.2345])) == "tensor([1.23])"
    assert rustnn.get_printoptions() == before
    with pytest.raises(ValueError, match="profile"):
        rustnn.set_printoptions(profile="no such")


def test_large_tensors_print_fast() -> None:
    large = rustnn.zeros(3000, 3000)
    repr(large)
    start = time.perf_counter()
    for _ in range(10):
        repr(large)
    assert time.perf_counter() - start < 0.5


def test_subclass_prints_its_name() -> None:
    class Mine(rustnn.Tensor):
        pass

    assert repr(rustnn.tensor([1.0]).as_subclass(Mine)) == "Mine([1.])"
