"""The Kullback-Leibler divergence of two distributions, by rules for pairs of types."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rustnn import _C

from ._compound import Independent, TransformedDistribution
from ._continuous import Cauchy, Exponential, HalfCauchy, HalfNormal, Laplace, Normal, Uniform
from ._discrete import Bernoulli, Binomial, Categorical, Geometric, OneHotCategorical, Poisson
from ._gamma import Beta, Dirichlet, Gamma
from ._transformed import Gumbel, Pareto
from .distribution import Distribution
from .multivariate_normal import MultivariateNormal, _solve_lower
from .utils import euler_constant, softplus, sum_rightmost

__all__ = ["kl_divergence", "register_kl"]

Tensor = Any
_RULES: dict[tuple[type[Any], type[Any]], Callable[[Any, Any], Any]] = {}


def register_kl(type_p: type[Any], type_q: type[Any]) -> Callable[[Any], Any]:
    """A decorator: the function gives the divergence of a `type_p` from a `type_q` (and of their subclasses)."""
    if not (isinstance(type_p, type) and issubclass(type_p, Distribution)):
        raise TypeError(f"Expected type_p to be a Distribution subclass but got {type_p}")
    if not (isinstance(type_q, type) and issubclass(type_q, Distribution)):
        raise TypeError(f"Expected type_q to be a Distribution subclass but got {type_q}")

    def take(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        _RULES[type_p, type_q] = function
        return function

    return take


def _rule(p: type[Any], q: type[Any]) -> Callable[[Any, Any], Any] | None:
    best, found = None, None
    for (a, b), function in _RULES.items():
        if issubclass(p, a) and issubclass(q, b):
            distance = (p.__mro__.index(a), q.__mro__.index(b))
            if best is None or distance < best:
                best, found = distance, function
    return found


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The divergence of p from q, of the batch's shape.

    Raises:
        NotImplementedError: there is no rule for the pair.

    Example::

        >>> from rustnn.distributions import Normal, kl_divergence
        >>> kl_divergence(Normal(0.0, 1.0), Normal(1.0, 1.0))
        tensor(0.5000)
    """
    rule = _rule(type(p), type(q))
    if rule is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {p.__class__.__name__} and q type {q.__class__.__name__}"
        )
    return rule(p, q)


def _where_zero(cond: Tensor, then: float, other: Tensor) -> Tensor:
    return _C.where(cond, then, other)


@register_kl(Normal, Normal)
def _normal(p: Any, q: Any) -> Tensor:
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Any, q: Any) -> Tensor:
    first = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    first = _where_zero(q.probs == 0, math.inf, first)
    first = _where_zero(p.probs == 0, 0.0, first)
    second = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    second = _where_zero(q.probs == 1, math.inf, second)
    second = _where_zero(p.probs == 1, 0.0, second)
    return first + second


@register_kl(Binomial, Binomial)
def _binomial(p: Any, q: Any) -> Tensor:
    if bool((p.total_count < q.total_count).any()):
        raise NotImplementedError("KL between Binomials where q.total_count > p.total_count is not implemented")
    found = p.total_count * (p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p())
    return _where_zero(p.total_count > q.total_count, math.inf, found)


@register_kl(Categorical, Categorical)
def _categorical(p: Any, q: Any) -> Tensor:
    found = p.probs * (p.logits - q.logits)
    found = _where_zero((q.probs == 0).expand(found.shape), math.inf, found)
    return _where_zero((p.probs == 0).expand(found.shape), 0.0, found).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: Any, q: Any) -> Tensor:
    return _categorical(p._categorical, q._categorical)


@register_kl(Gamma, Gamma)
def _gamma(p: Any, q: Any) -> Tensor:
    return (
        q.concentration * (p.rate / q.rate).log()
        + q.concentration.lgamma()
        - p.concentration.lgamma()
        + (p.concentration - q.concentration) * p.concentration.digamma()
        + (q.rate - p.rate) * (p.concentration / p.rate)
    )


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Any, q: Any) -> Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    norms = total.lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    return norms + ((a - b) * (a.digamma() - total.digamma().unsqueeze(-1))).sum(-1)


@register_kl(Beta, Beta)
def _beta(p: Any, q: Any) -> Tensor:
    return _dirichlet(p._dirichlet, q._dirichlet)


@register_kl(Exponential, Exponential)
def _exponential(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(Geometric, Geometric)
def _geometric(p: Any, q: Any) -> Tensor:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Poisson, Poisson)
def _poisson(p: Any, q: Any) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Laplace, Laplace)
def _laplace(p: Any, q: Any) -> Tensor:
    ratio, away = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + away / q.scale + ratio * (-away / p.scale).exp() - 1


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Any, q: Any) -> Tensor:
    first = ((p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)).log()
    return first - (4 * p.scale * q.scale).log()


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: Any, q: Any) -> Tensor:
    return _normal(p.base_dist, q.base_dist)


