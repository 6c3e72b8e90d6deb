"""Averages of a model's weights (SWA, EMA) and the schedule that goes with them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal

import rustnn
from rustnn import nn
from rustnn._C import Tensor

from .lr_scheduler import LRScheduler, per_group
from .optimizer import Optimizer

if TYPE_CHECKING:
    AvgFn = Callable[[Tensor, Tensor, Any], Tensor]
    MultiAvgFn = Callable[[list[Tensor], list[Tensor], Any], None]

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def get_ema_avg_fn(decay: float = 0.999) -> AvgFn:
    """``decay * average + (1 - decay) * current`` for one parameter."""
    _check_decay(decay)

    def ema_update(ema_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        with rustnn.no_grad():
            result: Tensor = decay * ema_param + (1 - decay) * current_param
            return result

    return ema_update


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAvgFn:
    """The same, in place over lists of parameters."""
    _check_decay(decay)

    def ema_update(ema_param_list: list[Tensor], current_param_list: list[Tensor], _: Any) -> None:
        with rustnn.no_grad():
            for average, current in zip(ema_param_list, current_param_list, strict=True):
                if average.is_floating_point():
                    average.lerp_(current.to(average.dtype), 1 - decay)
                else:
                    average.copy_(average * decay + current * (1 - decay))

    return ema_update


def get_swa_avg_fn() -> AvgFn:
    """The equal-weighted running mean for one parameter."""

    def swa_update(averaged_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        with rustnn.no_grad():
            result: Tensor = averaged_param + (current_param - averaged_param) / (num_averaged + 1)
            return result

    return swa_update


def get_swa_multi_avg_fn() -> MultiAvgFn:
    """The same, in place over lists of parameters."""

    def swa_update(averaged_param_list: list[Tensor], current_param_list: list[Tensor], num_averaged: Any) -> None:
        weight = 1.0 / (float(num_averaged) + 1)
        with rustnn.no_grad():
            for average, current in zip(averaged_param_list, current_param_list, strict=True):
                if average.is_floating_point():
                    average.lerp_(current.to(average.dtype), weight)
                else:
                    average.copy_(average + (current - average) * weight)

    return swa_update


class AveragedModel(nn.Module):
    """A copy of ``model`` whose parameters are running averages of its parameters.

    Args:
        avg_fn, multi_avg_fn: how to average (default: the equal-weighted mean); give one at most.
        use_buffers: average the buffers too; else they are copied at each update.

    Example:
        >>> ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
        >>> ema.update_parameters(model)
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: nn.Module,
        device: Any = None,
        avg_fn: AvgFn | None = None,
        multi_avg_fn: MultiAvgFn | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", rustnn.tensor(0, dtype=rustnn.long))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the averaged model."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: nn.Module) -> None:
        """Takes ``model``'s present parameters into the average."""

        def tensors(m: nn.Module) -> list[Any]:
            return list(itertools.chain(m.parameters(), m.buffers()) if self.use_buffers else m.parameters())

        with rustnn.no_grad():
            count = int(self.n_averaged.item())
            pairs = [
                (ours.detach(), theirs.detach())
                for ours, theirs in zip(tensors(self.module), tensors(model), strict=True)
            ]
            if count == 0:
                for ours, theirs in pairs:
                    ours.copy_(theirs)
            elif self.avg_fn is not None:
                for ours, theirs in pairs:
                    ours.copy_(self.avg_fn(ours, theirs, self.n_averaged))
            else:
                update = self.multi_avg_fn or get_swa_multi_avg_fn()
                update([a for a, _ in pairs], [b for _, b in pairs], self.n_averaged)
            if not self.use_buffers:
                for mine, its in zip(self.module.buffers(), model.buffers(), strict=True):
                    mine.detach().copy_(its.detach())
            self.n_averaged += 1


def update_bn(loader: Iterable[Any], model: nn.Module, device: Any = None) -> None:
    """Computes the batch-norm statistics of ``model`` anew in one pass over ``loader``."""
    momenta: dict[Any, Any] = {}
    for module in model.modules():
        if hasattr(module, "running_mean") and hasattr(module, "reset_running_stats"):
            module.reset_running_stats()
            norm: Any = module
            momenta[module] = norm.momentum
    if not momenta:
        return
    was_training = model.training
    model.train()
    for one in momenta:
        one.momentum = None
    with rustnn.no_grad():
        for batch in loader:
            x = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(x if device is None else x.to(device))
    for one, momentum in momenta.items():
        one.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Anneals each group's rate to ``swa_lr`` in ``anneal_epochs`` epochs and keeps it there."""

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        for group, rate in zip(optimizer.param_groups, per_group("swa_lr", optimizer, swa_lr), strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_func_type = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _anneal(self, part: float) -> float:
        return (1 - math.cos(math.pi * part)) / 2 if self._anneal_func_type == "cos" else part

    def get_lr(self) -> list[Any]:
        self._warn_outside_step()
        length = max(1, self.anneal_epochs)
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before = self._anneal(max(0, min(1, (step - 1) / length)))
        now = self._anneal(max(0, min(1, step / length)))
        rates = []
        for group in self.optimizer.param_groups:
            # Undo the last blend to find where the schedule came from, then blend anew.
            origin = group["swa_lr"] if before == 1 else (group["lr"] - before * group["swa_lr"]) / (1 - before)
            rates.append(group["swa_lr"] * now + origin * (1 - now))
        return rates
