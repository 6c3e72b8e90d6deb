"""`_foreach_*`: one op over lists of tensors, as optimizers written for PyTorch call them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rustnn import _C

__all__ = ["install"]

_UNARY = (
    "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor", "frac", "lgamma",
    "log", "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt",
    "tan", "tanh", "trunc",
)
_BINARY = ("add", "sub", "mul", "div", "pow", "maximum", "minimum", "clamp_max", "clamp_min")
_ALIASES = {"maximum": "clamp_min", "minimum": "clamp_max"}


def _columns(count: int, other: Any) -> Sequence[Any]:
    """`other` per tensor: a list stays one, anything else is repeated."""
    if isinstance(other, (list, tuple)):
        if len(other) != count:
            raise RuntimeError(
                f"Tensor lists must have the same number of tensors, got {count} and {len(other)}"
            )
        return other
    return [other] * count


def _unary(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def out_of_place(tensors: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(getattr(t, name)() for t in tensors)

    def in_place(tensors: Sequence[Any]) -> None:
        for t in tensors:
            getattr(t, f"{name}_")()

    return out_of_place, in_place


def _binary(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def pick(value: Any) -> str:
        return _ALIASES.get(name, name) if not isinstance(value, _C.Tensor) else name

    def out_of_place(tensors: Sequence[Any], other: Any, **kwargs: Any) -> tuple[Any, ...]:
        others = _columns(len(tensors), other)
        return tuple(getattr(t, pick(o))(o, **kwargs) for t, o in zip(tensors, others, strict=True))

    def in_place(tensors: Sequence[Any], other: Any, **kwargs: Any) -> None:
        for t, o in zip(tensors, _columns(len(tensors), other), strict=True):
            if hasattr(t, f"{pick(o)}_"):
                getattr(t, f"{pick(o)}_")(o, **kwargs)
            else:
                t.copy_(getattr(t, pick(o))(o, **kwargs))

    return out_of_place, in_place


def _pointwise(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def values(count: int, value: Any) -> Sequence[Any]:
        return value.tolist() if isinstance(value, _C.Tensor) and value.dim() == 1 else _columns(count, value)

    def out_of_place(tensors: Sequence[Any], a: Sequence[Any], b: Sequence[Any], value: Any = 1) -> tuple[Any, ...]:
        rows = zip(tensors, a, b, values(len(tensors), value), strict=True)
        return tuple(getattr(t, name)(x, y, value=v) for t, x, y, v in rows)

    def in_place(tensors: Sequence[Any], a: Sequence[Any], b: Sequence[Any], value: Any = 1) -> None:
        for t, x, y, v in zip(tensors, a, b, values(len(tensors), value), strict=True):
            getattr(t, f"{name}_")(x, y, value=v)

    return out_of_place, in_place


def _foreach_lerp(tensors: Sequence[Any], ends: Sequence[Any], weights: Any) -> tuple[Any, ...]:
    rows = zip(tensors, ends, _columns(len(tensors), weights), strict=True)
    return tuple(t.lerp(e, w) for t, e, w in rows)


def _foreach_lerp_(tensors: Sequence[Any], ends: Sequence[Any], weights: Any) -> None:
    for t, e, w in zip(tensors, ends, _columns(len(tensors), weights), strict=True):
        t.lerp_(e, w)


def _foreach_norm(tensors: Sequence[Any], ord: Any = 2, dtype: Any = None) -> tuple[Any, ...]:  # noqa: A002
    return tuple(t.norm(ord) if dtype is None else t.to(dtype).norm(ord) for t in tensors)


def _foreach_copy_(tensors: Sequence[Any], sources: Sequence[Any], non_blocking: bool = False) -> None:
    for t, s in zip(tensors, sources, strict=True):
        t.copy_(s)


def _foreach_zero_(tensors: Sequence[Any]) -> None:
    for t in tensors:
        t.zero_()


def _foreach_max(tensors: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(t.max() for t in tensors)


def install(namespace: dict[str, Any]) -> None:
    """Puts the functions into the top module's namespace."""
    made: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {}
    made.update({name: _unary(name) for name in _UNARY})
    made.update({name: _binary(name) for name in _BINARY})
    made.update({name: _pointwise(name) for name in ("addcmul", "addcdiv")})
    for name, (out_of_place, in_place) in made.items():
        for function, full in ((out_of_place, f"_foreach_{name}"), (in_place, f"_foreach_{name}_")):
            function.__name__ = function.__qualname__ = full
            namespace[full] = function
    for function in (
        _foreach_lerp, _foreach_lerp_, _foreach_norm, _foreach_copy_, _foreach_zero_, _foreach_max,
    ):
        namespace[function.__name__] = function
