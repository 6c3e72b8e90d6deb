"""`torch.nn.utils.prune`: parameters with part of their entries set to zero by a mask.

A pruned parameter `name` becomes the parameter `name_orig` and the buffer `name_mask`; before each call of the module
their product is put in the place of `name`. Pruning again prunes what is left.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from rustnn import _C

__all__ = [
    "BasePruningMethod",
    "CustomFromMask",
    "Identity",
    "L1Unstructured",
    "LnStructured",
    "PruningContainer",
    "RandomStructured",
    "RandomUnstructured",
    "custom_from_mask",
    "global_unstructured",
    "identity",
    "is_pruned",
    "l1_unstructured",
    "ln_structured",
    "random_structured",
    "random_unstructured",
    "remove",
]

Tensor = Any
Module = Any


class BasePruningMethod(ABC):
    """What every way of pruning shares: a subclass says in `compute_mask` which entries stay.

    `PRUNING_TYPE` is `"unstructured"` (single entries), `"structured"` (whole slices along a dimension) or
    `"global"` (the mask is used as it is).
    """

    PRUNING_TYPE: ClassVar[str]
    _tensor_name: str

    def __call__(self, module: Module, inputs: Any) -> None:
        """The hook before a module's call: puts the masked parameter in its place."""
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask of `t` (1 stays, 0 goes), at most `default_mask`."""

    def apply_mask(self, module: Module) -> Tensor:
        """The parameter times its mask."""
        name = getattr(self, "_tensor_name", None)
        if name is None:
            raise AssertionError(f"Module {module} has to be pruned")
        mask, original = getattr(module, name + "_mask"), getattr(module, name + "_orig")
        return mask.to(dtype=original.dtype) * original

    @classmethod
    def apply(cls, module: Module, name: str, *args: Any, importance_scores: Tensor = None, **kwargs: Any) -> Any:
        """Prunes `module`'s parameter `name` and keeps it so before every call.

        Args:
            args, kwargs: the method's own arguments.
            importance_scores: decides instead of the parameter which entries are small.
        """
        found = _hook_of(module, name)
        method: BasePruningMethod = cls(*args, **kwargs)
        method._tensor_name = name
        original = getattr(module, name)
        if importance_scores is None:
            importance_scores = original
        elif importance_scores.shape != original.shape:
            raise AssertionError(
                "importance_scores should have the same shape as parameter "
                f"{name} of {module}, got {tuple(importance_scores.shape)} and {tuple(original.shape)}"
            )
        if found is not None:
            key, earlier = found
            del module._forward_pre_hooks[key]
            container = PruningContainer()
            container._tensor_name = name
            for one in earlier if isinstance(earlier, PruningContainer) else (earlier,):
                container.add_pruning_method(one)
            container.add_pruning_method(method)
            default = getattr(module, name + "_mask").detach().clone(memory_format=_C.contiguous_format)
            method = container
        else:
            default = _C.ones_like(original)
        try:
            mask = method.compute_mask(importance_scores, default_mask=default)
        except Exception:
            if found is not None:  # as before the call
                module.register_forward_pre_hook(found[1])
            raise
        if found is None:
            module.register_parameter(name + "_orig", module._parameters.pop(name))
        module.register_buffer(name + "_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Tensor, default_mask: Tensor = None, importance_scores: Tensor = None) -> Tensor:
        """A pruned copy of `t`, without any module."""
        if importance_scores is not None and importance_scores.shape != t.shape:
            raise AssertionError("importance_scores should have the same shape as tensor t")
        mask = default_mask if default_mask is not None else _C.ones_like(t)
        return t * self.compute_mask(t if importance_scores is None else importance_scores, default_mask=mask)

    def remove(self, module: Module) -> None:
        """Makes the pruned values the parameter; the mask and the former values are dropped."""
        name = self._tensor_name
        weight = self.apply_mask(module)
        if hasattr(module, name):
            delattr(module, name)
        original = module._parameters[name + "_orig"]
        original.data = weight.data
        del module._parameters[name + "_orig"]
        del module._buffers[name + "_mask"]
        setattr(module, name, original)


class PruningContainer(BasePruningMethod):
    """Several prunings of one parameter, applied in order."""

    def __init__(self, *args: Any) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        methods: tuple[Any, ...] = args
        if len(args) == 1 and isinstance(args[0], Iterable):
            methods = tuple(args[0])
        if not methods:
            return
        self._tensor_name = methods[0]._tensor_name
        for method in methods:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: Any) -> None:
        """Appends one more way of pruning the same parameter."""
        if not isinstance(method, BasePruningMethod) and method is not None:
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if method is None:
            return
        if self._tensor_name != method._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named "
                f"'{self._tensor_name}' to PruningContainer {self}. Found '{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, idx: Any) -> Any:
        return self._pruning_methods[idx]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask after the newest method, which sees only what the others left."""
        method = self._pruning_methods[-1]
        mask = default_mask.to(dtype=t.dtype)
        kind = method.PRUNING_TYPE
        where: Any
        if kind == "unstructured":
            where = mask == 1
        elif kind == "structured":
            dim: int = method.dim  # type: ignore[attr-defined]
            if dim < 0:
                dim += t.dim()
            kept = mask.sum(dim=[d for d in range(t.dim()) if d != dim]) != 0
            where = (slice(None),) * dim + (kept,)
        elif kind == "global":
            where = (slice(None),) * t.dim()
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {kind}")
        partial = method.compute_mask(t[where], default_mask=mask[where])
        combined = mask.clone()
        combined[where] = partial.to(mask.dtype)
        return combined


