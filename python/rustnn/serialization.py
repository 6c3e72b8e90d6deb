"""Saving and loading nested state in PyTorch's own ``.pt`` format.

The format is a zip archive: ``data.pkl``, a pickle in which tensors stand as references, and a record of raw
bytes per storage. Loading does not run code from the file: only the names in a short list are resolved, unless
``weights_only=False`` asks for Python's full pickle.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import zipfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np

import rustnn
from rustnn._C import Tensor

from . import _stream_files
from ._files import atomic_write
from ._pickles import check_memo, named_damage

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "load",
    "safe_globals",
    "save",
]

# A storage's name in the file, its dtype here, and the NumPy type of its bytes.
_STORAGES: dict[str, tuple[str, str]] = {
    "FloatStorage": ("float32", "<f4"),
    "DoubleStorage": ("float64", "<f8"),
    "HalfStorage": ("float16", "<f2"),
    "BFloat16Storage": ("bfloat16", "<i2"),
    "LongStorage": ("int64", "<i8"),
    "IntStorage": ("int32", "<i4"),
    "ShortStorage": ("int16", "<i2"),
    "CharStorage": ("int8", "i1"),
    "ByteStorage": ("uint8", "u1"),
    "BoolStorage": ("bool", "?"),
}
_STORAGE_OF = {dtype: name for name, (dtype, _) in _STORAGES.items()}
_DTYPES = {name: getattr(rustnn, name) for name in _STORAGE_OF}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
# PyTorch reads records fastest, and can map them, at this alignment.
_ALIGN = 64

# What zipfile raises on damaged archives, besides its own error.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
)

_safe: list[Any] = []


def _qualified(obj: Any) -> str:
    return f"{obj.__module__}.{obj.__qualname__}"


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Lets ``load`` resolve these classes and functions too; (object, name) pairs give another name."""
    _safe.extend(safe_globals)


def clear_safe_globals() -> None:
    """Empties the list of :func:`add_safe_globals`."""
    _safe.clear()


def get_safe_globals() -> list[Any]:
    """What :func:`add_safe_globals` added."""
    return list(_safe)


@contextlib.contextmanager
def safe_globals(safe_globals: list[Any]) -> Iterator[None]:
    """:func:`add_safe_globals` for the length of a ``with`` block."""
    before = list(_safe)
    _safe.extend(safe_globals)
    try:
        yield
    finally:
        _safe[:] = before


# ---- writing ------------------------------------------------------------------------------------------------
class _Global:
    """A name to be written into the pickle as it stands."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self, *args: Any) -> Any:
        """Pickle demands that what it writes as a function can be called; this one never is."""
        raise NotImplementedError


class _StorageRef:
    """A reference to a storage's record."""

    def __init__(self, kind: _Global, key: str, numel: int) -> None:
        self.entry = ("storage", kind, key, "cpu", numel)


_PythonPickler: Any = pickle._Pickler  # typeshed leaves out most of its methods


