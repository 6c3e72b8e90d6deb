"""Ready-made parametrizations: orthogonal, spectral norm, weight norm."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from .. import functional as F
from .._base import _C, Tensor, no_grad
from ..module import Module
from . import parametrize
from .weight_norm import _weight_norm as _apply_weight_norm
from .weight_norm import norm_except_dim

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


class _WeightNorm(Module):
    """``g * v / |v|``, of the originals ``g`` and ``v``."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        """The weight."""
        return _apply_weight_norm(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Length and direction of a weight."""
        return norm_except_dim(weight, 2, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Splits a parameter into length (``original0``) and direction (``original1``)."""
    made = _WeightNorm(dim)
    parametrize.register_parametrization(module, name, made, unsafe=True)

    def from_old_names(
        state_dict: dict[str, Any],
        prefix: str,
        meta: Any,
        strict: bool,
        missing: Any,
        unexpected: Any,
        errors: Any,
    ) -> None:
        # Checkpoints of the hook-based weight_norm.
        g, v = f"{prefix}{name}_g", f"{prefix}{name}_v"
        if g in state_dict and v in state_dict:
            state_dict[f"{prefix}parametrizations.{name}.original0"] = state_dict.pop(g)
            state_dict[f"{prefix}parametrizations.{name}.original1"] = state_dict.pop(v)

    module._register_load_state_dict_pre_hook(from_old_names)
    return module


class _SpectralNorm(Module):
    """The weight over its largest singular value, estimated by power iteration in training."""

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        if dim >= weight.dim() or dim < -weight.dim():
            raise IndexError(
                "Dimension out of range (expected to be in range of "
                f"[-{weight.dim()}, {weight.dim() - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim = dim if dim >= 0 else dim + weight.dim()
        self.eps = eps
        if weight.dim() > 1:
            self.n_power_iterations = n_power_iterations
            with no_grad():
                matrix = self._matrix(weight.detach())
                h, w = matrix.shape
                u = weight.new_empty(h).normal_(0, 1)
                v = weight.new_empty(w).normal_(0, 1)
                self.register_buffer("_u", F.normalize(u, dim=0, eps=eps))
                self.register_buffer("_v", F.normalize(v, dim=0, eps=eps))
            self._power_method(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        if self.dim != 0:
            weight = weight.permute(self.dim, *[d for d in range(weight.dim()) if d != self.dim])
        return weight.reshape((weight.shape[0], -1))

    def _power_method(self, matrix: Tensor, steps: int) -> None:
        own: Any = self
        with no_grad():
            for _ in range(steps):
                own._u.copy_(F.normalize(matrix.mv(own._v), dim=0, eps=self.eps))
                own._v.copy_(F.normalize(matrix.t().mv(own._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        """The normalised weight."""
        if weight.dim() == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        own: Any = self
        matrix = self._matrix(weight)
        if self.training:
            self._power_method(matrix.detach(), self.n_power_iterations)
        u, v = own._u.clone(), own._v.clone()
        return weight / (u * matrix.mv(v)).sum()

    def right_inverse(self, value: Tensor) -> Tensor:
        """Any weight stands for itself."""
        return value


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divides a parameter by its largest singular value."""
    if not hasattr(module, name):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    weight = getattr(module, name)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")  # noqa: TRY004
    if dim is None:
        dim = 1 if type(module).__name__ in ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d") else 0
    parametrize.register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))
    return module


class _Orthogonal(Module):
    """The orthogonal factor of the Cayley map of a skew-symmetric matrix, from a base point."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, cols = weight.shape
        self.wide = rows < cols
        self.size = max(rows, cols)
        self.rank = min(rows, cols)
        with no_grad():
            tall = weight.detach().t() if self.wide else weight.detach()
            import numpy as np

            q, r = np.linalg.qr(tall.contiguous().numpy(), mode="complete")
            signs = np.ones(self.size, dtype=q.dtype)
            signs[: self.rank] = np.where(np.diag(r) < 0, -1, 1)
            self.register_buffer("base", _C.from_numpy(np.ascontiguousarray(q * signs)))

    def forward(self, x: Tensor) -> Tensor:
        """An orthogonal (or semi-orthogonal) matrix."""
        tall = x.t() if self.wide else x
        lower = tall.tril(-1)
        if self.rank < self.size:
            lower = _C.cat([lower, _C.zeros((self.size, self.size - self.rank), dtype=x.dtype)], 1)
        skew = lower - lower.t()
        eye = _C.eye(self.size, dtype=x.dtype)
        from ... import linalg

        q = linalg.solve(eye + skew * 0.5, eye - skew * 0.5)
        own: Any = self
        q = own.base.matmul(q)[:, : self.rank]
        return q.t() if self.wide else q

    def right_inverse(self, value: Tensor) -> Tensor:
        """Takes ``value`` as the new base point."""
        return _C.zeros_like(value)


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """Keeps a matrix parameter orthogonal (its rows or columns orthonormal) by the Cayley map.

    ``orthogonal_map`` other than ``None`` and ``'cayley'`` is not available.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")  # noqa: TRY004
    if weight.dim() != 2:
        raise ValueError(
            f"Expected a matrix. Got a tensor of {weight.dim()} dimensions. (Batches of matrices are not available.)"
        )
    if orthogonal_map not in (None, "cayley"):
        raise ValueError(f"orthogonal_map must be None or 'cayley' here. Got: {orthogonal_map}")
    return parametrize.register_parametrization(module, name, _Orthogonal(weight), unsafe=True)
