"""Exchange with other programs: PyTorch's ``.pt`` files and safetensors."""

from __future__ import annotations

from ..serialization import load, save
from . import safetensors
from .safetensors import load_file, safe_open, save_file

__all__ = ["load", "load_file", "safe_open", "safetensors", "save", "save_file"]
