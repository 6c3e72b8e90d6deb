"""`torch.compiler`: programs run eagerly, so its marks pass functions through."""

from __future__ import annotations

from typing import Any

from rustnn._functions import compile

__all__ = ["compile", "disable", "is_compiling", "is_dynamo_compiling", "is_exporting", "reset"]


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function unchanged."""
    return (lambda function: function) if fn is None else fn


def allow_in_graph(fn: Any) -> Any:
    return fn


def is_compiling() -> bool:
    return False


def is_dynamo_compiling() -> bool:
    return False


def is_exporting() -> bool:
    return False


def reset() -> None:
    """Nothing is compiled, so nothing is forgotten."""


def cudagraph_mark_step_begin() -> None:
    """There are no CUDA graphs."""
