"""Indexing, writes through views, in-place ops and conversions, each checked against NumPy on the same memory."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import rustnn
from fuzz.run import Wrong

KINDS = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool", "float16")
IN_PLACE: dict[str, Callable[[np.ndarray, Any], Any]] = {
    "add_": lambda a, v: np.add(a, v, out=a, casting="unsafe"),
    "sub_": lambda a, v: np.subtract(a, v, out=a, casting="unsafe"),
    "mul_": lambda a, v: np.multiply(a, v, out=a, casting="unsafe"),
    "fill_": lambda a, v: a.__setitem__(..., v),
    "copy_": lambda a, v: a.__setitem__(..., v),
}


class Pair:
    """A tensor and an array that must stay equal, over the whole of their memory."""

    def __init__(self, rng: random.Random) -> None:
        kind = rng.choice(KINDS)
        shape = tuple(rng.choice((0, 1, 2, 3, 3, 4, 5)) for _ in range(rng.randrange(5)))
        values = np.array([rng.randrange(-9, 9) for _ in range(math.prod(shape))], dtype="int64").reshape(shape)
        self.base = np.array(values % 2 if kind == "bool" else values, dtype=kind)
        self.whole = rustnn.from_numpy(self.base.copy()).clone()
        self.a, self.t = self.base, self.whole
        self.steps: list[str] = [f"{kind}{list(shape)}"]

    def check(self) -> None:
        same(self.whole, self.base)
        same(self.t, self.a)


def same(t: Any, a: Any) -> None:
    if tuple(t.shape) != np.shape(a):
        raise Wrong(f"shape {tuple(t.shape)}, NumPy's is {np.shape(a)}")
    got, want = t.numpy(), np.asarray(a)
    if got.dtype != want.dtype:
        raise Wrong(f"dtype {got.dtype}, NumPy's is {want.dtype}")
    if not np.array_equal(got, want, equal_nan=want.dtype.kind == "f"):
        raise Wrong(f"{got.tolist()}, NumPy has {want.tolist()}")
    if t.tolist() != want.tolist() and not (want.dtype.kind == "f" and np.isnan(want).any()):
        raise Wrong(f"tolist() gives {t.tolist()}, NumPy has {want.tolist()}")


def place(rng: random.Random, n: int) -> int:
    return rng.randrange(-n - 1, n + 2) if rng.random() < 0.1 else rng.randrange(-n, n) if n else 0


def cut(rng: random.Random, n: int) -> slice:
    ends = [None, 0, 1, -1, n, -n, n + 3, -n - 3, *range(-n, n)]
    return slice(rng.choice(ends), rng.choice(ends), rng.choice((None, None, 1, 2, 3, 2**40)))


def index(rng: random.Random, shape: tuple[int, ...], basic: bool) -> tuple[Any, ...]:
    """An index expression: whole numbers, slices, None, an ellipsis, and arrays unless `basic`."""
    parts: list[Any] = []
    dims = list(shape)
    groups = rng.randrange(1, 3)
    many = tuple(rng.choice((1, 2, 3)) for _ in range(groups))
    ellipsis = False
    while dims:
        choice = rng.randrange(10)
        if choice == 0 and rng.random() < 0.4:
            break
        if choice == 1:
            parts.append(None)
        elif choice == 2 and not ellipsis:
            ellipsis = True
            parts.append(Ellipsis)
            del dims[: rng.randrange(len(dims) + 1)]
            # What is left belongs to the last dimensions.
        elif choice < 5:
            parts.append(place(rng, dims.pop(0)))
        elif choice < 8 or basic:
            parts.append(cut(rng, dims.pop(0)))
        elif choice == 8 and rng.random() < 0.4:
            k = rng.randrange(1, len(dims) + 1)
            mask = np.array([rng.random() < 0.5 for _ in range(math.prod(dims[:k]))], dtype=bool).reshape(dims[:k])
            del dims[:k]
            # Masks and other arrays broadcast against each other, which rarely fits.
            if any(isinstance(p, np.ndarray) for p in parts):
                continue
            parts.append(mask)
            basic = True
        else:
            n = dims.pop(0)
            size = math.prod(many)
            values = [place(rng, n) if n else 0 for _ in range(size)] if n or rng.random() < 0.1 else []
            if len(values) == size:
                parts.append(np.array(values, dtype=np.int64).reshape(many))
            else:
                parts.append(slice(None))
    if ellipsis:
        # The dimensions that the ellipsis stands for are the ones no other part takes.
        used = sum(p.ndim if isinstance(p, np.ndarray) and p.dtype == bool else p is not None for p in parts) - 1
        if used > len(shape):
            parts.remove(Ellipsis)
    return tuple(parts)


def in_two_steps(a: np.ndarray, parts: tuple[Any, ...]) -> tuple[np.ndarray, tuple[Any, ...]]:
    """A view, and the index that is left: PyTorch's whole numbers select before arrays index, NumPy's are arrays; an
    ellipsis that stands for no dimension parts NumPy's arrays, not PyTorch's."""
    if not any(isinstance(p, np.ndarray) for p in parts):
        return a, parts
    if Ellipsis in [p for p in parts if not isinstance(p, np.ndarray)]:
        used = sum(p.ndim if isinstance(p, np.ndarray) and p.dtype == bool else p is not None for p in parts) - 1
        at = next(k for k, p in enumerate(parts) if p is Ellipsis)
        parts = (*parts[:at], *[slice(None)] * (a.ndim - used), *parts[at + 1 :])
    first, rest = [], []
    for p in parts:
        if p is None:
            rest.append(p)
        elif isinstance(p, int):
            first.append(p)
        elif isinstance(p, np.ndarray) and p.dtype == bool:
            first += [slice(None)] * p.ndim
            rest.append(p)
        else:
            first.append(slice(None))
            rest.append(p)
    seen, d = a[tuple(first)], 0
    for p in rest:
        if isinstance(p, np.ndarray) and p.dtype == bool:
            # NumPy does not look where there are no elements.
            if seen.shape[d : d + p.ndim] != p.shape:
                raise IndexError("the shape of the mask")
            d += p.ndim
        else:
            d += p is not None
    return seen, tuple(rest)


def as_ours(rng: random.Random, parts: tuple[Any, ...]) -> Any:
    out = []
    for p in parts:
        if isinstance(p, np.ndarray):
            choice = rng.randrange(4)
            if p.dtype == bool:
                p = rustnn.from_numpy(p) if choice else p
            elif choice == 0 and p.size:
                p = p.tolist()
            elif choice == 1:
                p = p.astype("int32")
                p = rustnn.from_numpy(p)
            else:
                p = rustnn.from_numpy(p)
        out.append(p)
    return out[0] if len(out) == 1 and not isinstance(out[0], list) else tuple(out)


def view(rng: random.Random, pair: Pair) -> None:
    """Both sides seen in another way."""
    a, t = pair.a, pair.t
    choice = rng.randrange(7)
    if choice < 3:
        parts = index(rng, a.shape, basic=True)
        pair.steps.append(f"[{parts}]")
        pair.a, pair.t = both(lambda: a[parts if Ellipsis in parts else (*parts, ...)], lambda: t[parts])
    elif choice == 3 and a.ndim >= 2:
        i, j = rng.randrange(a.ndim), rng.randrange(a.ndim)
        pair.steps.append(f".transpose({i}, {j})")
        pair.a, pair.t = a.swapaxes(i, j), t.transpose(i, j)
    elif choice == 4 and a.ndim:
        order = list(range(a.ndim))
        rng.shuffle(order)
        pair.steps.append(f".permute({order})")
        pair.a, pair.t = a.transpose(order), t.permute(order)
    elif choice == 5 and a.size and all(s >= 0 for s in a.strides):
        # Any window into what this view reaches.
        item = a.itemsize
        reach = sum((n - 1) * s for n, s in zip(a.shape, a.strides, strict=True)) // item
        shape, strides, left = [], [], reach
        for _ in range(rng.randrange(4)):
            n = rng.randrange(1, 4)
            s = rng.randrange(0, left // (n - 1) + 1) if n > 1 else rng.randrange(5)
            left -= (n - 1) * s
            shape.append(n)
            strides.append(s)
        pair.steps.append(f".as_strided({shape}, {strides})")
        pair.t = t.as_strided(shape, strides, t.storage_offset())
        pair.a = np.lib.stride_tricks.as_strided(a, shape, [s * item for s in strides])
    elif choice == 6 and a.ndim and a.shape[0]:
        n = rng.randrange(1, a.shape[0] + 1)
        step = rng.randrange(1, 4)
        pair.steps.append(f".unfold(0, {n}, {step})")
        pair.t = t.unfold(0, n, step)
        pair.a = np.moveaxis(np.lib.stride_tricks.sliding_window_view(a, n, 0, writeable=True)[::step], -1, -1)


def both(theirs: Callable[[], Any], ours: Callable[[], Any]) -> tuple[Any, Any]:
    """Both results, or the error that both have."""
    try:
        want = theirs()
    except (IndexError, ValueError) as error:
        try:
            got = ours()
        except (IndexError, ValueError, RuntimeError, TypeError):
            raise error from None
        raise Wrong(f"gives {got!r}, NumPy raises {error}") from None
    try:
        return want, ours()
    except (IndexError, ValueError, RuntimeError, TypeError) as error:
        raise Wrong(f"raises {error}, NumPy gives {want!r}") from error


def shares_with_itself(a: np.ndarray) -> bool:
    """Whether an element of the view is seen twice."""
    places = np.zeros(a.shape, dtype=np.int64)
    for d, (n, s) in enumerate(zip(a.shape, a.strides, strict=True)):
        places += (np.arange(n) * s).reshape([-1 if k == d else 1 for k in range(a.ndim)])
    return len(np.unique(places)) < places.size


def number(rng: random.Random, kind: str) -> Any:
    if kind == "bool":
        return rng.random() < 0.5
    return rng.randrange(0, 5) if kind == "uint8" else rng.choice((0, 1, -1, 2, 3, -7))


class Kind:
    def prepare(self, rng: random.Random) -> tuple[str, Callable[[], None]]:
        if rng.random() < 0.1:
            return converted(rng)
        pair = Pair(rng)
        for _ in range(rng.randrange(4)):
            view(rng, pair)
            if pair.a.size > 2000:
                break
        kind = pair.base.dtype.name
        choice = rng.randrange(4)
        if choice < 2:
            parts = index(rng, pair.a.shape, basic=False)
            shown = "".join(pair.steps) + f"[{parts}]"
            if choice == 0:
                return shown, lambda: self.read(rng, pair, parts)
            return shown + " = ...", lambda: self.write(rng, pair, parts, kind)
        name = rng.choice([n for n in IN_PLACE if kind != "bool" or n in ("fill_", "copy_")])
        return f"{''.join(pair.steps)}.{name}", lambda: self.in_place(rng, pair, name, kind)

    def read(self, rng: random.Random, pair: Pair, parts: tuple[Any, ...]) -> None:
        def theirs() -> Any:
            a, rest = in_two_steps(pair.a, parts)
            return a[rest]

        want, got = both(theirs, lambda: pair.t[as_ours(rng, parts)])
        same(got, want)

    def write(self, rng: random.Random, pair: Pair, parts: tuple[Any, ...], kind: str) -> None:
        if shares_with_itself(pair.a):
            return
        value = number(rng, kind)
        arrays = any(isinstance(p, np.ndarray) and p.dtype != bool for p in parts)
        if not arrays and rng.random() < 0.5:
            # A value for each place (of several for one place, any may stay).
            a, rest = in_two_steps(pair.a, parts)
            try:
                shape = np.shape(a[rest])
            except IndexError:
                shape = (1,)
            shape = tuple(1 if rng.random() < 0.2 else n for n in shape)[rng.randrange(2) if len(shape) else 0 :]
            value = np.array([number(rng, kind) for _ in range(math.prod(shape))]).reshape(shape).astype(kind)
        ours = rustnn.from_numpy(value) if isinstance(value, np.ndarray) else value

        def theirs() -> None:
            a, rest = in_two_steps(pair.a, parts)
            a[rest if len(rest) or a.ndim else ()] = value

        # A copy first, so that the value shares no memory with what is written.
        key = as_ours(rng, parts)
        both(theirs, lambda: pair.t.__setitem__(key, ours))
        pair.check()

    def in_place(self, rng: random.Random, pair: Pair, name: str, kind: str) -> None:
        if shares_with_itself(pair.a):
            try:
                getattr(pair.t, name)(1)
            except RuntimeError:
                same(pair.whole, pair.base)
            return
        value: Any = number(rng, kind)
        ours = value
        if name != "fill_" and rng.random() < 0.6:
            shape = tuple(1 if rng.random() < 0.2 else n for n in pair.a.shape)
            shape = shape[rng.randrange(len(shape)) :] if shape else ()
            value = np.array([number(rng, kind) for _ in range(math.prod(shape))]).reshape(shape).astype(kind)
            ours = rustnn.from_numpy(value.copy())
        elif name == "copy_":
            ours = rustnn.tensor(value)
        with np.errstate(all="ignore"):
            IN_PLACE[name](pair.a, np.asarray(value).astype(kind))
        getattr(pair.t, name)(ours)
        pair.check()


SPECIAL = (
    *(0.0, -0.0, 0.5, -0.5, 1.5, -1.5, 2.5, 127.0, 128.0, -128.0, -129.0, 255.0, 256.0, -1.0),
    *(32767.0, 32768.0, -32769.0, 2.0**31, -(2.0**31), 2.0**31 + 5, 2.0**32, 2.0**53, 2.0**63, -(2.0**63), 1e30),
    *(math.nan, math.inf, -math.inf, 65504.0, 65520.0, 1e-8, 3.4e38, -3.5e38, 1e300),
)


def converted(rng: random.Random) -> tuple[str, Callable[[], None]]:
    """A conversion gives the same for an element alone, in a long row and in a strided one; NumPy's where defined."""
    source, target = rng.choice(KINDS), rng.choice(KINDS)
    values = [rng.choice(SPECIAL) for _ in range(rng.choice((1, 7, 40)))]

    def call() -> None:
        with np.errstate(all="ignore"):
            array = np.array(values, dtype="float64").astype(source)
        t, dtype = rustnn.from_numpy(array.copy()), getattr(rustnn, target)
        long = t.to(dtype)
        alone = rustnn.stack([t[i].to(dtype) for i in range(len(values))])
        strided = rustnn.stack([t, t], 1)[:, 1].to(dtype)
        written = rustnn.zeros(len(values), dtype=dtype).copy_(t)
        for other in (alone, strided, written):
            if not np.array_equal(long.numpy(), other.numpy(), equal_nan=np.dtype(target).kind == "f"):
                raise Wrong(f"{long.tolist()} in a row, {other.tolist()} otherwise")
        with np.errstate(all="ignore"):
            want = array.astype(target)
        if np.dtype(target).kind in "iu" and array.dtype.kind == "f":
            # Beyond the target's range (and for NaN) C, and NumPy with it, promises nothing.
            bounds = np.iinfo(target)
            wide = array.astype("float64")
            sure = (wide > float(bounds.min) - 1) & (wide < float(bounds.max) + (target != "int64"))
        else:
            sure = np.ones(len(values), dtype=bool)
        if not np.array_equal(long.numpy()[sure], want[sure], equal_nan=np.dtype(target).kind == "f"):
            raise Wrong(f"{long.tolist()}, NumPy has {want.tolist()}")

    return f"{values} as {source} to {target}", call
