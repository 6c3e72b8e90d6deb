"""Random transforms. Their draws are torchvision's, one for one, from the default generator."""

from __future__ import annotations

import numbers
import random
from collections.abc import Sequence
from typing import Any

import rustnn
from rustnn._C import Tensor
from rustnn.nn import Module

from . import functional as F
from .functional import InterpolationMode


def _uniform(low: float, high: float) -> float:
    return float(rustnn.empty(1).uniform_(low, high).item())


def _integer(high: int) -> int:
    return int(rustnn.randint(0, high, size=(1,)).item())


def size_pair(size: Any, text: str = "Please provide only two dimensions (h, w) for size.") -> Any:
    """(height, width) of a number or a sequence."""
    if isinstance(size, numbers.Number):
        return int(size), int(size)  # type: ignore[call-overload]
    if isinstance(size, Sequence) and len(size) == 1:
        return size[0], size[0]
    if len(size) != 2:
        raise ValueError(text)
    return size


class RandomHorizontalFlip(Module):
    """Flips left and right with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, img: Any) -> Any:
        """The image or its mirror image."""
        return F.hflip(img) if rustnn.rand(1).item() < self.p else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class RandomVerticalFlip(RandomHorizontalFlip):
    """Flips top and bottom with probability ``p``."""

    def forward(self, img: Any) -> Any:
        """The image or its mirror image."""
        return F.vflip(img) if rustnn.rand(1).item() < self.p else img


class RandomGrayscale(RandomHorizontalFlip):
    """Takes the colour away with probability ``p``."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def forward(self, img: Any) -> Any:
        """The image, or its grey self with as many channels."""
        channels = F.get_image_num_channels(img)
        if rustnn.rand(1).item() < self.p:
            return F.rgb_to_grayscale(img, num_output_channels=channels)
        return img


class RandomInvert(RandomHorizontalFlip):
    """Inverts the colours with probability ``p``."""

    def forward(self, img: Any) -> Any:
        """The image or its negative."""
        return F.invert(img) if rustnn.rand(1).item() < self.p else img


