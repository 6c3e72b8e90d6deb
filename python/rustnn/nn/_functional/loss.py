"""Losses composed of tensor operations."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from .._base import _C, Tensor

_Flag = bool | None


def legacy_reduction(size_average: _Flag, reduce: _Flag, reduction: str = "mean", warn: bool = True) -> str:
    """The ``reduction`` that the old arguments ``size_average`` and ``reduce`` mean."""
    if size_average is None and reduce is None:
        return reduction
    average = True if size_average is None else size_average
    wanted = True if reduce is None else reduce
    name = ("mean" if average else "sum") if wanted else "none"
    if warn:
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{name}' instead.",
            stacklevel=3,
        )
    return name


def _reduce(values: Tensor, reduction: str, size_average: _Flag = None, reduce: _Flag = None) -> Tensor:
    reduction = legacy_reduction(size_average, reduce, reduction)
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    if reduction == "none":
        return values
    raise ValueError(f"{reduction} is not a valid value for reduction")


def _warn_sizes(input: Tensor, target: Tensor) -> None:
    if target.shape != input.shape:
        warnings.warn(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}). "
            "This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            stacklevel=3,
        )


def mse_loss(
    input: Tensor, target: Tensor, size_average: _Flag = None, reduce: _Flag = None, reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Mean of ``(input - target)²``."""
    _warn_sizes(input, target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    return _weighted((input - target).pow(2), weight, reduction)


def l1_loss(
    input: Tensor, target: Tensor, size_average: _Flag = None, reduce: _Flag = None, reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Mean of ``|input - target|``."""
    _warn_sizes(input, target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    return _weighted((input - target).abs(), weight, reduction)


def _weighted(values: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    if weight is None:
        return _reduce(values, reduction)
    if weight.shape != values.shape:
        raise ValueError("Weights and input must have the same size.")
    values = values * weight
    return values.sum() / weight.sum() if reduction == "mean" else _reduce(values, reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: _Flag = None, reduce: _Flag = None, reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:  # fmt: skip
    """Squared below ``beta``, linear above."""
    _warn_sizes(input, target)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    d = (input - target).abs()
    values = d if beta == 0 else _C.where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta)
    return _reduce(values, reduction, size_average, reduce)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """Squared below ``delta``, linear above, with slope ``delta``."""
    _warn_sizes(input, target)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    d = (input - target).abs()
    return _weighted(_C.where(d < delta, 0.5 * d * d, delta * (d - 0.5 * delta)), weight, reduction)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: _Flag = None, reduce: _Flag = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``-(t log p + (1-t) log(1-p))``, the logarithms not below -100."""
    if target.shape != input.shape:
        raise ValueError(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}) is "
            "deprecated. Please ensure they have the same size."
        )
    values = -(target * input.log().clamp(min=-100) + (1 - target) * (-input).log1p().clamp(min=-100))
    return _reduce(values if weight is None else values * weight, reduction, size_average, reduce)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: _Flag = None, reduce: _Flag = None,
    reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Binary cross-entropy of ``sigmoid(input)``, computed stably."""
    if target.shape != input.shape:
        raise ValueError(f"Target size ({target.size()}) must be the same as input size ({input.size()})")
    log_weight = 1 if pos_weight is None else (pos_weight - 1) * target + 1
    values = (1 - target) * input + log_weight * ((-input.abs()).exp().log1p() + (-input).clamp(min=0))
    return _reduce(values if weight is None else values * weight, reduction, size_average, reduce)


def kl_div(
    input: Tensor, target: Tensor, size_average: _Flag = None, reduce: _Flag = None, reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:  # fmt: skip
    """``target * (log target - input)``, the input being log-probabilities."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            stacklevel=2,
        )
    if log_target:
        values = target.exp() * (target - input)
    else:
        values = _C.where(target > 0, target * target.clamp(min=1e-45).log(), _C.zeros_like(target)) - target * input
    if reduction == "batchmean":
        return values.sum() / input.shape[0] if input.dim() else values.sum()
    return _reduce(values, reduction)


