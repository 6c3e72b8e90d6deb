"""Affine and perspective maps of images: matrices, and tensors sampled through them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import rustnn
from rustnn._C import Tensor
from rustnn.nn import functional as F

from . import _tensor


def inverse_affine(
    center: Sequence[float], angle: float, translate: Sequence[float], scale: float, shear: Sequence[float]
) -> list[float]:
    """The six numbers that take a point of the result to the point of the image it shows.

    The map from image to result is: center to the origin, shear and rotate and scale, back, then translate.
    """
    turn, sx, sy = math.radians(angle), math.radians(shear[0]), math.radians(shear[1])
    (cx, cy), (tx, ty) = center, translate
    a = math.cos(turn - sy) / math.cos(sy)
    b = -math.cos(turn - sy) * math.tan(sx) / math.cos(sy) - math.sin(turn)
    c = math.sin(turn - sy) / math.cos(sy)
    d = -math.sin(turn - sy) * math.tan(sx) / math.cos(sy) + math.cos(turn)
    # The determinant of rotation and shear is one.
    m = [d / scale, -b / scale, 0.0, -c / scale, a / scale, 0.0]
    m[2] = m[0] * (-cx - tx) + m[1] * (-cy - ty) + cx
    m[5] = m[3] * (-cx - tx) + m[4] * (-cy - ty) + cy
    return m


def perspective_coefficients(startpoints: Any, endpoints: Any) -> list[float]:
    """The eight numbers of the map that takes each end point to its start point."""
    rows = []
    for (x, y), (u, v) in zip(endpoints, startpoints, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    wanted = np.asarray(startpoints, dtype=np.float64).reshape(-1)
    found = np.linalg.lstsq(np.asarray(rows, dtype=np.float64), wanted, rcond=None)[0]
    return [float(v) for v in found.astype(np.float32)]


def rotated_size(matrix: list[float], width: int, height: int) -> tuple[int, int]:
    """(width, height) that hold the whole image after the map."""
    corners = rustnn.tensor(
        [[sx * 0.5 * width, sy * 0.5 * height, 1.0] for sx, sy in ((-1, -1), (-1, 1), (1, 1), (1, -1))]
    )
    points = corners @ rustnn.tensor(matrix).view(2, 3).T
    half = rustnn.tensor([width * 0.5, height * 0.5])
    low, high = points.amin(0) + half, points.amax(0) + half
    # Rounding errors below this make no new pixel.
    least = 1e-4
    size = ((high / least).trunc() * least).ceil() - ((low / least).trunc() * least).floor()
    return int(size[0].item()), int(size[1].item())


def _pixels(width: int, height: int, x0: float, y0: float) -> Tensor:
    """(x, y, 1) of every pixel's middle, the first at (x0, y0)."""
    grid = rustnn.empty(1, height, width, 3)
    grid[..., 0] = rustnn.linspace(x0, x0 + width - 1, width)
    grid[..., 1] = rustnn.linspace(y0, y0 + height - 1, height).unsqueeze(-1)
    grid[..., 2] = 1.0
    return grid.view(1, height * width, 3)


def affine_grid(matrix: list[float], size: tuple[int, int], out: tuple[int, int]) -> Tensor:
    """Where each pixel of a result of (width, height) `out` lies in an image of `size`, from -1 to 1."""
    theta = rustnn.tensor(matrix).reshape(1, 2, 3)
    scaled = theta.transpose(1, 2) / rustnn.tensor([0.5 * size[0], 0.5 * size[1]])
    width, height = out
    pixels = _pixels(width, height, -width * 0.5 + 0.5, -height * 0.5 + 0.5)
    return pixels.bmm(scaled).view(1, height, width, 2)


def perspective_grid(c: list[float], width: int, height: int) -> Tensor:
    """As `affine_grid` for a perspective map."""
    above = rustnn.tensor([[c[0], c[1], c[2]], [c[3], c[4], c[5]]])
    below = rustnn.tensor([[c[6], c[7], 1.0], [c[6], c[7], 1.0]])
    pixels = _pixels(width, height, 0.5, 0.5)
    scaled = above.T.unsqueeze(0) / rustnn.tensor([0.5 * width, 0.5 * height])
    found = pixels.bmm(scaled) / pixels.bmm(below.T.unsqueeze(0)) - 1.0
    return found.view(1, height, width, 2)


