"""The constructors of earlier days: `FloatTensor`, `LongTensor` and so on, and `Tensor.new`."""

from __future__ import annotations

import operator
from typing import Any

from rustnn import _C
from rustnn._size import Size
from rustnn._tensor import _TYPE_NAMES

__all__ = ["TYPES", "absent_types", "new"]

Tensor = Any


def _construct(dtype: Any, name: str, args: tuple[Any, ...]) -> Tensor:
    """A tensor of `dtype` from sizes (uninitialized), from data, or of another tensor's memory."""
    if not args:
        return _C.empty(0, dtype=dtype)
    first = args[0]
    if len(args) == 1:
        if isinstance(first, _C.Tensor):
            if first.dtype != dtype:
                raise TypeError(
                    f"{name}(): expected a tensor of {dtype}, got one of {first.dtype}\n"
                    f"  hint: tensor.to({dtype}) converts"
                )
            return first.detach()
        if isinstance(first, Size):
            return _C.empty(tuple(first), dtype=dtype)
        if isinstance(first, str):
            raise TypeError("new(): invalid data type 'str'")
        if not hasattr(first, "__index__") or getattr(first, "ndim", 0) > 0:
            if not hasattr(first, "__len__") and not hasattr(first, "__array__"):
                raise TypeError(f"new(): data must be a sequence (got {type(first).__name__})")
            return _C.tensor(first).to(dtype)
    try:
        sizes = [operator.index(n) for n in args]
    except TypeError:
        raise TypeError(
            f"{name}(): expected sizes, or one sequence of data, or one tensor, got "
            f"({', '.join(type(a).__name__ for a in args)})"
        ) from None
    return _C.empty(sizes, dtype=dtype)


class _TensorType(type):
    """The type of the constructors: instances are told by the dtype of a tensor."""

    dtype: Any
    is_cuda = False
    is_sparse = False

    def __call__(cls, *args: Any, device: Any = None) -> Tensor:
        if device is not None and str(device) != "cpu":
            raise RuntimeError(f"legacy constructor expects device type: cpu but device type: {device} was passed")
        return _construct(cls.dtype, cls.__name__, args)

    def __instancecheck__(cls, obj: object) -> bool:
        return isinstance(obj, _C.Tensor) and obj.dtype == cls.dtype

    def __repr__(cls) -> str:
        return f"<class 'torch.{cls.__name__}'>"


class _AbsentType(_TensorType):
    """The type of `torch.cuda.FloatTensor`: nothing is an instance, and nothing can be made."""

    is_cuda = True

    def __call__(cls, *args: Any, device: Any = None) -> Tensor:
        raise RuntimeError(
            f"torch.cuda.{cls.__name__} needs a CUDA device, and this build of rustnn has none: tensors live on "
            "'cpu'.\n  hint: ask torch.cuda.is_available() first, or make the tensor with torch.tensor(data, dtype=...)"
        )

    def __instancecheck__(cls, obj: object) -> bool:
        return False


def _type(meta: type[_TensorType], name: str, dtype: Any) -> Any:
    doc = f"A tensor of {dtype}: of sizes (uninitialized), of a sequence of data, or over a tensor's memory."
    return meta(name, (), {"dtype": dtype, "__module__": "torch", "__doc__": doc, "layout": _C.strided})


TYPES: dict[str, Any] = {
    name: _type(_TensorType, name, getattr(_C, dtype)) for dtype, name in _TYPE_NAMES.items()
}


def absent_types() -> dict[str, Any]:
    """The same names for a device that is not there."""
    return {name: _type(_AbsentType, name, getattr(_C, dtype)) for dtype, name in _TYPE_NAMES.items()}


def new(self: Tensor, *args: Any, device: Any = None) -> Tensor:
    """A tensor of this one's dtype: of sizes (uninitialized), of a sequence of data, or over a tensor's memory.

    Example::

        >>> rustnn.ones(2).new([1, 2])
        tensor([1., 2.])
    """
    if device is not None:
        _C.empty(0, device=device)
    return _construct(self.dtype, "new", args)
