"""Image operations as functions, for Pillow images and tensors alike (``torchvision.transforms.functional``)."""

from __future__ import annotations

import enum
import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

import rustnn
from rustnn._C import Tensor

from .._pillow import is_pil, pillow
from . import _pil, _tensor, _warp


class InterpolationMode(enum.Enum):
    """How to sample between pixels."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


_RESAMPLE = {
    InterpolationMode.NEAREST: 0,
    InterpolationMode.NEAREST_EXACT: 0,
    InterpolationMode.LANCZOS: 1,
    InterpolationMode.BILINEAR: 2,
    InterpolationMode.BICUBIC: 3,
    InterpolationMode.BOX: 4,
    InterpolationMode.HAMMING: 5,
}
_BY_NUMBER = {
    0: InterpolationMode.NEAREST,
    1: InterpolationMode.LANCZOS,
    2: InterpolationMode.BILINEAR,
    3: InterpolationMode.BICUBIC,
    4: InterpolationMode.BOX,
    5: InterpolationMode.HAMMING,
}


def interpolation_mode(value: Any) -> InterpolationMode:
    """The mode, also from Pillow's number."""
    if isinstance(value, int):
        return _BY_NUMBER[int(value)]
    if not isinstance(value, InterpolationMode):
        raise TypeError(
            "Argument interpolation should be a InterpolationMode or a corresponding Pillow integer constant"
        )
    return value


def _backend(img: Any) -> Any:
    if isinstance(img, Tensor):
        if img.dim() < 2:
            raise TypeError("Tensor is not a torch image.")
        return _tensor
    if is_pil(img):
        return _pil
    raise TypeError(f"Unexpected type {type(img)}")


def _only_pil(img: Any) -> Any:
    """A Pillow image, or an error."""
    if not is_pil(img):
        raise TypeError(f"img should be PIL Image. Got {type(img)}")
    return img


def get_dimensions(img: Any) -> list[int]:
    """[channels, height, width]."""
    result: list[int] = _backend(img).dimensions(img)
    return result


def get_image_size(img: Any) -> list[int]:
    """[width, height]."""
    _, height, width = get_dimensions(img)
    return [width, height]


def get_image_num_channels(img: Any) -> int:
    """The number of channels."""
    return get_dimensions(img)[0]


# ---- conversions ---------------------------------------------------------------------------------------------
def to_tensor(pic: Any) -> Tensor:
    """An image, or an array (height, width[, channels]), as a (channels, height, width) tensor; uint8 becomes 0 to 1.

    Raises:
        TypeError: it is neither.
        ValueError: an array of other than 2 or 3 dimensions.
    """
    if isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        array = pic[:, :, None] if pic.ndim == 2 else pic
        img = rustnn.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
        return _unit(img) if img.dtype == rustnn.uint8 else img
    if not is_pil(pic):
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
    img = pil_to_tensor(pic)
    if pic.mode == "1":
        return _unit(img * 255)
    return _unit(img) if img.dtype == rustnn.uint8 else img


def _unit(img: Tensor) -> Tensor:
    return img.to(rustnn.get_default_dtype()).div_(255)


