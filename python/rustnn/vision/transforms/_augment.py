"""Augmentation by drawn operations: AutoAugment, RandAugment, TrivialAugmentWide."""

from __future__ import annotations

import enum
import math
from typing import Any

import rustnn
from rustnn._C import Tensor
from rustnn.nn import Module

from . import functional as F
from .functional import InterpolationMode

__all__ = ["AutoAugment", "AutoAugmentPolicy", "RandAugment", "TrivialAugmentWide"]

Space = dict[str, tuple[Tensor, bool]]


def _apply(img: Any, name: str, size: float, interpolation: InterpolationMode, fill: Any) -> Any:
    """One operation of strength `size`."""

    def affine(translate: list[int], shear: list[float], center: list[int] | None) -> Any:
        return F.affine(img, 0.0, translate, 1.0, shear, interpolation, fill, center)

    if name == "ShearX":
        return affine([0, 0], [math.degrees(math.atan(size)), 0.0], [0, 0])
    if name == "ShearY":
        return affine([0, 0], [0.0, math.degrees(math.atan(size))], [0, 0])
    if name == "TranslateX":
        return affine([int(size), 0], [0.0, 0.0], None)
    if name == "TranslateY":
        return affine([0, int(size)], [0.0, 0.0], None)
    if name == "Rotate":
        return F.rotate(img, size, interpolation=interpolation, fill=fill)
    if name in ("Brightness", "Color", "Contrast", "Sharpness"):
        own = {"Color": "saturation"}.get(name, name.lower())
        return getattr(F, f"adjust_{own}")(img, 1.0 + size)
    if name == "Posterize":
        return F.posterize(img, int(size))
    if name == "Solarize":
        return F.solarize(img, size)
    return img if name == "Identity" else getattr(F, name.lower())(img)


def _space(bins: int, width: int, height: int, posterize: int, wide: bool) -> Space:
    """The strengths of every operation and whether they have a sign; `wide` as TrivialAugmentWide has them."""
    shear, turn, colour = (0.99, 135.0, 0.99) if wide else (0.3, 30.0, 0.9)
    right = 32.0 if wide else 150.0 / 331.0 * width
    down = 32.0 if wide else 150.0 / 331.0 * height
    space: Space = {"Identity": (rustnn.tensor(0.0), False)}
    for name, top in (
        ("ShearX", shear), ("ShearY", shear), ("TranslateX", right), ("TranslateY", down), ("Rotate", turn),
        ("Brightness", colour), ("Color", colour), ("Contrast", colour), ("Sharpness", colour),
    ):  # fmt: skip
        space[name] = rustnn.linspace(0.0, top, bins), True
    space["Posterize"] = 8 - (rustnn.arange(bins) / ((bins - 1) / posterize)).round().int(), False
    space["Solarize"] = rustnn.linspace(255.0, 0.0, bins), False
    space["AutoContrast"] = rustnn.tensor(0.0), False
    space["Equalize"] = rustnn.tensor(0.0), False
    return space


def _draw(high: int) -> int:
    return int(rustnn.randint(high, (1,)).item())


class AutoAugmentPolicy(enum.Enum):
    """The data set that a policy was found on."""

    IMAGENET = "imagenet"
    CIFAR10 = "cifar10"
    SVHN = "svhn"


