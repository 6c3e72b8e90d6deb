"""Neural networks: modules, parameters, functions, initialisation (``torch.nn``)."""

from __future__ import annotations

import importlib
from typing import Any

from . import functional, init, parallel, utils
from .modules import *  # noqa: F403
from .modules import __all__ as _module_names
from .parallel import DataParallel
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [  # noqa: PLE0604
    *_module_names,
    "Buffer",
    "DataParallel",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "factory_kwargs",
    "functional",
    "init",
    "parallel",
    "utils",
]


def factory_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """The arguments among ``kwargs`` that tensor-making functions take (device, dtype, memory_format)."""
    if kwargs is None:
        return {}
    known = {"device", "dtype", "memory_format"}
    unexpected = set(kwargs) - known - {"factory_kwargs"}
    if unexpected:
        raise TypeError(f"unexpected kwargs {unexpected}")
    inner = dict(kwargs.get("factory_kwargs", {}))
    for key in known:
        if key in kwargs:
            if key in inner:
                raise TypeError(f"{key} specified twice, in **kwargs and in factory_kwargs")
            inner[key] = kwargs[key]
    return inner


def __getattr__(name: str) -> Any:
    if name == "attention":
        return importlib.import_module(f"{__name__}.attention")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
