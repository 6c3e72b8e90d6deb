"""Lazy convolutions and normalisations: their channel count comes from the first input."""

from __future__ import annotations

from typing import Any

from .._base import _C, Tensor
from ..parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from .batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from .conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .instancenorm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from .lazy import LazyModuleMixin


class _LazyConvXd(LazyModuleMixin):
    """A convolution without ``in_channels``; all other arguments are those of the eager class."""

    kernel_size: Any
    groups: int
    transposed: bool

    def __init__(
        self, out_channels: int, kernel_size: Any, *args: Any, bias: bool = True, device: Any = None,
        dtype: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        # `bias` may stand among the positional arguments: fifth after the two given here.
        rest = list(args)
        extra: dict[str, Any] = {}
        if len(rest) > 4:
            bias = rest[4]
            rest[4] = False
        else:
            extra["bias"] = False
        super().__init__(0, 0, kernel_size, *rest, device=device, dtype=dtype, **extra, **kwargs)
        self.weight: Any = UninitializedParameter(device=device, dtype=dtype)
        self.out_channels = out_channels
        if bias:
            self.bias: Any = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        if not self.has_uninitialized_params():
            return
        dims = len(self.kernel_size)
        if input.dim() not in (dims + 1, dims + 2):
            raise RuntimeError(
                f"Expected {dims + 1}D (unbatched) or {dims + 2}D (batched) input to {self.__class__.__name__}, "
                f"but got input of size: {input.shape}"
            )
        self.in_channels = input.shape[1] if input.dim() == dims + 2 else input.shape[0]
        if self.in_channels % self.groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if self.transposed:
            shape = (self.in_channels, self.out_channels // self.groups, *self.kernel_size)
        else:
            shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        self.weight.materialize(shape)
        if self.bias is not None:
            self.bias.materialize((self.out_channels,))
        self.reset_parameters()


class LazyConv1d(_LazyConvXd, Conv1d):
    """A Conv1d whose ``in_channels`` comes from its first input."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyConvXd, Conv2d):
    """A Conv2d whose ``in_channels`` comes from its first input."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyConvXd, Conv3d):
    """A Conv3d whose ``in_channels`` comes from its first input."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConvXd, ConvTranspose1d):
    """A ConvTranspose1d whose ``in_channels`` comes from its first input."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvXd, ConvTranspose2d):
    """A ConvTranspose2d whose ``in_channels`` comes from its first input."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvXd, ConvTranspose3d):
    """A ConvTranspose3d whose ``in_channels`` comes from its first input."""

    cls_to_become = ConvTranspose3d


class _LazyNormBase(LazyModuleMixin):
    """A batch or instance norm whose ``num_features`` comes from its first input."""

    _affine_default = True
    _track_default = True

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool | None = None,
        track_running_stats: bool | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(0, eps, momentum, False, False, device=device, dtype=dtype)
        self.affine = self._affine_default if affine is None else affine
        self.track_running_stats = self._track_default if track_running_stats is None else track_running_stats
        if self.affine:
            self.weight: Any = UninitializedParameter(device=device, dtype=dtype)
            self.bias: Any = UninitializedParameter(device=device, dtype=dtype)
        if self.track_running_stats:
            self.running_mean: Any = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var: Any = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = _C.tensor(0, dtype=_C.int64)

    def reset_parameters(self) -> None:
        if not self.has_uninitialized_params() and self.num_features != 0:
            super().reset_parameters()  # type: ignore[misc]

    def _load_one(self, name: str, key: str, own: Any, given: Any, assign: bool, error_msgs: list[str]) -> None:
        if is_lazy(own) and name in self._buffers and not is_lazy(given):
            self._buffers[name] = own = _C.empty(tuple(given.shape), dtype=own.dtype)
        super()._load_one(name, key, own, given, assign, error_msgs)

    def initialize_parameters(self, input: Tensor) -> None:
        if not self.has_uninitialized_params():
            return
        self.num_features = input.shape[self._feature_dim(input)]
        for param in self._parameters.values():
            if param is not None:
                param.materialize((self.num_features,))
        for name, buffer in list(self._buffers.items()):
            if is_lazy(buffer):
                self._buffers[name] = _C.empty((self.num_features,), dtype=buffer.dtype)
        self.reset_parameters()

    def _feature_dim(self, input: Tensor) -> int:
        return 1


class _LazyInstanceNorm(_LazyNormBase):
    _dims: int

    def _feature_dim(self, input: Tensor) -> int:
        return int(input.dim()) - self._dims - 1


class LazyBatchNorm1d(_LazyNormBase, BatchNorm1d):
    """A BatchNorm1d whose ``num_features`` comes from its first input."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNormBase, BatchNorm2d):
    """A BatchNorm2d whose ``num_features`` comes from its first input."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNormBase, BatchNorm3d):
    """A BatchNorm3d whose ``num_features`` comes from its first input."""

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyInstanceNorm, InstanceNorm1d):
    """An InstanceNorm1d whose ``num_features`` comes from its first input."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyInstanceNorm, InstanceNorm2d):
    """An InstanceNorm2d whose ``num_features`` comes from its first input."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyInstanceNorm, InstanceNorm3d):
    """An InstanceNorm3d whose ``num_features`` comes from its first input."""

    cls_to_become = InstanceNorm3d
