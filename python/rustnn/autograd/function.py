"""`autograd.Function`: operations whose forward and backward are written in Python."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rustnn import _C

__all__ = ["Function", "FunctionCtx", "NestedIOFunction", "once_differentiable"]

Tensor = Any


class _Saved:
    """A tensor kept for backward, with the version it had, so that a change in place is noticed."""

    __slots__ = ("hooks", "node", "node_name", "output", "packed", "place", "tensor", "version")

    def __init__(
        self, tensor: Tensor, node_name: str, output: Tensor | None, hooks: Any, node: Any, place: int
    ) -> None:
        self.node_name = node_name
        # Which output of which node it is, should the tensor object be gone when it is asked for.
        self.node, self.place = node, place
        # An output is kept without its graph: with it, output and node would own one another for ever.
        self.output = None if output is None else weakref.ref(output)
        self.tensor = tensor if output is None else output.detach()
        self.version = self.tensor._version
        self.hooks = hooks
        self.packed = None
        if hooks is not None:
            self.packed = hooks[0](self.tensor)
            self.tensor = None

    def unpack(self) -> Tensor:
        if self.hooks is not None:
            return self.hooks[1](self.packed)
        tensor = self.tensor
        if tensor._version != self.version:
            kind = str(tensor.dtype).rsplit(".", 1)[-1]
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"[{kind} {list(tensor.shape)}], saved by {self.node_name}, is at version {tensor._version}; "
                f"expected version {self.version} instead. Hint: make a copy with .clone() before changing it."
            )
        if self.output is None:
            return tensor
        alive = self.output()
        if alive is not None:
            return alive
        again = None if self.node is None else _C._output_again(self.node, tensor, self.place)
        return tensor if again is None else again


class FunctionCtx:
    """What `forward` leaves for `backward`: saved tensors, marks, and any attribute one sets."""

    _owner: ClassVar[type[Function]]

    def __init__(self) -> None:
        self._to_save: tuple[Any, ...] = ()
        self._saved: list[_Saved | None] | None = None
        self._dirty: tuple[Any, ...] = ()
        self._non_differentiable: tuple[Any, ...] = ()
        self._materialize = True
        self._output_info: list[tuple[Any, ...] | None] = []
        self._node: Any = None
        self.needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps tensors for `backward`, which reads them as `ctx.saved_tensors`."""
        for i, tensor in enumerate(tensors):
            if tensor is not None and not isinstance(tensor, _C.Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {i} is of type {type(tensor).__name__}"
                    "; set other values as attributes of ctx"
                )
        self._to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Accepted for compatibility; forward-mode derivatives are not computed."""

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Says which inputs `forward` changed in place; they must be among its outputs."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Says which outputs have no gradient."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """With False, `backward` is given `None` instead of zeros for an output that got no gradient."""
        self._materialize = bool(value)

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What `save_for_backward` kept, checked against changes in place."""
        if self._saved is None:
            return self._to_save
        return tuple(None if saved is None else saved.unpack() for saved in self._saved)

    @property
    def saved_variables(self) -> tuple[Tensor | None, ...]:
        return self.saved_tensors

    @property
    def materialize_grads(self) -> bool:
        return self._materialize

    def name(self) -> str:
        return type(self).__name__


def _position(tensor: Any, among: Sequence[Any]) -> int | None:
    for i, other in enumerate(among):
        if other is tensor:
            return i
    return None


