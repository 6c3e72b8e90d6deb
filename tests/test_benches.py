"""The networks that `make bench` measures, at tiny sizes: they run, and learn and answer as they do under PyTorch.

Both engines start from the same seed, so they have the same weights, data and dropout masks; what is left is rounding.
The arithmetic that the benches count is compared with PyTorch's own counter.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import rustnn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benches"))

from cases import CASES, Case, load
from flops import counting

load()
FAMILIES = [case for case in CASES.values() if case.task is not None]


def numbers(torch: Any, case: Case, dtype: str, steps: int) -> list[float]:
    """The losses of some steps, or all numbers of an answer."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        torch.manual_seed(7)
        _, call = case.of_task(torch, tiny=True)
        if case.trains:
            return [call().item() for _ in range(steps)]  # type: ignore[attr-defined]
        answer: Any = call()
        return [x for part in (answer if isinstance(answer, tuple) else (answer,)) for x in part.flatten().tolist()]
    finally:
        torch.set_default_dtype(before)


@pytest.mark.peer
@pytest.mark.parametrize("case", FAMILIES, ids=lambda case: case.name)
def test_network(case: Case) -> None:
    """In double precision for some steps, since batch norm of a tiny batch makes much of rounding; then as measured."""
    ours = numbers(rustnn, case, "float64", 2), numbers(rustnn, case, "float32", 1)
    assert ours[0] and all(x == x for x in ours[0])
    if case.trains:
        assert ours[0][1] != ours[0][0], "nothing was learned"
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = numbers(torch, case, "float64", 2), numbers(torch, case, "float32", 1)
    scale = max(map(abs, theirs[0]))
    assert ours[0] == pytest.approx(theirs[0], rel=1e-6, abs=1e-7 * scale)
    assert ours[1] == pytest.approx(theirs[1], rel=2e-3, abs=2e-4 * scale)


@pytest.mark.peer
@pytest.mark.parametrize("case", [case for case in FAMILIES if not case.trains], ids=lambda case: case.name)
def test_counted_arithmetic(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def ours(torch: Any) -> float:
        torch.manual_seed(7)
        _, call = case.of_task(torch, tiny=True)
        with counting(torch) as counter:
            call()
        return counter.flops

    flops = ours(rustnn)
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    assert flops == ours(torch)
    if any(word in case.name for word in ("RNN", "LSTM", "GRU")):
        return  # PyTorch's counter knows no recurrent layers
    from torch.utils.flop_counter import FlopCounterMode

    monkeypatch.setattr(torch.backends.mha, "get_fastpath_enabled", lambda: False)  # its calls are not counted
    torch.manual_seed(7)
    _, call = case.of_task(torch, tiny=True)
    with FlopCounterMode(display=False) as mode:
        call()
    theirs = mode.get_total_flops()
    # A causal mask halves attention here and not there; there, transposed convolutions are counted alike.
    assert flops == pytest.approx(theirs, rel=0.02)
