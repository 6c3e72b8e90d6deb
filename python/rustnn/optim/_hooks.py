"""Ordered hook tables and the handles that remove their entries."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

_ids = itertools.count()

HookTable = OrderedDict[int, Callable[..., Any]]


class RemovableHandle:
    """Removes a hook from its table, by ``remove()`` or at the end of a ``with`` block."""

    def __init__(self, table: HookTable) -> None:
        self.id = next(_ids)
        self._table: weakref.ref[HookTable] = weakref.ref(table)

    def remove(self) -> None:
        """Takes the hook out; doing so twice is harmless."""
        table = self._table()
        if table is not None:
            table.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class Hooks(OrderedDict[int, Callable[..., Any]]):
    """Hooks in the order in which they run."""

    def add(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Registers ``hook`` last, or first with ``prepend``, and returns its handle."""
        handle = RemovableHandle(self)
        self[handle.id] = hook
        if prepend:
            self.move_to_end(handle.id, last=False)
        return handle
