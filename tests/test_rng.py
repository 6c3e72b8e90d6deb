"""The same seed gives PyTorch's numbers: recorded ones always, live ones where PyTorch is installed."""

from __future__ import annotations

import numpy as np
import pytest
import rustnn
import rustnn.nn
import rustnn.utils.data
from rng_cases import CASES, NEARLY, digest, first_values, run
from rng_recorded import RECORDED

try:
    import torch
except ImportError:
    torch = None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(CASES))
def test_recorded_numbers(name: str) -> None:
    made = run(rustnn, CASES[name])
    wanted_digest, wanted_values = RECORDED[name]
    np.testing.assert_allclose(first_values(made), wanted_values, rtol=1e-6, atol=1e-12)
    if name not in NEARLY:
        assert digest(made) == wanted_digest


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
def test_live_numbers(name: str) -> None:
    ours, theirs = run(rustnn, CASES[name]), run(torch, CASES[name])
    assert tuple(ours.shape) == tuple(theirs.shape)
    a, b = ours.detach().numpy(), theirs.detach().numpy()
    if name in NEARLY:
        np.testing.assert_allclose(a, b, rtol=3e-7, atol=1e-15)
    else:
        np.testing.assert_array_equal(a, b)


def test_state_goes_back() -> None:
    rustnn.manual_seed(3)
    rustnn.randn(5)
    state = rustnn.get_rng_state()
    first = rustnn.randn(20), rustnn.randn(3), rustnn.randperm(10)
    rustnn.set_rng_state(state)
    second = rustnn.randn(20), rustnn.randn(3), rustnn.randperm(10)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
def test_state_goes_to_pytorch_and_back() -> None:
    rustnn.manual_seed(3)
    rustnn.randn(5)
    torch.set_rng_state(torch.from_numpy(rustnn.get_rng_state().numpy()))
    np.testing.assert_array_equal(torch.randn(17).numpy(), rustnn.randn(17).numpy())
    rustnn.set_rng_state(rustnn.from_numpy(torch.get_rng_state().numpy()))
    np.testing.assert_array_equal(torch.rand(17).numpy(), rustnn.rand(17).numpy())


def test_fork_rng_leaves_no_trace() -> None:
    rustnn.manual_seed(5)
    with rustnn.random.fork_rng():
        rustnn.randn(100)
    after = rustnn.rand(4)
    rustnn.manual_seed(5)
    np.testing.assert_array_equal(after.numpy(), rustnn.rand(4).numpy())


def test_draws_do_not_depend_on_threads() -> None:
    before, results = rustnn.get_num_threads(), []
    try:
        for threads in (1, 2):
            rustnn.set_num_threads(threads)
            rustnn.manual_seed(0)
            results.append((rustnn.randn(300_001), rustnn.nn.functional.dropout(rustnn.ones(200_000), 0.5)))
    finally:
        rustnn.set_num_threads(before)
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_seed_and_initial_seed() -> None:
    rustnn.manual_seed(99)
    assert rustnn.initial_seed() == 99
    number = rustnn.seed()
    assert rustnn.initial_seed() == number


def test_wrong_states_raise() -> None:
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        rustnn.set_rng_state(rustnn.zeros(10))
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        rustnn.set_rng_state(rustnn.zeros(10, dtype=rustnn.uint8))
