"""`torch.cuda.random`: there is no generator on a device."""

from __future__ import annotations

from rustnn.cuda import (
    get_rng_state,
    get_rng_state_all,
    manual_seed,
    manual_seed_all,
    set_rng_state,
    set_rng_state_all,
)

__all__ = [
    "get_rng_state",
    "get_rng_state_all",
    "manual_seed",
    "manual_seed_all",
    "set_rng_state",
    "set_rng_state_all",
]
