"""Random graphs with views, in-place edits and hooks. A gradient that comes out is checked by finite differences of the
same program in NumPy; hooks and Functions that raise or return what they should not must leave the engine usable."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import rustnn
from fuzz.run import Wrong
from fuzz.values import Lies, Raises

Step = tuple[Any, ...]
ONE = {
    "tanh": (np.tanh, lambda t: t.tanh()),
    "sin": (np.sin, lambda t: t.sin()),
    "double": (lambda a: a * 2, lambda t: t * 2),
    "square": (np.square, lambda t: t.square()),
    "exp": (lambda a: np.exp(np.sin(a)), lambda t: t.sin().exp()),
    "clone": (np.copy, lambda t: t.clone()),
    "sigmoid": (lambda a: 1 / (1 + np.exp(-a)), lambda t: t.sigmoid()),
}
VIEWS = {
    "t": (lambda a: a.swapaxes(0, 1), lambda t: t.transpose(0, 1)),
    "row": (lambda a: a[0:1], lambda t: t[0:1]),
    "rest": (lambda a: a[1:], lambda t: t[1:]),
    "column": (lambda a: a[:, 1], lambda t: t[:, 1]),
    "every": (lambda a: a[..., ::2], lambda t: t[..., ::2]),
    "more": (lambda a: a[None], lambda t: t.unsqueeze(0)),
    "same": (lambda a: a[...], lambda t: t.view_as(t)),
}
TWO = {
    "add": (np.add, lambda x, y: x + y),
    "sub": (np.subtract, lambda x, y: x - y),
    "mul": (np.multiply, lambda x, y: x * y),
}
EDITS = {
    "add_": (lambda a, b: np.add(a, b, out=a), lambda x, y: x.add_(y)),
    "sub_": (lambda a, b: np.subtract(a, b, out=a), lambda x, y: x.sub_(y)),
    "mul_": (lambda a, b: np.multiply(a, b, out=a), lambda x, y: x.mul_(y)),
    "copy_": (lambda a, b: a.__setitem__(..., b), lambda x, y: x.copy_(y)),
    "set": (lambda a, b: a.__setitem__(..., b), lambda x, y: x.__setitem__(slice(None), y)),
    "tanh_": (lambda a, b: np.tanh(a, out=a), lambda x, y: x.tanh_()),
    "sin_": (lambda a, b: np.sin(a, out=a), lambda x, y: x.sin_()),
    "zero_": (lambda a, b: a.fill(0), lambda x, y: x.zero_()),
}


def program(rng: random.Random) -> list[Step]:
    """Steps on numbered values, of which the first two are given."""
    steps: list[Step] = []
    for _ in range(rng.randrange(2, 12)):
        choice, i, j = rng.randrange(12), rng.randrange(100), rng.randrange(100)
        table = ONE if choice < 3 else VIEWS if choice < 6 else TWO if choice < 8 else EDITS
        steps.append((table, rng.choice(list(table)), i, j))
    return steps


def run(steps: list[Step], given: list[Any], side: int) -> Any:
    """The program's result; steps whose shapes do not fit are left out (on both sides the same ones)."""
    values = [v * 1 for v in given]
    for table, name, i, j in steps:
        x, y = values[i % len(values)], values[j % len(values)]
        f = table[name][side]
        if table is VIEWS:
            if x.ndim < 2 and name in ("t", "column") or x.ndim == 0 or name == "column" and x.shape[1] < 2:
                continue
            values.append(f(x))
        elif table is ONE:
            values.append(f(x))
        else:
            fits = y.ndim <= x.ndim and all(b in (1, a) for a, b in zip(x.shape[::-1], y.shape[::-1], strict=False))
            # What is read and written at once has an order of its own in each library.
            if not fits or table is EDITS and (x is y or shares(x, y, side)):
                continue
            if table is TWO:
                values.append(f(x, y))
            else:
                f(x, y)
    total = values[0].sum() * 0
    for k, v in enumerate(values):
        total = total + (v * (1 + 0.1 * k)).sum()
    return total


def shares(x: Any, y: Any, side: int) -> bool:
    if side == 0:
        return bool(np.shares_memory(x, y)) or base_of(x) is base_of(y)
    return bool(x.untyped_storage().data_ptr() == y.untyped_storage().data_ptr())


def base_of(a: np.ndarray) -> Any:
    while a.base is not None:
        a = a.base
    return a


def differences(steps: list[Step], given: list[np.ndarray]) -> list[np.ndarray]:
    grads = []
    for k, g in enumerate(given):
        grad = np.zeros_like(g)
        for place in np.ndindex(g.shape):
            ends = []
            for h in (1e-6, -1e-6):
                moved = [v.copy() for v in given]
                moved[k][place] += h
                ends.append(run(steps, moved, 0))
            grad[place] = (ends[0] - ends[1]) / 2e-6
        grads.append(grad)
    return grads


