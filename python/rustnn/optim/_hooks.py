"""Ordered tables of an optimizer's hooks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from rustnn._hooks import RemovableHandle

__all__ = ["Hooks", "RemovableHandle"]


class Hooks(OrderedDict[int, Callable[..., Any]]):
    """Hooks in the order in which they run."""

    def add(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Registers ``hook`` last, or first with ``prepend``, and returns its handle."""
        handle = RemovableHandle(self)
        self[handle.id] = hook
        if prepend:
            self.move_to_end(handle.id, last=False)
        return handle
