"""What programs check with: `_assert`, the `_check` family, and the shape that shapes broadcast to."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from rustnn import _C
from rustnn._size import Size

__all__ = [
    "_assert",
    "_assert_async",
    "_check",
    "_check_index",
    "_check_is_size",
    "_check_not_implemented",
    "_check_tensor_all",
    "_check_tensor_all_with",
    "_check_type",
    "_check_value",
    "_check_with",
    "broadcast_shapes",
]

Message = Callable[[], Any] | str | None


def _assert(condition: Any, message: str) -> None:
    """`assert condition, message` as a function.

    Raises:
        AssertionError: the condition is false.
    """
    assert condition, message  # noqa: S101


def _assert_async(input: Any, assert_msg: str = "Expected Tensor with single nonzero value, but got zero") -> None:
    """Raises `RuntimeError` if the one element of a tensor is zero or false."""
    if input.numel() != 1:
        raise RuntimeError(
            "Boolean value of Tensor with " + ("no values" if input.numel() == 0 else "more than one value")
            + " is ambiguous"
        )
    if not bool(input):
        raise RuntimeError(assert_msg)


def _check_with(error_type: type[Exception], cond: Any, message: Message = None) -> None:
    """Raises `error_type` if `cond` is false.

    Args:
        error_type: the exception to raise.
        cond: a bool.
        message: gives the text, or is the text.
    """
    if not isinstance(cond, bool):
        raise TypeError(f"cond must be a bool, but got {type(cond)}")
    if cond:
        return
    raise error_type("Expected cond to be True, but got False." if message is None else _text(message))


def _text(message: Any) -> str:
    return str(message() if callable(message) else message)


def _check(cond: Any, message: Message = None) -> None:
    """Raises `RuntimeError` if `cond` is false."""
    _check_with(RuntimeError, cond, message)


def _check_is_size(i: Any, message: Message = None, *, max: Any = None) -> None:
    """Raises `RuntimeError` if `i` is negative, or above `max`."""
    _check(bool(i >= 0) and (max is None or bool(i <= max)), message)


def _check_index(cond: Any, message: Message = None) -> None:
    """Raises `IndexError` if `cond` is false."""
    _check_with(IndexError, cond, message)


def _check_value(cond: Any, message: Message = None) -> None:
    """Raises `ValueError` if `cond` is false."""
    _check_with(ValueError, cond, message)


def _check_type(cond: Any, message: Message = None) -> None:
    """Raises `TypeError` if `cond` is false."""
    _check_with(TypeError, cond, message)


def _check_not_implemented(cond: Any, message: Message = None) -> None:
    """Raises `NotImplementedError` if `cond` is false."""
    _check_with(NotImplementedError, cond, message)


def _check_tensor_all_with(error_type: type[Exception], cond: Any, message: Message = None) -> None:
    """Raises `error_type` if one element of the bool tensor `cond` is false."""
    if not isinstance(cond, _C.Tensor):
        raise TypeError(f"cond must be a tensor, but got {type(cond)}")
    if cond.dtype != _C.bool:
        raise TypeError(f"cond tensor must have dtype torch.bool, but got {cond.dtype}")
    _check_with(error_type, bool(cond.all().item()), message)


def _check_tensor_all(cond: Any, message: Message = None) -> None:
    """Raises `RuntimeError` if one element of the bool tensor `cond` is false."""
    _check_tensor_all_with(RuntimeError, cond, message)


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape to which tensors of these shapes broadcast.

    Args:
        shapes: sequences of sizes, or single numbers.

    Raises:
        RuntimeError: they do not broadcast.
        ValueError: a size is negative.

    Example::

        >>> rustnn.broadcast_shapes((2,), (3, 1), (1, 1, 1))
        torch.Size([1, 3, 2])
    """
    wanted = [_sizes(shape) for shape in shapes]
    result = [1] * max((len(s) for s in wanted), default=0)
    for number, shape in enumerate(wanted):
        for back in range(1, len(shape) + 1):
            size = shape[-back]
            if size < 0:
                raise ValueError("Attempting to broadcast a dimension with negative length!")
            if size in (1, result[-back]):
                continue
            if result[-back] != 1:
                raise RuntimeError(
                    f"Attempting to broadcast a dimension of length {size} at {-back}! Mismatching argument at "
                    f"index {number} had {shape}; but expected shape should be broadcastable to {result}"
                )
            result[-back] = size
    return Size(result)


def _sizes(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, (tuple, list)):
        return tuple(operator.index(n) for n in shape)
    try:
        return (operator.index(shape),)
    except TypeError:
        raise RuntimeError(f"Input shapes should be of type ints or sequences of ints, got {shape}") from None
