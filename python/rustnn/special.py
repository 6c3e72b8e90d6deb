"""`torch.special`: special functions; all are native."""

from __future__ import annotations

from typing import Any

from rustnn import _C

_native = _C._special
__all__ = sorted(name for name in dir(_native) if not name.startswith("_"))
globals().update({name: getattr(_native, name) for name in __all__})


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    from rustnn import _missing

    raise AttributeError(_missing.explain("rustnn.special", name, globals()))
