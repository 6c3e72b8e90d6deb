"""`assert_close`: PyTorch's tolerances and words; `make_tensor`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rustnn import _C

__all__ = ["assert_allclose", "assert_close", "make_tensor"]

_TOLERANCES = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
}


def _name(dtype: Any) -> str:
    return str(dtype).rsplit(".", 1)[-1]


def _tolerances(a: Any, b: Any, rtol: float | None, atol: float | None) -> tuple[float, float]:
    if (rtol is None) != (atol is None):
        raise ValueError(
            "Both 'rtol' and 'atol' must be either specified or unspecified, "
            f"but got no {'atol' if atol is None else 'rtol'}"
        )
    if rtol is not None and atol is not None:
        return rtol, atol
    pairs = [_TOLERANCES.get(_name(t.dtype), (0.0, 0.0)) for t in (a, b)]
    return max(p[0] for p in pairs), max(p[1] for p in pairs)


def _double(tensor: Any) -> np.ndarray[Any, Any]:
    plain = tensor.detach()
    if _name(plain.dtype) in ("bfloat16", "float16"):
        plain = plain.to(_C.float32)
    array = np.asarray(plain.numpy())
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _compare(a: Any, b: Any, rtol: float, atol: float, equal_nan: bool) -> str | None:
    """None when close, else the numbers of PyTorch's message."""
    x, y = _double(a), _double(b)
    if x.dtype.kind == "f" or y.dtype.kind == "f":
        x, y = x.astype(np.float64), y.astype(np.float64)
        with np.errstate(all="ignore"):
            close = (x == y) | (np.abs(x - y) <= atol + rtol * np.abs(y))
        if equal_nan:
            close = close | (np.isnan(x) & np.isnan(y))
    else:
        close = x == y
    if bool(np.all(close)):
        return None
    with np.errstate(all="ignore"):
        absolute = np.where(close, 0.0, np.abs(x.astype(np.float64) - y.astype(np.float64)))
        relative = np.where(close, 0.0, absolute / np.abs(y.astype(np.float64)))
    exact = rtol == 0 and atol == 0
    if x.ndim == 0:
        head = "Scalars are not equal!\n\n" if exact else "Scalars are not close!\n\n"
        expected = f"Expected {y.item()} but got {x.item()}.\n"
        limits = ("", "") if exact else (f" (up to {atol} allowed)", f" (up to {rtol} allowed)")
        return (
            f"{head}{expected}Absolute difference: {absolute.item()}{limits[0]}\n"
            f"Relative difference: {relative.item()}{limits[1]}"
        )
    wrong, total = int((~close).sum()), close.size
    limits = ("", "") if exact else (f" (up to {atol} allowed)", f" (up to {rtol} allowed)")
    where_a = (
        tuple(int(i) for i in np.unravel_index(int(np.nanargmax(absolute)), x.shape))
        if not _all_nan(absolute)
        else (0,) * x.ndim
    )
    where_r = (
        tuple(int(i) for i in np.unravel_index(int(np.nanargmax(relative)), x.shape))
        if not _all_nan(relative)
        else (0,) * x.ndim
    )
    return (
        f"Tensor-likes are not {'equal' if exact else 'close'}!\n\n"
        f"Mismatched elements: {wrong} / {total} ({wrong / total:.1%})\n"
        f"Greatest absolute difference: {absolute[where_a]} at index {where_a}{limits[0]}\n"
        f"Greatest relative difference: {relative[where_r]} at index {where_r}{limits[1]}"
    )


def _all_nan(array: np.ndarray[Any, Any]) -> bool:
    return bool(np.all(np.isnan(array)))


def _fail(text: str, where: str, msg: Any) -> AssertionError:
    text = text + (f"\n\nThe failure occurred for item {where}" if where else "")
    if callable(msg):
        return AssertionError(msg(text))
    return AssertionError(text if msg is None else msg)


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """Raises an AssertionError unless |actual - expected| <= atol + rtol * |expected| everywhere.

    Tensors, arrays, numbers, and sequences and mappings of them; the default tolerances are PyTorch's for the
    dtype (float32: rtol 1.3e-6, atol 1e-5).

    Example::

        >>> rustnn.testing.assert_close(rustnn.tensor(1.0), rustnn.tensor(1.0 + 1e-7))
    """
    options = {
        "rtol": rtol,
        "atol": atol,
        "equal_nan": equal_nan,
        "check_dtype": check_dtype,
        "check_stride": check_stride,
    }
    _assert(actual, expected, "", options, msg)


