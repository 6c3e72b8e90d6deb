"""The same cases under pytest-benchmark, one engine after the other:

    pytest benches --benchmark-group-by=param:case --benchmark-only

For ratios use `make bench`, which alternates the engines.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cases import CASES, load  # noqa: E402

load()


@pytest.fixture(params=["rustnn", "torch"])
def engine(request: pytest.FixtureRequest) -> Any:
    """The module to measure; PyTorch is left out where it is not installed."""
    if request.param == "torch":
        torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    else:
        torch = importlib.import_module(request.param)
    torch.set_num_threads(2)
    torch.manual_seed(0)
    return torch


@pytest.mark.parametrize("case", CASES)
def test_speed(case: str, engine: Any, benchmark: Any) -> None:
    benchmark(CASES[case].prepare(engine))
