"""Reading and writing safetensors files: a JSON header and raw tensors, with no code in them.

The names and meanings are those of the ``safetensors.torch`` module.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np

import rustnn
from rustnn._C import Tensor

from .._files import atomic_write

__all__ = ["SafetensorError", "load", "load_file", "safe_open", "save", "save_file"]

# dtype here -> name in the file, NumPy type of the bytes
_KINDS: dict[str, tuple[str, str]] = {
    "float64": ("F64", "<f8"),
    "float32": ("F32", "<f4"),
    "float16": ("F16", "<f2"),
    "bfloat16": ("BF16", "<i2"),
    "int64": ("I64", "<i8"),
    "int32": ("I32", "<i4"),
    "int16": ("I16", "<i2"),
    "int8": ("I8", "i1"),
    "uint8": ("U8", "u1"),
    "bool": ("BOOL", "?"),
}
_BY_NAME = {name: (dtype, kind) for dtype, (name, kind) in _KINDS.items()}
_NAMES = {getattr(rustnn, dtype): dtype for dtype in _KINDS}
_MAX_HEADER = 100_000_000


class SafetensorError(Exception):
    """A file that is not as the format demands, or tensors that can't be written."""


def _layout(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> tuple[bytes, list[Tensor]]:
    if not isinstance(tensors, Mapping):
        raise ValueError(f"Expected a dict of [str, Tensor] but received {type(tensors)}")
    header: dict[str, Any] = {}
    if metadata is not None:
        if not all(isinstance(k, str) and isinstance(v, str) for k, v in metadata.items()):
            raise ValueError("safetensors metadata must be a dict of str to str")
        header["__metadata__"] = dict(metadata)
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"Key `{name}` is invalid, expected a Tensor but received {type(tensor)}")
        if tensor.dtype not in _NAMES:
            raise SafetensorError(f"{name}: tensors of dtype {tensor.dtype} can't be written to safetensors")
    # Wide types first, so that all are aligned; names within.
    order = sorted(tensors, key=lambda n: (-tensors[n].element_size(), n))
    offset = 0
    for name in order:
        tensor = tensors[name]
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _KINDS[_NAMES[tensor.dtype]][0],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, [tensors[name] for name in order]


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().contiguous().reshape(-1)
    if flat.numel() == 0:
        return memoryview(b"")
    if flat.dtype == rustnn.bfloat16:
        flat = flat.view(rustnn.int16)
    array: Any = np.ascontiguousarray(flat.numpy())  # NumPy's types tell of the buffer only from Python 3.12 on
    return memoryview(array).cast("B")


