"""Weights as direction times length, by a forward pre-hook (the old way; see ``parametrizations`` for the new)."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from .._base import Tensor
from ..module import Module
from ..parameter import Parameter, UninitializedParameter

__all__ = ["WeightNorm", "remove_weight_norm", "weight_norm"]


def norm_except_dim(v: Tensor, pow: int = 2, dim: int | None = 0) -> Tensor:
    """The norms over all dimensions but ``dim`` (None: over all), with those dimensions kept as 1."""
    if dim is None or dim == -1:
        return v.norm(pow)
    rows = v.transpose(0, dim)
    flat = rows.reshape((rows.shape[0], -1)).norm(pow, 1)
    shape = [1] * v.dim()
    shape[dim] = -1
    return flat.reshape(shape)


def _weight_norm(v: Tensor, g: Tensor, dim: int | None = 0) -> Tensor:
    """``g * v / |v|``."""
    return v * (g / norm_except_dim(v, 2, dim))


class WeightNorm:
    """The hook that recomputes the weight before each forward."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Any:
        """The weight from its length ``name_g`` and direction ``name_v``."""
        return _weight_norm(getattr(module, self.name + "_v"), getattr(module, self.name + "_g"), self.dim)

    @staticmethod
    def apply(module: Module, name: str, dim: int | None) -> WeightNorm:
        """Splits the parameter ``name`` of ``module`` and registers the hook."""
        for hook in module.__dict__["_forward_pre_hooks"].values():
            if isinstance(hook, WeightNorm) and hook.name == name:
                raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
        fn = WeightNorm(name, dim)
        weight = getattr(module, name)
        if isinstance(weight, UninitializedParameter):
            raise ValueError(  # noqa: TRY004
                "The module passed to `WeightNorm` can't have uninitialized parameters. "
                "Make sure to run the dummy forward before applying weight normalization"
            )
        del module._parameters[name]
        module.register_parameter(name + "_g", Parameter(norm_except_dim(weight, 2, fn.dim).data))
        module.register_parameter(name + "_v", Parameter(weight.data))
        setattr(module, name, fn.compute_weight(module))
        module.register_forward_pre_hook(fn)
        return fn

    def remove(self, module: Module) -> None:
        """Makes the weight an ordinary parameter again."""
        weight = self.compute_weight(module)
        delattr(module, self.name)
        del module._parameters[self.name + "_g"]
        del module._parameters[self.name + "_v"]
        setattr(module, self.name, Parameter(weight.data))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Replaces a parameter by its length ``name_g`` (per index of ``dim``) and direction ``name_v``."""
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Undoes :func:`weight_norm`."""
    hooks = module.__dict__["_forward_pre_hooks"]
    for key, hook in list(hooks.items()):
        if isinstance(hook, WeightNorm) and hook.name == name:
            hook.remove(module)
            del hooks[key]
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")
