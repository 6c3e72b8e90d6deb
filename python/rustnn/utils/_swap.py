"""`torch.utils.swap_tensors`: two tensors change places, and whoever holds one holds the other."""

from __future__ import annotations

from typing import Any

from rustnn import _C

__all__ = ["swap_tensors"]


def swap_tensors(t1: Any, t2: Any) -> None:
    """Exchanges two tensors: memory, shape, graph, gradient, attributes and class.

    Raises:
        RuntimeError: one of them has weak references from elsewhere, or hooks that hold it.

    Example::

        >>> a, b = rustnn.ones(1), rustnn.zeros(2)
        >>> rustnn.utils.swap_tensors(a, b)
        >>> a, b
        (tensor([0., 0.]), tensor([1.]))
    """
    for name, value in (("t1", t1), ("t2", t2)):
        if not isinstance(value, _C.Tensor):
            raise TypeError(f"swap_tensors: {name} has to be a tensor, got {type(value).__name__}")
    if t1 is t2:
        return
    first, second = type(t1), type(t2)
    if first is not second:
        t1.__class__, t2.__class__ = second, first
    _C._exchange(t1, t2)
    kept = dict(t1.__dict__)
    t1.__dict__.clear()
    t1.__dict__.update(t2.__dict__)
    t2.__dict__.clear()
    t2.__dict__.update(kept)
