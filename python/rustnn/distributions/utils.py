"""Small things that distributions share: broadcasting of parameters, properties computed once, logits and odds."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

from rustnn import _C
from rustnn._numeric import finfo

__all__ = [
    "broadcast_all",
    "clamp_probs",
    "euler_constant",
    "lazy_property",
    "logits_to_probs",
    "probs_to_logits",
    "tril_matrix_to_vec",
    "vec_to_tril_matrix",
]

Tensor = Any
euler_constant = 0.57721566490153286060


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """Numbers and tensors as tensors of one shape; numbers take the dtype of the first tensor.

    Raises:
        ValueError: something is neither a number nor a tensor.
    """
    for value in values:
        if not isinstance(value, (_C.Tensor, Number)) and not hasattr(type(value), "__torch_function__"):
            raise ValueError("Input arguments must all be instances of Number, torch.Tensor or objects implementing "
                             f"__torch_function__, got {type(value).__name__}")  # fmt: skip
    first = next((v for v in values if isinstance(v, _C.Tensor)), None)
    dtype = _C.get_default_dtype() if first is None else first.dtype
    made = [v if isinstance(v, _C.Tensor) else _C.tensor(v, dtype=dtype) for v in values]
    return tuple(_C.broadcast_tensors(*made))


def standard_normal(shape: Any, dtype: Any) -> Tensor:
    """Draws from the normal distribution around 0."""
    return _C.empty(tuple(shape), dtype=dtype).normal_()


def _standard_normal(shape: Any, dtype: Any, device: Any) -> Tensor:
    # PyTorch's name, which packages with distributions of their own call.
    return standard_normal(shape, dtype).to(device)


def sum_rightmost(value: Tensor, dim: int) -> Tensor:
    """The sum over the last `dim` dimensions."""
    if dim == 0:
        return value
    return value.reshape(tuple(value.shape[: value.dim() - dim]) + (-1,)).sum(-1)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), with the gradient 1/2 at 0."""
    return _C.logaddexp(x, _C.zeros_like(x))


def cross_entropy(logits: Tensor, value: Tensor) -> Tensor:
    """-(value · log p + (1 - value) · log(1 - p)) of log-odds."""
    return softplus(logits) - logits * value


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Probabilities of log-odds (binary), or of log-probabilities up to a constant (along the last dimension)."""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities kept off 0 and 1 by the dtype's precision, so that their logarithms are finite."""
    eps = finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """The inverse of `logits_to_probs`."""
    safe = clamp_probs(probs)
    return safe.log() - (-safe).log1p() if is_binary else safe.log()


class lazy_property:
    """A property that is computed when first asked for and kept; gradients are recorded even without a graph around."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        self.__doc__ = wrapped.__doc__
        self.__name__ = getattr(wrapped, "__name__", "")

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        from rustnn.autograd.grad_mode import enable_grad

        with enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.__name__, value)
        return value


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """The entries on and below a diagonal, row by row."""
    n = int(mat.shape[-1])
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    rows, columns = _C.tril_indices(n, n, diag)
    return mat[..., rows, columns]


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """The lower triangular matrix of such a vector."""
    length = int(vec.shape[-1])
    n = (-(1 + 2 * diag) + ((1 + 2 * diag) ** 2 + 8 * length + 4 * abs(diag) * (diag + 1)) ** 0.5) / 2
    if n % 1 > finfo(vec.dtype).eps:
        raise ValueError(
            f"The size of last dimension is {length} which cannot be expressed as the lower triangular part of a "
            "square D x D matrix."
        )
    size = round(n)
    rows, columns = _C.tril_indices(size, size, diag)
    mat = _C.zeros((*vec.shape[:-1], size, size), dtype=vec.dtype)
    mat[..., rows, columns] = vec
    return mat