class Identity(BasePruningMethod):
    """Prunes nothing; only the names change."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask as it is."""
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """Prunes entries drawn at random: `amount` of them, or that fraction."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: Any) -> None:
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask with the places of the largest of uniform draws at zero."""
        count = _count(self.amount, t.numel())
        _check_count(count, t.numel())
        mask = default_mask.clone(memory_format=_C.contiguous_format)
        if count:
            places = _C.topk(_C.rand_like(t).view(-1), k=count).indices
            mask.view(-1)[places] = 0
        return mask


class L1Unstructured(BasePruningMethod):
    """Prunes the entries of smallest absolute value: `amount` of them, or that fraction."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: Any) -> None:
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask with the smallest entries at zero."""
        count = _count(self.amount, t.numel())
        _check_count(count, t.numel())
        mask = default_mask.clone(memory_format=_C.contiguous_format)
        if count:
            places = _C.topk(t.detach().abs().reshape(-1), k=count, largest=False).indices
            mask.view(-1)[places] = 0
        return mask


class RandomStructured(BasePruningMethod):
    """Prunes slices along `dim` drawn at random."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount, self.dim = amount, dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask with whole slices at zero."""
        _check_structured(t, self.amount)
        _check_dim(t, self.dim)
        size = t.shape[self.dim]
        count = _count(self.amount, size)
        _check_count(count, size)
        if count == 0:
            return default_mask
        draws = _C.rand(size)
        kept = draws > _C.kthvalue(draws, k=count).values
        return _slices(t, self.dim, kept) * default_mask.to(dtype=t.dtype)


class LnStructured(BasePruningMethod):
    """Prunes the slices along `dim` whose `n`-norm is smallest."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, n: Any, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount, self.n, self.dim = amount, n, dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask with whole slices at zero."""
        _check_structured(t, self.amount)
        _check_dim(t, self.dim)
        size = t.shape[self.dim]
        count = _count(self.amount, size)
        _check_count(count, size)
        if count == 0:
            return default_mask
        own = self.dim % t.dim()
        norms = t.detach().norm(p=self.n, dim=[d for d in range(t.dim()) if d != own])
        places = _C.topk(norms, k=size - count, largest=True).indices
        kept = _C.zeros(size, dtype=_C.bool)
        kept[places] = True
        return _slices(t, self.dim, kept) * default_mask.to(dtype=t.dtype)


class CustomFromMask(BasePruningMethod):
    """Prunes by a given mask."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The product of both masks."""
        if default_mask.shape != self.mask.shape:
            raise AssertionError("default_mask and self.mask must have the same shape")
        return default_mask * self.mask.to(dtype=default_mask.dtype)


