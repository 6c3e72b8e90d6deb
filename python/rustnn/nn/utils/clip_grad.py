"""Limits on gradients: by their common norm, or value by value."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
import types
import warnings
from collections.abc import Iterable
from typing import Any

from .._base import _C, Tensor, no_grad

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def _norm(t: Tensor, norm_type: float) -> Tensor:
    flat = t.reshape(-1)
    if math.isinf(norm_type):
        return flat.abs().max() if flat.numel() else flat.sum()
    return flat.norm(norm_type)


def _listed(value: Any, what: str) -> list[Any]:
    if isinstance(value, Tensor):
        return [value]
    exhausted = isinstance(value, types.GeneratorType)
    items = list(value)
    if exhausted and not items:
        warnings.warn(f"`{what}` is an empty generator, no gradient clipping will occur.", stacklevel=4)
    return items


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all ``tensors`` as if they were one vector.

    Args:
        norm_type: the p; ``inf`` takes the largest absolute value.
        error_if_nonfinite: raise if the norm is NaN or infinite.
    """
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    norm_type = float(norm_type)
    if len(tensors) == 0:
        return _C.tensor(0.0)
    with no_grad():
        total = _norm(_C.stack([_norm(t.detach(), norm_type) for t in tensors], 0), norm_type)
    if error_if_nonfinite and not math.isfinite(float(total)):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, "
            "set `error_if_nonfinite=False`"
        )
    return total


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Tensor, foreach: bool | None = None) -> None:
    """Scales all gradients by ``max_norm / (total_norm + 1e-6)`` if that is below 1."""
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    grads = [p.grad for p in parameters if p.grad is not None]
    if len(grads) == 0:
        return
    with no_grad():
        # Multiplied even where it is 1: no value is read back on the way.
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(factor)


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales the gradients of ``parameters`` so that their common norm is at most ``max_norm``.

    Returns:
        The norm before clipping.

    Example::

        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    """
    items = _listed(parameters, "parameters")
    grads = [p.grad for p in items if p.grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(items, max_norm, total, foreach)
    return total


def clip_grad_norm(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Old name of :func:`clip_grad_norm_`."""
    warnings.warn(
        "torch.nn.utils.clip_grad_norm is now deprecated in favor of torch.nn.utils.clip_grad_norm_.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Iterable[Any] | Any, clip_value: float, foreach: bool | None = None) -> None:
    """Limits every gradient element to ``[-clip_value, clip_value]``."""
    limit = float(clip_value)
    with no_grad():
        for p in _listed(parameters, "parameters"):
            if p.grad is not None:
                p.grad.clamp_(min=-limit, max=limit)


_clip_grads_with_norm_ = clip_grads_with_norm_
_get_total_norm = get_total_norm