class _Writer(_PythonPickler):  # type: ignore[misc]  # a base class that is Any
    """Writes tensors as PyTorch does and collects their storages."""

    # The Python implementation, because only it can write a name that this process can't import.
    dispatch = _PythonPickler.dispatch.copy()

    def __init__(self, file: IO[bytes], protocol: int) -> None:
        super().__init__(file, protocol=protocol)
        self.storages: list[Tensor] = []
        self._keys: dict[Any, str] = {}
        self._names: dict[str, _Global] = {}
        self._alive: list[Any] = []

    def _name(self, module: str, name: str) -> _Global:
        return self._names.setdefault(f"{module}.{name}", _Global(module, name))

    def _save_name(self, obj: _Global) -> None:
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    dispatch[_Global] = _save_name

    def _save_dtype(self, obj: Any) -> None:
        name = self._name("torch", str(obj).rsplit(".", 1)[-1])
        if id(name) in self.memo:
            self.write(self.get(self.memo[id(name)][0]))
        else:
            self._save_name(name)

    dispatch[type(rustnn.float32)] = _save_dtype

    def persistent_id(self, obj: Any) -> Any:
        return obj.entry if isinstance(obj, _StorageRef) else None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            return self._tensor(obj)
        if isinstance(obj, rustnn.Size):
            return self._name("torch", "Size"), (tuple(obj),)
        if isinstance(obj, rustnn.device):
            return self._name("torch", "device"), (str(obj),)
        return NotImplemented

    def _tensor(self, tensor: Tensor) -> Any:
        plain = tensor.detach()
        if isinstance(tensor, rustnn.nn.Parameter):
            arguments: tuple[Any, ...] = (_plain(plain), bool(tensor.requires_grad), OrderedDict())
            self._alive.append(arguments[0])
            return self._name("torch._utils", "_rebuild_parameter"), arguments
        dtype = _NAMES.get(plain.dtype)
        if dtype is None:
            raise RuntimeError(f"save: tensors of dtype {plain.dtype} can't be saved")
        size = plain.element_size()
        pointer, length = plain._storage_ptr()
        # An address says which storage it is while the tensor lives, hence the list of tensors.
        self._alive.append(plain)
        mark = (pointer, dtype) if pointer and length else ("empty", len(self._alive))
        numel = length // size
        key = self._keys.get(mark)
        if key is None:
            key = self._keys[mark] = str(len(self.storages))
            self.storages.append(plain.as_strided((numel,), (1,), 0) if numel else plain.reshape(-1))
        ref = _StorageRef(self._name("torch", _STORAGE_OF[dtype]), key, numel)
        self._alive.append(ref)
        return self._name("torch._utils", "_rebuild_tensor_v2"), (
            ref,
            plain.storage_offset(),
            tuple(plain.shape),
            tuple(plain.stride()),
            bool(tensor.requires_grad),
            OrderedDict(),
        )


def _plain(tensor: Tensor) -> Tensor:
    """The tensor as an instance of Tensor itself."""
    return tensor if type(tensor) is Tensor else tensor.as_subclass(Tensor)


def _bytes_of(storage: Tensor) -> memoryview:
    if storage.numel() == 0:
        return memoryview(b"")
    if storage.dtype == rustnn.bfloat16:
        storage = storage.view(rustnn.int16)
    array: Any = np.ascontiguousarray(storage.numpy())  # NumPy's types tell of the buffer only from Python 3.12 on
    return memoryview(array).cast("B")


def _add_record(archive: zipfile.ZipFile, name: str, data: Any) -> None:
    """Adds an uncompressed record whose bytes begin at a multiple of the alignment."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    size = len(data)
    wide = size * 1.05 > zipfile.ZIP64_LIMIT
    begin = archive.start_dir + 30 + len(name.encode()) + 4 + (20 if wide else 0)
    pad = -begin % _ALIGN
    info.extra = struct.pack("<HH", 0x4246, pad) + b"Z" * pad
    archive.writestr(info, data)


def _write(obj: Any, file: IO[bytes], folder: str, protocol: int) -> None:
    stream = io.BytesIO()
    writer = _Writer(stream, protocol)
    writer.dump(obj)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _add_record(archive, f"{folder}/data.pkl", stream.getvalue())
        _add_record(archive, f"{folder}/.format_version", b"1")
        _add_record(archive, f"{folder}/.storage_alignment", str(_ALIGN).encode())
        _add_record(archive, f"{folder}/byteorder", b"little")
        for key, storage in enumerate(writer.storages):
            _add_record(archive, f"{folder}/data/{key}", _bytes_of(storage))
        _add_record(archive, f"{folder}/version", b"3\n")


def save(
    obj: Any,
    f: str | os.PathLike[str] | IO[bytes],
    pickle_module: Any = pickle,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Writes ``obj``, any nesting of tensors and plain Python values, as a ``.pt`` file that PyTorch reads too.

    Views share their storage in the file as they do in memory. A path is written atomically: an error, a full
    disk among them, leaves an old file as it was.

    Raises:
        OSError: the file can't be written.
        RuntimeError: the folder does not exist.

    Example:
        >>> rustnn.save({"model": model.state_dict(), "epoch": 3}, "run.pt")
    """
    if hasattr(f, "write"):
        _write(obj, f, "archive", pickle_protocol)  # type: ignore[arg-type]
        return
    path = os.fspath(f)
    folder = os.path.splitext(os.path.basename(path))[0] or "archive"
    with atomic_write(path) as file:
        _write(obj, file, folder, pickle_protocol)