def identity(module: Module, name: str) -> Module:
    """Gives a parameter a mask of ones; see `BasePruningMethod`."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: Any) -> Module:
    """Prunes `amount` entries (or that fraction) of `module`'s parameter `name`, drawn at random."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: Any, importance_scores: Tensor = None) -> Module:
    """Prunes the `amount` entries (or that fraction) of smallest absolute value, or of smallest score.

    Example::

        >>> import rustnn.nn.utils.prune as prune
        >>> layer = prune.l1_unstructured(rustnn.nn.Linear(2, 3), "weight", amount=2)
        >>> sorted(layer.state_dict())
        ['bias', 'weight_mask', 'weight_orig']
    """
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: Any, dim: int) -> Module:
    """Prunes `amount` slices (or that fraction) along `dim`, drawn at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: Any, n: Any, dim: int, importance_scores: Tensor = None
) -> Module:
    """Prunes the `amount` slices (or that fraction) along `dim` of smallest `n`-norm."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prunes `module`'s parameter `name` by a mask of its shape."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Any, pruning_method: Any, importance_scores: dict[Any, Tensor] | None = None, **kwargs: Any
) -> None:
    """Prunes several parameters together, as if they were one long one.

    Args:
        parameters: pairs of a module and a parameter's name.
        pruning_method: an unstructured method's class, such as `L1Unstructured`.
        importance_scores: scores by such pairs; the parameters themselves where left out.
        kwargs: the method's arguments, such as `amount`.
    """
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    pairs = list(parameters)
    scores = {} if importance_scores is None else importance_scores
    if not isinstance(scores, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    relevant = [scores.get(pair, getattr(*pair)) for pair in pairs]
    together = _C.cat([t.detach().reshape(-1) for t in relevant])
    masks = [getattr(m, name + "_mask", _C.ones_like(getattr(m, name))) for m, name in pairs]
    default = _C.cat([mask.reshape(-1) for mask in masks])
    container = PruningContainer()
    container._tensor_name = "temp"
    method = pruning_method(**kwargs)
    method._tensor_name = "temp"
    container.add_pruning_method(method)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. '
            f"Found method {pruning_method} of type {method.PRUNING_TYPE}"
        )
    final = container.compute_mask(together, default)
    start = 0
    for module, name in pairs:
        parameter = getattr(module, name)
        custom_from_mask(module, name, mask=final[start : start + parameter.numel()].view_as(parameter))
        start += parameter.numel()


def remove(module: Module, name: str) -> Module:
    """Makes the pruning of a parameter permanent: its masked values become the parameter."""
    found = _hook_of(module, name)
    if found is None:
        raise ValueError(
            f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed"
        )
    key, method = found
    method.remove(module)
    del module._forward_pre_hooks[key]
    return module


def is_pruned(module: Module) -> bool:
    """Whether a parameter of `module`, or of a module in it, is pruned."""
    return any(
        isinstance(hook, BasePruningMethod) for m in module.modules() for hook in m._forward_pre_hooks.values()
    )


def _hook_of(module: Module, name: str) -> tuple[Any, BasePruningMethod] | None:
    """The pruning of a parameter and where its hook is kept."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return key, hook
    return None


def _slices(t: Tensor, dim: int, kept: Tensor) -> Tensor:
    """A mask like `t` that is one in the kept slices along `dim`."""
    mask = _C.zeros_like(t)
    mask[(slice(None),) * (dim % t.dim()) + (kept,)] = 1
    return mask


def _check_amount(amount: Any) -> None:
    if not isinstance(amount, numbers.Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    whole = isinstance(amount, numbers.Integral)
    if (whole and amount < 0) or (not whole and not 0.0 <= float(amount) <= 1.0):
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")


def _count(amount: Any, size: int) -> int:
    return int(amount) if isinstance(amount, numbers.Integral) else round(amount * size)


def _check_count(count: int, size: int) -> None:
    if count > size:
        raise ValueError(f"amount={count} should be smaller than the number of parameters to prune={size}")


def _check_structured(t: Tensor, amount: Any) -> None:
    if t.dim() <= 1:
        raise ValueError(
            "Structured pruning can only be applied to multidimensional tensors. "
            f"Found tensor of shape {t.shape} with {t.dim()} dims"
        )


def _check_dim(t: Tensor, dim: int) -> None:
    if dim >= t.dim() or dim < -t.dim():
        raise IndexError(f"Invalid index {dim} for tensor of size {t.shape}")
