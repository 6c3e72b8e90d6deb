"""CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import rustnn
from rustnn._C import Tensor

from .._pillow import pillow
from . import _find
from .vision import ArrayDataset, whole_batches


class _ArrayUnpickler(pickle.Unpickler):
    """Reads the batches' pickles, which hold arrays, lists and text; anything else is refused."""

    _names = {"_reconstruct", "ndarray", "dtype", "encode", "scalar"}

    def find_class(self, module: str, name: str) -> Any:
        if name in self._names and module in (
            "numpy",
            "numpy.core.multiarray",
            "numpy._core.multiarray",
            "_codecs",
        ):
            if name == "encode":
                return lambda text, encoding="latin1": text.encode("latin1")
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"this file names {module}.{name}, which a CIFAR batch does not")


def _unpickle(path: Path) -> Any:
    with open(path, "rb") as file:
        return _ArrayUnpickler(file, encoding="latin1").load()


@whole_batches
class CIFAR10(ArrayDataset):
    """60,000 colour images of 32 by 32 pixels in ten classes.

    Looked for in torchvision's layout (``root/cifar-10-batches-py``), in ``RUSTNN_DATA`` (there also as JPEGs in
    ``cifar10/cifar10_jpeg.npz``, which need Pillow) and in the user's cache; ``download=True`` fetches them.

    Attributes:
        data: uint8 array (n, 32, 32, 3).
        targets: list of n ints.
        source: where they were found.

    Raises:
        RuntimeError: they are nowhere; the message names the ways to get them.
    """

    base_folder = "cifar-10-batches-py"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    filename = "cifar-10-python.tar.gz"
    tgz_md5 = "c58f30108f718f92721af3b95e74349a"
    train_list = [[f"data_batch_{i}", ""] for i in range(1, 6)]
    test_list = [["test_batch", ""]]
    meta = {"filename": "batches.meta", "key": "label_names", "md5": "5ff9c542aee3614f3951f8cda6e48888"}
    _npz: str | None = "cifar10/cifar10_jpeg.npz"

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(os.fspath(root), transform=transform, target_transform=target_transform)
        self.train = train
        self.source = ""
        self.classes: list[str] = []
        self.data: Any = None
        self.targets: list[int] = []
        self._load(download)
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}

    def _load(self, download: bool) -> None:
        root = Path(self.root)
        for place, name in _find.places(root):
            if self._read_batches(place / self.base_folder):
                return
            archive = place / self._npz if self._npz is not None else None
            if archive is not None and archive.is_file():
                self.source = f"{name}: {archive}"
                self._read_jpegs(archive)
                return
        if not download:
            raise RuntimeError(
                "Dataset not found or corrupted. You can use download=True to download it\n  Looked in "
                + ", ".join(str(place / self.base_folder) for place, _ in _find.places(root))
                + ". Or set RUSTNN_DATA to a folder that has it."
            )
        try:
            packed = _find.download(self.filename, [self.url.removesuffix(self.filename)], root, self.tgz_md5)
        except _find.DownloadError as error:
            raise RuntimeError(
                f"Error downloading {type(self).__name__}.\n{error}\nWithout a network: unpack {self.filename} into "
                f"{root}, or set RUSTNN_DATA to a folder that has it."
            ) from error
        _find.unpack_tar(packed, root)
        if not self._read_batches(root / self.base_folder):
            raise RuntimeError(f"{root / self.base_folder} lacks files after the download")

    def _read_batches(self, folder: Path) -> bool:
        files = [folder / str(name) for name, _ in (self.train_list if self.train else self.test_list)]
        if not all(f.is_file() for f in files):
            return False
        parts = []
        for file in files:
            entry = _unpickle(file)
            parts.append(entry["data"])
            self.targets.extend(int(t) for t in entry.get("labels", entry.get("fine_labels")))
        self.data = np.ascontiguousarray(np.vstack(parts).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        names = folder / str(self.meta["filename"])
        if names.is_file():
            self.classes = list(_unpickle(names)[self.meta["key"]])
        self.source = str(folder)
        return True

    def _read_jpegs(self, archive: Path) -> None:
        image = pillow("CIFAR10 from RUSTNN_DATA")
        part = "train" if self.train else "test"
        with np.load(archive) as arrays:
            head, body = arrays["header"].tobytes(), arrays[f"{part}_jpeg"].tobytes()
            ends = arrays[f"{part}_off"].tolist()
            self.targets = arrays[f"y_{part}"].astype(int).tolist()
            self.classes = [str(c) for c in arrays["classes"]]
        self.data = np.empty((len(ends) - 1, 32, 32, 3), dtype=np.uint8)
        for i, (begin, end) in enumerate(zip(ends, ends[1:], strict=False)):
            self.data[i] = np.asarray(image.open(io.BytesIO(head + body[begin:end])).convert("RGB"))

    def _pixels(self) -> Any:
        return self.data

    def _label(self, index: int) -> int:
        return self.targets[index]

    def _labels(self, indices: Sequence[int]) -> Tensor:
        return rustnn.tensor([self.targets[i] for i in indices], dtype=rustnn.int64)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._item(index)

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        """Which part it is."""
        return f"Split: {'Train' if self.train else 'Test'}"


class CIFAR100(CIFAR10):
    """60,000 colour images of 32 by 32 pixels in a hundred classes."""

    base_folder = "cifar-100-python"
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    filename = "cifar-100-python.tar.gz"
    tgz_md5 = "eb9058c3a382ffc7106e4002c42a8d85"
    train_list = [["train", "16019d7e3df5f24257cddd939b257f8d"]]
    test_list = [["test", "f0ef6b0ae62326f3e7ffdfab6717acfc"]]
    meta = {"filename": "meta", "key": "fine_label_names", "md5": "7973b15100ade9c7d40fb424638fde48"}
    _npz = None
