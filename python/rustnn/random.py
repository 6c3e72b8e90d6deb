"""The default random number generator: seeding, saving and restoring it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

from rustnn import _C

__all__ = [
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
]

default_generator: Any = _C.default_generator


def manual_seed(seed: int) -> Any:
    """Seeds the default generator; the same seed gives PyTorch's numbers.

    Args:
        seed: in [-2**63, 2**64).

    Returns:
        the generator.
    """
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Seeds the default generator from the system and returns the seed."""
    number = secrets.randbits(64)
    default_generator.manual_seed(number)
    return number


def initial_seed() -> int:
    """The seed the default generator was last given."""
    return int(default_generator.initial_seed())


def get_rng_state() -> Any:
    """The default generator's state, a uint8 tensor in PyTorch's layout."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Puts back a state that `get_rng_state` gave, here or in PyTorch."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(
    devices: Any = None,
    enabled: bool = True,
    _caller: str = "fork_rng",
    _devices_kw: str = "devices",
    device_type: str = "cuda",
) -> Iterator[None]:
    """Whatever is drawn inside the block leaves the default generator as it was before."""
    if not enabled:
        yield
        return
    state = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(state)
