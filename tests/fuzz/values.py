"""Values for random calls: tensors of every layout, and objects that lie, raise, or take memory away."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import rustnn
from rustnn import _C


class Raises:
    """Whatever is asked of it fails."""

    def __init__(self, error: type[BaseException]) -> None:
        object.__setattr__(self, "error", error)

    def fail(self, *args: Any, **kwargs: Any) -> Any:
        raise object.__getattribute__(self, "error")("as it was told to")

    __len__ = __getitem__ = __iter__ = __index__ = __int__ = __float__ = __bool__ = __array__ = fail
    __eq__ = __hash__ = __getattr__ = fail  # type: ignore[assignment]


class Lies:
    """Says that it is long, a number and an array."""

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, i: Any) -> float:
        if i > 100_000:
            raise IndexError  # Python's own loops over it would not end
        return 1.0

    def __index__(self) -> int:
        return 2**62

    def __float__(self) -> float:
        return math.nan

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return "no array"


class Takes:
    """Takes a tensor's memory away while the call that it is an argument of looks at it."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def __index__(self) -> int:
        with rustnn.no_grad():
            self.tensor.resize_(0)
        return 1

    def __float__(self) -> float:
        with rustnn.no_grad():
            self.tensor.set_(_C.zeros(1))
        return 1.0

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        self.__index__()
        return np.ones(3, "f4")


class Whole(int):
    pass


class Real(float):
    pass


class Text(str):
    pass


# Any number of dimensions and elements, as long as there is no memory behind them.
ODD_SHAPES = (
    (2**62, 0),
    (0, 2**62),
    (0, 2**62, 2**62),
    (2**62, 2**62, 0),
    (2**31, 2**31, 2**31, 0),
    (2**63 - 1, 0),
    (1,) * 70,
    (2,) * 12,
    (0,) * 5,
)


