"""Gradients checked against finite differences, of first and second order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rustnn import _C
from rustnn.autograd._engine import grad
from rustnn.autograd.grad_mode import enable_grad, no_grad

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """The gradient of a function is not what finite differences say."""


def _tuple(value: Any) -> tuple[Any, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(value)
    return (value,)


def _is_input(value: Any) -> bool:
    return isinstance(value, _C.Tensor) and value.requires_grad


def _outputs(func: Callable[..., Any], inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    outs = _tuple(func(*inputs))
    return tuple(o for o in outs if isinstance(o, _C.Tensor) and o.dtype.is_floating_point)


def _numeric(
    func: Callable[..., Any], inputs: tuple[Any, ...], place: int, eps: float, sizes: list[int]
) -> list[np.ndarray[Any, Any]]:
    """For each output, the Jacobian [input elements, output elements] by central differences."""
    target = inputs[place]
    values = target.detach().numpy()
    columns: list[list[np.ndarray[Any, Any]]] = [[] for _ in sizes]
    with no_grad():
        for index in np.ndindex(*values.shape):
            before = values[index].copy()
            values[index] = before + eps
            high = [o.detach().numpy().astype(np.float64).reshape(-1).copy() for o in _outputs(func, inputs)]
            values[index] = before - eps
            low = [o.detach().numpy().astype(np.float64).reshape(-1).copy() for o in _outputs(func, inputs)]
            values[index] = before
            for k, (a, b) in enumerate(zip(high, low, strict=True)):
                columns[k].append((a - b) / (2 * eps))
    return [np.stack(c) if c else np.zeros((0, n)) for c, n in zip(columns, sizes, strict=True)]


def _analytic(output: Any, inputs: Sequence[Any], nondet_tol: float) -> list[np.ndarray[Any, Any]]:
    """For each input, the Jacobian [input elements, output elements] of one output, row by row."""
    size = output.numel()
    result = [np.zeros((x.numel(), size)) for x in inputs]
    if not output.requires_grad:
        return result
    for j in range(size):
        seed = np.zeros(size, dtype=np.float64)
        seed[j] = 1.0
        vector = _C.from_numpy(seed.reshape(tuple(output.shape))).to(output.dtype)
        found = grad((output,), tuple(inputs), (vector,), retain_graph=True, allow_unused=True)
        again = grad((output,), tuple(inputs), (vector,), retain_graph=True, allow_unused=True)
        for i, (g, h) in enumerate(zip(found, again, strict=True)):
            if g is None:
                continue
            if tuple(g.shape) != tuple(inputs[i].shape):
                raise GradcheckError(
                    f"the gradient of input {i} has shape {list(g.shape)}, the input {list(inputs[i].shape)}"
                )
            one = g.detach().numpy().astype(np.float64).reshape(-1)
            two = h.detach().numpy().astype(np.float64).reshape(-1)
            if not np.allclose(one, two, rtol=0, atol=nondet_tol, equal_nan=True):
                raise GradcheckError(
                    f"Backward is not reentrant: input {i} got different gradients for the same seed"
                )
            result[i][:, j] = one
    return result


def _check_undefined(func: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
    """A backward whose incoming gradients are all zero must give zeros or nothing."""
    outs = [o for o in _outputs(func, inputs) if o.requires_grad]
    live = tuple(x for x in inputs if _is_input(x))
    if not outs:
        return
    zeros = tuple(_C.zeros_like(o.detach()) for o in outs)
    for g in grad(tuple(outs), live, zeros, allow_unused=True):
        if g is not None and bool(np.any(g.detach().numpy() != 0)):
            raise GradcheckError(
                "backward gives a gradient that is not zero for incoming gradients that are zero"
            )


def _explain(i: int, j: int, numeric: np.ndarray[Any, Any], analytic: np.ndarray[Any, Any]) -> str:
    return (
        f"Jacobian mismatch for output {j} with respect to input {i},\n"
        f"numerical:{np.array2string(numeric, threshold=200)}\nanalytical:{np.array2string(analytic, threshold=200)}\n"
        f"largest difference {np.nanmax(np.abs(numeric - analytic), initial=0.0):.3e}"
    )


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Compares the gradients of `func` with central differences.

    Args:
        func: takes the inputs, gives a tensor or a tuple of tensors.
        inputs: a tensor or a tuple; those that require gradients are checked, and should be float64.
        eps: the step of the differences.
        atol, rtol: the tolerances of the comparison.
        raise_exception: raise `GradcheckError` (a RuntimeError) instead of giving False.
        nondet_tol: how far two backward passes may be apart.
        check_undefined_grad: also check backward with zero gradients.

    Example::

        >>> x = rustnn.randn(3, dtype=rustnn.float64, requires_grad=True)
        >>> rustnn.autograd.gradcheck(lambda x: x.sin(), (x,))
        True
    """
    try:
        args = _tuple(inputs)
        live_places = [i for i, x in enumerate(args) if _is_input(x)]
        if not live_places:
            raise ValueError(
                "gradcheck expects at least one input tensor to require gradient, but none of them have "
                "requires_grad=True."
            )
        with enable_grad():
            outs = _outputs(func, args)
            live = [args[i] for i in live_places]
            analytic = [_analytic(out, live, nondet_tol) for out in outs]
            sizes = [o.numel() for o in outs]
            if any(math.prod(x.shape) == 0 for x in live) and not any(sizes):
                return True
            for k, place in enumerate(live_places):
                numeric = _numeric(func, args, place, eps, sizes)
                for j in range(len(outs)):
                    if not np.allclose(analytic[j][k], numeric[j], rtol=rtol, atol=atol, equal_nan=True):
                        raise GradcheckError(_explain(place, j, numeric[j], analytic[j][k]))
            if check_undefined_grad:
                _check_undefined(func, args)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Compares the second derivatives of `func` with central differences of its gradients.

    `grad_outputs` are the vectors of the first derivative; random ones when left out.
    """
    args = _tuple(inputs)
    with enable_grad():
        outs = [o for o in _outputs(func, args) if o.requires_grad]
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        vectors = tuple(
            _C.from_numpy(rng.uniform(-1, 1, tuple(o.shape)).reshape(tuple(o.shape)))
            .to(o.dtype)
            .requires_grad_()
            for o in outs
        )
    else:
        vectors = _tuple(grad_outputs)
    count = len(args)

    def first_derivative(*both: Any) -> tuple[Any, ...]:
        ins, seeds = both[:count], both[count:]
        live = tuple(x for x in ins if _is_input(x))
        with enable_grad():
            results = tuple(o for o in _outputs(func, ins) if o.requires_grad)
            found = grad(results, live, seeds, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(
        first_derivative,
        args + vectors,
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
    )