def _assert(actual: Any, expected: Any, where: str, options: dict[str, Any], msg: Any) -> None:
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if set(actual) != set(expected):
            missing, extra = sorted(set(expected) - set(actual)), sorted(set(actual) - set(expected))
            raise _fail(
                "The keys of the mappings do not match:\n"
                f"Missing keys in the actual mapping: {missing}\nAdditional keys in the actual mapping: {extra}",
                where,
                msg,
            )
        for key in actual:
            _assert(actual[key], expected[key], f"{where}[{key!r}]", options, msg)
        return
    if _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            raise _fail(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}", where, msg)
        for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
            _assert(a, b, f"{where}[{i}]", options, msg)
        return
    if actual is None or expected is None:
        if actual is not expected:
            raise _fail(f"None mismatch: {actual} is not {expected}", where, msg)
        return
    if type(actual) is not type(expected) and isinstance(actual, _C.Tensor) != isinstance(
        expected, _C.Tensor
    ):
        raise TypeError(
            f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}."
        )
    a = actual if isinstance(actual, _C.Tensor) else _C.tensor(np.asarray(actual))
    b = expected if isinstance(expected, _C.Tensor) else _C.tensor(np.asarray(expected))
    if tuple(a.shape) != tuple(b.shape):
        raise _fail(f"The values for attribute 'shape' do not match: {a.shape} != {b.shape}.", where, msg)
    if options["check_dtype"] and a.dtype != b.dtype and isinstance(actual, _C.Tensor):
        raise _fail(f"The values for attribute 'dtype' do not match: {a.dtype} != {b.dtype}.", where, msg)
    if options["check_stride"] and tuple(a.stride()) != tuple(b.stride()):
        raise _fail(
            f"The values for attribute 'stride()' do not match: {tuple(a.stride())} != {tuple(b.stride())}.",
            where,
            msg,
        )
    rtol, atol = _tolerances(a, b, options["rtol"], options["atol"])
    text = _compare(a, b, rtol, atol, options["equal_nan"])
    if text is not None:
        raise _fail(text, where, msg)


def _is_sequence(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, (str, bytes))
        and not isinstance(value, _C.Tensor)
    )


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: str = "",
) -> None:
    """The older name: dtypes may differ, NaN equals NaN."""
    assert_close(
        actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False, msg=msg or None
    )


def make_tensor(
    *shape: Any,
    dtype: Any,
    device: Any = "cpu",
    low: float | None = None,
    high: float | None = None,
    requires_grad: bool = False,
    noncontiguous: bool = False,
    exclude_zero: bool = False,
    memory_format: Any = None,
) -> Any:
    """A tensor of random values in [low, high) (floats: [-9, 9), integers likewise, uint8 [0, 10), bool both)."""
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else tuple(shape)
    count = math.prod(sizes)
    name = _name(dtype)
    if name == "bool":
        flat = _C.randint(0, 2, (count,)).to(dtype)
    elif name.startswith(("int", "uint")):
        first = (0 if name == "uint8" else -9) if low is None else int(low)
        flat = _C.randint(first, 10 if high is None else int(high), (count,)).to(dtype)
    else:
        first_f, last_f = (-9.0 if low is None else low), (9.0 if high is None else high)
        flat = (_C.rand(count, dtype=_C.float64) * (last_f - first_f) + first_f).to(dtype)
    result = flat.reshape(sizes)
    if exclude_zero:
        result = _C.where(result == 0, _C.ones_like(result), result)
    if noncontiguous and count > 1:
        result = _C.stack([result, result], -1)[..., 0]
    return result.requires_grad_(requires_grad) if name.startswith(("float", "bfloat")) else result