class Function:
    """Base of operations with a gradient of their own.

    Write two static methods: `forward(ctx, *args)` (or `forward(*args)` together with
    `setup_context(ctx, inputs, output)`) and `backward(ctx, *grad_outputs)`, which returns one gradient, or
    `None`, for each argument of `forward`. Call it through `apply`.

    Example::

        >>> class Square(rustnn.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x * x
        ...     @staticmethod
        ...     def backward(ctx, grad):
        ...         (x,) = ctx.saved_tensors
        ...         return 2 * x * grad
        >>> y = Square.apply(rustnn.tensor(3.0, requires_grad=True))
    """

    _backward_cls: ClassVar[type[FunctionCtx]] = FunctionCtx

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            f"{type(self).__name__} should not be instantiated. Methods on autograd functions are all static, so "
            f"you should invoke them on the class itself: {type(self).__name__}.apply(...)"
        )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._backward_cls = type(f"{cls.__name__}Backward", (FunctionCtx,), {"_owner": cls})

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    vjp = backward

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Runs `forward` on `args` and records `backward` in the graph if an argument needs a gradient."""
        ctx = cls._backward_cls()
        tensor_places = [i for i, a in enumerate(args) if isinstance(a, _C.Tensor)]
        recording = _C._is_grad_enabled() and any(args[i].requires_grad for i in tensor_places)
        ctx.needs_input_grad = tuple(isinstance(a, _C.Tensor) and a.requires_grad for a in args)
        before = _C._set_grad_enabled(False)
        try:
            if cls.setup_context is not Function.setup_context:
                output = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, output)
            else:
                output = cls.forward(ctx, *args, **kwargs)
        finally:
            _C._set_grad_enabled(before)
        return _record(cls, ctx, args, tensor_places, output, recording)


def _record(
    cls: type[Function],
    ctx: FunctionCtx,
    args: tuple[Any, ...],
    places: list[int],
    output: Any,
    recording: bool,
) -> Any:
    """Ties what `forward` returned to its inputs."""
    single = not isinstance(output, (tuple, list))
    outputs: list[Any] = [output] if single else list(output)
    if single and not isinstance(output, _C.Tensor):
        return output  # no part of a graph
    raw_outputs = list(outputs)
    inputs = [args[i] for i in places]
    for dirty in ctx._dirty:
        if _position(dirty, outputs) is None:
            raise RuntimeError(
                f"{cls.__name__}: a tensor was passed to mark_dirty() but is not among the outputs of forward; "
                "return it"
            )
    if not recording:
        for i, out in enumerate(outputs):
            # An input handed back is another tensor in PyTorch too.
            if (
                isinstance(out, _C.Tensor)
                and _position(out, ctx._dirty) is None
                and _position(out, inputs) is not None
            ):
                outputs[i] = out.detach()
        return outputs[0] if single else type(output)(outputs)

    tensor_outputs = [i for i, out in enumerate(outputs) if isinstance(out, _C.Tensor)]
    fresh: list[Any] = []
    for i in tensor_outputs:
        out = outputs[i]
        is_dirty = _position(out, ctx._dirty) is not None
        stale = out.requires_grad or _position(out, inputs) is not None
        fresh.append(out.detach() if stale and not is_dirty else out)
    non_differentiable = [
        f
        for f, i in zip(fresh, tensor_outputs, strict=True)
        if not f.dtype.is_floating_point or _position(outputs[i], ctx._non_differentiable) is not None
    ]
    ctx._output_info = [(tuple(f.shape), f.dtype, f.device) for f in fresh]
    name = f"{cls.__name__}Backward"
    owner, places_now, count, output_count = cls, list(places), len(args), len(outputs)

    def run(*grads: Any) -> tuple[Any, ...]:
        if len(grads) == 1 and isinstance(grads[0], (tuple, list)):
            grads = tuple(grads[0])
        return _run_backward(owner, ctx, places_now, count, tensor_outputs, output_count, grads)

    attached = list(_C._attach_function(name, inputs, fresh, run, list(ctx._dirty), non_differentiable, ctx))
    for k, i in enumerate(tensor_outputs):
        outputs[i] = attached[k]
    # An input handed back as it is is saved as the input that it is.
    own = [o if _position(o, inputs) is None or _position(o, ctx._dirty) is not None else None for o in raw_outputs]
    _save(ctx, name, own, outputs)
    return outputs[0] if single else type(output)(outputs)


def _save(ctx: FunctionCtx, name: str, raw_outputs: list[Any], outputs: list[Any]) -> None:
    from rustnn.autograd.graph import _hooks

    hooks = _hooks[-1] if _hooks else None
    saved: list[_Saved | None] = []
    for tensor in ctx._to_save:
        if tensor is None:
            saved.append(None)
            continue
        place = _position(tensor, raw_outputs)
        output = None if place is None else outputs[place]
        among = [t for t in outputs if isinstance(t, _C.Tensor)]
        number = -1 if output is None else _position(output, among)
        saved.append(_Saved(tensor, name, output, hooks, ctx._node, -1 if number is None else number))
    ctx._saved = saved
    ctx._to_save = ()
    # Kept no longer: they would tie output and node into a cycle.
    ctx._dirty = ()
    ctx._non_differentiable = ()


def _run_backward(
    cls: type[Function],
    ctx: FunctionCtx,
    places: list[int],
    count: int,
    tensor_outputs: list[int],
    output_count: int,
    grads: tuple[Any, ...],
) -> tuple[Any, ...]:
    """Calls the class's `backward` and checks what it gives."""
    full: list[Any] = [None] * output_count
    for k, i in enumerate(tensor_outputs):
        gradient = grads[k]
        if gradient is None and ctx._materialize:
            info = ctx._output_info[k]
            assert info is not None
            gradient = _C.zeros(info[0], dtype=info[1])
        full[i] = gradient
    method = cls.backward if cls.backward is not Function.backward else cls.vjp
    result = method(ctx, *full)
    given = list(result) if isinstance(result, (tuple, list)) else [result]
    while len(given) > count and given[-1] is None:
        given.pop()
    name = f"{cls.__name__}Backward"
    if len(given) != count:
        raise RuntimeError(
            f"function {name} returned an incorrect number of gradients (expected {count}, got {len(given)})"
        )
    tensor_places = set(places)
    for i, gradient in enumerate(given):
        if gradient is None:
            continue
        if i not in tensor_places:
            raise RuntimeError(
                f"function {name} returned a gradient different from None at position {i + 1}, but the "
                "corresponding forward input was not a Variable"
            )
        if not isinstance(gradient, _C.Tensor):
            raise RuntimeError(  # noqa: TRY004
                f"expected Variable or None (got {type(gradient).__name__}) from {name} at position {i + 1}"
            )
    return tuple(given[i] for i in places)


