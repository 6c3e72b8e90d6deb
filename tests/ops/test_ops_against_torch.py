"""Every op of the registry against PyTorch's function of the same name, where PyTorch is installed."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from ops import harness as h
from rustnn import _C
from rustnn.autograd import grad

torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")

CASES = [c for c in h.cases() if h.torch_function_of(c.row) is not None]
TOLERANCE = {"float64": (1e-9, 1e-10), "float32": (1e-4, 1e-5)}
# Gradients in which PyTorch has a constant in single precision whatever the dtype; ours are exact.
COARSE = {"celu", "hardsigmoid", "xlogy", "xlog1py"}
# Results that are views of what LAPACK left in column order, or of one tensor of all coordinates: their strides mean
# nothing.
BY_COLUMNS = {"tensorinv", "nuclear_norm", "unravel_index"}
# Of a triangular factor PyTorch's gradient has values in the half that is not read.
BOTH_HALVES = {"cholesky_solve", "cholesky_inverse"}
# What PyTorch says in backward of a call that it computed: nothing to compare with.
NO_BACKWARD = ("returned an invalid gradient at index", "is not implemented", "modified by an inplace operation")


def both(case: h.Case, args: Any, kwargs: Any, requires_grad: bool) -> tuple[Any, Any, Any]:
    """(PyTorch's arguments, ours, what each gives); skips where PyTorch itself refuses the sample."""
    torch_args, torch_kwargs = h.to_torch(args, requires_grad), h.to_torch(kwargs, requires_grad)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wanted = h.torch_function_of(case.row)(*torch_args, **torch_kwargs)
        except (TypeError, RuntimeError, ValueError, IndexError, NotImplementedError) as error:
            pytest.skip(f"PyTorch refuses: {str(error).splitlines()[0]}")
        got = h.function_of(case.row)(*args, **kwargs)
    return (torch_args, torch_kwargs), got, wanted


def torch_tensors(value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for v in value.values() for t in torch_tensors(v)]
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in torch_tensors(v)]
    return []


def close(got: Any, wanted: Any, dtype: str, where: str, coarse: bool = False) -> None:
    a, b = h.to_numpy(got), wanted.detach()
    b = (b.to(torch.float64) if b.is_floating_point() else b).numpy(force=True)
    own = str(wanted.dtype).rsplit(".", 1)[-1]
    rtol, atol = (1e-6, 1e-8) if coarse else max(TOLERANCE[dtype], TOLERANCE.get(own, (0.0, 0.0)))
    scale = float(np.max(np.abs(b[np.isfinite(b)]), initial=1.0)) if b.dtype.kind == "f" else 1.0
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol * max(1.0, scale), err_msg=where, equal_nan=True)


def same_kind(got: Any, wanted: Any, where: str) -> None:
    assert tuple(got.shape) == tuple(wanted.shape), where
    assert str(got.dtype).rsplit(".", 1)[-1] == str(wanted.dtype).rsplit(".", 1)[-1], where


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=[c.id for c in CASES])
def test_values_shapes_dtypes(case: h.Case, dtype: str) -> None:
    args, kwargs = h.arguments(case, dtype)
    _, got, wanted = both(case, args, kwargs, False)
    ours, theirs = h.tensors_in([got]), torch_tensors(wanted)
    if not theirs:
        assert got == wanted or isinstance(got, _C.Tensor)
        return
    assert len(ours) == len(theirs)
    for n, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        same_kind(a, b, f"{case.id}[{n}]")
        if case.row["oracle"]:
            close(a, b, dtype, f"{case.id}[{n}]")
        if b._is_view() and case.name not in BY_COLUMNS:
            assert tuple(a.stride()) == tuple(b.stride()), f"{case.id}[{n}]: strides of a view"


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "float16", "bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=[c.id for c in CASES])
def test_result_dtypes(case: h.Case, dtype: str) -> None:
    """The same result dtype for inputs of another dtype, or an error of the same type."""
    if not case.row["oracle"]:
        pytest.skip("random or about memory itself")
    args, kwargs = h.arguments(case, "float32")
    kind = getattr(_C, dtype)

    def cast(tensor: Any) -> Any:
        return (tensor * 3).to(kind) if tensor.dtype.is_floating_point else tensor

    args, kwargs = h.map_tensors(args, cast), h.map_tensors(kwargs, cast)
    torch_args, torch_kwargs = h.to_torch(args), h.to_torch(kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wanted = h.torch_function_of(case.row)(*torch_args, **torch_kwargs)
        except (TypeError, RuntimeError, ValueError, IndexError, NotImplementedError):
            # What PyTorch refuses may be refused or computed here, but nothing else may happen.
            try:
                h.function_of(case.row)(*args, **kwargs)
            except (TypeError, RuntimeError, ValueError, IndexError, NotImplementedError):
                pass
            return
        got = h.function_of(case.row)(*args, **kwargs)
    for n, (a, b) in enumerate(zip(h.tensors_in([got]), torch_tensors(wanted), strict=False)):
        same_kind(a, b, f"{case.id}[{n}] of {dtype}")


SMOOTH = [c for c in CASES if not c.row["nondiff"] and c.row["oracle"] and c.name not in BOTH_HALVES]


@pytest.mark.parametrize("case", SMOOTH, ids=[c.id for c in SMOOTH])
def test_gradients(case: h.Case) -> None:
    args, kwargs = h.arguments(case)
    inputs = [x.requires_grad_() for x in h.tensors_in([list(args), kwargs]) if x.dtype.is_floating_point]
    (torch_args, torch_kwargs), got, wanted = both(case, args, kwargs, True)
    torch_inputs = [x for x in torch_tensors([list(torch_args), torch_kwargs]) if x.is_floating_point()]
    pairs = [(a, b) for a, b in zip(h.tensors_in([got]), torch_tensors(wanted), strict=True) if b.requires_grad]
    if not pairs:
        pytest.skip("PyTorch gives no gradient")
    rng = np.random.default_rng(1)
    seeds = [rng.normal(size=tuple(b.shape)) for _, b in pairs]
    try:
        theirs = torch.autograd.grad(
            [b for _, b in pairs], torch_inputs, [torch.tensor(s) for s in seeds], allow_unused=True
        )
    except (RuntimeError, NotImplementedError) as error:
        if not any(words in str(error) for words in NO_BACKWARD):
            raise
        pytest.skip(f"PyTorch refuses: {str(error).splitlines()[0]}")
    ours = grad([a for a, _ in pairs], inputs, [_C.from_numpy(np.asarray(s)) for s in seeds], allow_unused=True)
    for n, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if b is None and a is not None:
            assert not np.any(h.to_numpy(a)), f"gradient {n}: PyTorch has none"
        elif a is None and b is not None:
            assert not b.any(), f"gradient {n} is missing"
        elif a is not None:
            close(a, b, "float64", f"{case.id}: gradient {n}", case.name in COARSE)
