"""Handles of registered hooks, the global hooks of all modules, and backward hooks.

A hook lives in an ordered dictionary under a running number; the handle that
``register_*`` returns knows the dictionary weakly and takes the hook out again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from rustnn._hooks import RemovableHandle

from ._base import _C, Tensor

Hooks = OrderedDict[int, Callable[..., Any]]


class GlobalHooks:
    """The hooks that run for every module; the engine is told whether there are any, for the sake of other calls."""

    def __init__(self) -> None:
        self.forward_pre: Hooks = OrderedDict()
        self.forward: Hooks = OrderedDict()
        self.forward_with_kwargs: dict[int, bool] = OrderedDict()
        self.forward_always: dict[int, bool] = OrderedDict()
        self.backward_pre: Hooks = OrderedDict()
        self.backward: Hooks = OrderedDict()
        self.buffer_registration: Hooks = OrderedDict()
        self.module_registration: Hooks = OrderedDict()
        self.parameter_registration: Hooks = OrderedDict()
        self.backward_is_full: bool | None = None

    def refresh(self) -> None:
        """Says whether there are any, after a hook came or went."""
        _C._hook_every_module(bool(self.forward_pre or self.forward or self.backward_pre or self.backward))


GLOBAL = GlobalHooks()


class _GlobalHandle(RemovableHandle):
    """A handle of a global hook: its removal switches the fast path on again."""

    def remove(self) -> None:
        super().remove()
        GLOBAL.refresh()


def _register_global(hooks: Hooks, hook: Callable[..., Any], extra: list[Any] | None = None) -> RemovableHandle:
    handle = _GlobalHandle(hooks, extra_dict=extra)
    hooks[handle.id] = hook
    GLOBAL.refresh()
    return handle


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """``hook(module, name, buffer) -> None | buffer`` runs at every ``register_buffer``."""
    return _register_global(GLOBAL.buffer_registration, hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """``hook(module, name, submodule) -> None | submodule`` runs whenever a submodule is registered."""
    return _register_global(GLOBAL.module_registration, hook)


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """``hook(module, name, param) -> None | param`` runs whenever a parameter is registered."""
    return _register_global(GLOBAL.parameter_registration, hook)


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """``hook(module, args) -> None | args`` runs before the forward of every module."""
    return _register_global(GLOBAL.forward_pre, hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """``hook(module, args, output) -> None | output`` runs after the forward of every module."""
    handle = _register_global(GLOBAL.forward, hook, [GLOBAL.forward_with_kwargs, GLOBAL.forward_always])
    if with_kwargs:
        GLOBAL.forward_with_kwargs[handle.id] = True
    if always_call:
        GLOBAL.forward_always[handle.id] = True
    return handle


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Deprecated in PyTorch; here the same as :func:`register_module_full_backward_hook`."""
    if GLOBAL.backward_is_full is True:
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module hook. "
            "Please use only one of them."
        )
    GLOBAL.backward_is_full = False
    return _register_global(GLOBAL.backward, hook)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """``hook(module, grad_output) -> None | grad_output`` runs before each module's part of a backward pass."""
    return _register_global(GLOBAL.backward_pre, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """``hook(module, grad_input, grad_output) -> None | grad_input`` runs in every module's backward."""
    if GLOBAL.backward_is_full is False:
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module hook. "
            "Please use only one of them."
        )
    GLOBAL.backward_is_full = True
    return _register_global(GLOBAL.backward, hook)


def _gate(tensors: tuple[Tensor, ...], on_backward: Callable[[tuple[Any, ...]], Any]) -> tuple[Tensor, ...]:
    """Passes tensors through one graph node whose backward shows their gradients to ``on_backward``."""
    from ..autograd import Function

    class BackwardHookFunction(Function):  # a class per use keeps `on_backward` out of the argument list
        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            ctx.set_materialize_grads(False)
            ctx.mark_non_differentiable(*[a for a in args if not a.requires_grad])
            return args

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return on_backward(grads)

    out = BackwardHookFunction.apply(*tensors)
    return out if isinstance(out, tuple) else (out,)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


