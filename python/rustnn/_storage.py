"""`untyped_storage()` and `storage()`: the memory under a tensor."""

from __future__ import annotations

from typing import Any

from rustnn import _C

__all__ = ["TypedStorage", "UntypedStorage", "attach"]

Tensor = _C.Tensor


class UntypedStorage:
    """The bytes that a tensor and its views share.

    Args:
        source: the tensor; or a number of bytes, or their values, for a storage of its own.

    Example::

        >>> rustnn.UntypedStorage([1, 2, 3]).nbytes()
        3
    """

    def __init__(self, source: Any = 0, *, device: Any = None) -> None:
        if device is not None:
            _C.empty(0, device=device)
        if isinstance(source, int):
            if source < 0:
                raise RuntimeError(f"UntypedStorage: the number of bytes cannot be negative, got {source}")
            source = _C.empty(source, dtype=_C.uint8)
        elif not isinstance(source, _C.Tensor):
            source = _C.tensor(list(source), dtype=_C.uint8)
        self._tensor = source

    @classmethod
    def from_file(cls, filename: Any, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The bytes of a file, read from the disk when they are used.

        Args:
            filename: the path.
            shared: writes reach the file (which is made longer if it is too short); else they stay in memory.
            nbytes: how many bytes from the beginning.

        Raises:
            RuntimeError: the file is shorter than that.
        """
        import os

        import numpy as np

        if nbytes == 0:
            return cls(0)
        path = os.fspath(filename)
        if shared:
            with open(path, "ab") as file:
                file.truncate(max(nbytes, os.path.getsize(path)))
        elif os.path.getsize(path) < nbytes:
            raise RuntimeError(
                f"UntypedStorage.from_file: {path!r} has {os.path.getsize(path)} bytes, {nbytes} were asked for"
            )
        mapped = np.memmap(path, dtype=np.uint8, mode="r+" if shared else "c", shape=(nbytes,))
        return cls(_C.from_numpy(np.asarray(mapped)))

    def untyped(self) -> UntypedStorage:
        """This storage."""
        return self

    def clone(self) -> UntypedStorage:
        """A copy of the bytes."""
        return UntypedStorage(self._bytes().clone())

    def data_ptr(self) -> int:
        """Address of the first byte."""
        return int(self._tensor._storage_ptr()[0])

    def nbytes(self) -> int:
        """Size in bytes."""
        return int(self._tensor._storage_ptr()[1])

    size = nbytes
    __len__ = nbytes

    @property
    def device(self) -> Any:
        """The CPU."""
        return self._tensor.device

    def _bytes(self) -> Any:
        size = self._tensor.element_size()
        flat = _C._restride(self._tensor.detach(), [self.nbytes() // size], [1], 0)
        return flat.view(_C.uint8) if flat.numel() else _C.empty(0, dtype=_C.uint8)

    def tolist(self) -> list[int]:
        """The bytes as numbers."""
        return list(self._bytes().tolist())

    def __getitem__(self, index: Any) -> Any:
        item = self._bytes()[index]
        return item.item() if item.dim() == 0 else item

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and other.data_ptr() == self.data_ptr()

    def __hash__(self) -> int:
        return hash(self.data_ptr())


class TypedStorage(UntypedStorage):
    """The same memory seen as elements of the tensor's dtype."""

    @property
    def dtype(self) -> Any:
        """Element type."""
        return self._tensor.dtype

    def _elements(self) -> Any:
        return _C._restride(self._tensor.detach(), [len(self)], [1], 0)

    def size(self) -> int:
        """Number of elements."""
        return int(self.nbytes() // self._tensor.element_size())

    __len__ = size

    def tolist(self) -> list[Any]:
        """The elements."""
        return list(self._elements().tolist())

    def __getitem__(self, index: Any) -> Any:
        item = self._elements()[index]
        return item.item() if item.dim() == 0 else item

    def untyped(self) -> UntypedStorage:
        """The bytes."""
        return UntypedStorage(self._tensor)

    _untyped_storage = property(untyped)


def apply_(self: Any, function: Any) -> Any:
    """Replaces every element by `function` of it (slow: one Python call each)."""
    values = _C.tensor([function(v) for v in self.reshape(-1).tolist()], dtype=self.dtype)
    return self.copy_(values.reshape(self.shape))


def attach() -> None:
    """Puts the methods on the Tensor class where it lacks them."""
    methods: dict[str, Any] = {
        "apply_": apply_,
        "untyped_storage": lambda self: UntypedStorage(self),
        "storage": lambda self: TypedStorage(self),
        "_typed_storage": lambda self: TypedStorage(self),
        "to_dense": lambda self, *a, **k: self,
        "record_stream": lambda self, stream: None,
        "name": property(lambda self: None),
        "_backward_hooks": property(lambda self: None),
    }
    for name, method in methods.items():
        if not hasattr(Tensor, name):
            setattr(Tensor, name, method)
