"""RMSprop and Adagrad: gradients scaled by the root of a running or total sum of their squares."""

from __future__ import annotations

from typing import Any

import rustnn
from rustnn import _C
from rustnn._C import Tensor

from . import _native
from .adam import as_step_tensors
from .optimizer import (
    Closure,
    Optimizer,
    ParamsT,
    check_lr,
    check_options,
    check_range,
    new_step,
    run_closure,
    states_of,
    to_scalar,
    with_grads,
)

_step = _C._optimizer_step
# Keys of Adagrad's states.
_SUMS = ("sum", "step")


class RMSprop(Optimizer):
    """``p -= lr * g / (sqrt(avg of g^2) + eps)``, optionally centred and with momentum.

    Example:
        >>> opt = RMSprop(model.parameters(), lr=1e-2, momentum=0.9)
        >>> opt.step()
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_range("epsilon value", eps)
        check_range("momentum value", momentum)
        check_range("weight_decay value", weight_decay)
        check_range("alpha value", alpha)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in (
                ("momentum", 0),
                ("centered", False),
                ("foreach", None),
                ("maximize", False),
                ("differentiable", False),
                ("capturable", False),
            ):
                group.setdefault(name, value)
            as_step_tensors(self.state, group)

    def step(self, closure: Closure = None) -> Any:
        """Does one update; returns the closure's loss, if there is one."""
        loss = run_closure(closure)
        for group in self.param_groups:
            momentum, centered, differentiable = group["momentum"], group["centered"], group["differentiable"]
            options: tuple[Any, ...] = (
                to_scalar(group["lr"]),
                group["alpha"],
                group["eps"],
                group["weight_decay"],
                momentum,
                centered,
                group["maximize"],
            )
            buffer = "momentum_buffer" if momentum > 0 else None
            names = ("square_avg", "grad_avg" if centered else None, buffer, "step")
            if not differentiable and _step("_rmsprop_step", group["params"], self.state, names, options):
                continue
            params, grads = with_grads(group)
            if not params:
                continue
            rows = [self.state[p] for p in params]
            for p, row in zip(params, rows, strict=True):
                if not row:
                    row["step"] = new_step()
                    row["square_avg"] = rustnn.zeros_like(p)
                    if momentum > 0:
                        row["momentum_buffer"] = rustnn.zeros_like(p)
                    if centered:
                        row["grad_avg"] = rustnn.zeros_like(p)
            _native.rmsprop_step(params, grads, *states_of(rows, names), *options, differentiable=differentiable)
        return loss


class Adagrad(Optimizer):
    """``p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum of g^2) + eps)``.

    The sums exist from the start, filled with ``initial_accumulator_value``.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_range("lr_decay value", lr_decay)
        check_range("weight_decay value", weight_decay)
        check_range("initial_accumulator_value value", initial_accumulator_value)
        check_range("epsilon value", eps)
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        check_options("Adagrad", foreach, fused, differentiable)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group and gives its parameters their sums."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for p in group["params"]:
            self.state[p] = {
                "step": new_step(),
                "sum": rustnn.full_like(p, group["initial_accumulator_value"], requires_grad=False),
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in (
                ("foreach", None),
                ("maximize", False),
                ("differentiable", False),
                ("fused", None),
            ):
                group.setdefault(name, value)
            as_step_tensors(self.state, group)

    def share_memory(self) -> None:
        """Does nothing: tensors of different processes are not shared here."""

    def step(self, closure: Closure = None) -> Any:
        """Does one update; returns the closure's loss, if there is one."""
        loss = run_closure(closure)
        for group in self.param_groups:
            differentiable = group["differentiable"]
            options: tuple[Any, ...] = (
                to_scalar(group["lr"]),
                group["lr_decay"],
                group["weight_decay"],
                group["eps"],
                group["maximize"],
            )
            if not differentiable and _step("_adagrad_step", group["params"], self.state, _SUMS, options):
                continue
            params, grads = with_grads(group)
            if params:
                rows = [self.state[p] for p in params]
                _native.adagrad_step(
                    params, grads, *states_of(rows, _SUMS), *options, differentiable=differentiable
                )
        return loss
