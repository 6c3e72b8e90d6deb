"""`torch._dynamo`: notes for a compiler, which change nothing where programs run eagerly."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

__all__ = [
    "OptimizedModule",
    "allow_in_graph",
    "assume_constant_result",
    "config",
    "disable",
    "disallow_in_graph",
    "graph_break",
    "is_compiling",
    "mark_dynamic",
    "mark_static",
    "mark_static_address",
    "maybe_mark_dynamic",
    "optimize",
    "reset",
    "run",
]

# Settings that programs write to; nothing reads them.
config = SimpleNamespace(suppress_errors=False, cache_size_limit=8, recompile_limit=8, capture_scalar_outputs=False)


class OptimizedModule:
    """Nothing is an instance of this: `torch.compile` gives a module back as it is."""


def is_compiling() -> bool:
    """False: programs run eagerly."""
    return False


def is_dynamo_supported() -> bool:
    """False: programs run eagerly."""
    return False


def disable(fn: Any = None, recursive: bool = True, **_: Any) -> Any:
    """The function unchanged; also a decorator with arguments."""
    return (lambda f: f) if fn is None else fn


def optimize(*args: Any, **kwargs: Any) -> Callable[[Any], Any]:
    """A decorator that gives the function back."""
    return lambda fn: fn


def allow_in_graph(fn: Any) -> Any:
    """The function unchanged."""
    return fn


disallow_in_graph = assume_constant_result = run = forbid_in_graph = allow_in_graph


def reset() -> None:
    """Nothing to forget."""


reset_code_caches = reset


def graph_break(msg: str = "") -> None:
    """Nothing to break."""


def mark_dynamic(t: Any, index: Any = None, **_: Any) -> None:
    """Accepted, without effect."""


mark_static = mark_static_address = maybe_mark_dynamic = mark_unbacked = mark_dynamic


eval_frame = ModuleType(f"{__name__}.eval_frame", "Where PyTorch defines some of these.")
vars(eval_frame).update(OptimizedModule=OptimizedModule, disable=disable, optimize=optimize)
sys.modules[eval_frame.__name__] = eval_frame


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rustnn._run import missing_class

    return missing_class(f"torch._dynamo.{name}")
