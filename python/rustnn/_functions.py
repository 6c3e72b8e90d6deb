"""Functions of the top module that are written in Python: predicates, settings, and what composes other ops."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rustnn import _C
from rustnn._numeric import finfo, iinfo  # noqa: F401  (re-exported)
from rustnn._tensor import _TYPE_NAMES, _dtype_name

Tensor = Any

_PYTHON = [
    "are_deterministic_algorithms_enabled",
    "compile",
    "finfo",
    "get_default_device",
    "get_deterministic_debug_mode",
    "get_float32_matmul_precision",
    "iinfo",
    "is_complex",
    "is_deterministic_algorithms_warn_only_enabled",
    "is_floating_point",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "is_nonzero",
    "is_storage",
    "is_tensor",
    "is_warn_always_enabled",
    "numel",
    "set_default_device",
    "set_default_tensor_type",
    "set_deterministic_debug_mode",
    "set_float32_matmul_precision",
    "set_flush_denormal",
    "set_warn_always",
    "typename",
    "use_deterministic_algorithms",
    "vmap",
]
# Only where the native module has none of that name.
_FALLBACKS = [
    "norm",
    "split",
    "unique",
    "unique_consecutive",
    "set_num_interop_threads",
    "get_num_interop_threads",
]
__all__ = _PYTHON + [name for name in _FALLBACKS if not hasattr(_C, name)]  # noqa: PLE0605

_settings: dict[str, Any] = {
    "deterministic": False,
    "warn_only": False,
    "matmul_precision": "highest",
    "warn_always": False,
    "interop": 1,
}


def is_grad_enabled() -> bool:
    """Whether operations record a graph now."""
    return bool(_C._is_grad_enabled())


def is_inference_mode_enabled() -> bool:
    """Whether an `inference_mode` block is around."""
    return bool(_C._is_inference_mode())


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a tensor."""
    return isinstance(obj, _C.Tensor)


def is_storage(obj: Any) -> bool:
    """Whether `obj` is a storage object: never, since storages are not objects of their own."""
    return False


def is_floating_point(input: Tensor) -> bool:
    """Whether the tensor's dtype is one of the floating point ones."""
    return bool(input.dtype.is_floating_point)


def is_complex(input: Tensor) -> bool:
    """False: there are no complex dtypes."""
    return False


def is_nonzero(input: Tensor) -> bool:
    """Whether a tensor of one element is not zero."""
    if input.numel() != 1:
        if input.numel() == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
    return bool(input.item())


def numel(input: Tensor) -> int:
    """The number of elements."""
    return int(input.numel())


def typename(obj: Any) -> str:
    """`"torch.FloatTensor"` and so on for tensors, the qualified type name for anything else."""
    if isinstance(obj, _C.Tensor):
        return "torch." + _TYPE_NAMES[_dtype_name(obj.dtype)]
    kind = obj if hasattr(obj, "__qualname__") else type(obj)
    module = getattr(kind, "__module__", "") or ""
    name: str = getattr(kind, "__qualname__", type(obj).__name__)
    return name if module in ("", "builtins") else f"{module}.{name}"


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted: every operation is deterministic already, at any number of threads."""
    _settings["deterministic"], _settings["warn_only"] = bool(mode), bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was last given."""
    return bool(_settings["deterministic"])


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    return bool(_settings["warn_only"])


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """Accepted: 0 or "default", 1 or "warn", 2 or "error"."""
    levels = {"default": 0, "warn": 1, "error": 2, 0: 0, 1: 1, 2: 2}
    if debug_mode not in levels:
        raise RuntimeError(
            f"invalid value of debug_mode, expected `default`, `warn`, `error`, but got {debug_mode}"
        )
    level = levels[debug_mode]
    use_deterministic_algorithms(level > 0, warn_only=level == 1)


def get_deterministic_debug_mode() -> int:
    return 0 if not _settings["deterministic"] else 1 if _settings["warn_only"] else 2


