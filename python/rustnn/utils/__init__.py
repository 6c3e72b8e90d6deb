"""Utilities: data loading, checkpointing, hooks, TensorBoard."""

from __future__ import annotations

import importlib
from typing import Any

from . import data

__all__ = ["checkpoint", "data", "hooks", "tensorboard"]

_LAZY = ("checkpoint", "hooks", "tensorboard")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
