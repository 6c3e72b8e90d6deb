"""`torch.func`: gradients, Jacobians and batches of functions, as functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rustnn import _C
from rustnn._functions import vmap
from rustnn.autograd import functional as _functional
from rustnn.autograd._engine import grad as _grad
from rustnn.autograd.grad_mode import enable_grad
from rustnn.utils import _pytree

__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "stack_module_state",
    "vjp",
    "vmap",
]

Tensor = Any


def _fresh(value: Any) -> Any:
    """The tensors of a tree as variables to differentiate by; inside of another derivative they keep their graph."""

    def one(x: Any) -> Any:
        if not isinstance(x, _C.Tensor):
            return x
        return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()

    return _pytree.tree_map(one, value)


def _chosen(args: tuple[Any, ...], argnums: int | tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    wrapped = []
    for n in numbers:
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
        wrapped.append(n % len(args))
    return tuple(wrapped), isinstance(argnums, int)


def grad_and_value(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives the gradient of `func` and its value.

    Args:
        func: gives one number (a 0-d tensor); with `has_aux` a pair of that and something else.
        argnums: the positional arguments, tensors or trees of them, to differentiate by.
        has_aux: the result is then `(gradient, (value, the other))`.

    Raises:
        RuntimeError: `func` gives no 0-d tensor.
    """

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        numbers, single = _chosen(args, argnums)
        outer = any(isinstance(x, _C.Tensor) and x.requires_grad for x in _pytree.tree_iter((args, kwargs)))
        values = list(args)
        for n in numbers:
            values[n] = _fresh(values[n])
        with enable_grad():
            result = func(*values, **kwargs)
            output, aux = result if has_aux else (result, None)
            if not isinstance(output, _C.Tensor) or output.dim() != 0:
                what = list(output.shape) if isinstance(output, _C.Tensor) else type(output).__name__
                raise RuntimeError(
                    f"grad_and_value(f)(*args): Expected f(*args) to return a scalar tensor, got {what}"
                )
            leaves, spec = _pytree.tree_flatten(tuple(values[n] for n in numbers))
            tensors = [x for x in leaves if isinstance(x, _C.Tensor)]
            found: Any
            if output.requires_grad:
                found = _grad(output, tensors, create_graph=True, allow_unused=True)
            else:
                found = [None] * len(tensors)
        given = [_C.zeros_like(x) if g is None else g for x, g in zip(tensors, found, strict=True)]
        if not outer:
            # Nothing around this asks for a derivative of the derivative.
            given, output = [g.detach() for g in given], output.detach()
            aux = _pytree.tree_map_only(_C.Tensor, lambda x: x.detach(), aux)
        gradients = spec.unflatten(given)
        answer = gradients[0] if single else gradients
        return (answer, (output, aux)) if has_aux else (answer, output)

    return wrapper


def grad(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives the gradient of `func`; see `grad_and_value`.

    Example::

        >>> rustnn.func.grad(lambda x: x.sin())(rustnn.tensor(0.0))
        tensor(1.)
        >>> rustnn.func.grad(rustnn.func.grad(lambda x: x**3))(rustnn.tensor(2.0))
        tensor(12.)
    """
    both = grad_and_value(func, argnums, has_aux)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        gradient, value = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapper


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of `func` and a function from gradients of the value to those of the arguments.

    Returns:
        `(value, function)`, with `has_aux` `(value, function, the other)`.
    """
    inputs = _fresh(primals)
    with enable_grad():
        result = func(*inputs)
    output, aux = result if has_aux else (result, None)
    outputs, _ = _pytree.tree_flatten(output)
    leaves, spec = _pytree.tree_flatten(inputs)

    def pull(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        given = _pytree.tree_leaves(cotangents)
        found = _grad(
            outputs, leaves, given, retain_graph=retain_graph, create_graph=bool(create_graph), allow_unused=True
        )
        return spec.unflatten([_C.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)])

    value = _pytree.tree_map_only(_C.Tensor, lambda x: x.detach(), output)
    return (value, pull, aux) if has_aux else (value, pull)


def jvp(func: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
    """The value of `func` and its derivative along `tangents`, by two backward passes."""
    value, derivative = _functional.jvp(func, tuple(primals), tuple(tangents))
    return value, derivative


def _jacobian(func: Callable[..., Any], argnums: int | tuple[int, ...], has_aux: bool) -> Callable[..., Any]:
    def wrapper(*args: Any) -> Any:
        numbers, single = _chosen(args, argnums)
        aux: list[Any] = []

        def partial(*chosen: Any) -> Any:
            values = list(args)
            for n, x in zip(numbers, chosen, strict=True):
                values[n] = x
            result = func(*values)
            if not has_aux:
                return result
            aux[:] = [result[1]]
            return result[0]

        outer = any(isinstance(x, _C.Tensor) and x.requires_grad for x in args)
        chosen = tuple(args[n] for n in numbers)
        found = _functional.jacobian(partial, chosen, create_graph=outer)
        answer = found[0] if single and isinstance(found, tuple) else found
        return (answer, aux[0]) if has_aux else answer

    return wrapper


def jacrev(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False, **_: Any
) -> Callable[..., Any]:
    """A function that gives the Jacobian of `func`: the output's shape, then the input's."""
    return _jacobian(func, argnums, has_aux)


def jacfwd(
    func: Callable[..., Any],
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
) -> Callable[..., Any]:
    """As `jacrev`: derivatives run backward here."""
    return _jacobian(func, argnums, has_aux)


def hessian(func: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """A function that gives the matrix of second derivatives of `func`."""
    if not isinstance(argnums, int):
        raise NotImplementedError("rustnn.func.hessian: one argument to differentiate by, argnums an int")

    def wrapper(*args: Any) -> Any:
        def partial(x: Any) -> Any:
            return func(*args[:argnums], x, *args[argnums + 1 :])

        return _functional.hessian(partial, args[argnums])

    return wrapper


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Calls a module with other tensors in the place of its parameters and buffers.

    Args:
        module: the module.
        parameter_and_buffer_dicts: names to tensors, in one dictionary or several.
        args: the positional arguments (a tuple, or one value).
        kwargs: the keyword arguments.
    """
    from rustnn.nn.utils import stateless

    given = parameter_and_buffer_dicts
    merged = dict(given) if isinstance(given, dict) else {k: v for part in given for k, v in part.items()}
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    return stateless.functional_call(module, merged, arguments, kwargs, tie_weights=tie_weights, strict=strict)


def stack_module_state(models: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters and the buffers of modules of one kind, stacked along a new first dimension."""
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")

    def stacked(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {
            k: _C.stack([p[k].detach() for p in parts]).requires_grad_(parts[0][k].requires_grad)
            for k in parts[0]
        }

    parameters = stacked([dict(m.named_parameters()) for m in models])
    return parameters, stacked([dict(m.named_buffers()) for m in models])
