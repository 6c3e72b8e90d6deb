"""Pooling composed of tensor operations; the engine's own kernels stand before these where there are any."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from typing import Any

from .._base import _C, Tensor


def spread(v: Any, n: int) -> list[int]:
    """One number, or one per dimension, as a list."""
    if isinstance(v, (tuple, list)):
        return [int(x) for x in v] if len(v) == n else [int(v[0])] * n
    return [int(v)] * n


def _sizes(input: Tensor, output_size: Any, dims: int) -> list[int]:
    """The sizes asked for along the last ``dims`` dimensions; None keeps the input's."""
    sizes = list(output_size) if isinstance(output_size, (tuple, list)) else [output_size]
    if len(sizes) == 1:
        sizes = sizes * dims
    have = input.shape[-dims:]
    if len(sizes) != dims or len(have) != dims:
        raise RuntimeError(f"Expected output_size of {dims} numbers and an input of as many more dimensions, "
                           f"but got {output_size} and {list(input.shape)}")  # fmt: skip
    return [int(n) if s is None else int(s) for n, s in zip(have, sizes, strict=True)]


def adaptive_avg_pool(input: Tensor, output_size: Any) -> Tensor:
    """Means over all spatial dimensions of ``(N, C, *)``."""
    dims = input.dim() - 2
    own = (_C.adaptive_avg_pool1d, _C._adaptive_avg_pool2d, _C._adaptive_avg_pool3d)[dims - 1]
    return own(input, _sizes(input, output_size, dims))


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Means that give a chosen output size."""
    return _C.adaptive_avg_pool1d(input, _sizes(input, output_size, 1))


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means that give a chosen output size; None keeps the input's."""
    return _C._adaptive_avg_pool2d(input, _sizes(input, output_size, 2))


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Means that give a chosen output size; None keeps the input's."""
    return _C._adaptive_avg_pool3d(input, _sizes(input, output_size, 3))


