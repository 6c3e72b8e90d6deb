"""Jacobians, Hessians and products with them, of Python functions of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rustnn import _C
from rustnn.autograd._engine import grad
from rustnn.autograd.grad_mode import enable_grad

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _tuple(value: Any, what: str, where: str) -> tuple[bool, tuple[Any, ...]]:
    """(was it a tuple, the tuple); everything in it has to be a tensor."""
    many = isinstance(value, (tuple, list))
    items = tuple(value) if many else (value,)
    for i, item in enumerate(items):
        if not isinstance(item, _C.Tensor):
            place = f"element {i} of the {what}" if many else f"the {what}"
            raise TypeError(f"{where}: {place} has to be a Tensor, but is {type(item).__name__}")
    return many, items


def _untuple(many: bool, items: tuple[Any, ...]) -> Any:
    return items if many else items[0]


def _leaves(inputs: tuple[Any, ...], create_graph: bool) -> tuple[Any, ...]:
    """Inputs to differentiate with respect to: tied to the caller's graph only if that is asked for."""
    if create_graph:
        return tuple(x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in inputs)
    return tuple(x.detach().requires_grad_() for x in inputs)


def _finish(value: Any, create_graph: bool) -> Any:
    if create_graph:
        return value
    if isinstance(value, tuple):
        return tuple(_finish(v, create_graph) for v in value)
    return value.detach()


def _grads(
    outputs: tuple[Any, ...],
    inputs: tuple[Any, ...],
    vectors: tuple[Any, ...],
    create_graph: bool,
    strict: bool,
    where: str,
    keep: bool = True,
) -> tuple[Any, ...]:
    """The vector–Jacobian product, zeros where an output does not depend on an input."""
    live = [(o, v) for o, v in zip(outputs, vectors, strict=True) if o.requires_grad]
    if not live:
        if strict:
            raise RuntimeError(
                f"{where}: the outputs are independent of the inputs. This is not allowed in strict mode."
            )
        return tuple(_C.zeros_like(x) for x in inputs)
    found = grad(
        tuple(o for o, _ in live),
        inputs,
        tuple(v for _, v in live),
        retain_graph=keep,
        create_graph=create_graph,
        allow_unused=True,
    )
    if strict:
        for i, g in enumerate(found):
            if g is None:
                raise RuntimeError(
                    f"{where}: the outputs are independent of input {i}. This is not allowed in strict mode."
                )
    return tuple(_C.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True))


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of `func` at `inputs`.

    Args:
        func: takes the inputs, gives a tensor or a tuple of tensors.
        inputs: a tensor or a tuple of tensors.
        create_graph: make the result differentiable.
        strict: raise if an output doesn't depend on an input (otherwise its block is zero).
        vectorize, strategy: accepted; the result is the same.

    Returns:
        for one output and one input, a tensor of shape output.shape + input.shape; tuples of those otherwise.

    Example::

        >>> rustnn.autograd.functional.jacobian(lambda x: x**2, rustnn.tensor([1.0, 2.0]))
        tensor([[2., 0.],
                [0., 4.]])
    """
    with enable_grad():
        many_in, ins = _tuple(inputs, "inputs", "jacobian")
        ins = _leaves(ins, create_graph)
        many_out, outs = _tuple(func(*ins), "outputs of the function", "jacobian")
        blocks = []
        for i, out in enumerate(outs):
            rows: list[tuple[Any, ...]] = []
            flat = out.reshape(-1)
            for j in range(flat.numel()):
                rows.append(
                    _grads(
                        (flat[j],),
                        ins,
                        (_C.ones_like(flat[j].detach()),),
                        create_graph,
                        strict,
                        f"jacobian (output {i})",
                    )
                )
            if rows:
                columns = [
                    _C.stack(list(c)).view(tuple(out.shape) + tuple(x.shape))
                    for c, x in zip(zip(*rows, strict=True), ins, strict=True)
                ]
            else:
                columns = [_C.zeros(tuple(out.shape) + tuple(x.shape), dtype=out.dtype) for x in ins]
            blocks.append(_untuple(many_in, tuple(columns)))
        return _finish(_untuple(many_out, tuple(blocks)), create_graph)


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The Hessian of a function with one scalar output, in the nesting of `jacobian`.

    Example::

        >>> rustnn.autograd.functional.hessian(lambda x: (x**3).sum(), rustnn.tensor([1.0, 2.0]))
        tensor([[ 6.,  0.],
                [ 0., 12.]])
    """
    many, ins = _tuple(inputs, "inputs", "hessian")

    def gradient(*args: Any) -> Any:
        out = func(*args)
        if not isinstance(out, _C.Tensor):
            raise RuntimeError(f"hessian: the function has to give a single Tensor, not {type(out).__name__}")  # noqa: TRY004
        if out.numel() != 1:
            raise RuntimeError(
                "The Tensor returned by the function given to hessian should contain a single element, but has shape "
                f"{list(out.shape)}"
            )
        given = _grads((out,), args, (_C.ones_like(out.detach()),), True, strict, "hessian")
        return given

    result = jacobian(gradient, ins, create_graph=create_graph, strict=strict)
    return result if many else result[0][0]


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), v · Jacobian): `v` has the outputs' shapes and may be left out for one scalar output."""
    with enable_grad():
        many_in, ins = _tuple(inputs, "inputs", "vjp")
        ins = _leaves(ins, create_graph)
        many_out, outs = _tuple(func(*ins), "outputs of the function", "vjp")
        vectors = _vectors(v, outs, "vjp", "output")
        found = _grads(outs, ins, vectors, create_graph, strict, "vjp")
    return _finish(_untuple(many_out, outs), create_graph), _finish(_untuple(many_in, found), create_graph)


