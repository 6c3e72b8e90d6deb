"""Differentiation: `backward`, `grad`, switches of recording, functions with gradients of their own."""

from __future__ import annotations

import importlib
from typing import Any

from rustnn import _C
from rustnn.autograd import functional, grad_mode, graph, profiler
from rustnn.autograd._engine import backward, grad
from rustnn.autograd.anomaly_mode import detect_anomaly, set_detect_anomaly
from rustnn.autograd.function import Function
from rustnn.autograd.grad_mode import (
    enable_grad,
    inference_mode,
    no_grad,
    set_grad_enabled,
    set_multithreading_enabled,
)
from rustnn.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck

Variable: Any = _C.Tensor

__all__ = [
    "Function",
    "GradcheckError",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "functional",
    "grad",
    "grad_mode",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "no_grad",
    "profiler",
    "set_detect_anomaly",
    "set_grad_enabled",
    "set_multithreading_enabled",
]


def __getattr__(name: str) -> Any:
    if name == "forward_ad":
        return importlib.import_module("rustnn.autograd.forward_ad")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
