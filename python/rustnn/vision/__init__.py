"""Images: datasets, transforms, models and utilities, under torchvision's names."""

from __future__ import annotations

from . import datasets, models, transforms, utils

__all__ = ["datasets", "get_image_backend", "models", "set_image_backend", "transforms", "utils"]


def get_image_backend() -> str:
    """The package that reads images: Pillow."""
    return "PIL"


def set_image_backend(backend: str) -> None:
    """Accepts ``"PIL"``, the only backend."""
    if backend != "PIL":
        raise ValueError(f"Invalid backend '{backend}'. Options are 'PIL'")
