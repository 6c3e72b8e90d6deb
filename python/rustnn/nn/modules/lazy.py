"""Modules that learn their input size from the first input."""

from __future__ import annotations

from typing import Any, Self

from rustnn._hooks import RemovableHandle

from ..module import Module
from ..parameter import is_lazy

__all__ = ["LazyModuleMixin"]


class LazyModuleMixin(Module):
    """What a lazy layer adds to its eager one.

    The layer's parameters are uninitialized until the first call, whose input
    gives their shapes (``initialize_parameters``); then the layer turns into
    ``cls_to_become``.
    """

    cls_to_become: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy_handle: RemovableHandle | None = self.register_forward_pre_hook(
            type(self)._infer_parameters, with_kwargs=True
        )

    def has_uninitialized_params(self) -> bool:
        """True until the first call (or a load of a state dictionary) gave the shapes."""
        return any(is_lazy(p) for p in (*self._parameters.values(), *self._buffers.values()))

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Gives the parameters their shapes for this input."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {self.__class__.__name__}")

    def _infer_parameters(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.initialize_parameters(*args, **kwargs)
        if self.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        self._become_eager()

    def _become_eager(self) -> None:
        if self._lazy_handle is not None:
            self._lazy_handle.remove()
        del self._lazy_handle
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become

    def _load_one(self, name: str, key: str, own: Any, given: Any, assign: bool, error_msgs: list[str]) -> None:
        # A checkpoint knows the shapes: an uninitialized parameter takes them from it.
        if is_lazy(own) and not is_lazy(given):
            own.materialize(given.shape)
        super()._load_one(name, key, own, given, assign, error_msgs)

    def _replicate_for_data_parallel(self) -> Self:
        raise RuntimeError(
            "Modules with uninitialized parameters can't be used with `DataParallel`. "
            "Run a dummy forward pass to correctly initialize the modules"
        )
