"""What programs ask about autocast. Blocks compute in the dtypes of their tensors, so it is never on."""

from __future__ import annotations

from typing import Any

from rustnn import _C

__all__ = [
    "autocast_decrement_nesting",
    "autocast_increment_nesting",
    "clear_autocast_cache",
    "get_autocast_cpu_dtype",
    "get_autocast_dtype",
    "get_autocast_gpu_dtype",
    "is_autocast_cache_enabled",
    "is_autocast_cpu_enabled",
    "is_autocast_enabled",
    "set_autocast_cache_enabled",
    "set_autocast_cpu_dtype",
    "set_autocast_cpu_enabled",
    "set_autocast_dtype",
    "set_autocast_enabled",
    "set_autocast_gpu_dtype",
]

_settings: dict[str, Any] = {"cache": True, "dtypes": {}}


def _kind(device_type: Any) -> str:
    # Asking for a device object checks the name.
    return str(_C.device(str(device_type)).type)


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """False: what an autocast block computes keeps the tensors' own dtypes.

    A program that casts by hand where autocast is on therefore leaves its tensors alone.

    Raises:
        RuntimeError: there is no such kind of device.
    """
    if device_type is not None:
        _kind(device_type)
    return False


def is_autocast_cpu_enabled() -> bool:
    """False, as `is_autocast_enabled`."""
    return False


def set_autocast_enabled(device_type: Any, enabled: bool | None = None) -> None:
    """Accepted, without effect."""


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """Accepted, without effect."""


def get_autocast_dtype(device_type: str) -> Any:
    """The dtype that a block on this kind of device would compute in: bfloat16 on the CPU, float16 elsewhere."""
    kind = _kind(device_type)
    return _settings["dtypes"].get(kind, _C.bfloat16 if kind in ("cpu", "xla") else _C.float16)


def set_autocast_dtype(device_type: str, dtype: Any) -> None:
    """Sets what `get_autocast_dtype` answers."""
    _settings["dtypes"][_kind(device_type)] = dtype


def get_autocast_cpu_dtype() -> Any:
    """`get_autocast_dtype("cpu")`."""
    return get_autocast_dtype("cpu")


def set_autocast_cpu_dtype(dtype: Any) -> None:
    """`set_autocast_dtype("cpu", dtype)`."""
    set_autocast_dtype("cpu", dtype)


def get_autocast_gpu_dtype() -> Any:
    """`get_autocast_dtype("cuda")`."""
    return get_autocast_dtype("cuda")


def set_autocast_gpu_dtype(dtype: Any) -> None:
    """`set_autocast_dtype("cuda", dtype)`."""
    set_autocast_dtype("cuda", dtype)


def is_autocast_cache_enabled() -> bool:
    """What `set_autocast_cache_enabled` was last given; True at first."""
    return bool(_settings["cache"])


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Accepted: there is no cache of cast weights."""
    _settings["cache"] = bool(enabled)


def clear_autocast_cache() -> None:
    """Nothing to clear."""


def autocast_increment_nesting() -> int:
    """0: blocks are not counted."""
    return 0


autocast_decrement_nesting = autocast_increment_nesting
