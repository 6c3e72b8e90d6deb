"""Making a batch of items: :func:`default_collate` and :func:`default_convert`."""

from __future__ import annotations

import collections.abc
import copy
from collections.abc import Callable
from typing import Any

import numpy as np

import rustnn
from rustnn._C import Tensor

_REFUSED = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


def default_convert(data: Any) -> Any:
    """Turns NumPy arrays inside nested containers into tensors and leaves the rest as it is."""
    kind = type(data)
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in "SUO" else rustnn.as_tensor(data)
    if isinstance(data, collections.abc.Mapping):
        return _like(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return kind(*(default_convert(d) for d in data))
    if isinstance(data, tuple):
        return [default_convert(d) for d in data]
    if isinstance(data, collections.abc.Sequence) and not isinstance(data, (str, bytes)):
        try:
            return kind([default_convert(d) for d in data])
        except TypeError:
            return [default_convert(d) for d in data]
    return data


def _like(original: Any, entries: dict[Any, Any]) -> Any:
    """A mapping of the original's type with ``entries``."""
    if type(original) is dict:
        return entries
    try:
        if isinstance(original, collections.abc.MutableMapping):
            clone = copy.copy(original)
            clone.update(entries)
            return clone
        return type(original)(entries)
    except TypeError:
        return entries


def collate_tensor_fn(batch: Any, *, collate_fn_map: Any = None) -> Tensor:
    """Stacks tensors."""
    return rustnn.stack(list(batch), 0)


def collate_numpy_array_fn(batch: Any, *, collate_fn_map: Any = None) -> Any:
    """Stacks NumPy arrays as tensors."""
    if batch[0].dtype.kind in "SUO":
        raise TypeError(_REFUSED.format(batch[0].dtype))
    return rustnn.stack([rustnn.as_tensor(b) for b in batch], 0)


def collate_numpy_scalar_fn(batch: Any, *, collate_fn_map: Any = None) -> Tensor:
    """A 1-d tensor of NumPy numbers."""
    if batch[0].dtype.kind in "SUO":
        raise TypeError(_REFUSED.format(batch[0].dtype))
    return rustnn.as_tensor(np.asarray(batch))


def collate_float_fn(batch: Any, *, collate_fn_map: Any = None) -> Tensor:
    """A float64 tensor of Python floats."""
    return rustnn.tensor(batch, dtype=rustnn.float64)


def collate_int_fn(batch: Any, *, collate_fn_map: Any = None) -> Tensor:
    """A tensor of Python ints or bools."""
    return rustnn.tensor(batch)


def collate_str_fn(batch: Any, *, collate_fn_map: Any = None) -> Any:
    """Strings stay a list."""
    return batch


default_collate_fn_map: dict[type | tuple[type, ...], Callable[..., Any]] = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def collate(batch: Any, *, collate_fn_map: dict[type | tuple[type, ...], Callable[..., Any]] | None = None) -> Any:
    """Collates by the type of the first item: the map's functions, then containers, item by item."""
    first = batch[0]
    kind = type(first)
    for key, fn in (collate_fn_map or {}).items():
        if kind is key or isinstance(first, key):
            return fn(batch, collate_fn_map=collate_fn_map)
    if isinstance(first, collections.abc.Mapping):
        entries = {key: collate([d[key] for d in batch], collate_fn_map=collate_fn_map) for key in first}
        return _like(first, entries)
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        columns = zip(*batch, strict=True)
        return kind(*(collate(list(c), collate_fn_map=collate_fn_map) for c in columns))
    if isinstance(first, collections.abc.Sequence):
        items = list(batch)
        if any(len(item) != len(first) for item in items):
            raise RuntimeError("each element in list of batch should be of equal size")
        fields = list(zip(*items, strict=True))
        if isinstance(first, tuple):
            return [collate(c, collate_fn_map=collate_fn_map) for c in fields]
        try:
            return kind([collate(c, collate_fn_map=collate_fn_map) for c in fields])
        except TypeError:
            return [collate(c, collate_fn_map=collate_fn_map) for c in fields]
    raise TypeError(_REFUSED.format(kind))


def default_collate(batch: Any) -> Any:
    """Makes a batch of a list of items: tensors are stacked, numbers become tensors, containers go by part.

    Raises:
        TypeError: an item of a kind that has no batch.
        RuntimeError: tensors, or lists, of different sizes.

    Example:
        >>> default_collate([(1, "a"), (2, "b")])
        [tensor([1, 2]), ('a', 'b')]
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
