"""Every op's own samples, with tensors of 2^62 rows of nothing instead: what has no elements takes no time. Or of no
dimensions, or of one element, where the samples have more."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ops import harness
from rustnn import _C

HUGE = 2**62
SMALL = ((), (0,), (1,), (2,), (0, 0), (1, 1), (2, 0), (1, 2, 3))


class Kind:
    def __init__(self) -> None:
        self.cases = harness.cases()

    def prepare(self, rng: random.Random) -> tuple[str, Callable[[], None]]:
        case = rng.choice(self.cases)
        names = harness.Maker(case).names()
        # One of the last dimensions is zero, another (or one more in front, or all others) huge.
        zero, huge = rng.choice((0, 1, 2, -1)), rng.choice((0, 1, 2, "all", "front"))
        small = rng.choice(SMALL) if rng.random() < 0.3 else None
        # All tensors of the call, or the first or the second alone.
        which = rng.choice((None, None, None, 0, 0, 1))
        kind = rng.choice(("float64", "float32", "bfloat16"))
        made: list[str] = []

        def sized(shape: tuple[int, ...]) -> list[int]:
            if small is not None:
                return list(small)
            sizes = list(shape)
            if huge == "front":
                sizes = [HUGE, *sizes]
            elif huge == "all":
                sizes = [HUGE] * max(len(sizes), 1)
            if zero == -1:
                sizes = [0, *sizes]
            while len(sizes) <= max(zero, huge if isinstance(huge, int) else 0):
                sizes = [1, *sizes]
            if isinstance(huge, int):
                sizes[-1 - huge] = HUGE
            sizes[0 if zero == -1 else -1 - zero] = 0
            return sizes

        def replaced(name: str) -> Callable[..., Any]:
            usual = names[name]

            def make(*shape: Any, **options: Any) -> Any:
                made.append(name)
                if which is not None and len(made) - 1 != which:
                    return usual(*shape, **options)
                if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
                    shape = tuple(shape[0])
                dtype = {"i": _C.int64, "b": _C.bool}.get(name) or getattr(_C, kind)
                tensor = _C.zeros(sized(shape), dtype=dtype)
                return tensor.requires_grad_() if dtype.is_floating_point else tensor

            return make

        names.update({name: replaced(name) for name in ("t", "pos", "unit", "i", "b")})
        names["_call"] = lambda *args, **kwargs: (args, kwargs)

        def call() -> None:
            args, kwargs = eval(f"_call({case.text})", names)
            results = harness.function_of(case.row)(*args, **kwargs)
            sums = [r.sum() for r in harness.tensors_in(results) if r.requires_grad][:100]
            if sums:
                sum(sums[1:], sums[0]).backward()

        return f"{case.id}, {kind}, {small=}, {zero=}, {huge=}, {which=}", call
