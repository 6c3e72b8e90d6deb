"""`torch.return_types`: the named tuples that operations with several results return."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from rustnn import _return_types

    return getattr(_return_types, name)
