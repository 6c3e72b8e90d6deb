"""The handle that takes a hook away again."""

from __future__ import annotations

import weakref
from collections.abc import Callable, MutableMapping
from typing import Any

__all__ = ["RemovableHandle"]


def _weak(mapping: Any) -> Callable[[], Any]:
    """A weak reference where the mapping allows one (a plain dict does not)."""
    try:
        return weakref.ref(mapping)
    except TypeError:
        return lambda: mapping


class RemovableHandle:
    """What registering a hook returns; `remove()` (or leaving a `with` block) takes the hook away.

    `RemovableHandle(hooks)` numbers an entry of a dictionary of hooks: the caller stores the hook under
    `handle.id`. Extra dictionaries that hold something under the same number are cleaned too.
    """

    next_id: int = 0

    def __init__(self, hooks_dict: MutableMapping[int, Any] | None, *, extra_dict: Any = None) -> None:
        self.id = RemovableHandle.next_id
        RemovableHandle.next_id += 1
        self._action: Callable[[], Any] | None = None
        extras = extra_dict if isinstance(extra_dict, list) else [extra_dict]
        self._dicts: list[Callable[[], Any]] = [_weak(d) for d in (hooks_dict, *extras) if d is not None]

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

    # Weak references can't be pickled: the dictionaries travel, and an unpickled handle works on the copies.
    def __getstate__(self) -> tuple[Any, ...]:
        return (self.id, self._action, [ref() for ref in self._dicts])

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.id, self._action, dicts = state
        RemovableHandle.next_id = max(RemovableHandle.next_id, self.id + 1)
        self._dicts = [_weak(d) for d in dicts if d is not None]
