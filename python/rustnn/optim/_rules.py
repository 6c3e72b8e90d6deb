"""Optimizers whose update is a rule per parameter, made of tensor operations.

NAdam, RAdam, Adamax, Adadelta, ASGD and Rprop. Each class states its defaults, the state a parameter begins
with, and the update; the loop over groups is shared.
"""

from __future__ import annotations

from typing import Any

import rustnn
from rustnn._C import Tensor

from .adam import as_step_tensors
from .optimizer import Closure, Optimizer, ParamsT, check_lr, check_range, new_step, run_closure, to_scalar

Row = dict[str, Any]
Group = dict[str, Any]


class RuleOptimizer(Optimizer):
    """The shared loop: ``_begin`` fills a parameter's state, ``_update`` applies the rule to it."""

    def _begin(self, p: Tensor, row: Row, group: Group) -> None:
        raise NotImplementedError

    def _update(self, p: Tensor, g: Tensor, row: Row, group: Group, t: float) -> None:
        raise NotImplementedError

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in (
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
            with rustnn.set_grad_enabled(group["differentiable"]):
                for p in group["params"]:
                    g = p.grad
                    if g is None:
                        continue
                    row = self.state[p]
                    if not row:
                        row["step"] = new_step()
                        self._begin(p, row, group)
                    row["step"].add_(1)
                    if group["maximize"]:
                        g = -g
                    decay = group.get("weight_decay", 0)
                    if decay != 0:
                        if group.get("decoupled_weight_decay"):
                            p.mul_(1 - to_scalar(group["lr"]) * decay)
                        else:
                            g = g.add(p, alpha=decay)
                    self._update(p, g, row, group, row["step"].item())
        return loss


def _check_betas(betas: tuple[float, float]) -> None:
    check_range("beta parameter at index 0", betas[0], below=1.0)
    check_range("beta parameter at index 1", betas[1], below=1.0)


class NAdam(RuleOptimizer):
    """Adam with Nesterov momentum, whose momentum follows a schedule."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_range("epsilon value", eps)
        _check_betas(betas)
        check_range("weight_decay value", weight_decay)
        check_range("momentum_decay value", momentum_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    def _begin(self, p: Tensor, row: Row, group: Group) -> None:
        row["mu_product"] = rustnn.ones((), dtype=rustnn.float32)
        row["exp_avg"] = rustnn.zeros_like(p)
        row["exp_avg_sq"] = rustnn.zeros_like(p)

    def _update(self, p: Tensor, g: Tensor, row: Row, group: Group, t: float) -> None:
        beta1, beta2 = group["betas"]
        lr, decay = to_scalar(group["lr"]), group["momentum_decay"]
        mu = beta1 * (1.0 - 0.5 * (0.96 ** (t * decay)))
        mu_next = beta1 * (1.0 - 0.5 * (0.96 ** ((t + 1) * decay)))
        product = row["mu_product"].mul_(mu).item()
        avg, avg_sq = row["exp_avg"], row["exp_avg_sq"]
        avg.lerp_(g, 1 - beta1)
        avg_sq.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        denom = avg_sq.div(1 - beta2**t).sqrt().add(group["eps"])
        p.addcdiv_(g, denom, value=(-lr * (1.0 - mu) / (1.0 - product)))
        p.addcdiv_(avg, denom, value=(-lr * mu_next) / (1.0 - product * mu_next))


class RAdam(RuleOptimizer):
    """Adam that leaves the adaptive step out while its variance is still unknown."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_range("epsilon value", eps)
        _check_betas(betas)
        check_range("weight_decay value", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )

    def _begin(self, p: Tensor, row: Row, group: Group) -> None:
        row["exp_avg"] = rustnn.zeros_like(p)
        row["exp_avg_sq"] = rustnn.zeros_like(p)

    def _update(self, p: Tensor, g: Tensor, row: Row, group: Group, t: float) -> None:
        beta1, beta2 = group["betas"]
        lr = to_scalar(group["lr"])
        avg, avg_sq = row["exp_avg"], row["exp_avg_sq"]
        avg.lerp_(g, 1 - beta1)
        avg_sq.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        correction2 = 1 - beta2**t
        mean = avg / (1 - beta1**t)
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * (beta2**t) / correction2
        if length <= 5.0:
            p.add_(mean * lr, alpha=-1.0)
            return
        rectify = ((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)) ** 0.5
        adaptive = (correction2**0.5) / avg_sq.sqrt().add(group["eps"])
        p.add_(mean * lr * adaptive * rectify, alpha=-1.0)


class Adamax(RuleOptimizer):
    """Adam with the infinity norm of past gradients in place of their mean square."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_range("epsilon value", eps)
        _check_betas(betas)
        check_range("weight_decay value", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _begin(self, p: Tensor, row: Row, group: Group) -> None:
        row["exp_avg"] = rustnn.zeros_like(p)
        row["exp_inf"] = rustnn.zeros_like(p)

    def _update(self, p: Tensor, g: Tensor, row: Row, group: Group, t: float) -> None:
        beta1, beta2 = group["betas"]
        row["exp_avg"].lerp_(g, 1 - beta1)
        largest = row["exp_inf"]
        largest.copy_(rustnn.maximum(largest.mul_(beta2), g.abs().add_(group["eps"])))
        p.addcdiv_(row["exp_avg"], largest, value=-to_scalar(group["lr"]) / (1 - beta1**t))


class Adadelta(RuleOptimizer):
    """Steps in the ratio of the running size of past steps to that of past gradients."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_range("epsilon value", eps)
        check_range("weight_decay value", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    def _begin(self, p: Tensor, row: Row, group: Group) -> None:
        row["square_avg"] = rustnn.zeros_like(p)
        row["acc_delta"] = rustnn.zeros_like(p)

    def _update(self, p: Tensor, g: Tensor, row: Row, group: Group, t: float) -> None:
        rho, eps = group["rho"], group["eps"]
        square, acc = row["square_avg"], row["acc_delta"]
        square.mul_(rho).addcmul_(g, g, value=1 - rho)
        delta = acc.add(eps).sqrt_().div_(square.add(eps).sqrt_()).mul_(g)
        acc.mul_(rho).addcmul_(delta, delta, value=1 - rho)
        p.add_(delta, alpha=-to_scalar(group["lr"]))


class ASGD(RuleOptimizer):
    """Averaged stochastic gradient descent; ``state[p]["ax"]`` holds the average."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_range("weight_decay value", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _begin(self, p: Tensor, row: Row, group: Group) -> None:
        row["eta"] = rustnn.tensor(float(to_scalar(group["lr"])), dtype=rustnn.float32)
        row["mu"] = rustnn.ones((), dtype=rustnn.float32)
        row["ax"] = rustnn.zeros_like(p)

    def _update(self, p: Tensor, g: Tensor, row: Row, group: Group, t: float) -> None:
        eta, mu, ax = row["eta"].item(), row["mu"].item(), row["ax"]
        lr, lambd = to_scalar(group["lr"]), group["lambd"]
        p.mul_(1 - lambd * eta)
        p.add_(g, alpha=-eta)
        if mu == 1:
            ax.copy_(p)
        else:
            ax.add_(p.sub(ax).mul_(mu))
        row["eta"].fill_(lr / ((1 + lambd * lr * t) ** group["alpha"]))
        row["mu"].fill_(1 / max(1, t - group["t0"]))


class Rprop(RuleOptimizer):
    """Resilient propagation: steps grow while the gradient keeps its sign and shrink where it turns."""

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": etas,
                "step_sizes": step_sizes,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _begin(self, p: Tensor, row: Row, group: Group) -> None:
        row["prev"] = rustnn.zeros_like(p)
        row["step_size"] = rustnn.full_like(p, to_scalar(group["lr"]), requires_grad=False)

    def _update(self, p: Tensor, g: Tensor, row: Row, group: Group, t: float) -> None:
        minus, plus = group["etas"]
        low, high = group["step_sizes"]
        size = row["step_size"]
        turn = g.mul(row["prev"])
        one = rustnn.ones_like(size)
        factor = rustnn.where(turn > 0, one * plus, rustnn.where(turn < 0, one * minus, one))
        size.mul_(factor).clamp_(low, high)
        # Where the sign turned, this step is left out and the next one starts without a past.
        g = rustnn.where(turn < 0, rustnn.zeros_like(g), g)
        p.addcmul_(g.sign(), size, value=-1)
        row["prev"].copy_(g)
