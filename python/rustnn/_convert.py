"""`asarray`: a tensor over what something holds, or of it."""

from __future__ import annotations

from typing import Any

from rustnn import _C

__all__ = ["asarray"]


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool | None = None
) -> Any:
    """A tensor of `obj`, over the same memory where that is possible.

    Args:
        obj: a tensor, a NumPy array, something with DLPack or the buffer protocol, a storage, a number, or nested
            sequences of numbers.
        dtype: the dtype of the result; for a buffer, that of its elements (as the buffer says unless given).
        device: `"cpu"`.
        copy: True copies always, False never, None only where needed.
        requires_grad: whether the result requires a gradient; `None` leaves a tensor as it is.

    Raises:
        ValueError: `copy=False` and a copy is needed.

    Example::

        >>> rustnn.asarray([1, 2])
        tensor([1, 2])
    """
    if device is not None:
        _C.empty(0, device=device)
    found = _over_memory(obj, dtype)
    if found is None:
        if copy is False:
            raise ValueError("can't alias arbitrary sequence into a tensor.")
        made = _C.tensor(obj, dtype=dtype)
        return made.requires_grad_() if requires_grad else made
    if dtype is not None and found.dtype != dtype:
        if copy is False:
            raise ValueError(f"can't alias tensor with dtype '{found.dtype}' into dtype '{dtype}'.")
        found, copy = found.to(dtype), None
    if copy:
        found = found.clone()
    if requires_grad is None:
        return found
    if not requires_grad:
        return found.detach() if found.requires_grad else found
    return found if found.requires_grad else found.detach().requires_grad_()


def _over_memory(obj: Any, dtype: Any) -> Any:
    """A tensor over the memory of `obj`, or `None` if it has none to share."""
    if isinstance(obj, _C.Tensor):
        return obj
    if isinstance(obj, (bool, int, float, list, tuple)):
        return None
    kind = type(obj)
    if hasattr(kind, "_bytes") and hasattr(kind, "data_ptr"):
        whole = obj._bytes()
        return whole if dtype is None or whole.dtype == dtype else whole.view(dtype)
    if hasattr(kind, "__array__") or hasattr(kind, "__array_interface__"):
        import numpy as np

        array = np.asarray(obj)
        return _C.from_numpy(array if array.flags.writeable else array.copy())
    if hasattr(kind, "__dlpack__"):
        return _C.from_dlpack(obj)
    try:
        view = memoryview(obj)
    except TypeError:
        return None
    if dtype is None:
        return _over_memory(_array(view), None)
    return _C.frombuffer(view, dtype=dtype) if view.nbytes else _C.empty(0, dtype=dtype)


def _array(view: memoryview) -> Any:
    import numpy as np

    return np.asarray(view)
