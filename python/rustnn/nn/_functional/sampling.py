"""Padding, resizing, sampling on grids, sliding blocks and channel rearrangements, composed of tensor operations."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
import warnings
from typing import Any

from .._base import _C, Tensor


def pad(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """Pads the last dimensions: ``(left, right, top, bottom, ...)``; negative numbers crop."""
    pad = list(pad)
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pad) // 2 > input.dim():
        raise RuntimeError("Padding length should be less than or equal to two times the input dimension")
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if mode != "constant" and value:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    out = input
    for k in range(len(pad) // 2):
        left, right = pad[2 * k], pad[2 * k + 1]
        dim = input.dim() - 1 - k
        size = out.shape[dim]
        if left == 0 and right == 0:
            continue
        if mode == "constant":
            crop_left, crop_right = max(-left, 0), max(-right, 0)
            if crop_left or crop_right:
                out = out.narrow(dim, crop_left, size - crop_left - crop_right)
            pieces = [out]
            for amount, before in ((left, True), (right, False)):
                if amount > 0:
                    shape = list(out.shape)
                    shape[dim] = amount
                    fill = _C.full(shape, 0.0 if value is None else value, dtype=out.dtype)
                    pieces.insert(0, fill) if before else pieces.append(fill)
            out = _C.cat(pieces, dim) if len(pieces) > 1 else out
            continue
        if mode == "reflect" and (left >= size or right >= size):
            raise RuntimeError(
                f"Padding size should be less than the corresponding input dimension, but got: padding "
                f"({left}, {right}) at dimension {dim} of input {list(input.shape)}"
            )
        if mode == "circular" and (left > size or right > size):
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if mode == "circular" and (left < 0 or right < 0):
            # What is cut off is gone before the rest wraps around, as in PyTorch: the copies come from what is left.
            kept = range(max(-left, 0), size - max(-right, 0))
            index = [kept[i % len(kept)] if len(kept) else 0 for i in range(-max(left, 0), len(kept) + max(right, 0))]
            out = out.index_select(dim, _C.tensor(index, dtype=_C.int64))
            continue
        index = []
        for i in range(-left, size + right):
            if mode == "reflect":
                j = -i if i < 0 else 2 * (size - 1) - i if i >= size else i
            elif mode == "replicate":
                j = min(max(i, 0), size - 1)
            else:
                j = i % size
            index.append(j)
        out = out.index_select(dim, _C.tensor(index, dtype=_C.int64))
    return out.clone() if out is input else out


def _sizes(input: Tensor, size: Any, scale: Any, recompute: Any) -> tuple[list[int], list[float] | None]:
    """Output sizes, and the factors to use for the source positions (None: from the sizes)."""
    dims = input.dim() - 2
    if (size is None) == (scale is None):
        raise ValueError(
            "only one of size or scale_factor should be defined"
            if size is not None
            else "either size or scale_factor should be defined"
        )
    if size is not None:
        wanted = [int(n) for n in size] if isinstance(size, (list, tuple)) else [int(size)] * dims
        if len(wanted) != dims:
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got "
                f"input with spatial dimensions of {list(input.shape[2:])} and output size of {size}. "
                "Please provide input tensor in (N, C, d1, d2, ...,dK) format and "
                "output size in (o1, o2, ...,oK) format."
            )
        return wanted, None
    factors = [float(f) for f in scale] if isinstance(scale, (list, tuple)) else [float(scale)] * dims
    if len(factors) != dims:
        raise ValueError(
            "Input and scale_factor must have the same number of spatial dimensions, but got "
            f"input with spatial dimensions of {list(input.shape[2:])} and scale_factor of shape {scale}. "
            "Please provide input tensor in (N, C, d1, d2, ...,dK) format and "
            "scale_factor in (s1, s2, ...,sK) format."
        )
    wanted = [math.floor(n * f) for n, f in zip(input.shape[2:], factors, strict=True)]
    return wanted, (None if recompute else factors)


def _cubic(t: float) -> list[float]:
    a = -0.75

    def inner(x: float) -> float:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def outer(x: float) -> float:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [outer(t + 1), inner(t), inner(1 - t), outer(2 - t)]


def _resize_dim(x: Tensor, dim: int, out: int, factor: float | None, mode: str, align: bool, antialias: bool) -> Tensor:
    """Resizes one dimension: each output is a weighted sum of a few inputs."""
    size = x.shape[dim]
    step = 1 / factor if factor else size / out
    taps: list[list[tuple[int, float]]] = []
    for i in range(out):
        if mode == "nearest":
            taps.append([(min(math.floor(i * step), size - 1), 1.0)])
        elif mode == "nearest-exact":
            taps.append([(min(math.floor((i + 0.5) * step), size - 1), 1.0)])
        elif antialias:
            taps.append(_antialias_taps(i, size, out, step, mode, align))
        else:
            at = (i * (size - 1) / (out - 1) if out > 1 else 0.0) if align else (i + 0.5) * step - 0.5
            if mode == "linear":
                at = max(at, 0.0)
                low = min(int(at), size - 1)
                t = at - low
                taps.append([(low, 1 - t), (min(low + 1, size - 1), t)])
            else:
                low = math.floor(at)
                weights = _cubic(at - low)
                taps.append([(min(max(low - 1 + j, 0), size - 1), w) for j, w in enumerate(weights)])
    count = max(len(t) for t in taps)
    shape = [1] * x.dim()
    shape[dim] = out
    total: Any = None
    for k in range(count):
        index = _C.tensor([t[k][0] if k < len(t) else 0 for t in taps], dtype=_C.int64)
        part = x.index_select(dim, index)
        if not mode.startswith("nearest"):
            weight = _C.tensor([t[k][1] if k < len(t) else 0.0 for t in taps], dtype=x.dtype)
            part = part * weight.reshape(shape)
        total = part if total is None else total + part
    return total


def _antialias_taps(i: int, size: int, out: int, step: float, mode: str, align: bool) -> list[tuple[int, float]]:
    scale = (size - 1) / (out - 1) if align and out > 1 else step
    radius = 1.0 if mode == "linear" else 2.0
    support = radius * scale if scale >= 1 else radius
    inverse = 1 / scale if scale >= 1 else 1.0
    centre = scale * (i + 0.5)
    low = max(int(centre - support + 0.5), 0)
    high = min(int(centre + support + 0.5), size)

    def weight(x: float) -> float:
        x = abs(x)
        if mode == "linear":
            return max(0.0, 1 - x)
        a = -0.5
        if x < 1:
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0

    weights = [weight((j - centre + 0.5) * inverse) for j in range(low, high)]
    total = sum(weights) or 1.0
    return [(j, w / total) for j, w in zip(range(low, high), weights, strict=True)]


def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """Resizes ``(N, C, *)`` to a size or by a factor."""
    if mode in ("nearest", "area", "nearest-exact") and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    dims = input.dim() - 2
    kinds = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
    if mode not in (*kinds, "nearest", "area", "nearest-exact") or dims not in (1, 2, 3):
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported"
            f" (got {input.dim()}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | area | "
            f"nearest-exact (got {mode})"
        )
    if mode in kinds and kinds[mode] != dims:
        raise NotImplementedError(f"Got {input.dim()}D input, but {mode} mode needs {kinds[mode] + 2}D input")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as input"
        )
    wanted, factors = _sizes(input, size, scale_factor, recompute_scale_factor)
    if any(n <= 0 for n in wanted):
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input ({list(input.shape[2:])}) "
            f"output ({wanted})"
        )
    if mode == "area":
        from .pooling import adaptive_avg_pool

        return adaptive_avg_pool(input, wanted)
    one = mode if mode.startswith("nearest") else "cubic" if mode == "bicubic" else "linear"
    out = input
    for k in range(dims):
        if out.shape[2 + k] == wanted[k] and not antialias and (factors is None or factors[k] == 1.0):
            continue
        factor = None if factors is None else factors[k]
        out = _resize_dim(out, 2 + k, wanted[k], factor, one, bool(align_corners), antialias)
    return out.clone() if out is input else out


def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """Old name of :func:`interpolate`."""
    from .. import functional as F

    return F.interpolate(input, size, scale_factor, mode, align_corners)


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The sampling grid of affine maps ``(N, 2, 3)`` or ``(N, 3, 4)`` for outputs of ``size``."""
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. "
            "Please specify align_corners=True if the old behavior is desired. "
            "See the documentation of grid_sample for details.",
            stacklevel=2,
        )
    spatial = [int(n) for n in size[2:]]
    axes = []
    for k, n in enumerate(spatial):
        axis = _C.linspace(-1, 1, n, dtype=theta.dtype) if n > 1 else _C.zeros(1, dtype=theta.dtype)
        if not align_corners:
            axis = axis * ((n - 1) / n)
        shape = [1] * len(spatial)
        shape[k] = n
        axes.append(axis.reshape(shape).expand(*spatial))
    ones = _C.ones(spatial, dtype=theta.dtype)
    base = _C.stack([*reversed(axes), ones], -1).reshape((1, -1, len(spatial) + 1))
    out = base.expand(int(size[0]), -1, -1).bmm(theta.transpose(1, 2))
    return out.reshape((int(size[0]), *spatial, len(spatial)))


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Samples ``(N, C, H, W)`` at the points ``(N, h, w, 2)`` in [-1, 1]; volumes likewise."""
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', "
            f"but got: '{padding_mode}'"
        )
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. "
            "Please specify align_corners=True if the old behavior is desired. "
            "See the documentation of grid_sample for details.",
            stacklevel=2,
        )
    n, c = input.shape[0], input.shape[1]
    sizes = [int(s) for s in input.shape[2:]]
    dims = len(sizes)
    flat = input.reshape((n, c, -1))
    points = tuple(grid.shape[1:-1])

    def place(k: int) -> Tensor:
        """Positions along spatial dimension k (the grid's last coordinate is the first dimension)."""
        x = grid[..., dims - 1 - k]
        size = sizes[k]
        x = (x + 1) / 2 * (size - 1) if align_corners else ((x + 1) * size - 1) / 2
        return x if mode == "bicubic" else folded(x, size)

    def folded(x: Tensor, size: int) -> Tensor:
        if padding_mode == "border":
            return x.clamp(0, size - 1)
        if padding_mode == "reflection":
            low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
            if span <= 0:
                return x * 0
            d = (x - low).abs()
            turns = (d / span).floor()
            rest = d - turns * span
            even = turns - 2 * (turns / 2).floor() == 0
            return _C.where(even, rest + low, span - rest + low).clamp(0, size - 1)
        return x

    def at(index: list[Tensor]) -> Tensor:
        """Values at integer positions; zero outside."""
        inside: Any = None
        where: Any = None
        for i, size in zip(index, sizes, strict=True):
            if mode == "bicubic":
                i = folded(i, size).round()
            ok = (i >= 0) & (i <= size - 1)
            inside = ok if inside is None else inside & ok
            j = i.clamp(0, size - 1).long()
            where = j if where is None else where * size + j
        picked = flat.gather(2, where.reshape((n, 1, -1)).expand(-1, c, -1)).reshape((n, c, *points))
        return picked * inside.to(input.dtype).unsqueeze(1)

    coords = [place(k) for k in range(dims)]
    if mode == "nearest":
        return at([x.detach().round() for x in coords])
    floors = [x.detach().floor() for x in coords]
    fractions = [x - f for x, f in zip(coords, floors, strict=True)]
    offsets = (0, 1) if mode == "bilinear" else (-1, 0, 1, 2)

    def weight(t: Tensor, o: int) -> Tensor:
        if mode == "bilinear":
            return t if o else 1 - t
        a = -0.75
        x = (t - o).abs()
        if o in (0, 1):
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    total: Any = None
    for number in range(len(offsets) ** dims):
        chosen = [offsets[number // len(offsets) ** k % len(offsets)] for k in range(dims)]
        part = at([f + o for f, o in zip(floors, chosen, strict=True)])
        for t, o in zip(fractions, chosen, strict=True):
            part = part * weight(t, o).unsqueeze(1)
        total = part if total is None else total + part
    return total


def _pair(v: Any) -> tuple[int, int]:
    return (int(v[0]), int(v[-1])) if isinstance(v, (tuple, list)) else (int(v), int(v))


def _block_rows(h: int, w: int, k: Any, d: Any, p: Any, s: Any) -> tuple[Any, int]:
    """For every element of every block its place in the padded image, as ``(kh*kw, L)``."""
    oh = (h + 2 * p[0] - d[0] * (k[0] - 1) - 1) // s[0] + 1
    ow = (w + 2 * p[1] - d[1] * (k[1] - 1) - 1) // s[1] + 1
    if oh <= 0 or ow <= 0:
        raise RuntimeError(
            f"Given input with spatial size ({h}, {w}), kernel_size={k}, dilation={d}, padding={p}, calculated "
            f"shape of the array of sliding blocks as ({oh}, {ow}), but its components must be at least one."
        )
    width = w + 2 * p[1]
    ki = (_C.arange(k[0]) * d[0]).reshape((-1, 1, 1, 1))
    kj = (_C.arange(k[1]) * d[1]).reshape((1, -1, 1, 1))
    oi = (_C.arange(oh) * s[0]).reshape((1, 1, -1, 1))
    oj = (_C.arange(ow) * s[1]).reshape((1, 1, 1, -1))
    return ((ki + oi) * width + kj + oj).reshape((k[0] * k[1], oh * ow)), oh * ow


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Sliding blocks of ``(N, C, H, W)`` as columns ``(N, C*k, L)``."""
    k, d, p, s = _pair(kernel_size), _pair(dilation), _pair(padding), _pair(stride)
    x = input.unsqueeze(0) if input.dim() == 3 else input
    n, c, h, w = x.shape
    rows, count = _block_rows(h, w, k, d, p, s)
    from .. import functional as F

    padded = F.pad(x, (p[1], p[1], p[0], p[0])) if any(p) else x
    out = padded.reshape((n, c, -1)).index_select(2, rows.reshape(-1)).reshape((n, c * k[0] * k[1], count))
    return out.squeeze(0) if input.dim() == 3 else out


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Columns ``(N, C*k, L)`` added up as blocks of images ``(N, C, *output_size)``."""
    k, d, p, s = _pair(kernel_size), _pair(dilation), _pair(padding), _pair(stride)
    h, w = _pair(output_size)
    x = input.unsqueeze(0) if input.dim() == 2 else input
    rows, count = _block_rows(h, w, k, d, p, s)
    n, kc, length = x.shape
    if kc % (k[0] * k[1]):
        raise RuntimeError(
            f"Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={kc} and kernel_size={k}."
        )
    if length != count:
        raise RuntimeError(
            f"Given output_size={(h, w)}, kernel_size={k}, dilation={d}, padding={p}, stride={s}, expected size of "
            f"input's dimension 2 to match the calculated number of sliding blocks {count}, "
            f"but got input.size(2)={length}."
        )
    c = kc // (k[0] * k[1])
    ph, pw = h + 2 * p[0], w + 2 * p[1]
    image = _C.zeros((n, c, ph * pw), dtype=x.dtype)
    image = image.index_add(2, rows.reshape(-1), x.reshape((n, c, -1))).reshape((n, c, ph, pw))
    image = image[:, :, p[0] : p[0] + h, p[1] : p[1] + w]
    return image.squeeze(0) if input.dim() == 2 else image


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """``(*, C*r², H, W)`` to ``(*, C, H*r, W*r)``."""
    r = upscale_factor
    *lead, c, h, w = input.shape
    if c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={c} is not divisible by {r * r}"
        )
    n = len(lead)
    out = input.reshape((*lead, c // (r * r), r, r, h, w))
    return out.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2).reshape((*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """``(*, C, H*r, W*r)`` to ``(*, C*r², H, W)``."""
    r = downscale_factor
    *lead, c, h, w = input.shape
    for name, size in (("height", h), ("width", w)):
        if size % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, "
                f"but input.size({-2 if name == 'height' else -1})={size} is not divisible by {r}"
            )
    n = len(lead)
    out = input.reshape((*lead, c, h // r, r, w // r, r))
    return out.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3).reshape((*lead, c * r * r, h // r, w // r))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Cuts the channels of ``(N, C, *)`` into groups and interleaves them."""
    n, c = input.shape[0], input.shape[1]
    if groups <= 0 or c % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    return input.reshape((n, groups, c // groups, -1)).transpose(1, 2).reshape(tuple(input.shape))
