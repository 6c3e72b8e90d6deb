"""Files in PyTorch's format before 1.6, which `torch.save(..., _use_new_zipfile_serialization=False)` still writes.

Five pickles in a row: a magic number, the format's version, facts about the machine, the object, in which storages
stand as references, and the storages' keys; then each storage's length and bytes, in the order of the keys.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable
from typing import IO, Any

import numpy as np

import rustnn

from ._pickles import check_memo

__all__ = ["load_stream", "starts_like_one"]

# Bytes of a pickle whose memos are looked at; one this long has as many instructions.
_LOOK = 64 << 20
_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001


def starts_like_one(start: bytes) -> bool:
    """Whether a file that begins with these (at least 16) bytes is of this format."""
    return start[:1] == b"\x80" and _MAGIC.to_bytes(10, "little") in start


class _Storages:
    """The storages that the object refers to: made when they are first named, filled at the end."""

    def __init__(self, name: str, size: int, make: Callable[[Any, str], Any]) -> None:
        self.name, self.size, self.make = name, size, make
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.made: dict[Any, Any] = {}

    def read(self, pid: Any) -> Any:
        """What a reference in the pickle stands for."""
        if not (isinstance(pid, tuple) and pid) or pid[0] not in ("storage", b"storage", "module"):
            raise pickle.UnpicklingError(f"{self.name}: unknown reference {pid!r}")
        if pid[0] == "module":
            return pid[1]  # the class; its source text, which old files carry along, is not looked at
        if len(pid) != 6:
            raise pickle.UnpicklingError(f"{self.name}: unknown reference {pid!r}")
        _, kind, key, location, numel, view = pid
        dtype = getattr(kind, "numpy", None)
        if dtype is None or not isinstance(numel, int) or numel < 0:
            raise pickle.UnpicklingError(f"{self.name}: a storage of an unknown type")
        whole = self.arrays.get(str(key))
        if whole is None:
            if numel * np.dtype(dtype).itemsize > self.size:
                raise RuntimeError(f"{self.name}: it does not hold the {numel} elements that a storage should have")
            whole = self.arrays[str(key)] = np.zeros(numel, np.uint8 if kind.dtype == "bool" else dtype)
        part = None if view is None else (str(view[0]), int(view[1]), int(view[2]))
        mark = (str(key), part)
        if mark not in self.made:
            seen = whole if part is None else whole[part[1] : part[1] + part[2]]
            tensor = rustnn.from_numpy(seen.view(np.bool_) if kind.dtype == "bool" else seen)
            if kind.dtype == "bfloat16":
                tensor = tensor.view(rustnn.bfloat16)
            self.made[mark] = self.make(tensor, str(location))
        return self.made[mark]

    def fill(self, file: IO[bytes], keys: Any) -> None:
        """Reads the bytes of all storages."""
        for key in keys:
            array = self.arrays.get(str(key))
            head = file.read(8)
            if array is None or len(head) < 8 or struct.unpack("<q", head)[0] != array.size:
                raise RuntimeError(f"{self.name}: the storage {key} is missing or of another length")
            data = file.read(array.nbytes)
            if len(data) < array.nbytes:
                raise RuntimeError(f"{self.name} is cut short: the storage {key} ends too early")
            array[...] = np.frombuffer(data, array.dtype)
            if array.dtype == np.uint8 and self._is_bool(str(key)):
                array[...] = array != 0  # other bytes than 0 and 1 are no bools

    def _is_bool(self, key: str) -> bool:
        return any(mark[0] == key and made.tensor.dtype == rustnn.bool for mark, made in self.made.items())


def load_stream(
    file: IO[bytes],
    name: str,
    reader: Any,
    make: Callable[[Any, str], Any],
    options: dict[str, Any],
    trusted: bool = False,
) -> Any:
    """The object in `file`.

    Args:
        trusted: its pickles are read without a look at their memos first.
        reader: the class of unpickler, which decides what names are resolved.
        make: gives the storage for a flat tensor and the place it was saved from.
        options: for the unpickler.
    """
    begin = file.tell()
    size = file.seek(0, io.SEEK_END) - begin
    file.seek(begin)
    storages = _Storages(name, size, make)

    def part() -> Any:
        if not trusted:
            here = file.tell()
            check_memo(file.read(_LOOK), name)
            file.seek(here)
        return reader(file, storages.read, **options).load()

    if part() != _MAGIC:
        raise RuntimeError(f"{name}: Invalid magic number; corrupt file?")
    if (version := part()) != _VERSION:
        raise RuntimeError(f"Invalid protocol version: {version}")
    facts = part()
    if isinstance(facts, dict) and facts.get("little_endian") is False:
        raise RuntimeError(f"{name} was saved on a big-endian machine, which is not supported")
    result = part()
    storages.fill(file, part())
    return result
