"""`torch.backends`: switches that programs set, and questions about what there is."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]


class _Backend(ModuleType):
    """A module with settings of its own."""

    def __init__(self, name: str, available: bool, doc: str, **settings: Any) -> None:
        super().__init__(f"{__name__}.{name}", doc)
        self._available = available
        for key, value in settings.items():
            setattr(self, key, value)
        sys.modules[self.__name__] = self

    def is_available(self) -> bool:
        return self._available

    def is_built(self) -> bool:
        return self._available

    def version(self) -> None:
        return None

    @contextlib.contextmanager
    def flags(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        yield

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        from rustnn import _missing

        raise AttributeError(_missing.explain(self.__name__, name, vars(self)))


class _Settings:
    """A place for values that change nothing here."""

    allow_tf32 = False
    allow_fp16_reduced_precision_reduction = False
    allow_bf16_reduced_precision_reduction = False


cudnn = _Backend(
    "cudnn",
    False,
    "Settings of cuDNN: kept, without effect.",
    enabled=False,
    benchmark=False,
    deterministic=True,
    allow_tf32=False,
    benchmark_limit=10,
)
cuda = _Backend(
    "cuda",
    False,
    "Settings of CUDA: kept, without effect.",
    matmul=_Settings(),
    flash_sdp_enabled=lambda: False,
    mem_efficient_sdp_enabled=lambda: False,
    math_sdp_enabled=lambda: True,
    enable_flash_sdp=lambda on: None,
    enable_mem_efficient_sdp=lambda on: None,
    enable_math_sdp=lambda on: None,
)
mps = _Backend("mps", False, "There is no MPS device.", is_macos_or_newer=lambda *version: False)
mkl = _Backend("mkl", False, "MKL is not used: matrix products are rustnn's own.")
mkldnn = _Backend("mkldnn", False, "oneDNN is not used: kernels are rustnn's own.", enabled=False)
openmp = _Backend("openmp", False, "OpenMP is not used: threads are rustnn's own pool.")


def _cpu_capability() -> str:
    from rustnn import _C

    isa = str(getattr(_C, "_isa", lambda: "scalar")()).upper()
    return "DEFAULT" if isa == "SCALAR" else isa


cpu = _Backend("cpu", True, "The CPU.", get_cpu_capability=_cpu_capability)
