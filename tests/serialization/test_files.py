"""Saving and loading: round trips, PyTorch's files both ways, safetensors, hostile and broken files."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import rustnn
from rustnn import interop, nn, serialization

DTYPES = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]


def roundtrip(obj, **options):
    file = io.BytesIO()
    serialization.save(obj, file)
    file.seek(0)
    return serialization.load(file, **options)


def test_nested_state():
    state = {
        "n": 1,
        "x": 1.5,
        "big": 2**80,
        "s": "text",
        "b": b"\x00\xff",
        "none": None,
        "t": True,
        "list": [1, [2, (3, 4)]],
        "set": {1, 2},
        "o": OrderedDict(a=1, b=2),
        "size": rustnn.Size([2, 3]),
        "dtype": [rustnn.float32, rustnn.bfloat16, rustnn.float32],
        "device": rustnn.device("cpu"),
        "c": Counter("aab"),
        "complex": 1 + 2j,
        3: "int key",
        ("a", 1): "tuple key",
    }
    back = roundtrip(state)
    assert back == state
    assert type(back["o"]) is OrderedDict and isinstance(back["size"], rustnn.Size)


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes(name):
    dtype = getattr(rustnn, name)
    for shape in [(), (0,), (3,), (2, 3), (2, 0, 3)]:
        t = (rustnn.arange(int(np.prod(shape))).reshape(shape) % 2).to(dtype)
        back = roundtrip(t)
        assert back.dtype == dtype and tuple(back.shape) == shape and back.tolist() == t.tolist()


def test_views_share_and_keep_their_strides():
    base = rustnn.arange(12.0)
    a, b, c = roundtrip([base, base.view(3, 4).t(), base[5:]])
    assert tuple(b.stride()) == (1, 4) and c.storage_offset() == 5
    a[5] = 100.0
    assert b[1, 1].item() == 100.0 and c[0].item() == 100.0


def test_parameters():
    p = nn.Parameter(rustnn.ones(2), requires_grad=False)
    back = roundtrip({"p": p, "q": nn.Parameter(rustnn.ones(2))})
    assert isinstance(back["p"], nn.Parameter) and not back["p"].requires_grad and back["q"].requires_grad
    t = rustnn.ones(2, requires_grad=True)
    assert roundtrip(t).requires_grad and not isinstance(roundtrip(t), nn.Parameter)


def test_training_state(tmp_path):
    model = nn.Linear(3, 2)
    opt = rustnn.optim.Adam(model.parameters())
    model(rustnn.ones(1, 3)).sum().backward()
    opt.step()
    path = tmp_path / "run.pt"
    serialization.save({"model": model.state_dict(), "opt": opt.state_dict(), "epoch": 3}, path)
    for options in ({}, {"mmap": True}):
        back = serialization.load(path, **options)
        twin = nn.Linear(3, 2)
        twin.load_state_dict(back["model"])
        assert twin.weight.tolist() == model.weight.tolist()
        rustnn.optim.Adam(twin.parameters()).load_state_dict(back["opt"])
        assert back["epoch"] == 3


def test_a_mapped_file_is_not_changed(tmp_path):
    path = tmp_path / "a.pt"
    serialization.save(rustnn.zeros(1000), path)
    before = path.read_bytes()
    t = serialization.load(path, mmap=True)
    t.fill_(3.0)
    assert t.sum().item() == 3000.0 and path.read_bytes() == before
    with pytest.raises(ValueError, match="f must be a file path"):
        serialization.load(io.BytesIO(before), mmap=True)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.pt"
    serialization.save({"v": 1}, path)
    with pytest.raises(Exception):  # noqa: B017  (a generator can't be pickled)
        serialization.save({"v": (i for i in [])}, path)
    assert serialization.load(path) == {"v": 1} and os.listdir(tmp_path) == ["a.pt"]


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    serialization.save({"v": 1}, path)

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        serialization.save({"v": 2}, path)
    assert serialization.load(path) == {"v": 1} and os.listdir(tmp_path) == ["a.pt"]


def test_missing_folder(tmp_path):
    with pytest.raises(RuntimeError, match="Parent directory .* does not exist"):
        serialization.save(1, tmp_path / "no" / "a.pt")
    with pytest.raises(FileNotFoundError):
        serialization.load(tmp_path / "none.pt")


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/rustnn_was_here",)


class Harmless:
    def __init__(self):
        self.x = 1


def test_code_in_a_file_does_not_run(tmp_path):
    path = tmp_path / "evil.pt"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("evil/data.pkl", pickle.dumps({"a": Evil()}, 2))
        z.writestr("evil/version", "3\n")
    with pytest.raises(pickle.UnpicklingError, match=r"(posix|nt|os)\.system"):
        serialization.load(path)
    assert not os.path.exists("/tmp/rustnn_was_here")


@pytest.mark.parametrize(
    "name",
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("rustnn.serialization", "os.system"),
        ("os", "system"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("functools", "partial"),
    ],
)
def test_forbidden_names(name):
    data = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(n)]) + n.encode() for n in name) + b"\x93."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("a/data.pkl", data)
    with pytest.raises(pickle.UnpicklingError, match="not an allowed global"):
        serialization.load(io.BytesIO(file.getvalue()))


def test_allowed_classes():
    with pytest.raises(pickle.UnpicklingError, match="Harmless"):
        roundtrip(Harmless())
    with serialization.safe_globals([Harmless]):
        assert roundtrip(Harmless()).x == 1
    assert serialization.get_safe_globals() == []
    assert roundtrip(Harmless(), weights_only=False).x == 1


def test_cut_and_foreign_files(tmp_path):
    file = io.BytesIO()
    serialization.save({"a": rustnn.arange(100.0)}, file)
    whole = file.getvalue()
    for keep in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        with pytest.raises(RuntimeError, match="cut short|empty|no file of rustnn.save"):
            serialization.load(io.BytesIO(whole[:keep]))
    with pytest.raises(RuntimeError, match="no file of rustnn.save or torch.save"):
        serialization.load(io.BytesIO(b"hello world, this is text"))
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as z:
        z.writestr("a.txt", "x")
    with pytest.raises(RuntimeError, match="zip archive of something else"):
        serialization.load(io.BytesIO(other.getvalue()))


def test_damaged_bytes_never_crash():
    file = io.BytesIO()
    serialization.save({"a": rustnn.arange(6.0).view(2, 3).t(), "p": nn.Parameter(rustnn.ones(3)), "l": [1, "x"]}, file)
    whole = file.getvalue()
    rng = np.random.default_rng(0)
    loaded = refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        try:
            serialization.load(io.BytesIO(bytes(data)))
            loaded += 1
        except (RuntimeError, pickle.UnpicklingError):
            refused += 1
    # Some bytes do not matter (names of files inside, padding), but checksums cover the values.
    assert refused > 200 and loaded + refused == 400


def test_tensor_past_its_storage():
    for size, stride, offset in [((100,), (1,), 0), ((2,), (1,), 3), ((2, 2), (2**40, 1), 0), ((2,), (-1,), 0)]:
        storage = serialization._Storage(rustnn.zeros(4), "cpu")
        with pytest.raises(pickle.UnpicklingError):
            serialization._rebuild_tensor(storage, offset, size, stride)


def test_map_location():
    seen = []
    t = roundtrip(rustnn.ones(2), map_location=lambda storage, place: seen.append(place))
    assert seen == ["cpu"] and t.tolist() == [1, 1]
    for place in ("cpu", rustnn.device("cpu"), {"cuda:0": "cpu"}):
        assert roundtrip(rustnn.ones(2), map_location=place).tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="cuda"):
        roundtrip(rustnn.ones(2), map_location="cuda")


# ---- PyTorch ------------------------------------------------------------------------------------------------
def test_pytorch_files_both_ways(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")

    def state(lib):
        base = lib.arange(6.0)
        return {
            "base": base,
            "t": base.view(2, 3).t(),
            "p": lib.nn.Parameter(lib.ones(2)),
            "n": None,
            "b": b"xx",
            "size": lib.Size([1, 2]),
            "dtype": lib.float16,
            "o": OrderedDict(x=(1, 2.5)),
            "set": {1},
            "kinds": [lib.ones(3).to(getattr(lib, d)) for d in DTYPES],
            "e": lib.zeros(0),
            "s": lib.tensor(3),
        }

    def plain(lib, value):
        if isinstance(value, lib.Tensor):
            return [
                str(value.dtype).split(".")[-1],
                tuple(value.stride()),
                value.requires_grad,
                value.detach().double().tolist(),
            ]
        if isinstance(value, dict):
            return {k: plain(lib, v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(lib, v) for v in value]
        return str(value).replace("rustnn.", "torch.")

    ours, theirs = str(tmp_path / "ours.pt"), str(tmp_path / "theirs.pt")
    serialization.save(state(rustnn), ours)
    torch.save(state(torch), theirs)
    expected = plain(torch, state(torch))
    assert plain(torch, torch.load(ours)) == expected
    assert plain(torch, torch.load(ours, mmap=True)) == expected
    for options in ({}, {"mmap": True}, {"weights_only": False}):
        assert plain(rustnn, serialization.load(theirs, **options)) == expected
    back = serialization.load(theirs)
    back["base"][1] = 50.0
    assert back["t"][1, 0].item() == 50.0


def test_pytorch_state_dict(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    torch.save(model.state_dict(), tmp_path / "m.pt")
    state = serialization.load(tmp_path / "m.pt")
    twin = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    twin.load_state_dict(state)
    assert twin[0].weight.tolist() == model[0].weight.tolist()
    torch.save(model, tmp_path / "whole.pt")
    with pytest.raises(pickle.UnpicklingError, match="torch.nn.modules"):
        serialization.load(tmp_path / "whole.pt")


# ---- safetensors --------------------------------------------------------------------------------------------
def test_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    state = {d: (rustnn.arange(6).reshape(2, 3) % 2).to(getattr(rustnn, d)) for d in DTYPES}
    state["t"] = rustnn.arange(6.0).view(2, 3).t()
    state["empty"] = rustnn.zeros(0, 3)
    interop.save_file(state, path, {"note": "x"})
    for back in (interop.load_file(path), interop.safetensors.load(path.read_bytes())):
        assert back.keys() == state.keys()
        for k, v in state.items():
            assert back[k].dtype == v.dtype and back[k].tolist() == v.tolist()
    with interop.safe_open(path, framework="pt") as f:
        assert f.metadata() == {"note": "x"} and f.get_tensor("t").tolist() == state["t"].tolist()
        with pytest.raises(interop.safetensors.SafetensorError, match="does not contain tensor"):
            f.get_tensor("no")


def test_safetensors_of_the_package(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy", reason="the safetensors package is not installed")
    path = str(tmp_path / "a.safetensors")
    arrays = {"w": np.arange(6, dtype="float32").reshape(2, 3), "b": np.array([True, False]), "i": np.array(3)}
    numpy.save_file(arrays, path)
    back = interop.load_file(path)
    assert all((back[k].numpy() == v).all() for k, v in arrays.items())
    interop.save_file(back, path)
    again = numpy.load_file(path)
    assert all((again[k] == v).all() for k, v in arrays.items())


def test_broken_safetensors():
    good = interop.safetensors.save({"a": rustnn.ones(4)})
    for bad in (b"", good[:4], good[:20], good[:-1], good + b"x", b"\xff" * 16, good[:8] + b"[" + good[9:]):
        with pytest.raises(interop.safetensors.SafetensorError):
            interop.safetensors.load(bad)
    with pytest.raises(ValueError, match="expected a Tensor"):
        interop.safetensors.save({"a": 1})
    rng = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(good)
        data[rng.integers(len(data) - 16)] = rng.integers(256)
        try:
            interop.safetensors.load(bytes(data))
        except interop.safetensors.SafetensorError:
            pass
