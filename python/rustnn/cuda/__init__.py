"""`torch.cuda` of a machine without such a device: questions are answered, uses raise."""

from __future__ import annotations

import importlib
from types import TracebackType
from typing import Any

from rustnn.cuda import amp as amp

__all__ = ["device_count", "is_available", "manual_seed", "manual_seed_all", "synchronize"]


def is_available() -> bool:
    """False: this build computes on the CPU."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    return False


def is_initialized() -> bool:
    return False


def device_count() -> int:
    """0."""
    return 0


def manual_seed(seed: int) -> None:
    """Nothing to seed."""


def manual_seed_all(seed: int) -> None:
    """Nothing to seed."""


def synchronize(device: Any = None) -> None:
    """Nothing to wait for."""


def empty_cache() -> None:
    """Nothing to give back: `rustnn.memory_stats()` tells about the CPU's cache."""


def memory_allocated(device: Any = None) -> int:
    return 0


def max_memory_allocated(device: Any = None) -> int:
    return 0


def memory_reserved(device: Any = None) -> int:
    return 0


def max_memory_reserved(device: Any = None) -> int:
    return 0


def reset_peak_memory_stats(device: Any = None) -> None:
    """Nothing to reset."""


def get_rng_state_all() -> list[Any]:
    return []


def set_rng_state_all(new_states: Any) -> None:
    """Nothing to set."""


def _refuse(what: str) -> RuntimeError:
    return RuntimeError(
        f"{what} needs a CUDA device, and this build of rustnn has none: tensors live on 'cpu'.\n"
        "  Ask torch.cuda.is_available() first, or leave the device out."
    )


def set_device(device: Any) -> None:
    raise _refuse("torch.cuda.set_device")


def current_device() -> int:
    raise _refuse("torch.cuda.current_device")


def current_stream(device: Any = None) -> Any:
    raise _refuse("torch.cuda.current_stream")


def get_device_name(device: Any = None) -> str:
    raise _refuse("torch.cuda.get_device_name")


def get_device_capability(device: Any = None) -> tuple[int, int]:
    raise _refuse("torch.cuda.get_device_capability")


def get_device_properties(device: Any = None) -> Any:
    raise _refuse("torch.cuda.get_device_properties")


def mem_get_info(device: Any = None) -> tuple[int, int]:
    raise _refuse("torch.cuda.mem_get_info")


class device:
    """A context that does nothing for `None` or a negative index, and raises for a device."""

    def __init__(self, device: Any = None) -> None:
        self.device = device

    def __enter__(self) -> None:
        if self.device is not None and not (isinstance(self.device, int) and self.device < 0):
            raise _refuse(f"torch.cuda.device({self.device!r})")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class _Absent:
    """A class to name; making one raises."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise _refuse(f"torch.cuda.{type(self).__name__}")


class Stream(_Absent):
    """A queue of work on a device."""


class ExternalStream(Stream):
    """A queue of work that another library made."""


class Event(_Absent):
    """A mark in such a queue."""


class CUDAGraph(_Absent):
    """Recorded work of a device."""


class MemPool(_Absent):
    """Memory of a device."""


class graph(_Absent):
    """A block whose work is recorded."""


class StreamContext:
    """A block whose work goes to a stream; nothing happens for `None`."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        """Nothing to choose."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to restore."""


def stream(stream: Any) -> StreamContext:
    """A block whose work goes to a stream; nothing happens for `None`."""
    return StreamContext(stream)


default_generators: tuple[Any, ...] = ()


def default_stream(device: Any = None) -> Any:
    raise _refuse("torch.cuda.default_stream")


def get_rng_state(device: Any = "cuda") -> Any:
    raise _refuse("torch.cuda.get_rng_state")


def set_rng_state(new_state: Any, device: Any = "cuda") -> None:
    raise _refuse("torch.cuda.set_rng_state")


def cudart() -> Any:
    raise _refuse("torch.cuda.cudart")


def is_current_stream_capturing() -> bool:
    return False


def _is_in_bad_fork() -> bool:
    return False


def get_arch_list() -> list[str]:
    return []


def ipc_collect() -> None:
    """Nothing to collect."""


def init() -> None:
    raise _refuse("torch.cuda.init")


def memory_stats(device: Any = None) -> dict[str, Any]:
    """Empty: `rustnn.memory_stats()` tells about the CPU's memory."""
    return {}


def reset_max_memory_allocated(device: Any = None) -> None:
    """Nothing to reset."""


reset_max_memory_cached = reset_accumulated_memory_stats = reset_max_memory_allocated


class OutOfMemoryError(RuntimeError):
    """Of a device's memory; never raised here (what the machine cannot back is a `MemoryError`)."""



def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    from rustnn import _legacy, _missing

    if name in ("nvtx", "random"):
        return importlib.import_module(f"rustnn.cuda.{name}")
    if name in _legacy.TYPES:
        globals().update(_legacy.absent_types())
        return globals()[name]
    raise AttributeError(_missing.explain("rustnn.cuda", name, globals()))
