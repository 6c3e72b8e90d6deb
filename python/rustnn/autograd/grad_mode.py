"""Switches of gradient recording: context managers that are also decorators."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from rustnn import _C

__all__ = ["enable_grad", "inference_mode", "no_grad", "set_grad_enabled", "set_multithreading_enabled"]

F = TypeVar("F", bound=Callable[..., Any])


def _wrap_generator(make: Callable[[], _Mode], func: Callable[..., Any]) -> Callable[..., Any]:
    """A generator function whose every resumption, and only that, runs inside the mode."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with make():
            generator = func(*args, **kwargs)
        resume: Callable[[], Any] = functools.partial(next, generator)
        while True:
            try:
                with make():
                    value = resume()
            except StopIteration as stop:
                return stop.value
            try:
                sent = yield value
            except GeneratorExit:
                with make():
                    generator.close()
                raise
            except BaseException as error:  # noqa: BLE001
                resume = functools.partial(generator.throw, error)
            else:
                resume = functools.partial(generator.send, sent)

    return wrapper


class _Mode:
    """A context manager that sets a thread's mode on entering and puts the former one back on leaving."""

    def __init__(self) -> None:
        self._before: list[Any] = []

    def _switch(self) -> Any:
        raise NotImplementedError

    def _restore(self, before: Any) -> None:
        raise NotImplementedError

    def clone(self) -> _Mode:
        return type(self)()

    def __enter__(self) -> Self:
        self._before.append(self._switch())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore(self._before.pop())

    def __call__(self, func: F) -> F:
        if inspect.isclass(func):
            raise TypeError(
                f"{type(self).__name__} can't decorate the class {func.__name__}: decorate its methods"
            )
        if inspect.isgeneratorfunction(func):
            return cast(F, _wrap_generator(self.clone, func))
        clone = self.clone

        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with clone():
                return func(*args, **kwargs)

        return cast(F, wrapper)


class _GradMode(_Mode):
    mode: bool = True

    # `@no_grad` without brackets decorates at once, as `@no_grad()` does.
    def __new__(cls, func: Any = None) -> Any:
        if func is None:
            return super().__new__(cls)
        return cls()(func)

    def _switch(self) -> Any:
        return _C._set_grad_enabled(self.mode)

    def _restore(self, before: Any) -> None:
        _C._set_grad_enabled(before)


class no_grad(_GradMode):
    """Operations inside record no graph: their results don't require gradients.

    Example::

        >>> with rustnn.no_grad():
        ...     y = x * 2
        >>> y.requires_grad
        False
    """

    mode = False


class enable_grad(_GradMode):
    """Records the graph again inside a `no_grad` block."""

    mode = True


class set_grad_enabled(_Mode):
    """Sets recording to `mode` at once; as a context manager it puts the former mode back at the end."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = bool(mode)
        self._first: Any = _C._set_grad_enabled(self.mode)
        self._fresh = True

    def clone(self) -> set_grad_enabled:
        return type(self)(self.mode)

    def __call__(self, func: F) -> F:
        _C._set_grad_enabled(self._first)
        return super().__call__(func)

    def _switch(self) -> Any:
        # The constructor has switched already; what has to come back is what it found.
        if self._fresh:
            self._fresh = False
            return self._first
        return _C._set_grad_enabled(self.mode)

    def _restore(self, before: Any) -> None:
        _C._set_grad_enabled(before)


class inference_mode(_Mode):
    """As `no_grad`, and the tensors made inside can never take part in a graph later."""

    def __new__(cls, mode: Any = True) -> Any:
        if isinstance(mode, bool):
            return super().__new__(cls)
        return cls(True)(mode)

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.mode = mode

    def clone(self) -> inference_mode:
        return type(self)(self.mode)

    def _switch(self) -> Any:
        return _C._set_inference_mode(self.mode), _C._set_grad_enabled(not self.mode)

    def _restore(self, before: Any) -> None:
        _C._set_grad_enabled(before[1])
        _C._set_inference_mode(before[0])


class set_multithreading_enabled(_Mode):
    """Accepted for compatibility: the backward pass gives the same bits however many threads it uses."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = mode

    def clone(self) -> set_multithreading_enabled:
        return type(self)(self.mode)

    def _switch(self) -> Any:
        return None

    def _restore(self, before: Any) -> None:
        return None
