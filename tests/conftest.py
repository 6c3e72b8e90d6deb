"""Makes the folders of tests importable (`ops.harness`) and keeps the settings of one test out of the next.

`RUSTNN_FAST=1` takes every fourth of the op tests (always the same ones), for runs that repeat the suite.
"""

from __future__ import annotations

import os
import sys
import zlib
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("RUSTNN_FAST") != "1":
        return
    kept, left = [], []
    for item in items:
        taken = "tests/ops/" not in item.nodeid or zlib.crc32(item.nodeid.encode()) % 4 == 0
        (kept if taken else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept
