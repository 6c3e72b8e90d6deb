"""A version string that compares by its numbers, as `torch.torch_version.TorchVersion` does."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["TorchVersion"]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text.split("+", 1)[0])[:3])


class TorchVersion(str):
    """`TorchVersion("2.9.0") >= "2.10"` is False, and `>= (2, 9)` True."""

    __slots__ = ()
    __hash__ = str.__hash__

    def _pair(self, other: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if isinstance(other, (tuple, list)):
            theirs = tuple(int(n) for n in other)
        else:
            theirs = _numbers(str(other))
        width = max(3, len(theirs))
        ours = _numbers(str(self))
        return ours + (0,) * (width - len(ours)), theirs + (0,) * (width - len(theirs))

    def __lt__(self, other: Any) -> bool:
        a, b = self._pair(other)
        return a < b

    def __le__(self, other: Any) -> bool:
        a, b = self._pair(other)
        return a <= b

    def __gt__(self, other: Any) -> bool:
        a, b = self._pair(other)
        return a > b

    def __ge__(self, other: Any) -> bool:
        a, b = self._pair(other)
        return a >= b

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str) and str.__eq__(self, other):
            return True
        a, b = self._pair(other)
        return a == b

    def __ne__(self, other: object) -> bool:
        return not self == other
