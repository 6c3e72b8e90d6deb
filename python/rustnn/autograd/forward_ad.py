"""`torch.autograd.forward_ad`: derivatives along directions given beforehand.

Inside a level, `make_dual` ties a tangent to a tensor; what is computed from it has a tangent too, which `unpack_dual`
gives. Here a tangent is not carried along with each operation: `unpack_dual` finds it from the graph of the backward
pass, which it differentiates by the vector it starts from (the vector-Jacobian product is linear in it). So the graph
from a dual tensor on is recorded, and a tensor made from one has `requires_grad`.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple, Self

from rustnn import _C

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]

# The pairs (dual tensor, its tangent) of the level in force; `None` outside of one.
_duals: list[tuple[Any, Any]] | None = None


class UnpackedDualTensor(NamedTuple):
    """A value and its tangent."""

    primal: Any
    tangent: Any


class dual_level:
    """The block in which dual tensors can be made; their tangents are gone at its end.

    Example::

        >>> import rustnn.autograd.forward_ad as fwad
        >>> with fwad.dual_level():
        ...     x = fwad.make_dual(rustnn.tensor(2.0), rustnn.tensor(1.0))
        ...     fwad.unpack_dual(x**3).tangent
        tensor(12.)
    """

    def __enter__(self) -> Self:
        self.level = enter_dual_level()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        exit_dual_level(level=self.level)


def enter_dual_level() -> int:
    """Begins a level and gives its number, 0: levels do not nest."""
    global _duals
    if _duals is not None:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _duals = []
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """Ends the level."""
    global _duals
    if _duals is None or level not in (None, 0):
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is not supported."
        )
    _duals = None


def _need_graph(what: str) -> None:
    if not _C._is_grad_enabled():
        raise NotImplementedError(
            f"{what} under no_grad(): rustnn finds tangents from the graph, which is not recorded there\n"
            "  hint: leave no_grad() out around forward_ad, or use rustnn.func.jvp"
        )


def make_dual(tensor: Any, tangent: Any, *, level: int | None = None) -> Any:
    """A tensor of the same values with a tangent of the same shape and dtype.

    Raises:
        RuntimeError: outside of a level, or the tangent does not fit.
    """
    if _duals is None:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    if not tensor.is_floating_point():
        raise ValueError(f"Expected primal to be floating point or complex, but got: {tensor.dtype}")
    if not tangent.is_floating_point():
        raise ValueError(f"Expected tangent to be floating point or complex, but got: {tangent.dtype}")
    if tuple(tensor.shape) != tuple(tangent.shape):
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
            f"supported. Tensor is of size {list(tensor.shape)} while the given forward gradient is of size "
            f"{list(tangent.shape)}."
        )
    if tensor.dtype != tangent.dtype:
        raise RuntimeError(
            f"Expected the tangent to have the dtype of the tensor, {tensor.dtype}, but got {tangent.dtype}"
        )
    _need_graph("make_dual")
    dual = tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_().view_as(tensor)
    _duals.append((dual, tangent))
    return dual


def unpack_dual(tensor: Any, *, level: int | None = None) -> UnpackedDualTensor:
    """The value of a tensor and its tangent; `None` for a tensor that no dual tensor has a part in."""
    if _duals and not tensor.requires_grad:
        _need_graph("unpack_dual")
    if not _duals or not tensor.requires_grad:
        return UnpackedDualTensor(tensor, None)
    from rustnn.autograd._engine import grad

    # Tensors that were differentiated by without forward mode keep the derivative of the tangent.
    outer = any(t.requires_grad for _, t in _duals)
    before = _C._set_grad_enabled(True)
    try:
        probe = _C.zeros_like(tensor.detach()).requires_grad_()
        points = [d for d, _ in _duals]
        back = grad((tensor,), points, (probe,), retain_graph=True, create_graph=True, allow_unused=True)
        pairs = [(b, t) for b, (_, t) in zip(back, _duals, strict=True) if b is not None]
        if not pairs:
            return UnpackedDualTensor(tensor, None)
        live = [(b, t) for b, t in pairs if b.requires_grad]
        found = None
        if live:
            (found,) = grad(
                [b for b, _ in live], (probe,), [t for _, t in live],
                retain_graph=True, create_graph=outer, allow_unused=True,
            )  # fmt: skip
    finally:
        _C._set_grad_enabled(before)
    tangent = _C.zeros_like(probe.detach()) if found is None else found
    return UnpackedDualTensor(tensor.detach(), tangent)
