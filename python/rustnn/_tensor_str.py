"""Printing of tensors, character for character as PyTorch prints them.

The formatter needs of a tensor only `shape`, `dtype`, `device`, `narrow`, `tolist`, `requires_grad` and
`grad_fn`: what is shown is cut out first, so a tensor of a billion elements prints in microseconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

__all__ = ["get_printoptions", "printoptions", "set_printoptions"]


@dataclasses.dataclass
class _PrintOptions:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_OPTIONS = _PrintOptions()
# Under this name PyTorch's libraries find the settings.
PRINT_OPTS = _OPTIONS

_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Sets how tensors are printed.

    Args:
        precision: digits after the point (4).
        threshold: the number of elements above which only the edges are shown (1000).
        edgeitems: how many items at the edges of each dimension a summary shows (3).
        linewidth: characters in a line (80).
        profile: `"default"`, `"short"` or `"full"`: a set of the values above.
        sci_mode: scientific notation on (True), off (False), or as the values need it (None).

    Example::

        >>> rustnn.set_printoptions(precision=2)
        >>> rustnn.tensor([1.12345])
        tensor([1.12])
    """
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"unknown print profile {profile!r}; there are {sorted(_PROFILES)}")
        for key, value in _PROFILES[profile].items():
            setattr(_OPTIONS, key, value)
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    for key, value in given.items():
        if value is not None:
            setattr(_OPTIONS, key, value)
    _OPTIONS.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The present options of `set_printoptions`, as a dict."""
    return dataclasses.asdict(_OPTIONS)


@contextlib.contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Changes the options of `set_printoptions` for the length of a `with` block."""
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


def _flat(values: Any) -> Iterator[Any]:
    """Every leaf of nested lists."""
    if isinstance(values, list):
        for value in values:
            yield from _flat(value)
    else:
        yield values


class _Formatter:
    """Chooses one notation and width for a set of numbers, then formats each."""

    def __init__(self, values: Any, is_float: bool) -> None:
        self.is_float = is_float
        self.int_mode = True
        self.sci_mode = False
        self.max_width = 1
        precision = _OPTIONS.precision
        if not is_float:
            self.max_width = max((len(str(v)) for v in _flat(values)), default=1)
            return
        shown = [v for v in _flat(values) if v != 0 and math.isfinite(v)]
        if not shown:
            return
        largest = max(abs(v) for v in shown)
        smallest = min(abs(v) for v in shown)
        self.int_mode = all(v == math.ceil(v) for v in shown)
        if _OPTIONS.sci_mode is None:
            wide = largest / smallest > 1000.0 or largest > 1.0e8
            self.sci_mode = wide or (not self.int_mode and smallest < 1.0e-4)
        else:
            self.sci_mode = _OPTIONS.sci_mode
        if self.sci_mode:
            self.max_width = max(1, *(len(f"{v:.{precision}e}") for v in shown))
        elif self.int_mode:
            self.max_width = max(1, *(len(f"{v:.0f}") + 1 for v in shown))
        else:
            self.max_width = max(1, *(len(f"{v:.{precision}f}") for v in shown))

    def format(self, value: Any) -> str:
        if not self.is_float:
            text = str(value)
        elif self.sci_mode:
            text = f"{value:{self.max_width}.{_OPTIONS.precision}e}"
        elif self.int_mode:
            text = f"{value:.0f}"
            if math.isfinite(value):
                text += "."
        else:
            text = f"{value:.{_OPTIONS.precision}f}"
        return text.rjust(self.max_width)


class _Gap:
    """Stands in a list of shown items for those left out."""


_GAP = _Gap()


def _collect(tensor: Any, shape: list[int], edge: int) -> Any:
    """Nested lists of what a summary shows: views are narrowed first, so little is converted."""
    if not shape:
        return tensor.tolist()
    size, rest = shape[0], shape[1:]
    short = size <= 2 * edge
    if all(n <= 2 * edge for n in rest):
        if short:
            return tensor.tolist()
        if edge == 0:
            return [_GAP]
        head, tail = tensor.narrow(0, 0, edge).tolist(), tensor.narrow(0, size - edge, edge).tolist()
        return [*head, _GAP, *tail]
    if short:
        return [_collect(tensor.select(0, i), rest, edge) for i in range(size)]
    first = [_collect(tensor.select(0, i), rest, edge) for i in range(edge)]
    last = [_collect(tensor.select(0, i), rest, edge) for i in range(size - edge, size)]
    return [*first, _GAP, *last]


