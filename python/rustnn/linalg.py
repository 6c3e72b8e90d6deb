"""`torch.linalg`: matrix functions; all are native."""

from __future__ import annotations

from typing import Any

from rustnn import _C

_native = _C._linalg
__all__ = sorted(name for name in dir(_native) if not name.startswith("_"))
globals().update({name: getattr(_native, name) for name in __all__})


LinAlgError: type[RuntimeError] = _C._LinAlgError


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    from rustnn import _missing

    raise AttributeError(_missing.explain("rustnn.linalg", name, globals()))
