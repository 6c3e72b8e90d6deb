"""The examples run alone, and resuming one gives the bits that an uninterrupted run gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
DATA = os.environ.get("RUSTNN_DATA", "")


def run(name: str, *arguments: str, timeout: float = 300) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "MPLBACKEND": "Agg"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def resumes(name: str, folder: Path, *arguments: str) -> str:
    """Two epochs at once, and one epoch then one more: the same weights, bit for bit."""
    pytest.importorskip("safetensors")
    pytest.importorskip("matplotlib")
    run(name, "--epochs", "2", "--out", str(folder / "whole"), *arguments)
    run(name, "--epochs", "1", "--out", str(folder / "parts"), *arguments)
    out = run(name, "--epochs", "2", "--resume", "--out", str(folder / "parts"), *arguments)
    whole, parts = (folder / kind / "model.safetensors" for kind in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert list((folder / "whole").glob("*.png"))
    return out


def test_softmax_and_gradient_descent() -> None:
    assert "sum 1.000000" in run("softmax.py")
    out = run("gradient_descent_numpy.py", "--epochs", "200")
    assert "autograd" in out
    assert "least squares" in run("tape.py", "--epochs", "50")


def test_linear_regression_reaches_the_closed_form(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("safetensors")
    out = run("linear_regression.py", "--out", str(tmp_path))
    difference = float(out.rsplit("weights", 1)[1])
    assert difference < 1e-2


def test_linear_regression_resumes(tmp_path: Path) -> None:
    resumes("linear_regression.py", tmp_path)


def test_perceptron_stops_making_mistakes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("safetensors")
    assert "accuracy 100.00 %" in run("perceptron.py", "--out", str(tmp_path))


needs_data = pytest.mark.skipif(not os.path.isdir(DATA), reason="RUSTNN_DATA is not set")


@needs_data
def test_mnist_resumes(tmp_path: Path) -> None:
    out = resumes("mnist.py", tmp_path, "--images", "1000")
    assert out.splitlines()[-1].startswith("test accuracy: ")


@needs_data
def test_mlp_resumes(tmp_path: Path) -> None:
    resumes("mlp_mnist.py", tmp_path, "--images", "1000")


@needs_data
def test_char_lstm_resumes(tmp_path: Path) -> None:
    resumes("char_lstm.py", tmp_path, "--characters", "20000", "--hidden", "32", "--batch-size", "8")


@needs_data
def test_gpt_resumes(tmp_path: Path) -> None:
    resumes(
        "gpt.py", tmp_path, "--steps", "5", "--width", "32", "--depth", "2", "--batch-size", "4", "--dropout", "0.1"
    )


@needs_data
@pytest.mark.slow
def test_resnet20_has_the_published_accuracy() -> None:
    """What the weights give on these pictures, measured with NumPy: 81.03 %."""
    out = run(
        "resnet20_cifar10.py",
        "--data",
        DATA,
        "--evaluate",
        f"{DATA}/resnet_cifar10/resnet20.safetensors",
        timeout=1200,
    )
    assert float(out.rsplit(":", 1)[1].split()[0]) == pytest.approx(81.03, abs=0.05)
