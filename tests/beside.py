"""Runs one piece of code with PyTorch and with rustnn and says how the outcomes differ.

An outcome is what the code gives (values, dtypes, shapes, strides, requires_grad) or the type of the error it raises.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

TOLERANCE = {"float64": (1e-9, 1e-11), "float32": (3e-5, 3e-6), "float16": (4e-3, 4e-3), "bfloat16": (3e-2, 3e-2)}
DTYPES = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]


def short(dtype: Any) -> str:
    return str(dtype).rsplit(".", 1)[-1]


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """Random values of a dtype."""
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype.startswith(("int", "uint")):
        return rng.integers(0 if dtype == "uint8" else -5, 6, shape)
    return rng.normal(size=shape)


def tensor(lib: Any, array: Any, dtype: str) -> Any:
    """The same values as a tensor of either library."""
    array = np.asarray(array)
    flat = lib.tensor(array.ravel().tolist(), dtype=lib.float64 if array.dtype.kind == "f" else getattr(lib, dtype))
    return flat.reshape(array.shape).to(getattr(lib, dtype))


def is_tensor(value: Any) -> bool:
    return hasattr(value, "requires_grad") and hasattr(value, "stride")


def numbers(x: Any) -> np.ndarray[Any, Any]:
    plain = x.detach()
    plain = plain.double() if plain.is_floating_point() else plain
    kind = np.float64 if plain.is_floating_point() else np.bool_ if short(plain.dtype) == "bool" else np.int64
    return np.asarray(plain.tolist(), dtype=kind).reshape(tuple(plain.shape))


def described(value: Any, strides: bool) -> Any:
    if is_tensor(value):
        # The stride of a dimension of one element, or of no elements, means nothing.
        step = tuple(s if n > 1 else 0 for n, s in zip(value.shape, value.stride(), strict=True))
        step = step if strides and value.numel() else ()
        return "tensor", short(value.dtype), tuple(value.shape), step, value.requires_grad, numbers(value)
    if isinstance(value, dict):
        return [(str(k), described(v, strides)) for k, v in value.items()]
    if isinstance(value, (tuple, list)):
        return [described(v, strides) for v in value]
    if isinstance(value, (int, float, bool, str, bytes, type(None))):
        return value
    return short(value) if type(value).__name__ == "dtype" else type(value).__name__


def outcome(lib: Any, code: Callable[[Any], Any], strides: bool = True) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "value", described(code(lib), strides)
        except Exception as error:
            return "error", type(error).__name__


def difference(ours: Any, theirs: Any) -> str | None:
    """How two outcomes differ, in words; `None` if they don't."""
    if isinstance(theirs, tuple) and theirs and theirs[0] == "tensor":
        if not (isinstance(ours, tuple) and ours and ours[0] == "tensor"):
            return f"{ours} is no tensor"
        for place, what in ((1, "dtype"), (2, "shape"), (3, "strides"), (4, "requires_grad")):
            if ours[place] != theirs[place]:
                return f"{what} {ours[place]}, PyTorch has {theirs[place]}"
        a, b = ours[5], theirs[5]
        if b.dtype.kind != "f":
            return None if np.array_equal(a, b) else f"{a.ravel()[:8]}, PyTorch has {b.ravel()[:8]}"
        rtol, atol = TOLERANCE[theirs[1]]
        finite = np.abs(b[np.isfinite(b)])
        scale = max(1.0, float(finite.max()) if finite.size else 0.0)
        with np.errstate(invalid="ignore"):
            same = np.allclose(a, b, rtol=rtol, atol=atol * scale, equal_nan=True)
        return None if same else f"{a.ravel()[:8]}, PyTorch has {b.ravel()[:8]}"
    if isinstance(theirs, (list, tuple)) and isinstance(ours, (list, tuple)):
        if len(ours) != len(theirs):
            return f"{len(ours)} parts, PyTorch has {len(theirs)}: {ours} {theirs}"
        for n, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if (found := difference(a, b)) is not None:
                return f"[{n}] {found}"
        return None
    if isinstance(theirs, float) and isinstance(ours, float):
        return None if np.isclose(ours, theirs, rtol=1e-5, equal_nan=True) else f"{ours}, PyTorch has {theirs}"
    return None if ours == theirs else f"{ours!r}, PyTorch has {theirs!r}"


def compare(ours: Any, theirs: Any, code: Callable[[Any], Any], strides: bool = True) -> str | None:
    """Runs `code(lib)` with both libraries; how the outcomes differ."""
    return difference(outcome(ours, code, strides), outcome(theirs, code, strides))
