"""Functions of the top module that are methods, views that are copied, and calls in forms that the native ones lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rustnn import _C

Tensor = Any

__all__ = [
    "as_strided_",
    "as_strided_copy",
    "detach_",
    "detach_copy",
    "diagonal_copy",
    "einsum",
    "expand_copy",
    "fill",
    "get_device",
    "is_conj",
    "is_inference",
    "is_neg",
    "is_same_size",
    "is_signed",
    "permute_copy",
    "resize_as_",
    "result_type",
    "select_copy",
    "split_copy",
    "split_with_sizes_copy",
    "squeeze_copy",
    "t_copy",
    "tensordot",
    "transpose_copy",
    "unbind_copy",
    "unfold_copy",
    "unsafe_split_with_sizes",
    "unsqueeze_copy",
    "view_copy",
]


def detach_(input: Tensor) -> Tensor:
    """Takes the tensor itself out of the graph."""
    return input.detach_()


def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor like `input` of one value: a number, or a 0-d tensor, which gets the gradient's sum.

    Example::

        >>> rustnn.fill(rustnn.zeros(2), 3.0)
        tensor([3., 3.])
    """
    return input.clone().fill_(value)


def get_device(input: Tensor) -> int:
    """-1: the number of the CPU as a device."""
    return -1


def is_conj(input: Tensor) -> bool:
    """False: real tensors are never lazily conjugated."""
    return False


def is_neg(input: Tensor) -> bool:
    """False: tensors are never lazily negated."""
    return False


def is_inference(input: Tensor) -> bool:
    """Whether the tensor was made in inference mode."""
    return bool(input.is_inference())


def is_signed(input: Tensor) -> bool:
    """Whether the tensor's dtype has negative numbers."""
    return bool(input.dtype.is_signed)


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape."""
    return tuple(input.shape) == tuple(other.shape)


def resize_as_(input: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """Gives the tensor the shape of another in place."""
    return input.resize_as_(the_template)


def result_type(tensor1: Any, tensor2: Any) -> Any:
    """The dtype in which two operands, tensors or numbers, meet.

    Example::

        >>> rustnn.result_type(rustnn.ones(2, dtype=rustnn.int8), 1.5)
        torch.float32
    """

    def empty(value: Any) -> Any:
        if not isinstance(value, _C.Tensor):
            return value
        return value.detach().flatten()[:0] if value.dim() else value.detach()

    first, second = empty(tensor1), empty(tensor2)
    if not isinstance(first, _C.Tensor):
        first, second = second, first
    if not isinstance(first, _C.Tensor):
        first = _C.tensor(first)
    return _C.mul(first, second).dtype


def tensordot(a: Tensor, b: Tensor, dims: Any = 2, out: Tensor | None = None) -> Tensor:
    """The sum of products over dimensions of both tensors.

    Args:
        a: one operand.
        b: the other.
        dims: a number of dimensions, the last of `a` and the first of `b`; or two lists of dimensions (or a tensor
            of two rows).
        out: where the result is written.

    Raises:
        RuntimeError: the dimensions differ in number or size.

    Example::

        >>> rustnn.tensordot(rustnn.ones(2, 3), rustnn.ones(3, 4), dims=1).shape
        torch.Size([2, 4])
    """
    if isinstance(dims, _C.Tensor):
        dims = dims.tolist() if dims.dim() else int(dims)
    if isinstance(dims, (tuple, list)):
        if len(dims) == 1:
            dims = int(dims[0])
        elif len(dims) != 2:
            raise RuntimeError(f"tensordot: dims must be a number or two lists of dimensions, got {dims!r}")
    if isinstance(dims, (tuple, list)):
        first, second = ([int(d)] if isinstance(d, int) else [int(v) for v in d] for d in dims)
    else:
        count = int(dims)
        if count < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={count}")
        if count > min(a.dim(), b.dim()):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={count}")
        first, second = list(range(a.dim() - count, a.dim())), list(range(count))
    result = _C._tensordot(a, b, first, second)
    return result if out is None else _into(out, result)


def _into(out: Tensor, result: Tensor) -> Tensor:
    if tuple(out.shape) != tuple(result.shape):
        out.resize_(result.shape)
    return out.copy_(result)


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _subscripts(places: Sequence[Any]) -> str:
    text = ""
    for place in places:
        if place is Ellipsis:
            text += "..."
        elif isinstance(place, int) and 0 <= place < len(_LETTERS):
            text += _LETTERS[place]
        else:
            raise ValueError(f"einsum: a subscript has to be an int in [0, 52) or Ellipsis, got {place!r}")
    return text


def einsum(equation: Any, *operands: Any) -> Tensor:
    """The sum of products by Einstein's convention.

    Args:
        equation: such as `"ij,jk->ik"`; or the first operand, where each is followed by its list of subscripts
            (numbers below 52, `...`), and the last perhaps by the result's list.
        operands: the operands, one list of them, or what follows the first one.

    Raises:
        ValueError: a call without operands, or subscripts that are none.
        RuntimeError: an equation that the operands do not fit.

    Example::

        >>> rustnn.einsum("ij->j", rustnn.ones(2, 3))
        tensor([2., 2., 2.])
        >>> rustnn.einsum(rustnn.ones(2, 3), [0, 1], rustnn.ones(3), [1], [0])
        tensor([3., 3.])
    """
    if not operands:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one operand and its "
            "subscripts list"
        )
    if isinstance(equation, _C.Tensor):
        given = (equation, *operands)
        pairs = len(given) // 2
        text = ",".join(_subscripts(given[2 * i + 1]) for i in range(pairs))
        if len(given) % 2:
            text += "->" + _subscripts(given[-1])
        return _C.einsum(text, *given[: 2 * pairs : 2])
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        return _C.einsum(equation, *operands[0])
    return _C.einsum(equation, *operands)


def as_strided_(
    input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """Gives the tensor itself another layout over its storage."""
    return input.as_strided_(size, stride, storage_offset)


def unsafe_split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """As `split` with a list of sizes."""
    return _C.split(input, list(split_sizes), dim)


def as_strided_copy(
    input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """A copy of what `as_strided` shows."""
    return input.as_strided(size, stride, storage_offset).clone()


def detach_copy(input: Tensor) -> Tensor:
    """A copy outside of the graph."""
    return input.detach().clone()


def diagonal_copy(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of what `diagonal` shows."""
    return input.diagonal(offset, dim1, dim2).clone()


