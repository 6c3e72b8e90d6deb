"""Pruning: names, masks and values beside PyTorch's, and what its numbers must be."""

from __future__ import annotations

from typing import Any

import beside
import numpy as np
import pytest
import rustnn
from rustnn.nn.utils import prune

CALLS = [
    "p.l1_unstructured(m, 'weight', 0.3)", "p.l1_unstructured(m, 'bias', 2)", "p.random_unstructured(m, 'weight', 5)",
    "p.random_unstructured(m, 'weight', 1.0)", "p.ln_structured(m, 'weight', 0.5, 2, 0)",
    "p.ln_structured(m, 'weight', 1, 1, -1)", "p.ln_structured(m, 'weight', 2, float('inf'), 0)",
    "p.random_structured(m, 'weight', 2, 1)", "p.identity(m, 'weight')",
    "p.custom_from_mask(m, 'bias', torch.tensor([0, 1, 1, 0]))",
    "p.remove(p.l1_unstructured(m, 'weight', 0.3), 'weight')",
    "p.l1_unstructured(p.random_unstructured(m, 'weight', 3), 'weight', 0.3)",
    "p.ln_structured(p.l1_unstructured(m, 'weight', 4), 'weight', 1, 2, 0)",
    "p.l1_unstructured(p.random_structured(m, 'weight', 1, 0), 'weight', 0.5)",
    "p.custom_from_mask(p.l1_unstructured(m, 'weight', 4), 'weight', torch.eye(4, 3))",
    "p.l1_unstructured(m, 'weight', 2, importance_scores=torch.arange(12.).reshape(4, 3))",
    "p.global_unstructured([(m, 'weight'), (m, 'bias')], p.L1Unstructured, amount=0.4) or m",
    "p.global_unstructured([(m, 'weight'), (m, 'bias')], p.RandomUnstructured, amount=3) or m",
    "p.l1_unstructured(m, 'weight', 100)", "p.l1_unstructured(m, 'weight', 1.5)", "p.l1_unstructured(m, 'weight', -1)",
    "p.l1_unstructured(m, 'weight', 'a')", "p.l1_unstructured(m, 'none', 1)", "p.ln_structured(m, 'bias', 1, 2, 0)",
    "p.ln_structured(m, 'weight', 1, 2, 5)", "p.remove(m, 'weight')",
    "p.custom_from_mask(m, 'bias', torch.ones(3))", "p.PruningContainer(3)",
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_as_pytorch(call: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    pytest.importorskip("torch.nn.utils.prune")

    def code(lib: Any) -> Any:
        lib.manual_seed(3)
        m = lib.nn.Linear(3, 4)
        m.load_state_dict({k: beside.tensor(lib, beside.draw(np.random.default_rng(1), tuple(v.shape), "float32"),
                                            "float32") for k, v in m.state_dict().items()})  # fmt: skip
        lib.manual_seed(5)
        m = eval(call, {"p": lib.nn.utils.prune, "m": m, "torch": lib})
        out = m(lib.ones(2, 3))
        out.sum().backward()
        own = [(n, v.grad) for n, v in m.named_parameters()]
        return [
            out, own, m.state_dict(), lib.nn.utils.prune.is_pruned(m), repr(m),
            [type(h).__name__ for h in m._forward_pre_hooks.values()],
        ]  # fmt: skip

    assert beside.compare(rustnn, torch, code) is None


def test_the_smallest_go() -> None:
    layer = rustnn.nn.Linear(3, 2, bias=False)
    layer.weight.data.copy_(rustnn.tensor([[1.0, -0.1, 3.0], [0.2, -5.0, 0.5]]))
    prune.l1_unstructured(layer, "weight", amount=1 / 3)
    assert layer.weight_mask.tolist() == [[1, 0, 1], [0, 1, 1]]
    assert layer(rustnn.ones(1, 3)).tolist() == [[4.0, -4.5]]
    prune.ln_structured(layer, "weight", amount=1, n=2, dim=0)
    assert layer.weight_mask.tolist() == [[0, 0, 0], [0, 1, 1]]
    assert len(layer._forward_pre_hooks) == 1
    layer.weight_orig.data.fill_(1.0)  # training goes on below the mask
    assert layer(rustnn.ones(1, 3)).tolist() == [[0.0, 2.0]]
    prune.remove(layer, "weight")
    assert sorted(layer.state_dict()) == ["weight"]
    assert layer.weight.tolist() == [[0, 0, 0], [0, 1, 1]]
