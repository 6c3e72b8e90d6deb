"""The handle that takes a hook away again."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, MutableMapping
from typing import Any

__all__ = ["RemovableHandle"]


class RemovableHandle:
    """What registering a hook returns; `remove()` (or leaving a `with` block) takes the hook away.

    `RemovableHandle(hooks)` numbers an entry of a dictionary of hooks: the caller stores the hook under
    `handle.id`. Extra dictionaries that hold something under the same number are cleaned too.
    """

    _counter = itertools.count()
    next_id: int = 0

    def __init__(self, hooks_dict: MutableMapping[int, Any] | None, *, extra_dict: Any = None) -> None:
        self.id = next(RemovableHandle._counter)
        RemovableHandle.next_id = self.id + 1
        self._action: Callable[[], Any] | None = None
        self._dicts: list[Any] = []
        extras = extra_dict if isinstance(extra_dict, list) else [extra_dict]
        for mapping in [hooks_dict, *extras]:
            if mapping is None:
                continue
            try:
                self._dicts.append(weakref.ref(mapping))
            except TypeError:
                self._dicts.append(lambda mapping=mapping: mapping)

    @classmethod
    def calling(cls, action: Callable[[], Any]) -> RemovableHandle:
        """A handle whose removal calls `action` once."""
        handle = cls(None)
        handle._action = action
        return handle

    def remove(self) -> None:
        """Takes the hook away; a second call does nothing."""
        for ref in self._dicts:
            mapping = ref()
            if mapping is not None:
                mapping.pop(self.id, None)
        action, self._action = self._action, None
        if action is not None:
            action()

    def __enter__(self) -> RemovableHandle:  # noqa: PYI034
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()