class RandomCrop(Module):
    """A part of ``size`` at a random place, of the image with a border of ``padding``."""

    def __init__(
        self,
        size: Any,
        padding: Any = None,
        pad_if_needed: bool = False,
        fill: Any = 0,
        padding_mode: str = "constant",
    ) -> None:
        super().__init__()
        self.size = tuple(size_pair(size))
        self.padding = padding
        self.pad_if_needed = pad_if_needed
        self.fill = fill
        self.padding_mode = padding_mode

    @staticmethod
    def get_params(img: Any, output_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a random part."""
        _, h, w = F.get_dimensions(img)
        th, tw = output_size
        if h < th or w < tw:
            raise ValueError(f"Required crop size {(th, tw)} is larger than input image size {(h, w)}")
        if w == tw and h == th:
            return 0, 0, h, w
        top = _integer(h - th + 1)
        return top, _integer(w - tw + 1), th, tw

    def forward(self, img: Any) -> Any:
        """The part."""
        if self.padding is not None:
            img = F.pad(img, self.padding, self.fill, self.padding_mode)
        _, height, width = F.get_dimensions(img)
        if self.pad_if_needed and width < self.size[1]:
            img = F.pad(img, [self.size[1] - width, 0], self.fill, self.padding_mode)
        if self.pad_if_needed and height < self.size[0]:
            img = F.pad(img, [0, self.size[0] - height], self.fill, self.padding_mode)
        return F.crop(img, *self.get_params(img, self.size))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, padding={self.padding})"


class RandomResizedCrop(Module):
    """A part of random area and aspect ratio, scaled to ``size``."""

    def __init__(
        self,
        size: Any,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: Any = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        self.size = size_pair(size)
        if not isinstance(scale, Sequence):
            raise TypeError("Scale should be a sequence")
        if not isinstance(ratio, Sequence):
            raise TypeError("Ratio should be a sequence")
        self.interpolation = F.interpolation_mode(interpolation)
        self.antialias = antialias
        self.scale = scale
        self.ratio = ratio

    @staticmethod
    def get_params(img: Any, scale: Sequence[float], ratio: Sequence[float]) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a random part; the middle after ten misses."""
        _, height, width = F.get_dimensions(img)
        low, high = F.log_uniform_range(ratio)
        for _ in range(10):
            area = height * width * _uniform(scale[0], scale[1])
            aspect = float(rustnn.exp(rustnn.empty(1).uniform_(low, high)).item())
            w, h = F.rounded_sides(area, aspect)
            if 0 < w <= width and 0 < h <= height:
                top = _integer(height - h + 1)
                return top, _integer(width - w + 1), h, w
        present = float(width) / float(height)
        if present < min(ratio):
            w, h = width, int(round(width / min(ratio)))
        elif present > max(ratio):
            w, h = int(round(height * max(ratio))), height
        else:
            w, h = width, height
        return (height - h) // 2, (width - w) // 2, h, w

    def forward(self, img: Any) -> Any:
        """The part, scaled."""
        top, left, h, w = self.get_params(img, self.scale, self.ratio)
        return F.resized_crop(img, top, left, h, w, self.size, self.interpolation, antialias=self.antialias)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(size={self.size}, scale={tuple(round(s, 4) for s in self.scale)}, "
            f"ratio={tuple(round(r, 4) for r in self.ratio)}, interpolation={self.interpolation.value}, "
            f"antialias={self.antialias})"
        )


class RandomRotation(Module):
    """Rotates a Pillow image by an angle of the range ``degrees``."""

    def __init__(
        self,
        degrees: Any,
        interpolation: Any = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Any = None,
        fill: Any = 0,
    ) -> None:
        super().__init__()
        if isinstance(degrees, numbers.Number):
            limit = float(degrees)  # type: ignore[arg-type]
            if limit < 0:
                raise ValueError("If degrees is a single number, it must be positive.")
            degrees = [-limit, limit]
        if len(degrees) != 2:
            raise ValueError("degrees should be a sequence of length 2.")
        self.degrees = [float(d) for d in degrees]
        self.interpolation = F.interpolation_mode(interpolation)
        self.expand = expand
        self.center = center
        self.fill = fill

    @staticmethod
    def get_params(degrees: Sequence[float]) -> float:
        """A random angle."""
        return _uniform(float(degrees[0]), float(degrees[1]))

    def forward(self, img: Any) -> Any:
        """The rotated image."""
        channels = F.get_image_num_channels(img)
        fill = [float(self.fill)] * channels if isinstance(self.fill, (int, float)) else list(self.fill)
        angle = self.get_params(self.degrees)
        return F.rotate(img, angle, self.interpolation, self.expand, self.center, fill)

    def __repr__(self) -> str:
        text = (
            f"{type(self).__name__}(degrees={self.degrees}, interpolation={self.interpolation.value}, "
            f"expand={self.expand}"
        )
        if self.center is not None:
            text += f", center={self.center}"
        return text + (f", fill={self.fill})" if self.fill is not None else ")")


class ColorJitter(Module):
    """Random brightness, contrast, saturation and hue, in random order."""

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0) -> None:
        super().__init__()
        self.brightness = self._range(brightness, "brightness")
        self.contrast = self._range(contrast, "contrast")
        self.saturation = self._range(saturation, "saturation")
        self.hue = self._range(hue, "hue", 0.0, (-0.5, 0.5), False)

    @staticmethod
    def _range(
        value: Any, name: str, center: float = 1.0, bound: tuple[float, float] = (0, float("inf")), clip: bool = True
    ) -> tuple[float, float] | None:
        if isinstance(value, numbers.Number):
            width = float(value)  # type: ignore[arg-type]
            if width < 0:
                raise ValueError(f"If {name} is a single number, it must be non negative.")
            ends = [center - width, center + width]
            if clip:
                ends[0] = max(ends[0], 0.0)
        elif isinstance(value, (tuple, list)) and len(value) == 2:
            ends = [float(value[0]), float(value[1])]
        else:
            raise TypeError(f"{name} should be a single number or a list/tuple with length 2.")
        if not bound[0] <= ends[0] <= ends[1] <= bound[1]:
            raise ValueError(f"{name} values should be between {bound}, but got {ends}.")
        return None if ends[0] == ends[1] == center else (ends[0], ends[1])

    @staticmethod
    def get_params(brightness: Any, contrast: Any, saturation: Any, hue: Any) -> tuple[Any, ...]:
        """The order of the four and their factors (None: left out)."""
        order = rustnn.randperm(4)
        factors = [None if r is None else _uniform(r[0], r[1]) for r in (brightness, contrast, saturation, hue)]
        return (order, *factors)

    def forward(self, img: Any) -> Any:
        """The changed image."""
        order, *factors = self.get_params(self.brightness, self.contrast, self.saturation, self.hue)
        adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
        for which in order.tolist():
            if factors[which] is not None:
                img = adjust[which](img, factors[which])
        return img

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast}, "
            f"saturation={self.saturation}, hue={self.hue})"
        )


