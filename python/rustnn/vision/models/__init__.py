"""Networks for images, under torchvision's names."""

from __future__ import annotations

from typing import Any

from ._absent import absent
from ._weights import WeightsEnum, weights_enum
from .resnet import (
    ResNet,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    wide_resnet50_2,
)
from .vgg import (
    VGG,
    AlexNet,
    alexnet,
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
)

__all__ = [
    "VGG",
    "AlexNet",
    "ResNet",
    "WeightsEnum",
    "alexnet",
    "resnet101",
    "resnet152",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnext50_32x4d",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "wide_resnet50_2",
]


def __getattr__(name: str) -> Any:
    if name.endswith("_Weights") and name.removesuffix("_Weights").lower() in {n.lower() for n in __all__}:
        return weights_enum(name)
    network = absent(name)
    if network is not None:
        globals()[name] = network
        return network
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
