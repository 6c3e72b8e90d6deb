"""Transforms of images, under torchvision's names."""

from __future__ import annotations

from . import functional
from .transforms import *  # noqa: F403
from .transforms import __all__ as _names

__all__ = [*_names, "functional"]