def save_file(
    tensors: Mapping[str, Tensor], filename: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes named tensors, atomically.

    Raises:
        ValueError: a value is no tensor, or the metadata are not text.
        SafetensorError: a dtype the format lacks.

    Example:
        >>> save_file(model.state_dict(), "model.safetensors", {"epoch": "3"})
    """
    head, ordered = _layout(tensors, metadata)
    with atomic_write(filename) as file:
        file.write(head)
        for tensor in ordered:
            file.write(_bytes(tensor))


def save(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """What :func:`save_file` writes, as bytes."""
    head, ordered = _layout(tensors, metadata)
    return b"".join([head, *(_bytes(t) for t in ordered)])


def _header(start: bytes, text: bytes, total: int, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Parses and checks a header; ``total`` is the size of the whole file."""
    length = struct.unpack("<Q", start)[0]
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SafetensorError(f"{name}: Error while deserializing header: invalid JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise SafetensorError(f"{name}: Error while deserializing header: it is no JSON object")
    metadata = parsed.pop("__metadata__", {})
    data = total - 8 - length
    end = 0
    try:
        entries = sorted(parsed.items(), key=lambda item: item[1]["data_offsets"])
        for key, entry in entries:
            begin, stop = entry["data_offsets"]
            count = 1
            for n in entry["shape"]:
                if type(n) is not int or n < 0:
                    raise SafetensorError(f"{name}: tensor {key!r} has shape {entry['shape']}")
                count *= n
            if entry["dtype"] not in _BY_NAME:
                raise SafetensorError(f"{name}: tensor {key!r} has dtype {entry['dtype']}, which is not supported")
            size = count * np.dtype(_BY_NAME[entry["dtype"]][1]).itemsize
            if begin != end or stop - begin != size:
                raise SafetensorError(f"{name}: Error while deserializing header: tensor {key!r} has invalid offsets")
            end = stop
    except (KeyError, TypeError, ValueError) as error:
        raise SafetensorError(f"{name}: Error while deserializing header: {error!r}") from error
    if end != data:
        raise SafetensorError(
            f"{name}: Error while deserializing header: MetadataIncompleteBuffer: the tensors need {end} bytes, "
            f"the file has {data} (is it cut short?)"
        )
    return parsed, metadata if isinstance(metadata, dict) else {}


def _read_header(file: Any, total: int, name: str) -> tuple[dict[str, Any], dict[str, str], int]:
    start = file.read(8)
    if len(start) < 8:
        raise SafetensorError(f"{name}: Error while deserializing header: HeaderTooSmall: it has {len(start)} bytes")
    length = struct.unpack("<Q", start)[0]
    if length > _MAX_HEADER:
        raise SafetensorError(f"{name}: Error while deserializing header: HeaderTooLarge: no safetensors file?")
    if length > total - 8:
        raise SafetensorError(f"{name}: Error while deserializing header: InvalidHeaderLength: is it cut short?")
    entries, metadata = _header(start, file.read(length), total, name)
    return entries, metadata, 8 + length


def _tensor(array: np.ndarray[Any, Any], entry: dict[str, Any]) -> Tensor:
    dtype, _ = _BY_NAME[entry["dtype"]]
    if dtype == "bool":
        array = array.view(np.uint8) != 0
    tensor = rustnn.from_numpy(array)
    if dtype == "bfloat16":
        tensor = tensor.view(rustnn.bfloat16)
    return tensor.reshape(tuple(entry["shape"]))


class safe_open:
    """Opens a file to read single tensors of it.

    Example:
        >>> with safe_open("model.safetensors", framework="pt") as f:
        ...     for name in f.keys():
        ...         t = f.get_tensor(name)
    """

    def __init__(self, filename: str | os.PathLike[str], framework: str = "pt", device: Any = "cpu") -> None:
        if str(device).split(":")[0] != "cpu":
            raise SafetensorError(f"device {device} is not available; 'cpu' is")
        self._name = os.fspath(filename)
        self._file = open(self._name, "rb")  # closed by __exit__ or with the object
        try:
            total = os.fstat(self._file.fileno()).st_size
            self._entries, self._metadata, self._data = _read_header(self._file, total, self._name)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> safe_open:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def keys(self) -> list[str]:
        """The tensors' names."""
        return sorted(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def metadata(self) -> dict[str, str] | None:
        """The text that was saved along, if any."""
        return self._metadata or None

    def get_tensor(self, name: str) -> Tensor:
        """One tensor."""
        entry = self._entries.get(name)
        if entry is None:
            raise SafetensorError(f"File does not contain tensor {name}")
        begin, stop = entry["data_offsets"]
        kind = np.dtype(_BY_NAME[entry["dtype"]][1])
        array: Any = np.empty((stop - begin) // kind.itemsize, dtype=kind)
        self._file.seek(self._data + begin)
        if array.size and self._file.readinto(memoryview(array).cast("B")) != stop - begin:
            raise SafetensorError(f"{self._name}: it ends within tensor {name!r}")
        return _tensor(array, entry)


def load_file(filename: str | os.PathLike[str], device: Any = "cpu") -> dict[str, Tensor]:
    """All tensors of a file.

    Raises:
        SafetensorError: the file is cut short, damaged, or no safetensors file.
    """
    with safe_open(filename, device=device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def load(data: bytes) -> dict[str, Tensor]:
    """All tensors of a file's bytes."""
    import io

    entries, _, begin = _read_header(io.BytesIO(data), len(data), "the data")
    result = {}
    for name, entry in sorted(entries.items()):
        a, b = entry["data_offsets"]
        kind = np.dtype(_BY_NAME[entry["dtype"]][1])
        result[name] = _tensor(np.frombuffer(data[begin + a : begin + b], dtype=kind).copy(), entry)
    return result