def expand_copy(input: Tensor, size: Sequence[int], *, implicit: bool = False) -> Tensor:
    """A copy of what `expand` shows."""
    return input.expand(size).contiguous().clone()


def permute_copy(input: Tensor, dims: Sequence[int]) -> Tensor:
    """A copy of what `permute` shows."""
    return input.permute(dims).clone()


def select_copy(input: Tensor, dim: int, index: int) -> Tensor:
    """A copy of what `select` shows."""
    return input.select(dim, index).clone()


def split_copy(input: Tensor, split_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Copies of what `split` shows."""
    return tuple(t.clone() for t in _C.split(input, split_size, dim))


def split_with_sizes_copy(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Copies of what `split` with a list of sizes shows."""
    return tuple(t.clone() for t in _C.split(input, list(split_sizes), dim))


def squeeze_copy(input: Tensor, dim: Any = None) -> Tensor:
    """A copy of what `squeeze` shows."""
    return (input.squeeze() if dim is None else input.squeeze(dim)).clone()


def t_copy(input: Tensor) -> Tensor:
    """A copy of what `t` shows."""
    return input.t().clone()


def transpose_copy(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A copy of what `transpose` shows."""
    return input.transpose(dim0, dim1).clone()


def unbind_copy(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Copies of what `unbind` shows."""
    return tuple(t.clone() for t in input.unbind(dim))


def unfold_copy(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A copy of what `unfold` shows."""
    return input.unfold(dimension, size, step).clone()


def unsqueeze_copy(input: Tensor, dim: int) -> Tensor:
    """A copy of what `unsqueeze` shows."""
    return input.unsqueeze(dim).clone()


def view_copy(input: Tensor, size: Any) -> Tensor:
    """A copy of what `view` shows."""
    return input.view(size).clone()
