"""Plain NumPy references for ops whose oracle does not fit on a line: windows, convolutions, resampling.

Written from the definitions, one output at a time, in float64; slow on purpose.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from ops.references_linalg import *  # noqa: F403

Array = np.ndarray[Any, Any]


def _many(value: Any, n: int) -> list[int]:
    items = [value] if np.isscalar(value) else list(value)
    return [int(v) for v in (items * n if len(items) == 1 else items)]


def ref_conv(x: Array, w: Array, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Array:
    """Cross-correlation of ``[N, C, ...]`` (or unbatched) with ``[O, C / groups, ...]``."""
    dims = w.ndim - 2
    if x.ndim == dims + 1:
        return ref_conv(x[None], w, bias, stride, padding, dilation, groups)[0]
    s, d = _many(stride, dims), _many(dilation, dims)
    kernel = w.shape[2:]
    if isinstance(padding, str):
        total = [d[i] * (kernel[i] - 1) if padding == "same" else 0 for i in range(dims)]
        pads = [(t // 2, t - t // 2) for t in total]
    else:
        pads = [(p, p) for p in _many(padding, dims)]
    x = np.pad(x, [(0, 0), (0, 0), *pads])
    out_size = [(x.shape[2 + i] - d[i] * (kernel[i] - 1) - 1) // s[i] + 1 for i in range(dims)]
    out = np.zeros((x.shape[0], w.shape[0], *out_size))
    per_in, per_out = w.shape[1], w.shape[0] // groups
    for o in range(w.shape[0]):
        g = o // per_out
        for tap in itertools.product(*map(range, kernel)):
            window = tuple(
                slice(tap[i] * d[i], tap[i] * d[i] + (out_size[i] - 1) * s[i] + 1, s[i]) for i in range(dims)
            )
            for c in range(per_in):
                out[:, o] += x[(slice(None), g * per_in + c, *window)] * w[(o, c, *tap)]
    return out if bias is None else out + bias.reshape(-1, *[1] * dims)


def ref_conv_transpose(
    x: Array, w: Array, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any
) -> Array:
    """Every input value spread over the outputs that its weights reach; ``w`` is ``[C, O / groups, ...]``."""
    dims = w.ndim - 2
    s, p, e, d = (_many(v, dims) for v in (stride, padding, output_padding, dilation))
    kernel, size = w.shape[2:], x.shape[2:]
    full = [(size[i] - 1) * s[i] + d[i] * (kernel[i] - 1) + 1 + e[i] for i in range(dims)]
    per_in, per_out = x.shape[1] // groups, w.shape[1]
    out = np.zeros((x.shape[0], per_out * groups, *full))
    for c in range(x.shape[1]):
        for o in range(per_out):
            for tap in itertools.product(*map(range, kernel)):
                window = tuple(
                    slice(tap[i] * d[i], tap[i] * d[i] + (size[i] - 1) * s[i] + 1, s[i]) for i in range(dims)
                )
                out[(slice(None), c // per_in * per_out + o, *window)] += x[:, c] * w[(c, o, *tap)]
    out = out[(slice(None), slice(None), *(slice(p[i], full[i] - p[i]) for i in range(dims)))]
    return out if bias is None else out + bias.reshape(-1, *[1] * dims)


def _windows(size: list[int], k: list[int], s: list[int], p: list[int], d: list[int], ceil: bool) -> list[list[range]]:
    """Per dimension and output, the positions a window covers, padding included as negative or past the end."""
    result = []
    for i, n in enumerate(size):
        room = n + 2 * p[i] - d[i] * (k[i] - 1) - 1
        count = (-(-room // s[i]) if ceil else room // s[i]) + 1
        if ceil and (count - 1) * s[i] >= n + p[i]:
            count -= 1
        result.append([range(o * s[i] - p[i], o * s[i] - p[i] + d[i] * (k[i] - 1) + 1, d[i]) for o in range(count)])
    return result


def ref_max_pool(x: Array, k: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, places: bool) -> Any:
    """Maxima of windows over the trailing dimensions, with their flat places if asked for."""
    dims = _POOL_DIMS
    kernel = _many(k, dims)
    s = _many(stride, dims) if stride is not None else kernel
    windows = _windows(list(x.shape[-dims:]), kernel, s, _many(padding, dims), _many(dilation, dims), ceil)
    lead, size = x.shape[:-dims], x.shape[-dims:]
    out = np.empty((*lead, *map(len, windows)))
    at = np.empty(out.shape, dtype=np.int64)
    for plane in np.ndindex(*lead):
        for o in np.ndindex(*map(len, windows)):
            inside = [[q for q in windows[i][o[i]] if 0 <= q < size[i]] for i in range(dims)]
            best = max(itertools.product(*inside), key=lambda q: x[plane + q])
            out[plane + o], at[plane + o] = x[plane + best], np.ravel_multi_index(best, size)
    return (out, at) if places else out


_POOL_DIMS = 0


def set_pool_dims(n: int) -> None:
    """How many dimensions the op under test pools (its name says so, its arguments need not)."""
    global _POOL_DIMS
    _POOL_DIMS = n


def ref_avg_pool(x: Array, k: Any, stride: Any, padding: Any, ceil: bool, include: bool, divisor: Any) -> Array:
    """Means of windows; padding counts up to the declared padding, never beyond."""
    dims = _POOL_DIMS
    kernel = _many(k, dims)
    s = _many(stride, dims) if stride is not None else kernel
    p = _many(padding, dims)
    windows = _windows(list(x.shape[-dims:]), kernel, s, p, [1] * dims, ceil)
    lead, size = x.shape[:-dims], x.shape[-dims:]
    out = np.empty((*lead, *map(len, windows)))
    for o in np.ndindex(*map(len, windows)):
        inside = [[q for q in windows[i][o[i]] if 0 <= q < size[i]] for i in range(dims)]
        padded = [[q for q in windows[i][o[i]] if q < size[i] + p[i]] for i in range(dims)]
        n = divisor or np.prod([len(v) for v in (padded if include else inside)])
        block = x[(Ellipsis, *np.ix_(*inside))]
        out[(Ellipsis, *o)] = block.sum(axis=tuple(range(-dims, 0))) / n
    return out


def _adaptive(x: Array, size: Any) -> tuple[int, list[list[slice]]]:
    dims = _POOL_DIMS
    want = _many(size, dims)
    have = x.shape[-dims:]
    return dims, [
        [slice(o * have[i] // want[i], -(-(o + 1) * have[i] // want[i])) for o in range(want[i])] for i in range(dims)
    ]


def ref_adaptive(x: Array, size: Any, what: Callable[..., Any]) -> Array:
    """``what`` over as many windows as asked for."""
    dims, windows = _adaptive(x, size)
    out = np.empty((*x.shape[:-dims], *map(len, windows)))
    for o in np.ndindex(*map(len, windows)):
        block = x[(Ellipsis, *(windows[i][o[i]] for i in range(dims)))]
        out[(Ellipsis, *o)] = what(block, axis=tuple(range(-dims, 0)))
    return out


def ref_adaptive_places(x: Array, size: Any) -> Array:
    """Flat places of the maxima of the same windows."""
    dims, windows = _adaptive(x, size)
    flat = np.arange(int(np.prod(x.shape[-dims:]))).reshape(x.shape[-dims:])
    out = np.empty((*x.shape[:-dims], *map(len, windows)), dtype=np.int64)
    for plane in np.ndindex(*x.shape[:-dims]):
        for o in np.ndindex(*map(len, windows)):
            cut = tuple(windows[i][o[i]] for i in range(dims))
            out[plane + o] = flat[cut].ravel()[np.argmax(x[plane][cut])]
    return out


def ref_unpool(x: Array, at: Array, dims: int, size: Any) -> Array:
    """Values put at their places."""
    out = np.zeros((*x.shape[:-dims], int(np.prod(size))))
    for i in np.ndindex(*x.shape):
        out[(*i[:-dims], int(at[i]))] = x[i]
    return out.reshape(*x.shape[:-dims], *size)


def ref_unfold(x: Array, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Array:
    """Sliding blocks as columns ``[N, C * kh * kw, L]``."""
    if x.ndim == 3:
        return ref_unfold(x[None], kernel, dilation, padding, stride)[0]
    k, d, p, s = (_many(v, 2) for v in (kernel, dilation, padding, stride))
    x = np.pad(x, [(0, 0), (0, 0), (p[0], p[0]), (p[1], p[1])])
    n = [(x.shape[2 + i] - d[i] * (k[i] - 1) - 1) // s[i] + 1 for i in range(2)]
    columns = [
        x[:, c, i * d[0] : i * d[0] + (n[0] - 1) * s[0] + 1 : s[0], j * d[1] : j * d[1] + (n[1] - 1) * s[1] + 1 : s[1]]
        for c in range(x.shape[1]) for i in range(k[0]) for j in range(k[1])
    ]  # fmt: skip
    return np.stack([c.reshape(x.shape[0], -1) for c in columns], axis=1)


def ref_fold(x: Array, size: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Array:
    """The blocks of ``ref_unfold`` summed where they overlap."""
    if x.ndim == 2:
        return ref_fold(x[None], size, kernel, dilation, padding, stride)[0]
    o, k, d, p, s = (_many(v, 2) for v in (size, kernel, dilation, padding, stride))
    channels = x.shape[1] // (k[0] * k[1])
    out = np.zeros((x.shape[0], channels, o[0] + 2 * p[0], o[1] + 2 * p[1]))
    n = [(o[i] + 2 * p[i] - d[i] * (k[i] - 1) - 1) // s[i] + 1 for i in range(2)]
    blocks = x.reshape(x.shape[0], channels, k[0], k[1], n[0], n[1])
    for i, j, a, b in itertools.product(range(k[0]), range(k[1]), range(n[0]), range(n[1])):
        out[:, :, a * s[0] + i * d[0], b * s[1] + j * d[1]] += blocks[:, :, i, j, a, b]
    return out[:, :, p[0] : p[0] + o[0], p[1] : p[1] + o[1]]


def _cubic(t: float) -> list[float]:
    """Keys' kernel with a = -0.75 at the four neighbours of an offset ``t``."""

    def near(x: float) -> float:
        return (1.25 * x - 2.25) * x * x + 1

    def far(x: float) -> float:
        return -0.75 * (((x - 5) * x + 8) * x - 4)

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _weights(n: int, m: int, mode: str, align: bool, scale: float | None) -> Array:
    """The ``m x n`` matrix that resamples one axis."""
    w = np.zeros((m, n))
    ratio = (1 / scale if scale else n / m) if m else 0.0
    for o in range(m):
        if mode == "nearest":
            w[o, min(int(np.floor(o * ratio)), n - 1)] = 1
        elif mode == "nearest-exact":
            w[o, min(int(np.floor((o + 0.5) * ratio)), n - 1)] = 1
        else:
            at = o * (n - 1) / (m - 1) if align and m > 1 else 0.0 if align else (o + 0.5) * ratio - 0.5
            if mode == "linear":
                at = max(at, 0.0)
                i = min(int(np.floor(at)), n - 1)
                w[o, i] += 1 - (at - i)
                w[o, min(i + 1, n - 1)] += at - i
            else:
                i = int(np.floor(at))
                for j, v in enumerate(_cubic(at - i)):
                    w[o, min(max(i - 1 + j, 0), n - 1)] += v
    return w


def ref_resample(x: Array, size: Any, mode: str, align: bool, scales: Any) -> Array:
    """Resampling as one matrix product per axis."""
    dims = x.ndim - 2
    kind = {"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    for i in range(dims):
        scale = None if scales is None or len(scales) == 0 else float(scales[i])
        w = _weights(x.shape[2 + i], int(size[i]), kind, align, scale)
        x = np.moveaxis(np.tensordot(w, x, axes=(1, 2 + i)), 0, 2 + i)
    return x
