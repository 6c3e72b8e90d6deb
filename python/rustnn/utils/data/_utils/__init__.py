"""PyTorch's path to the collate functions, which programs import although it is private."""

from __future__ import annotations

from . import collate

__all__ = ["collate"]
