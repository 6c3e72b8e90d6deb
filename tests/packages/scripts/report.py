"""Prints what a script computed, one JSON line per value, in a form that two engines' runs can be compared by."""

from __future__ import annotations

import json
import math

import torch


def _plain(value):
    if isinstance(value, torch.Tensor):
        flat = value.detach().to(torch.float64).reshape(-1)
        step = max(1, flat.numel() // 6)
        return {
            "shape": list(value.shape),
            "dtype": str(value.dtype).removeprefix("torch."),
            "sum": _plain(flat.sum().item()),
            "size": _plain(flat.abs().sum().item()),
            "some": [_plain(x) for x in flat[::step][:7].tolist()],
        }
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (int, str, bool)) or value is None:
        return value
    return str(value)


def show(name, value):
    """One line: a name, and a number, a text or the shape, dtype and some numbers of a tensor."""
    print(json.dumps({"name": name, "value": _plain(value)}), flush=True)


def show_gradients(name, module):
    """The gradients of a module's parameters, as one line: a norm for each of up to thirty of them, and the total."""
    norms = [(n, p.grad) for n, p in module.named_parameters()]
    total = math.sqrt(sum(float((g.double() ** 2).sum()) for _, g in norms if g is not None))
    step = max(1, len(norms) // 30)
    picked = {n: None if g is None else float(g.double().norm()) for n, g in norms[::step][:30]}
    show(name, {"total": total, "picked": picked})


def train(name, module, compute_loss, optimizer=None, steps=2):
    """A few steps of training: the losses, and the gradients of the first."""
    optimizer = optimizer or torch.optim.SGD(module.parameters(), lr=0.01)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = compute_loss()
        loss.backward()
        if step == 0:
            show_gradients(f"{name}.gradients", module)
        optimizer.step()
        losses.append(loss.item())
    show(f"{name}.losses", losses)
