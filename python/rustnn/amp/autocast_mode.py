"""`torch.amp.autocast_mode`."""

from __future__ import annotations

from rustnn.amp import autocast, custom_bwd, custom_fwd, is_autocast_available

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
