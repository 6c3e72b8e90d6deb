"""Names for annotations, as in `torch.types`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rustnn import _C

Tensor: Any = _C.Tensor
Number = int | float | bool
Device = Any
_int, _float, _bool = int, float, bool
_size = Sequence[int]
_dtype: Any = _C.dtype
_device: Any = _C.device
