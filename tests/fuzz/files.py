"""Damaged and hostile files, and objects that hand over memory by DLPack or NumPy's interfaces and lie about it.

Loading a damaged file raises or gives something; it runs no code, takes no memory that is not there, and ends.
"""

from __future__ import annotations

import ctypes
import io
import pickle
import random
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import rustnn
from fuzz.run import Wrong
from fuzz.values import Values, describe
from rustnn import interop

RAN: list[str] = []


def ran(*args: Any) -> str:
    """What no file may make run."""
    RAN.append(repr(args))
    return "ran"


class Code:
    def __reduce__(self) -> Any:
        return ran, ("from a pickle",)


def good_files() -> list[tuple[str, bytes, Callable[[bytes], Any]]]:
    shared = rustnn.arange(12.0)
    state = {
        "weight": shared.view(3, 4),
        "part": shared[2:5],
        "whole": rustnn.arange(5),
        "flags": rustnn.tensor([True, False]),
        "half": rustnn.ones(2, 2).to(rustnn.bfloat16),
        "step": 3,
        "names": ["a", ("b", None)],
    }
    file = io.BytesIO()
    rustnn.save(state, file)
    tensors = {k: v.clone() for k, v in state.items() if isinstance(v, rustnn.Tensor)}
    return [
        ("load", file.getvalue(), lambda b: rustnn.load(io.BytesIO(b), weights_only=True)),
        ("safetensors", interop.safetensors.save(tensors), interop.safetensors.load),
    ]


