"""Transforms of images, under torchvision's names."""

from __future__ import annotations

from . import functional
from ._augment import *  # noqa: F403
from ._augment import __all__ as _augment_names
from ._random_more import *  # noqa: F403
from ._random_more import __all__ as _more_names
from .transforms import *  # noqa: F403
from .transforms import __all__ as _names

__all__ = [*_augment_names, *_more_names, *_names, "functional"]
