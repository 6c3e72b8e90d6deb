"""Normalisations, dropouts and table look-ups composed of tensor operations."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from typing import Any

from .._base import _C, Tensor, no_grad


def verify_batch_size(shape: Any) -> None:
    """Raises if a channel has but one value."""
    if shape[0] * math.prod(shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {shape}")


def _per_channel(v: Tensor, dims: int) -> Tensor:
    return v.reshape((1, -1, *([1] * (dims - 2))))


def batch_norm(
    input: Tensor, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalises each channel of ``(N, C, *)`` by the batch's statistics, or by the running ones."""
    dims = input.dim()
    if training:
        verify_batch_size(input.shape)
        over = [d for d in range(dims) if d != 1]
        mean = input.mean(over)
        centred = input - _per_channel(mean, dims)
        var = (centred * centred).mean(over)
        if running_mean is not None:
            n = input.numel() // input.shape[1]
            with no_grad():
                running_mean.copy_(running_mean * (1 - momentum) + mean.detach() * momentum)
                running_var.copy_(running_var * (1 - momentum) + var.detach() * (momentum * n / (n - 1)))
    else:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when training=False")
        centred = input - _per_channel(running_mean, dims)
        var = running_var
    out = centred * _per_channel((var + eps).rsqrt(), dims)
    if weight is not None:
        out = out * _per_channel(weight, dims)
    return out if bias is None else out + _per_channel(bias, dims)


