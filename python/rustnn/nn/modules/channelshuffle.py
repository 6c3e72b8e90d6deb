"""``torch.nn.modules.channelshuffle``'s address for ChannelShuffle."""

from __future__ import annotations

from .pixelshuffle import ChannelShuffle

__all__ = ["ChannelShuffle"]