# ---- reading ------------------------------------------------------------------------------------------------
class _Storage:
    """A storage that was read: all its elements as a flat tensor, and where it was saved from."""

    def __init__(self, tensor: Tensor, location: str) -> None:
        self.tensor, self.location = tensor, location

    def cpu(self) -> _Storage:
        """Itself: it is in main memory already."""
        return self

    def __len__(self) -> int:
        return int(self.tensor.numel())


class _StorageType:
    """What a storage's name in the pickle resolves to."""

    def __init__(self, name: str) -> None:
        self.dtype, self.numpy = _STORAGES[name]


def _rebuild_tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    metadata: Any = None,
) -> Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor in the file refers to something that is no storage")
    sizes, strides = tuple(map(int, size)), tuple(map(int, stride))
    if len(sizes) != len(strides) or int(offset) < 0 or any(n < 0 for n in (*sizes, *strides)):
        raise pickle.UnpicklingError(f"a tensor in the file has shape {sizes}, strides {strides}, offset {offset}")
    last = int(offset) + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
    if 0 not in sizes and last >= len(storage):
        raise pickle.UnpicklingError(
            f"a tensor in the file (shape {sizes}, strides {strides}, offset {offset}) reaches past the end of "
            f"its storage of {len(storage)} elements"
        )
    tensor = storage.tensor.as_strided(sizes, strides, int(offset)).detach()
    return tensor.requires_grad_() if requires_grad else tensor


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any = None, state: Any = None) -> Any:
    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError("a parameter in the file holds something that is no tensor")
    return rustnn.nn.Parameter(data, bool(requires_grad))


def _rebuild_from_type(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """A tensor of a class of its own (`nn.Buffer`): made by one of the functions above, as a plain tensor."""
    if not isinstance(made := function(*arguments), Tensor):
        raise pickle.UnpicklingError("a tensor in the file is made by something that makes no tensor")
    return made


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    """``codecs.encode`` as old pickle protocols use it for bytes, and for nothing else."""
    if not isinstance(text, str) or encoding not in ("latin1", "utf-8"):
        raise pickle.UnpicklingError(f"refused to call codecs.encode(..., {encoding!r})")
    return text.encode(encoding)


def _fresh(function: Callable[..., Any]) -> Callable[..., Any]:
    """A new object per load, so that nothing a file does to it outlives the load."""
    return lambda *args: function(*args)


def _allowed() -> dict[tuple[str, str], Any]:
    names: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("collections", "Counter"): Counter,
        ("torch", "Size"): _fresh(lambda *a: rustnn.Size(*a)),
        ("torch.serialization", "_get_layout"): _fresh(lambda name: rustnn.strided),
        ("torch", "device"): _fresh(lambda *a: rustnn.device(*a)),
        ("torch._utils", "_rebuild_tensor"): _fresh(_rebuild_tensor),
        ("torch._utils", "_rebuild_tensor_v2"): _fresh(_rebuild_tensor),
        ("torch._utils", "_rebuild_parameter"): _fresh(_rebuild_parameter),
        ("torch._utils", "_rebuild_parameter_with_state"): _fresh(_rebuild_parameter),
        ("torch._tensor", "_rebuild_from_type_v2"): _fresh(_rebuild_from_type),
        ("torch", "Tensor"): "Tensor",  # this and the next are only named, never called
        ("torch.nn.parameter", "Buffer"): "Buffer",
        ("torch.nn.parameter", "Parameter"): _fresh(lambda *a: _rebuild_parameter(a[0], *a[1:2] or (True,))),
        ("_codecs", "encode"): _fresh(_encode),
    }
    for module in ("__builtin__", "builtins"):
        names.update({(module, t.__name__): t for t in (set, frozenset, bytearray, complex)})
    for name in _STORAGES:
        names["torch", name] = _StorageType(name)
    for name, dtype in _DTYPES.items():
        names["torch", name] = dtype
    for entry in _safe:
        obj, full = entry if isinstance(entry, tuple) else (entry, _qualified(entry))
        module, _, name = full.rpartition(".")
        names[module, name] = obj
        if module.split(".")[0] == "rustnn":
            names["torch" + module.removeprefix("rustnn"), name] = obj
    return names