def instance_norm(
    input: Tensor, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Batch norm of every sample of ``(N, C, *)`` by itself."""
    n, c = input.shape[0], input.shape[1]
    rest = tuple(input.shape[2:])
    if use_input_stats and math.prod(rest) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")

    def repeated(v: Any) -> Any:
        return None if v is None else v.repeat(n)

    means, variances = repeated(running_mean), repeated(running_var)
    out = batch_norm(
        input.reshape((1, n * c, *rest)), means, variances, repeated(weight), repeated(bias), use_input_stats,
        momentum, eps,
    )  # fmt: skip
    if use_input_stats and running_mean is not None:
        with no_grad():
            running_mean.copy_(means.reshape((n, c)).mean(0))
            running_var.copy_(variances.reshape((n, c)).mean(0))
    return out.reshape(tuple(input.shape))


def _last_dims(input: Tensor, normalized_shape: Any) -> list[int]:
    shape = tuple(normalized_shape)
    if tuple(input.shape[-len(shape) :]) != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape "
            f"[*, {', '.join(map(str, shape))}], but got input of size{list(input.shape)}"
        )
    return list(range(-len(shape), 0))


def layer_norm(input: Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Normalises over the last dimensions."""
    over = _last_dims(input, normalized_shape)
    centred = input - input.mean(over, True)
    out = centred * ((centred * centred).mean(over, True) + eps).rsqrt()
    if weight is not None:
        out = out * weight
    return out if bias is None else out + bias


def _eps(dtype: Any) -> float:
    from ..._numeric import finfo

    return float(finfo(dtype).eps)


def rms_norm(input: Tensor, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Tensor:
    """Divides by the root mean square over the last dimensions."""
    over = _last_dims(input, normalized_shape)
    small = _eps(input.dtype) if eps is None else eps
    out = input * ((input * input).mean(over, True) + small).rsqrt()
    return out if weight is None else out * weight


def group_norm(input: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Normalises over groups of channels of every sample of ``(N, C, *)``."""
    if input.dim() < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.dim()}")
    n, c = input.shape[0], input.shape[1]
    if c % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    if n * (c // num_groups) * math.prod(input.shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(input.shape)}")
    rows = input.reshape((n, num_groups, -1))
    centred = rows - rows.mean(-1, True)
    out = (centred * ((centred * centred).mean(-1, True) + eps).rsqrt()).reshape(tuple(input.shape))
    if weight is not None:
        out = out * _per_channel(weight, input.dim())
    return out if bias is None else out + _per_channel(bias, input.dim())


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Divides by a power of the mean square over ``size`` neighbouring channels of ``(N, C, *)``."""
    if input.dim() < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality                          input (got {input.dim()} dimensions)"
        )
    if input.numel() == 0:
        return input
    n, c = input.shape[0], input.shape[1]
    squares = (input * input).reshape((n, c, -1))
    left, right = size // 2, (size - 1) // 2
    zeros = _C.zeros((n, 1, squares.shape[2]), dtype=input.dtype)
    padded = _C.cat([*([zeros] * left), squares, *([zeros] * right)], 1)
    total = sum(padded[:, i : i + c] for i in range(1, size)) + padded[:, :c]
    return input / (total.reshape(tuple(input.shape)) * (alpha / size) + k).pow(beta)


def _check_p(p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes elements with probability ``p``, scales the others by 1/(1-p)."""
    _check_p(p)
    if not training or p == 0:
        return input
    return _masked(input, tuple(input.shape), p, inplace)


def _masked(input: Tensor, shape: tuple[int, ...], p: float, inplace: bool) -> Tensor:
    mask = _C.empty(shape, dtype=input.dtype).bernoulli_(1 - p)
    if p != 1:
        mask = mask / (1 - p)
    return input.mul_(mask) if inplace else input * mask


def _channels(input: Tensor, p: float, training: bool, inplace: bool, batched: bool) -> Tensor:
    _check_p(p)
    if not training or p == 0:
        return input
    lead = 2 if batched else 1
    shape = (*tuple(input.shape[:lead]), *([1] * (input.dim() - lead)))
    return _masked(input, shape, p, inplace)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes whole channels of ``(N, C, L)`` or ``(C, L)``."""
    if input.dim() not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input. "
            "Note that dropout1d exists to provide channel-wise dropout on inputs with 1 "
            "spatial dimension, a channel dimension, and an optional batch dimension (i.e. 2D or 3D inputs)."
        )
    return _channels(input, p, training, inplace, input.dim() == 3)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes whole channels of ``(N, C, H, W)``."""
    return _channels(input, p, training, inplace, True)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes whole channels of ``(N, C, D, H, W)`` or ``(C, D, H, W)``."""
    return _channels(input, p, training, inplace, input.dim() != 4)


def _alpha_dropout(input: Tensor, p: float, training: bool, inplace: bool, shape: tuple[int, ...]) -> Tensor:
    _check_p(p)
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0
    alpha = 1.7580993408473766
    a = 1 / math.sqrt((alpha * alpha * p + 1) * (1 - p))
    noise = _C.empty(shape, dtype=input.dtype).bernoulli_(1 - p)
    shift = (noise - 1) * (alpha * a) + alpha * a * p
    out = input * (noise * a) + shift
    return input.copy_(out) if inplace else out


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean and variance (for SELU)."""
    return _alpha_dropout(input, p, training, inplace, tuple(input.shape))


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """:func:`alpha_dropout` of whole channels."""
    shape = (*tuple(input.shape[:2]), *([1] * (input.dim() - 2)))
    return _alpha_dropout(input, p, training, inplace, shape)


def embedding_bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None,
    norm_type: float = 2, scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
    per_sample_weights: Tensor | None = None, include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """Sums, means or maxima of table rows over bags of indices."""
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError(
                "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
                f"for mode='sum' (got mode='{mode}'). Please open a feature request on GitHub."
            )
        if tuple(per_sample_weights.shape) != tuple(input.shape):
            raise ValueError(
                f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then it must have "
                f"the same shape as the input ({input.shape})"
            )
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of "
                f"fixed length sequences. However, found offsets of type {type(offsets)}"
            )
        starts = [i * input.shape[1] for i in range(input.shape[0] + 1)]
    elif input.dim() == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        starts = [int(n) for n in offsets.tolist()]
        if not include_last_offset:
            starts.append(input.numel())
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.dim()}")
    flat = input.reshape(-1)
    rows = _C._nn.embedding(flat, weight, None, max_norm, norm_type, scale_grad_by_freq)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape((-1, 1))
    indices = flat.tolist()
    if padding_idx is not None and padding_idx < 0:
        padding_idx += weight.shape[0]
    bags, places = [], []
    for b in range(len(starts) - 1):
        for i in range(starts[b], starts[b + 1]):
            if indices[i] != padding_idx:
                bags.append(b)
                places.append(i)
    out = _C.zeros((len(starts) - 1, weight.shape[1]), dtype=weight.dtype)
    if not places:
        return out + weight.sum() * 0
    if mode == "max":
        result = []
        for b in range(len(starts) - 1):
            own = [i for i, bag in zip(places, bags, strict=True) if bag == b]
            result.append(rows[_C.tensor(own)].max(0)[0] if own else out[b])
        return _C.stack(result, 0)
    total = out.index_add(0, _C.tensor(bags), rows.index_select(0, _C.tensor(places)))
    if mode == "sum":
        return total
    counts = [max(1, bags.count(b)) for b in range(len(starts) - 1)]
    return total / _C.tensor(counts, dtype=weight.dtype).unsqueeze(1)
