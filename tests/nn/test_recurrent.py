"""Recurrent layers without a graph: the graph's results bit for bit, at any number of threads; and loops of NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import rustnn as torch
from rustnn import nn
from rustnn.nn.utils.rnn import pack_padded_sequence

LAYERS: dict[str, Callable[..., Any]] = {
    "LSTM": nn.LSTM,
    "GRU": nn.GRU,
    "tanh": nn.RNN,
    "relu": lambda *args, **how: nn.RNN(*args, nonlinearity="relu", **how),
}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def parts(result: Any) -> list[np.ndarray[Any, Any]]:
    """All tensors of a layer's result."""
    output, state = result
    states = state if isinstance(state, tuple) else (state,)
    return [t.detach().numpy() for t in (getattr(output, "data", output), *states)]


def same_without_a_graph(layer: Any, *inputs: Any) -> None:
    want = parts(layer(*inputs))
    for count in (1, 2):
        torch.set_num_threads(count)
        for context in (torch.no_grad, torch.inference_mode, torch.enable_grad):
            with context():
                for got, expected in zip(parts(layer(*inputs)), want, strict=True):
                    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("hidden", [1, 7, 16, 40, 150])
@pytest.mark.parametrize("batch", [1, 3, 20])
def test_no_graph_same_bits(kind: str, hidden: int, batch: int) -> None:
    for how in ({}, {"bidirectional": True}, {"num_layers": 2, "bias": False}, {"batch_first": True}):
        layer = LAYERS[kind](5, hidden, **how)
        x = torch.randn(batch, 9, 5) if how.get("batch_first") else torch.randn(9, batch, 5)
        same_without_a_graph(layer, x)


@pytest.mark.parametrize("kind", LAYERS)
def test_no_graph_same_bits_packed(kind: str) -> None:
    layer = LAYERS[kind](5, 40, 2, bidirectional=True)
    for lengths in ([6, 6, 5, 2, 1], [4], [9] * 14 + [1] * 6):
        same_without_a_graph(layer, pack_padded_sequence(torch.randn(max(lengths), len(lengths), 5), lengths))


@pytest.mark.parametrize("kind", LAYERS)
def test_empty_batch(kind: str) -> None:
    layer = LAYERS[kind](5, 40)
    with torch.no_grad():
        output, *_ = parts(layer(torch.randn(3, 0, 5)))
    assert output.shape == (3, 0, 40)


def test_projections_same_bits() -> None:
    same_without_a_graph(nn.LSTM(5, 20, 2, proj_size=7, bidirectional=True), torch.randn(6, 3, 5))


def sigmoid(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("steps", [1, 12])
@pytest.mark.parametrize("hidden", [33, 200])
def test_lstm_and_gru_without_a_graph_against_plain_loops(batch: int, steps: int, hidden: int) -> None:
    """Of float64 NumPy: sizes whose steps are worked on by rows and by units, packed weights and plain ones."""
    x = torch.randn(steps, batch, 9)
    for kind in ("LSTM", "GRU"):
        layer = LAYERS[kind](9, hidden)
        w_ih, w_hh, b_ih, b_hh = (p.detach().numpy().astype(np.float64) for p in layer.parameters())
        h = c = np.zeros((batch, hidden))
        want = []
        for row in x.numpy().astype(np.float64):
            gx, gh = row @ w_ih.T + b_ih, h @ w_hh.T + b_hh
            if kind == "LSTM":
                i, f, g, o = np.split(gx + gh, 4, 1)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            else:
                (xr, xz, xn), (hr, hz, hn) = np.split(gx, 3, 1), np.split(gh, 3, 1)
                z, n = sigmoid(xz + hz), np.tanh(xn + sigmoid(xr + hr) * hn)
                h = (1 - z) * n + z * h
            want.append(h)
        with torch.no_grad():
            output, last, *_ = parts(layer(x))
        np.testing.assert_allclose(output, np.stack(want), rtol=2e-5, atol=2e-6)
        np.testing.assert_allclose(last[0], h, rtol=2e-5, atol=2e-6)
