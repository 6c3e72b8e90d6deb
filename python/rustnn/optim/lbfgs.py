"""L-BFGS, with an optional line search for the strong Wolfe conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import rustnn
from rustnn._C import Tensor

from .optimizer import Optimizer, ParamsT, check_lr, to_scalar

# Sufficient decrease and curvature of the Wolfe conditions (Nocedal and Wright, 3.1).
_DECREASE, _CURVATURE = 1e-4, 0.9


class _Point(NamedTuple):
    """A point on the search line: step, loss, flat gradient, slope along the direction."""

    t: Any
    loss: float
    grad: Tensor
    slope: Any


def _cubic_minimum(a: _Point, b: _Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """Where the cubic through two points with their slopes is least, within ``bounds``."""
    low, high = bounds if bounds is not None else (min(a.t, b.t), max(a.t, b.t))
    if a.t > b.t:
        a, b = b, a
    width = b.t - a.t
    theta = a.slope + b.slope - 3 * (b.loss - a.loss) / width
    square = theta * theta - a.slope * b.slope
    if square < 0:
        return (low + high) / 2.0
    root = square**0.5
    at = b.t - width * ((b.slope + root - theta) / (b.slope - a.slope + 2 * root))
    return min(max(at, low), high)


def _strong_wolfe(
    evaluate: Callable[[Any], _Point],
    start: _Point,
    t: Any,
    largest: Any,
    max_evals: int = 25,
    tolerance: float = 1e-9,
) -> tuple[_Point, int]:
    """The step that meets the strong Wolfe conditions, or the best one seen, and how many it tried."""
    loss, slope = start.loss, start.slope

    def too_high(p: _Point) -> bool:
        return bool(p.loss > loss + _DECREASE * p.t * slope)

    # Go outwards until an interval that holds a good step is found.
    previous, point = start, evaluate(t)
    evals, tries = 1, 0
    bracket: list[_Point] = []
    done = False
    while tries < max_evals:
        if too_high(point) or (tries > 1 and point.loss >= previous.loss):
            bracket = [previous, point]
        elif abs(point.slope) <= -_CURVATURE * slope:
            bracket, done = [point], True
        elif point.slope >= 0:
            bracket = [previous, point]
        if bracket:
            break
        bounds = (point.t + 0.01 * (point.t - previous.t), point.t * 10)
        t = _cubic_minimum(previous, point, bounds)
        previous, point = point, evaluate(t)
        evals += 1
        tries += 1
    if not bracket:
        bracket = [start, point]

    # Then shrink the interval.
    low = 0 if bracket[0].loss <= bracket[-1].loss else len(bracket) - 1
    stalled = False
    while not done and tries < max_evals:
        near, far = sorted((bracket[0].t, bracket[1].t))
        if (far - near) * largest < tolerance:
            break
        t = _cubic_minimum(bracket[0], bracket[1])
        margin = 0.1 * (far - near)
        if min(far - t, t - near) < margin:
            # Too close to an end twice in a row, or outside: stay a tenth of the interval away from it.
            if stalled or t >= far or t <= near:
                t = far - margin if abs(t - far) < abs(t - near) else near + margin
                stalled = False
            else:
                stalled = True
        else:
            stalled = False
        point = evaluate(t)
        evals += 1
        tries += 1
        high = 1 - low
        if too_high(point) or point.loss >= bracket[low].loss:
            bracket[high] = point
            low = 0 if bracket[0].loss <= bracket[1].loss else 1
        else:
            if abs(point.slope) <= -_CURVATURE * slope:
                done = True
            elif point.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = point
    return bracket[low], evals


class LBFGS(Optimizer):
    """Limited-memory BFGS over one parameter group; ``step`` needs a closure, which it calls several times.

    Args:
        max_iter: iterations per step.
        max_eval: evaluations per step (default ``max_iter * 1.25``).
        tolerance_grad, tolerance_change: when to stop.
        history_size: how many past steps make the Hessian's approximation.
        line_search_fn: None or ``"strong_wolfe"``.

    Example:
        >>> opt = rustnn.optim.LBFGS(model.parameters())
        >>> def closure():
        ...     opt.zero_grad(); loss = loss_fn(model(x), y); loss.backward(); return loss
        >>> loss = opt.step(closure)
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
        *,
        maximize: bool = False,
    ) -> None:
        check_lr(lr)
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
                "maximize": maximize,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self) -> list[Tensor]:
        params: list[Tensor] = self.param_groups[0]["params"]
        return params

    def _flat_grad(self) -> Tensor:
        parts = [rustnn.zeros(p.numel(), dtype=p.dtype) if p.grad is None else p.grad.reshape(-1) for p in self._params]
        flat = rustnn.cat(parts, 0)
        return -flat if self.param_groups[0]["maximize"] else flat

    def _move(self, step: Any, direction: Tensor) -> None:
        offset, step = 0, to_scalar(step)
        for p in self._params:
            p.add_(direction[offset : offset + p.numel()].view_as(p), alpha=step)
            offset += p.numel()

    def step(self, closure: Any = None) -> Any:
        """Does up to ``max_iter`` iterations and returns the loss at their start."""
        if closure is None:
            raise TypeError("LBFGS.step() missing 1 required positional argument: 'closure'")
        with rustnn.no_grad():
            return self._step(closure)

    def _step(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        sign = -1.0 if group["maximize"] else 1.0

        def evaluate() -> Any:
            with rustnn.enable_grad():
                return closure()

        first_loss = evaluate()
        if not self._params:
            return first_loss
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        state["func_evals"] += 1
        loss, evals = sign * float(to_scalar(first_loss)), 1
        grad = self._flat_grad()
        if grad.abs().max() <= group["tolerance_grad"]:
            return first_loss

        lr, max_iter, small = to_scalar(group["lr"]), group["max_iter"], group["tolerance_change"]
        d, t = state.get("d"), state.get("t")
        prev_grad, prev_loss = state.get("prev_flat_grad"), state.get("prev_loss")
        for name, empty in (("old_dirs", []), ("old_stps", []), ("ro", []), ("H_diag", 1)):
            if state["n_iter"] == 0 or name not in state:
                state[name] = empty
        for i in range(1, max_iter + 1):
            state["n_iter"] += 1
            d = grad.neg() if state["n_iter"] == 1 else self._direction(state, grad, prev_grad, d, t)
            prev_grad, prev_loss = grad.clone(), loss
            t = min(1.0, 1.0 / grad.abs().sum()) * lr if state["n_iter"] == 1 else lr
            slope = grad.dot(d)
            if slope > -small:
                break
            tried = 0
            if group["line_search_fn"] is not None:
                if group["line_search_fn"] != "strong_wolfe":
                    raise RuntimeError("only 'strong_wolfe' is supported")
                base = [p.clone() for p in self._params]

                def at(step: Any, base: list[Tensor] = base, d: Tensor = d) -> _Point:
                    self._move(step, d)
                    value = sign * float(to_scalar(evaluate()))
                    flat = self._flat_grad()
                    for p, kept in zip(self._params, base, strict=True):
                        p.copy_(kept)
                    return _Point(step, value, flat, flat.dot(d))

                best, tried = _strong_wolfe(
                    at, _Point(0, loss, grad, slope), t, d.abs().max(), group["max_eval"] - evals
                )
                loss, grad, t = best.loss, best.grad, best.t
                self._move(t, d)
            else:
                self._move(t, d)
                if i != max_iter:
                    loss = sign * float(to_scalar(evaluate()))
                    grad = self._flat_grad()
                    tried = 1
            evals += tried
            state["func_evals"] += tried
            if (
                i == max_iter
                or evals >= group["max_eval"]
                or grad.abs().max() <= group["tolerance_grad"]
                or d.mul(t).abs().max() <= small
                or abs(loss - prev_loss) < small
            ):
                break
        state.update(d=d, t=t, prev_flat_grad=prev_grad, prev_loss=prev_loss)
        return first_loss

    def _direction(self, state: dict[str, Any], grad: Tensor, prev_grad: Tensor, d: Tensor, t: Any) -> Tensor:
        """Records the last step and applies the two-loop recursion to ``-grad``."""
        size = self.param_groups[0]["history_size"]
        changes, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        y, s = grad.sub(prev_grad), d.mul(t)
        ys = y.dot(s)
        if ys > 1e-10:
            if len(changes) == size:
                for kept in (changes, steps, ro):
                    kept.pop(0)
            changes.append(y)
            steps.append(s)
            ro.append(1.0 / ys)
            state["H_diag"] = ys / y.dot(y)
        al = state.setdefault("al", [None] * size)
        q = grad.neg()
        for i in reversed(range(len(changes))):
            al[i] = steps[i].dot(q) * ro[i]
            q.add_(changes[i], alpha=-to_scalar(al[i]))
        r = q.mul(state["H_diag"])
        for i in range(len(changes)):
            r.add_(steps[i], alpha=to_scalar(al[i] - changes[i].dot(r) * ro[i]))
        return r
