"""`torch.cuda.nvtx`: marks for NVIDIA's tools, which are not there: nothing happens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["mark", "range", "range_pop", "range_push"]


def range_push(msg: str) -> int:
    """Nothing to mark."""
    return 0


def range_pop() -> int:
    """Nothing to mark."""
    return 0


def mark(msg: str) -> None:
    """Nothing to mark."""


@contextlib.contextmanager
def range(msg: str) -> Iterator[None]:
    """A block without a mark."""
    yield
