"""Pillow, imported when an image is really needed."""

from __future__ import annotations

from types import ModuleType


def pillow(what: str = "this") -> ModuleType:
    """The module ``PIL.Image``.

    Raises:
        ImportError: Pillow is not installed; the message says how to get it.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f"{what} needs Pillow: pip install pillow (or 'rustnn[vision]'). "
            "Datasets of arrays followed by ToTensor() do without it."
        ) from error
    return Image


def is_pil(obj: object) -> bool:
    """Whether ``obj`` is a Pillow image; does not import Pillow."""
    return any(c.__module__.startswith("PIL.") for c in type(obj).__mro__)
