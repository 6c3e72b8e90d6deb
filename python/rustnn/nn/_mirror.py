"""Dictionaries of a module's members that also show in the module's ``__dict__``.

PyTorch keeps parameters, buffers and submodules in three dictionaries and finds
``self.weight`` through ``__getattr__``, which costs a failed lookup and a Python
frame at every access. Here a member stands in its dictionary *and* in the
module's own ``__dict__``, so that ``self.weight`` is an ordinary attribute
(some 5 ns instead of 200). Code that writes to the dictionaries themselves
(``module._parameters["weight"] = p``, ``del module._modules["fc"]``) keeps
working because these dictionaries write through.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

_ABSENT = object()


class Members(dict[str, Any]):
    """A dictionary whose entries are attributes of ``owner`` as well.

    The owner is known weakly: a module that nobody uses is freed at once,
    without waiting for the cycle collector.
    """

    __slots__ = ("__weakref__", "_owner")

    def __init__(self, owner: object, content: Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__(content)
        self._owner = weakref.ref(owner)
        if self:
            owner.__dict__.update(self)

    def _space(self) -> dict[str, Any]:
        owner = self._owner()
        return {} if owner is None else owner.__dict__

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self._space()[name] = value

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._space().pop(name, None)

    def pop(self, name: str, default: Any = _ABSENT) -> Any:
        if name in self:
            value = self[name]
            del self[name]
            return value
        if default is _ABSENT:
            raise KeyError(name)
        return default

    def popitem(self) -> tuple[str, Any]:
        name, value = super().popitem()
        self._space().pop(name, None)
        return name, value

    def clear(self) -> None:
        space = self._space()
        for name in self:
            space.pop(name, None)
        super().clear()

    def update(self, *args: Any, **kwargs: Any) -> None:
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def __ior__(self, other: Any) -> Members:  # type: ignore[override, misc]  # noqa: PYI034
        self.update(other)
        return self

    def move_to_end(self, name: str, last: bool = True) -> None:
        """As ``OrderedDict.move_to_end``."""
        rest = [(k, v) for k, v in self.items() if k != name]
        moved = (name, self[name])
        dict.clear(self)
        dict.update(self, [*rest, moved] if last else [moved, *rest])

    def copy(self) -> dict[str, Any]:
        """A plain dictionary with the same entries."""
        return dict(self)

    # Pickled and copied as a plain dictionary; Module.__setstate__ gives the new module its own.
    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (), None, None, iter(list(self.items()))

    def __copy__(self) -> dict[str, Any]:
        return dict(self)
