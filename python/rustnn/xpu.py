"""`torch.xpu`: there is no such device: questions are answered, uses raise."""

from __future__ import annotations

from typing import Any

__all__ = ["device_count", "empty_cache", "is_available", "manual_seed", "synchronize"]


def is_available() -> bool:
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    return False


def is_initialized() -> bool:
    return False


def device_count() -> int:
    return 0


def manual_seed(seed: int) -> None:
    """Nothing to seed."""


manual_seed_all = manual_seed


def synchronize(device: Any = None) -> None:
    """Nothing to wait for."""


def empty_cache() -> None:
    """Nothing to give back."""


def memory_allocated(device: Any = None) -> int:
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def reset_peak_memory_stats(device: Any = None) -> None:
    """Nothing to reset."""


def get_rng_state_all() -> list[Any]:
    return []


def set_rng_state_all(new_states: Any) -> None:
    """Nothing to set."""


def _refuse(what: str) -> RuntimeError:
    return RuntimeError(
        f"torch.xpu.{what} needs a device that this build of rustnn has not: tensors live on 'cpu'.\n"
        "  hint: ask torch.xpu.is_available() first, or leave the device out"
    )


def current_device() -> int:
    raise _refuse("current_device")


def set_device(device: Any) -> None:
    raise _refuse("set_device")


def get_device_name(device: Any = None) -> str:
    raise _refuse("get_device_name")


def get_device_properties(device: Any = None) -> Any:
    raise _refuse("get_device_properties")


def get_rng_state(device: Any = "xpu") -> Any:
    raise _refuse("get_rng_state")


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    from rustnn import _missing

    raise AttributeError(_missing.explain("rustnn.xpu", name, globals()))
