"""Versions, in the names of `torch.version`."""

from __future__ import annotations

from rustnn import _C

__version__: str = _C.__version__
cuda: str | None = None
hip: str | None = None
xpu: str | None = None
git_version: str = ""
debug: bool = False
