"""Norms, distances and one-hot codes composed of tensor operations."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from .._base import _C, Tensor


def _norm(x: Tensor, p: float, dim: Any, keepdim: bool = False) -> Tensor:
    return x.norm(p, dim, keepdim)


def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """Divides by the p-norm over ``dim`` (not less than ``eps``)."""
    result = input / _norm(input, p, dim, True).clamp(min=eps).expand_as(input)
    return result if out is None else out.copy_(result)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of ``x1 - x2 + eps`` over the last dimension."""
    return _norm(x1 - x2 + eps, p, -1, keepdim)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between ``x1`` and ``x2`` along ``dim``."""
    n1 = _norm(x1, 2, dim, True).clamp(min=eps)
    n2 = _norm(x2, 2, dim, True).clamp(min=eps)
    return ((x1 / n1) * (x2 / n2)).sum([dim])


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances of all pairs of rows."""
    n = input.shape[0]
    first = [i for i in range(n) for _ in range(i + 1, n)]
    second = [j for i in range(n) for j in range(i + 1, n)]
    if not first:
        return input.sum([-1])[:0]
    return _norm(input[_C.tensor(first)] - input[_C.tensor(second)], p, -1)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Integers ``(*)`` to zeros and ones ``(*, num_classes)``."""
    if tensor.numel() and int(tensor.min()) < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        if not tensor.numel():
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        num_classes = int(tensor.max()) + 1
    elif tensor.numel() and int(tensor.max()) >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    out = _C.zeros((*tuple(tensor.shape), num_classes), dtype=_C.int64)
    return out.scatter_(-1, tensor.unsqueeze(-1), 1)
