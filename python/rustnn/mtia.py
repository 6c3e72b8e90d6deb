"""`torch.mtia`: there is no such device; the answers are those of `rustnn.xpu`."""

from __future__ import annotations

from rustnn.xpu import device_count, empty_cache, is_available, is_initialized, manual_seed, synchronize

__all__ = ["device_count", "empty_cache", "is_available", "is_initialized", "manual_seed", "synchronize"]
