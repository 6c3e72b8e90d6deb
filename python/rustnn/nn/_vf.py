"""The engine's recurrent kernels under the names of PyTorch's ``torch._VF``.

Whole sequences: ``lstm(input, (h, c), weights, has_biases, num_layers, dropout,
training, bidirectional, batch_first)`` gives ``(output, h_n, c_n)``; packed:
``lstm(data, batch_sizes, (h, c), weights, has_biases, num_layers, dropout,
training, bidirectional)``. ``gru``, ``rnn_tanh`` and ``rnn_relu`` take one state
and give ``(output, h_n)``. Cells: ``lstm_cell(input, (h, c), w_ih, w_hh, b_ih,
b_hh)`` and so on. Where the engine has no kernel of a name, the sequence is
composed of ordinary operations here.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ._base import _C, Tensor


def _find(name: str) -> Any:
    for candidate in (f"_VF_{name}", f"_rnn_{name}", f"_{name}", name):
        found = getattr(_C, candidate, None)
        if found is not None:
            return found
    return None


def _linear(x: Tensor, weight: Tensor, bias: Any) -> Tensor:
    return _C._nn.linear(x, weight, bias)


def _cell_lstm(x: Tensor, state: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None) -> Any:
    h, c = state
    gates = _linear(x, w_ih, b_ih) + _linear(h, w_hh, b_hh)
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _cell_gru(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None) -> Tensor:
    xr, xz, xn = _linear(x, w_ih, b_ih).chunk(3, -1)
    hr, hz, hn = _linear(h, w_hh, b_hh).chunk(3, -1)
    reset, update = (xr + hr).sigmoid(), (xz + hz).sigmoid()
    new = (xn + reset * hn).tanh()
    return new + update * (h - new)


def _cell_tanh(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None) -> Tensor:
    return (_linear(x, w_ih, b_ih) + _linear(h, w_hh, b_hh)).tanh()


def _cell_relu(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None) -> Tensor:
    return (_linear(x, w_ih, b_ih) + _linear(h, w_hh, b_hh)).relu()


lstm_cell: Callable[..., Any] = _find("lstm_cell") or _cell_lstm
gru_cell: Callable[..., Any] = _find("gru_cell") or _cell_gru
rnn_tanh_cell: Callable[..., Any] = _find("rnn_tanh_cell") or _cell_tanh
rnn_relu_cell: Callable[..., Any] = _find("rnn_relu_cell") or _cell_relu


def _run_layer(
    steps: list[Tensor], state: list[Tensor], cell: Callable[..., Any], weights: Sequence[Any], backward: bool,
    proj: Any,
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    """One layer, one direction, over steps whose batches may shrink (packed sequences)."""
    outputs: list[Any] = [None] * len(steps)
    now = [s[: steps[-1].shape[0]] if backward else s for s in state]
    done: list[list[Tensor]] = []
    for t in range(len(steps) - 1, -1, -1) if backward else range(len(steps)):
        n = steps[t].shape[0]
        have = now[0].shape[0]
        if n > have:
            now = [_C.cat([s, full[have:n]], 0) for s, full in zip(now, state, strict=True)]
        elif n < have:
            done.insert(0, [s[n:] for s in now])
            now = [s[:n] for s in now]
        if len(now) == 2:
            h, c = cell(steps[t], (now[0], now[1]), *weights)
            now = [h if proj is None else _linear(h, proj, None), c]
        else:
            now = [cell(steps[t], now[0], *weights)]
        outputs[t] = now[0]
    last = [_C.cat([s, *(d[i] for d in done)], 0) if done else s for i, s in enumerate(now)]
    return outputs, last


def _compose(
    cell: Callable[..., Any], steps: list[Tensor], states: list[Tensor], weights: Sequence[Any], has_biases: bool,
    num_layers: int, dropout: float, training: bool, bidirectional: bool,
) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
    """All layers; gives the outputs of the last one per step, and the final states stacked."""
    directions = 2 if bidirectional else 1
    per = len(weights) // (num_layers * directions)
    has_proj = per == (5 if has_biases else 3)
    finals: list[list[Tensor]] = [[] for _ in states]
    for layer in range(num_layers):
        results = []
        for d in range(directions):
            k = layer * directions + d
            own = list(weights[k * per : (k + 1) * per])
            proj = own.pop() if has_proj else None
            outputs, last = _run_layer(steps, [s[k] for s in states], cell, own, d == 1, proj)
            results.append(outputs)
            for kept, state in zip(finals, last, strict=True):
                kept.append(state)
        steps = results[0] if directions == 1 else [_C.cat(pair, -1) for pair in zip(*results, strict=True)]
        if dropout and training and layer < num_layers - 1:
            sizes = [s.shape[0] for s in steps]
            dropped = _C._nn.dropout(_C.cat(steps, 0), dropout, True)
            steps = list(dropped.split(sizes, 0))
    return steps, [_C.stack(f, 0) for f in finals]


def _sequence(name: str, cell: Callable[..., Any]) -> Callable[..., Any]:
    """The whole-sequence function ``name``: the engine's, else composed of ``cell``."""
    found = _find(name)
    if found is not None:
        return found

    def run(input: Tensor, second: Any, third: Any, *rest: Any) -> Any:
        # A packed call has one tensor more (batch_sizes) before the states.
        packed = isinstance(rest[0], (tuple, list))
        if packed:
            hx, weights, has_biases, num_layers, dropout, training, bidirectional = third, *rest
            sizes = second.tolist()
            steps = list(input.split(sizes, 0))
        else:
            hx, weights = second, third
            has_biases, num_layers, dropout, training, bidirectional, batch_first = rest
            steps = list(input.unbind(1 if batch_first else 0))
        states = list(hx) if isinstance(hx, (tuple, list)) else [hx]
        outputs, finals = _compose(
            cell, steps, states, weights, has_biases, num_layers, dropout, training, bidirectional
        )
        if packed:
            return (_C.cat(outputs, 0), *finals)
        return (_C.stack(outputs, 1 if batch_first else 0), *finals)

    return run


lstm = _sequence("lstm", lstm_cell)
gru = _sequence("gru", gru_cell)
rnn_tanh = _sequence("rnn_tanh", rnn_tanh_cell)
rnn_relu = _sequence("rnn_relu", rnn_relu_cell)
