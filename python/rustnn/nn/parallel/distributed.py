"""DistributedDataParallel: a name to ask about; there is one process."""

from __future__ import annotations

from typing import Any

from ..module import Module

__all__ = ["DistributedDataParallel"]


class DistributedDataParallel(Module):
    """Raises when made: there is no communication between processes."""

    def __init__(self, module: Module, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            "DistributedDataParallel: rustnn trains in one process, which uses all cores already.\n"
            "  hint: use the module itself; to average gradients of several processes use mpi4py on tensor.numpy()"
        )
