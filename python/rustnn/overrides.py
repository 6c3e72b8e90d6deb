"""`torch.overrides`: asking which arguments take calls over with `__torch_function__`, and passing calls to them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self

from rustnn import _C

__all__ = [
    "TorchFunctionMode",
    "enable_reentrant_dispatch",
    "get_default_nowrap_functions",
    "get_ignored_functions",
    "get_overridable_functions",
    "get_testing_overrides",
    "handle_torch_function",
    "has_torch_function",
    "has_torch_function_unary",
    "has_torch_function_variadic",
    "is_tensor_like",
    "is_tensor_method_or_property",
    "resolve_name",
    "wrap_torch_function",
]


def _takes_over(value: Any) -> bool:
    kind = type(value)
    if kind is _C.Tensor or not hasattr(kind, "__torch_function__"):
        return False
    default = getattr(_C.Tensor, "__torch_function__", None)
    method = getattr(kind, "__torch_function__", None)
    own: bool = getattr(method, "__func__", method) is not getattr(default, "__func__", default)
    return own


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether one of the arguments has a `__torch_function__` of its own.

    Example::

        >>> rustnn.overrides.has_torch_function((rustnn.ones(2),))
        False
    """
    return any(_takes_over(value) for value in relevant_args)


def has_torch_function_unary(value: Any) -> bool:
    """`has_torch_function((value,))`."""
    return _takes_over(value)


def has_torch_function_variadic(*values: Any) -> bool:
    """`has_torch_function(values)`."""
    return has_torch_function(values)


def _overloaded(values: Iterable[Any]) -> list[Any]:
    """One argument of each type that takes calls over, subclasses before their bases."""
    found: list[Any] = []
    for value in values:
        if not _takes_over(value) or any(type(value) is type(other) for other in found):
            continue
        place = next((i for i, other in enumerate(found) if issubclass(type(value), type(other))), len(found))
        found.insert(place, value)
    return found


def handle_torch_function(
    public_api: Callable[..., Any], relevant_args: Iterable[Any], *args: Any, **kwargs: Any
) -> Any:
    """Offers a call to the arguments that take calls over, and gives the first answer.

    Raises:
        TypeError: all of them decline.
    """
    overloaded = _overloaded(relevant_args)
    types = tuple(map(type, overloaded))
    for value in overloaded:
        result = type(value).__torch_function__(public_api, types, args, kwargs)
        if result is not NotImplemented:
            return result
    name = f"{getattr(public_api, '__module__', '')}.{getattr(public_api, '__name__', public_api)}"
    raise TypeError(
        f"no implementation found for {name!r} on types that implement __torch_function__: {list(types)}"
    )


def wrap_torch_function(dispatcher: Callable[..., Iterable[Any]]) -> Callable[..., Any]:
    """A decorator: the function's calls are offered to the arguments that `dispatcher` gives."""

    def inner(func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return func(*args, **kwargs)

        return wrapped

    return inner


def is_tensor_like(inp: Any) -> bool:
    """Whether this is a tensor, or takes calls of functions of tensors over."""
    return type(inp) is _C.Tensor or hasattr(inp, "__torch_function__")


def is_tensor_method_or_property(func: Callable[..., Any]) -> bool:
    """Whether `func` is a method of `Tensor`, or reads one of its properties."""
    name = getattr(func, "__name__", None)
    return name == "__get__" or (name is not None and getattr(_C.Tensor, name, None) is func)


def resolve_name(f: Callable[..., Any]) -> str | None:
    """The public name of a function or method of tensors: `"torch.add"`, `"torch.Tensor.add"`."""
    import rustnn
    import rustnn.nn.functional as functional

    name = getattr(f, "__name__", None)
    if name is None:
        return None
    for place, prefix in ((_C.Tensor, "torch.Tensor"), (functional, "torch.nn.functional"), (rustnn, "torch")):
        if getattr(place, name, None) is f:
            return f"{prefix}.{name}"
    return None


def get_ignored_functions() -> set[Callable[..., Any]]:
    """Functions that never offer their call to arguments: none is listed."""
    return set()


def get_default_nowrap_functions() -> set[Callable[..., Any]]:
    """Functions whose results keep their class in subclasses: none is listed."""
    return set()


def _not_listed(what: str) -> NoReturn:
    raise NotImplementedError(
        f"rustnn does not have PyTorch's torch.overrides.{what}: dir(rustnn) and dir(rustnn.Tensor) list what there is"
    )


def get_overridable_functions() -> dict[Any, Sequence[Callable[..., Any]]]:
    """Raises: there is no such list."""
    _not_listed("get_overridable_functions")


def get_testing_overrides() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Raises: there is no such list."""
    _not_listed("get_testing_overrides")


@contextlib.contextmanager
def enable_reentrant_dispatch() -> Iterator[None]:
    """Nothing to switch on."""
    yield


class TorchFunctionMode:
    """A block that would see every call; it can be derived from, and raises when entered."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What a subclass defines."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        raise NotImplementedError(
            f"{type(self).__name__}: rustnn does not have PyTorch's torch.overrides.TorchFunctionMode, blocks that "
            "see every call.\n  hint: a subclass of Tensor with __torch_function__ sees the calls on its objects"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Never reached."""


BaseTorchFunctionMode = TorchFunctionMode