class BackwardHook:
    """Runs the full backward hooks of one module for one call of its forward.

    Two identity nodes stand around the forward: the one behind the outputs
    sees the output gradients first (pre-hooks may replace them), the one before
    the inputs sees the input gradients last (hooks may replace those).
    """

    def __init__(
        self,
        module: Any,
        user_hooks: Iterable[Callable[..., Any]],
        user_pre_hooks: Iterable[Callable[..., Any]],
    ) -> None:
        self.module = module
        self.hooks = list(user_hooks)
        self.pre_hooks = list(user_pre_hooks)
        self.grad_outputs: tuple[Any, ...] | None = None
        self.n_inputs = -1
        self.input_places: list[int] = []
        self.n_outputs = -1
        self.output_places: list[int] = []

    @staticmethod
    def _wrap(args: tuple[Any, ...], on_backward: Callable[..., Any]) -> tuple[tuple[Any, ...], list[int]]:
        places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        if not any(args[i].requires_grad for i in places):
            return args, []
        gated = _gate(tuple(args[i] for i in places), on_backward)
        out = list(args)
        for i, tensor in zip(places, gated, strict=True):
            out[i] = tensor
        # A named tuple stays one.
        return (type(args)(*out) if hasattr(args, "_fields") else tuple(out)), places

    @staticmethod
    def _spread(values: tuple[Any, ...], places: list[int], n: int) -> tuple[Any, ...]:
        full: list[Any] = [None] * n
        for place, value in zip(places, values, strict=True):
            full[place] = value
        return tuple(full)

    def setup_input_hook(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Puts the node before the inputs; gives the arguments for the forward."""
        self.n_inputs = len(args)
        args, self.input_places = self._wrap(args, self._input_grads)
        return args

    def setup_output_hook(self, result: Any) -> Any:
        """Puts the node behind the outputs (a tensor or a tuple of them)."""
        if not isinstance(result, (Tensor, tuple)):
            return result
        outputs = _as_tuple(result)
        self.n_outputs = len(outputs)
        wrapped, self.output_places = self._wrap(outputs, self._output_grads)
        return wrapped if isinstance(result, tuple) else wrapped[0]

    def _output_grads(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        full = self._spread(grads, self.output_places, self.n_outputs)
        for hook in self.pre_hooks:
            replaced = hook(self.module, full)
            if replaced is None:
                continue
            replaced = _as_tuple(replaced)
            if len(replaced) != len(full):
                raise RuntimeError(
                    "Backward pre hook returned an invalid number of grad_output, "
                    f"got {len(replaced)}, but expected {len(full)}"
                )
            full = replaced
        self.grad_outputs = full
        if not self.input_places:
            # No input asked for a gradient: the hooks run here, with nothing to replace.
            for hook in self.hooks:
                replaced = hook(self.module, (None,) * max(self.n_inputs, 0), full)
                if replaced is not None and not all(r is None for r in _as_tuple(replaced)):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires "
                        "gradient should always return None or None for all gradients."
                    )
            self.grad_outputs = None
        return tuple(full[i] for i in self.output_places)

    def _input_grads(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.grad_outputs is None:
            # The outputs took no part in this backward pass.
            return grads
        full = self._spread(grads, self.input_places, self.n_inputs)
        for hook in self.hooks:
            replaced = hook(self.module, full, self.grad_outputs)
            if replaced is None:
                continue
            replaced = _as_tuple(replaced)
            if len(replaced) != len(full):
                raise RuntimeError(
                    "Backward hook returned an invalid number of grad_input, "
                    f"got {len(replaced)}, but expected {len(full)}"
                )
            full = replaced
        self.grad_outputs = None
        return tuple(full[i] for i in self.input_places)