def _numbers(values: Any) -> Any:
    """Drops the gaps of a summary, leaving the numbers the formatter looks at."""
    if isinstance(values, list):
        return [_numbers(v) for v in values if v is not _GAP]
    return values


def _vector(values: list[Any], indent: int, formatter: _Formatter) -> str:
    per_line = max(1, math.floor((_OPTIONS.linewidth - indent) / (formatter.max_width + 2)))
    if values == [_GAP]:
        cells = ["..."]
    else:
        cells = [" ..." if v is _GAP else formatter.format(v) for v in values]
    lines = [", ".join(cells[i : i + per_line]) for i in range(0, len(cells), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _nested(values: Any, dim: int, indent: int, formatter: _Formatter) -> str:
    if dim == 0:
        return formatter.format(values)
    if dim == 1:
        return _vector(values, indent, formatter)
    parts = ["..." if v is _GAP else _nested(v, dim - 1, indent + 1, formatter) for v in values]
    return "[" + ("," + "\n" * (dim - 1) + " " * (indent + 1)).join(parts) + "]"


def _contents(tensor: Any, indent: int) -> str:
    if tensor.numel() == 0:
        return "[]"
    plain = tensor.detach()
    if tensor.numel() > _OPTIONS.threshold:
        values = _collect(plain, list(plain.shape), _OPTIONS.edgeitems)
    else:
        values = plain.tolist()
    formatter = _Formatter(_numbers(values), tensor.dtype.is_floating_point)
    return _nested(values, tensor.dim(), indent, formatter)


_tensor_str = _contents


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    parts = [text]
    line_length = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if line_length + len(suffix) + 2 > _OPTIONS.linewidth:
            parts.append(",\n" + " " * indent + suffix)
            line_length = indent + len(suffix)
        else:
            parts.append(", " + suffix)
            line_length += len(suffix) + 2
    return "".join(parts) + ")"


def _node_name(node: Any) -> str:
    name: str = type(node).__name__
    if name in ("Node", "CppFunction"):
        name = node.name().rsplit("::", 1)[-1]
    return name


def tensor_repr(tensor: Any, default_dtype: Any, plain: bool = True) -> str:
    """What `repr(tensor)` gives: contents, then size, dtype and the graph's suffix where they matter.

    Args:
        tensor: any tensor, also PyTorch's.
        default_dtype: the dtype that needs no mention.
        plain: False for a subclass, whose own name then leads.
    """
    prefix = "tensor(" if plain else f"{type(tensor).__name__}("
    indent = len(prefix)
    suffixes: list[str] = []
    device = getattr(tensor, "device", None)
    if device is not None and device.type != "cpu":
        suffixes.append(f"device='{device}'")
    dtype_name = str(tensor.dtype)
    if device is not None and device.type == "meta":
        suffixes.append(f"size={tuple(tensor.shape)}")
        if tensor.dtype != default_dtype:
            suffixes.append(f"dtype={dtype_name}")
        contents = "..."
    elif tensor.numel() == 0:
        if tensor.dim() != 1:
            suffixes.append(f"size={tuple(tensor.shape)}")
        if tensor.dtype != default_dtype:
            suffixes.append(f"dtype={dtype_name}")
        contents = "[]"
    else:
        if not _OPTIONS.edgeitems:
            suffixes.append(f"size={tuple(tensor.shape)}")
        if tensor.dtype != default_dtype and dtype_name.rsplit(".", 1)[-1] not in ("int64", "bool"):
            suffixes.append(f"dtype={dtype_name}")
        contents = _contents(tensor, indent)
    node = tensor.grad_fn
    if node is not None:
        suffixes.append(f"grad_fn=<{_node_name(node)}>")
    elif tensor.requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(prefix + contents, suffixes, indent)
