"""Parameters computed from other parameters (``torch.nn.utils.parametrize``).

A parametrized module gets a class of its own with a property of the tensor's
name; what was the parameter lives in ``module.parametrizations.<name>.original``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._base import Tensor, no_grad
from ..module import Module
from ..modules.container import ModuleDict, ModuleList
from ..parameter import Parameter

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "type_before_parametrizations",
]

_cache_enabled = 0
_cache: dict[tuple[int, str], Any] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Computes each parametrized tensor once inside the ``with`` block."""
    global _cache_enabled
    _cache_enabled += 1
    try:
        yield
    finally:
        _cache_enabled -= 1
        if not _cache_enabled:
            _cache.clear()


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, and the original that they are applied to."""

    original: Any

    def __init__(self, modules: Any, original: Any, unsafe: bool = False) -> None:
        modules = list(modules)
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        value = original
        with no_grad():
            for module in reversed(self):
                if hasattr(module, "right_inverse"):
                    value = module.right_inverse(value)
        if isinstance(value, Tensor):
            self.is_tensor = True
            if value is not original and isinstance(original, Parameter):
                # The optimizer may hold the parameter: it keeps its identity.
                original.data = value.detach() if value.shape == original.shape else value.detach().clone()
            if isinstance(original, Parameter):
                self.original = original
            else:
                self.register_buffer("original", value)
        else:
            self.is_tensor = False
            self.ntensors = len(value)
            for i, part in enumerate(value):
                name = f"original{i}"
                if isinstance(original, Parameter):
                    setattr(self, name, Parameter(part.detach(), original.requires_grad))
                else:
                    self.register_buffer(name, part)

    def right_inverse(self, value: Tensor) -> None:
        """Sets the originals so that the parametrized tensor becomes ``value``."""
        with no_grad():
            for module in reversed(self):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = module.right_inverse(value)
            if self.is_tensor:
                self.original.data = value.detach()
            else:
                for i, part in enumerate(value):
                    getattr(self, f"original{i}").data = part.detach()

    def forward(self) -> Any:
        """The parametrized tensor."""
        modules = iter(self)
        first = next(modules)
        if self.is_tensor:
            x = first(self.original)
        else:
            x = first(*(getattr(self, f"original{i}") for i in range(self.ntensors)))
        for module in modules:
            x = module(x)
        return x


def _make_property(name: str) -> property:
    def get(self: Any) -> Any:
        if _cache_enabled:
            key = (id(self), name)
            if key not in _cache:
                _cache[key] = self.parametrizations[name]()
            return _cache[key]
        return self.parametrizations[name]()

    def put(self: Any, value: Any) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)


def _inject_class(module: Module) -> None:
    cls = module.__class__

    def deepcopy(self: Any, memo: dict[int, Any]) -> Any:
        replica = self.__new__(self.__class__)
        memo[id(self)] = replica
        replica.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return replica

    def reduce(self: Any, protocol: Any) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(). See:\n"
            "https://pytorch.org/tutorials/beginner/saving_loading_models.html"
            "#saving-loading-a-general-checkpoint-for-inference-and-or-resuming-training"
        )

    def setattr_(self: Any, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            cls.__setattr__(self, name, value)

    body: dict[str, Any] = {"__reduce_ex__": reduce, "__setattr__": setattr_, "__module__": cls.__module__}
    if not hasattr(cls, "__deepcopy__"):
        body["__deepcopy__"] = deepcopy
    module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), body)
    module.parametrizations = ModuleDict()


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """True if the module (or that tensor of it) is parametrized."""
    parametrizations = module.__dict__.get("parametrizations")
    if not isinstance(parametrizations, ModuleDict):
        return False
    return len(parametrizations) > 0 if tensor_name is None else tensor_name in parametrizations


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Replaces a parameter or buffer by ``parametrization(original)``.

    Args:
        parametrization: a module whose forward gives the tensor; ``right_inverse``, if it has one,
            gives the original (or several) for a value assigned.
        unsafe: allow another shape or dtype.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        existing: Any = module.parametrizations[tensor_name]  # type: ignore[attr-defined]
        existing.append(parametrization)
        if hasattr(parametrization, "right_inverse") and existing.is_tensor:
            with no_grad():
                existing.original.data = parametrization.right_inverse(existing.original).detach()
        return module
    if tensor_name not in module._parameters and tensor_name not in module._buffers:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a "
            f"parametrized element with name '{tensor_name}'"
        )
    original = getattr(module, tensor_name)
    shape, dtype = original.shape, original.dtype
    made = ParametrizationList([parametrization], original, unsafe=unsafe)
    if not unsafe:
        with no_grad():
            value = made()
        if not isinstance(value, Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(value).__name__}.")
        if value.dtype != dtype:
            raise ValueError(
                "Registering a parametrization may not change the dtype of the tensor, unless `unsafe` flag is "
                f"enabled.\nmodule.{tensor_name}.dtype: {dtype}\nparametrization({tensor_name}).dtype: {value.dtype}"
            )
        if value.shape != shape:
            raise ValueError(
                "Registering a parametrization may not change the shape of the tensor, unless `unsafe` flag is "
                f"enabled.\nmodule.{tensor_name}.shape: {shape}\nparametrization({tensor_name}).shape: {value.shape}"
            )
    delattr(module, tensor_name)
    if not is_parametrized(module):
        _inject_class(module)
    module.parametrizations[tensor_name] = made  # type: ignore[attr-defined]
    setattr(module.__class__, tensor_name, _make_property(tensor_name))
    return module


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Undoes :func:`register_parametrization`, keeping the parametrized value or the original."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    parametrizations: Any = module.parametrizations  # type: ignore[attr-defined]
    made = parametrizations[tensor_name]
    if not made.is_tensor and not leave_parametrized:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized "
            "in terms of a sequence of tensors."
        )
    first = made.original if made.is_tensor else made.original0
    value = first
    if leave_parametrized:
        with no_grad():
            data = getattr(module, tensor_name).detach()
        if made.is_tensor and isinstance(first, Parameter):
            first.data = data
        else:
            value = Parameter(data, first.requires_grad) if isinstance(first, Parameter) else data
    delattr(module.__class__, tensor_name)
    del parametrizations[tensor_name]
    if isinstance(value, Parameter):
        module.register_parameter(tensor_name, value)
    else:
        module.register_buffer(tensor_name, value)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = module.__class__.__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class of ``module`` without its parametrizations."""
    return module.__class__.__bases__[0] if is_parametrized(module) else type(module)
