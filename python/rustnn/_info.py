"""What `rustnn info` prints."""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

import numpy as np


def _ask(name: str, default: Any = None) -> Any:
    """A private answer of the native module, where it has one."""
    from rustnn import _C

    answer = getattr(_C, name, None)
    if answer is None:
        return default
    return answer() if callable(answer) else answer


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota() -> str:
    """The container's CPU quota in cores, as cgroup v2 or v1 tells it."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            limit, period = file.read().split()[:2]
        return "none" if limit == "max" else f"{int(limit) / int(period):.2f} cores"
    except (OSError, ValueError):
        pass
    try:
        with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", encoding="ascii") as file:
            quota = int(file.read())
        with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us", encoding="ascii") as file:
            period_v1 = int(file.read())
        return "none" if quota < 0 else f"{quota / period_v1:.2f} cores"
    except (OSError, ValueError):
        return "none"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _data_folder() -> str:
    if "RUSTNN_DATA" in os.environ:
        path = os.environ["RUSTNN_DATA"]
        return f"{path} (RUSTNN_DATA{'' if os.path.isdir(path) else ', which is no folder'})"
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "rustnn")
    return f"{cache} (the user's cache; RUSTNN_DATA is not set)"


def report() -> str:
    """The lines of `rustnn info`."""
    import rustnn

    rows: list[tuple[str, str]] = [
        ("rustnn", f"{rustnn.__version__} at {os.path.dirname(rustnn.__file__ or '')}"),
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        ("NumPy", np.__version__),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("CPU", _cpu_name()),
        (
            "instructions",
            f"{_ask('_isa', 'unknown')}"
            + (" (RUSTNN_ISA)" if os.environ.get("RUSTNN_ISA") else " (chosen at start)"),
        ),
    ]
    why = _ask("_threads_reason")
    if why is None:
        why = f"affinity {_affinity()} cores, container quota {_quota()}"
        for name in ("RUSTNN_NUM_THREADS", "OMP_NUM_THREADS"):
            if name in os.environ:
                why = f"{name}={os.environ[name]}; " + why
    rows.append(("threads", f"{rustnn.get_num_threads()} ({why})"))
    stats = getattr(rustnn, "memory_stats", None)
    if stats is not None:
        rows.append(("memory", ", ".join(f"{k} {v:,}" for k, v in dict(stats()).items())))
    rows.append(("default dtype", str(rustnn.get_default_dtype())))
    rows.append(("devices", "cpu"))
    rows.append(("data", _data_folder()))
    registry = _ask("_registry", [])
    rows.append(("operations", f"{len({row['name'] for row in registry})}"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
