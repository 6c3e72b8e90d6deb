"""What ``rustnn.nn`` takes from the rest of the package, in one place.

Every other file of ``nn`` imports the tensor type, the grad-mode contexts and
the few private entry points of the engine from here, so that ``nn`` depends on
tensors alone and a change of a private name is a change of one line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import _C
from ..autograd import no_grad

Tensor = _C.Tensor
Generator = _C.Generator
dtype_type: type = type(_C.float32)
bool_dtype: Any = getattr(_C, "bool")  # noqa: B009  (hides the built-in in the stub)

__all__ = [
    "_C", "Generator", "Tensor", "bool_dtype", "dtype_type", "is_lazy", "make_subclass",
    "missing", "native", "no_grad", "typename",
]  # fmt: skip


def make_subclass(cls: type, data: Tensor, requires_grad: bool) -> Any:
    """Gives a ``cls`` (a subclass of Tensor) over the storage of ``data``, cut off from its graph."""
    return Tensor._make_subclass(cls, data, requires_grad)


def typename(value: object) -> str:
    """Names the type of ``value`` as PyTorch's messages do (``torch.FloatTensor``, ``str``, ``pkg.Cls``)."""
    if type(value) is Tensor:
        return str(value.type())
    cls = type(value)
    module = cls.__module__
    return cls.__qualname__ if module in ("", "builtins", "__builtin__") else f"{module}.{cls.__qualname__}"


def missing(name: str) -> Callable[..., Any]:
    """Gives a function that says, when called, that rustnn has no ``name`` yet."""

    def absent(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"rustnn.nn.functional.{name} is not implemented yet")

    absent.__name__ = absent.__qualname__ = name
    return absent


# Functions that `torch` and `torch.nn.functional` have under one signature.
_SAME_AS_TORCH = {
    "bilinear", "channel_shuffle", "conv_tbc", "cosine_similarity", "hardshrink", "pairwise_distance", "pdist",
    "pixel_shuffle", "pixel_unshuffle", "prelu",
}  # fmt: skip


def native(name: str, composite: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """The engine's own function of that name, else ``composite``, else one that raises by name.

    ``_C._nn`` is asked first (functions with the signatures of
    ``torch.nn.functional``), then ``_C`` (ops that are also ``rustnn.name``).
    """
    found = getattr(_C._nn, name, None)
    if found is None and (composite is None or name in _SAME_AS_TORCH):
        found = getattr(_C, name, None)
    if found is not None:
        return found  # type: ignore[no-any-return]
    return composite if composite is not None else missing(name)


def is_lazy(value: object) -> bool:
    """True for an UninitializedParameter or UninitializedBuffer."""
    return bool(getattr(value, "_is_uninitialized", False))
