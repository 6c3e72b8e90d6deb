"""`torch._C` for programs written for PyTorch: the native module, and the names of PyTorch's that libraries ask for."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

from rustnn import _C

Tensor: Any = _C.Tensor
TensorBase = Tensor
_TensorBase = Tensor
_TensorMeta: Any = type(Tensor)


class _Never:
    """Nothing is an instance of this."""


class Graph(_Never):
    """Of TorchScript, which rustnn does not run."""


class Value(_Never):
    """Of TorchScript, which rustnn does not run."""


class ScriptObject(_Never):
    """Of TorchScript, which rustnn does not run."""


class ScriptFunction(_Never):
    """Of TorchScript, which rustnn does not run."""


class ScriptModule(_Never):
    """Of TorchScript, which rustnn does not run."""


def _are_functorch_transforms_active() -> bool:
    """False: `vmap` and `grad` call their function, nothing is rewritten."""
    return False


def _log_api_usage_once(*_: Any) -> None:
    """Nothing is logged."""


def _get_accelerator() -> Any:
    """The CPU: there is no accelerator."""
    return _C.device("cpu")


def _get_default_device() -> str:
    return "cpu"


def _cuda_isInBadFork() -> bool:
    return False


def _get_privateuse1_backend_name() -> str:
    return "privateuseone"


def _get_tracing_state() -> None:
    """`None`: nothing is traced."""


def _disabled_torch_function_impl(func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """Calls the function with interception off: what a class gives as its `__torch_function__` to have none."""
    before = _C._set_torch_function_enabled(False)
    try:
        return func(*args, **(kwargs or {}))
    finally:
        _C._set_torch_function_enabled(before)


def _nothing(*_: Any, **__: Any) -> None:
    """Accepted, without effect."""


def _parse_to(*args: Any, **kwargs: Any) -> tuple[Any, Any, bool, Any]:
    """What the arguments of `Module.to` say: device, dtype, non_blocking, memory format."""
    device, dtype = kwargs.get("device"), kwargs.get("dtype")
    blocking, order = bool(kwargs.get("non_blocking", False)), kwargs.get("memory_format")
    for value in args:
        if isinstance(value, _C.Tensor):
            device, dtype = value.device, value.dtype
        elif isinstance(value, _C.dtype):
            dtype = value
        elif isinstance(value, bool):
            blocking = value
        elif isinstance(value, _C.memory_format):
            order = value
        else:
            device = value
    return None if device is None else _C.device(device), dtype, blocking, order


_nn = SimpleNamespace(_parse_to=_parse_to)
_functorch = ModuleType("torch._C._functorch")
vars(_functorch).update(is_batchedtensor=lambda t: False, is_legacy_batchedtensor=lambda t: False)


def __getattr__(name: str) -> Any:
    if name.startswith(("_jit_set_", "_jit_override_", "_set_graph_executor")):
        return _nothing
    return getattr(_C, name)
