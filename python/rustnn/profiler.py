"""`torch.profiler`: a profile that follows the program's steps, and writes what it found."""

from __future__ import annotations

import enum
import gzip
import json
import os
import shutil
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Self

from rustnn.autograd.profiler import profile as _profile
from rustnn.autograd.profiler import record_function
from rustnn.autograd.profiler_util import EventList

__all__ = [
    "ProfilerAction",
    "ProfilerActivity",
    "kineto_available",
    "profile",
    "record_function",
    "schedule",
    "supported_activities",
    "tensorboard_trace_handler",
]


class ProfilerActivity(enum.Enum):
    """What can be watched; only the CPU is here."""

    CPU = 0
    XPU = 1
    MTIA = 2
    CUDA = 3
    HPU = 4
    PrivateUse1 = 5


class ProfilerAction(enum.Enum):
    """What happens in a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def kineto_available() -> bool:
    """True: ops are traced, by this package itself."""
    return True


def supported_activities() -> set[ProfilerActivity]:
    """The CPU."""
    return {ProfilerActivity.CPU}


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0
) -> Callable[[int], ProfilerAction]:
    """A function of the step's number: first idle, then warming up, then recording, over and over.

    Args:
        wait: idle steps of a cycle.
        warmup: steps that are recorded and dropped.
        active: steps that are recorded.
        repeat: how many cycles; 0 for no end.
        skip_first: idle steps before the first cycle.
        skip_first_wait: not 0: the first cycle has no idle steps.
    """
    if not (wait >= 0 and warmup >= 0 and active > 0 and repeat >= 0 and skip_first >= 0):
        raise AssertionError(
            f"Invalid profiler schedule arguments. Got wait={wait} (need >= 0), warmup={warmup} (need >= 0), "
            f"active={active} (need > 0), repeat={repeat} (need >= 0), skip_first={skip_first} (need >= 0)."
        )
    if warmup == 0:
        warnings.warn("Profiler won't be using warmup, this can skew profiler results", stacklevel=2)
    cycle = wait + warmup + active

    def action(step: int) -> ProfilerAction:
        if step < skip_first:
            return ProfilerAction.NONE
        step -= skip_first
        if skip_first_wait != 0:
            step += wait
        if repeat > 0 and step // cycle >= repeat:
            return ProfilerAction.NONE
        place = step % cycle
        if place < wait:
            return ProfilerAction.NONE
        if place < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if place < cycle - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


def _always(_: int) -> ProfilerAction:
    return ProfilerAction.RECORD


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[Any], None]:
    """A function that writes a profile's trace into a folder, under a name of its own each time.

    Args:
        dir_name: the folder, made if it is missing.
        worker_name: begins the file's name; host and process by default.
        use_gzip: compress the file.
    """

    def handle(prof: Any) -> None:
        try:
            os.makedirs(dir_name, exist_ok=True)
        except OSError as error:
            raise RuntimeError(f"Can't create directory: {dir_name}") from error
        name = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        ending = ".pt.trace.json" + (".gz" if use_gzip else "")
        prof.export_chrome_trace(os.path.join(dir_name, f"{name}.{time.time_ns()}{ending}"))

    return handle


_RECORDS = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)


class profile:
    """Records ops, backward nodes and named regions; `step` ends a step of the program.

    Args:
        activities: accepted; the CPU is watched.
        schedule: which steps are recorded (see `schedule`); all by default.
        on_trace_ready: called with this object after the last recorded step of each cycle, and at the end.
        record_shapes: keep the shapes of inputs.
        profile_memory: count the bytes that each event allocated and freed.
        with_stack: keep the Python frames that each op was called from.
        with_flops: accepted; arithmetic is not counted.
        with_modules: accepted; the stack shows the modules' `forward`.
        acc_events: keep the events of earlier cycles in `events` and `key_averages`.

    Example::

        >>> with rustnn.profiler.profile(
        ...     schedule=rustnn.profiler.schedule(wait=1, warmup=1, active=2, repeat=1),
        ...     on_trace_ready=lambda p: print([(e.key, e.count) for e in p.key_averages()]),
        ... ) as prof:
        ...     for batch in range(4):
        ...         y = rustnn.ones(3).exp()
        ...         prof.step()
        [('ProfilerStep*', 2), ('aten::ones', 2), ('aten::exp', 2)]
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[Any], Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        with_modules: bool = False,
        acc_events: bool = False,
        **_: Any,
    ) -> None:
        self.activities = set(activities) if activities is not None else supported_activities()
        self.record_steps = schedule is not None
        self.schedule = schedule or _always
        self.on_trace_ready = on_trace_ready
        self.record_shapes = record_shapes
        self.profile_memory = profile_memory
        self.with_stack = with_stack
        self.with_flops = with_flops
        self.with_modules = with_modules
        self.acc_events = acc_events
        self.step_num = 0
        self.current_action = self.schedule(0)
        self.step_rec_fn: record_function | None = None
        self.profiler: _profile | None = None
        self._metadata: dict[str, Any] = {}
        self._earlier: list[EventList] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begins, as entering the block does."""
        self._change(ProfilerAction.NONE, self.current_action)
        self._begin_step()

    def stop(self) -> None:
        """Ends, as leaving the block does."""
        self._end_step()
        if self._running():
            recorded = self.current_action in _RECORDS
            self._stop_trace()
            if recorded:
                self._ready()

    def step(self) -> None:
        """Says that a step of the program ended."""
        self._end_step()
        before = self.current_action
        self.step_num += 1
        self.current_action = self.schedule(self.step_num)
        self._change(before, self.current_action)
        self._begin_step()

    def _begin_step(self) -> None:
        if self.record_steps:
            self.step_rec_fn = record_function(f"ProfilerStep#{self.step_num}")
            self.step_rec_fn.__enter__()

    def _end_step(self) -> None:
        if self.step_rec_fn is not None:
            self.step_rec_fn.__exit__(None, None, None)
            self.step_rec_fn = None

    def _running(self) -> bool:
        return self.profiler is not None and self.profiler.entered

    def _change(self, before: ProfilerAction, after: ProfilerAction) -> None:
        """What a step begins with. Steps that warm up run as recorded ones do; their events are dropped."""
        if before is ProfilerAction.RECORD_AND_SAVE:
            self._stop_trace()
            self._ready()
        elif self._running() and (after is ProfilerAction.NONE or (before not in _RECORDS and after in _RECORDS)):
            self._stop_trace()
        if after is not ProfilerAction.NONE and not self._running():
            self._start_trace()

    def _start_trace(self) -> None:
        if self.acc_events and self.profiler is not None and self.profiler._events is not None:
            self._earlier.append(self.profiler._events)
        self.profiler = _profile(
            record_shapes=self.record_shapes,
            profile_memory=self.profile_memory,
            with_stack=self.with_stack,
            with_flops=self.with_flops,
            with_modules=self.with_modules,
        )
        self.profiler._metadata = self._metadata
        self.profiler.__enter__()

    def _stop_trace(self) -> None:
        if self.profiler is not None:
            self.profiler.__exit__(None, None, None)

    def _ready(self) -> None:
        if self.on_trace_ready is not None:
            self.on_trace_ready(self)

    def _found(self) -> _profile:
        if self.profiler is None:
            raise AssertionError("Profiler must be initialized before getting profiling results")
        return self.profiler

    def events(self) -> EventList:
        """All events of the last cycle, in the order of their start."""
        last = self._found().function_events
        if not self._earlier:
            return last
        every = EventList([e for part in (*self._earlier, last) for e in part], profile_memory=self.profile_memory)
        every._base_ns, every._metadata = last._base_ns, last._metadata
        return every

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, group_by_overload_name: bool = False
    ) -> EventList:
        """Sums the events of one name; see `EventList.key_averages`."""
        return self.events().key_averages(group_by_input_shape, group_by_stack_n, group_by_overload_name)

    def export_chrome_trace(self, path: str) -> None:
        """Writes the events in the format of `chrome://tracing`, compressed if the name ends with `.gz`."""
        found = self._found()
        if not path.endswith(".gz"):
            found.export_chrome_trace(path)
            return
        with tempfile.NamedTemporaryFile("w+b", suffix=".json") as plain, gzip.open(path, "wb") as packed:
            found.export_chrome_trace(plain.name)
            shutil.copyfileobj(plain, packed)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Writes stacks for flame graphs; the profile must have been made with `with_stack=True`."""
        self._found().export_stacks(path, metric)

    def add_metadata(self, key: str, value: str) -> None:
        """Adds a text to the trace that will be written."""
        self._metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """Adds a value, given as JSON, to the trace that will be written."""
        self._metadata[key] = json.loads(value)

    preset_metadata_json = add_metadata_json
