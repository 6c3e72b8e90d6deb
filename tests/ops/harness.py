"""What the op tests share: the registry's rows, their example calls, oracles and tolerances.

A row's sample is a Python expression of a call's arguments, in which `t(3, 4)` stands for a random tensor of the
dtype under test, `pos`/`unit` for positive ones and ones in (-0.9, 0.9), `i` for int64 and `b` for bool.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from typing import Any

import numpy as np
import rustnn
import scipy
import scipy.special
from ops import references
from rustnn import _C

try:
    import torch
except ImportError:  # the comparison with PyTorch is skipped
    torch = None

NUMPY_OF = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": np.float32}
# (relative, absolute) against an oracle in float64 on the inputs as rounded to the dtype
TOLERANCE = {
    "float64": (1e-9, 1e-11),
    "float32": (5e-5, 2e-5),
    "float16": (6e-3, 6e-3),
    "bfloat16": (5e-2, 5e-2),
}


@dataclasses.dataclass
class Param:
    """One parameter of a signature."""

    name: str
    types: str
    default: str | None
    keyword_only: bool
    spread: bool


@dataclasses.dataclass
class Case:
    """One sample of one row."""

    row: dict[str, Any]
    params: list[Param]
    text: str
    number: int

    @property
    def name(self) -> str:
        return str(self.row["name"])

    @property
    def id(self) -> str:
        return f"{self.name}({self.text})"


def split_top(text: str) -> list[str]:
    """Splits at commas outside brackets."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += char in "([{"
        depth -= char in ")]}"
        if char == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    parts.append(text[start:])
    return [p.strip() for p in parts if p.strip()]


def parse_signature(sig: str) -> list[Param]:
    """The parameters of `name(Type a, Type b=default, *, Type c)`."""
    body = sig[sig.index("(") + 1 : sig.rindex(")")]
    params, keyword_only = [], False
    for part in split_top(body):
        if part == "*":
            keyword_only = True
            continue
        declared, _, default = part.partition("=")
        types, _, name = declared.strip().rpartition(" ")
        default_text = default.strip() if "=" in part else None
        params.append(Param(name.strip(), types.strip(), default_text, keyword_only, "..." in types))
    return params


def cases(keep: Any = None) -> list[Case]:
    """All samples of all rows (for which `keep(row)` holds)."""
    found = []
    for row in _C._registry():
        if keep is not None and not keep(row):
            continue
        params = parse_signature(row["sig"])
        for number, text in enumerate(row["samples"]):
            found.append(Case(row, params, text, number))
    return found


def surfaces(row: dict[str, Any]) -> set[str]:
    """Names of the surfaces of a row, in lower case."""
    return {str(s).lower() for s in row["surfaces"]}


def function_of(row: dict[str, Any]) -> Any:
    """The callable of a row, from the first surface it has."""
    name, where = row["name"], surfaces(row)
    homes = [
        ("torch", _C),
        ("private", _C),
        ("nn", getattr(_C, "_nn", None)),
        ("linalg", getattr(_C, "_linalg", None)),
        ("special", getattr(_C, "_special", None)),
    ]
    for surface, home in homes:
        if surface in where and home is not None and hasattr(home, name):
            return getattr(home, name)
    if "method" in where:
        return lambda first, *args, **kwargs: getattr(first, name)(*args, **kwargs)
    raise AssertionError(f"{name}: no callable on its surfaces {sorted(where)}")


def torch_function_of(row: dict[str, Any]) -> Any:
    """PyTorch's function of the same name and surface, or None."""
    if torch is None:
        return None
    name, where = row["name"], surfaces(row)
    homes = [
        ("torch", torch),
        ("nn", torch.nn.functional),
        ("linalg", torch.linalg),
        ("special", torch.special),
    ]
    for surface, home in homes:
        if surface in where and callable(getattr(home, name, None)):
            return getattr(home, name)
    if "method" in where and hasattr(torch.Tensor, name):
        return lambda first, *args, **kwargs: getattr(first, name)(*args, **kwargs)
    return None


class Maker:
    """The names of a sample's expression, making tensors of one dtype from one seed."""

    def __init__(self, case: Case, dtype: str = "float64", scale: int = 1) -> None:
        self.rng = np.random.default_rng(zlib.crc32(case.id.encode()))
        self.dtype, self.scale = dtype, scale

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = tuple(shape[0])
        return tuple(n * self.scale if n > 1 else n for n in shape)

    def floats(self, array: Any) -> Any:
        array = np.asarray(array, dtype=NUMPY_OF[self.dtype])
        tensor = _C.from_numpy(np.ascontiguousarray(array).reshape(array.shape)).to(getattr(_C, self.dtype))
        tensor.drawn = True
        return tensor

    def t(self, *shape: int) -> Any:
        return self.floats(self.rng.normal(size=self.shape(shape)))

    def pos(self, *shape: int) -> Any:
        return self.floats(self.rng.uniform(0.5, 2.0, size=self.shape(shape)))

    def unit(self, *shape: int) -> Any:
        return self.floats(self.rng.uniform(-0.9, 0.9, size=self.shape(shape)))

    def i(self, *shape: int, lo: int = 0, hi: int = 10) -> Any:
        return _C.from_numpy(np.asarray(self.rng.integers(lo, hi, size=self.shape(shape)), dtype=np.int64))

    def b(self, *shape: int) -> Any:
        return _C.from_numpy(np.asarray(self.rng.random(size=self.shape(shape)) < 0.5))

    def names(self) -> dict[str, Any]:
        names: dict[str, Any] = {
            "t": self.t,
            "pos": self.pos,
            "unit": self.unit,
            "i": self.i,
            "b": self.b,
            "inf": math.inf,
            "nan": math.nan,
            "math": math,
            "np": np,
            "torch": rustnn,
            "rustnn": rustnn,
            "tensor": _C.tensor,
            "slice": slice,
            "none": None,
            "true": True,
            "false": False,
        }
        for dtype in (
            "float64",
            "float32",
            "float16",
            "bfloat16",
            "int64",
            "int32",
            "int16",
            "int8",
            "uint8",
        ):
            names[dtype] = getattr(_C, dtype)
        names["boolean"] = _C.bool
        return names


def arguments(case: Case, dtype: str = "float64", scale: int = 1) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments of a sample."""
    names = Maker(case, dtype, scale).names()
    names["_call"] = lambda *args, **kwargs: (args, kwargs)
    return eval(f"_call({case.text})", names)


def bind(case: Case, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Argument values by parameter name, defaults filled in."""
    bound: dict[str, Any] = {}
    rest = list(args)
    literals = {
        "None": None,
        "True": True,
        "False": False,
        "inf": math.inf,
        "none": None,
        "true": True,
        "false": False,
        "nan": math.nan,
    }
    for param in case.params:
        if not param.keyword_only and rest:
            if param.spread and not isinstance(rest[0], (tuple, list)):
                bound[param.name], rest = list(rest), []
            else:
                bound[param.name] = rest.pop(0)
        elif param.name in kwargs:
            bound[param.name] = kwargs[param.name]
        elif param.default is not None:
            try:
                bound[param.name] = eval(param.default, dict(literals))
            except (NameError, SyntaxError):
                bound[param.name] = param.default
    return bound


def tensors_in(value: Any) -> list[Any]:
    """Every tensor of nested arguments, in order."""
    if isinstance(value, _C.Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for v in value.values() for t in tensors_in(v)]
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in tensors_in(v)]
    return []


def map_tensors(value: Any, change: Any) -> Any:
    """The same nesting with every tensor replaced by `change(tensor)`."""
    if isinstance(value, _C.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {k: map_tensors(v, change) for k, v in value.items()}
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return type(value)(map_tensors(v, change) for v in value)
    return value


def to_numpy(tensor: Any) -> np.ndarray[Any, Any]:
    """Values as float64, or as they are for integers and bools."""
    plain = tensor.detach()
    if str(plain.dtype).endswith("bfloat16"):
        plain = plain.to(_C.float32)
    array = np.asarray(plain.numpy())
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def expected(case: Case, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the row's oracle says."""
    names: dict[str, Any] = {
        "np": np,
        "scipy": scipy,
        "special": scipy.special,
        "sp": scipy.special,
        "math": math,
        "inf": math.inf,
        "nan": math.nan,
        "linalg": np.linalg,
    }
    names.update({k: v for k, v in vars(references).items() if k.startswith("ref_")})
    references.set_pool_dims(next((n for n in (1, 2, 3) if case.name.endswith(f"pool{n}d")), 0))
    # `lambda`s and comprehensions inside an oracle see globals only.
    names.update(map_tensors(bind(case, args, kwargs), to_numpy))
    with np.errstate(all="ignore"):
        return eval(case.row["oracle"], names)


def assert_matches(result: Any, wanted: Any, dtype: str, where: str) -> None:
    """Nested results against nested arrays, shape and values."""
    if isinstance(result, (tuple, list)) and not isinstance(wanted, np.ndarray):
        assert len(result) == len(wanted), f"{where}: {len(result)} results, the oracle has {len(wanted)}"
        for n, (a, b) in enumerate(zip(result, wanted, strict=True)):
            assert_matches(a, b, dtype, f"{where}[{n}]")
        return
    if not isinstance(result, _C.Tensor):
        assert np.all(np.asarray(result) == np.asarray(wanted)), f"{where}: {result} != {wanted}"
        return
    got, want = to_numpy(result), np.asarray(wanted)
    if got.ndim == 0 and want.shape == (1,):
        want = want[0]  # SciPy gives some results of a scalar as one element
    assert got.shape == want.shape, f"{where}: shape {got.shape}, the oracle has {want.shape}"
    if got.dtype.kind in "iub" and want.dtype.kind in "iub":
        np.testing.assert_array_equal(got, want, err_msg=where)
        return
    own = str(result.dtype).rsplit(".", 1)[-1]
    rtol, atol = max(TOLERANCE[dtype], TOLERANCE.get(own, (0.0, 0.0)))
    finite = np.abs(want[np.isfinite(want)]) if want.size else want
    largest = float(finite.max()) if finite.size else 0.0
    # Cancellation: an element of a large result may be small, its error is not.
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol * max(1.0, largest), err_msg=where, equal_nan=True)


def equal_bits(first: Any, second: Any) -> bool:
    """Whether nested results are the same bit for bit."""
    if isinstance(first, _C.Tensor):
        a, b = to_numpy(first), to_numpy(second)
        return a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(first, (tuple, list)):
        return len(first) == len(second) and all(equal_bits(a, b) for a, b in zip(first, second, strict=True))
    return bool(first == second)


def to_torch(value: Any, requires_grad: bool = False) -> Any:
    """Arguments for PyTorch: tensors with their values, strides and dtypes; dtypes by name."""
    if isinstance(value, _C.Tensor):
        name = str(value.dtype).rsplit(".", 1)[-1]
        plain = value.detach()
        if name == "bfloat16":
            made = torch.from_numpy(np.array(plain.to(_C.float32).numpy())).to(torch.bfloat16)
        else:
            array = plain.numpy()
            if array.size == 0:  # whose strides PyTorch takes for zeros
                made = torch.empty(array.shape, dtype=getattr(torch, name))
            else:
                made = torch.from_numpy(np.array(array, order="K")) if array.ndim else torch.tensor(array)
        return made.requires_grad_() if requires_grad and made.is_floating_point() else made
    if isinstance(value, dict):
        return {k: to_torch(v, requires_grad) for k, v in value.items()}
    if type(value) in (tuple, list):
        return type(value)(to_torch(v, requires_grad) for v in value)
    if isinstance(value, _C.dtype):
        return getattr(torch, str(value).rsplit(".", 1)[-1])
    return value


def is_pointwise(case: Case, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> bool:
    """Whether the result has the broadcast shape of all tensors: what elementwise operations give."""
    tensors = tensors_in([list(args), kwargs])
    if not tensors or not isinstance(result, _C.Tensor) or "?[]" in case.row["sig"] or "[]" in case.row["sig"]:
        return False
    try:
        shape = np.broadcast_shapes(*(tuple(t.shape) for t in tensors))
    except ValueError:
        return False
    return tuple(result.shape) == shape


def assert_matches_special(result: Any, wanted: Any, where: str) -> None:
    """As `assert_matches` in float64, element by element: NaN where NaN, infinite where infinite."""
    got, want = to_numpy(result), np.asarray(wanted)
    assert got.shape == want.shape, where
    if got.dtype.kind in "iub" and want.dtype.kind in "iub":
        np.testing.assert_array_equal(got, want, err_msg=where)
        return
    np.testing.assert_allclose(got, want.astype(np.float64), rtol=1e-9, atol=1e-11, err_msg=where, equal_nan=True)
