"""Everyday methods of `Tensor` that only steer native ones: casts, copies into a tensor, transposes, NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rustnn import _C
from rustnn._hooks import RemovableHandle

__all__ = ["methods"]

Tensor = Any

_CASTS: dict[Any, str] = {
    _C.float32: "float",
    _C.float64: "double",
    _C.float16: "half",
    _C.bfloat16: "bfloat16",
    _C.int64: "long",
    _C.int32: "int",
    _C.int16: "short",
    _C.int8: "char",
    _C.uint8: "byte",
    _C.bool: "bool",
}


def _check_device(device: Any) -> None:
    from rustnn._tensor import _absent_device

    if isinstance(device, int) and not isinstance(device, bool):
        raise _absent_device(f"cuda:{device}")
    made = device if isinstance(device, _C.device) else _C.device(device)
    if made.type != "cpu":
        raise _absent_device(str(made))


def numpy(self: Tensor, *, force: bool = False) -> Any:
    """A NumPy array over the same memory.

    Args:
        force: detach first, and convert what NumPy has no dtype for.

    Raises:
        RuntimeError: the tensor requires a gradient.
        TypeError: NumPy has no such dtype (bfloat16).
    """
    tensor = self
    if force:
        tensor = tensor.detach()
        if tensor.dtype == _C.bfloat16:
            tensor = tensor.float()
    return np.asarray(memoryview(tensor))


def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor in another dtype, or itself if nothing changes.

    `to(dtype)`, `to(device)`, `to(device, dtype)` and `to(other)`, each with `non_blocking`, `copy` and
    `memory_format`; the only device is "cpu".

    Example::

        >>> rustnn.tensor([1, 2]).to(rustnn.float32)
        tensor([1., 2.])
    """
    dtype, device = kwargs.pop("dtype", None), kwargs.pop("device", None)
    other = kwargs.pop("other", None)
    copy, memory_format = kwargs.pop("copy", False), kwargs.pop("memory_format", None)
    kwargs.pop("non_blocking", None)
    if kwargs:
        raise TypeError(f"to() got an unexpected keyword argument {next(iter(kwargs))!r}")
    rest = list(args)
    if rest:
        first = rest.pop(0)
        if isinstance(first, _C.dtype):
            dtype = first
        elif isinstance(first, _C.Tensor):
            other = first
        elif first is None or isinstance(first, (str, int, _C.device)):
            device = first
            if rest and (rest[0] is None or isinstance(rest[0], _C.dtype)):
                dtype = rest.pop(0)
        else:
            raise TypeError(
                f"to() received an invalid combination of arguments - got ({type(first).__name__}), but expected a "
                "dtype, a device, or a tensor"
            )
    if len(rest) > 1:
        copy = rest[1]
    if other is not None:
        dtype = other.dtype
    if device is not None:
        _check_device(device)
    result = self if dtype is None or dtype == self.dtype else getattr(self, _CASTS[dtype])()
    if memory_format is not None and memory_format != _C.preserve_format:
        result = result.contiguous(memory_format=memory_format)
    return result.clone() if copy and result is self else result


def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Writes the elements of `src`, broadcast and cast, into this tensor."""
    if not isinstance(src, _C.Tensor):
        raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}")
    self[...] = src
    return self


def fill_(self: Tensor, value: Any) -> Tensor:
    """Sets every element to `value`, a number or a tensor of no dimensions."""
    if isinstance(value, _C.Tensor) and value.dim() != 0:
        raise RuntimeError(
            f"fill_ only supports 0-dimension value tensor but got tensor with {value.dim()} dimensions."
        )
    self[...] = value
    return self


def zero_(self: Tensor) -> Tensor:
    """Sets every element to zero."""
    self[...] = 0
    return self


def new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, **_: Any
) -> Tensor:
    """A tensor of `data` in this one's dtype unless another is given."""
    return _C.tensor(data, dtype=self.dtype if dtype is None else dtype, requires_grad=requires_grad)


def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape."""
    return bool(self.shape == other.shape)


def is_nonzero(self: Tensor) -> bool:
    """Whether the one element is not zero."""
    return bool(self)


def dist(self: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The norm of order `p` of the difference."""
    return (self - other).norm(p)


def inverse(self: Tensor) -> Tensor:
    """The inverse of square matrices."""
    return _C._linalg.inv(self)


def sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """Summed over the dimensions that broadcasting from `size` would make."""
    sizes = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else size
    lead = self.dim() - len(sizes)
    result = self.sum(tuple(range(lead))) if lead else self
    dims = tuple(i for i, n in enumerate(sizes) if n == 1 and result.shape[i] != 1)
    return result.sum(dims, keepdim=True) if dims else result


def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Calls `hook(tensor)` after a gradient was added to this leaf's `.grad`."""
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if not self.is_leaf:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    number = self._register_post_accumulate_hook(hook)
    return RemovableHandle.calling(lambda: self._remove_hook(number))


def _resolved(self: Tensor) -> Tensor:
    """The tensor itself: there are no lazy conjugates or negations."""
    return self


methods: dict[str, Any] = {
    "numpy": numpy,
    "to": to,
    "copy_": copy_,
    "fill_": fill_,
    "zero_": zero_,
    "new_tensor": new_tensor,
    "is_same_size": is_same_size,
    "is_nonzero": is_nonzero,
    "dist": dist,
    "inverse": inverse,
    "sum_to_size": sum_to_size,
    "register_post_accumulate_grad_hook": register_post_accumulate_grad_hook,
    "resolve_conj": _resolved,
    "resolve_neg": _resolved,
    "conj": _resolved,
    "T": property(lambda self: _C.numpy_T(self), doc="The dimensions reversed."),
    "H": property(lambda self: _C.numpy_T(self), doc="The matrix transposed."),
    "mT": property(lambda self: _C._mT(self), doc="The last two dimensions exchanged."),
    "mH": property(lambda self: _C._mT(self), doc="The last two dimensions exchanged."),
    "real": property(_resolved, doc="The tensor itself: its elements are real."),
}