class _Reader(pickle.Unpickler):
    """Resolves the allowed names only."""

    def __init__(self, file: IO[bytes], read: Callable[[Any], _Storage], **options: Any) -> None:
        super().__init__(file, **options)
        self._read = read
        self._names = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        found = self._names.get((module, name), self)
        if found is self:
            full = f"{module}.{name}"
            raise pickle.UnpicklingError(
                f"Weights only load failed: Unsupported global: GLOBAL {full} was not an allowed global by default. "
                "The file holds more than tensors and plain values, and to make such an object runs code.\n"
                f"  If you trust {full}, allow it: rustnn.serialization.add_safe_globals([{full}]).\n"
                "  If you trust the file's source entirely: rustnn.load(file, weights_only=False).\n"
                "  If you made the file: save model.state_dict() instead of the model."
            )
        return found

    def persistent_load(self, pid: Any) -> _Storage:
        return self._read(pid)


class _TrustingReader(_Reader):
    """Resolves every name; PyTorch's are looked up here first."""

    def find_class(self, module: str, name: str) -> Any:
        found = self._names.get((module, name), self)
        if found is not self:
            return found
        if module == "torch" or module.startswith("torch."):
            with contextlib.suppress(ImportError, AttributeError):
                return pickle.Unpickler.find_class(self, "rustnn" + module[5:], name)
        return pickle.Unpickler.find_class(self, module, name)


class _Archive:
    """An open ``.pt`` file: its pickle and its storages."""

    def __init__(self, file: IO[bytes], name: str, path: str | None, mapped: bool) -> None:
        self.name, self.path, self.mapped = name, path, mapped
        try:
            self.zip = zipfile.ZipFile(file)
        except _DAMAGE as error:
            raise RuntimeError(self._diagnose(file, error)) from error
        self.size = file.seek(0, io.SEEK_END)
        names = self.zip.namelist()
        pickles = [n for n in names if n.count("/") == 1 and n.endswith("/data.pkl")]
        if not pickles:
            kind = "a TorchScript archive" if any("/code/" in n for n in names) else "a zip archive of something else"
            raise RuntimeError(f"{name} is {kind}: it has no data.pkl, so rustnn.save or torch.save did not write it")
        self.folder = pickles[0].split("/")[0]
        self.file = file
        order = f"{self.folder}/byteorder"
        if order in names and self.record("byteorder") != b"little":
            raise RuntimeError(f"{name} was saved on a big-endian machine, which is not supported")

    def _diagnose(self, file: IO[bytes], error: Exception) -> str:
        file.seek(0)
        start = file.read(16)
        if not start:
            return f"{self.name} is empty (Ran out of input)"
        if start.startswith(b"PK"):
            return (
                f"{self.name}: failed reading zip archive: failed finding central directory. The file is cut short or "
                "damaged: it was not written or copied to its end"
            )
        if start[8:9] == b"{":
            return f"{self.name} looks like a safetensors file: use rustnn.interop.load_file"
        return f"{self.name} is no file of rustnn.save or torch.save (its first bytes are {start[:8]!r})"

    def record(self, name: str) -> bytes:
        try:
            return self.zip.read(f"{self.folder}/{name}")
        except KeyError as error:
            raise RuntimeError(f"{self.name}: the record {name} is missing") from error
        except _DAMAGE as error:
            raise RuntimeError(f"{self.name}: the record {name} is damaged: {error}") from error

    def array(self, key: str, count: int, dtype: str) -> np.ndarray[Any, Any]:
        """The elements of a storage's record."""
        kind = np.dtype(dtype)
        try:
            info = self.zip.getinfo(f"{self.folder}/data/{key}")
        except KeyError as error:
            raise RuntimeError(f"{self.name}: the record data/{key} of a storage is missing") from error
        whole = info.compress_type != zipfile.ZIP_STORED or info.file_size <= self.size
        if count < 0 or not whole or info.file_size < count * kind.itemsize:
            raise RuntimeError(
                f"{self.name}: the record data/{key} does not hold the {count} elements that the pickle says"
            )
        if self.mapped and self.path is not None and info.compress_type == zipfile.ZIP_STORED and count:
            with open(self.path, "rb") as file:
                file.seek(info.header_offset)
                header = file.read(30)
            skip = sum(struct.unpack("<HH", header[26:30]))
            # Copy on write: changes stay in memory, as for a file that was read.
            return np.memmap(self.path, kind, "c", info.header_offset + 30 + skip, (count,))
        out = np.empty(count, dtype=kind)
        buffer: Any = out
        view, got = memoryview(buffer).cast("B") if count else memoryview(b""), 0
        try:
            with self.zip.open(info) as stream:
                while got < len(view):
                    n = stream.readinto(view[got:])  # type: ignore[attr-defined]
                    if not n:
                        raise EOFError("it ends too early")
                    got += n
                stream.read(1)  # at its end the record's checksum is compared
        except _DAMAGE as error:
            raise RuntimeError(f"{self.name}: the record data/{key} is damaged: {error}") from error
        return out


