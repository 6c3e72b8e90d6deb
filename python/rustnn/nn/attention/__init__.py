"""`torch.nn.attention`: the choice among ways to compute attention, of which there is one here."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from typing import Any

__all__ = ["SDPBackend", "sdpa_kernel"]


class SDPBackend(enum.Enum):
    """Ways that PyTorch computes attention in."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextlib.contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[None]:
    """Accepted: attention is computed by one fused kernel whatever is chosen.

    Raises:
        AssertionError: what is given is no backend, nor a list of them.
    """
    chosen = [backends] if isinstance(backends, SDPBackend) else list(backends)
    assert all(isinstance(b, SDPBackend) for b in chosen), (  # noqa: S101
        "Backend must be an instance of SDPBackend or a list of SDPBackend instances"
    )
    yield