def sample(img: Tensor, grid: Tensor, mode: str, fill: Any) -> Tensor:
    """The image's values at the places of `grid`; `fill` outside of it."""
    dtype, shape = img.dtype, img.shape
    batch = img.reshape((-1, *shape[-3:]))
    work = batch if dtype == grid.dtype else batch.to(grid.dtype)
    grid = grid.expand(work.shape[0], *grid.shape[1:])
    if fill is not None:
        work = rustnn.cat([work, rustnn.ones(work.shape[0], 1, *work.shape[-2:], dtype=work.dtype)], 1)
    out = F.grid_sample(work, grid, mode=mode, padding_mode="zeros", align_corners=False)
    if fill is not None:
        mask = out[:, -1:].expand_as(out[:, :-1])
        out = out[:, :-1]
        values = [float(f) for f in fill] if isinstance(fill, (tuple, list)) else [float(fill)]
        filled = rustnn.tensor(values, dtype=out.dtype).view(1, -1, 1, 1).expand_as(out)
        out = rustnn.where(mask < 0.5, filled, out) if mode == "nearest" else out * mask + (1.0 - mask) * filled
    return _cast(out, dtype).reshape((*shape[:-2], *out.shape[-2:]))


def _cast(img: Tensor, dtype: Any) -> Tensor:
    if img.dtype == dtype:
        return img
    return (img if dtype.is_floating_point else img.round()).to(dtype)


# ---- neighbourhoods ------------------------------------------------------------------------------------------
def _gauss(size: int, sigma: float, dtype: Any) -> Tensor:
    half = (size - 1) * 0.5
    weights = (-0.5 * (rustnn.linspace(-half, half, size, dtype=dtype) / sigma) ** 2).exp()
    return weights / weights.sum()


def gaussian_blur(img: Tensor, kernel_size: Sequence[int], sigma: Sequence[float]) -> Tensor:
    """Weighted means over (width, height) `kernel_size`; the border is mirrored."""
    dtype = img.dtype if img.dtype.is_floating_point else rustnn.float32
    kx, ky = kernel_size
    weights = rustnn.mm(_gauss(ky, sigma[1], dtype)[:, None], _gauss(kx, sigma[0], dtype)[None, :])
    channels = int(img.shape[-3])
    batch = img.reshape((-1, *img.shape[-3:])).to(dtype)
    padded = F.pad(batch, [kx // 2, kx // 2, ky // 2, ky // 2], mode="reflect")
    out = F.conv2d(padded, weights.expand(channels, 1, ky, kx), groups=channels)
    return _cast(out, img.dtype).reshape(img.shape)


def adjust_sharpness(img: Tensor, factor: float) -> Tensor:
    """Blended with a smoothed self, whose border is the image's own."""
    if img.shape[-1] <= 2 or img.shape[-2] <= 2:
        return img
    dtype = img.dtype if img.dtype.is_floating_point else rustnn.float32
    weights = rustnn.ones(3, 3, dtype=dtype)
    weights[1, 1] = 5.0
    weights = weights / weights.sum()
    channels = int(img.shape[-3])
    batch = img.reshape((-1, *img.shape[-3:])).to(dtype)
    inner = F.conv2d(batch, weights.expand(channels, 1, 3, 3), groups=channels)
    smooth = img.clone()
    smooth[..., 1:-1, 1:-1] = _cast(inner, img.dtype).reshape((*img.shape[:-2], *inner.shape[-2:]))
    return _tensor.blend(img, smooth, factor)


# ---- tables of values ----------------------------------------------------------------------------------------
def autocontrast(img: Tensor) -> Tensor:
    """Each channel stretched from black to white; plain channels stay."""
    top = _tensor.top_value(img.dtype)
    dtype = img.dtype if img.dtype.is_floating_point else rustnn.float32
    low = img.amin(dim=(-2, -1), keepdim=True).to(dtype)
    high = img.amax(dim=(-2, -1), keepdim=True).to(dtype)
    plain = high == low
    scale = rustnn.where(plain, rustnn.ones_like(high), (high - low).reciprocal() * top)
    low = rustnn.where(plain, rustnn.zeros_like(low), low)
    return ((img - low) * scale).clamp(0, top).to(img.dtype)


def equalize(img: Tensor) -> Tensor:
    """Each channel's values spread evenly over the range, for uint8."""
    if img.dtype != rustnn.uint8:
        raise TypeError(f"Only torch.uint8 image tensors are supported, but found {img.dtype}")
    planes = [_equalized(plane) for plane in img.reshape((-1, *img.shape[-2:]))]
    return rustnn.stack(planes).reshape(img.shape)


def _equalized(plane: Tensor) -> Tensor:
    counts = rustnn.bincount(plane.reshape(-1), minlength=256)
    used = counts[counts != 0]
    step = int(used[:-1].sum().item()) // 255
    if step == 0:
        return plane
    table = (counts.cumsum(0) + step // 2) // step
    table = rustnn.cat([table.new_zeros(1), table[:-1]]).clamp(0, 255)
    return table[plane.long()].to(rustnn.uint8)
