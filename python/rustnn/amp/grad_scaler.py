"""`torch.amp.grad_scaler`."""

from __future__ import annotations

from rustnn.amp import GradScaler

__all__ = ["GradScaler"]
