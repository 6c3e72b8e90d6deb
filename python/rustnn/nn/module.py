"""``Module``, the base of every layer and model: members, hooks and the call.

State dictionaries are in ``_state.py``, walking over submodules and conversion
(``named_*``, ``to``, ``apply``) in ``_traverse.py``; both are bases of Module.
"""

from __future__ import annotations

import inspect
import warnings
from collections import OrderedDict
from collections.abc import Callable
from types import MethodType
from typing import Any

from rustnn._hooks import RemovableHandle

from ._base import _C, Tensor, typename
from ._hooks import (
    GLOBAL,
    BackwardHook,
    Hooks,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from ._mirror import Members
from ._state import _EXTRA_STATE_KEY_SUFFIX, StateDictMixin, _IncompatibleKeys
from ._traverse import TraverseMixin
from .parameter import Buffer, Parameter

__all__ = [
    "Module",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

# Used by name in programs written for PyTorch.
_ = (_EXTRA_STATE_KEY_SUFFIX, _IncompatibleKeys)


def _addindent(text: str, num_spaces: int) -> str:
    """Indents all lines but the first."""
    first, *rest = text.split("\n")
    return "\n".join([first, *(" " * num_spaces + line for line in rest)])


def _forward_unimplemented(self: Any, *input: Any) -> None:
    """Defines what happens at every call; every subclass overrides it.

    Raises:
        NotImplementedError: always, here.
    """
    raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')


def _check_name(kind: str, name: object, module: Any, space: dict[str, Any]) -> None:
    """Refuses what can't be the name of a parameter, buffer or module."""
    if not isinstance(name, str):
        raise TypeError(f"{kind} name should be a string. Got {typename(name)}")
    if hasattr(module, name) and name not in space:
        raise KeyError(f"attribute '{name}' already exists")
    if "." in name:
        raise KeyError(f'{kind} name can\'t contain "."' + (f", got: {name}" if kind == "module" else ""))
    if name == "":
        raise KeyError(f'{kind} name can\'t be empty string ""')


def _own_dict(module: Any) -> dict[str, Any]:
    """Gives an object a ``__dict__`` that shares no keys with those of its class's other objects.

    From a shared one the interpreter reads every attribute the slow way (CPython 3.11: 240 instructions instead of 15).
    """
    space = dict(module.__dict__)
    object.__setattr__(module, "__dict__", space)
    return space


class _CallSignature:
    """What ``inspect.signature`` says of a module: of its call, which is no Python function; of classes nothing."""

    def __get__(self, module: Any, owner: type) -> inspect.Signature:
        if module is None:
            raise AttributeError("__signature__")
        call = owner.__call__
        if call is not _C._Callable.__call__:
            return inspect.signature(MethodType(call, module))
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return inspect.Signature([inspect.Parameter(n, k) for n, k in zip(("args", "kwargs"), kinds, strict=True)])


class Module(_C._Callable, StateDictMixin, TraverseMixin):
    """Base class of all neural-network modules.

    A subclass assigns parameters, buffers and submodules as attributes in its
    ``__init__`` (after ``super().__init__()``) and defines ``forward``.

    Example::

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(4, 2)

            def forward(self, x):
                return self.fc(x).relu()
    """

    dump_patches: bool = False
    _version: int = 1
    call_super_init: bool = False
    training: bool
    _hooked: bool  # whether a call has to look for hooks at all
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _is_full_backward_hook: bool | None
    _forward_hooks: Hooks
    _forward_hooks_with_kwargs: dict[int, bool]
    _forward_hooks_always_called: dict[int, bool]
    _forward_pre_hooks: Hooks
    _forward_pre_hooks_with_kwargs: dict[int, bool]
    _backward_hooks: Hooks
    _backward_pre_hooks: Hooks
    _compiled_call_impl: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if self.call_super_init is False and (args or kwargs):
            if kwargs:
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'"
                )
            raise TypeError(
                f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} were given"
            )
        # Written to __dict__ because Module.__setattr__ looks for members in dictionaries made here.
        space = _own_dict(self)
        space["training"] = True
        space["_hooked"] = False
        space["_parameters"] = Members(self)
        space["_buffers"] = Members(self)
        space["_non_persistent_buffers_set"] = set()
        space["_backward_pre_hooks"] = OrderedDict()
        space["_backward_hooks"] = OrderedDict()
        space["_is_full_backward_hook"] = None
        space["_forward_hooks"] = OrderedDict()
        space["_forward_hooks_with_kwargs"] = OrderedDict()
        space["_forward_hooks_always_called"] = OrderedDict()
        space["_forward_pre_hooks"] = OrderedDict()
        space["_forward_pre_hooks_with_kwargs"] = OrderedDict()
        space["_state_dict_hooks"] = OrderedDict()
        space["_state_dict_pre_hooks"] = OrderedDict()
        space["_load_state_dict_pre_hooks"] = OrderedDict()
        space["_load_state_dict_post_hooks"] = OrderedDict()
        space["_modules"] = Members(self)
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    forward: Callable[..., Any] = _forward_unimplemented

    # -- the call ---------------------------------------------------------

    # ``__call__`` is ``_C._Callable``'s: the hooks, if there are any, and ``forward``. While a module that holds others
    # runs, convolutions may wait for what follows them (docs/performance.md, "Fused inference").
    __signature__ = _CallSignature()

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        return Module.__call__(self, *args, **kwargs)

    _wrapped_call_impl = _call_impl

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._hooked = bool(
            self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks
        )
        called_always: set[int] = set()
        result = None
        try:
            for hook_id, hook in (*GLOBAL.forward_pre.items(), *self._forward_pre_hooks.items()):
                if hook_id in self._forward_pre_hooks_with_kwargs:
                    changed = hook(self, args, kwargs)
                    if changed is not None:
                        if not (isinstance(changed, tuple) and len(changed) == 2):
                            raise RuntimeError(
                                "forward pre-hook must return None or a tuple "
                                f"of (new_args, new_kwargs), but got {changed}."
                            )
                        args, kwargs = changed
                else:
                    changed = hook(self, args)
                    if changed is not None:
                        args = changed if isinstance(changed, tuple) else (changed,)

            backward: BackwardHook | None = None
            full_hooks, old_hooks, pre_hooks = self._backward_hook_lists()
            if full_hooks or pre_hooks:
                backward = BackwardHook(self, full_hooks, pre_hooks)
                args = backward.setup_input_hook(args)

            result = self.forward(*args, **kwargs)

            for hook_id, hook in (*GLOBAL.forward.items(), *self._forward_hooks.items()):
                if hook_id in self._forward_hooks_always_called or hook_id in GLOBAL.forward_always:
                    called_always.add(hook_id)
                changed = self._run_forward_hook(hook_id, hook, args, kwargs, result)
                if changed is not None:
                    result = changed

            if backward is not None:
                if not isinstance(result, (Tensor, tuple)):
                    warnings.warn(
                        "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors "
                        f"but received {type(result)}",
                        stacklevel=3,
                    )
                result = backward.setup_output_hook(result)
            elif old_hooks:
                result = BackwardHook(self, old_hooks, ()).setup_output_hook(result)
            return result
        except Exception:
            # Hooks that were promised a call get it; what they raise themselves is only a warning.
            for hook_id, hook in (*GLOBAL.forward.items(), *self._forward_hooks.items()):
                always = hook_id in self._forward_hooks_always_called or hook_id in GLOBAL.forward_always
                if not always or hook_id in called_always:
                    continue
                try:
                    changed = self._run_forward_hook(hook_id, hook, args, kwargs, result)
                    if changed is not None:
                        result = changed
                except Exception as error:  # noqa: BLE001
                    warnings.warn(
                        f"module forward hook with ``always_call=True`` raised an exception "
                        f"that was silenced as another error was raised in forward: {error}",
                        stacklevel=3,
                    )
            raise

    def _run_forward_hook(
        self,
        hook_id: int,
        hook: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
    ) -> Any:
        if hook_id in self._forward_hooks_with_kwargs or hook_id in GLOBAL.forward_with_kwargs:
            return hook(self, args, kwargs, result)
        return hook(self, args, result)

    def _backward_hook_lists(self) -> tuple[list[Any], list[Any], list[Any]]:
        full: list[Any] = []
        old: list[Any] = []
        if GLOBAL.backward:
            (full if GLOBAL.backward_is_full is not False else old).extend(GLOBAL.backward.values())
        if self._backward_hooks:
            (full if self._is_full_backward_hook is not False else old).extend(self._backward_hooks.values())
        return full, old, [*GLOBAL.backward_pre.values(), *self._backward_pre_hooks.values()]

    # -- registering members ----------------------------------------------

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a tensor that is state but no parameter, such as a running mean.

        Args:
            name: attribute name; no dots.
            tensor: the buffer, or None for one that is not there (and not saved).
            persistent: whether ``state_dict`` holds it.
        """
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        _check_name("buffer", name, self, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{typename(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        for hook in GLOBAL.buffer_registration.values():
            changed = hook(self, name, tensor)
            if changed is not None:
                tensor = changed
        self._buffers[name] = self.__dict__[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter under ``name`` (None: a parameter that is not there, such as a missing bias)."""
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        _check_name("parameter", name, self, self._parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{typename(param)}' object to parameter '{name}' "
                    "(torch.nn.Parameter or None required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model "
                    f"parameters must be created explicitly. To express '{name}' "
                    "as a function of another Tensor, compute the value in "
                    "the forward() method."
                )
            for hook in GLOBAL.parameter_registration.values():
                changed = hook(self, name, param)
                if changed is not None:
                    param = changed
        self._parameters[name] = self.__dict__[name] = param

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a submodule under ``name``, as ``self.name = module`` does."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{typename(module)} is not a Module subclass")
        _check_name("module", name, self, self._modules)
        for hook in GLOBAL.module_registration.values():
            changed = hook(self, name, module)
            if changed is not None:
                module = changed
        self._modules[name] = self.__dict__[name] = module

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as :meth:`add_module`."""
        self.add_module(name, module)

    def __setattr__(self, name: str, value: Any) -> None:
        space = self.__dict__
        if isinstance(value, Parameter):
            if "_parameters" not in space:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, "_buffers", "_modules")
            self.register_parameter(name, value)
            return
        if isinstance(value, Module):
            if "_modules" not in space:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, "_parameters", "_buffers")
            for hook in GLOBAL.module_registration.values():
                changed = hook(self, name, value)
                if changed is not None:
                    value = changed
            self._modules[name] = space[name] = value
            return
        params = space.get("_parameters")
        if params is not None:
            if name in params:
                if value is not None:
                    raise TypeError(
                        f"cannot assign '{typename(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                    )
                self.register_parameter(name, value)
                return
            if name in self._modules:
                if value is not None:
                    raise TypeError(
                        f"cannot assign '{typename(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                    )
                for hook in GLOBAL.module_registration.values():
                    changed = hook(self, name, value)
                    if changed is not None:
                        value = changed
                self._modules[name] = space[name] = value
                return
            buffers = self._buffers
            is_buffer = value is not None and isinstance(value, Buffer)
            if is_buffer or name in buffers:
                if value is not None and not isinstance(value, Tensor):
                    raise TypeError(
                        f"cannot assign '{typename(value)}' as buffer '{name}' "
                        "(torch.nn.Buffer, torch.Tensor or None expected)"
                    )
                if is_buffer and name not in buffers:
                    self._forget(name, "_modules")
                    self.register_buffer(name, value, bool(getattr(value, "persistent", True)))
                    return
                for hook in GLOBAL.buffer_registration.values():
                    changed = hook(self, name, value)
                    if changed is not None:
                        value = changed
                buffers[name] = space[name] = value
                return
        object.__setattr__(self, name, value)

    def _forget(self, name: str, *spaces: str) -> None:
        """Removes ``name`` wherever it was a member of another kind, so that it can be assigned anew."""
        own = self.__dict__
        for key in spaces:
            if name in own[key]:
                del own[key][name]
                self._non_persistent_buffers_set.discard(name)
        if name in own and name not in self._parameters and name not in self._modules:
            del own[name]

    def __delattr__(self, name: str) -> None:
        space = self.__dict__
        for key in ("_parameters", "_buffers", "_modules"):
            if name in space.get(key, ()):
                del space[key][name]
                space.pop(name, None)
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        keys = {*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers}
        return sorted(key for key in keys if not key[:1].isdigit())

    # -- pickling and copying -----------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # The mirrored entries are left out: __setstate__ puts them back.
        state = self.__dict__.copy()
        for key in ("_parameters", "_buffers", "_modules"):
            members = state.get(key)
            if members is not None:
                for name, value in members.items():
                    if state.get(name) is value:
                        state.pop(name, None)
                state[key] = dict(members)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        space = _own_dict(self)
        space.update(state)
        for key in ("_parameters", "_buffers", "_modules"):
            space[key] = Members(self, dict(space.get(key, {})).items())
        space.setdefault("_non_persistent_buffers_set", set())
        space.setdefault("_is_full_backward_hook", None)
        for key in (
            "_backward_pre_hooks",
            "_backward_hooks",
            "_forward_hooks",
            "_forward_hooks_with_kwargs",
            "_forward_hooks_always_called",
            "_forward_pre_hooks",
            "_forward_pre_hooks_with_kwargs",
            "_state_dict_hooks",
            "_state_dict_pre_hooks",
            "_load_state_dict_pre_hooks",
            "_load_state_dict_post_hooks",
        ):
            space.setdefault(key, OrderedDict())
        space["_hooked"] = True  # the next call looks, and clears it if there are none

    # -- hooks ----------------------------------------------------------------

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """``hook(module, args) -> None | args`` before each forward.

        Args:
            hook: with ``with_kwargs`` it takes and returns ``(args, kwargs)``.
            prepend: run before the hooks registered earlier.
        """
        return self._register("_forward_pre_hooks", hook, prepend, [("_forward_pre_hooks_with_kwargs", with_kwargs)])

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """``hook(module, args, output) -> None | output`` after each forward.

        Args:
            hook: with ``with_kwargs`` it is called ``hook(module, args, kwargs, output)``.
            prepend: run before the hooks registered earlier.
            always_call: run also when forward raised.
        """
        flags = [("_forward_hooks_with_kwargs", with_kwargs), ("_forward_hooks_always_called", always_call)]
        return self._register("_forward_hooks", hook, prepend, flags)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """``hook(module, grad_output) -> None | grad_output`` before the module's part of a backward pass."""
        return self._register("_backward_pre_hooks", hook, prepend, [])

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """``hook(module, grad_input, grad_output) -> None | grad_input`` once the input gradients are known."""
        if self._is_full_backward_hook is False:
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a "
                "single Module. Please use only one of them."
            )
        self._is_full_backward_hook = True
        return self._register("_backward_hooks", hook, prepend, [])

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Deprecated in PyTorch in favour of :meth:`register_full_backward_hook`."""
        if self._is_full_backward_hook is True:
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a "
                "single Module. Please use only one of them."
            )
        self._is_full_backward_hook = False
        return self._register("_backward_hooks", hook, False, [])

    def _register(
        self, space: str, hook: Callable[..., Any], prepend: bool, flags: list[tuple[str, bool]]
    ) -> RemovableHandle:
        hooks: Hooks = self.__dict__[space]
        handle = RemovableHandle(hooks, extra_dict=[self.__dict__[name] for name, _ in flags])
        hooks[handle.id] = hook
        self.__dict__["_hooked"] = True
        if prepend:
            hooks.move_to_end(handle.id, last=False)
        for name, wanted in flags:
            if wanted:
                self.__dict__[name][handle.id] = True
        return handle

    # -- how a module shows itself ----------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What ``repr`` shows between the parentheses; a subclass overrides it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extra_lines = extra.split("\n") if extra else []
        child_lines = [f"({key}): " + _addindent(repr(m), 2) for key, m in self._modules.items()]
        lines = extra_lines + child_lines
        if not lines:
            return self._get_name() + "()"
        if len(extra_lines) == 1 and not child_lines:
            return f"{self._get_name()}({extra_lines[0]})"
        return self._get_name() + "(\n  " + "\n  ".join(lines) + "\n)"