class RandomErasing(Module):
    """Overwrites a random rectangle of a tensor image with probability ``p``."""

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: Any = 0,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(value, (numbers.Number, str, tuple, list)):
            raise TypeError("Argument value should be either a number or str or a sequence")
        if isinstance(value, str) and value != "random":
            raise ValueError("If value is str, it should be 'random'")
        if scale[0] < 0 or scale[1] > 1:
            raise ValueError("Scale should be between 0 and 1")
        if p < 0 or p > 1:
            raise ValueError("Random erasing probability should be between 0 and 1")
        self.p = p
        self.scale = scale
        self.ratio = ratio
        self.value = value
        self.inplace = inplace

    @staticmethod
    def get_params(
        img: Tensor, scale: Sequence[float], ratio: Sequence[float], value: list[float] | None = None
    ) -> tuple[int, int, int, int, Tensor]:
        """(top, left, height, width, values); the whole image with itself after ten misses."""
        channels, height, width = (int(n) for n in img.shape[-3:])
        low, high = F.log_uniform_range(ratio)
        for _ in range(10):
            area = height * width * _uniform(scale[0], scale[1])
            aspect = float(rustnn.exp(rustnn.empty(1).uniform_(low, high)).item())
            h, w = F.rounded_sides(area, aspect)
            if not (h < height and w < width):
                continue
            if value is None:
                v = rustnn.empty([channels, h, w], dtype=rustnn.float32).normal_()
            else:
                v = rustnn.tensor(value, dtype=rustnn.float32)[:, None, None]
            top = _integer(height - h + 1)
            return top, _integer(width - w + 1), h, w, v
        return 0, 0, height, width, img

    def forward(self, img: Tensor) -> Tensor:
        """The image, perhaps with a hole."""
        if not rustnn.rand(1).item() < self.p:
            return img
        value: list[float] | None
        if isinstance(self.value, (int, float)):
            value = [float(self.value)]
        else:
            value = None if isinstance(self.value, str) else [float(v) for v in self.value]  # type: ignore[union-attr]
        if value is not None and len(value) not in (1, img.shape[-3]):
            raise ValueError(
                f"If value is a sequence, it should have either a single value or {img.shape[-3]} (number of input "
                "channels)"
            )
        top, left, h, w, v = self.get_params(img, self.scale, self.ratio, value)
        return F.erase(img, top, left, h, w, v, self.inplace)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(p={self.p}, scale={self.scale}, ratio={self.ratio}, value={self.value}, "
            f"inplace={self.inplace})"
        )


def _listed(transforms: Sequence[Any]) -> str:
    return "".join(f"\n    {t}" for t in transforms)


class RandomApply(Module):
    """All of ``transforms`` with probability ``p``, or none."""

    def __init__(self, transforms: Sequence[Any], p: float = 0.5) -> None:
        super().__init__()
        self.transforms = transforms
        self.p = p

    def forward(self, img: Any) -> Any:
        """The image, perhaps transformed."""
        if self.p < rustnn.rand(1).item():
            return img
        for t in self.transforms:
            img = t(img)
        return img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(\n    p={self.p}{_listed(self.transforms)}\n)"


class RandomChoice:
    """One of ``transforms``, by Python's random numbers as torchvision chooses it."""

    def __init__(self, transforms: Sequence[Any], p: Sequence[float] | None = None) -> None:
        if not isinstance(transforms, Sequence):
            raise TypeError("Argument transforms should be a sequence")
        self.transforms = transforms
        self.p = p

    def __call__(self, *args: Any) -> Any:
        return random.choices(self.transforms, weights=self.p)[0](*args)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_listed(self.transforms)}\n)(p={self.p})"


class RandomOrder:
    """All of ``transforms`` in random order, by Python's random numbers."""

    def __init__(self, transforms: Sequence[Any]) -> None:
        if not isinstance(transforms, Sequence):
            raise TypeError("Argument transforms should be a sequence")
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        order = list(range(len(self.transforms)))
        random.shuffle(order)
        for i in order:
            img = self.transforms[i](img)
        return img

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_listed(self.transforms)}\n)"
