"""`torch.utils._python_dispatch`: questions about tensors that wrap others, and the base of modes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from rustnn import _C

__all__ = ["TorchDispatchMode", "is_traceable_wrapper_subclass", "is_traceable_wrapper_subclass_type"]


def is_traceable_wrapper_subclass_type(t: type) -> bool:
    """Whether a subclass of Tensor says how to take it apart and put it together."""
    return t is not _C.Tensor and issubclass(t, _C.Tensor) and hasattr(t, "__tensor_flatten__")


def is_traceable_wrapper_subclass(t: object) -> bool:
    """Whether a tensor wraps others, and says how (`__tensor_flatten__`)."""
    return is_traceable_wrapper_subclass_type(type(t))


class TorchDispatchMode:
    """A block that would see every operation; it can be derived from, and raises when entered."""

    def __init__(self, _dispatch_key: Any = None) -> None:
        super().__init__()

    def __enter__(self) -> Self:
        raise NotImplementedError(
            f"{type(self).__name__}: rustnn does not have PyTorch's TorchDispatchMode, blocks that see every "
            "operation.\n  hint: a subclass of Tensor with __torch_function__ sees the calls on its objects; forward "
            "hooks see a module's"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Never reached."""


def _get_current_dispatch_mode() -> None:
    """`None`: there are no modes."""


@contextlib.contextmanager
def _disable_current_modes() -> Iterator[list[Any]]:
    """Nothing to switch off."""
    yield []
