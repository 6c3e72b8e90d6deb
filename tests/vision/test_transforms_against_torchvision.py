"""Transforms with the same seed beside torchvision's, on Pillow images, tensors and arrays."""

# ruff: noqa: E501  (programs of one line each)

from __future__ import annotations

import random
from typing import Any

import beside
import numpy as np
import pytest
import rustnn
import rustnn.vision

torch = pytest.importorskip("torch", reason="compares with PyTorch")
torchvision = pytest.importorskip("torchvision", reason="compares with torchvision")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

LIBRARIES = {torch: torchvision, rustnn: rustnn.vision}
TRANSFORMS = """
Resize((7, 9))|Resize(8, max_size=9)|CenterCrop((5, 20))|RandomCrop(10, padding=2)|RandomHorizontalFlip()
RandomRotation(30)|RandomRotation((10, 20), expand=True, fill=3)|RandomRotation(90, interpolation=I.BILINEAR)
RandomAffine(20)|RandomAffine(20, translate=(.1, .2), scale=(.8, 1.2), shear=10)|RandomAffine(5, center=(2, 3), fill=9)
RandomAffine(0, shear=(1, 2, 3, 4), fill=5, interpolation=I.BILINEAR)|RandomPerspective(p=1.)
RandomPerspective(.3, 1., I.NEAREST, 4)|GaussianBlur(3)|GaussianBlur((5, 3), sigma=(.5, .6))|RandomInvert(1.)
RandomPosterize(3, 1.)|RandomSolarize(100, 1.)|RandomSolarize(.4, 1.)|RandomAdjustSharpness(2., 1.)|RandomAutocontrast(1.)
RandomEqualize(1.)|ColorJitter(.4, .4, .4, .1)|Pad(2, fill=(1, 2, 3))|Pad(2, padding_mode='symmetric')|Grayscale(3)
AutoAugment()|AutoAugment(tr.AutoAugmentPolicy.CIFAR10)|AutoAugment(tr.AutoAugmentPolicy.SVHN, fill=7)|RandAugment()
RandAugment(3, 20)|TrivialAugmentWide()|TrivialAugmentWide(5, fill=(1, 2, 3))|TenCrop((4, 5), True)
LinearTransformation(torch.eye(663) * 2, torch.ones(663))|ToTensor()|ToPILImage()
RandomAffine(-1)|RandomAffine(1, translate=(2, 0))|RandomAffine(1, scale=(0, 1))|RandomAffine(1, shear=(1, 2, 3))
GaussianBlur(2)|GaussianBlur(3, -1)|GaussianBlur(3, (2, 1))|AutoAugment('x')|LinearTransformation(torch.eye(2, 3), torch.ones(3))
""".strip().replace("\n", "|").split("|")
FUNCTIONS = """
adjust_gamma(x, .8, 1.1)|adjust_gamma(x, -1)|adjust_sharpness(x, 2.)|adjust_sharpness(x, -1)|rotate(x, 33.)
rotate(x, 90., expand=True)|rotate(x, 20., center=(2, 3), fill=4)|affine(x, 10., [1, 2], 1.2, [3., 4.])|affine(x, 10., [1, 2], 0, 3.)
affine(x, 10., [1, 2], 1.2, 7., fill=3, center=[1, 2])|posterize(x, 3)|solarize(x, 100)|autocontrast(x)|equalize(x)
perspective(x, [[0, 0], [9, 0], [9, 9], [0, 9]], [[1, 1], [8, 0], [9, 8], [0, 7]])|gaussian_blur(x, 3)|gaussian_blur(x, [3, 5], 1.)
gaussian_blur(x, 4)|gaussian_blur(x, 3, -1.)|ten_crop(x, 4)|invert(x)|to_pil_image(x)|convert_image_dtype(x, torch.float64)
""".strip().replace("\n", "|").split("|")
KINDS = ["rgb", "grey", "binary", "rgba", "uint8", "float", "batch", "array"]


def image(lib: Any, kind: str) -> Any:
    rng = np.random.default_rng(0)
    rgb, grey = rng.integers(0, 256, (13, 17, 3)).astype(np.uint8), rng.integers(0, 256, (12, 9)).astype(np.uint8)
    if kind == "uint8":
        return beside.tensor(lib, rgb.transpose(2, 0, 1), "uint8")
    if kind == "float":
        return beside.tensor(lib, rgb.transpose(2, 0, 1) / 255, "float32")
    if kind == "batch":
        return beside.tensor(lib, rng.random((2, 3, 10, 11)), "float32")
    if kind == "array":
        return (grey / 255).astype(np.float32)
    if kind == "rgba":
        return Image.fromarray(rng.integers(0, 256, (8, 8, 4)).astype(np.uint8))
    return Image.fromarray(rgb) if kind == "rgb" else Image.fromarray(grey).convert("1" if kind == "binary" else "L")


def plain(value: Any) -> Any:
    if isinstance(value, Image.Image):
        return ["image", value.mode, value.size, np.asarray(value).astype(np.int64).tolist()]
    return [plain(v) for v in value] if isinstance(value, (tuple, list)) else value


@pytest.mark.parametrize("call", TRANSFORMS)
def test_transforms(call: str) -> None:
    for kind in KINDS:
        for seed in range(6 if "Augment" in call else 2):

            def code(lib: Any, kind: str = kind, seed: int = seed) -> Any:
                module = LIBRARIES[lib].transforms
                lib.manual_seed(seed)
                random.seed(seed)
                made = eval(call, {"torch": lib, "I": module.InterpolationMode, "tr": module} | vars(module))
                return repr(made), plain(made(image(lib, kind))), lib.rand(1)

            assert beside.compare(rustnn, torch, code, strides=False) is None, f"{kind}, seed {seed}"


@pytest.mark.parametrize("call", FUNCTIONS)
def test_functions(call: str) -> None:
    for kind in KINDS:

        def code(lib: Any, kind: str = kind) -> Any:
            names = {"torch": lib, "x": image(lib, kind)}
            return plain(eval(call, names | vars(LIBRARIES[lib].transforms.functional)))

        assert beside.compare(rustnn, torch, code, strides=False) is None, kind
