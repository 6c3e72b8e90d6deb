"""`torch.accelerator` of a machine without one: questions are answered, uses raise."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = [
    "current_accelerator",
    "current_device_index",
    "current_stream",
    "device_count",
    "empty_cache",
    "is_available",
    "set_device_index",
    "set_stream",
    "synchronize",
]


def is_available() -> bool:
    """False: this build computes on the CPU."""
    return False


def device_count() -> int:
    """0."""
    return 0


def current_accelerator(check_available: bool = False) -> None:
    """`None`: there is no accelerator."""


def empty_cache() -> None:
    """Nothing to give back."""


def memory_allocated(device_index: Any = None) -> int:
    """0."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def reset_peak_memory_stats(device_index: Any = None) -> None:
    """Nothing to reset."""


def _refuse(what: str) -> NoReturn:
    raise RuntimeError(
        f"torch.accelerator.{what} needs an accelerator, and this build of rustnn has none: tensors live on 'cpu'.\n"
        "  hint: ask torch.accelerator.is_available() first"
    )


def current_device_index() -> int:
    """Raises: there is no device."""
    _refuse("current_device_index")


current_device_idx = current_device_index


def set_device_index(device: Any) -> None:
    """Raises: there is no device."""
    _refuse("set_device_index")


set_device_idx = set_device_index


def current_stream(device: Any = None) -> Any:
    """Raises: there is no device."""
    _refuse("current_stream")


def set_stream(stream: Any) -> None:
    """Raises: there is no device."""
    _refuse("set_stream")


def synchronize(device: Any = None) -> None:
    """Raises: there is no device."""
    _refuse("synchronize")
