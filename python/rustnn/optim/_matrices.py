"""Optimizers that treat a parameter as a matrix: Adafactor (factored second moments), Muon (orthogonal updates)."""

from __future__ import annotations

import math
from typing import Any

import rustnn
from rustnn._C import Tensor

from .adam import as_step_tensors
from .optimizer import Closure, Optimizer, ParamsT, run_closure, to_scalar

__all__ = ["Adafactor", "Muon"]

Row = dict[str, Any]
Group = dict[str, Any]


def _at_least(what: str, value: Any, least: float = 0) -> None:
    if not value >= least:
        raise ValueError(f"{what} should be >= {least} but is: {value}")


class Adafactor(Optimizer):
    """Adam's scaling with the squares' averages kept per row and per column, and steps relative to the parameter.

    Args:
        lr: the upper bound of the relative step, which otherwise is ``1 / sqrt(t)``.
        beta2_decay: the average over squares forgets with ``1 - t ** beta2_decay``.
        eps: the least second moment (``None``: the dtype's epsilon) and the least size of a parameter.
        d: an update whose root mean square is larger is scaled down to it.
        weight_decay: subtracted from the parameter, as in AdamW.
        foreach: accepted; the result is the same.
        maximize: go up.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        _at_least("Learning rate", lr)
        if not beta2_decay <= 0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None:
            _at_least("epsilon1", eps[0])
        _at_least("epsilon2", eps[1])
        _at_least("Clipping threshold d", d, 1)
        _at_least("weight_decay", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": eps,
                "d": d,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("foreach", None)
            as_step_tensors(self.state, group)

    def step(self, closure: Closure = None) -> Any:
        """Does one update; returns the closure's loss, if there is one."""
        loss = run_closure(closure)
        with rustnn.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    g = p.grad
                    if g is None:
                        continue
                    row = self.state[p]
                    if not row:
                        row["step"] = rustnn.zeros((), dtype=rustnn.float32)
                        self._begin(p, row, group)
                    row["step"].add_(1)
                    self._update(p, -g if group["maximize"] else g, row, group, row["step"].item())
        return loss

    def _begin(self, p: Tensor, row: Row, group: Group) -> None:
        shape = list(p.shape)
        if len(shape) > 1:
            row["row_var"] = p.new_zeros([*shape[:-1], 1])
            row["col_var"] = p.new_zeros([*shape[:-2], 1, shape[-1]])
        else:
            row["variance"] = rustnn.zeros_like(p)

    def _update(self, p: Tensor, g: Tensor, row: Row, group: Group, t: float) -> None:
        lr, (eps1, eps2) = to_scalar(group["lr"]), group["eps"]
        if eps1 is None:
            eps1 = rustnn.finfo(p.dtype).eps
        forget = t ** group["beta2_decay"]
        size = p.norm(2).item() / math.sqrt(p.numel())
        rate = max(eps2, size) * min(lr, 1 / math.sqrt(t))
        if group["weight_decay"] != 0:
            p.mul_(1 - lr * group["weight_decay"])
        if g.dim() > 1:
            rows, columns = row["row_var"], row["col_var"]
            rows.lerp_(g.norm(dim=-1, keepdim=True).square_().div_(g.shape[-1]), forget)
            columns.lerp_(g.norm(dim=-2, keepdim=True).square_().div_(g.shape[-2]), forget)
            estimate = (rows @ columns).div_(rows.mean(dim=-2, keepdim=True).clamp_(min=eps1))
        else:
            estimate = row["variance"].lerp_(g * g, forget).clone()
        update = estimate.clamp_(min=eps1 * eps1).rsqrt_().mul_(g)
        too_large = update.norm(2).item() / (math.sqrt(update.numel()) * group["d"])
        p.add_(update, alpha=-rate / max(1.0, too_large))


class Muon(Optimizer):
    """Momentum whose update is replaced by an orthogonal matrix near it, for two-dimensional parameters.

    Args:
        ns_coefficients: the polynomial of the Newton-Schulz iteration, which runs in bfloat16.
        eps: the least norm that an update is divided by.
        ns_steps: the number of iterations, below 100.
        adjust_lr_fn: how the step depends on the shape: ``"original"`` (the default) or ``"match_rms_adamw"``.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        _at_least("Learning rate", lr)
        _at_least("momentum", momentum)
        _at_least("weight decay", weight_decay)
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
            },
        )
        for group in self.param_groups:
            for p in group["params"]:
                if p.dim() != 2:
                    raise ValueError(
                        f"Muon only supports 2D parameters whereas we found a parameter with size: {p.shape}"
                    )

    def step(self, closure: Closure = None) -> Any:
        """Does one update; returns the closure's loss, if there is one."""
        loss = run_closure(closure)
        with rustnn.no_grad():
            for group in self.param_groups:
                lr = to_scalar(group["lr"])
                for p in group["params"]:
                    g = p.grad
                    if g is None:
                        continue
                    row = self.state[p]
                    if "momentum_buffer" not in row:
                        row["momentum_buffer"] = rustnn.zeros_like(g)
                    average = row["momentum_buffer"].lerp_(g, 1 - group["momentum"])
                    update = g.lerp(average, group["momentum"]) if group["nesterov"] else average
                    update = _orthogonal(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
                    height, width = p.shape
                    if group["adjust_lr_fn"] == "match_rms_adamw":
                        ratio = 0.2 * math.sqrt(max(height, width))
                    else:
                        ratio = math.sqrt(max(1, height / width))
                    p.mul_(1 - lr * group["weight_decay"])
                    p.add_(update, alpha=-lr * ratio)
        return loss


def _orthogonal(g: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """A matrix with the singular vectors of `g` and singular values near one."""
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    x = g.bfloat16()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = rustnn.addmm(x, rustnn.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