class Kind:
    def prepare(self, rng: random.Random) -> tuple[str, Callable[[], None]]:
        if rng.random() < 0.4:
            return hostile(rng)
        steps = program(rng)
        shapes = rng.choice((((2, 3), (2, 3)), ((3, 3), (3,)), ((2, 2), (1, 2)), ((3, 2), (1,))))
        given = [np.array([rng.uniform(-1, 1) for _ in range(int(np.prod(s)))]).reshape(s) for s in shapes]
        shown = f"{shapes}: {[(name, i, j) for _, name, i, j in steps]}"

        def call() -> None:
            leaves = [rustnn.from_numpy(g.copy()).requires_grad_() for g in given]
            hooked = rng.random() < 0.3
            result = run(steps, leaves, 1)
            want = run(steps, [g.copy() for g in given], 0)
            if not np.allclose(result.item(), want, rtol=1e-10, atol=1e-10, equal_nan=True):
                raise Wrong(f"forward gives {result.item()}, NumPy {want}")
            if hooked:
                leaves[0].register_hook(lambda g: g * 1)
            result.backward()
            with np.errstate(all="ignore"):
                grads = differences(steps, given)
            for leaf, grad in zip(leaves, grads, strict=True):
                got = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy()
                if np.isfinite(grad).all() and not np.allclose(got, grad, rtol=1e-4, atol=1e-4 * max(1, abs(want))):
                    raise Wrong(f"gradient {got.tolist()}, finite differences {grad.tolist()}")

        return shown, call


def strange(rng: random.Random, g: Any) -> Any:
    """What no backward or hook should return, among what it may."""
    return rng.choice(
        (
            lambda: None,
            lambda: g,
            lambda: g * 2,
            lambda: g.sum(),
            lambda: g.to(rustnn.float32),
            lambda: g.to(rustnn.int64),
            lambda: rustnn.zeros(2**62, 0),
            lambda: rustnn.zeros(()).expand(2**40),
            lambda: (g, g, g),
            lambda: [],
            lambda: "text",
            lambda: 1.0,
            lambda: np.zeros(3),
            Lies,
            lambda: Raises(ValueError),
            lambda: g.resize_(0),
            lambda: g.requires_grad_(),
            lambda: g.expand(7, *g.shape),
            lambda: 1 / 0,
        )
    )()


def hostile(rng: random.Random) -> tuple[str, Callable[[], None]]:
    chosen: list[str] = []

    class Function(rustnn.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *xs: Any) -> Any:
            if rng.random() < 0.5:
                ctx.save_for_backward(*rng.choice(((xs[0],), xs, (xs[0] * 2,), (None,))))
            act = rng.randrange(9)
            chosen.append(f"forward {act}")
            if act == 0:
                ctx.mark_dirty(xs[0])
                return xs[0].add_(1)
            if act == 1:
                ctx.mark_non_differentiable(xs[0])
            if act == 2:
                return xs[0]
            if act == 3:
                return xs[0][:1], xs[0] * 2
            if act == 4:
                return strange(rng, xs[0])
            if act == 5:
                ctx.set_materialize_grads(False)
            return xs[0] * 2

        @staticmethod
        def backward(ctx: Any, *gs: Any) -> Any:
            act = rng.randrange(7)
            chosen.append(f"backward {act}")
            if act == 0:
                return strange(rng, gs[0])
            if act == 1:
                return tuple(strange(rng, gs[0]) for _ in range(rng.randrange(4)))
            if act == 2:
                return ctx.saved_tensors
            if act == 3:
                (rustnn.ones(3, dtype=rustnn.float64, requires_grad=True) * 2).sum().backward()
            if act == 4:
                with rustnn.enable_grad():
                    rustnn.autograd.grad((leaves[0] * 2).sum(), leaves[0])
            return gs[0], None

    leaves = [rustnn.ones(2, 3, dtype=rustnn.float64, requires_grad=True) for _ in range(2)]

    def hook(*args: Any) -> Any:
        act = rng.randrange(6)
        chosen.append(f"hook {act}")
        if act == 0:
            raise KeyError("as it was told to")
        if act == 1:
            return strange(rng, args[-1][0] if isinstance(args[-1], tuple) else args[-1])
        if act == 2:
            leaves[1].data = rustnn.zeros(5, dtype=rustnn.float64)
        if act == 3:
            leaves[0].grad = None
        if act == 4:
            for handle in handles:
                handle.remove()
        return None

    handles: list[Any] = []

    def call() -> None:
        x, y = leaves
        z = x * 1
        for _ in range(rng.randrange(4)):
            act = rng.randrange(9)
            chosen.append(f"step {act}")
            if act == 0:
                handles.append(z.register_hook(hook))
            elif act == 1:
                handles.append(x.register_hook(hook))
            elif act == 2:
                handles.append(x.register_post_accumulate_grad_hook(hook))
            elif act == 3 and z.grad_fn is not None:
                handles.append(z.grad_fn.register_hook(hook))
            elif act == 4 and z.grad_fn is not None:
                handles.append(z.grad_fn.register_prehook(hook))
            elif act < 7:
                z = Function.apply(*((z, y) if rng.random() < 0.5 else (z,)))
                z = z[-1] if isinstance(z, tuple) else z
            elif act == 7:
                z.retain_grad()
            else:
                z = z * y
        with rustnn.autograd.graph.saved_tensors_hooks(
            *((lambda t: t, lambda t: t) if rng.random() < 0.7 else (lambda t: t, lambda t: strange(rng, t)))
        ):
            w = (z.tanh() * z).sum()
        try:
            w.backward(retain_graph=rng.random() < 0.5, create_graph=rng.random() < 0.3)
            w.backward()
        finally:
            check = rustnn.ones(3, dtype=rustnn.float64, requires_grad=True)
            (check * check).sum().backward()
            if check.grad is None or check.grad.tolist() != [2, 2, 2]:
                raise Wrong(f"the engine is broken after {chosen}: {check.grad}")

    return "hostile graph", call