def _place(location: str, map_location: Any) -> None:
    """Checks that a storage saved from ``location`` may come to main memory, the only place there is."""
    target: Any = location
    if isinstance(map_location, dict):
        target = map_location.get(location, location)
    elif map_location is not None and not callable(map_location):
        target = map_location
    kind = str(target).split(":")[0]
    if kind == "cpu":
        return
    if map_location is None:
        raise RuntimeError(
            f"Attempting to deserialize object on a {kind.upper()} device but {kind} is not available. If you are "
            "running on a CPU-only machine, please use torch.load with map_location=torch.device('cpu') to map "
            "your storages to the CPU."
        )
    raise RuntimeError(f"load: map_location={map_location!r} names a device that is not available; 'cpu' is")


def load(
    f: str | os.PathLike[str] | IO[bytes],
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Reads what :func:`save` or ``torch.save`` wrote.

    Args:
        map_location: where storages saved from another device go: ``"cpu"``, a device, a dict, or a function of
            the storage and its place; main memory is the only place.
        weights_only: resolve only tensors, plain values and :func:`add_safe_globals` (the default). False runs
            whatever the file says: only for files whose source you trust.
        mmap: map the storages instead of reading them; needs a path.

    Raises:
        pickle.UnpicklingError: the file names something that is not allowed, or its pickle is wrong.
        RuntimeError: it is cut short, damaged, or no such file; or it wants a device that is not there.

    Example:
        >>> state = rustnn.load("run.pt")
    """
    path = None if hasattr(f, "read") else os.fspath(f)
    if mmap and path is None:
        raise ValueError("f must be a file path in order to use the mmap argument")
    if path is None:
        return _load(f, "the stream", None, map_location, weights_only, False, pickle_load_args)  # type: ignore[arg-type]
    with open(path, "rb") as file:
        return _load(file, str(path), str(path), map_location, weights_only, bool(mmap), pickle_load_args)


def _load(
    file: IO[bytes],
    name: str,
    path: str | None,
    map_location: Any,
    weights_only: bool | None,
    mapped: bool,
    options: dict[str, Any],
) -> Any:
    reader = _TrustingReader if weights_only is False else _Reader
    begin = file.tell()
    start = file.read(32)
    file.seek(begin)

    def placed(tensor: Tensor, location: str) -> _Storage:
        found = _Storage(tensor, location)
        _place(location, map_location)
        result = map_location(found, location) if callable(map_location) else None
        return result if isinstance(result, _Storage) else found

    if _stream_files.starts_like_one(start):
        if mapped:
            raise RuntimeError(
                "mmap can only be used with files saved with `torch.save(_use_new_zipfile_serialization=True)`, "
                f"{name} has the format of PyTorch before 1.6"
            )
        with named_damage(name, weights_only is False):
            return _stream_files.load_stream(file, name, reader, placed, options, weights_only is False)
    archive = _Archive(file, name, path, mapped)
    storages: dict[str, _Storage] = {}

    def read(pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage"):
            raise pickle.UnpicklingError(f"{name}: unknown reference {pid!r}")
        _, kind, key, location, numel = pid
        if not isinstance(kind, _StorageType) or not isinstance(numel, int):
            raise pickle.UnpicklingError(f"{name}: a storage of an unknown type")
        found = storages.get(str(key))
        if found is None:
            array = archive.array(str(key), numel, kind.numpy)
            if kind.dtype == "bool":
                array = array.view(np.uint8) != 0  # other bytes than 0 and 1 are no bools
            tensor = rustnn.from_numpy(array)
            if kind.dtype == "bfloat16":
                tensor = tensor.view(rustnn.bfloat16)
            found = storages[str(key)] = placed(tensor, str(location))
        return found

    data = archive.record("data.pkl")
    if weights_only is not False:
        check_memo(data, name)
    stream = io.BytesIO(data)
    with named_damage(name, weights_only is False):
        return reader(stream, read, **options).load()
