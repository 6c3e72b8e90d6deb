"""`torch.utils.dlpack`: tensors shared with other libraries without a copy."""

from __future__ import annotations

from typing import Any

from rustnn._C import from_dlpack

__all__ = ["from_dlpack", "to_dlpack"]


def to_dlpack(tensor: Any) -> Any:
    """A DLPack capsule over the tensor's memory, to be used once.

    Example::

        >>> from rustnn.utils import dlpack
        >>> dlpack.from_dlpack(rustnn.ones(2))
        tensor([1., 1.])
    """
    return tensor.__dlpack__()
