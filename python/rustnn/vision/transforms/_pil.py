"""Image operations on Pillow images."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._pillow import pillow


def dimensions(img: Any) -> list[int]:
    """[channels, height, width]."""
    return [len(img.getbands()), img.height, img.width]


def hflip(img: Any) -> Any:
    """Left and right exchanged."""
    return img.transpose(pillow().FLIP_LEFT_RIGHT)


def vflip(img: Any) -> Any:
    """Top and bottom exchanged."""
    return img.transpose(pillow().FLIP_TOP_BOTTOM)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """A part; black outside the image."""
    return img.crop((left, top, left + width, top + height))


def resize(img: Any, size: list[int], resample: int) -> Any:
    """Scaled to (height, width)."""
    return img.resize((size[1], size[0]), resample)


def pad(img: Any, sides: tuple[int, int, int, int], fill: Any, mode: str) -> Any:
    """Padded on (left, top, right, bottom)."""
    from PIL import ImageOps

    if isinstance(fill, (list, tuple)):
        fill = tuple(fill) * (len(img.getbands()) if len(fill) == 1 else 1)
    if mode == "constant":
        if isinstance(fill, (int, float)) and len(img.getbands()) > 1:
            fill = (int(fill),) * len(img.getbands())
        return ImageOps.expand(img, border=sides, fill=fill)
    left, top, right, bottom = sides
    array = np.asarray(img)
    widths = [(top, bottom), (left, right)] + [(0, 0)] * (array.ndim - 2)
    return pillow().fromarray(np.pad(array, widths, mode=mode))  # type: ignore[call-overload]


def rotate(img: Any, angle: float, resample: int, expand: bool, center: Any, fill: Any) -> Any:
    """Rotated against the clock, in degrees."""
    if isinstance(fill, (list, tuple)):
        bands = len(img.getbands())
        fill = tuple(int(f) for f in (fill * bands if len(fill) == 1 else fill))
        fill = fill[0] if bands == 1 else fill
    return img.rotate(angle, resample, expand, center, fillcolor=fill)


def enhance(img: Any, kind: str, factor: float) -> Any:
    """Brightness, Contrast or Color times ``factor``."""
    from PIL import ImageEnhance

    return getattr(ImageEnhance, kind)(img).enhance(factor)


def adjust_hue(img: Any, factor: float) -> Any:
    """The hue turned by ``factor`` of a circle."""
    if img.mode in ("L", "1", "I", "F"):
        return img
    h, s, v = img.convert("HSV").split()
    turned = np.array(h, dtype=np.uint8)
    turned += np.array(factor * 255).astype(np.int64).astype(np.uint8)
    return pillow().merge("HSV", (pillow().fromarray(turned, "L"), s, v)).convert(img.mode)


def grayscale(img: Any, channels: int) -> Any:
    """Luminance, once or three times."""
    grey = img.convert("L")
    if channels == 1:
        return grey
    return pillow().merge("RGB", (grey, grey, grey))
