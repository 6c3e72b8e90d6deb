"""`torch.library`: operations that a program defines in Python, found under `torch.ops` by their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

__all__ = [
    "CustomOpDef",
    "Library",
    "custom_op",
    "define",
    "impl",
    "register_autograd",
    "register_fake",
    "register_kernel",
    "triton_op",
    "wrap_triton",
]

# "namespace::name" to the operation.
_OPS: dict[str, CustomOpDef] = {}


class CustomOpDef:
    """An operation made of a Python function, with a gradient if one is registered.

    Without `register_autograd` gradients are those of what the function does.
    """

    def __init__(self, name: str, function: Callable[..., Any] | None, schema: str | None = None) -> None:
        self._qualname, self._function, self._schema = name, function, schema
        self._backward: Callable[..., Any] | None = None
        self._setup: Callable[..., Any] | None = None
        self.__name__ = name.rpartition("::")[2]
        self.__doc__ = getattr(function, "__doc__", None)
        _OPS[name] = self

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"

    @property
    def default(self) -> CustomOpDef:
        """The operation: there is one overload."""
        return self

    _opoverload = default

    def register_fake(self, fn: Any = None, /) -> Any:
        """Accepted: shapes are found by computing."""
        return (lambda f: f) if fn is None else fn

    register_vmap = register_fake

    def register_kernel(self, device_types: Any, fn: Any = None, /) -> Any:
        """The function for a kind of device: that of the CPU is used."""

        def take(function: Any) -> Any:
            kinds = [device_types] if isinstance(device_types, str) or device_types is None else device_types
            if self._function is None or any(k is None or k.lower() in ("cpu", "default") for k in kinds):
                self._function = function
            return function

        return take if fn is None else take(fn)

    def register_autograd(self, backward: Callable[..., Any], /, *, setup_context: Any = None) -> None:
        """The gradient: `backward(ctx, *grads)`, with what `setup_context(ctx, inputs, output)` kept."""
        self._backward, self._setup = backward, setup_context

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        if not kwargs or self._function is None:
            return args
        bound = inspect.signature(self._function).bind(*args, **kwargs)
        bound.apply_defaults()
        return (*bound.args, *bound.kwargs.values())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from rustnn import _C

        function = self._function
        if function is None:
            raise NotImplementedError(f"{self._qualname}: no function for the CPU is registered")
        tracked = _C._is_grad_enabled() and any(
            isinstance(a, _C.Tensor) and a.requires_grad for a in (*args, *kwargs.values())
        )
        if self._backward is None or not tracked:
            return function(*args, **kwargs)
        return _apply(self, function, self._positional(args, kwargs))


def _apply(op: CustomOpDef, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    from rustnn.autograd import Function

    backward, setup = op._backward, op._setup

    class _Recorded(Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            output = function(*inputs)
            if setup is not None:
                setup(ctx, inputs, output)
            return output

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            assert backward is not None  # noqa: S101  (checked by the caller)
            return backward(ctx, *grads)

    _Recorded.__name__ = op.__name__
    return _Recorded.apply(*args)


def custom_op(
    name: str,
    fn: Callable[..., Any] | None = None,
    /,
    *,
    mutates_args: str | Iterable[str] = (),
    device_types: Any = None,
    schema: str | None = None,
    tags: Any = None,
) -> Any:
    """Makes an operation of a function; also a decorator.

    Args:
        name: `"namespace::name"`, found as `torch.ops.namespace.name`.
        fn: the function.
        mutates_args, device_types, schema, tags: accepted.

    Raises:
        ValueError: the name has no namespace.

    Example::

        >>> @rustnn.library.custom_op("mine::twice", mutates_args=())
        ... def twice(x):
        ...     return x * 2
        >>> rustnn.ops.mine.twice(rustnn.ones(2))
        tensor([2., 2.])
    """
    if "::" not in name:
        raise ValueError(f"custom_op: expected a name of the form 'namespace::name', got {name!r}")
    if fn is None:
        return lambda function: CustomOpDef(name, function, schema)
    return CustomOpDef(name, fn, schema)


triton_op = custom_op


def wrap_triton(kernel: Any, /) -> Any:
    """Raises: there is no device for Triton's kernels."""
    raise NotImplementedError("torch.library.wrap_triton: rustnn has no device that runs Triton's kernels")


def _named(op: Any) -> CustomOpDef:
    if isinstance(op, CustomOpDef):
        return op
    name = str(op).partition(".")[0]
    if name not in _OPS:
        raise RuntimeError(f"torch.library: there is no operation {name!r}; define it with custom_op or define first")
    return _OPS[name]


def register_fake(op: Any, func: Any = None, /, **_: Any) -> Any:
    """Accepted: shapes are found by computing."""
    return (lambda f: f) if func is None else func


def register_kernel(op: Any, device_types: Any, func: Any = None, /, **_: Any) -> Any:
    """The function of an operation for a kind of device."""
    return _named(op).register_kernel(device_types, func)


def register_autograd(op: Any, backward: Callable[..., Any], /, *, setup_context: Any = None, lib: Any = None) -> None:
    """The gradient of an operation that was made here."""
    _named(op).register_autograd(backward, setup_context=setup_context)


def define(qualname: str, schema: str, *, lib: Any = None, tags: Any = ()) -> None:
    """Names an operation; `impl` gives the function."""
    if qualname not in _OPS:
        CustomOpDef(qualname, None, schema)


def impl(qualname: str, types: Any, func: Any = None, *, lib: Any = None) -> Any:
    """The function of a named operation."""
    return _named(qualname).register_kernel(_devices(types), func)


def _devices(types: Any) -> list[str]:
    """Kinds of devices from dispatch keys: those that every device falls back to count as the CPU's."""
    keys = [types] if isinstance(types, str) else list(types)
    general = ("CompositeExplicitAutograd", "CompositeImplicitAutograd", "default", "")
    return ["cpu" if k in general else k.lower() for k in keys]


class Library:
    """The operations of a namespace, defined one by one."""

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """Names an operation by its schema, `"name(Tensor x) -> Tensor"`; gives the name."""
        name = schema.partition("(")[0].strip()
        define(f"{self.ns}::{name}", schema)
        return name

    def impl(self, op_name: Any, fn: Callable[..., Any], dispatch_key: str = "", **_: Any) -> None:
        """The function of a named operation; those for other devices, and for shapes alone, are left aside."""
        key = dispatch_key or self.dispatch_key
        if key in ("Meta", "CUDA", "Autograd", "AutogradCUDA", "Functionalize"):
            return
        name = str(op_name).rpartition("::")[2]
        qualname = f"{self.ns}::{name}"
        define(qualname, name)
        impl(qualname, key, fn)
