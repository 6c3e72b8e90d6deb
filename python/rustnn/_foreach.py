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


def _only(function: str, **given: Any) -> Any:
    """The one argument that was given: PyTorch's overloads name it by its kind.

    Raises:
        TypeError: none was, or several.
    """
    found = [value for value in given.values() if value is not None]
    if len(found) != 1:
        raise TypeError(f"{function}() takes one of {', '.join(given)}, got {len(found)}")
    return found[0]


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

    def given(other: Any, kwargs: dict[str, Any]) -> Any:
        named = {key: kwargs.pop(key, None) for key in ("scalar", "scalars", "tensor", "exponent")}
        return _only(f"_foreach_{name}", other=other, **named)

    def out_of_place(tensors: Sequence[Any], other: Any = None, **kwargs: Any) -> tuple[Any, ...]:
        others = _columns(len(tensors), given(other, kwargs))
        return tuple(getattr(t, pick(o))(o, **kwargs) for t, o in zip(tensors, others, strict=True))

    def in_place(tensors: Sequence[Any], other: Any = None, **kwargs: Any) -> None:
        for t, o in zip(tensors, _columns(len(tensors), given(other, kwargs)), strict=True):
            if hasattr(t, f"{pick(o)}_"):
                getattr(t, f"{pick(o)}_")(o, **kwargs)
            else:
                t.copy_(getattr(t, pick(o))(o, **kwargs))

    return out_of_place, in_place


def _pointwise(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def values(count: int, value: Any) -> Sequence[Any]:
        return value.tolist() if isinstance(value, _C.Tensor) and value.dim() == 1 else _columns(count, value)

    def given(value: Any, scalars: Any, tensor: Any) -> Any:
        # No number is a factor of one.
        if value is None and scalars is None and tensor is None:
            return 1
        return _only(f"_foreach_{name}", value=value, scalars=scalars, tensor=tensor)

    def out_of_place(
        tensors: Sequence[Any],
        tensor1: Sequence[Any],
        tensor2: Sequence[Any],
        value: Any = None,
        *,
        scalars: Any = None,
        tensor: Any = None,
    ) -> tuple[Any, ...]:
        factors = values(len(tensors), given(value, scalars, tensor))
        rows = zip(tensors, tensor1, tensor2, factors, strict=True)
        return tuple(getattr(t, name)(x, y, value=v) for t, x, y, v in rows)

    def in_place(
        tensors: Sequence[Any],
        tensor1: Sequence[Any],
        tensor2: Sequence[Any],
        value: Any = None,
        *,
        scalars: Any = None,
        tensor: Any = None,
    ) -> None:
        factors = values(len(tensors), given(value, scalars, tensor))
        for t, x, y, v in zip(tensors, tensor1, tensor2, factors, strict=True):
            getattr(t, f"{name}_")(x, y, value=v)

    return out_of_place, in_place


def _foreach_lerp(
    tensors: Sequence[Any], tensors1: Sequence[Any], weights: Any = None, *, weight: Any = None
) -> tuple[Any, ...]:
    one = _columns(len(tensors), _only("_foreach_lerp", weights=weights, weight=weight))
    return tuple(t.lerp(e, w) for t, e, w in zip(tensors, tensors1, one, strict=True))


def _foreach_lerp_(tensors: Sequence[Any], tensors1: Sequence[Any], weights: Any = None, *, weight: Any = None) -> None:
    one = _columns(len(tensors), _only("_foreach_lerp_", weights=weights, weight=weight))
    for t, e, w in zip(tensors, tensors1, one, strict=True):
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
