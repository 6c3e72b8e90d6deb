"""Named tuples that ops with several results return: `return_types.max(values=..., indices=...)`."""

from __future__ import annotations

from collections import namedtuple
from typing import Any, cast

__all__ = ["make"]

_MADE: dict[str, type] = {}


def _repr(self: Any) -> str:
    body = ",\n".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
    return f"torch.return_types.{type(self).__name__}(\n{body})"


def _reduce(self: Any) -> tuple[Any, ...]:
    return _rebuild, (type(self).__name__, tuple(self._fields), tuple(self))


def _rebuild(name: str, fields: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return make(name, list(fields))(*values)


def make(name: str, fields: list[str]) -> type:
    """The class of results called `name` with these fields; one class per name."""
    known = _MADE.get(name)
    if known is not None:
        return known
    cls: Any = cast(Any, namedtuple)(name, fields)  # whose names a type checker can't know
    cls.__module__ = "rustnn.return_types"
    cls.__repr__ = _repr
    cls.__reduce__ = _reduce
    made: type = _MADE.setdefault(name, cls)
    return made


def __getattr__(name: str) -> type:
    try:
        return _MADE[name]
    except KeyError:
        raise AttributeError(f"module 'rustnn.return_types' has no attribute {name!r}") from None
