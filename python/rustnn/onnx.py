"""`torch.onnx`: nothing is exported; the question whether it is has an answer."""

from __future__ import annotations

from typing import Any

__all__ = ["export", "is_in_onnx_export", "is_onnxrt_backend_supported"]


def is_in_onnx_export() -> bool:
    """False: nothing is exported."""
    return False


def is_onnxrt_backend_supported() -> bool:
    """False: programs run eagerly."""
    return False


def export(*args: Any, **kwargs: Any) -> Any:
    """Raises: there is no graph of a program to write.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError(
        "rustnn does not have PyTorch's torch.onnx.export: programs run eagerly, there is no graph to write.\n"
        "  hint: save the weights with rustnn.save or safetensors, and export them with PyTorch"
    )


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rustnn import _missing

    raise AttributeError(_missing.explain("rustnn.onnx", name, globals()))
