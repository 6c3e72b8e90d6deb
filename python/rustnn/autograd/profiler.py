"""`torch.autograd.profiler`: which ops, backward nodes and named regions ran in a block, and for how long."""

from __future__ import annotations

import functools
import sys
from typing import Any, Self

from rustnn import _C
from rustnn.autograd.profiler_util import EventList, FunctionEvent, FunctionEventAvg

__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "emit_itt", "emit_nvtx", "profile", "record_function"]


class record_function:
    """Names a region of the program, as a block or as a decorator; a profile around it shows it by that name.

    Example::

        >>> with rustnn.profiler.record_function("forward"):
        ...     y = model(x)
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name
        self.args = args
        self._number = 0

    def __enter__(self) -> Self:
        self._number = _C._profile_enter(self.name)
        return self

    def __exit__(self, *_: object) -> None:
        number, self._number = self._number, 0
        _C._profile_exit(number)

    def __call__(self, func: Any) -> Any:
        """The function with the region around each call."""

        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with type(self)(self.name, self.args):
                return func(*args, **kwargs)

        return wrapper


def _stack() -> str:
    """The calling thread's frames outside of this package, innermost first, a line each."""
    frame = sys._getframe(1)
    lines = []
    here: Any = frame
    while here is not None:
        code = here.f_code
        if not here.f_globals.get("__name__", "").startswith("rustnn."):
            lines.append(f"{code.co_filename}({here.f_lineno}): {code.co_name}")
        here = here.f_back
    return "\n".join(lines)


def _step_regions() -> list[Any]:
    """Names each optimizer's step while a profile runs; returns what ends that."""
    from importlib import import_module

    optim = import_module("rustnn.optim.optimizer")
    open_regions: list[int] = []

    def before(optimizer: Any, args: Any, kwargs: Any) -> None:
        open_regions.append(_C._profile_enter(f"Optimizer.step#{type(optimizer).__name__}.step"))

    def after(optimizer: Any, args: Any, kwargs: Any) -> None:
        if open_regions:
            _C._profile_exit(open_regions.pop())

    return [optim.register_optimizer_step_pre_hook(before), optim.register_optimizer_step_post_hook(after)]


_TYPES = {
    "float32": "float",
    "float64": "double",
    "float16": "c10::Half",
    "bfloat16": "c10::BFloat16",
    "complex64": "c10::complex<float>",
    "complex128": "c10::complex<double>",
    "int64": "long int",
    "int32": "int",
    "int16": "short int",
    "int8": "signed char",
    "uint8": "unsigned char",
}


def _dims(given: Any) -> list[Any]:
    """The shape of an op's input, the shapes of a list of tensors, or an empty list."""
    if isinstance(given, list):
        return [shape for _, shape in given]
    return given[1] if isinstance(given, tuple) else []


def _type(given: Any) -> str:
    """What PyTorch's traces call the kind of an op's input."""
    if isinstance(given, tuple):
        dtype: str = given[0]
        return _TYPES.get(dtype, dtype)
    return "TensorList" if isinstance(given, list) else str(given or "")


