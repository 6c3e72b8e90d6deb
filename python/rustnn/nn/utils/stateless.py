"""A module called with other parameters than its own (``torch.func.functional_call``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..module import Module

__all__ = ["functional_call"]


@contextmanager
def _reparametrize_module(
    module: Module, values: dict[str, Any], *, tie_weights: bool = False, strict: bool = False
) -> Iterator[None]:
    """Puts ``values`` in place of members by their dotted paths, and back on leaving."""
    named = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    if tie_weights:
        by_id: dict[int, list[str]] = {}
        for name, tensor in named.items():
            by_id.setdefault(id(tensor), []).append(name)
        for name in list(values):
            for other in by_id.get(id(named.get(name)), []):
                values.setdefault(other, values[name])
    if strict:
        unexpected = [name for name in values if name not in named]
        absent = [name for name in named if name not in values]
        if unexpected or absent:
            lines = []
            if unexpected:
                lines.append("Unexpected key(s): " + ", ".join(map(repr, unexpected)) + ".")
            if absent:
                lines.append("Missing key(s): " + ", ".join(map(repr, absent)) + ".")
            raise RuntimeError(
                "Error(s) in reparametrizing for {}:\n\t{}".format(module._get_name(), "\n\t".join(lines))
            )
    undo: list[tuple[dict[str, Any], dict[str, Any], str, Any]] = []
    try:
        for path, value in values.items():
            parent, _, name = path.rpartition(".")
            owner = module.get_submodule(parent)
            space = owner._parameters if name in owner._parameters else owner._buffers
            if name not in space:
                raise AttributeError(f"{owner._get_name()} has no attribute `{name}`")
            undo.append((space, owner.__dict__, name, space[name]))
            space[name] = owner.__dict__[name] = value
        yield
    finally:
        for space, own, name, value in reversed(undo):
            space[name] = own[name] = value


def functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Any] | Sequence[dict[str, Any]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Calls ``module`` with the given tensors in place of its members.

    Example::

        out = functional_call(model, {"weight": w, "bias": b}, (x,))
    """
    values: dict[str, Any] = {}
    given = [parameters_and_buffers] if isinstance(parameters_and_buffers, dict) else parameters_and_buffers
    for part in given:
        for key, value in part.items():
            if key in values:
                raise ValueError(f"{key} appears in multiple dictionaries; behavior of functional call is ambiguous")
            values[key] = value
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    with _reparametrize_module(module, values, tie_weights=tie_weights, strict=strict):
        return module(*arguments, **(kwargs or {}))
