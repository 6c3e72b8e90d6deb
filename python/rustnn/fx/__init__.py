"""`torch.fx`, as far as programs that run eagerly meet it: marks and classes to name, no tracing.

Packages mark functions for a tracer and derive classes from its own when they are imported. That works; to trace a
program raises.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, NoReturn

__all__ = ["Graph", "GraphModule", "Interpreter", "Node", "Proxy", "Tracer", "Transformer", "symbolic_trace", "wrap"]


def _refuse(what: str) -> NoReturn:
    raise NotImplementedError(
        f"rustnn does not have PyTorch's torch.fx.{what}: programs run eagerly, there is no graph of Python code.\n"
        "  Call the module itself; to read values inside it, register forward hooks."
    )


def wrap(fn_or_name: Any) -> Any:
    """Marks a function that a tracer is to leave whole: given back unchanged."""
    return fn_or_name


class _Absent:
    """A class that can be derived from and asked for, but not made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        own = next(c for c in type(self).__mro__ if c.__module__ == __name__)
        _refuse(own.__name__)


class Graph(_Absent):
    """Never made here."""


class GraphModule(_Absent):
    """Never made here."""


class Interpreter(_Absent):
    """Never made here."""


class Node(_Absent):
    """Never made here."""


class Proxy(_Absent):
    """Never made here."""


class Tracer(_Absent):
    """Never made here."""


class Transformer(_Absent):
    """Never made here."""


def symbolic_trace(root: Any, concrete_args: Any = None) -> Any:
    """Raises: there is nothing that traces.

    Raises:
        NotImplementedError: always.
    """
    _refuse("symbolic_trace")


def _part(name: str, **members: Any) -> ModuleType:
    module = ModuleType(f"{__name__}.{name}", f"Parts of `torch.fx.{name}` to name.")
    vars(module).update(members)
    sys.modules[module.__name__] = module
    return module


def _is_fx_tracing() -> bool:
    return False


node = _part("node", Node=Node, Argument=Any, Target=Any)
graph = _part("graph", Graph=Graph)
graph_module = _part("graph_module", GraphModule=GraphModule)
proxy = _part("proxy", Proxy=Proxy)
_symbolic_trace = _part(
    "_symbolic_trace",
    Tracer=Tracer,
    symbolic_trace=symbolic_trace,
    wrap=wrap,
    is_fx_tracing=_is_fx_tracing,
    is_fx_symbolic_tracing=_is_fx_tracing,
)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rustnn import _missing

    raise AttributeError(_missing.explain("rustnn.fx", name, globals()))