def damaged(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    raw = bytearray(good)
    acts = []
    for _ in range(rng.choice((1, 1, 2, 5))):
        # Headers and directories stand at the ends, and are worth more than the numbers between.
        near = rng.choice((lambda: rng.randrange(len(raw)), lambda: rng.randrange(min(300, len(raw)))))
        at = near() if rng.random() < 0.7 else max(len(raw) - 1 - near(), 0)
        act = rng.randrange(6)
        acts.append((act, at))
        if act == 0:
            del raw[at:]
        elif act == 1:
            raw[at] ^= 1 << rng.randrange(8)
        elif act == 2:
            raw[at] = rng.randrange(256)
        elif act == 3:
            raw[at : at + 8] = rng.choice((b"\xff" * 8, b"\0" * 8, (2**62).to_bytes(8, "little")))
        elif act == 4:
            del raw[at : at + rng.randrange(1, 20)]
        else:
            raw[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
        if not raw:
            break
    return f"{acts}", bytes(raw)


def repickled(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    """The archive with a changed or hostile pickle, and checksums that fit."""
    out = io.BytesIO()
    what = ""
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            act = rng.randrange(6)
            if name.endswith("data.pkl"):
                if act == 0:
                    content, what = pickle.dumps(Code(), protocol=2), "code"
                elif act == 1:
                    content, what = b"cposix\nsystem\n(S'false'\ntR.", "system"
                elif act == 2:
                    content, what = b"cbuiltins\neval\n(S'1'\ntR.", "eval"
                elif act == 3:
                    deep = b"]" * 100_000 + b"a" * 99_999 + b"."
                    content, what = deep, "deep"
                else:
                    what, content = damaged(rng, content)
            elif rng.random() < 0.1:
                what, content = what + name, content[: rng.randrange(len(content) + 1)]
            if rng.random() > 0.03:
                new.writestr(name, content)
                if rng.random() < 0.03:
                    new.writestr(name, content)
    return f"pickle {what}", out.getvalue()


class Managed(ctypes.Structure):
    """DLManagedTensor of DLPack."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


def capsule(rng: random.Random, keep: list[Any]) -> tuple[str, Any]:
    """A capsule with a few things wrong in it (never more memory than there is: nobody can check that)."""
    memory = (ctypes.c_double * 4)(1, 2, 3, 4)
    shape, strides = (ctypes.c_int64 * 2)(2, 2), (ctypes.c_int64 * 2)(2, 1)
    m = Managed(ctypes.addressof(memory), 1, 0, 2, 2, 64, 1, shape, strides, 0, None, None)
    wrongs: dict[str, Callable[[], Any]] = {
        "null data": lambda: setattr(m, "data", None),
        "unaligned": lambda: setattr(m, "data", ctypes.addressof(memory) + 1),
        "device": lambda: setattr(m, "device_type", rng.choice((0, 2, 7, -1, 99))),
        "ndim": lambda: setattr(m, "ndim", rng.choice((-1, 0, 1, -(2**31)))),
        "code": lambda: setattr(m, "code", rng.choice((0, 1, 3, 4, 5, 6, 200))),
        "bits": lambda: setattr(m, "bits", rng.choice((0, 1, 7, 8, 16, 32, 128, 255))),
        "lanes": lambda: setattr(m, "lanes", rng.choice((0, 2, 65535))),
        "no shape": lambda: setattr(m, "shape", None),
        "no strides": lambda: setattr(m, "strides", None),
        "negative shape": lambda: shape.__setitem__(0, rng.choice((-1, -(2**63)))),
        "empty": lambda: shape.__setitem__(0, 0),
        "huge and empty": lambda: (shape.__setitem__(0, 0), shape.__setitem__(1, 2**62)),
        "too many": lambda: (shape.__setitem__(0, 2**62), shape.__setitem__(1, 2**62)),
        "too many bytes": lambda: shape.__setitem__(0, 2**61),
        "negative strides": lambda: (strides.__setitem__(0, -2), setattr(m, "byte_offset", 16)),
        "huge strides": lambda: (strides.__setitem__(0, rng.choice((2**62, -(2**63)))), shape.__setitem__(0, 0)),
        "offset": lambda: setattr(m, "byte_offset", 1),
        "nothing": lambda: None,
    }
    chosen = [rng.choice(list(wrongs)) for _ in range(rng.choice((1, 1, 2)))]
    for name in chosen:
        wrongs[name]()
    keep += [memory, shape, strides, m]
    label = rng.choice((b"dltensor", b"dltensor", b"dltensor", b"used_dltensor", b"other"))
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    keep.append(label)
    return f"{chosen} {label!r}", new(ctypes.addressof(m), label, None)


class Hands:
    """Hands over what it was given, by DLPack."""

    def __init__(self, given: Any, device: Any = (1, 0)) -> None:
        self.given, self.device = given, device

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.given

    def __dlpack_device__(self) -> Any:
        return self.device


class Kind:
    def __init__(self) -> None:
        self.values, self.good, self.keep = Values(), good_files(), []
        Code.__module__ = "fuzz.files"

    def prepare(self, rng: random.Random) -> tuple[str, Callable[[], None]]:
        self.values.rng = rng
        choice = rng.randrange(10)
        if choice < 6:
            name, good, read = rng.choice(self.good)
            make = repickled if name == "load" and rng.random() < 0.5 else damaged
            what, bad = make(rng, good)

            def load() -> None:
                try:
                    used(read(bad))
                finally:
                    if RAN:
                        raise Wrong(f"the file ran {RAN}")

            return f"{name} {what}", load
        if choice < 8:
            what, given = capsule(rng, self.keep)
            device = rng.choice(((1, 0), (1, 0), (1, 0), (2, 0), None, (1,), "cpu", (2**40, -1)))
            whole = rng.choice((Hands(given, device), given, Hands(self.values.value(), device)))
            return f"from_dlpack {what} {device}", lambda: used(rustnn.from_dlpack(whole))
        return self.interface(rng)

    def interface(self, rng: random.Random) -> tuple[str, Callable[[], None]]:
        array = np.arange(6.0).reshape(2, 3)
        said = dict(array.__array_interface__)
        odd = {
            # No more than there is, and no pointers: nobody can check where memory ends.
            "shape": ((2,), (), (-1,), (0, 2**62), (2**62, 2**62), "xx", None, (1.5,), (True,), (0,) * 70),
            "typestr": ("<f4", ">f8", "<c8", "|V8", "xx", "", None, "<f8 ", "<i8", "|b1", "<U2", "<M8[s]"),
            "strides": (None, (8,), (1, 1), (0, 0), (24, 8, 8), "xx"),
            "data": ((said["data"][0], True), None, b"bytes", (None, False), ("x", False)),
            "descr": ([("", "<f8")], [("a", "<i4"), ("b", "<i4")], None, 3),
            "version": (3, 2, -1, None, "x"),
            "mask": (None, array),
        }
        for key in rng.sample(list(odd), rng.choice((1, 1, 2))):
            said[key] = rng.choice(odd[key])

        class Lies:
            __array_interface__ = said
            keep = array

        ways = (rustnn.as_tensor, rustnn.tensor, rustnn.asarray, rustnn.from_numpy, lambda x: rustnn.ones(3) + x)
        way = rng.choice(ways)
        if rng.random() < 0.3:
            value = self.values.odd_value()
            more = {k: self.values.value() for k in ("dtype", "count", "offset") if rng.random() < 0.5}
            return f"frombuffer({describe(value)}, {more})", lambda: used(rustnn.frombuffer(value, **more))
        return f"{getattr(way, '__name__', way)} of {said}", lambda: used(way(Lies()))


def used(result: Any) -> None:
    """Reads all of it."""
    if isinstance(result, rustnn.Tensor):
        repr(result)
        if result.numel() < 10_000:
            result.clone().sum()
    elif isinstance(result, dict):
        for v in result.values():
            used(v)
    elif isinstance(result, (list, tuple)):
        for v in result[:100]:
            used(v)