def _adaptive_max(input: Tensor, output_size: Any, dims: int, return_indices: bool) -> Any:
    own: Any = (_C.adaptive_max_pool1d, _C._adaptive_max_pool2d, _C._adaptive_max_pool3d)[dims - 1]
    values, indices = own(input, _sizes(input, output_size, dims))
    return (values, indices) if return_indices else values


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima that give a chosen output size."""
    return _adaptive_max(input, output_size, 1, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima that give a chosen output size; None keeps the input's."""
    return _adaptive_max(input, output_size, 2, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima that give a chosen output size; None keeps the input's."""
    return _adaptive_max(input, output_size, 3, return_indices)


def _lp(input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool, dims: int) -> Tensor:
    from .. import functional as F

    if input.dim() not in (dims + 1, dims + 2):
        raise RuntimeError(f"lp_pool{dims}d: Expected {dims + 1}D or {dims + 2}D input, got {input.dim()}D")
    kernel = spread(kernel_size, dims)
    step = None if stride is None else spread(stride, dims)
    average = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[dims - 1]
    mean = average(input.pow(norm_type), kernel, step, [0] * dims, ceil_mode)
    return (mean.sign() * mean.abs().relu() * math.prod(kernel)).pow(1.0 / norm_type)


def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """``(sum of x**p over the window) ** (1/p)``."""
    return _lp(input, norm_type, kernel_size, stride, ceil_mode, 1)


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """``(sum of x**p over the window) ** (1/p)``."""
    return _lp(input, norm_type, kernel_size, stride, ceil_mode, 2)


def lp_pool3d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """``(sum of x**p over the window) ** (1/p)``."""
    return _lp(input, norm_type, kernel_size, stride, ceil_mode, 3)


def _unpool(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any, dims: int
) -> Tensor:
    kernel = spread(kernel_size, dims)
    step = spread(stride if stride is not None else kernel_size, dims)
    pad = spread(padding, dims)
    spatial = [int(n) for n in input.shape[-dims:]]
    default = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(spatial, step, pad, kernel, strict=True)]
    wanted = default
    if output_size is not None:
        if len(output_size) not in (dims, dims + 2):
            raise ValueError(
                f"output_size should be a sequence containing {dims} or {dims + 2} elements, but it has a length of "
                f"'{len(output_size)}'"
            )
        wanted = [int(n) for n in output_size][-dims:]
        for d, (n, base, s) in enumerate(zip(wanted, default, step, strict=True)):
            if not base - s < n < base + s:
                limits = f"dim {d} must be between {base - s} and {base + s}"
                raise ValueError(f'invalid output_size "{tuple(wanted)}" ({limits})')
    if indices.dtype != _C.int64:
        kind = str(indices.dtype).rsplit(".", 1)[-1].replace("int32", "Int")
        raise RuntimeError(f"elements in indices should be type int64 but got: {kind}")
    if input.shape != indices.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) "
            f"but got indices tensor with shape: {list(indices.shape)}"
        )
    lead = tuple(input.shape[:-dims])
    flat = indices.reshape((*lead, -1))
    if flat.numel() and (int(flat.min()) < 0 or int(flat.max()) >= math.prod(wanted)):
        raise RuntimeError(f"found an invalid max index: {int(flat.max())} (output volumes are of size {wanted})")
    out = _C.zeros((*lead, math.prod(wanted)), dtype=input.dtype).scatter(-1, flat, input.reshape((*lead, -1)))
    return out.reshape((*lead, *wanted))


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Puts maxima back to their places."""
    return _unpool(input, indices, kernel_size, stride, padding, output_size, 1)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Puts maxima back to their places."""
    return _unpool(input, indices, kernel_size, stride, padding, output_size, 2)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Puts maxima back to their places."""
    return _unpool(input, indices, kernel_size, stride, padding, output_size, 3)


def fractional_max_pool(
    input: Tensor,
    kernel_size: Any,
    output_size: Any,
    output_ratio: Any,
    return_indices: bool,
    samples: Any,
    dims: int,
) -> Any:
    """Maxima over windows whose starts step pseudo-randomly (Graham 2014), per sample and channel."""
    kernel = spread(kernel_size, dims)
    spatial = [int(n) for n in input.shape[-dims:]]
    if output_size is None:
        if output_ratio is None:
            raise ValueError("fractional_max_pool requires specifying either an output_size or an output_ratio")
        ratio = output_ratio if isinstance(output_ratio, (tuple, list)) else [output_ratio] * dims
        output_size = [int(n * r) for n, r in zip(spatial, ratio, strict=True)]
    wanted = spread(output_size, dims)
    if min(kernel) < 1:
        raise RuntimeError(f"fractional_max_pool{dims}d(): kernel size should be greater than zero, but got {kernel}")
    if min(wanted) < 1:
        raise RuntimeError(f"fractional_max_pool{dims}d(): output size should be greater than zero, but got {wanted}")
    for axis, size, width, out in zip(("time", "height", "width")[-dims:], spatial, kernel, wanted, strict=True):
        # Windows start at different places, of which there are size - width + 1.
        if out + width - 1 > size:
            raise RuntimeError(
                f"fractional_max_pool{dims}d(): pool {axis} {width} too large relative to input {axis} {size}\n"
                f"hint: for {out} results at most {size - out + 1} wide"
            )
    batched = input.dim() == dims + 2
    x = input if batched else input.unsqueeze(0)
    n, c = x.shape[0], x.shape[1]
    if samples is None:
        samples = _C.rand((n, c, dims), dtype=input.dtype)
    draws = samples.tolist()
    planes, places = [], []
    for b in range(n):
        for ch in range(c):
            rows = []
            for k in range(dims):
                # The sample's last entry belongs to the first spatial dimension.
                u = draws[b][ch][dims - 1 - k]
                size, out, width = spatial[k], wanted[k], kernel[k]
                alpha = (size - width) / (out - 1) if out > 1 else 0.0
                starts = [int((i + u) * alpha) - int(u * alpha) for i in range(out - 1)] + [size - width]
                rows.append(_C.tensor([[s + j for j in range(width)] for s in starts]))
            where: Any = None
            for k in range(dims):
                shape = [1] * (2 * dims)
                shape[k], shape[dims + k] = wanted[k], kernel[k]
                own = rows[k].reshape(shape)
                where = own if where is None else where * spatial[k] + own
            where = where.reshape((math.prod(wanted), -1))
            top, index = x[b, ch].reshape(-1)[where].max(-1)
            planes.append(top)
            places.append(where.gather(1, index.unsqueeze(1)).squeeze(1))
    full = (n, c, *wanted)
    values = _C.stack(planes, 0).reshape(full)
    indices = _C.stack(places, 0).reshape(full)
    if not batched:
        values, indices = values.squeeze(0), indices.squeeze(0)
    return (values, indices) if return_indices else values


def fractional_max_pool2d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:  # fmt: skip
    """Maxima over windows at pseudo-random steps."""
    return fractional_max_pool(input, kernel_size, output_size, output_ratio, return_indices, _random_samples, 2)


def fractional_max_pool3d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:  # fmt: skip
    """Maxima over windows at pseudo-random steps."""
    return fractional_max_pool(input, kernel_size, output_size, output_ratio, return_indices, _random_samples, 3)


def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """Convolution over ``(L, N, C)`` with weight ``(K, C_in, C_out)``."""
    out: Tensor = _C._nn.conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, 1, pad)
    return out.permute(2, 0, 1)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input1 @ A_k @ input2 + b_k`` for every output k."""
    if tuple(input1.shape[:-1]) != tuple(input2.shape[:-1]):
        raise RuntimeError(
            f"bilinear(): input batch dimensions do not match: got {list(input1.shape)} and {list(input2.shape)}"
        )
    out_features, in1, in2 = weight.shape
    if input1.shape[-1] != in1 or input2.shape[-1] != in2:
        raise RuntimeError(
            f"bilinear(): input sizes do not match weight size: got {input1.shape[-1]} and {input2.shape[-1]} "
            f"but expected {in1} and {in2}"
        )
    a, b = input1.reshape((-1, in1)), input2.reshape((-1, in2))
    half = a.matmul(weight.permute(1, 0, 2).reshape((in1, out_features * in2))).reshape((-1, out_features, in2))
    out = (half * b.unsqueeze(1)).sum(-1)
    if bias is not None:
        out = out + bias
    return out.reshape((*tuple(input1.shape[:-1]), out_features))
