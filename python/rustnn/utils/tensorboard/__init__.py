"""TensorBoard's log writer, from the packages that have one: tensorboardX, or tensorboard's own event files."""

from __future__ import annotations

from typing import Any


def _writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "rustnn.utils.tensorboard needs a log writer: pip install tensorboardX (and tensorboard to look at the "
            "logs)"
        ) from error
    return SummaryWriter


def __getattr__(name: str) -> Any:
    if name == "SummaryWriter":
        return _writer()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