def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, size_average: _Flag = None,
    eps: float = 1e-8, reduce: _Flag = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Negative log-likelihood of counts under a Poisson rate (its logarithm with ``log_input``)."""
    values = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        values = values + _C.where(target > 1, stirling, _C.zeros_like(stirling))
    return _reduce(values, reduction, size_average, reduce)


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """Negative log-likelihood under a normal distribution of mean ``input`` and variance ``var``."""
    if not isinstance(var, Tensor):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = var * _C.ones_like(input)
    elif var.shape != input.shape:
        if tuple(input.shape[:-1]) == tuple(var.shape):
            var = var.unsqueeze(-1)
        elif not (tuple(input.shape[:-1]) == tuple(var.shape[:-1]) and var.shape[-1] == 1):  # noqa: SIM102
            if not all(a == b or b == 1 for a, b in zip(input.shape, var.shape, strict=False)):
                raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    if bool((var.detach() < 0).any()):
        raise ValueError("var has negative entry/entries")
    # Clamped outside the graph: the gradient is that of the unclamped variance.
    var = var + (var.detach().clamp(min=eps) - var.detach())
    values = 0.5 * (var.log() + (input - target).pow(2) / var)
    if full:
        values = values + 0.5 * math.log(2 * math.pi)
    return _reduce(values, reduction)


def _class_first(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Scores as ``(N*, C)`` and class indices as ``(N*)``."""
    if input.dim() == 1:
        return input.unsqueeze(0), target.reshape(-1)
    return input.movedim([1], [-1]).reshape((-1, input.shape[1])), target.reshape(-1)


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: _Flag = None, ignore_index: int = -100,
    reduce: _Flag = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Minus the log-probability of each target class."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if input.dim() > 0 and target.dim() > 0 and input.dim() > 1 and input.shape[0] != target.shape[0]:
        raise ValueError(
            f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({target.shape[0]})."
        )
    rows, wanted = _class_first(input, target)
    classes = rows.shape[-1]
    kept = wanted != ignore_index
    bad = kept & ((wanted < 0) | (wanted >= classes))
    if bool(bad.any()):
        place = [bool(b) for b in bad.tolist()].index(True)
        raise IndexError(
            f"Target {int(wanted[place])} is out of bounds.\n"
            f"  At position {place} of the targets; the scores have {classes} classes (0 to {classes - 1})."
        )
    safe = _C.where(kept, wanted, _C.zeros_like(wanted))
    factor = kept.to(input.dtype) if weight is None else weight.index_select(0, safe) * kept.to(input.dtype)
    values = -rows.gather(1, safe.unsqueeze(1)).squeeze(1) * factor
    if reduction == "none":
        return values.reshape(tuple(target.shape))
    return values.sum() / factor.sum() if reduction == "mean" else _reduce(values, reduction)


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: _Flag = None, ignore_index: int = -100,
    reduce: _Flag = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Cross-entropy of ``softmax(input)`` with class indices, or class probabilities of the input's shape."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    dim = 0 if input.dim() == 1 else 1
    logp = input.log_softmax(dim)
    classes = input.shape[dim]
    if target.is_floating_point():
        if target.shape != input.shape:
            raise RuntimeError(
                f"expected target dtype to be Long or Byte, but got {str(target.dtype).rpartition('.')[2]}\n"
                f"  Class indices are integers: target.long(); probabilities have the shape {list(input.shape)}."
            )
        wanted = target * (1 - label_smoothing) + label_smoothing / classes if label_smoothing else target
        shape = [1] * input.dim()
        shape[dim] = classes
        values = -(logp * wanted * (1 if weight is None else weight.reshape(shape))).sum([dim])
        return values.sum() / max(values.numel(), 1) if reduction == "mean" else _reduce(values, reduction)
    hard = nll_loss(logp, target, weight, ignore_index=ignore_index, reduction=reduction)
    if not label_smoothing:
        return hard
    rows, flat = _class_first(logp, target)
    kept = (flat != ignore_index).to(input.dtype)
    smooth = -(rows if weight is None else rows * weight).sum([1]) * kept
    if reduction == "none":
        soft = smooth.reshape(tuple(target.shape))
    elif reduction == "sum":
        soft = smooth.sum()
    elif weight is None:
        soft = smooth.sum() / kept.sum()
    else:
        soft = smooth.sum() / (weight.index_select(0, (flat * kept.long())) * kept).sum()
    return (1 - label_smoothing) * hard + label_smoothing / classes * soft


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: _Flag = None, reduce: _Flag = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``x`` where the target is 1, ``max(0, margin - x)`` where it is -1."""
    zeros = _C.zeros_like(input.detach())
    values = _C.where(target != 1, (margin - input).clamp(min=0), zeros) + _C.where(target != -1, input, zeros)
    return _reduce(values, reduction, size_average, reduce)


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: _Flag = None,
    reduce: _Flag = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``max(0, -target * (input1 - input2) + margin)``."""
    if input1.dim() != input2.dim() or input1.dim() != target.dim():
        raise RuntimeError(
            f"margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    return _reduce((-target * (input1 - input2) + margin).clamp(min=0), reduction, size_average, reduce)


def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: _Flag = None, reduce: _Flag = None, reduction: str = "mean"
) -> Tensor:
    """``log(1 + exp(-target * input))``."""
    z = -target * input
    return _reduce(z.clamp(min=0) + (-z.abs()).exp().log1p(), reduction, size_average, reduce)


