"""`torch.fx.experimental`, as far as programs that run eagerly ask it."""

from __future__ import annotations
