"""The base of image datasets, and the batch that is made at once where the transforms allow it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import rustnn
from rustnn._C import Tensor
from rustnn.utils.data import Dataset

from .._pillow import pillow
from ..transforms import Compose, Normalize, ToTensor
from ..transforms.functional import normalize


class StandardTransform:
    """A transform of the image and one of the target."""

    def __init__(
        self, transform: Callable[[Any], Any] | None = None, target_transform: Callable[[Any], Any] | None = None
    ) -> None:
        self.transform = transform
        self.target_transform = target_transform

    def __call__(self, image: Any, target: Any) -> tuple[Any, Any]:
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __repr__(self) -> str:
        lines = [type(self).__name__]
        for name, t in (("Transform", self.transform), ("Target transform", self.target_transform)):
            if t is not None:
                lines.append(_indented(f"{name}: ", repr(t)))
        return "\n".join(lines)


def _indented(head: str, text: str) -> str:
    first, *rest = text.splitlines()
    return "\n".join([head + first, *(" " * len(head) + line for line in rest)])


class VisionDataset(Dataset[Any]):
    """A dataset with a folder and transforms.

    Raises:
        ValueError: ``transforms`` together with one of the other two.
    """

    _repr_indent = 4

    def __init__(
        self,
        root: Any = None,
        transforms: Callable[..., Any] | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.root = os.path.expanduser(root) if isinstance(root, str) else root
        if transforms is not None and (transform is not None or target_transform is not None):
            raise ValueError("Only transforms or transform/target_transform can be passed as argument")
        self.transform = transform
        self.target_transform = target_transform
        if transforms is None and (transform is not None or target_transform is not None):
            transforms = StandardTransform(transform, target_transform)
        self.transforms = transforms

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def __repr__(self) -> str:
        body = [f"Number of datapoints: {len(self)}"]
        if self.root is not None:
            body.append(f"Root location: {self.root}")
        body += self.extra_repr().splitlines()
        if getattr(self, "transforms", None) is not None:
            body.append(repr(self.transforms))
        return "\n".join([f"Dataset {type(self).__name__}", *(" " * self._repr_indent + line for line in body)])

    def extra_repr(self) -> str:
        """More lines for the repr."""
        return ""


class ArrayDataset(VisionDataset):
    """Images in one uint8 array, and labels: items as torchvision gives them, or whole batches."""

    def _pixels(self) -> Any:
        """The images: a uint8 tensor or array (n, height, width[, channels])."""
        raise NotImplementedError

    def _label(self, index: int) -> int:
        raise NotImplementedError

    def _labels(self, indices: Sequence[int]) -> Tensor:
        """The labels of a batch as int64."""
        return rustnn.tensor([self._label(i) for i in indices], dtype=rustnn.int64)

    def _item(self, index: int) -> tuple[Any, Any]:
        pixels = self._pixels()[index]
        array = pixels.numpy() if isinstance(pixels, Tensor) else pixels
        transform, target = self.transform, self._label(index)
        # ToTensor makes the same of the array as of the image, so the image is left out.
        first = _steps(transform)[:1]
        image: Any = array if first and type(first[0]) is ToTensor else pillow("this dataset").fromarray(array)
        if transform is not None:
            image = transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __getbatch__(self, indices: Sequence[int]) -> Any:
        """The batch at once, where the transform is ToTensor, perhaps followed by Normalize."""
        steps = _steps(self.transform)
        plain = type(self).__getitem__ in (c.__dict__.get("__getitem__") for c in _whole_classes)
        if (
            not plain
            or self.target_transform is not None
            or not steps
            or type(steps[0]) is not ToTensor
            or any(type(s) is not Normalize for s in steps[1:])
        ):
            return NotImplemented
        pixels = self._pixels()
        rows = np.asarray(indices, dtype=np.int64)
        if isinstance(pixels, Tensor):
            batch = pixels.index_select(0, rustnn.from_numpy(rows))
        else:
            batch = rustnn.from_numpy(pixels[rows])
        batch = batch.unsqueeze(1) if batch.dim() == 3 else batch.permute(0, 3, 1, 2).contiguous()
        batch = batch.to(rustnn.get_default_dtype()).div_(255)
        for step in steps[1:]:
            batch = normalize(batch, step.mean, step.std, inplace=True)
        return [batch, self._labels(indices)]


# Classes whose own __getitem__ is `_item`; a subclass with another one is asked item by item.
_whole_classes: list[type] = []


def whole_batches(cls: type) -> type:
    """Says that ``cls.__getitem__`` gives what ``_item`` gives."""
    _whole_classes.append(cls)
    return cls


def _steps(transform: Any) -> list[Any]:
    if transform is None:
        return []
    return list(transform.transforms) if type(transform) is Compose else [transform]
