"""The examples in the package's docstrings print what they say."""

from __future__ import annotations

import copy
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest
import rustnn
from rustnn.interop.safetensors import save_file
from rustnn.utils import data
from rustnn.vision import transforms

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def modules() -> list[ModuleType]:
    """Every module of the package that can be imported here (some want an extra), all before the first is searched.

    Not those that act when they are imported: `__main__`, and `_as_torch`, which takes the name `torch`.
    """
    found = [rustnn]
    for info in pkgutil.walk_packages(rustnn.__path__, "rustnn.", onerror=lambda name: None):
        if not info.name.endswith(("__main__", "_as_torch")):
            try:
                found.append(importlib.import_module(info.name))
            except ImportError:
                continue
    return found


def examples() -> list[doctest.DocTest]:
    """All docstrings with examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {test.name: test for module in modules() for test in finder.find(module, module.__name__)}
    return [test for test in found.values() if test.examples]


def names() -> dict[str, Any]:
    """What examples take as given, as PyTorch's documentation does: the usual imports, a model and its optimizer."""
    model = rustnn.nn.Linear(3, 2)
    inputs, targets = rustnn.randn(10, 3), rustnn.randn(10, 2)
    return {
        "rustnn": rustnn,
        "torch": rustnn,
        "nn": rustnn.nn,
        "F": rustnn.nn.functional,
        "optim": rustnn.optim,
        "np": numpy,
        "transforms": transforms,
        "DataLoader": data.DataLoader,
        "TensorDataset": data.TensorDataset,
        "ToTensor": transforms.ToTensor,
        "Compose": transforms.Compose,
        "Normalize": transforms.Normalize,
        "dataset": data.TensorDataset(inputs, targets),
        "model": model,
        "block": model,
        "x": inputs,
        "y": targets,
        "xs": inputs,
        "ys": targets,
        "input": inputs,
        "target": targets,
        "loss_fn": rustnn.nn.functional.mse_loss,
        "loss": rustnn.nn.functional.mse_loss(model(inputs), targets),
        "train_step": lambda: None,
    }


@pytest.mark.parametrize("example", examples(), ids=lambda test: test.name)
def test_docstring(example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if example.name == "rustnn._run.install_as_torch":
        # It makes this name mean another module for the whole process.
        code = "import doctest, rustnn._run as m; doctest.run_docstring_examples(m.install_as_torch, {})"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert run.returncode == 0 and not run.stdout, run.stdout + run.stderr
        return
    rustnn.save({"step": 1}, "run.pt")
    save_file({"weight": rustnn.ones(2)}, "model.safetensors")
    rustnn.manual_seed(0)
    example = copy.copy(example)
    example.globs = {**names(), **example.globs}
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    output: list[str] = []
    runner.run(example, out=output.append)
    assert not runner.failures, "".join(output)
