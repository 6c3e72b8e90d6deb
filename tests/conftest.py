"""Makes the folders of tests importable (`ops.harness`) and keeps the settings of one test out of the next.

`RUSTNN_FAST=1` takes every fourth of the op tests (always the same ones), for runs that repeat the suite.
"""

from __future__ import annotations

import os
import signal
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

# A shell's background jobs ignore Ctrl-C, and so would every process that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _clean_settings() -> Iterator[None]:
    import rustnn

    yield
    rustnn.set_grad_enabled(True)
    rustnn.set_printoptions(profile="default")


KNOWN = Path(__file__).parent / "ops" / "known_differences.txt"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    known = {line for line in KNOWN.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")}
    for item in items:
        if item.nodeid in known:
            reason = "differs from PyTorch: tests/ops/known_differences.txt"
            item.add_marker(pytest.mark.xfail(strict=False, reason=reason))
    if os.environ.get("RUSTNN_FAST") != "1":
        return
    kept, left = [], []
    for item in items:
        taken = "tests/ops/" not in item.nodeid or zlib.crc32(item.nodeid.encode()) % 4 == 0
        (kept if taken else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept
