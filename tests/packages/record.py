"""Records what the scripts print with PyTorch: `python record.py [names]`, in an environment with PyTorch.

Packages are looked for in the environment and in the folders of RUSTNN_PACKAGES.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from compare import read

HERE = Path(__file__).parent


def _short(value: Any) -> Any:
    """Seven digits are enough to compare by, and keep the files small."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, list):
        return [_short(v) for v in value]
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    return value


def main(names: list[str]) -> None:
    """Runs the scripts and writes one file for each."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.environ.get("RUSTNN_PACKAGES", "")
    for script in sorted((HERE / "scripts").glob("*.py")):
        if script.name == "report.py" or (names and script.stem not in names):
            continue
        done = subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, env=environment, check=False
        )
        if done.returncode:
            print(f"{script.stem}: {done.stderr[-2000:]}", file=sys.stderr)
            continue
        lines = [
            json.dumps({"name": name, "value": _short(value)}, separators=(",", ":"))
            for name, value in read(done.stdout).items()
        ]
        (HERE / "expected" / f"{script.stem}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{script.stem}: {len(lines)} values")


if __name__ == "__main__":
    main(sys.argv[1:])
