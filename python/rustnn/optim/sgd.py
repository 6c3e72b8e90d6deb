"""Stochastic gradient descent, with momentum, Nesterov's form, dampening and weight decay."""

from __future__ import annotations

from typing import Any

import rustnn
from rustnn import _C
from rustnn._C import Tensor

from . import _native
from .optimizer import (
    Closure,
    Optimizer,
    ParamsT,
    check_lr,
    check_options,
    check_range,
    run_closure,
    to_scalar,
    with_grads,
)

_step = _C._optimizer_step
# Keys of the states.
_NOTHING = (None,)
_BUFFER = ("momentum_buffer",)


class SGD(Optimizer):
    """``p -= lr * (g + momentum * buffer)``, all parameters of a group in one call into the engine.

    Example:
        >>> opt = SGD(model.parameters(), lr=0.01, momentum=0.9)
        >>> opt.zero_grad(); loss.backward(); opt.step()
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_range("momentum value", momentum)
        check_range("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        check_options("SGD", foreach, fused, differentiable)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("nesterov", False)
            group.setdefault("maximize", False)
            group.setdefault("foreach", None)
            group.setdefault("differentiable", False)
            group.setdefault("fused", None)

    def step(self, closure: Closure = None) -> Any:
        """Does one update; returns the closure's loss, if there is one."""
        loss = run_closure(closure)
        for group in self.param_groups:
            lr, momentum, differentiable = group["lr"], group["momentum"], group["differentiable"]
            options: tuple[Any, ...] = (
                lr if type(lr) is float else to_scalar(lr),
                momentum,
                group["dampening"],
                to_scalar(group["weight_decay"]),
                group["nesterov"],
                group["maximize"],
            )
            names = _NOTHING if momentum == 0 else _BUFFER
            if not differentiable and _step("_sgd_step", group["params"], self.state, names, (*options, momentum == 0)):
                continue
            params, grads = with_grads(group)
            if not params:
                continue
            if momentum == 0:
                _native.sgd_step(params, grads, [], *options, first=True, differentiable=differentiable)
                continue
            rows = [self.state[p] for p in params]
            bufs: list[Any] = [row.get("momentum_buffer") for row in rows]
            # Parameters seen for the first time begin with the gradient itself as their buffer.
            old = [i for i, buf in enumerate(bufs) if buf is not None]
            new = [i for i, buf in enumerate(bufs) if buf is None]
            with rustnn.no_grad():
                for i in new:
                    rows[i]["momentum_buffer"] = bufs[i] = rustnn.empty_like(grads[i])
            for part, first in ((old, False), (new, True)):
                if part:
                    _native.sgd_step(
                        [params[i] for i in part],
                        [grads[i] for i in part],
                        [bufs[i] for i in part],
                        *options,
                        first=first,
                        differentiable=differentiable,
                    )
        return loss
