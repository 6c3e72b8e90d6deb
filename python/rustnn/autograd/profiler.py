"""The everyday part of `autograd.profiler`: named regions with their times."""

from __future__ import annotations

import json
import time
from typing import Any, Self

__all__ = ["EventList", "emit_nvtx", "profile", "record_function"]

_active: list[profile] = []


class record_function:
    """Names a region of the program; its time stands in the table of a `profile` around it."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name
        self._start = 0.0

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if _active:
            _active[-1]._add(self.name, self._start, time.perf_counter())

    def __call__(self, func: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with type(self)(self.name):
                return func(*args, **kwargs)

        return wrapper


class EventList(list[dict[str, Any]]):
    """One row for each named region."""

    def table(self, sort_by: str | None = None, row_limit: int = 100, **_: Any) -> str:
        """The regions as text, longest first."""
        lines = [f"{'Name':<40} {'Calls':>8} {'Total ms':>12} {'Mean ms':>12}"]
        for row in sorted(self, key=lambda r: -r["total"])[:row_limit]:
            mean = row["total"] / max(1, row["count"])
            lines.append(
                f"{row['key']:<40} {row['count']:>8} {row['total'] * 1e3:>12.3f} {mean * 1e3:>12.3f}"
            )
        return "\n".join(lines)


class profile:
    """Collects the regions named by `record_function` inside the block.

    Example::

        >>> with rustnn.autograd.profiler.profile() as prof:
        ...     with rustnn.autograd.profiler.record_function("step"):
        ...         train_step()
        >>> table = prof.key_averages().table()
    """

    def __init__(self, enabled: bool = True, **_: Any) -> None:
        self.enabled = enabled
        self.events: list[tuple[str, float, float]] = []

    def __enter__(self) -> Self:
        if self.enabled:
            _active.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self.enabled:
            _active.remove(self)

    def _add(self, name: str, start: float, end: float) -> None:
        self.events.append((name, start, end))

    def key_averages(self, *_: Any, **__: Any) -> EventList:
        """One row for each name."""
        rows: dict[str, dict[str, Any]] = {}
        for name, start, end in self.events:
            row = rows.setdefault(name, {"key": name, "count": 0, "total": 0.0})
            row["count"] += 1
            row["total"] += end - start
        return EventList(rows.values())

    def table(self, **kwargs: Any) -> str:
        return self.key_averages().table(**kwargs)

    def export_chrome_trace(self, path: str) -> None:
        """Writes the regions in the format of chrome://tracing."""
        events = [
            {"name": n, "ph": "X", "ts": s * 1e6, "dur": (e - s) * 1e6, "pid": 0, "tid": 0}
            for n, s, e in self.events
        ]
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"traceEvents": events}, file)


class emit_nvtx:
    """Marks for NVIDIA's tools: there is no such device here, so nothing happens."""

    def __init__(self, enabled: bool = True, record_shapes: bool = False) -> None:
        self.enabled = enabled

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None
