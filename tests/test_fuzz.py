"""Random calls at the whole surface: no input from Python ends the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = float(os.environ.get("RUSTNN_FUZZ_SECONDS", "15"))


@pytest.mark.parametrize("seed", [0, 1])
def test_random_calls(seed: int, tmp_path: Path) -> None:
    log = tmp_path / "last_call"
    run = subprocess.run(
        [
            sys.executable,
            "-X",
            "faulthandler",
            str(Path(__file__).with_name("fuzz_calls.py")),
            str(seed),
            str(SECONDS),
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS + 240,
        check=False,
        env={**os.environ, "RUSTNN_FUZZ_LOG": str(log)},
    )
    last = log.read_text(encoding="utf-8") if log.exists() else "none"
    assert run.returncode == 0, (
        f"status {run.returncode}\nlast call: {last}\n{run.stdout[-500:]}\n{run.stderr[-3000:]}"
    )
    assert "panicked" not in run.stderr, run.stderr[-3000:]