# The published policies: pairs of operation, probability, strength (0 to 9, `-` where it has none).
_POLICIES = {
    AutoAugmentPolicy.IMAGENET: """
Posterize 0.4 8,Rotate 0.6 9;Solarize 0.6 5,AutoContrast 0.6 -;Equalize 0.8 -,Equalize 0.6 -
Posterize 0.6 7,Posterize 0.6 6;Equalize 0.4 -,Solarize 0.2 4;Equalize 0.4 -,Rotate 0.8 8
Solarize 0.6 3,Equalize 0.6 -;Posterize 0.8 5,Equalize 1 -;Rotate 0.2 3,Solarize 0.6 8;Equalize 0.6 -,Posterize 0.4 6
Rotate 0.8 8,Color 0.4 0;Rotate 0.4 9,Equalize 0.6 -;Equalize 0 -,Equalize 0.8 -;Invert 0.6 -,Equalize 1 -
Color 0.6 4,Contrast 1 8;Rotate 0.8 8,Color 1 2;Color 0.8 8,Solarize 0.8 7;Sharpness 0.4 7,Invert 0.6 -
ShearX 0.6 5,Equalize 1 -;Color 0.4 0,Equalize 0.6 -;Equalize 0.4 -,Solarize 0.2 4;Solarize 0.6 5,AutoContrast 0.6 -
Invert 0.6 -,Equalize 1 -;Color 0.6 4,Contrast 1 8;Equalize 0.8 -,Equalize 0.6 -
""",
    AutoAugmentPolicy.CIFAR10: """
Invert 0.1 -,Contrast 0.2 6;Rotate 0.7 2,TranslateX 0.3 9;Sharpness 0.8 1,Sharpness 0.9 3
ShearY 0.5 8,TranslateY 0.7 9;AutoContrast 0.5 -,Equalize 0.9 -;ShearY 0.2 7,Posterize 0.3 7
Color 0.4 3,Brightness 0.6 7;Sharpness 0.3 9,Brightness 0.7 9;Equalize 0.6 -,Equalize 0.5 -
Contrast 0.6 7,Sharpness 0.6 5;Color 0.7 7,TranslateX 0.5 8;Equalize 0.3 -,AutoContrast 0.4 -
TranslateY 0.4 3,Sharpness 0.2 6;Brightness 0.9 6,Color 0.2 8;Solarize 0.5 2,Invert 0 -
Equalize 0.2 -,AutoContrast 0.6 -;Equalize 0.2 -,Equalize 0.6 -;Color 0.9 9,Equalize 0.6 -
AutoContrast 0.8 -,Solarize 0.2 8;Brightness 0.1 3,Color 0.7 0;Solarize 0.4 5,AutoContrast 0.9 -
TranslateY 0.9 9,TranslateY 0.7 9;AutoContrast 0.9 -,Solarize 0.8 3;Equalize 0.8 -,Invert 0.1 -
TranslateY 0.7 9,AutoContrast 0.9 -
""",
    AutoAugmentPolicy.SVHN: """
ShearX 0.9 4,Invert 0.2 -;ShearY 0.9 8,Invert 0.7 -;Equalize 0.6 -,Solarize 0.6 6;Invert 0.9 -,Equalize 0.6 -
Equalize 0.6 -,Rotate 0.9 3;ShearX 0.9 4,AutoContrast 0.8 -;ShearY 0.9 8,Invert 0.4 -;ShearY 0.9 5,Solarize 0.2 6
Invert 0.9 -,AutoContrast 0.8 -;Equalize 0.6 -,Rotate 0.9 3;ShearX 0.9 4,Solarize 0.3 3;ShearY 0.8 8,Invert 0.7 -
Equalize 0.9 -,TranslateY 0.6 6;Invert 0.9 -,Equalize 0.6 -;Contrast 0.3 3,Rotate 0.8 4;Invert 0.8 -,TranslateY 0 2
ShearY 0.7 6,Solarize 0.4 8;Invert 0.6 -,Rotate 0.8 4;ShearY 0.3 7,TranslateX 0.9 3;ShearX 0.1 6,Invert 0.6 -
Solarize 0.7 2,TranslateY 0.6 7;ShearY 0.8 4,Invert 0.8 -;ShearX 0.7 9,TranslateY 0.8 3
ShearY 0.8 5,AutoContrast 0.7 -;ShearX 0.7 2,Invert 0.1 -
""",
}


def _policy(text: str) -> list[tuple[tuple[str, float, int | None], ...]]:
    def one(part: str) -> tuple[str, float, int | None]:
        name, chance, strength = part.split()
        return name, float(chance), None if strength == "-" else int(strength)

    return [(one(a), one(b)) for a, b in (pair.split(",") for pair in text.strip().replace("\n", ";").split(";"))]


class _Augment(Module):
    """What the three share: the interpolation and the values for new pixels."""

    def __init__(self, interpolation: InterpolationMode, fill: Any) -> None:
        super().__init__()
        self.interpolation, self.fill = interpolation, fill

    def _filled(self, img: Any) -> tuple[Any, int, int]:
        """The fill values, width and height."""
        channels, height, width = F.get_dimensions(img)
        fill = self.fill
        if isinstance(img, Tensor):
            if isinstance(fill, (int, float)):
                fill = [float(fill)] * channels
            elif fill is not None:
                fill = [float(f) for f in fill]
        return fill, width, height


class AutoAugment(_Augment):
    """A pair of operations drawn from a policy, each with its probability.

    Args:
        policy: which of the published policies.
        interpolation: of the geometric operations.
        fill: the value of pixels from outside of the image.
    """

    def __init__(
        self,
        policy: AutoAugmentPolicy = AutoAugmentPolicy.IMAGENET,
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__(interpolation, fill)
        if policy not in _POLICIES:
            raise ValueError(f"The provided policy {policy} is not recognized.")
        self.policy = policy
        self.policies = _policy(_POLICIES[policy])

    @staticmethod
    def get_params(transform_num: int) -> tuple[int, Tensor, Tensor]:
        """Which pair, and for each of the two a number against its probability and a sign."""
        return _draw(transform_num), rustnn.rand((2,)), rustnn.randint(2, (2,))

    def forward(self, img: Any) -> Any:
        """The image after the drawn operations."""
        fill, width, height = self._filled(img)
        which, chances, signs = self.get_params(len(self.policies))
        space = _space(10, width, height, 4, False)
        space["Invert"] = rustnn.tensor(0.0), False
        for i, (name, chance, strength) in enumerate(self.policies[which]):
            if chances[i] <= chance:
                sizes, signed = space[name]
                size = float(sizes[strength].item()) if strength is not None else 0.0
                if signed and signs[i] == 0:
                    size *= -1.0
                img = _apply(img, name, size, self.interpolation, fill)
        return img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(policy={self.policy}, fill={self.fill})"


class RandAugment(_Augment):
    """`num_ops` operations drawn evenly, all of strength `magnitude` of `num_magnitude_bins`."""

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__(interpolation, fill)
        self.num_ops, self.magnitude, self.num_magnitude_bins = num_ops, magnitude, num_magnitude_bins

    def forward(self, img: Any) -> Any:
        """The image after the drawn operations."""
        fill, width, height = self._filled(img)
        space = _space(self.num_magnitude_bins, width, height, 4, False)
        for _ in range(self.num_ops):
            name = list(space)[_draw(len(space))]
            sizes, signed = space[name]
            size = float(sizes[self.magnitude].item()) if sizes.dim() > 0 else 0.0
            if signed and _draw(2):
                size *= -1.0
            img = _apply(img, name, size, self.interpolation, fill)
        return img

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_ops={self.num_ops}, magnitude={self.magnitude}, "
            f"num_magnitude_bins={self.num_magnitude_bins}, interpolation={self.interpolation}, fill={self.fill})"
        )


class TrivialAugmentWide(_Augment):
    """One operation of a strength drawn evenly, from wider ranges."""

    def __init__(
        self,
        num_magnitude_bins: int = 31,
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__(interpolation, fill)
        self.num_magnitude_bins = num_magnitude_bins

    def forward(self, img: Any) -> Any:
        """The image after the drawn operation."""
        fill, width, height = self._filled(img)
        space = _space(self.num_magnitude_bins, width, height, 6, True)
        name = list(space)[_draw(len(space))]
        sizes, signed = space[name]
        size = float(sizes[_draw(len(sizes))].item()) if sizes.dim() > 0 else 0.0
        if signed and _draw(2):
            size *= -1.0
        return _apply(img, name, size, self.interpolation, fill)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_magnitude_bins={self.num_magnitude_bins}, "
            f"interpolation={self.interpolation}, fill={self.fill})"
        )