def pil_to_tensor(pic: Any) -> Tensor:
    """A Pillow image as a (channels, height, width) tensor of its own integers."""
    if not is_pil(pic):
        raise TypeError(f"pic should be PIL Image. Got {type(pic)}")
    kinds = {"I": np.int32, "I;16": np.int16, "F": np.float32}
    array = np.array(pic, kinds.get(pic.mode, np.uint8), copy=True)
    if array.ndim == 2:
        array = array[:, :, None]
    return rustnn.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def convert_image_dtype(image: Tensor, dtype: Any = None) -> Tensor:
    """Another dtype with the values scaled to its range (floats: 0 to 1)."""
    if not isinstance(image, Tensor):
        raise TypeError("Input img should be Tensor Image")
    dtype = rustnn.float32 if dtype is None else dtype
    if image.dtype == dtype:
        return image
    top_in, top_out = _tensor.top_value(image.dtype), _tensor.top_value(dtype)
    if image.dtype.is_floating_point:
        if dtype.is_floating_point:
            return image.to(dtype)
        if image.dtype == rustnn.float32 and dtype in (rustnn.int32, rustnn.int64):
            raise RuntimeError(f"The cast from {image.dtype} to {dtype} cannot be performed safely.")
        return (image * (top_out + 1.0 - 1e-3)).to(dtype)
    if dtype.is_floating_point:
        return image.to(dtype) / top_in
    if top_in > top_out:
        return (image // ((top_in + 1) // (top_out + 1))).to(dtype)
    return image.to(dtype) * ((top_out + 1) // (top_in + 1))


def to_pil_image(pic: Any, mode: str | None = None) -> Any:
    """A tensor (channels, height, width) or array (height, width[, channels]) as a Pillow image."""
    image = pillow("to_pil_image")
    if isinstance(pic, Tensor):
        if pic.dim() not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.dim()} dimensions.")
        if pic.dim() == 3 and pic.shape[0] > 4:
            raise ValueError(f"pic should not have > 4 channels. Got {pic.shape[0]} channels.")
        if pic.dim() == 2:
            pic = pic.unsqueeze(0)
        if pic.is_floating_point() and mode != "F":
            pic = pic.mul(255).to(rustnn.uint8)
        array = pic.detach().permute(1, 2, 0).contiguous().numpy()
    elif isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        array = pic[:, :, None] if pic.ndim == 2 else pic
        if array.shape[-1] > 4:
            raise ValueError(f"pic should not have > 4 channels. Got {array.shape[-1]} channels.")
        if np.issubdtype(array.dtype, np.floating) and mode != "F":
            array = (array * 255).astype(np.uint8)
    else:
        raise TypeError(f"pic should be Tensor or ndarray. Got {type(pic)}.")
    channels = array.shape[2]
    if channels == 1:
        array = array[:, :, 0]
        found = {"uint8": "L", "int16": "I;16", "int32": "I", "float32": "F"}.get(array.dtype.name)
        if found is None:
            raise TypeError(f"Input type {array.dtype} is not supported")
        if mode is not None and mode != found:
            raise ValueError(f"Incorrect mode ({mode}) supplied for input type {array.dtype}. Should be {found}")
        return image.fromarray(array)
    permitted = {2: ["LA"], 3: ["RGB", "YCbCr", "HSV"], 4: ["RGBA", "CMYK", "RGBX"]}[channels]
    if mode is not None and mode not in permitted:
        raise ValueError(f"Only modes {permitted} are supported for {channels}D inputs")
    if array.dtype != np.uint8:
        raise TypeError(f"Input type {array.dtype} is not supported")
    made = image.fromarray(array)
    return made if mode is None or mode == made.mode else made.convert(mode)


def normalize(tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Tensor:
    """``(x - mean) / std`` per channel of a float image (..., channels, height, width).

    Raises:
        TypeError: no tensor, or of integers.
        ValueError: a standard deviation of zero.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(tensor)}")
    if not tensor.is_floating_point():
        raise TypeError(f"Input tensor should be a float tensor. Got {tensor.dtype}.")
    if tensor.dim() < 3:
        raise ValueError(
            f"Expected tensor to be a tensor image of size (..., C, H, W). Got tensor.size() = {tensor.size()}"
        )
    shift, scale = channel_values(mean, tensor), channel_values(std, tensor)
    if (scale == 0).any():
        raise ValueError(f"std evaluated to zero after conversion to {tensor.dtype}, leading to division by zero.")
    out = tensor if inplace else tensor.clone()
    return out.sub_(shift).div_(scale)


def channel_values(values: Any, like: Tensor) -> Tensor:
    """Numbers per channel, shaped to broadcast over an image."""
    tensor = rustnn.as_tensor(values, dtype=like.dtype)
    return tensor.view(-1, 1, 1) if tensor.dim() == 1 else tensor


# ---- geometry ------------------------------------------------------------------------------------------------
def resized_size(size: Any, height: int, width: int, max_size: int | None) -> list[int]:
    """The (height, width) that ``resize`` makes: one number is for the shorter side."""
    wanted = [size] if isinstance(size, int) else list(size)
    if len(wanted) == 2:
        if max_size is not None:
            raise ValueError(
                "max_size should only be passed if size specifies the length of the smaller edge, i.e. size should "
                "be an int or a sequence of length 1 in torchscript mode."
            )
        return [int(wanted[0]), int(wanted[1])]
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = wanted[0], int(wanted[0] * long / short)
    if max_size is not None:
        if max_size <= wanted[0]:
            raise ValueError(
                f"max_size = {max_size} must be strictly greater than the requested size for the smaller edge "
                f"size = {size}"
            )
        if new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return [new_long, new_short] if width <= height else [new_short, new_long]


def resize(
    img: Any,
    size: Any,
    interpolation: Any = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:
    """Scales to ``(height, width)``, or so that the shorter side has ``size``."""
    mode = interpolation_mode(interpolation)
    _, height, width = get_dimensions(img)
    target = resized_size(size, height, width, max_size)
    if [height, width] == target:
        return img
    if not isinstance(img, Tensor):
        return _pil.resize(img, target, _RESAMPLE[mode])
    if mode.value not in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        raise ValueError("This interpolation mode is unsupported with Tensor input")
    return _tensor.resize(img, target, mode.value, bool(antialias))


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """A part of the image, zeros where it reaches outside."""
    return _backend(img).crop(img, top, left, height, width)


def _pair(size: Any) -> list[int]:
    if isinstance(size, numbers.Number):
        return [int(size), int(size)]  # type: ignore[call-overload]
    return [size[0], size[0]] if len(size) == 1 else [size[0], size[1]]


def center_crop(img: Any, output_size: Any) -> Any:
    """The middle, padded with zeros if the image is smaller."""
    th, tw = _pair(output_size)
    _, h, w = get_dimensions(img)
    if tw > w or th > h:
        sides = (
            (tw - w) // 2 if tw > w else 0,
            (th - h) // 2 if th > h else 0,
            (tw - w + 1) // 2 if tw > w else 0,
            (th - h + 1) // 2 if th > h else 0,
        )
        img = pad(img, sides, fill=0)
        _, h, w = get_dimensions(img)
        if tw == w and th == h:
            return img
    return crop(img, int(round((h - th) / 2.0)), int(round((w - tw) / 2.0)), th, tw)


def resized_crop(
    img: Any,
    top: int,
    left: int,
    height: int,
    width: int,
    size: Any,
    interpolation: Any = InterpolationMode.BILINEAR,
    antialias: bool | None = True,
) -> Any:
    """A part of the image, scaled."""
    return resize(crop(img, top, left, height, width), size, interpolation, antialias=antialias)


def hflip(img: Any) -> Any:
    """Left and right exchanged."""
    return _backend(img).hflip(img)


def vflip(img: Any) -> Any:
    """Top and bottom exchanged."""
    return _backend(img).vflip(img)


def pad_sides(padding: Any) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of one number, two (horizontal, vertical) or four."""
    if isinstance(padding, numbers.Number):
        return (int(padding),) * 4  # type: ignore[call-overload]
    sides = list(padding)
    if len(sides) == 1:
        return (sides[0],) * 4
    if len(sides) == 2:
        return sides[0], sides[1], sides[0], sides[1]
    if len(sides) == 4:
        return sides[0], sides[1], sides[2], sides[3]
    raise ValueError(f"Padding must be an int or a 1, 2, or 4 element tuple, not a {len(sides)} element tuple")


def pad(img: Any, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> Any:
    """Adds a border: constant, edge, reflect or symmetric."""
    if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
        raise ValueError("Padding mode should be either constant, edge, reflect or symmetric")
    return _backend(img).pad(img, pad_sides(padding), fill, padding_mode)


def rotate(
    img: Any,
    angle: float,
    interpolation: Any = InterpolationMode.NEAREST,
    expand: bool = False,
    center: list[int] | None = None,
    fill: Any = None,
) -> Any:
    """Rotates by ``angle`` degrees against the clock; ``expand`` makes room for the corners."""
    mode = interpolation_mode(interpolation)
    if not isinstance(img, Tensor):
        return _pil.rotate(_only_pil(img), angle, _RESAMPLE[mode], expand, center, fill)
    _, height, width = get_dimensions(img)
    middle = [0.0, 0.0] if center is None else [c - n * 0.5 for c, n in zip(center, (width, height), strict=True)]
    matrix = _warp.inverse_affine(middle, -angle, [0.0, 0.0], 1.0, [0.0, 0.0])
    size = _warp.rotated_size(matrix, width, height) if expand else (width, height)
    return _warp.sample(img, _warp.affine_grid(matrix, (width, height), size), mode.value, fill)


def affine(
    img: Any,
    angle: float,
    translate: Sequence[int],
    scale: float,
    shear: Any,
    interpolation: Any = InterpolationMode.NEAREST,
    fill: Any = None,
    center: Sequence[float] | None = None,
) -> Any:
    """Rotates (degrees, with the clock), scales, shears (degrees along x and y) and moves (pixels); the size stays."""
    mode = interpolation_mode(interpolation)
    if scale <= 0.0:
        raise ValueError("Argument scale should be positive")
    if len(translate) != 2:
        raise ValueError("Argument translate should be a sequence of length 2")
    both: list[float] = [float(shear), 0.0] if isinstance(shear, (int, float)) else [float(s) for s in shear]
    both = [both[0], both[0]] if len(both) == 1 else both
    _, height, width = get_dimensions(img if isinstance(img, Tensor) else _only_pil(img))
    if not isinstance(img, Tensor):
        middle = [width * 0.5, height * 0.5] if center is None else list(center)
        matrix = _warp.inverse_affine(middle, angle, translate, scale, both)
        return _pil.transform(_only_pil(img), "AFFINE", matrix, _RESAMPLE[mode], fill)
    middle = [0.0, 0.0] if center is None else [c - n * 0.5 for c, n in zip(center, (width, height), strict=True)]
    matrix = _warp.inverse_affine(middle, angle, [float(t) for t in translate], scale, both)
    return _warp.sample(img, _warp.affine_grid(matrix, (width, height), (width, height)), mode.value, fill)


def perspective(
    img: Any,
    startpoints: Sequence[Sequence[int]],
    endpoints: Sequence[Sequence[int]],
    interpolation: Any = InterpolationMode.BILINEAR,
    fill: Any = None,
) -> Any:
    """The image seen so that its four ``startpoints`` come to the ``endpoints``."""
    mode = interpolation_mode(interpolation)
    numbers_ = _warp.perspective_coefficients(startpoints, endpoints)
    if not isinstance(img, Tensor):
        return _pil.transform(_only_pil(img), "PERSPECTIVE", numbers_, _RESAMPLE[mode], fill)
    _, height, width = get_dimensions(img)
    return _warp.sample(img, _warp.perspective_grid(numbers_, width, height), mode.value, fill)


def five_crop(img: Any, size: Any) -> tuple[Any, Any, Any, Any, Any]:
    """The corners (top left, top right, bottom left, bottom right) and the middle."""
    ch, cw = _pair(size)
    _, h, w = get_dimensions(img)
    if cw > w or ch > h:
        raise ValueError(f"Requested crop size {[ch, cw]} is bigger than input size {(h, w)}")
    return (
        crop(img, 0, 0, ch, cw),
        crop(img, 0, w - cw, ch, cw),
        crop(img, h - ch, 0, ch, cw),
        crop(img, h - ch, w - cw, ch, cw),
        center_crop(img, [ch, cw]),
    )


def ten_crop(img: Any, size: Any, vertical_flip: bool = False) -> tuple[Any, ...]:
    """The five crops of the image and of its mirror image."""
    other = vflip(img) if vertical_flip else hflip(img)
    return (*five_crop(img, size), *five_crop(other, size))


def erase(img: Tensor, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> Tensor:
    """Overwrites a rectangle of a tensor image with ``v``."""
    if not isinstance(img, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(img)}")
    out = img if inplace else img.clone()
    out[..., i : i + h, j : j + w] = v
    return out


# ---- colour --------------------------------------------------------------------------------------------------
def _factor(name: str, value: float) -> None:
    if value < 0:
        raise ValueError(f"{name} ({value}) is not non-negative.")


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """0 black, 1 unchanged, 2 twice as bright."""
    if isinstance(img, Tensor):
        _factor("brightness_factor", brightness_factor)
        return _tensor.adjust_brightness(img, brightness_factor)
    return _pil.enhance(_only_pil(img), "Brightness", brightness_factor)


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """0 plain grey, 1 unchanged."""
    if isinstance(img, Tensor):
        _factor("contrast_factor", contrast_factor)
        return _tensor.adjust_contrast(img, contrast_factor)
    return _pil.enhance(_only_pil(img), "Contrast", contrast_factor)


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """0 without colour, 1 unchanged."""
    if isinstance(img, Tensor):
        _factor("saturation_factor", saturation_factor)
        return _tensor.adjust_saturation(img, saturation_factor)
    return _pil.enhance(_only_pil(img), "Color", saturation_factor)


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """The hue turned by a part of the circle, -0.5 to 0.5."""
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor ({hue_factor}) is not in [-0.5, 0.5].")
    return _backend(img).adjust_hue(img, hue_factor)


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """Luminance in one or three channels."""
    if num_output_channels not in (1, 3):
        raise ValueError("num_output_channels should be either 1 or 3")
    return _backend(img).grayscale(img, num_output_channels)


to_grayscale = rgb_to_grayscale


def invert(img: Any) -> Any:
    """White minus the image."""
    if isinstance(img, Tensor):
        return _tensor.top_value(img.dtype) - img
    return _pil.ops("invert", _only_pil(img))


def adjust_gamma(img: Any, gamma: float, gain: float = 1) -> Any:
    """``gain`` times the values (0 to 1) to the power ``gamma``."""
    if not isinstance(img, Tensor):
        _only_pil(img)
    if gamma < 0:
        raise ValueError("Gamma should be a non-negative real number")
    if not isinstance(img, Tensor):
        return _pil.adjust_gamma(img, gamma, gain)
    work = img if img.is_floating_point() else convert_image_dtype(img, rustnn.float32)
    return convert_image_dtype((gain * work**gamma).clamp(0, 1), img.dtype)


def adjust_sharpness(img: Any, sharpness_factor: float) -> Any:
    """0 smooth, 1 unchanged, 2 sharper."""
    if not isinstance(img, Tensor):
        return _pil.enhance(_only_pil(img), "Sharpness", sharpness_factor)
    _factor("sharpness_factor", sharpness_factor)
    return _warp.adjust_sharpness(img, sharpness_factor)


def posterize(img: Any, bits: int) -> Any:
    """Only the uppermost ``bits`` of each value."""
    if not isinstance(img, Tensor):
        return _pil.ops("posterize", _only_pil(img), bits)
    if img.dtype != rustnn.uint8:
        raise TypeError(f"Only torch.uint8 image tensors are supported, but found {img.dtype}")
    return img & (256 - 2 ** (8 - bits))


def solarize(img: Any, threshold: float) -> Any:
    """Values from ``threshold`` on inverted."""
    if not isinstance(img, Tensor):
        return _pil.ops("solarize", _only_pil(img), threshold)
    if threshold > _tensor.top_value(img.dtype):
        raise TypeError("Threshold should be less than bound of img.")
    return rustnn.where(img >= threshold, invert(img), img)


def autocontrast(img: Any) -> Any:
    """Each channel stretched from black to white."""
    return _warp.autocontrast(img) if isinstance(img, Tensor) else _pil.ops("autocontrast", _only_pil(img))


def equalize(img: Any) -> Any:
    """Each channel's values spread evenly over the range."""
    return _warp.equalize(img) if isinstance(img, Tensor) else _pil.ops("equalize", _only_pil(img))


def gaussian_blur(img: Any, kernel_size: Any, sigma: Any = None) -> Any:
    """A Gaussian blur; without ``sigma`` its width follows from the (odd) ``kernel_size``, (width, height)."""
    size = [kernel_size, kernel_size] if isinstance(kernel_size, int) else list(kernel_size)
    if len(size) != 2:
        raise ValueError(f"If kernel_size is a sequence its length should be 2. Got {len(size)}")
    if any(k % 2 == 0 or k < 0 for k in size):
        raise ValueError(f"kernel_size should have odd and positive integers. Got {size}")
    if sigma is None:
        sigma = [k * 0.15 + 0.35 for k in size]
    both = [float(sigma)] * 2 if isinstance(sigma, (int, float)) else [float(s) for s in sigma]
    both = both * 2 if len(both) == 1 else both
    if len(both) != 2:
        raise ValueError(f"If sigma is a sequence, its length should be 2. Got {len(both)}")
    if any(s <= 0.0 for s in both):
        raise ValueError(f"sigma should have positive values. Got {both}")
    if isinstance(img, Tensor):
        return _warp.gaussian_blur(img, size, both)
    return to_pil_image(_warp.gaussian_blur(pil_to_tensor(img), size, both), mode=img.mode)


def log_uniform_range(ratio: Sequence[float]) -> tuple[float, float]:
    """The logarithms of a range, in float32 as torchvision computes them."""
    logs = rustnn.log(rustnn.tensor(list(ratio), dtype=rustnn.float32))
    return float(logs[0].item()), float(logs[1].item())


def rounded_sides(area: float, aspect: float) -> tuple[int, int]:
    """Width and height of a rectangle of this area and width-to-height ratio."""
    return int(round(math.sqrt(area * aspect))), int(round(math.sqrt(area / aspect)))
