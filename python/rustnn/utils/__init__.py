"""Utilities: data loading, checkpointing, hooks, TensorBoard."""

from __future__ import annotations

import importlib
from typing import Any

from . import data
from ._swap import swap_tensors

__all__ = [
    "checkpoint",
    "data",
    "dlpack",
    "hooks",
    "model_zoo",
    "rename_privateuse1_backend",
    "swap_tensors",
    "tensorboard",
]

_LAZY = ("_foreach_utils", "_pytree", "checkpoint", "dlpack", "hooks", "model_zoo", "tensorboard")


def rename_privateuse1_backend(backend_name: str) -> None:
    """Raises: devices other than those of this build cannot be added.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(f"rename_privateuse1_backend({backend_name!r}): rustnn has no devices to register")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
