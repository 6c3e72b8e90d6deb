"""Activation checkpointing: give up what backward would need, and compute it again there.

Two ways, as in PyTorch. With ``use_reentrant=False`` the saved tensors of the function's graph are replaced by
numbers, and the first one that backward asks for runs the function again. With ``use_reentrant=True`` the function
runs without a graph, and backward runs it with one and goes through that.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import rustnn
from rustnn import autograd
from rustnn._C import Tensor

__all__ = [
    "CheckpointError",
    "CheckpointFunction",
    "checkpoint",
    "checkpoint_sequential",
    "detach_variable",
    "noop_context_fn",
    "set_checkpoint_debug_enabled",
    "set_checkpoint_early_stop",
]

_early_stop_override: bool | None = None


class CheckpointError(RuntimeError):
    """The second run did not do what the first did."""


class _Done(Exception):
    """Ends a second run when all that was asked for is there."""


def noop_context_fn() -> tuple[Any, Any]:
    """Two contexts that do nothing."""
    return contextlib.nullcontext(), contextlib.nullcontext()


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Whether second runs stop as soon as they can, whatever the calls say."""
    global _early_stop_override
    before, _early_stop_override = _early_stop_override, enable
    try:
        yield
    finally:
        _early_stop_override = before


@contextlib.contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Iterator[None]:
    """Accepted for compatibility: errors are as detailed without it."""
    yield


def detach_variable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs cut from their graph, with their ``requires_grad``."""
    if not isinstance(inputs, tuple):
        raise RuntimeError(f"Only tuple of tensors is supported. Got Unsupported input type: {type(inputs).__name__}")
    return tuple(x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in inputs)


@contextlib.contextmanager
def _random_state(state: Any) -> Iterator[None]:
    """The generator as it was at the first run; afterwards as it was before."""
    if state is None:
        yield
        return
    now = rustnn.get_rng_state()
    rustnn.set_rng_state(state)
    try:
        yield
    finally:
        rustnn.set_rng_state(now)


class CheckpointFunction(autograd.Function):
    """The reentrant way."""

    @staticmethod
    def forward(ctx: Any, run_function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        """Runs the function without a graph."""
        ctx.run_function = run_function
        ctx.random = rustnn.get_rng_state() if preserve_rng_state else None
        ctx.places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        ctx.inputs = [None if isinstance(a, Tensor) else a for a in args]
        ctx.save_for_backward(*(args[i] for i in ctx.places))
        with rustnn.no_grad():
            return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Runs it with a graph and goes back through that."""
        inputs = list(ctx.inputs)
        for place, tensor in zip(ctx.places, ctx.saved_tensors, strict=True):
            inputs[place] = tensor
        detached = detach_variable(tuple(inputs))
        with _random_state(ctx.random), rustnn.enable_grad():
            outputs = ctx.run_function(*detached)
        if isinstance(outputs, Tensor):
            outputs = (outputs,)
        pairs = [
            (out, grad)
            for out, grad in zip(outputs, grads, strict=True)
            if isinstance(out, Tensor) and out.requires_grad
        ]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        autograd.backward([out for out, _ in pairs], [grad for _, grad in pairs])
        return (None, None, *(x.grad if isinstance(x, Tensor) else None for x in detached))


class _Frame:
    """One checkpointed call of the non-reentrant way: what was saved, and how to get it again."""

    def __init__(self, again: Callable[[], Any], check: bool, early_stop: bool) -> None:
        self.again = again
        self.check = check
        self.early_stop = early_stop
        self.saved: list[tuple[Any, ...]] = []
        self.values: dict[int, Tensor] = {}

    def pack(self, tensor: Tensor) -> int:
        """Keeps a tensor's place and kind, not its values."""
        self.saved.append(_kind(tensor))
        return len(self.saved) - 1

    def unpack(self, place: int) -> Tensor:
        """The tensor, computed again if it is not at hand."""
        if place not in self.values:
            self._recompute()
        # Handed out once: another backward through the same graph computes it again.
        return self.values.pop(place)

    def _recompute(self) -> None:
        found: list[Tensor] = []
        wanted = len(self.saved)
        early = self.early_stop if _early_stop_override is None else _early_stop_override

        def pack(tensor: Tensor) -> Tensor:
            found.append(tensor.detach())
            if early and len(found) == wanted:
                raise _Done
            return found[-1]

        with autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), contextlib.suppress(_Done):
            self.again()
        if len(found) != wanted:
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the original forward and "
                f"recomputation.\nNumber of tensors saved during forward: {wanted}\n"
                f"Number of tensors saved during recomputation: {len(found)}."
            )
        if self.check:
            wrong = [
                f"tensor at position {i}:\nsaved metadata: {_text(old)}\nrecomputed metadata: {_text(_kind(new))}"
                for i, (old, new) in enumerate(zip(self.saved, found, strict=True))
                if old != _kind(new)
            ]
            if wrong:
                raise CheckpointError(
                    "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata "
                    "than during the forward pass.\n" + "\n".join(wrong)
                )
        self.values = dict(enumerate(found))


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), str(tensor.dtype)


def _text(kind: tuple[Any, ...]) -> str:
    return f"{{'shape': {list(kind[0])}, 'dtype': {kind[1]}}}"


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    respect_saved_tensors_hooks: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Calls ``function(*args, **kwargs)`` without keeping what its backward needs; backward computes it again.

    Args:
        use_reentrant: which way (see above); say which. False works with ``autograd.grad``, keyword arguments and
            nested outputs; True does not.
        preserve_rng_state: give the second run the first one's random numbers (dropout).
        context_fn: makes a context for each run.
        determinism_check: ``"default"`` compares shapes and dtypes of both runs, ``"none"`` does not.

    Raises:
        CheckpointError: in backward, when the runs differ.

    Example:
        >>> y = checkpoint(block, x, use_reentrant=False)
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. In a future release, "
            "calling checkpoint without use_reentrant will raise an exception. use_reentrant=False is recommended, "
            "but if you need to preserve the current default behavior, you can pass use_reentrant=True.",
            stacklevel=2,
        )
        use_reentrant = True
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug or respect_saved_tensors_hooks is not None:
            raise ValueError(
                "Passing `context_fn`, `debug`, or `respect_saved_tensors_hooks` is only supported when "
                "use_reentrant=False."
            )
        if rustnn.is_grad_enabled() and not any(isinstance(a, Tensor) and a.requires_grad for a in args):
            warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)
        return CheckpointFunction.apply(function, preserve_rng_state, *args)
    if determinism_check not in ("default", "none"):
        raise ValueError(f"determinism_check should be one of ['default', 'none'], but got {determinism_check}")
    forward_context, again_context = context_fn()
    if not rustnn.is_grad_enabled():
        with forward_context:
            return function(*args, **kwargs)
    random = rustnn.get_rng_state() if preserve_rng_state else None

    def again() -> None:
        with _random_state(random), rustnn.enable_grad(), again_context:
            function(*args, **kwargs)

    frame = _Frame(again, determinism_check == "default", early_stop)
    with autograd.graph.saved_tensors_hooks(frame.pack, frame.unpack), forward_context:
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Runs a Sequential, or a list of functions, in ``segments`` parts, all but the last checkpointed."""
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be passed explicitly. "
            "use_reentrant=False is recommended, but if you need to preserve the current default behavior, you can "
            "pass use_reentrant=True.",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    parts: Sequence[Any] = (
        list(functions.children()) if isinstance(functions, rustnn.nn.Sequential) else list(functions)
    )

    def run(start: int, stop: int) -> Callable[[Any], Any]:
        def forward(x: Any) -> Any:
            for part in parts[start:stop]:
                x = part(x)
            return x

        return forward

    size = len(parts) // segments
    start = 0
    for _ in range(segments - 1):
        input = checkpoint(run(start, start + size), input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
        start += size
    return run(start, len(parts))(input)