def _log_sigmoid(x: Tensor) -> Tensor:
    return x.clamp(max=0) - (-x.abs()).exp().log1p()


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: _Flag = None, reduce: _Flag = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Binary cross-entropy of every class, averaged over the classes."""
    values = -(target * _log_sigmoid(input) + (1 - target) * _log_sigmoid(-input))
    if weight is not None:
        values = values * weight
    return _reduce(values.mean(-1), reduction, size_average, reduce)


def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
    size_average: _Flag = None, reduce: _Flag = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Hinge loss over classes: ``sum(max(0, margin - x[y] + x[i])**p) / C`` for ``i != y``."""
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    rows = input.unsqueeze(0) if input.dim() == 1 else input
    wanted = target.reshape((-1, 1))
    values = (margin - rows.gather(1, wanted) + rows).clamp(min=0)
    if p == 2:
        values = values * values
    if weight is not None:
        values = values * weight.index_select(0, wanted.reshape(-1)).unsqueeze(1)
    others = _C.ones_like(values.detach()).scatter_(1, wanted, 0.0)
    values = (values * others).sum(1) / rows.shape[1]
    if input.dim() == 1:
        values = values.squeeze(0)
    return _reduce(values, reduction, size_average, reduce)


def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: _Flag = None, reduce: _Flag = None, reduction: str = "mean"
) -> Tensor:
    """Hinge loss of every target class (listed first, ended by -1) against every other class."""
    rows = input.reshape((-1, input.shape[-1]))
    labels = target.reshape((-1, target.shape[-1]))
    totals = []
    for row, line in zip(rows.unbind(0), labels.tolist(), strict=True):
        wanted = [int(k) for k in line[: line.index(-1) if -1 in line else len(line)]]
        others = [i for i in range(rows.shape[1]) if i not in wanted]
        if not wanted or not others:
            totals.append(row.sum() * 0)
            continue
        diff = 1 - row[_C.tensor(wanted)].unsqueeze(1) + row[_C.tensor(others)].unsqueeze(0)
        totals.append(diff.clamp(min=0).sum() / rows.shape[1])
    values = _C.stack(totals, 0)
    return _reduce(values if input.dim() > 1 else values.squeeze(0), reduction, size_average, reduce)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: _Flag = None,
    reduce: _Flag = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``1 - cos`` where the target is 1, ``max(0, cos - margin)`` where it is -1."""
    eps = 1e-12
    dot = (input1 * input2).sum(-1)
    cos = dot / (((input1 * input1).sum(-1) + eps) * ((input2 * input2).sum(-1) + eps)).sqrt()
    zeros = _C.zeros_like(cos.detach())
    values = _C.where(target == 1, 1 - cos, zeros) + _C.where(target == -1, (cos - margin).clamp(min=0), zeros)
    return _reduce(values, reduction, size_average, reduce)


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, size_average: _Flag = None, reduce: _Flag = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)`` with the p-norm as distance."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    from .distance import pairwise_distance

    return _triplet(anchor, positive, negative, lambda a, b: pairwise_distance(a, b, p, eps), margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """:func:`triplet_margin_loss` with any distance."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    from .distance import pairwise_distance

    distance = pairwise_distance if distance_function is None else distance_function
    return _triplet(anchor, positive, negative, distance, margin, swap, reduction)


def _triplet(
    anchor: Tensor, positive: Tensor, negative: Tensor, distance: Callable[[Tensor, Tensor], Tensor], margin: float,
    swap: bool, reduction: str,
) -> Tensor:  # fmt: skip
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.dim()}D, positive {positive.dim()}D, and negative {negative.dim()}D inputs"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = _C.minimum(far, distance(positive, negative))
    return _reduce((margin + near - far).clamp(min=0), reduction)
