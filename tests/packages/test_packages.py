"""Released packages written for PyTorch, run unchanged with `rustnn run`, print what they print with PyTorch.

What PyTorch gave stands in `expected/` (see `record.py`). Packages are looked for in the environment and in the
folders of RUSTNN_PACKAGES; without them a test is skipped.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rustnn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from compare import compare, read  # noqa: E402

# Each script with the packages that it needs.
SCRIPTS = {
    "distributions_all": (),
    "plain_programs": (),
    "einops_all": ("einops",),
    "graphs": ("torch_geometric",),
    "kornia_all": ("kornia",),
    "lightning_fit": ("lightning",),
    "peft_lora": ("peft", "transformers"),
    "timm_models": ("timm",),
    "timm_rest": ("timm",),
    "torchmetrics_all": ("torchmetrics",),
    "training_tools": ("accelerate", "torchinfo", "lion_pytorch", "huggingface_hub", "safetensors"),
    "transformers_models": ("transformers",),
    "transformers_more": ("transformers", "accelerate"),
    "vision_models": ("vit_pytorch", "x_transformers", "segmentation_models_pytorch"),
}
FOLDERS = [p for p in os.environ.get("RUSTNN_PACKAGES", "").split(os.pathsep) if p]


def there(name: str) -> bool:
    if importlib.machinery.PathFinder.find_spec(name, FOLDERS) is not None:
        return True
    return importlib.util.find_spec(name) is not None


def lacking(name: str) -> str:
    """Why a script cannot run, or nothing."""
    absent = [p for p in SCRIPTS[name] if not there(p)]
    if absent:
        return f"not installed: {', '.join(absent)} (RUSTNN_PACKAGES names a folder with packages)"
    if name == "torchmetrics_all" and not hasattr(rustnn, "trapz"):
        return "rustnn has no trapz"
    if name == "kornia_all" and not hasattr(rustnn.linalg, "inv_ex"):
        return "rustnn has no linalg.inv_ex"
    return ""


def run(*arguments: str, timeout: int = 900) -> subprocess.CompletedProcess[str]:
    places = [str(Path(rustnn.__file__).parents[1]), *FOLDERS, os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places)), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "rustnn", "run", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        check=False,
    )


def test_every_script_is_listed() -> None:
    scripts = {p.stem for p in (HERE / "scripts").glob("*.py")} - {"report"}
    assert scripts == set(SCRIPTS)
    assert {p.stem for p in (HERE / "expected").glob("*.jsonl")} == scripts


@pytest.mark.parametrize("name", SCRIPTS)
def test_prints_what_pytorch_prints(name: str) -> None:
    reason = lacking(name)
    if reason:
        pytest.skip(reason)
    done = run(str(HERE / "scripts" / f"{name}.py"))
    assert done.returncode == 0, done.stderr[-4000:]
    expected = read((HERE / "expected" / f"{name}.jsonl").read_text(encoding="utf-8"))
    found = compare(expected, read(done.stdout))
    assert not found, "\n".join(found[:40])


def test_the_comparison_sees_differences() -> None:
    line = '{"name": "a", "value": {"sum": 1.0, "size": 2.0, "some": [0.5, 1.5]}}\n{"name": "a", "value": 3}'
    expected = read(line)
    assert list(expected) == ["a", "a#2"]
    assert not compare(expected, read(line))
    assert compare(expected, read(line.replace("1.5", "1.6")))
    assert compare(expected, read(line.replace('"value": 3', '"value": 4')))
    assert compare(expected, read(line.splitlines()[0]))
    assert compare(expected, read(line.replace("0.5", '"nan"')))
