"""Sequences of unequal length: packing, padding, and their inverses."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

from .._base import _C, Tensor

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Packed(NamedTuple):
    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


class PackedSequence(_Packed):
    """The steps of several sequences one after the other, without padding.

    ``data`` holds step 0 of all sequences (longest first), then step 1 of those
    that have one, and so on; ``batch_sizes`` says how many each step has.
    """

    __slots__ = ()

    def __new__(  # noqa: PYI034
        cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None
    ) -> PackedSequence:
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("data must be a tuple of (data, batch_sizes)")
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same sequences with ``data.to(...)``."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else type(self)(data, self.batch_sizes, self.sorted_indices)

    def cpu(self) -> PackedSequence:
        """On the CPU, where it is."""
        return self

    def float(self) -> PackedSequence:
        """As float32."""
        return self.to(_C.float32)

    def double(self) -> PackedSequence:
        """As float64."""
        return self.to(_C.float64)

    def half(self) -> PackedSequence:
        """As float16."""
        return self.to(_C.float16)

    def long(self) -> PackedSequence:
        """As int64."""
        return self.to(_C.int64)

    @property
    def is_cuda(self) -> bool:
        """False."""
        return False

    def is_pinned(self) -> bool:
        """False: rustnn pins no memory."""
        return False

    def pin_memory(self) -> PackedSequence:
        """Itself."""
        return self


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes ``permutation``."""
    if permutation is None:
        return None
    output = _C.empty_like(permutation)
    output.scatter_(0, permutation, _C.arange(0, permutation.numel(), dtype=permutation.dtype))
    return output


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Packs sequences padded to one length.

    Args:
        input: ``(T, B, *)``, or ``(B, T, *)`` with ``batch_first``.
        lengths: the length of each sequence.
        enforce_sorted: the lengths fall; otherwise they are sorted here.
    """
    if not isinstance(lengths, Tensor):
        lengths = _C.tensor(list(lengths), dtype=_C.int64)
    sizes = [int(n) for n in lengths.tolist()]
    sorted_indices = None
    if not enforce_sorted:
        lengths, sorted_indices = lengths.sort(descending=True)
        input = input.index_select(0 if batch_first else 1, sorted_indices)
        sizes = [int(n) for n in lengths.tolist()]
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    batch = input.shape[0] if batch_first else input.shape[1]
    if len(sizes) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(sizes)} (batch_size={batch})"
        )
    if any(a < b for a, b in itertools.pairwise(sizes)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement "
            "if you do not need ONNX exportability."
        )
    if sizes[-1] <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    steps = input.transpose(0, 1) if batch_first else input
    if sizes[0] > steps.shape[0]:
        raise RuntimeError(f"start (0) + length ({sizes[0]}) exceeds dimension size ({steps.shape[0]}).")
    batch_sizes = [sum(1 for n in sizes if n > t) for t in range(sizes[0])]
    # Steps with equally many sequences are cut out together.
    pieces = []
    begin = 0
    for t in range(1, len(batch_sizes) + 1):
        if t == len(batch_sizes) or batch_sizes[t] != batch_sizes[begin]:
            piece = steps[begin:t, : batch_sizes[begin]]
            pieces.append(piece.reshape((-1, *tuple(input.shape[2:]))))
            begin = t
    data = pieces[0] if len(pieces) == 1 else _C.cat(pieces, 0)
    return PackedSequence(data, _C.tensor(batch_sizes, dtype=_C.int64), sorted_indices, None)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The inverse of packing: ``(padded, lengths)``.

    Args:
        total_length: pad to this length instead of the longest sequence's.
    """
    data = sequence.data
    batch_sizes = [int(n) for n in sequence.batch_sizes.tolist()]
    longest = len(batch_sizes)
    if total_length is not None:
        if total_length < longest:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, "
                f"but got total_length={total_length} and max sequence length being {longest}"
            )
        longest = total_length
    batch = batch_sizes[0]
    rest = tuple(data.shape[1:])
    # Row of the packed data for each (step, sequence), or the extra row of padding.
    lengths = [0] * batch
    rows = []
    begin = 0
    for t in range(longest):
        n = batch_sizes[t] if t < len(batch_sizes) else 0
        rows += [*range(begin, begin + n), *([data.shape[0]] * (batch - n))]
        for b in range(n):
            lengths[b] += 1
        begin += n
    pad = _C.full((1, *rest), padding_value, dtype=data.dtype)
    padded = _C.cat([data, pad], 0).index_select(0, _C.tensor(rows, dtype=_C.int64)).reshape((longest, batch, *rest))
    sizes = _C.tensor(lengths, dtype=_C.int64)
    if batch_first:
        padded = padded.transpose(0, 1)
    unsorted = sequence.unsorted_indices
    if unsorted is not None:
        return padded.index_select(0 if batch_first else 1, unsorted), sizes[unsorted]
    return padded, sizes


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Stacks sequences ``(L_i, *)`` of unequal lengths, padded to the longest.

    Returns:
        ``(T, B, *)``, or ``(B, T, *)`` with ``batch_first``.
    """
    if isinstance(sequences, Tensor):
        sequences = sequences.unbind(0)
    elif not isinstance(sequences, Iterable):
        raise RuntimeError(  # noqa: TRY004
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f'padding_side must be either "right" or "left", got {padding_side}')
    longest = max(s.shape[0] for s in sequences)
    padded = []
    for s in sequences:
        if s.shape[0] < longest:
            fill = _C.full((longest - s.shape[0], *tuple(s.shape[1:])), padding_value, dtype=s.dtype)
            s = _C.cat([s, fill] if padding_side == "right" else [fill, s], 0)
        padded.append(s)
    return _C.stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The inverse of :func:`pad_sequence`: a list of sequences of the given lengths."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [s[: int(n)] for s, n in zip(padded_sequences.unbind(0), lengths.tolist(), strict=True)]


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Packs a list of sequences ``(L_i, *)``."""
    lengths = _C.tensor([s.shape[0] for s in sequences], dtype=_C.int64)
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The inverse of :func:`pack_sequence`."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
