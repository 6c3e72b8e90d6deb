"""Random transforms of geometry, sharpness and value tables; their draws are torchvision's."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import rustnn
from rustnn._C import Tensor
from rustnn.nn import Module

from . import functional as F
from ._random import RandomHorizontalFlip, size_pair
from .functional import InterpolationMode, interpolation_mode

__all__ = [
    "GaussianBlur",
    "LinearTransformation",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomAutocontrast",
    "RandomEqualize",
    "RandomPerspective",
    "RandomPosterize",
    "RandomSolarize",
]


def _uniform(low: float, high: float) -> float:
    return float(rustnn.empty(1).uniform_(float(low), float(high)).item())


def _range(value: Any, name: str, sizes: tuple[int, ...]) -> list[float]:
    """One number as the range around zero, or the numbers given."""
    if isinstance(value, numbers.Number):
        if value < 0:  # type: ignore[operator]
            raise ValueError(f"If {name} is a single number, it must be positive.")
        return [0.0 - float(value), float(value)]  # type: ignore[arg-type]
    if not isinstance(value, Sequence):
        raise TypeError(f"{name} should be a sequence of length {' or '.join(map(str, sizes))}.")
    if len(value) not in sizes:
        raise ValueError(f"{name} should be a sequence of length {' or '.join(map(str, sizes))}.")
    return [float(v) for v in value]


def _fill(img: Any, fill: Any) -> Any:
    """The value of new pixels, one for each channel of a tensor."""
    if not isinstance(img, Tensor):
        return fill
    if isinstance(fill, (int, float)):
        return [float(fill)] * F.get_dimensions(img)[0]
    return [float(f) for f in fill]


class RandomAffine(Module):
    """A drawn rotation, shift, scale and shear; the size stays.

    Args:
        degrees: range of the angle.
        translate: largest shift as parts of width and height.
        scale: range of the scale.
        shear: range along x, or along x and y.
        interpolation: between pixels.
        fill: the value of pixels from outside of the image.
        center: what stays in place; the middle by default.
    """

    def __init__(
        self,
        degrees: Any,
        translate: Any = None,
        scale: Any = None,
        shear: Any = None,
        interpolation: Any = InterpolationMode.NEAREST,
        fill: Any = 0,
        center: Any = None,
    ) -> None:
        super().__init__()
        self.degrees = _range(degrees, "degrees", (2,))
        if translate is not None and not all(0.0 <= t <= 1.0 for t in translate):
            raise ValueError("translation values should be between 0 and 1")
        if scale is not None and not all(s > 0 for s in scale):
            raise ValueError("scale values should be positive")
        self.translate, self.scale, self.center = translate, scale, center
        self.shear = None if shear is None else _range(shear, "shear", (2, 4))
        self.interpolation = interpolation_mode(interpolation)
        self.fill = 0 if fill is None else fill

    @staticmethod
    def get_params(
        degrees: Any, translate: Any, scale_ranges: Any, shears: Any, img_size: Any
    ) -> tuple[float, tuple[int, int], float, tuple[float, float]]:
        """Angle, shift, scale and shear; `img_size` is (width, height)."""
        angle = _uniform(degrees[0], degrees[1])
        shift = (0, 0)
        if translate is not None:
            most = [float(t * n) for t, n in zip(translate, img_size, strict=True)]
            shift = (round(_uniform(-most[0], most[0])), round(_uniform(-most[1], most[1])))
        scale = 1.0 if scale_ranges is None else _uniform(scale_ranges[0], scale_ranges[1])
        sx = sy = 0.0
        if shears is not None:
            sx = _uniform(shears[0], shears[1])
            if len(shears) == 4:
                sy = _uniform(shears[2], shears[3])
        return angle, shift, scale, (sx, sy)

    def forward(self, img: Any) -> Any:
        """The mapped image."""
        _, height, width = F.get_dimensions(img)
        angle, shift, scale, shear = self.get_params(
            self.degrees, self.translate, self.scale, self.shear, [width, height]
        )
        return F.affine(img, angle, shift, scale, shear, self.interpolation, _fill(img, self.fill), self.center)

    def __repr__(self) -> str:
        text = f"{type(self).__name__}(degrees={self.degrees}"
        for name in ("translate", "scale", "shear"):
            if getattr(self, name) is not None:
                text += f", {name}={getattr(self, name)}"
        if self.interpolation != InterpolationMode.NEAREST:
            text += f", interpolation={self.interpolation.value}"
        if self.fill != 0:
            text += f", fill={self.fill}"
        return text + (f", center={self.center})" if self.center is not None else ")")


class RandomPerspective(Module):
    """With probability `p` the image as seen from another place: its corners move by up to `distortion_scale`."""

    def __init__(
        self,
        distortion_scale: float = 0.5,
        p: float = 0.5,
        interpolation: Any = InterpolationMode.BILINEAR,
        fill: Any = 0,
    ) -> None:
        super().__init__()
        self.p, self.distortion_scale = p, distortion_scale
        self.interpolation = interpolation_mode(interpolation)
        self.fill = 0 if fill is None else fill

    @staticmethod
    def get_params(width: int, height: int, distortion_scale: float) -> tuple[list[list[int]], list[list[int]]]:
        """The corners and where they go: top left, top right, bottom right, bottom left."""
        dx, dy = int(distortion_scale * (width // 2)), int(distortion_scale * (height // 2))

        def draw(low: int, high: int) -> int:
            return int(rustnn.randint(low, high, size=(1,)).item())

        left, right = (0, dx + 1), (width - dx - 1, width)
        top, bottom = (0, dy + 1), (height - dy - 1, height)
        ends = [[draw(*x), draw(*y)] for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))]
        starts = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
        return starts, ends

    def forward(self, img: Any) -> Any:
        """The image or its other view."""
        fill = _fill(img, self.fill)
        if rustnn.rand(1) < self.p:
            _, height, width = F.get_dimensions(img)
            starts, ends = self.get_params(width, height, self.distortion_scale)
            return F.perspective(img, starts, ends, self.interpolation, fill)
        return img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p})"


class GaussianBlur(Module):
    """A Gaussian blur of `kernel_size`, its width drawn from the range `sigma`."""

    def __init__(self, kernel_size: Any, sigma: Any = (0.1, 2.0)) -> None:
        super().__init__()
        self.kernel_size = size_pair(kernel_size, "Kernel size should be a tuple/list of two integers")
        if any(k <= 0 or k % 2 == 0 for k in self.kernel_size):
            raise ValueError("Kernel size value should be an odd and positive number.")
        if isinstance(sigma, numbers.Number):
            if sigma <= 0:  # type: ignore[operator]
                raise ValueError("If sigma is a single number, it must be positive.")
            sigma = (sigma, sigma)
        elif not isinstance(sigma, Sequence) or len(sigma) != 2:
            raise ValueError("sigma should be a single number or a list/tuple with length 2.")
        if not 0.0 < sigma[0] <= sigma[1]:
            raise ValueError(f"sigma values should be positive and of the form (min, max). Got {sigma}")
        self.sigma = sigma

    @staticmethod
    def get_params(sigma_min: float, sigma_max: float) -> float:
        """The width of the blur."""
        return _uniform(sigma_min, sigma_max)

    def forward(self, img: Any) -> Any:
        """The blurred image."""
        sigma = self.get_params(self.sigma[0], self.sigma[1])
        return F.gaussian_blur(img, self.kernel_size, [sigma, sigma])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(kernel_size={self.kernel_size}, sigma={self.sigma})"


class _Sometimes(RandomHorizontalFlip):
    """One operation with probability `p`; `_settings` stand in its repr."""

    _settings: tuple[str, ...] = ()

    def _apply_to(self, img: Any) -> Any:
        raise NotImplementedError

    def forward(self, img: Any) -> Any:
        """The image, changed or not."""
        return self._apply_to(img) if rustnn.rand(1).item() < self.p else img

    def __repr__(self) -> str:
        return f"{type(self).__name__}({','.join(f'{n}={getattr(self, n)}' for n in (*self._settings, 'p'))})"


class RandomPosterize(_Sometimes):
    """Keeps `bits` of each value, with probability `p`."""

    _settings = ("bits",)

    def __init__(self, bits: int, p: float = 0.5) -> None:
        super().__init__(p)
        self.bits = bits

    def _apply_to(self, img: Any) -> Any:
        return F.posterize(img, self.bits)


class RandomSolarize(_Sometimes):
    """Inverts values from `threshold` on, with probability `p`."""

    _settings = ("threshold",)

    def __init__(self, threshold: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.threshold = threshold

    def _apply_to(self, img: Any) -> Any:
        return F.solarize(img, self.threshold)


class RandomAdjustSharpness(_Sometimes):
    """Sharpens (or smooths, below 1), with probability `p`."""

    _settings = ("sharpness_factor",)

    def __init__(self, sharpness_factor: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.sharpness_factor = sharpness_factor

    def _apply_to(self, img: Any) -> Any:
        return F.adjust_sharpness(img, self.sharpness_factor)


class RandomAutocontrast(_Sometimes):
    """Stretches the channels from black to white, with probability `p`."""

    def _apply_to(self, img: Any) -> Any:
        return F.autocontrast(img)


class RandomEqualize(_Sometimes):
    """Spreads the values evenly, with probability `p`."""

    def _apply_to(self, img: Any) -> Any:
        return F.equalize(img)


class LinearTransformation(Module):
    """A flattened tensor image minus `mean_vector`, times a square `transformation_matrix` (such as a whitening)."""

    def __init__(self, transformation_matrix: Tensor, mean_vector: Tensor) -> None:
        super().__init__()
        rows, columns = transformation_matrix.shape
        if rows != columns:
            raise ValueError(
                f"transformation_matrix should be square. Got {tuple(transformation_matrix.size())} rectangular matrix."
            )
        if mean_vector.shape[0] != columns:
            raise ValueError(
                f"mean_vector should have the same length {mean_vector.shape[0]} as any one of the dimensions of the "
                f"transformation_matrix [{tuple(transformation_matrix.size())}]"
            )
        if transformation_matrix.dtype != mean_vector.dtype:
            raise ValueError(
                f"Input tensors should have the same dtype. Got {transformation_matrix.dtype} and {mean_vector.dtype}"
            )
        self.transformation_matrix, self.mean_vector = transformation_matrix, mean_vector

    def forward(self, tensor: Tensor) -> Tensor:
        """The transformed image, in its shape."""
        size = int(tensor.shape[-3] * tensor.shape[-2] * tensor.shape[-1])
        if size != self.transformation_matrix.shape[0]:
            raise ValueError(
                "Input tensor and transformation matrix have incompatible shape."
                f"{tensor.shape[-3:]} != {self.transformation_matrix.shape[0]}"
            )
        flat = tensor.reshape((-1, size)) - self.mean_vector
        return rustnn.mm(flat.to(self.transformation_matrix.dtype), self.transformation_matrix).reshape(tensor.shape)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(transformation_matrix={self.transformation_matrix.tolist()}, "
            f"mean_vector={self.mean_vector.tolist()})"
        )
