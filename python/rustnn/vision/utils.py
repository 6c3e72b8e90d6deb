"""Grids of images and image files (``torchvision.utils``)."""

from __future__ import annotations

import math
import os
from typing import IO, Any

import rustnn
from rustnn._C import Tensor

from ._pillow import pillow

__all__ = ["make_grid", "save_image"]


def make_grid(
    tensor: Tensor | list[Tensor],
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[int, int] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Tensor:
    """Images (n, channels, height, width) side by side in one, ``nrow`` to a row.

    Raises:
        TypeError: neither a tensor nor a list of tensors.
    """
    if not (isinstance(tensor, Tensor) or (isinstance(tensor, list) and all(isinstance(t, Tensor) for t in tensor))):
        raise TypeError(f"tensor or list of tensors expected, got {type(tensor)}")
    with rustnn.no_grad():
        images = rustnn.stack(tensor, dim=0) if isinstance(tensor, list) else tensor
        if images.dim() == 2:
            images = images.unsqueeze(0)
        if images.dim() == 3:
            if images.size(0) == 1:
                images = rustnn.cat((images, images, images), 0)
            images = images.unsqueeze(0)
        if images.dim() == 4 and images.size(1) == 1:
            images = rustnn.cat((images, images, images), 1)
        if normalize:
            if value_range is not None and not isinstance(value_range, tuple):
                raise TypeError("value_range has to be a tuple (min, max) if specified. min and max are numbers")
            images = images.clone()
            for part in list(images) if scale_each else [images]:
                _stretch(part, value_range)
        if images.size(0) == 1:
            return images.squeeze(0)
        count = images.size(0)
        columns = min(nrow, count)
        rows = math.ceil(count / columns)
        height, width = int(images.size(2) + padding), int(images.size(3) + padding)
        grid = images.new_full((images.size(1), height * rows + padding, width * columns + padding), pad_value)
        for k in range(count):
            y, x = divmod(k, columns)
            top, left = y * height + padding, x * width + padding
            grid[:, top : top + height - padding, left : left + width - padding] = images[k]
        return grid


def _stretch(img: Tensor, value_range: tuple[int, int] | None) -> None:
    """Maps the range to 0 to 1, in place."""
    low, high = value_range if value_range is not None else (float(img.min()), float(img.max()))
    img.clamp_(min=low, max=high)
    img.sub_(low).div_(max(high - low, 1e-5))


def save_image(
    tensor: Tensor | list[Tensor], fp: str | os.PathLike[str] | IO[bytes], format: str | None = None, **kwargs: Any
) -> None:
    """Writes images of values 0 to 1 as one image file; further arguments are :func:`make_grid`'s."""
    grid = make_grid(tensor, **kwargs)
    pixels = grid.mul(255).add_(0.5).clamp_(0, 255).permute(1, 2, 0).to(rustnn.uint8)
    pillow("save_image").fromarray(pixels.contiguous().numpy()).save(fp, format=format)
