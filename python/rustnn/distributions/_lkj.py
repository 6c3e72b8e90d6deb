"""The Lewandowski-Kurowicka-Joe distribution of correlation matrices, through their Cholesky factors."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from rustnn import _C
from rustnn._numeric import finfo
from rustnn.autograd import no_grad

from . import constraints
from ._gamma import Beta
from .distribution import Distribution
from .utils import broadcast_all, standard_normal

__all__ = ["LKJCholesky"]

Tensor = Any


class LKJCholesky(Distribution):
    """Lower triangular factors L, of shape `(dim, dim)`, of correlation matrices whose density is proportional to
    `det(L L^T) ** (concentration - 1)`: uniform at 1, near the identity where `concentration` is large.

    Draws are made by the onion method (Lewandowski, Kurowicka and Joe, 2009, section 3.2): row by row a direction on
    the sphere, and from a beta distribution how far it goes.

    Raises:
        ValueError: `dim` is less than 2.

    >>> import rustnn
    >>> L = rustnn.distributions.LKJCholesky(3, 0.5).sample()
    >>> rustnn.allclose((L @ L.T).diagonal(), rustnn.ones(3))
    True
    """

    arg_constraints: ClassVar[Any] = {"concentration": constraints.positive}
    support: Any = constraints.corr_cholesky

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None) -> None:
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        super().__init__(self.concentration.shape, (dim, dim), validate_args=validate_args)
        rows = _C.arange(dim - 1, dtype=self.concentration.dtype)
        # The first row goes nowhere, but is drawn with the others.
        rows = _C.cat([rows.new_zeros((1,)), rows])
        beyond = self.concentration + 0.5 * (dim - 2)
        # PyTorch 2.15 takes `rows + 0.5` first, which is the onion method's in two dimensions alone: its draws in more
        # do not have the density that `log_prob` gives.
        self._beta = Beta(0.5 * rows + 0.5, beyond.unsqueeze(-1) - 0.5 * rows)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same with parameters expanded."""
        new = self._get_checked_instance(LKJCholesky, _instance)
        new.dim, new.concentration = self.dim, self.concentration.expand(tuple(batch_shape))
        new._beta = self._beta.expand((*batch_shape, self.dim))
        Distribution.__init__(new, tuple(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Factors of shape `sample_shape + batch_shape + (dim, dim)`, without a graph."""
        with no_grad():
            y = self._beta.sample(sample_shape).unsqueeze(-1)
            u = standard_normal(self._extended_shape(sample_shape), y.dtype).tril(-1)
            u = u / u.norm(dim=-1, keepdim=True)
            u[..., 0, :] = 0.0
            w = y.sqrt() * u
            rest = (1 - w.pow(2).sum(-1)).clamp(min=finfo(w.dtype).tiny).sqrt()
            return w + rest.diag_embed()

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density of factors `value`, `(..., dim, dim)`."""
        if self._validate_args:
            self._validate_sample(value)
        below = value.diagonal(dim1=-1, dim2=-2)[..., 1:]
        order = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim - _C.arange(2, self.dim + 1)
        density = (order * below.log()).sum(-1)
        # The constant of section 3.2, page 1999.
        less = self.dim - 1
        alpha = self.concentration + 0.5 * less
        constant = 0.5 * less * math.log(math.pi) + (alpha - 0.5).mvlgamma(less) - alpha.lgamma() * less
        return density - constant
