"""Batch norms folded into the layer before them, for inference."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import copy
from typing import Any

from .._base import _C
from ..parameter import Parameter

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def _folded(weight: Any, bias: Any, mean: Any, var: Any, eps: float, scale: Any, shift: Any, dim: int) -> Any:
    zeros, ones = _C.zeros_like(mean), _C.ones_like(mean)
    wanted = weight.requires_grad, True if bias is None else bias.requires_grad
    weight, bias = weight.detach(), zeros if bias is None else bias.detach()
    factor = (ones if scale is None else scale) * (var + eps).rsqrt()
    shape = [1] * weight.dim()
    shape[dim] = -1
    new_bias = (bias - mean) * factor + (zeros if shift is None else shift)
    return Parameter(weight * factor.reshape(shape), wanted[0]), Parameter(new_bias, wanted[1])


def fuse_conv_bn_weights(
    conv_w: Any,
    conv_b: Any,
    bn_rm: Any,
    bn_rv: Any,
    bn_eps: float,
    bn_w: Any,
    bn_b: Any,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of a convolution that also does the batch norm behind it."""
    return _folded(conv_w, conv_b, bn_rm, bn_rv, bn_eps,
                   None if bn_w is None else bn_w.detach(), None if bn_b is None else bn_b.detach(),
                   1 if transpose else 0)  # fmt: skip


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of ``conv`` that also does ``bn``; both in ``eval()``."""
    if conv.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose
    )
    return fused


def fuse_linear_bn_weights(
    linear_w: Any, linear_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float, bn_w: Any, bn_b: Any
) -> tuple[Parameter, Parameter]:
    """Weight and bias of a Linear that also does the batch norm behind it."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A copy of ``linear`` that also does ``bn``; both in ``eval()``."""
    if linear.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError("To fuse, linear.out_features == bn.num_features or bn.num_features == 1")
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        linear.weight, linear.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused
