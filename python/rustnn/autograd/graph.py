"""Looking at the graph, and hooks on what it saves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rustnn import _C

__all__ = [
    "GradientEdge",
    "Node",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]

Node: Any = getattr(_C, "Node", object)

# The pairs (pack, unpack) in force; the native engine keeps the same stack for its own nodes.
_hooks: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = []
# Why none may be put in force now, innermost last.
_refused: list[str] = []


class saved_tensors_hooks:
    """What the forward pass saves goes through `pack_hook`; backward gets it back through `unpack_hook`.

    Example::

        >>> with rustnn.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(), rustnn.from_numpy):
        ...     y = x * x
    """

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        if _refused:
            raise RuntimeError(_refused[-1])
        push = getattr(_C, "_push_saved_tensors_hooks", None)
        if push is not None:
            push(self.pack_hook, self.unpack_hook)
        _hooks.append((self.pack_hook, self.unpack_hook))

    def __exit__(self, *_: object) -> None:
        _hooks.pop()
        pop = getattr(_C, "_pop_saved_tensors_hooks", None)
        if pop is not None:
            pop()


class save_on_cpu(saved_tensors_hooks):
    """Saved tensors are on the CPU already; accepted so that programs run."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda tensor: tensor, lambda tensor: tensor)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


class disable_saved_tensors_hooks:
    """Inside the block, `saved_tensors_hooks` raises `error_message`."""

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message

    def __enter__(self) -> None:
        if _hooks:
            raise RuntimeError(self.error_message)
        _refused.append(self.error_message)

    def __exit__(self, *_: object) -> None:
        _refused.pop()


class _NodeHandle:
    """Removes a hook from a node of the graph."""

    def __init__(self, node: Any, number: int) -> None:
        self.node, self.number = node, number

    def remove(self) -> None:
        self.node._remove_hook(self.number)

    def __enter__(self) -> _NodeHandle:  # noqa: PYI034
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class GradientEdge(tuple[Any, int]):
    """The node and output number at which a tensor's gradient arrives."""

    @property
    def node(self) -> Any:
        return self[0]

    @property
    def output_nr(self) -> int:
        return self[1]


def get_gradient_edge(tensor: Any) -> GradientEdge:
    """Where in the graph the gradient of `tensor` arrives."""
    if not tensor.requires_grad:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require gradients"
        )
    return GradientEdge((tensor.grad_fn, getattr(tensor, "output_nr", 0)))


def increment_version(tensor: Any) -> None:
    """Counts a change of `tensor` that autograd could not see."""
    tensors = (tensor,) if isinstance(tensor, _C.Tensor) else tuple(tensor)
    for one in tensors:
        _C._increment_version(one)


class _Handles:
    def __init__(self, handles: list[Any]) -> None:
        self.handles = handles

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> _Handles:  # noqa: PYI034
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def register_multi_grad_hook(
    tensors: Sequence[Any], fn: Callable[..., Any], *, mode: str = "all"
) -> _Handles:
    """Calls `fn` when the gradients of all `tensors` (or, with `mode="any"`, the first) have been computed."""
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    grads: list[Any] = [None] * len(tensors)
    seen: set[int] = set()

    def make(place: int) -> Callable[[Any], None]:
        def hook(gradient: Any) -> None:
            if mode == "any":
                if not seen:
                    seen.add(place)
                    fn(gradient)
                return
            grads[place] = gradient
            seen.add(place)
            if len(seen) == len(tensors):
                given = list(grads)
                seen.clear()
                grads[:] = [None] * len(tensors)
                fn(given)

        return hook

    return _Handles([tensor.register_hook(make(i)) for i, tensor in enumerate(tensors)])
