"""Ready-made parametrizations: orthogonal, spectral norm, weight norm."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from ..._numeric import finfo
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


_MAPS = ("matrix_exp", "cayley", "householder")


def _orthogonalised(matrix: Tensor) -> Tensor:
    """The orthogonal factor of a matrix, with a triangular factor whose diagonal is positive."""
    reflectors, tau = _C.geqrf(matrix)
    q = _linalg().householder_product(reflectors, tau)
    return q * reflectors.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


def _is_orthogonal(q: Tensor) -> bool:
    rows, columns = q.shape[-2:]
    eye = _C.eye(columns, dtype=q.dtype)
    return bool(_C.allclose(q.mT @ q, eye.expand(*q.shape[:-2], columns, columns),
                            atol=10.0 * rows * finfo(q.dtype).eps))  # fmt: skip


def _linalg() -> Any:
    from ... import linalg

    return linalg


class _Orthogonal(Module):
    """A matrix made orthogonal by a map, optionally times a base point, with which any orthogonal matrix is reached."""

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        self.use_trivialization = use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x: Tensor) -> Tensor:
        """An orthogonal (or semi-orthogonal) matrix."""
        own: Any = self
        wide = x.shape[-2] < x.shape[-1]
        if wide:
            x = x.mT
        rows, columns = x.shape[-2:]
        if self.orthogonal_map == "householder":
            lower = x.tril(-1)
            tau = 2.0 / (1.0 + (lower * lower).sum(dim=-2))
            q = _linalg().householder_product(lower, tau)
            # The diagonal holds signs: with them the map reaches every matrix.
            q = q * x.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)
        else:
            lower = x.tril()
            if rows != columns:
                fill = x.new_zeros((rows, rows - columns)).expand(*x.shape[:-2], -1, -1)
                lower = _C.cat([lower, fill], -1)
            skew = lower - lower.mT
            if self.orthogonal_map == "matrix_exp":
                q = _linalg().matrix_exp(skew)
            else:
                eye = _C.eye(rows, dtype=x.dtype)
                q = _linalg().solve(eye - skew * 0.5, eye + skew * 0.5)
            if rows != columns:
                q = q[..., :columns]
        if self.use_trivialization:
            q = own.base @ q
        return q.mT if wide else q

    def right_inverse(self, value: Tensor) -> Tensor:
        """What the map takes to ``value``; with a base point, that becomes ``value``."""
        if value.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {value.shape}."
            )
        wide = value.shape[-2] < value.shape[-1]
        q = value.mT if wide else value
        rows, columns = q.shape[-2:]
        if not self.use_trivialization:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                    "use_trivialization=False."
                )
            reflectors, tau = _C.geqrf(q)
            diagonal = reflectors.diagonal(dim1=-2, dim2=-1)
            diagonal.sign_()
            diagonal[tau == 0.0] *= -1
            return reflectors.mT if wide else reflectors
        if rows == columns:
            self.base = q.clone() if _is_orthogonal(q) else _orthogonalised(q)
        else:
            more = _C.randn(*q.shape[:-2], rows, rows - columns, dtype=q.dtype)
            self.base = _orthogonalised(_C.cat([q, more], -1))
        start = _C.zeros_like(value)
        start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
        return start


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """Keeps a matrix parameter orthogonal (its rows or columns orthonormal).

    Args:
        orthogonal_map: ``"matrix_exp"``, ``"cayley"`` or ``"householder"``; by default the first for square matrices,
            the last for others.
        use_trivialization: multiply by a base point, a buffer; needed to assign to the parameter with the first two.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")  # noqa: TRY004
    if weight.dim() < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions.")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] else "householder"
    if orthogonal_map not in _MAPS:
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    own = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return parametrize.register_parametrization(module, name, own, unsafe=True)
