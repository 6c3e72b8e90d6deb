"""`torch.profiler`: the named regions of `rustnn.autograd.profiler` under the names of the newer interface."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any, Self

from rustnn.autograd.profiler import profile as _profile
from rustnn.autograd.profiler import record_function

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
    """False: regions are timed, single operations are not traced."""
    return False


def supported_activities() -> set[ProfilerActivity]:
    """The CPU."""
    return {ProfilerActivity.CPU}


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0
) -> Callable[[int], ProfilerAction]:
    """A function of the step's number: first idle, then warming up, then recording, over and over."""
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


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[Any], None]:
    """A function that writes a profile's regions as a trace file into a folder."""
    import os

    def handle(prof: Any) -> None:
        os.makedirs(dir_name, exist_ok=True)
        name = worker_name or f"rustnn_{os.getpid()}"
        prof.export_chrome_trace(os.path.join(dir_name, f"{name}.pt.trace.json"))

    return handle


class profile(_profile):
    """Collects the named regions of the block; `step` ends one, as the schedule wants.

    Args:
        activities: accepted; regions are timed on the CPU.
        schedule: which steps are recorded (for `on_trace_ready`); all by default.
        on_trace_ready: called with this object after the last recorded step of a cycle, and at the end.
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[Any], Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.step_num = 0
        self.on_trace_ready = on_trace_ready
        self._schedule = schedule

    def start(self) -> None:
        """Begins, as entering the block does."""
        self.__enter__()

    def stop(self) -> None:
        """Ends, as leaving the block does."""
        self.__exit__(None, None, None)

    def step(self) -> None:
        """Says that a step of the program ended."""
        ends = self._schedule is not None and self._schedule(self.step_num) is ProfilerAction.RECORD_AND_SAVE
        self.step_num += 1
        if ends and self.on_trace_ready is not None:
            self.on_trace_ready(self)

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        if self._schedule is None and self.on_trace_ready is not None:
            self.on_trace_ready(self)
