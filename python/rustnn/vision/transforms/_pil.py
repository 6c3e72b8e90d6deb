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

    if mode == "constant":
        return ImageOps.expand(img, border=sides, fill=_fill(img, fill))
    left, top, right, bottom = sides
    array = np.asarray(img)
    widths = [(top, bottom), (left, right)] + [(0, 0)] * (array.ndim - 2)
    return pillow().fromarray(np.pad(array, widths, mode=mode))  # type: ignore[call-overload]


def _fill(img: Any, fill: Any) -> Any:
    """The value of new pixels as Pillow wants it: one number for each band."""
    bands = len(img.getbands())
    if fill is None:
        fill = 0
    if isinstance(fill, (int, float)):
        return fill if bands == 1 else (int(fill),) * bands
    if len(fill) not in (1, bands):
        raise ValueError(
            "The number of elements in 'fill' does not match the number of channels of the image "
            f"({len(fill)} != {bands})"
        )
    values = tuple(fill) * bands if len(fill) == 1 else tuple(fill)
    whole = tuple(float(f) for f in values) if img.mode == "F" else tuple(int(f) for f in values)
    return whole[0] if bands == 1 else whole


def rotate(img: Any, angle: float, resample: int, expand: bool, center: Any, fill: Any) -> Any:
    """Rotated against the clock, in degrees."""
    return img.rotate(angle, resample, expand, center, fillcolor=_fill(img, fill))


def transform(img: Any, kind: str, numbers: list[float], resample: int, fill: Any) -> Any:
    """An AFFINE or PERSPECTIVE map by its numbers; the size stays."""
    return img.transform(img.size, getattr(pillow(), kind), numbers, resample, fillcolor=_fill(img, fill))


def ops(name: str, img: Any, *args: Any) -> Any:
    """An operation of Pillow's `ImageOps`."""
    from PIL import ImageOps

    return getattr(ImageOps, name)(img, *args)


def adjust_gamma(img: Any, gamma: float, gain: float) -> Any:
    """Values through the power function."""
    table = [int((255 + 1 - 1e-3) * gain * pow(v / 255.0, gamma)) for v in range(256)] * 3
    return img.convert("RGB").point(table).convert(img.mode)


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
