"""The base of every optimizer: parameter groups, per-parameter state, hooks and state dicts."""

from __future__ import annotations

import functools
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from typing import Any, TypeAlias

import rustnn
from rustnn import _C
from rustnn._C import Tensor

from ._hooks import Hooks, RemovableHandle

ParamsT: TypeAlias = "Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]"
StateDict: TypeAlias = "dict[str, Any]"
Closure: TypeAlias = "Callable[[], Any] | None"

_global_pre_hooks = Hooks()
_global_post_hooks = Hooks()

_EMPTY_HINT = (
    "\n  Hint: a generator such as model.parameters() can be read only once, and modules kept in a plain"
    " list or dict are not registered: use nn.ModuleList / nn.ModuleDict, or list(model.parameters())."
)


class _Required:
    """Marks an option that has no default."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Registers ``hook(optimizer, args, kwargs)`` to run before every optimizer's step."""
    return _global_pre_hooks.add(hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Registers ``hook(optimizer, args, kwargs)`` to run after every optimizer's step."""
    return _global_post_hooks.add(hook)


def to_scalar(value: Any) -> Any:
    """The number in a one-element tensor; anything else unchanged."""
    return value.item() if isinstance(value, Tensor) else value


def _hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a class's ``step`` so that the step hooks run around it."""

    @functools.wraps(step)
    def wrapper(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        own_pre, own_post = self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks
        if not (own_pre or own_post or _global_pre_hooks or _global_post_hooks):
            return step(self, *args, **kwargs)
        for hook in chain(_global_pre_hooks.values(), own_pre.values()):
            # The hooks see the arguments as step() itself receives them, the optimizer first.
            result = hook(self, (self, *args), kwargs)
            if result is None:
                continue
            if not (isinstance(result, tuple) and len(result) == 2):
                raise RuntimeError(
                    f"{type(self).__name__}.step must return None or a tuple of (new_args, new_kwargs), "
                    f"but got {result}."
                )
            args, kwargs = tuple(result[0])[1:], result[1]
        out = step(self, *args, **kwargs)
        for hook in chain(own_post.values(), _global_post_hooks.values()):
            hook(self, (self, *args), kwargs)
        return out

    wrapper.hooked = True  # type: ignore[attr-defined]
    return wrapper


class Optimizer:
    """Base class of optimizers.

    Args:
        params: an iterable of tensors, of ``(name, tensor)`` pairs, or of dicts that define parameter groups
            (each with ``"params"`` and its own options).
        defaults: the options that groups do not set themselves.

    Raises:
        TypeError: ``params`` is a tensor, a set, or holds something that is no tensor.
        ValueError: the list is empty, a parameter stands in two groups or is no leaf.
    """

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._init_hooks()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {params.type() if hasattr(params, 'type') else type(params).__name__}"
            )
        self.state: Any = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list" + _EMPTY_HINT)
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _init_hooks(self) -> None:
        self._optimizer_step_pre_hooks = Hooks()
        self._optimizer_step_post_hooks = Hooks()
        self._optimizer_state_dict_pre_hooks = Hooks()
        self._optimizer_state_dict_post_hooks = Hooks()
        self._optimizer_load_state_dict_pre_hooks = Hooks()
        self._optimizer_load_state_dict_post_hooks = Hooks()
        # Once per class, at its first instance, so that a subclass written by a user gets hooks too.
        cls: Any = type(self)
        if not getattr(cls.step, "hooked", False):
            cls.step = _hooked(cls.step)

    # -- pickling and printing ---------------------------------------------------------------------
    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not isinstance(self.state, defaultdict):
            self.state = defaultdict(dict, self.state)
        if "_optimizer_step_pre_hooks" not in self.__dict__:
            self._init_hooks()
        self.defaults.setdefault("differentiable", False)

    def __repr__(self) -> str:
        lines = [type(self).__name__ + " ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}" if i == 0 else f"\nParameter Group {i}")
            lines.extend(f"    {key}: {group[key]}" for key in sorted(group) if key != "params")
        return "\n".join(lines) + "\n)"

    # -- hooks ---------------------------------------------------------------------------------------
    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """``hook(optimizer, args, kwargs)`` runs before each step and may return new ``(args, kwargs)``."""
        return self._optimizer_step_pre_hooks.add(hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """``hook(optimizer, args, kwargs)`` runs after each step."""
        return self._optimizer_step_post_hooks.add(hook)

    def register_state_dict_pre_hook(self, hook: Callable[[Optimizer], None], prepend: bool = False) -> RemovableHandle:
        """``hook(optimizer)`` runs before :meth:`state_dict`."""
        return self._optimizer_state_dict_pre_hooks.add(hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[[Optimizer, StateDict], StateDict | None], prepend: bool = False
    ) -> RemovableHandle:
        """``hook(optimizer, state_dict)`` runs after :meth:`state_dict` and may return another dict."""
        return self._optimizer_state_dict_post_hooks.add(hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[[Optimizer, StateDict], StateDict | None], prepend: bool = False
    ) -> RemovableHandle:
        """``hook(optimizer, state_dict)`` runs before loading and may return another dict."""
        return self._optimizer_load_state_dict_pre_hooks.add(hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[[Optimizer], None], prepend: bool = False
    ) -> RemovableHandle:
        """``hook(optimizer)`` runs after a state dict was loaded."""
        return self._optimizer_load_state_dict_post_hooks.add(hook, prepend)

    # -- state dicts -----------------------------------------------------------------------------------
    def state_dict(self) -> StateDict:
        """The state by parameter number and the groups with numbers in place of parameters."""
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        number: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            packed = {key: value for key, value in group.items() if key != "params"}
            packed["params"] = [number.setdefault(id(p), len(number)) for p in group["params"]]
            groups.append(packed)
        state = {(number[id(key)] if isinstance(key, Tensor) else key): value for key, value in self.state.items()}
        result: StateDict = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, result)
            if changed is not None:
                result = changed
        return result

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Loads what :meth:`state_dict` gave; tensors are cast to their parameter's dtype (not ``step``).

        Raises:
            ValueError: another number of groups, or of parameters in a group.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            if changed is not None:
                state_dict = changed
        groups, saved = self.param_groups, deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(g["params"]) != len(s["params"]) for g, s in zip(groups, saved, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        by_number: dict[Any, Tensor] = {}
        for group, new in zip(groups, saved, strict=True):
            by_number.update(zip(new["params"], group["params"], strict=True))
        state: Any = defaultdict(dict)
        for key, value in state_dict["state"].items():
            param = by_number.get(key)
            state[key if param is None else param] = value if param is None else _cast(param, value, None)
        for group, new in zip(groups, saved, strict=True):
            new["params"] = group["params"]
            if "param_names" in group:
                new.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    # -- groups and gradients ------------------------------------------------------------------------
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops all gradients, or with ``set_to_none=False`` fills them with zeros."""
        region = 0
        if _C._profiling():
            region = _C._profile_enter(f"Optimizer.zero_grad#{type(self).__name__}.zero_grad")
        for group in self.param_groups:
            if set_to_none:
                for p in group["params"]:
                    p.grad = None
                continue
            for p in group["params"]:
                grad = p.grad
                if grad is None:
                    continue
                if grad.grad_fn is not None:
                    grad.detach_()
                else:
                    grad.requires_grad_(False)
                grad.zero_()
        if region:
            _C._profile_exit(region)

    def step(self, closure: Any = None) -> Any:
        """Does one update. ``closure``, if given, computes the loss and gradients anew and returns the loss."""
        raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group: a dict with ``"params"`` and options; what it lacks comes from the defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors "
                "in sets will change between runs. Please use a list instead."
            )
        entries = [params] if isinstance(params, Tensor) else list(params)
        names = [e[0] for e in entries if isinstance(e, tuple)]
        tensors = [e[1] if isinstance(e, tuple) else e for e in entries]
        if names:
            if len(names) != len(tensors):
                raise ValueError("all optimizer params should be with/without names. Some param names are missing")
            param_group["param_names"] = names
        param_group["params"] = tensors
        for p in tensors:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {_type_name(p)}")
            if not (self.defaults.get("differentiable") or p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        ids = {id(p) for p in tensors}
        if len(ids) != len(tensors):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; "
                "in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        for group in self.param_groups:
            if ("param_names" in param_group) != ("param_names" in group):
                kind = "with names" if "param_names" in param_group else "without names"
                raise ValueError(
                    "all optimizer param groups should be with/without names. "
                    f"cannot add param group {kind} to the optimizer"
                )
        if any(id(p) in ids for group in self.param_groups for p in group["params"]):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    # -- for the optimizers ---------------------------------------------------------------------------


def with_grads(group: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    """The group's parameters that have a gradient, and the gradients."""
    params: list[Tensor] = []
    grads: list[Tensor] = []
    for p in group["params"]:
        grad = p.grad
        if grad is not None:
            params.append(p)
            grads.append(grad)
    return params, grads


def states_of(rows: list[dict[str, Any]], names: tuple[str | None, ...]) -> list[Any]:
    """For each name the states under it, parameter by parameter; an empty list for None."""
    return [[row[name] for row in rows] if name else [] for name in names]


def run_closure(closure: Closure) -> Any:
    """The loss that ``closure`` computes with gradients on; None without a closure."""
    if closure is None:
        return None
    with rustnn.enable_grad():
        return closure()


def check_options(name: str, foreach: bool | None, fused: bool | None = None, differentiable: bool = False) -> None:
    """Refuses the combinations of implementation options that PyTorch refuses.

    ``foreach``, ``fused`` and ``capturable`` choose among PyTorch's implementations; here there is one, so
    they change nothing.
    """
    if fused:
        if differentiable:
            raise RuntimeError("`fused` does not support `differentiable`")
        if foreach:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def check_range(text: str, value: Any, low: float = 0.0, below: float | None = None) -> None:
    """``ValueError("Invalid <text>: <value>")`` unless ``low <= value`` (and ``value < below``)."""
    if not (low <= value) or (below is not None and not value < below):
        raise ValueError(f"Invalid {text}: {value}")


def check_lr(lr: Any) -> None:
    """Refuses a negative learning rate and a tensor of several elements."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    check_range("learning rate", lr)


def new_step() -> Tensor:
    """A step count as PyTorch stores it: a float32 scalar."""
    return rustnn.tensor(0.0, dtype=rustnn.float32)


def _cast(param: Tensor, value: Any, key: str | None) -> Any:
    if isinstance(value, Tensor):
        if key == "step":
            return value.clone()
        # Copied, so that two optimizers loaded from one dict do not share their state.
        return value.detach().to(dtype=param.dtype, copy=True) if param.is_floating_point() else value.clone()
    if isinstance(value, dict):
        return {k: _cast(param, v, k) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return type(value)(_cast(param, v, None) for v in value)  # type: ignore[call-arg]
    return value


def _type_name(value: object) -> str:
    cls = type(value)
    return (
        cls.__qualname__ if cls.__module__ in ("builtins", "__builtin__") else (f"{cls.__module__}.{cls.__qualname__}")
    )