def set_float32_matmul_precision(precision: str) -> None:
    """Accepted: products of float32 are always computed in float32."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"{precision} is not one of 'highest', 'high', 'medium'")
    _settings["matmul_precision"] = precision


def get_float32_matmul_precision() -> str:
    return str(_settings["matmul_precision"])


def set_flush_denormal(mode: bool) -> bool:
    """False: denormal numbers are kept."""
    return False


def set_warn_always(mode: bool) -> None:
    _settings["warn_always"] = bool(mode)


def is_warn_always_enabled() -> bool:
    return bool(_settings["warn_always"])


def set_num_interop_threads(num: int) -> None:
    """Accepted: there is one pool, set by `set_num_threads`."""
    if num < 1:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    _settings["interop"] = int(num)


def get_num_interop_threads() -> int:
    return int(_settings["interop"])


def get_default_device() -> Any:
    """The device on which factories make tensors."""
    return _C.empty(0).device


def set_default_device(device: Any) -> None:
    """Sets the device of factories; `"cpu"` is the only one."""
    if device is not None:
        _C.empty(0, device=device)


def set_default_tensor_type(kind: Any) -> None:
    """Sets the default dtype by a type name such as `"torch.DoubleTensor"`."""
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    wanted = name.rsplit(".", 1)[-1]
    for dtype, type_name in _TYPE_NAMES.items():
        if type_name == wanted:
            _C.set_default_dtype(getattr(_C, dtype))
            return
    raise TypeError(f"invalid type object: {kind!r}; known are {sorted(_TYPE_NAMES.values())}")


def compile(model: Any = None, **options: Any) -> Any:
    """Returns the function or module unchanged: operations are native and fused where that pays."""
    if model is None:
        return lambda function: function
    return model


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """`func` applied to every slice along a dimension, results stacked: a loop, differentiable.

    Args:
        func: a function of tensors.
        in_dims: the dimension of each argument to map over, or `None` to pass it whole.
        out_dims: where the mapped dimension stands in each result.

    Example::

        >>> rustnn.vmap(rustnn.dot)(rustnn.ones(3, 4), rustnn.ones(3, 4))
        tensor([4., 4., 4.])
    """

    @functools.wraps(func)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        from rustnn.utils import _pytree

        leaves, spec = _pytree.tree_flatten(args)
        given = tuple(in_dims) if isinstance(in_dims, list) else in_dims
        dims = _pytree._broadcast_to_and_flatten(given, spec)
        name = getattr(func, "__name__", repr(func))
        where = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>)"
        if dims is None:
            raise ValueError(
                f"{where}: in_dims is not compatible with the structure of inputs. in_dims has structure "
                f"{_pytree.tree_flatten(given)[1]} but inputs has structure {spec}."
            )
        places: list[int | None] = []
        sizes = []
        for leaf, dim in zip(leaves, dims, strict=True):
            if dim is None:
                places.append(None)
                continue
            if not isinstance(leaf, _C.Tensor):
                raise ValueError(
                    f"{where}: Got in_dim={dim} for an input but the input is of type {type(leaf)}. We cannot vmap "
                    "over non-Tensor arguments, please use None as the respective in_dim"
                )
            if not -leaf.dim() <= dim < leaf.dim():
                raise ValueError(
                    f"{where}: Got in_dim={dim} for some input, but that input is a Tensor of dimensionality "
                    f"{leaf.dim()} so expected in_dim to satisfy -{leaf.dim()} <= in_dim < {leaf.dim()}."
                )
            places.append(dim)
            sizes.append(leaf.shape[dim])
        if not sizes:
            raise ValueError(f"{where}: there is no tensor to map over: all in_dims are None, or there are no inputs")
        if len(set(sizes)) != 1:
            raise ValueError(
                "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
                f"{sizes} for the mapped dimension"
            )
        results = []
        for i in range(sizes[0]):
            own = [x if d is None else x.select(d, i) for x, d in zip(leaves, places, strict=True)]
            results.append(func(*spec.unflatten(own), **kwargs))
        if not results:
            raise ValueError(
                "vmap: the mapped dimension has size 0, so there is no result to take a shape from"
            )
        return _stack_results(results, out_dims, name)

    return mapped


def _stack_results(results: Sequence[Any], out_dims: Any, name: str) -> Any:
    """The results of all calls, leaf by leaf, stacked along the dimensions that `out_dims` says."""
    from rustnn.utils import _pytree

    leaves, spec = _pytree.tree_flatten(results[0])
    given = tuple(out_dims) if isinstance(out_dims, list) else out_dims
    if isinstance(results[0], _C.Tensor) and isinstance(given, tuple) and len(given) == 1:
        given = given[0]
    dims = _pytree._broadcast_to_and_flatten(given, spec)
    if dims is None:
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of "
            "outputs."
        )
    columns = zip(*(_pytree.tree_leaves(r) for r in results), strict=True)
    stacked = []
    for column, dim in zip(columns, dims, strict=True):
        if not isinstance(column[0], _C.Tensor):
            raise ValueError(
                f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(column[0])}."
            )
        stacked.append(column[0] if dim is None else _C.stack(list(column), dim))
    return spec.unflatten(stacked)


# ---- ops composed of others, where no native one exists --------------------------------------------------


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of `tensor` along `dim`: of at most the given size each, or of the sizes in a list."""
    size = tensor.shape[dim]
    if isinstance(split_size_or_sections, (list, tuple)):
        sizes = [int(s) for s in split_size_or_sections]
        if sum(sizes) != size:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's size at dimension "
                f"{dim}), but got split_sizes={sizes}"
            )
    else:
        step = int(split_size_or_sections)
        if step < 0 or (step == 0 and size != 0):
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={step}")
        sizes = [min(step, size - at) for at in range(0, size, max(step, 1))] or [0]
    pieces, start = [], 0
    for piece in sizes:
        pieces.append(tensor.narrow(dim, start, piece))
        start += piece
    return tuple(pieces)


