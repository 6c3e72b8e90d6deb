"""`torch.jit.annotations`: types for annotations."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple, Union  # noqa: UP035

__all__ = ["Any", "BroadcastingList1", "BroadcastingList2", "BroadcastingList3", "Dict", "List", "Optional", "Tuple"]
__all__ += ["Union"]


class _Broadcasting:
    """`BroadcastingList2[int]` is `list[int]` to a reader."""

    def __getitem__(self, item: Any) -> Any:
        return list[item]


BroadcastingList1 = BroadcastingList2 = BroadcastingList3 = _Broadcasting()