class _DelayedError(Function):
    """Passes tensors through; differentiating them says why that can't be done."""

    @staticmethod
    def forward(ctx: Any, message: str, *tensors: Any) -> Any:
        ctx.message = message
        return tuple(t.detach() for t in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(ctx.message)


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a `backward` whose result can't be differentiated again; doing so then raises."""

    @functools.wraps(backward)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        recording = _C._is_grad_enabled()
        before = _C._set_grad_enabled(False)
        try:
            outputs = backward(ctx, *grads)
        finally:
            _C._set_grad_enabled(before)
        if not recording:
            return outputs
        needs = any(isinstance(g, _C.Tensor) and g.requires_grad for g in grads)
        needs = needs or any(t is not None and t.requires_grad for t in ctx.saved_tensors)
        if not needs:
            return outputs
        given = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
        places = [i for i, o in enumerate(given) if isinstance(o, _C.Tensor)]
        message = "trying to differentiate twice a function that was marked with @once_differentiable"
        # Something that needs a gradient has to go in, so that the results are part of a graph.
        sources = [given[i].detach().requires_grad_() for i in places]
        if sources:
            for i, marked in zip(places, _DelayedError.apply(message, *sources), strict=True):
                given[i] = marked
        return tuple(given) if isinstance(outputs, (tuple, list)) else given[0]

    return wrapper


class NestedIOFunction(Function):
    """PyTorch's base for nested structures of tensors: not available."""

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("NestedIOFunction is not available: flatten the tensors and use Function")
