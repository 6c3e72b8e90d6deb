"""`torch.__future__`: switches of behaviours to come, kept without effect."""

from __future__ import annotations

__all__ = [
    "get_overwrite_module_params_on_conversion",
    "get_swap_module_params_on_conversion",
    "set_overwrite_module_params_on_conversion",
    "set_swap_module_params_on_conversion",
]

_settings = {"overwrite": False, "swap": False}


def set_overwrite_module_params_on_conversion(value: bool) -> None:
    """Accepted: `Module.to` sets the parameters' data."""
    _settings["overwrite"] = bool(value)


def get_overwrite_module_params_on_conversion() -> bool:
    """What was last set."""
    return _settings["overwrite"]


def set_swap_module_params_on_conversion(value: bool) -> None:
    """Accepted: `Module.to` sets the parameters' data."""
    _settings["swap"] = bool(value)


def get_swap_module_params_on_conversion() -> bool:
    """What was last set."""
    return _settings["swap"]
