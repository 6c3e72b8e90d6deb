"""Makes the folders of tests importable (`ops.harness`) and keeps the settings of one test out of the next."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _clean_settings() -> Iterator[None]:
    import rustnn

    yield
    rustnn.set_grad_enabled(True)
    rustnn.set_printoptions(profile="default")
