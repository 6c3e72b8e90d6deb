"""What is measured. A case is a function in PyTorch's spelling that takes the engine's module and returns the call to
time, so that one text runs on every engine. Adding a case is adding a function to a file of this folder.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Call = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One measurement: its group, the function that prepares it, and the work that one call must do."""

    name: str
    group: str
    prepare: Callable[[Any], Call]
    flops: float | None = None
    bytes: float | None = None


CASES: dict[str, Case] = {}


def case(
    group: str, *, name: str | None = None, flops: float | None = None, bytes: float | None = None
) -> Callable[[Callable[[Any], Call]], Callable[[Any], Call]]:
    """Registers a function as a case of `group`; `flops` and `bytes` say what the call cannot do without."""

    def register(prepare: Callable[[Any], Call]) -> Callable[[Any], Call]:
        key = name or prepare.__name__
        assert key not in CASES, f"two cases named {key}"
        CASES[key] = Case(key, group, prepare, flops, bytes)
        return prepare

    return register


def load() -> dict[str, Case]:
    """All cases, in the order of the files and of their lines."""
    for info in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{info.name}")
    return CASES
