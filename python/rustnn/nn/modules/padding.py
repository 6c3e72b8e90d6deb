"""Padding by a constant, by reflection, by the edge, or around the circle."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from .._base import Tensor
from ..module import Module
from .utils import _ntuple

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d",
    "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d",
    "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip


class _PadNd(Module):
    """Paddings of ``_dims`` dimensions: ``(left, right, top, bottom, front, back)``, or one number."""

    _dims: int
    _mode: str

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _ntuple(2 * self._dims, "spread")(padding)

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, *)`` or ``(C, *)`` to the padded size."""
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadNd(_PadNd):
    value: float

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, *)`` or ``(C, *)`` to the padded size."""
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPadNd(_ConstantPadNd):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ReflectionPadNd(_PadNd):
    _mode = "reflect"


class _ReplicationPadNd(_PadNd):
    _mode = "replicate"


class _CircularPadNd(_PadNd):
    _mode = "circular"

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (self._dims + 1, self._dims + 2):
            raise ValueError(f"expected {self._dims + 1}D or {self._dims + 2}D input (got {input.dim()}D input)")

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, *)`` or ``(C, *)`` to the padded size."""
        self._check_input_dim(input)
        return F.pad(input, self.padding, "circular")


class ConstantPad1d(_ConstantPadNd):
    """Pads with ``value``, the last dimension."""

    _dims = 1


class ConstantPad2d(_ConstantPadNd):
    """Pads with ``value``, the last 2 dimensions."""

    _dims = 2


class ConstantPad3d(_ConstantPadNd):
    """Pads with ``value``, the last 3 dimensions."""

    _dims = 3


class ZeroPad1d(_ZeroPadNd):
    """Pads with zeros, the last dimension."""

    _dims = 1


class ZeroPad2d(_ZeroPadNd):
    """Pads with zeros, the last 2 dimensions."""

    _dims = 2


class ZeroPad3d(_ZeroPadNd):
    """Pads with zeros, the last 3 dimensions."""

    _dims = 3


class ReflectionPad1d(_ReflectionPadNd):
    """Pads by reflection at the edges, the last dimension."""

    _dims = 1


class ReflectionPad2d(_ReflectionPadNd):
    """Pads by reflection at the edges, the last 2 dimensions."""

    _dims = 2


class ReflectionPad3d(_ReflectionPadNd):
    """Pads by reflection at the edges, the last 3 dimensions."""

    _dims = 3


class ReplicationPad1d(_ReplicationPadNd):
    """Pads by repeating the edges, the last dimension."""

    _dims = 1


class ReplicationPad2d(_ReplicationPadNd):
    """Pads by repeating the edges, the last 2 dimensions."""

    _dims = 2


class ReplicationPad3d(_ReplicationPadNd):
    """Pads by repeating the edges, the last 3 dimensions."""

    _dims = 3


class CircularPad1d(_CircularPadNd):
    """Pads around the circle, the last dimension."""

    _dims = 1


class CircularPad2d(_CircularPadNd):
    """Pads around the circle, the last 2 dimensions."""

    _dims = 2


class CircularPad3d(_CircularPadNd):
    """Pads around the circle, the last 3 dimensions."""

    _dims = 3
