"""Adam and AdamW."""

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
    new_step,
    run_closure,
    states_of,
    to_scalar,
    with_grads,
)

_step = _C._optimizer_step
# Keys of the states, in the order that the step takes them.
_MAXIMA = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step")
_MEANS = ("exp_avg", "exp_avg_sq", None, "step")


class Adam(Optimizer):
    """Adam, with AMSGrad and coupled or decoupled weight decay; one call into the engine per group.

    Example:
        >>> opt = Adam(model.parameters(), lr=1e-3)
        >>> opt.zero_grad(); loss.backward(); opt.step()
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_lr(lr)
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        check_range("epsilon value", eps)
        check_range("beta parameter at index 0", betas[0], below=1.0)
        check_range("beta parameter at index 1", betas[1], below=1.0)
        check_range("weight_decay value", weight_decay)
        if isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
            raise ValueError("betas must be either both floats or both Tensors")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)
        check_options("Adam", foreach, fused, differentiable)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in (
                ("amsgrad", False),
                ("maximize", False),
                ("foreach", None),
                ("capturable", False),
                ("differentiable", False),
                ("fused", None),
                ("decoupled_weight_decay", False),
            ):
                group.setdefault(name, value)
            as_step_tensors(self.state, group)

    def step(self, closure: Closure = None) -> Any:
        """Does one update; returns the closure's loss, if there is one."""
        loss = run_closure(closure)
        for group in self.param_groups:
            lr = group["lr"]
            beta1, beta2 = group["betas"]
            if type(lr) is not float:
                lr = to_scalar(lr)
            if type(beta1) is not float:
                beta1, beta2 = to_scalar(beta1), to_scalar(beta2)
            amsgrad, differentiable = group["amsgrad"], group["differentiable"]
            options: tuple[Any, ...] = (
                lr,
                beta1,
                beta2,
                group["eps"],
                group["weight_decay"],
                amsgrad,
                group["maximize"],
                group["decoupled_weight_decay"],
            )
            names = _MAXIMA if amsgrad else _MEANS
            if not differentiable and _step("_adam_step", group["params"], self.state, names, options):
                continue
            params, grads = with_grads(group)
            if not params:
                continue
            rows = [self.state[p] for p in params]
            _begin(params, rows, amsgrad)
            _native.adam_step(params, grads, *states_of(rows, names), *options, differentiable=differentiable)
        return loss


class AdamW(Adam):
    """Adam with decoupled weight decay: the parameters shrink by ``lr * weight_decay`` before the update."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True


def _begin(params: list[Tensor], rows: list[dict[str, Any]], amsgrad: bool) -> None:
    """Gives the parameters that have none their state."""
    with rustnn.no_grad():
        for p, row in zip(params, rows, strict=True):
            if "step" not in row:
                row["step"] = new_step()
                row["exp_avg"] = rustnn.zeros_like(p)
                row["exp_avg_sq"] = rustnn.zeros_like(p)
            if amsgrad and "max_exp_avg_sq" not in row:
                row["max_exp_avg_sq"] = rustnn.zeros_like(p)


def as_step_tensors(state: Any, group: dict[str, Any]) -> None:
    """Turns step counts that old state dicts store as numbers into the tensors used now."""
    for p in group["params"]:
        row = state.get(p)
        if row and "step" in row and not isinstance(row["step"], Tensor):
            row["step"] = rustnn.tensor(float(row["step"]), dtype=rustnn.float32)