def _vectors(v: Any, like: tuple[Any, ...], where: str, what: str) -> tuple[Any, ...]:
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(
                f"{where}: the vector v can only be left out if there is one {what} with one element"
            )
        return (_C.ones_like(like[0].detach()),)
    _, vectors = _tuple(v, "vector v", where)
    if len(vectors) != len(like):
        raise RuntimeError(f"{where}: v has {len(vectors)} tensors, but there are {len(like)} {what}s")
    for i, (a, b) in enumerate(zip(vectors, like, strict=True)):
        if tuple(a.shape) != tuple(b.shape):
            raise RuntimeError(
                f"{where}: v[{i}] has shape {list(a.shape)}, but {what} {i} has {list(b.shape)}"
            )
    return vectors


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), Jacobian · v), by differentiating the vector–Jacobian product once more."""
    with enable_grad():
        _, ins = _tuple(inputs, "inputs", "jvp")
        ins = _leaves(ins, create_graph)
        vectors = _vectors(v, ins, "jvp", "input")
        many_out, outs = _tuple(func(*ins), "outputs of the function", "jvp")
        probes = tuple(_C.zeros_like(o.detach()).requires_grad_() for o in outs)
        back = _grads(outs, ins, probes, True, strict, "jvp")
        found = _grads(back, probes, vectors, create_graph, False, "jvp")
    return _finish(_untuple(many_out, outs), create_graph), _finish(_untuple(many_out, found), create_graph)


def _second(
    func: Callable[..., Any], inputs: Any, v: Any, create_graph: bool, strict: bool, where: str
) -> Any:
    with enable_grad():
        many_in, ins = _tuple(inputs, "inputs", where)
        ins = _leaves(ins, create_graph)
        vectors = _vectors(v, ins, where, "input")
        out = func(*ins)
        if not isinstance(out, _C.Tensor) or out.numel() != 1:
            raise RuntimeError(f"{where}: the function has to give a single tensor with one element")
        first = _grads((out,), ins, (_C.ones_like(out.detach()),), True, strict, where)
        found = _grads(first, ins, vectors, create_graph, False, where)
    return _finish(out, create_graph), _finish(_untuple(many_in, found), create_graph)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), v · Hessian) for a function with one number as its result."""
    result: tuple[Any, Any] = _second(func, inputs, v, create_graph, strict, "vhp")
    return result


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), Hessian · v); the Hessian is symmetric, so this is `vhp`."""
    result: tuple[Any, Any] = _second(func, inputs, v, create_graph, strict, "hvp")
    return result
