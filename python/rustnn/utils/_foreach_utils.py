"""What optimizers outside of this package ask before they choose a way to step: which tensors belong together, and
whether an op takes lists of them.
"""

from __future__ import annotations

from typing import Any

Tensor = Any
TensorListList = list[list[Tensor | None]]
Indices = list[int]


def _get_foreach_kernels_supported_devices() -> list[str]:
    return []


def _get_fused_kernels_supported_devices() -> list[str]:
    return ["cpu"]


def _group_tensors_by_device_and_dtype(
    tensorlistlist: TensorListList, with_indices: bool = False
) -> dict[tuple[Any, Any], tuple[TensorListList, Indices]]:
    """Sorts lists of tensors, of which the first has no gaps, by device and dtype of the first list's tensors. Each
    value holds the lists' tensors of that kind and, if asked for, their places.

    Raises:
        ValueError: the lists are of different lengths, or there are none.
    """
    if not tensorlistlist or any(len(one) != len(tensorlistlist[0]) for one in tensorlistlist):
        raise ValueError(f"lists of tensors of one length were expected, got {[len(one) for one in tensorlistlist]}")
    found: dict[tuple[Any, Any], tuple[TensorListList, Indices]] = {}
    for place, first in enumerate(tensorlistlist[0]):
        if first is None:
            raise ValueError(f"the first list must not have gaps; there is one at {place}")
        lists, places = found.setdefault((first.device, first.dtype), ([[] for _ in tensorlistlist], []))
        for one, values in zip(lists, tensorlistlist, strict=True):
            one.append(values[place])
        if with_indices:
            places.append(place)
    return found


def _device_has_foreach_support(device: Any) -> bool:
    return False


def _has_foreach_support(tensors: list[Tensor], device: Any) -> bool:
    return False
