"""Files in PyTorch's format before 1.6: written here byte by byte, and by PyTorch where it is installed."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from typing import Any

import beside
import numpy as np
import pytest
import rustnn

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


class _Named:
    """Pickled as a global name."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _Pickler(pickle._Pickler):  # type: ignore[misc]
    dispatch = dict(pickle._Pickler.dispatch)

    def _save_named(self, obj: _Named) -> None:
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())

    dispatch[_Named] = _save_named

    def persistent_id(self, obj: Any) -> Any:
        return obj[1] if isinstance(obj, tuple) and len(obj) == 2 and obj[0] == "ref" else None


class _Rebuilt:
    def __init__(self, *args: Any) -> None:
        self.args = args


_Pickler.dispatch[_Rebuilt] = lambda self, obj: self.save_reduce(_Callable(), obj.args)


class _Callable(_Named):
    def __init__(self) -> None:
        super().__init__("torch._utils", "_rebuild_tensor_v2")

    def __call__(self) -> None:
        raise NotImplementedError


_Pickler.dispatch[_Callable] = _Pickler._save_named


def by_hand(keys: list[str], records: list[bytes], build: Any, magic: int = MAGIC) -> io.BytesIO:
    """A file whose object is what `build` gives."""
    file = io.BytesIO()
    for part in (magic, VERSION, {"protocol_version": VERSION, "little_endian": True, "type_sizes": {}}):
        pickle.dump(part, file, 2)
    _Pickler(file, 2).dump(build)
    pickle.dump(keys, file, 2)
    for record in records:
        file.write(record)
    file.seek(0)
    return file


def floats(values: list[float]) -> bytes:
    return struct.pack(f"<q{len(values)}f", len(values), *values)


def reference(key: str, numel: int, view: Any = None) -> tuple[str, Any]:
    return "ref", ("storage", _Named("torch", "FloatStorage"), key, "cpu", numel, view)


def test_storages_are_shared_and_views_of_one_another() -> None:
    whole = _Rebuilt(reference("7", 6), 0, (2, 3), (3, 1), False, OrderedDict())
    turned = _Rebuilt(reference("7", 6), 1, (2, 2), (1, 3), False, OrderedDict())
    part = _Rebuilt(reference("7", 6, ("9", 2, 3)), 0, (3,), (1,), False, OrderedDict())
    loaded = rustnn.load(by_hand(["7"], [floats([0, 1, 2, 3, 4, 5])], [whole, turned, part]))
    assert loaded[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert loaded[1].tolist() == [[1, 4], [2, 5]]
    assert loaded[2].tolist() == [2, 3, 4]
    loaded[0].fill_(9)
    assert loaded[1].tolist() == [[9, 9], [9, 9]]
    assert loaded[2].tolist() == [9, 9, 9]


@pytest.mark.parametrize(("keys", "records", "numel", "magic"), [
    (["0"], [floats([1, 2])[:-2]], 2, MAGIC), (["0"], [floats([1, 2, 3])], 2, MAGIC),
    (["1"], [floats([1, 2])], 2, MAGIC),
    (["0"], [floats([1, 2])], 2**60, MAGIC), (["0"], [floats([1, 2])], 2, MAGIC + (1 << 100)),
])  # fmt: skip
def test_damage_is_an_error(keys: list[str], records: list[bytes], numel: int, magic: int) -> None:
    tensor = _Rebuilt(reference("0", numel), 0, (2,), (1,), False, OrderedDict())
    with pytest.raises((RuntimeError, pickle.UnpicklingError)):
        rustnn.load(by_hand(keys, records, tensor, magic))


def test_names_are_resolved_as_in_other_files() -> None:
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        rustnn.load(by_hand([], [], _Named("os", "system")))


@pytest.mark.parametrize("dtype", beside.DTYPES)
def test_what_pytorch_writes(dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    rng = np.random.default_rng(3)
    base = beside.tensor(torch, beside.draw(rng, (4, 6), dtype), dtype)
    state = {
        "views": [base, base[1:], base.t(), base[:, ::2], base.view(-1)[3:7]], "n": [1, 2.5, "x", None, torch.float32],
        "none": base[:0], "one": base[0, 0], "size": base.shape,
    }  # fmt: skip
    if base.is_floating_point():
        state["parameter"] = torch.nn.Parameter(base[:2])
        state["buffer"] = torch.nn.Buffer(base[:2].clone())
    for zipped in (False, True):
        file = io.BytesIO()
        torch.save(state, file, _use_new_zipfile_serialization=zipped)
        file.seek(0)
        loaded = rustnn.load(file)
        assert beside.difference(beside.described(loaded, True), beside.described(state, True)) is None
        loaded["views"][0].zero_()
        assert not any(bool(v.any()) for v in loaded["views"])