class Values:
    """Makes values from `rng`, which every call sets anew."""

    def __init__(self) -> None:
        self.rng = random.Random(0)
        self.kept: list[Any] = []

    def keep(self, result: Any) -> None:
        """A result that later calls may get as an argument."""
        if len(self.kept) < 40:
            self.kept.append(result)
        else:
            self.kept[self.rng.randrange(40)] = result

    def shape(self) -> tuple[int, ...]:
        return tuple(self.rng.choice((0, 1, 1, 2, 3, 4, 7)) for _ in range(self.rng.randrange(5)))

    def odd_tensor(self) -> Any:
        rng = self.rng
        choice = rng.randrange(6)
        if choice < 2:
            kind = getattr(_C, rng.choice(("float32", "float64", "int64", "bool")))
            return _C.zeros(rng.choice(ODD_SHAPES), dtype=kind)
        if choice == 2:
            return _C.ones(1, requires_grad=rng.random() < 0.5).expand(2**62)
        if choice == 3:
            return _C.arange(12.0).as_strided((3, 4), rng.choice(((1, 1), (0, 1), (4, 0), (2, 2))))
        if choice == 4:
            return rustnn.nn.Parameter(_C.ones(self.shape()))
        return _C.arange(24.0).reshape(2, 3, 4)[:, 1:, ::2].transpose(0, 2)

    def odd_value(self) -> Any:
        return self.rng.choice(
            (
                lambda: Raises(ZeroDivisionError),
                lambda: Raises(SystemError),
                Lies,
                lambda: Takes(self.tensor()),
                lambda: [self.tensor(), Takes(self.tensor())],
                lambda: (Takes(self.tensor()), Takes(self.tensor())),
                lambda: Whole(2),
                lambda: Real(0.5),
                lambda: Text("mean"),
                lambda: 10**400,
                lambda: np.arange(6.0)[::-1],
                lambda: np.arange(6, dtype=">i8"),
                lambda: np.zeros((0, 3)),
                lambda: np.zeros((2, 3), dtype="c16"),
                lambda: np.zeros(3, dtype=[("a", "f4"), ("b", "i4")]),
                lambda: np.array([1, None], dtype=object),
                lambda: np.broadcast_to(np.float32(1), (10**5,)),
                lambda: [[1, 2], [3]],
                lambda: slice(None, None, -1),
                lambda: slice(Lies(), None),
                lambda: memoryview(b"abcd"),
                lambda: "\ud800",
                lambda: _C.Generator(),
            )
        )()

    def tensor(self) -> Any:
        rng = self.rng
        if self.kept and rng.random() < 0.3:
            return rng.choice(self.kept)
        if rng.random() < 0.07:
            return self.odd_tensor()
        shape = self.shape()
        kind = rng.choice(("float32", "float32", "float64", "int64", "bool", "uint8", "bfloat16", "float16", "int32"))
        values = np.random.default_rng(rng.randrange(1000)).normal(size=shape) * rng.choice((1, 1, 100, 1e30))
        if rng.random() < 0.1 and values.size:
            values.flat[0] = rng.choice((math.nan, math.inf, -math.inf))
        with np.errstate(all="ignore"):
            array = np.asarray(values).astype("float32" if kind == "bfloat16" else kind)
        tensor = _C.from_numpy(array).to(getattr(_C, kind))
        if tensor.dim() >= 2 and rng.random() < 0.3:
            tensor = tensor.transpose(0, -1)
        if tensor.dim() and tensor.shape[0] > 1 and rng.random() < 0.2:
            tensor = tensor[1:]
        if tensor.dim() and rng.random() < 0.1:
            tensor = tensor.unsqueeze(0).expand(3, *tensor.shape)
        if kind.startswith("float") and rng.random() < 0.4:
            tensor = tensor.detach().requires_grad_()
        return tensor

    def value(self, types: str = "", depth: int = 0) -> Any:
        rng = self.rng
        if rng.random() < 0.75 and types:
            made = self.typed(types)
            if made is not NotImplemented:
                return made
        if rng.random() < 0.15:
            return self.odd_value()
        choice = rng.randrange(16)
        if choice < 5:
            return self.tensor()
        if choice < 8:
            return rng.choice((0, 1, -1, 2, 3, -2, 5, 100, 2**31, -(2**31), 2**62, 2**63, -(2**63), 2**64, 10**30))
        if choice < 10:
            return rng.choice((0.0, 0.5, -1.0, 1e300, -1e-300, math.nan, math.inf, 2.0))
        if choice == 10:
            return rng.choice((None, True, False))
        if choice == 11:
            return rng.choice(
                ("", "mean", "sum", "none", "same", "ij,jk->ik", "constant", "reflect", "tanh", "x" * 1000)
            )
        if choice == 12 and depth < 2:
            return [self.value(depth=depth + 1) for _ in range(rng.randrange(4))]
        if choice == 13 and depth < 2:
            return tuple(self.value(depth=depth + 1) for _ in range(rng.randrange(4)))
        if choice == 14:
            return rng.choice((_C.float32, _C.int64, _C.bool, _C.device("cpu"), slice(None), Ellipsis))
        return rng.choice((object(), {}, b"bytes", 1j, int, np.float32(1), np.arange(3), range(3)))

    def typed(self, types: str) -> Any:
        rng = self.rng
        options = [t for t in types.replace("?", "|none").split("|") if t]
        wanted = rng.choice(options) if options else ""
        if wanted.startswith("Tensor["):
            return [self.tensor() for _ in range(rng.randrange(4))]
        if wanted.startswith("Tensor"):
            return self.tensor()
        if wanted.startswith("int["):
            return [rng.choice((0, 1, -1, 2, 3, 4, 100, -5, 2**62)) for _ in range(rng.randrange(5))]
        if wanted == "int":
            return rng.choice((0, 1, -1, 2, 3, -2, 4, 100, 2**31, 2**62, -(2**63)))
        if wanted in ("float", "Scalar"):
            return rng.choice((0.0, 0.5, 1, -1.0, 2.0, 1e300, math.nan, math.inf))
        if wanted == "bool":
            return rng.random() < 0.5
        if wanted == "dtype":
            return getattr(_C, rng.choice(("float32", "float64", "int64", "bool", "bfloat16", "uint8")))
        if wanted == "str":
            return rng.choice(
                (
                    "mean",
                    "sum",
                    "none",
                    "constant",
                    "reflect",
                    "replicate",
                    "circular",
                    "bilinear",
                    "nearest",
                    "tanh",
                    "amax",
                    "prod",
                    "",
                    "x",
                )
            )
        if wanted == "none":
            return None
        return NotImplemented


def describe(value: Any) -> str:
    if isinstance(value, _C.Tensor):
        return f"T({list(value.shape)}, {value.stride()}, {value.dtype}, grad={value.requires_grad})"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(describe(v) for v in value)})"
    try:
        return repr(value)[:60]
    except Exception:  # what raises at everything
        return type(value).__name__


def text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # its own __str__ raises
        return ""
