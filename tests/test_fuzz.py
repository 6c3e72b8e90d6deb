"""Random calls at the whole surface: no input from Python ends the process, hangs it, or gives a wrong value.

RUSTNN_FUZZ_SEEDS (a number, 2 unless given) and RUSTNN_FUZZ_TIMES (how many times as many calls) make longer runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SEEDS = int(os.environ.get("RUSTNN_FUZZ_SEEDS", "2"))
TIMES = int(os.environ.get("RUSTNN_FUZZ_TIMES", "1"))
# As many calls as take a few seconds.
CALLS = {"calls": 2000, "empties": 1500, "arrays": 2000, "graphs": 600, "modules": 800, "files": 1000, "threads": 50}


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("kind", list(CALLS))
def test_random_calls(kind: str, seed: int, tmp_path: Path) -> None:
    log = tmp_path / "last_call"
    run = subprocess.run(
        [
            sys.executable,
            "-X",
            "faulthandler",
            str(Path(__file__).parent / "fuzz" / "run.py"),
            kind,
            str(seed),
            str(CALLS[kind] * TIMES),
        ],
        capture_output=True,
        text=True,
        timeout=300 + 60 * TIMES,
        check=False,
        # Sets and dictionaries of strings in the same order in every process.
        env={**os.environ, "RUSTNN_FUZZ_LOG": str(log), "PYTHONHASHSEED": "0"},
    )
    last = log.read_text(encoding="utf-8") if log.exists() else "none"
    assert run.returncode == 0, f"status {run.returncode}\nlast call: {last}\n{run.stdout[-500:]}\n{run.stderr[-3000:]}"
    assert "panicked" not in run.stderr, run.stderr[-3000:]