def _with_extras(values: Any, inverse: Any, counts: Any, want_inverse: bool, want_counts: bool) -> Any:
    extras = ([inverse] if want_inverse else []) + ([counts] if want_counts else [])
    return (values, *extras) if extras else values


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements in rising order; with `dim`, the distinct slices along it.

    Returns:
        values, and if asked for the index of each input element in them, and how often each occurs.
    """
    array = input.detach().numpy()
    values, inverse, counts = np.unique(array, return_inverse=True, return_counts=True, axis=dim)
    shape = array.shape if dim is None else (array.shape[dim],)
    return _with_extras(
        _C.from_numpy(np.ascontiguousarray(values)),
        _C.from_numpy(inverse.reshape(shape).astype(np.int64)),
        _C.from_numpy(counts.astype(np.int64)),
        return_inverse,
        return_counts,
    )


def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements (or slices along `dim`) without immediate repetitions."""
    array = input.detach().numpy()
    rows = array.reshape(-1, 1) if dim is None else np.moveaxis(array, dim, 0).reshape(array.shape[dim], -1)
    new = np.ones(len(rows), dtype=bool)
    if len(rows):
        new[1:] = np.any(rows[1:] != rows[:-1], axis=1)
    starts = np.flatnonzero(new)
    values = array.reshape(-1)[starts] if dim is None else np.take(array, starts, axis=dim)
    inverse = np.cumsum(new) - 1
    counts = np.diff(np.append(starts, len(rows)))
    return _with_extras(
        _C.from_numpy(np.ascontiguousarray(values)),
        _C.from_numpy(inverse.reshape(array.shape if dim is None else (len(rows),)).astype(np.int64)),
        _C.from_numpy(counts.astype(np.int64)),
        return_inverse,
        return_counts,
    )


def norm(
    input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Any = None, dtype: Any = None
) -> Tensor:
    """The norm of order `p` of the elements, over all dimensions or `dim`."""
    x = input if dtype is None else input.to(dtype)
    if dim is None:
        dims = tuple(range(x.dim()))
    else:
        dims = tuple(dim) if isinstance(dim, (tuple, list)) else (int(dim),)
    order = 2.0 if p in ("fro", None) else float(p)
    if order == float("inf"):
        return x.abs().amax(dims, keepdim)
    if order == -float("inf"):
        return x.abs().amin(dims, keepdim)
    if order == 0:
        return (x != 0).to(x.dtype).sum(dims, keepdim)
    if order == 1:
        return x.abs().sum(dims, keepdim)
    if order == 2:
        return (x * x).sum(dims, keepdim).sqrt()
    return x.abs().pow(order).sum(dims, keepdim).pow(1.0 / order)
