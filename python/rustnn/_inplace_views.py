"""In-place changes of a tensor's shape: `t_`, `unsqueeze_`, `resize_`, `set_` and their siblings.

Each makes the out-of-place result and lets the tensor become it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rustnn import _C

__all__ = ["attach"]

Tensor = _C.Tensor

_NAMES = (
    "t", "transpose", "swapaxes", "swapdims", "squeeze", "unsqueeze", "permute", "movedim", "moveaxis", "as_strided",
)


def _make(name: str) -> Any:
    def in_place(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _C._become(self, getattr(self, name)(*args, **kwargs))

    in_place.__name__ = f"{name}_"
    in_place.__qualname__ = f"Tensor.{name}_"
    in_place.__doc__ = f"In-place form of `Tensor.{name}`: the tensor itself changes its shape or strides."
    return in_place


def _sizes(size: Any) -> list[int]:
    if len(size) == 1 and isinstance(size[0], Sequence):
        size = size[0]
    dims = [int(s) for s in size]
    for s in dims:
        if s < 0:
            raise RuntimeError(f"requested resize to {dims}, but sizes cannot be negative (got {s})")
    return dims


def resize_(self: Any, *sizes: Any, size: Any = None, memory_format: Any = None) -> Any:
    """Changes the tensor's size in place; elements are kept in memory order, new ones are arbitrary."""
    dims = _sizes(sizes if size is None else (size,))
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    if tuple(dims) == tuple(self.shape):
        return self
    strides = [1] * len(dims)
    for i in range(len(dims) - 2, -1, -1):
        strides[i] = strides[i + 1] * max(dims[i + 1], 1)
    needed = (math.prod(dims) + self.storage_offset()) * self.element_size()
    if needed <= self._storage_ptr()[1]:
        return _C._become(self, _C._restride(self, dims, strides, self.storage_offset()))
    grown = _C.empty(dims, dtype=self.dtype)
    held = self._storage_ptr()[1] // self.element_size()
    keep = min(held - self.storage_offset(), grown.numel()) if held else 0
    if keep > 0:
        old = _C._restride(self, [keep], [1], self.storage_offset())
        _C._restride(grown, [keep], [1], 0).copy_(old)
    return _C._become(self, grown)


def resize_as_(self: Any, the_template: Any, *, memory_format: Any = None) -> Any:
    """`resize_` to the size of `the_template`."""
    return resize_(self, *the_template.shape)


def set_(self: Any, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None) -> Any:
    """Lets the tensor show the elements of `source` (a tensor), or nothing."""
    if source is None:
        return _C._become(self, _C.empty(0, dtype=self.dtype))
    if not isinstance(source, Tensor):
        source = getattr(source, "_tensor", source)
    if source.dtype != self.dtype:
        raise RuntimeError(
            f"Could not set tensor of type {source.dtype} to a tensor of type {self.dtype}: they must have one dtype"
        )
    if size is not None:
        dims = list(size)
        if stride is None:
            stride = [math.prod(dims[i + 1 :]) for i in range(len(dims))]
        source = _C._restride(source, dims, list(stride), storage_offset)
    return _C._become(self, source.detach())


def attach() -> None:
    """Puts the methods on the Tensor class."""
    for name in _NAMES:
        setattr(Tensor, f"{name}_", _make(name))
    for function in (resize_, resize_as_, set_):
        setattr(Tensor, function.__name__, function)
