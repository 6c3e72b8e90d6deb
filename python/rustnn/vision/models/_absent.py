"""Networks of torchvision's that are not here: classes to name and derive from, which raise when made."""

from __future__ import annotations

from typing import Any

from rustnn import nn

__all__ = ["absent"]

_NAMES = frozenset(
    (
        "ConvNeXt",
        "DenseNet",
        "EfficientNet",
        "GoogLeNet",
        "Inception3",
        "MNASNet",
        "MaxVit",
        "MobileNetV2",
        "MobileNetV3",
        "RegNet",
        "ShuffleNetV2",
        "SqueezeNet",
        "SwinTransformer",
        "VisionTransformer",
    )
)


def _init(self: Any, *args: Any, **kwargs: Any) -> None:
    raise NotImplementedError(
        f"rustnn does not have torchvision's network {_base(type(self))}.\n"
        "  hint: ResNet, VGG and AlexNet are in rustnn.vision.models; timm, which runs on rustnn, has the others"
    )


def _base(cls: type) -> str:
    return next((c.__name__ for c in cls.__mro__ if c.__name__ in _NAMES), cls.__name__)


def absent(name: str) -> Any:
    """The class of that name, or `None` if torchvision has no such network."""
    if name not in _NAMES:
        return None
    return type(name, (nn.Module,), {"__init__": _init, "__module__": "torchvision.models", "__doc__": "Not here."})
