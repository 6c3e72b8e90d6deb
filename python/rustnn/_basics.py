"""Everyday methods of `Tensor` that only steer native ones: NumPy, small predicates and compositions, hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rustnn import _C
from rustnn._hooks import RemovableHandle

__all__ = ["methods"]

Tensor = Any


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


def new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, **_: Any
) -> Tensor:
    """A tensor of `data` in this one's dtype unless another is given."""
    return _C.tensor(data, dtype=self.dtype if dtype is None else dtype, requires_grad=requires_grad)


def new(self: Tensor, *args: Any, device: Any = None) -> Tensor:
    """A tensor of this one's dtype: of sizes (uninitialized), of a sequence of data, or over a tensor's memory."""
    from rustnn import _legacy

    return _legacy.new(self, *args, device=device)


def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape."""
    return bool(self.shape == other.shape)


def is_nonzero(self: Tensor) -> bool:
    """Whether the one element is not zero."""
    return bool(self)


def dist(self: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The norm of order `p` of the difference."""
    return (self - other).norm(p)


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
    "new": new,
    "new_tensor": new_tensor,
    "is_same_size": is_same_size,
    "is_nonzero": is_nonzero,
    "dist": dist,
    "sum_to_size": sum_to_size,
    "register_post_accumulate_grad_hook": register_post_accumulate_grad_hook,
    "resolve_conj": _resolved,
    "resolve_neg": _resolved,
    "conj": _resolved,
}
