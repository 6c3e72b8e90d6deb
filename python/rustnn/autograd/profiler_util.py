"""What a profile found: single events, sums by name, and the table of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "Interval"]


class Interval:
    """Start and end, in microseconds since the profile began."""

    def __init__(self, start: float, end: float) -> None:
        self.start = start
        self.end = end

    def elapsed_us(self) -> float:
        """The time between."""
        return self.end - self.start

    def __repr__(self) -> str:
        return f"Interval(start={self.start}, end={self.end})"


def _format_time(us: float) -> str:
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if us >= size:
            return f"{us / size:.3f}{unit}"
    return f"{us:.3f}us"


def _format_memory(bytes: float) -> str:
    for unit, size in (("GB", 2.0**30), ("MB", 2.0**20), ("KB", 2.0**10)):
        if abs(bytes) >= size:
            return f"{bytes / size:.2f} {unit}"
    return f"{int(bytes)} B"


def _share(part: float, whole: float) -> str:
    return f"{100.0 * part / whole:.2f}%" if whole > 0 else "NaN"


class _Times:
    """The names that single events and sums have in common; nothing here runs on another device than the CPU."""

    count: int
    cpu_time_total: float
    self_cpu_time_total: float
    device_time_total = 0.0
    self_device_time_total = 0.0
    cuda_time_total = 0.0
    self_cuda_time_total = 0.0
    device_memory_usage = 0
    self_device_memory_usage = 0
    device_time = 0.0
    cuda_time = 0.0
    node_id = -1
    is_async = False
    is_remote = False
    is_legacy = False
    use_device: str | None = None
    overload_name = ""
    flops = 0

    @property
    def cpu_time(self) -> float:
        """Microseconds per call."""
        return self.cpu_time_total / self.count if self.count else 0.0

    @property
    def cpu_time_str(self) -> str:
        return _format_time(self.cpu_time)

    @property
    def cpu_time_total_str(self) -> str:
        return _format_time(self.cpu_time_total)

    @property
    def self_cpu_time_total_str(self) -> str:
        return _format_time(self.self_cpu_time_total)


class FunctionEvent(_Times):
    """One call of an op, one backward node, or one named region; times in microseconds."""

    def __init__(self, id: int, name: str, thread: int, start_us: float, end_us: float) -> None:
        self.id = id
        self.trace_name = name
        # Steps are summed under one name; the trace tells them apart.
        self.name = "ProfilerStep*" if name.startswith("ProfilerStep#") else name
        self.thread = self.fwd_thread = thread
        self.time_range = Interval(start_us, end_us)
        self.count = 1
        self.input_shapes: list[Any] = []
        self.concrete_inputs: list[Any] = []
        self._input_dims: list[Any] = []
        self._input_types: list[str] = []
        self.stack: list[str] = []
        self.scope = 0
        self.cpu_memory_usage = 0
        self.sequence_nr = -1
        self.cpu_parent: FunctionEvent | None = None
        self.cpu_children: list[FunctionEvent] = []
        self.kernels: list[Any] = []
        self.is_user_annotation = False

    @property
    def key(self) -> str:
        """What it is summed under: the name."""
        return self.name

    @property
    def cpu_time_total(self) -> float:  # type: ignore[override]
        """From start to end."""
        return self.time_range.elapsed_us()

    @property
    def self_cpu_time_total(self) -> float:  # type: ignore[override]
        """Without what ran inside."""
        return self.cpu_time_total - sum(child.cpu_time_total for child in self.cpu_children)

    @property
    def self_cpu_memory_usage(self) -> int:
        """Without what was allocated inside."""
        return self.cpu_memory_usage - sum(child.cpu_memory_usage for child in self.cpu_children)

    def __repr__(self) -> str:
        return (
            f"<FunctionEvent id={self.id} name={self.name} cpu_time={self.cpu_time_str} "
            f"start_us={self.time_range.start} end_us={self.time_range.end} "
            f"cpu_children={[child.id for child in self.cpu_children]} thread={self.thread} "
            f"input_shapes={self.input_shapes} cpu_memory_usage={self.cpu_memory_usage} seq_nr={self.sequence_nr}>"
        )


class FunctionEventAvg(_Times):
    """Sums over the events of one name (and of the same shapes or the same stack, if grouped by them)."""

    def __init__(self) -> None:
        self.key: str | None = None
        self.count = 0
        self.cpu_time_total = 0.0
        self.self_cpu_time_total = 0.0
        self.cpu_memory_usage = 0
        self.self_cpu_memory_usage = 0
        self.input_shapes: Any = None
        self.stack: list[str] = []
        self.scope: int | None = None
        self.cpu_parent: FunctionEvent | None = None
        self.cpu_children: list[FunctionEvent] = []
        self.is_user_annotation = False

    def add(self, other: FunctionEvent | FunctionEventAvg) -> FunctionEventAvg:
        """Adds an event, or another sum."""
        if self.key is None:
            self.key, self.scope, self.stack = other.key, other.scope, other.stack
            self.input_shapes, self.cpu_parent = other.input_shapes, other.cpu_parent
            self.cpu_children, self.is_user_annotation = other.cpu_children, other.is_user_annotation
        self.count += other.count
        self.cpu_time_total += other.cpu_time_total
        self.self_cpu_time_total += other.self_cpu_time_total
        self.cpu_memory_usage += other.cpu_memory_usage
        self.self_cpu_memory_usage += other.self_cpu_memory_usage
        return self

    __iadd__ = add

    def __repr__(self) -> str:
        return (
            f"<FunctionEventAvg key={self.key} self_cpu_time={self.self_cpu_time_total_str} "
            f"cpu_time={self.cpu_time_str} input_shapes={self.input_shapes} "
            f"cpu_memory_usage={self.cpu_memory_usage}>"
        )


class EventList(list[Any]):
    """Events, or sums of them.

    Example::

        >>> with rustnn.profiler.profile() as prof:
        ...     y = rustnn.ones(3).exp()
        >>> [event.name for event in prof.events()]
        ['aten::ones', 'aten::exp']
        >>> table = prof.key_averages().table(sort_by="self_cpu_time_total", row_limit=10)
    """

    def __init__(
        self, events: Iterable[Any] = (), *, profile_memory: bool = False, with_flops: bool = False, **_: Any
    ) -> None:
        super().__init__(events)
        self._profile_memory = profile_memory
        self._metadata: dict[str, Any] = {}
        self._base_ns = 0

    def _build_tree(self) -> None:
        """Finds for each event the one around it on its thread."""
        around: dict[int, list[FunctionEvent]] = {}
        for event in sorted(self, key=lambda e: (e.time_range.start, -e.time_range.end)):
            stack = around.setdefault(event.thread, [])
            while stack and stack[-1].time_range.end < event.time_range.end:
                stack.pop()
            while stack and stack[-1].time_range.end <= event.time_range.start:
                stack.pop()
            if stack:
                event.cpu_parent = stack[-1]
                stack[-1].cpu_children.append(event)
            stack.append(event)

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds of all, each counted once."""
        return float(sum(event.self_cpu_time_total for event in self))

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, group_by_overload_name: bool = False
    ) -> EventList:
        """Sums the events of one name.

        Args:
            group_by_input_shape: keep apart what ran on inputs of different shapes.
            group_by_stack_n: keep apart what was called from different places, told by so many frames.
            group_by_overload_name: accepted; overloads have no names here.
        """
        sums: dict[tuple[Any, ...], FunctionEventAvg] = {}
        for event in self:
            shapes = str(event.input_shapes) if group_by_input_shape else ""
            key = (event.key, event.is_user_annotation, shapes, *event.stack[:group_by_stack_n])
            sums.setdefault(key, FunctionEventAvg()).add(event)
        for row in sums.values():
            row.stack = row.stack[:group_by_stack_n]
            if not group_by_input_shape:
                row.input_shapes = ""
        return EventList(sums.values(), profile_memory=self._profile_memory)

    def total_average(self) -> FunctionEventAvg:
        """The sum of all."""
        total = FunctionEventAvg()
        for event in self:
            total += event
        total.key = None
        return total

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_src_column_width: int = 75,
        max_name_column_width: int = 55,
        max_shapes_column_width: int = 80,
        header: str | None = None,
        top_level_events_only: bool = False,
        time_unit: str | None = None,
    ) -> str:
        """The events as text.

        Args:
            sort_by: an attribute, the largest first: `cpu_time`, `cpu_time_total`, `self_cpu_time_total`,
                `cpu_memory_usage`, `self_cpu_memory_usage`, `count`; in the order of their start by default.
            row_limit: how many rows at most; -1 for all.
            max_src_column_width: characters of the places they were called from.
            max_name_column_width: characters of names.
            max_shapes_column_width: characters of shapes.
            header: a line above.
            top_level_events_only: only what ran inside nothing else.
            time_unit: `"s"`, `"ms"` or `"us"` for all times; the one that fits by default.
        """
        events = [e for e in self if not top_level_events_only or e.cpu_parent is None]
        if sort_by is not None:
            name = sort_by
            events.sort(key=lambda e: getattr(e, name), reverse=True)
        whole = self.self_cpu_time_total
        width = {"s": 1e6, "ms": 1e3, "us": 1.0}

        def time(us: float) -> str:
            return _format_time(us) if time_unit is None else f"{us / width[time_unit]:.3f}{time_unit}"

        def short(text: str, most: int | None) -> str:
            return text if most is None or len(text) <= most else text[: max(0, most - 3)] + "..."

        columns: list[tuple[str, bool, int, Callable[[Any], str]]] = [
            ("Name", True, 0, lambda e: short(str(e.key), max_name_column_width)),
            ("Self CPU %", True, 12, lambda e: _share(e.self_cpu_time_total, whole)),
            ("Self CPU", True, 12, lambda e: time(e.self_cpu_time_total)),
            ("CPU total %", True, 12, lambda e: "0.00%" if e.is_async else _share(e.cpu_time_total, whole)),
            ("CPU total", True, 12, lambda e: time(e.cpu_time_total)),
            ("CPU time avg", True, 12, lambda e: time(e.cpu_time)),
            ("CPU Mem", self._profile_memory, 12, lambda e: _format_memory(e.cpu_memory_usage)),
            ("Self CPU Mem", self._profile_memory, 12, lambda e: _format_memory(e.self_cpu_memory_usage)),
            ("# of Calls", True, 12, lambda e: str(e.count)),
            (
                "Input Shapes",
                any(e.input_shapes for e in self),
                0,
                lambda e: short(str(e.input_shapes), max_shapes_column_width),
            ),
            (
                "Source Location",
                any(e.stack for e in self),
                0,
                lambda e: short(e.stack[0] if e.stack else "", max_src_column_width),
            ),
        ]
        used = [(title, least, cell) for title, there, least, cell in columns if there]
        chosen = events if row_limit < 0 else events[:row_limit]
        cells = [[cell(e) for _, _, cell in used] for e in chosen]
        more = []  # further frames of a row stand below it
        for event in chosen:
            lines = [short(frame, max_src_column_width) for frame in event.stack[1:]]
            more.append([["" for _ in used[:-1]] + [line] for line in lines])
        rows = [row for row, below in zip(cells, more, strict=True) for row in (row, *below)]
        widths = [
            max([least, len(title), *(len(row[i]) for row in rows)]) for i, (title, least, _) in enumerate(used)
        ]
        dashes = "  ".join("-" * w for w in widths) + "  "

        def line(texts: list[str]) -> str:
            return "  ".join(text.rjust(w) for text, w in zip(texts, widths, strict=True)) + "  "

        top = ["=" * len(dashes), header] if header is not None else []
        if top_level_events_only:
            top += ["=" * len(dashes), "This report only display top-level ops statistics"]
        out = [*top, dashes, line([title for title, _, _ in used]), dashes, *map(line, rows), dashes]
        return "\n".join([*out, f"Self CPU time total: {time(whole)}", ""])

    def __str__(self) -> str:
        return self.table()

    def export_chrome_trace(self, path: str) -> None:
        """Writes the events in the format of `chrome://tracing` (and of Perfetto)."""
        import os
        import socket

        pid = os.getpid()
        base = self._base_ns / 1e3
        out: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "ts": base, "pid": pid, "tid": 0, "args": {"name": "python"}}
        ]
        for thread in dict.fromkeys(e.thread for e in self):
            name = {"name": f"thread {thread}"}
            out.append({"ph": "M", "name": "thread_name", "ts": base, "pid": pid, "tid": thread, "args": name})
        forward: dict[int, FunctionEvent] = {}
        for event in self:
            args: dict[str, Any] = {"External id": event.id}
            if event.sequence_nr >= 0:
                args["Sequence number"] = event.sequence_nr
            if event.input_shapes:
                args["Input Dims"], args["Input type"] = event._input_dims, event._input_types
            if event.stack:
                args["Call stack"] = ";".join(event.stack)
            if self._profile_memory:
                args["Bytes"] = event.cpu_memory_usage
            start, place = base + event.time_range.start, {"pid": pid, "tid": event.thread}
            category = "user_annotation" if event.is_user_annotation else "cpu_op"
            span = {"ph": "X", "cat": category, "name": event.trace_name, **place, "ts": start}
            out.append({**span, "dur": event.cpu_time_total, "args": args})
            if event.sequence_nr < 0:
                continue
            arrow = {"id": event.sequence_nr, **place, "ts": start, "cat": "fwdbwd", "name": "fwdbwd"}
            if event.scope == 1 and event.sequence_nr in forward:
                from_event = forward.pop(event.sequence_nr)
                begin = {**arrow, "tid": from_event.thread, "ts": base + from_event.time_range.start}
                out += [{"ph": "s", **begin}, {"ph": "f", **arrow, "bp": "e"}]
            elif event.scope == 0 and not event.name.startswith("autograd::"):
                forward[event.sequence_nr] = event  # the last op of a number is the one that recorded the node
        document = {
            "schemaVersion": 1,
            "deviceProperties": [],
            "host_name": socket.gethostname(),
            "displayTimeUnit": "ms",
            "baseTimeNanoseconds": 0,
            **self._metadata,
            "traceEvents": out,
            "traceName": path,
        }
        with open(path, "w", encoding="utf-8") as file:
            json.dump(document, file)

    def supported_export_stacks_metrics(self) -> list[str]:
        """What `export_stacks` can weigh by."""
        return ["self_cpu_time_total", "self_cuda_time_total"]

    def export_stacks(self, path: str, metric: str) -> None:
        """Writes stacks with their times for flame graphs: outermost frame first, `;` between, then microseconds."""
        if metric not in self.supported_export_stacks_metrics():
            raise ValueError(f"metric should be one of: {self.supported_export_stacks_metrics()}")
        table = str.maketrans(" ;\t\n", "____")
        with open(path, "w", encoding="utf-8") as file:
            for event in self:
                value = int(getattr(event, metric))
                if event.stack and value > 0:
                    frames = ";".join(frame.translate(table) for frame in reversed(event.stack))
                    file.write(f"{frames} {value}\n")