class profile:
    """Records what runs inside the block, on all threads.

    Args:
        enabled: false makes the block do nothing.
        record_shapes: keep the shapes of inputs.
        profile_memory: count the bytes that each event allocated and freed.
        with_stack: keep the Python frames that each op was called from.
        with_flops: accepted; arithmetic is not counted.
        with_modules: accepted; the stack shows the modules' `forward`.
        use_cuda: accepted; there is no such device.
        use_device: accepted likewise.

    Example::

        >>> with rustnn.autograd.profiler.profile(record_shapes=True) as prof:
        ...     loss = rustnn.ones(3, requires_grad=True).exp().sum()
        ...     loss.backward()
        >>> table = prof.key_averages().table(sort_by="self_cpu_time_total")
    """

    def __init__(
        self,
        enabled: bool = True,
        *,
        use_cuda: bool = False,
        use_device: str | None = None,
        record_shapes: bool = False,
        with_flops: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_modules: bool = False,
        **_: Any,
    ) -> None:
        self.enabled = enabled
        self.record_shapes = record_shapes
        self.profile_memory = profile_memory
        self.with_stack = with_stack
        self.with_flops = with_flops
        self.with_modules = with_modules
        self.entered = False
        self._events: EventList | None = None
        self._start = 0
        self._handles: list[Any] = []
        self._metadata: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if not self.enabled:
            return self
        if self.entered:
            raise RuntimeError("Profiler context manager is not reentrant")
        self._begin()
        return self

    def _begin(self) -> None:
        if not _C._profile_start(self.record_shapes, self.profile_memory, _stack if self.with_stack else None):
            raise RuntimeError(
                "Profiler is already enabled on this thread\n  hint: one profile can run at a time; end the other one"
            )
        self.entered = True
        self._start = _C._profile_clock()[0]
        self._handles = _step_regions()

    def __exit__(self, *_: object) -> None:
        if self.enabled and self.entered:
            self._end()

    def _end(self) -> None:
        self.entered = False
        rows = _C._profile_stop()
        for handle in self._handles:
            handle.remove()
        self._events = self._parse(rows)

    def _parse(self, rows: list[Any]) -> EventList:
        rows.sort(key=lambda row: (row[2], -row[3]))
        events = EventList(profile_memory=self.profile_memory)
        for number, (name, scope, start, end, thread, sequence, inputs, bytes, stack) in enumerate(rows, 1):
            event = FunctionEvent(number, name, thread, (start - self._start) / 1e3, (end - self._start) / 1e3)
            event.scope, event.is_user_annotation = scope, scope == 7
            event.cpu_memory_usage = bytes
            event.sequence_nr = -1 if sequence is None else sequence
            event.stack = stack.split("\n") if stack else []
            event.input_shapes = [given[1] if isinstance(given, tuple) else [] for given in inputs]
            event._input_dims, event._input_types = [_dims(g) for g in inputs], [_type(g) for g in inputs]
            events.append(event)
        events._base_ns = self._start + _C._profile_clock()[1]
        events._metadata = self._metadata | {
            "with_stack": int(self.with_stack),
            "profile_memory": int(self.profile_memory),
            "record_shapes": int(self.record_shapes),
        }
        events._build_tree()
        return events

    @property
    def function_events(self) -> EventList:
        """All events, in the order of their start."""
        if self._events is None:
            raise RuntimeError("Profiler didn't finish running")
        return self._events

    def __repr__(self) -> str:
        return "<unfinished torch.autograd.profile>" if self._events is None else repr(self._events)

    def __str__(self) -> str:
        return "<unfinished torch.autograd.profile>" if self._events is None else str(self._events)

    def table(self, *args: Any, **kwargs: Any) -> str:
        """See `EventList.table`."""
        return self.function_events.table(*args, **kwargs)

    def key_averages(self, *args: Any, **kwargs: Any) -> EventList:
        """See `EventList.key_averages`."""
        return self.function_events.key_averages(*args, **kwargs)

    def total_average(self) -> FunctionEventAvg:
        """The sum of all events."""
        return self.function_events.total_average()

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds of all events, each counted once."""
        return self.function_events.self_cpu_time_total

    def export_chrome_trace(self, path: str) -> None:
        """Writes the events in the format of `chrome://tracing`."""
        self.function_events.export_chrome_trace(path)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Writes stacks for flame graphs; the profile must have been made with `with_stack=True`."""
        if not self.with_stack:
            raise AssertionError("export_stacks() requires with_stack=True")
        self.function_events.export_stacks(path, metric)


class emit_nvtx:
    """Marks for NVIDIA's tools: there is no such device here, so nothing happens."""

    def __init__(self, enabled: bool = True, record_shapes: bool = False) -> None:
        self.enabled = enabled

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class emit_itt(emit_nvtx):
    """Marks for Intel's tools: nothing happens."""
