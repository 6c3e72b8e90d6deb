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
    "linearize",
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


def _inside(*values: Any) -> bool:
    """Whether tensors among `values` are being differentiated around this call."""
    return _C._is_grad_enabled() and any(
        isinstance(x, _C.Tensor) and x.requires_grad for x in _pytree.tree_iter(values)
    )


def _cut(value: Any) -> Any:
    """The tensors of a tree outside of any graph."""
    return _pytree.tree_map_only(_C.Tensor, lambda x: x.detach(), value)


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
        outer = _inside(args, kwargs)
        values = list(args)
        for n in numbers:
            values[n] = _fresh(values[n])
        with enable_grad():
            result = func(*values, **kwargs)
            output, aux = result if has_aux else (result, None)
            if not isinstance(output, _C.Tensor) or output.dim() != 0:
                what = f"tensor with {output.dim()} dims" if isinstance(output, _C.Tensor) else type(output)
                raise RuntimeError(
                    f"grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got {what}\n"
                    "  hint: vjp and jacrev take functions with more than one number as their result"
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
            given, output, aux = [g.detach() for g in given], output.detach(), _cut(aux)
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
    outer = _inside(primals)
    inputs = _fresh(primals)
    with enable_grad():
        result = func(*inputs)
    output, aux = result if has_aux else (result, None)
    outputs, _ = _pytree.tree_flatten(output)
    leaves, spec = _pytree.tree_flatten(inputs)

    def pull(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        given = _pytree.tree_leaves(cotangents)
        if len(given) != len(outputs):
            raise RuntimeError(
                f"vjp: the function gave {len(outputs)} tensors, but there are {len(given)} cotangents"
            )
        live = [(o, g) for o, g in zip(outputs, given, strict=True) if o.requires_grad]
        recorded = (outer or _inside(given)) if create_graph is None else create_graph
        found: Any = [None] * len(leaves)
        if live:
            found = _grad(
                [o for o, _ in live], leaves, [g for _, g in live],
                retain_graph=retain_graph, create_graph=recorded, allow_unused=True,
            )  # fmt: skip
        return spec.unflatten([_C.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)])

    if not outer:
        output, aux = _cut(output), _cut(aux)
    return (output, pull, aux) if has_aux else (output, pull)


def jvp(
    func: Callable[..., Any],
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
    *,
    strict: bool = False,
    has_aux: bool = False,
) -> Any:
    """The value of `func` and its derivative along `tangents`, by two backward passes.

    Args:
        primals: the arguments, tensors or trees of them.
        tangents: of the same structure: the direction.
        strict: an output that does not depend on the arguments is an error instead of a zero derivative.
        has_aux: `func` gives a pair; its second part is handed through as a third result.
    """
    if not isinstance(primals, tuple):
        raise RuntimeError(
            f"jvp(f, primals, tangents): Expected primals to be a tuple. E.g. it should be valid to call f(*primals), "
            f"got {type(primals)}"
        )
    outer = _inside(primals, tangents)
    inputs = _fresh(primals)
    leaves, spec = _pytree.tree_flatten(inputs)
    directions, other = _pytree.tree_flatten(tangents)
    if spec != other:
        raise RuntimeError(
            f"jvp(f, primals, tangents): Expected primals and tangents to have the same python structure. "
            f"Got {spec} and {other}"
        )
    for x, v in zip(leaves, directions, strict=True):
        if tuple(x.shape) != tuple(v.shape):
            raise RuntimeError(
                f"jvp(f, primals, tangents): a tangent of shape {list(v.shape)} for an argument of shape "
                f"{list(x.shape)}"
            )
    with enable_grad():
        result = func(*inputs)
        output, aux = result if has_aux else (result, None)
        outputs, out_spec = _pytree.tree_flatten(output)
        found = directional(outputs, leaves, directions, outer, strict, "jvp")
    derivative = out_spec.unflatten(found)
    if not outer:
        output, derivative, aux = _cut(output), _cut(derivative), _cut(aux)
    return (output, derivative, aux) if has_aux else (output, derivative)


def directional(
    outputs: Any, inputs: Any, directions: Any, create_graph: bool, strict: bool, where: str
) -> list[Tensor]:
    """The derivatives of `outputs` by `inputs` along `directions`, from their graph.

    The vector-Jacobian product is linear in its vector; its derivative by that vector along `directions` is what is
    asked for. Zeros where an output does not depend on the inputs (an error if `strict`).
    """
    from rustnn.autograd.functional import _grads

    live = [o for o in outputs if o.requires_grad]
    if strict and len(live) != len(outputs):
        raise RuntimeError(f"{where}: an output is independent of the inputs. This is not allowed in strict mode.")
    probes = [_C.zeros_like(o.detach()).requires_grad_() for o in live]
    back = _grads(tuple(live), tuple(inputs), tuple(probes), True, strict, where)
    along = iter(_grads(back, tuple(probes), tuple(directions), create_graph, False, where))
    return [next(along) if o.requires_grad else _C.zeros_like(o) for o in outputs]


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The value of `func` and the function that gives its derivative along given tangents.

    The derivative's graph is made once; each call of the function runs it along other tangents.
    """
    outer = _inside(primals)
    inputs = _fresh(primals)
    leaves, spec = _pytree.tree_flatten(inputs)
    with enable_grad():
        output = func(*inputs)
    outputs, out_spec = _pytree.tree_flatten(output)

    def along(*tangents: Any) -> Any:
        directions, other = _pytree.tree_flatten(tangents)
        if spec != other:
            raise RuntimeError(f"linearize: expected tangents of structure {spec}, got {other}")
        recorded = outer or _inside(tangents)
        with enable_grad():
            found = out_spec.unflatten(directional(outputs, leaves, directions, recorded, False, "linearize"))
        return found if recorded else _cut(found)

    return (output if outer else _cut(output)), along


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

        outer = _inside(args)
        chosen = tuple(args[n] for n in numbers)
        found = _functional.jacobian(partial, chosen, create_graph=outer)
        answer = found[0] if single and isinstance(found, tuple) else found
        if not has_aux:
            return answer
        return answer, (aux[0] if outer else _cut(aux[0]))

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

        return _functional.hessian(partial, args[argnums], create_graph=_inside(args))

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
