"""`backward` and `grad`: the argument checks around the native engine's one entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rustnn import _C

__all__ = ["backward", "grad"]

Tensor = Any


def _as_tuple(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    if isinstance(value, _C.Tensor):
        return (value,)
    return tuple(value)


def _first_gradients(outputs: Sequence[Tensor], given: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The gradients that backward starts from: checked where given, ones for scalars."""
    if len(outputs) != len(given):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(given)} gradients")
    result: list[Tensor | None] = []
    for i, (out, grad_out) in enumerate(zip(outputs, given, strict=True)):
        if isinstance(grad_out, _C.Tensor):
            if tuple(out.shape) != tuple(grad_out.shape):
                raise RuntimeError(
                    f"Mismatch in shape: grad_output[{i}] has a shape of {grad_out.shape} "
                    f"and output[{i}] has a shape of {out.shape}."
                )
            result.append(grad_out)
        elif grad_out is None:
            if not out.requires_grad:
                result.append(None)
                continue
            if out.numel() != 1:
                raise RuntimeError(
                    "grad can be implicitly created only for scalar outputs\n"
                    f"  The output has shape {list(out.shape)}. Reduce it first, as in loss.sum().backward() or "
                    "loss.mean().backward(), or give backward(gradient=...) a tensor of that shape."
                )
            with _no_grad():
                result.append(_C.ones_like(out))
        else:
            raise TypeError(f"gradients can be either Tensors or None, but got {type(grad_out).__name__}")
    return result


class _no_grad:
    """The one switch needed here, without the decorator's machinery."""

    def __enter__(self) -> None:
        self.before = _C._set_grad_enabled(False)

    def __exit__(self, *_: object) -> None:
        _C._set_grad_enabled(self.before)


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Adds the gradients of `tensors` to the `.grad` of the leaves they were computed from.

    Args:
        tensors: one or several tensors to start from.
        grad_tensors: for each, the gradient of the final value with respect to it (its shape); `None` for
            scalars means one.
        retain_graph: keep the saved values, so that backward can run again (default: `create_graph`).
        create_graph: record the backward pass too, for derivatives of higher order.
        inputs: accumulate only into these.

    Raises:
        RuntimeError: no gradient was given for a tensor of more than one element, the graph's values have
            been freed, or a saved tensor was changed in place.

    Example::

        >>> x = rustnn.tensor([1.0, 2.0], requires_grad=True)
        >>> rustnn.autograd.backward((x * x).sum())
        >>> x.grad
        tensor([2., 4.])
    """
    if grad_variables is not None:
        if grad_tensors is not None:
            raise RuntimeError("grad_tensors and grad_variables are two names of one argument: give one")
        grad_tensors = grad_variables
    if inputs is not None:
        inputs = _as_tuple(inputs)
        if not inputs:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    outputs = _as_tuple(tensors)
    given = [None] * len(outputs) if grad_tensors is None else _as_tuple(grad_tensors)
    if retain_graph is None:
        retain_graph = create_graph
    gradients = _first_gradients(outputs, list(given))
    _C._run_backward(outputs, tuple(gradients), retain_graph, create_graph, inputs, True, True)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor, ...]:
    """The gradients of the sum of `outputs` with respect to `inputs`, returned instead of accumulated.

    Args:
        outputs: tensors to differentiate.
        inputs: tensors to differentiate with respect to; leaves or not.
        grad_outputs: the vector of the vector–Jacobian product, one tensor (or None) for each output.
        retain_graph: keep the graph's values (default: `create_graph`).
        create_graph: record the derivative, for higher orders.
        allow_unused: give `None` for an input the outputs don't depend on, instead of an error.
        is_grads_batched: `grad_outputs` carry one more dimension in front; the results do too.
        materialize_grads: give zeros instead of `None` (implies `allow_unused`).

    Example::

        >>> x = rustnn.tensor(3.0, requires_grad=True)
        >>> rustnn.autograd.grad(x**2, x)
        (tensor(6.),)
    """
    if not only_inputs:
        raise NotImplementedError("autograd.grad accumulates nothing: only_inputs=False is not supported")
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, "
            "but got: allow_unused=False."
        )
    unused_ok = materialize_grads if allow_unused is None else allow_unused
    outs, ins = _as_tuple(outputs), _as_tuple(inputs)
    if not ins:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    given = [None] * len(outs) if grad_outputs is None else list(_as_tuple(grad_outputs))
    if retain_graph is None:
        retain_graph = create_graph
    if is_grads_batched:
        return _batched(outs, ins, given, create_graph, retain_graph, unused_ok, materialize_grads)
    gradients = tuple(_first_gradients(outs, given))
    found = _C._run_backward(outs, gradients, retain_graph, create_graph, ins, unused_ok, False)
    result = tuple(found)
    if materialize_grads:
        pairs = zip(result, ins, strict=True)
        result = tuple(_C.zeros_like(x, requires_grad=create_graph) if g is None else g for g, x in pairs)
    return result


def _batched(
    outs: tuple[Tensor, ...],
    ins: tuple[Tensor, ...],
    given: list[Tensor | None],
    create_graph: bool,
    retain_graph: bool,
    unused_ok: bool,
    materialize: bool,
) -> tuple[Tensor, ...]:
    """One backward pass for each entry of the leading dimension, results stacked."""
    sizes = {len(g) for g in given if g is not None}
    if len(sizes) != 1:
        raise RuntimeError(
            f"is_grads_batched needs one common leading size in grad_outputs, got {sorted(sizes)}"
        )
    (size,) = sizes
    rows = []
    for i in range(size):
        row = [None if g is None else g[i] for g in given]
        keep = retain_graph or i + 1 < size
        rows.append(grad(outs, ins, row, keep, create_graph, True, unused_ok, False, materialize))
    columns = zip(*rows, strict=True)
    return tuple(None if column[0] is None else _C.stack(list(column)) for column in columns)
