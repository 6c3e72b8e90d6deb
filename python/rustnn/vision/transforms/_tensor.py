"""Image operations on tensors of shape (..., channels, height, width)."""

from __future__ import annotations

from typing import Any

import rustnn
from rustnn._C import Tensor
from rustnn.nn import functional as F


def dimensions(img: Tensor) -> list[int]:
    """[channels, height, width]."""
    channels = 1 if img.dim() == 2 else int(img.shape[-3])
    return [channels, int(img.shape[-2]), int(img.shape[-1])]


def top_value(dtype: Any) -> int:
    """What white is: 1 for floats, the largest value for integers."""
    if dtype.is_floating_point:
        return 1
    return {"uint8": 255, "int8": 127, "int16": 32767, "int32": 2**31 - 1, "int64": 2**63 - 1}.get(
        str(dtype).rsplit(".", 1)[-1], 1
    )


def hflip(img: Tensor) -> Tensor:
    """Left and right exchanged."""
    return img.flip(-1)


def vflip(img: Tensor) -> Tensor:
    """Top and bottom exchanged."""
    return img.flip(-2)


def crop(img: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """A part; zeros outside the image."""
    _, h, w = dimensions(img)
    right, bottom = left + width, top + height
    part = img[..., max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if left < 0 or top < 0 or right > w or bottom > h:
        sides = [
            max(min(right, 0) - left, 0),
            max(right - max(w, left), 0),
            max(min(bottom, 0) - top, 0),
            max(bottom - max(h, top), 0),
        ]
        return F.pad(part, sides)
    return part


def resize(img: Tensor, size: list[int], mode: str, antialias: bool) -> Tensor:
    """Scaled to (height, width); integers are rounded."""
    dtype = img.dtype
    batch = img.reshape((-1, *img.shape[-3:]))
    work = batch if dtype in (rustnn.float32, rustnn.float64) else batch.to(rustnn.float32)
    options: dict[str, Any] = {}
    if mode in ("bilinear", "bicubic"):
        options = {"align_corners": False, "antialias": antialias}
    out = F.interpolate(work, size=list(size), mode=mode, **options)
    if out.dtype != dtype:
        if mode == "bicubic" and dtype == rustnn.uint8:
            out = out.clamp(0, 255)
        if not dtype.is_floating_point:
            out = out.round()
        out = out.to(dtype)
    return out.reshape((*img.shape[:-2], *size))


def pad(img: Tensor, sides: tuple[int, int, int, int], fill: Any, mode: str) -> Tensor:
    """Padded on (left, top, right, bottom)."""
    left, top, right, bottom = sides
    if isinstance(fill, (list, tuple)):
        if len(fill) != 1:
            raise TypeError("Got inappropriate fill arg: padding a tensor needs one value")
        fill = fill[0]
    if mode == "constant":
        return F.pad(img, [left, right, top, bottom], mode="constant", value=float(fill))
    _, h, w = dimensions(img)
    rows, columns = _source(h, top, bottom, mode), _source(w, left, right, mode)
    return img.index_select(-2, rows).index_select(-1, columns)


def _source(size: int, before: int, after: int, mode: str) -> Tensor:
    """For each padded position, the position whose value it takes."""
    last = size - 1
    places = []
    for i in range(-before, size + after):
        if mode == "edge":
            i = min(max(i, 0), last)
        elif mode == "reflect":
            i = abs(i) if i < 0 else (2 * last - i if i > last else i)
        else:  # symmetric
            i = -1 - i if i < 0 else (2 * size - 1 - i if i > last else i)
        if not 0 <= i < size:
            raise ValueError(f"padding of {before} and {after} is too large for size {size} in mode {mode}")
        places.append(i)
    return rustnn.tensor(places, dtype=rustnn.int64)


def blend(one: Tensor, other: Tensor, ratio: float) -> Tensor:
    """``ratio`` of one and the rest of the other, within the range of the dtype."""
    mixed = one * ratio + other * (1.0 - ratio)
    return mixed.clamp(0, top_value(one.dtype)).to(one.dtype)


def grayscale(img: Tensor, channels: int = 1) -> Tensor:
    """Luminance, once or three times."""
    if img.shape[-3] == 3:
        r, g, b = img.unbind(-3)
        grey = (0.2989 * r + 0.587 * g + 0.114 * b).to(img.dtype).unsqueeze(-3)
    else:
        grey = img.clone()
    return grey if channels == 1 else grey.expand(img.shape)


def adjust_brightness(img: Tensor, factor: float) -> Tensor:
    """Blended with black."""
    return blend(img, rustnn.zeros_like(img), factor)


def adjust_contrast(img: Tensor, factor: float) -> Tensor:
    """Blended with the mean grey."""
    dtype = img.dtype if img.dtype.is_floating_point else rustnn.float32
    grey = grayscale(img) if img.shape[-3] == 3 else img
    return blend(img, grey.to(dtype).mean(dim=(-3, -2, -1), keepdim=True), factor)


def adjust_saturation(img: Tensor, factor: float) -> Tensor:
    """Blended with its grey self."""
    return img if img.shape[-3] == 1 else blend(img, grayscale(img), factor)


def adjust_hue(img: Tensor, factor: float) -> Tensor:
    """The hue turned by ``factor`` of a circle."""
    if img.shape[-3] == 1:
        return img
    dtype = img.dtype
    x = img if dtype.is_floating_point else img.to(rustnn.float32) / top_value(dtype)
    h, s, v = _to_hsv(x)
    out = _to_rgb((h + factor) % 1.0, s, v)
    return out.to(dtype) if dtype.is_floating_point else (out * (top_value(dtype) + 1.0 - 1e-3)).to(dtype)


def _to_hsv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r, g, b = x.unbind(-3)
    high, low = x.amax(-3), x.amin(-3)
    flat = high == low
    spread = high - low
    ones = rustnn.ones_like(high)
    s = spread / rustnn.where(flat, ones, high)
    width = rustnn.where(flat, ones, spread)
    rc, gc, bc = (high - r) / width, (high - g) / width, (high - b) / width
    is_r = high == r
    is_g = (high == g) & ~is_r
    h = is_r * (bc - gc) + is_g * (2.0 + rc - bc) + (~is_r & ~is_g) * (4.0 + gc - rc)
    return (h / 6.0 + 1.0) % 1.0, s, high


def _to_rgb(h: Tensor, s: Tensor, v: Tensor) -> Tensor:
    sixth = (h * 6.0).floor()
    f = h * 6.0 - sixth
    p = (v * (1.0 - s)).clamp(0.0, 1.0)
    q = (v * (1.0 - s * f)).clamp(0.0, 1.0)
    t = (v * (1.0 - s * (1.0 - f))).clamp(0.0, 1.0)
    part = sixth.to(rustnn.int32) % 6
    out = []
    for values in ((v, q, p, p, t, v), (t, v, v, q, p, p), (p, p, t, v, v, q)):
        channel = values[0]
        for k in range(1, 6):
            channel = rustnn.where(part == k, values[k], channel)
        out.append(channel)
    return rustnn.stack(out, -3)
