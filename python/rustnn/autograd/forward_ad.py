"""`torch.autograd.forward_ad`: names for programs that mention forward mode; entering it raises."""

from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]


def _refuse(what: str) -> NoReturn:
    raise NotImplementedError(
        f"rustnn does not have PyTorch's torch.autograd.forward_ad.{what}: gradients run backward.\n"
        "  hint: rustnn.autograd.functional.jvp computes directional derivatives with two backward passes"
    )


class UnpackedDualTensor(NamedTuple):
    """A value and its tangent."""

    primal: Any
    tangent: Any


class dual_level:
    """Raises when entered."""

    def __enter__(self) -> Self:
        _refuse("dual_level")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Never reached."""


def enter_dual_level() -> int:
    """Raises."""
    _refuse("enter_dual_level")


def exit_dual_level(*, level: int | None = None) -> None:
    """Raises."""
    _refuse("exit_dual_level")


def make_dual(tensor: Any, tangent: Any, *, level: int | None = None) -> Any:
    """Raises."""
    _refuse("make_dual")


def unpack_dual(tensor: Any, *, level: int | None = None) -> UnpackedDualTensor:
    """The tensor and no tangent: outside of a level there is none."""
    return UnpackedDualTensor(tensor, None)
