"""`torch.distributed` where there is one process: questions are answered, the rest raises by name."""

from __future__ import annotations

from typing import Any

__all__ = ["get_rank", "get_world_size", "is_available", "is_initialized"]


def is_available() -> bool:
    """False: there is no communication between processes."""
    return False


def is_initialized() -> bool:
    return False


def is_torchelastic_launched() -> bool:
    return False


def is_nccl_available() -> bool:
    return False


def is_gloo_available() -> bool:
    return False


def is_mpi_available() -> bool:
    return False


def get_rank(group: Any = None) -> int:
    raise ValueError("Default process group has not been initialized: rustnn trains in one process")


def get_world_size(group: Any = None) -> int:
    raise ValueError("Default process group has not been initialized: rustnn trains in one process")


class ProcessGroup:
    """For annotations; there are no process groups."""


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(
        f"module 'rustnn.distributed' has no attribute {name!r}: there is no communication between processes.\n"
        "  One process uses all cores already. To average gradients of several processes use mpi4py on "
        "tensor.numpy()."
    )
