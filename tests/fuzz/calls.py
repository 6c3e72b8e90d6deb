"""Random calls at the whole surface: every op, function and tensor method, with arguments right and wrong."""

from __future__ import annotations

import random
from typing import Any

import rustnn
from fuzz.values import Values, describe
from ops.harness import parse_signature, surfaces
from rustnn import _C

# Calls that sleep, exit, print, wait or change settings for good.
LEAVE_OUT = {
    "set_num_threads",
    "set_default_dtype",
    "set_printoptions",
    "compile",
    "set_num_interop_threads",
    "install_as_torch",
    "set_default_tensor_type",
    "set_grad_enabled",
    "vmap",
    "seed",
    "save",
    "load",
}


def own(first: Any) -> Any:
    """What else has such a method is not ours: Python's own 10**30 ** 2**31 takes forever."""
    if not isinstance(first, _C.Tensor):
        raise TypeError(type(first).__name__)
    return first


def targets() -> list[tuple[str, Any, list[tuple[str, str, bool]]]]:
    """(name, function, parameters) of every row on every surface, and what else is callable."""
    found: list[tuple[str, Any, list[tuple[str, str, bool]]]] = []
    seen = set()
    for row in _C._registry():
        params = [(p.name, p.types, p.keyword_only) for p in parse_signature(row["sig"])]
        name = row["name"]
        homes = {
            "torch": _C,
            "private": _C,
            "nn": _C._nn,
            "linalg": getattr(_C, "_linalg", None),
            "special": getattr(_C, "_special", None),
        }
        for surface in sorted(surfaces(row)):
            if surface == "method":
                for suffix in ("", "_") if row["inplace"] else ("",):
                    method = name + suffix

                    def call(first: Any, *args: Any, _method: str = method, **kwargs: Any) -> Any:
                        return getattr(own(first), _method)(*args, **kwargs)

                    found.append((f"Tensor.{method}", call, params))
            elif homes.get(surface) is not None and hasattr(homes[surface], name):
                found.append((f"{surface}.{name}", getattr(homes[surface], name), params))
        seen.add(name)
    for name in dir(rustnn):
        value = getattr(rustnn, name, None)
        if name.startswith("_") or name in seen or name in LEAVE_OUT or not callable(value) or isinstance(value, type):
            continue
        found.append((f"rustnn.{name}", value, [("a", "", False)] * 2))
    for name in dir(_C.Tensor):
        if name in seen or name in (
            "__class__",
            "__init_subclass__",
            "__subclasshook__",
            "__new__",
            "__getattribute__",
        ):
            continue
        if name.startswith("__") and not callable(getattr(_C.Tensor, name, None)):
            continue

        def use(first: Any, *args: Any, _name: str = name) -> Any:
            value = getattr(own(first), _name)
            return value(*args) if callable(value) else value

        found.append((f"Tensor.{name}", use, [("self", "Tensor", False), ("other", "", False)]))
    return found


class Kind:
    """One random call after another; results become arguments of later ones."""

    def __init__(self) -> None:
        self.values, self.table = Values(), targets()

    def prepare(self, rng: random.Random) -> tuple[str, Any]:
        values = self.values
        values.rng = rng
        name, function, params = rng.choice(self.table)
        args, kwargs = [], {}
        for param, types, keyword_only in params:
            if keyword_only:
                if rng.random() < 0.3:
                    kwargs[param] = values.value(types)
            elif rng.random() < 0.9 or not args:
                args.append(values.value(types))
            else:
                break
        if rng.random() < 0.03:
            args.append(values.value())
        shown = f"{name}({', '.join(describe(a) for a in args)}, **{ {k: describe(v) for k, v in kwargs.items()} })"

        def call() -> None:
            result = function(*args, **kwargs)
            if isinstance(result, _C.Tensor):
                if result.numel() < 10_000:
                    repr(result)
                    values.keep(result)
                if result.requires_grad and result.numel() < 10_000 and rng.random() < 0.5:
                    result.sum().backward()

        return shown, call
