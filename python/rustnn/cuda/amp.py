"""The older names of `torch.amp` for CUDA."""

from __future__ import annotations

from rustnn.amp import GradScaler, autocast, custom_bwd, custom_fwd

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]