@register_kl(HalfCauchy, HalfCauchy)
def _half_cauchy(p: Any, q: Any) -> Tensor:
    return _cauchy(p.base_dist, q.base_dist)


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Any, q: Any) -> Tensor:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Any, q: Any) -> Tensor:
    ratio, at_q, at_p = p.scale / q.scale, q.loc / q.scale, p.loc / q.scale
    return -ratio.log() - at_q + at_p + ratio * euler_constant + (at_q + (1 + ratio).lgamma() - at_p).exp() - (
        1 + euler_constant
    )


@register_kl(Pareto, Pareto)
def _pareto(p: Any, q: Any) -> Tensor:
    ratio = p.scale / q.scale
    found = q.alpha * ratio.log() + (p.alpha / q.alpha).log() + q.alpha / p.alpha - 1
    return _where_zero(p.support.lower_bound < q.support.lower_bound, math.inf, found)


@register_kl(Uniform, Uniform)
def _uniform(p: Any, q: Any) -> Tensor:
    found = ((q.high - q.low) / (p.high - p.low)).log()
    return _where_zero((q.low > p.low) | (q.high < p.high), math.inf, found)


@register_kl(Uniform, Normal)
def _uniform_normal(p: Any, q: Any) -> Tensor:
    width = p.high - p.low
    first = (math.sqrt(math.pi * 2) * q.scale / width).log()
    return first + ((width.pow(2) / 12 + ((p.high + p.low - 2 * q.loc) / 2).pow(2)) / (2 * q.scale.pow(2)))


@register_kl(Normal, Laplace)
def _normal_laplace(p: Any, q: Any) -> Tensor:
    away, scale = p.loc - q.loc, p.scale / q.scale
    ratio = away / p.scale
    mean = math.sqrt(2 / math.pi) * p.scale * (-0.5 * ratio.pow(2)).exp() + away * (math.sqrt(0.5) * ratio).erf()
    return -scale.log() + mean / q.scale - (0.5 + 0.5 * math.log(0.5 * math.pi))


@register_kl(Laplace, Normal)
def _laplace_normal(p: Any, q: Any) -> Tensor:
    var = q.scale.pow(2)
    ratio = p.scale.pow(2) / var
    first = 0.5 * (2 * ratio / math.pi).log()
    return -first + ratio + 0.5 * p.loc.pow(2) / var - p.loc * q.loc / var + 0.5 * q.loc.pow(2) / var - 1


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    return -q.concentration * ratio.log() + ratio + q.concentration.lgamma() + q.concentration * euler_constant - (
        1 + euler_constant
    )


@register_kl(Gamma, Exponential)
def _gamma_exponential(p: Any, q: Any) -> Tensor:
    return -p.entropy() - q.rate.log() + q.rate * p.concentration / p.rate


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate(p: Any, q: Any) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two Multivariate Normals with different event shapes cannot be computed"
        )
    n = p.event_shape[0]
    lp, lq = p._unbroadcasted_scale_tril, q._unbroadcasted_scale_tril
    half = lq.diagonal(dim1=-2, dim2=-1).log().sum(-1) - lp.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    lq, lp = q.scale_tril, p.scale_tril
    lq, lp = _C.broadcast_tensors(lq, lp)
    spread = _solve_lower(lq, lp).pow(2).sum((-2, -1))
    away = (q.loc - p.loc).expand(tuple(lq.shape[:-1])).unsqueeze(-1)
    distance = _solve_lower(lq, away).pow(2).sum((-2, -1))
    return half + 0.5 * (spread + distance - n)


@register_kl(Independent, Independent)
def _independent(p: Any, q: Any) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("KL of Independent distributions with different reinterpreted_batch_ndims")
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: Any, q: Any) -> Tensor:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError("KL of transformed distributions with different transforms")
    return kl_divergence(p.base_dist, q.base_dist)


# Where the support of p is not inside that of q.
for _p, _q in (
    (Normal, Exponential), (Normal, Gamma), (Normal, Beta), (Normal, Uniform), (Laplace, Exponential),
    (Laplace, Gamma), (Laplace, Beta), (Laplace, Uniform), (Exponential, Beta), (Exponential, Uniform),
    (Gamma, Beta), (Gamma, Uniform),
):  # fmt: skip
    register_kl(_p, _q)(lambda p, q: _C.full((p.mean + q.mean).shape, math.inf, dtype=p.mean.dtype))
