"""The one place that calls the fused optimizer kernels: a step is one call over all of a group's parameters.

Each function updates parameters and state in place without recording a graph. Where the extension has no such
kernel, or the step has to be differentiable, the same update is made of tensor operations, in PyTorch's order
of roundings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rustnn
from rustnn import _C
from rustnn._C import Tensor

Tensors = list[Tensor]


def _kernel(name: str) -> Callable[..., Any] | None:
    found: Callable[..., Any] | None = getattr(_C, name, None)
    return found


def _run(kernel: Callable[..., Any], *args: Any) -> None:
    """Calls a kernel with gradients off, which is what lets it write to parameters."""
    before = _C._set_grad_enabled(False)
    try:
        kernel(*args)
    finally:
        _C._set_grad_enabled(before)


_sgd = _kernel("_sgd_step")
_adam = _kernel("_adam_step")
_rmsprop = _kernel("_rmsprop_step")
_adagrad = _kernel("_adagrad_step")


def sgd_step(
    params: Tensors,
    grads: Tensors,
    bufs: Tensors,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
    *,
    first: bool,
    differentiable: bool = False,
) -> None:
    """One SGD update. ``bufs`` is empty without momentum; with ``first`` they are written, not read."""
    if _sgd is not None and not differentiable:
        _run(_sgd, params, grads, bufs, lr, momentum, dampening, weight_decay, nesterov, maximize, first)
        return
    with rustnn.set_grad_enabled(differentiable):
        for i, p in enumerate(params):
            g = -grads[i] if maximize else grads[i]
            if weight_decay != 0:
                g = g.add(p, alpha=weight_decay)
            if momentum != 0:
                buf = bufs[i]
                if first:
                    buf.copy_(g)
                else:
                    buf.mul_(momentum).add_(g, alpha=1 - dampening)
                g = g.add(buf, alpha=momentum) if nesterov else buf
            p.add_(g, alpha=-lr)


def adam_step(
    params: Tensors,
    grads: Tensors,
    exp_avgs: Tensors,
    exp_avg_sqs: Tensors,
    max_exp_avg_sqs: Tensors,
    steps: Tensors,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    amsgrad: bool,
    maximize: bool,
    decoupled: bool,
    *,
    differentiable: bool = False,
) -> None:
    """One Adam or (``decoupled``) AdamW update, which also counts up ``steps``.

    ``max_exp_avg_sqs`` is empty without ``amsgrad``.
    """
    if _adam is not None and not differentiable:
        _run(
            _adam,
            params,
            grads,
            exp_avgs,
            exp_avg_sqs,
            max_exp_avg_sqs,
            steps,
            lr,
            beta1,
            beta2,
            eps,
            weight_decay,
            amsgrad,
            maximize,
            decoupled,
        )
        return
    with rustnn.set_grad_enabled(differentiable):
        for i, p in enumerate(params):
            g = -grads[i] if maximize else grads[i]
            avg, avg_sq = exp_avgs[i], exp_avg_sqs[i]
            steps[i].add_(1)
            if weight_decay != 0:
                if decoupled:
                    p.mul_(1 - lr * weight_decay)
                else:
                    g = g.add(p, alpha=weight_decay)
            avg.lerp_(g, 1 - beta1)
            avg_sq.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            t = steps[i].item()
            step_size = lr / (1 - beta1**t)
            root = (1 - beta2**t) ** 0.5
            if amsgrad:
                largest = max_exp_avg_sqs[i]
                largest.copy_(rustnn.maximum(largest, avg_sq))
                denom = (largest.sqrt() / root).add_(eps)
            else:
                denom = (avg_sq.sqrt() / root).add_(eps)
            p.addcdiv_(avg, denom, value=-step_size)


def rmsprop_step(
    params: Tensors,
    grads: Tensors,
    square_avgs: Tensors,
    grad_avgs: Tensors,
    bufs: Tensors,
    steps: Tensors,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
    maximize: bool,
    *,
    differentiable: bool = False,
) -> None:
    """One RMSprop update. ``grad_avgs`` is empty unless ``centered``, ``bufs`` without momentum."""
    if _rmsprop is not None and not differentiable:
        _run(
            _rmsprop,
            params,
            grads,
            square_avgs,
            grad_avgs,
            bufs,
            steps,
            lr,
            alpha,
            eps,
            weight_decay,
            momentum,
            centered,
            maximize,
        )
        return
    with rustnn.set_grad_enabled(differentiable):
        for i, p in enumerate(params):
            g = -grads[i] if maximize else grads[i]
            steps[i].add_(1)
            if weight_decay != 0:
                g = g.add(p, alpha=weight_decay)
            square = square_avgs[i]
            square.mul_(alpha).addcmul_(g, g, value=1 - alpha)
            if centered:
                mean = grad_avgs[i]
                mean.lerp_(g, 1 - alpha)
                avg = square.addcmul(mean, mean, value=-1).sqrt_()
            else:
                avg = square.sqrt()
            avg = avg.add_(eps)
            if momentum > 0:
                buf = bufs[i]
                buf.mul_(momentum).addcdiv_(g, avg)
                p.add_(buf, alpha=-lr)
            else:
                p.addcdiv_(g, avg, value=-lr)


def adagrad_step(
    params: Tensors,
    grads: Tensors,
    sums: Tensors,
    steps: Tensors,
    lr: float,
    lr_decay: float,
    weight_decay: float,
    eps: float,
    maximize: bool,
    *,
    differentiable: bool = False,
) -> None:
    """One Adagrad update."""
    if _adagrad is not None and not differentiable:
        _run(_adagrad, params, grads, sums, steps, lr, lr_decay, weight_decay, eps, maximize)
        return
    with rustnn.set_grad_enabled(differentiable):
        for i, p in enumerate(params):
            g = -grads[i] if maximize else grads[i]
            steps[i].add_(1)
            if weight_decay != 0:
                g = g.add(p, alpha=weight_decay)
            rate = lr / (1 + (steps[i].item() - 1) * lr_decay)
            total = sums[i]
            total.addcmul_(g, g, value=1)
            p.addcdiv_(g, total.sqrt().add_(eps), value=-rate)
