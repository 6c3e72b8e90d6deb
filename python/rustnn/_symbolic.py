"""Functions of sizes that PyTorch has for traced programs; sizes are plain numbers here."""

from __future__ import annotations

import builtins
import math
from typing import Any

from rustnn import _C

__all__ = ["_shape_as_tensor", "get_device_module", "sym_float", "sym_int", "sym_ite", "sym_max", "sym_min", "sym_not"]
__all__ += ["sym_sqrt", "sym_sum"]


def sym_int(a: Any) -> int:
    """The whole part of a number."""
    return int(a)


def sym_float(a: Any) -> float:
    """The number as a float."""
    return float(a)


def sym_max(a: Any, b: Any) -> Any:
    """The larger number; a float if one of them is."""
    found = builtins.max(a, b)
    return float(found) if isinstance(a, float) or isinstance(b, float) else found


def sym_min(a: Any, b: Any) -> Any:
    """The smaller number; a float if one of them is."""
    found = builtins.min(a, b)
    return float(found) if isinstance(a, float) or isinstance(b, float) else found


def sym_not(a: Any) -> bool:
    """Whether `a` is false."""
    return not a


def sym_ite(b: Any, t: Any, f: Any) -> Any:
    """`t` if `b`, else `f`."""
    return t if b else f


def sym_sum(args: Any) -> Any:
    """The sum of numbers."""
    return builtins.sum(args)


def sym_sqrt(a: Any) -> float:
    """The square root of a number."""
    return math.sqrt(a)


def _shape_as_tensor(input: Any) -> Any:
    """The sizes as an int64 tensor."""
    return _C.tensor(list(input.shape), dtype=_C.int64)


def get_device_module(device: Any = None) -> Any:
    """The module of a kind of device, such as `rustnn.cuda`.

    Raises:
        RuntimeError: there is no such kind, or it has no module.
    """
    import importlib

    kind = _C.device("cpu" if device is None else device).type
    try:
        return importlib.import_module(f"rustnn.{kind}")
    except ModuleNotFoundError:
        raise RuntimeError(
            f"Device '{kind}' does not have a corresponding module registered as 'torch.{kind}'."
        ) from None
