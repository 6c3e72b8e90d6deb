"""Probability distributions: draws, densities, entropies, divergences, with gradients.

Under the names of `torch.distributions`; with the same seed the draws are PyTorch's.

Example::

    >>> from rustnn.distributions import Normal
    >>> Normal(rustnn.zeros(2), rustnn.ones(2)).rsample((3,)).shape
    torch.Size([3, 2])
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from . import (
    _compound,
    _continuous,
    _discrete,
    _gamma,
    _lkj,
    _relaxed,
    _transformed,
    constraints,
    distribution,
    transforms,
)
from . import constraint_registry as constraint_registry
from . import kl as kl
from . import utils as utils
from ._compound import Independent, MixtureSameFamily, TransformedDistribution
from ._continuous import (
    Cauchy,
    Exponential,
    ExponentialFamily,
    HalfCauchy,
    HalfNormal,
    Laplace,
    Normal,
    Uniform,
    VonMises,
)
from ._discrete import (
    Bernoulli,
    Binomial,
    Categorical,
    Geometric,
    Multinomial,
    NegativeBinomial,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
    Poisson,
)
from ._gamma import Beta, Chi2, Dirichlet, FisherSnedecor, Gamma, StudentT
from ._lkj import LKJCholesky
from ._relaxed import RelaxedBernoulli, RelaxedOneHotCategorical
from ._transformed import Gumbel, InverseGamma, Kumaraswamy, LogisticNormal, LogNormal, Pareto, Weibull
from .constraint_registry import biject_to, transform_to
from .distribution import Distribution
from .kl import kl_divergence, register_kl
from .multivariate_normal import MultivariateNormal
from .transforms import *  # noqa: F403
from .transforms import __all__ as _transform_names

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Cauchy",
    "Chi2",
    "Dirichlet",
    "Distribution",
    "Exponential",
    "ExponentialFamily",
    "FisherSnedecor",
    "Gamma",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "InverseGamma",
    "Kumaraswamy",
    "LKJCholesky",
    "Laplace",
    "LogNormal",
    "LogisticNormal",
    "MixtureSameFamily",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "Pareto",
    "Poisson",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "StudentT",
    "TransformedDistribution",
    "Uniform",
    "VonMises",
    "Weibull",
    "biject_to",
    "constraints",
    "kl_divergence",
    "register_kl",
    "transform_to",
    *_transform_names,
]

# PyTorch has a module for each: the module here that a program means by `torch.distributions.normal`.
_MODULES: dict[str, tuple[ModuleType, str]] = {
    "bernoulli": (_discrete, "Bernoulli"),
    "beta": (_gamma, "Beta"),
    "binomial": (_discrete, "Binomial"),
    "categorical": (_discrete, "Categorical"),
    "cauchy": (_continuous, "Cauchy"),
    "chi2": (_gamma, "Chi2"),
    "dirichlet": (_gamma, "Dirichlet"),
    "exp_family": (_continuous, "ExponentialFamily"),
    "exponential": (_continuous, "Exponential"),
    "fishersnedecor": (_gamma, "FisherSnedecor"),
    "gamma": (_gamma, "Gamma"),
    "geometric": (_discrete, "Geometric"),
    "gumbel": (_transformed, "Gumbel"),
    "half_cauchy": (_continuous, "HalfCauchy"),
    "half_normal": (_continuous, "HalfNormal"),
    "independent": (_compound, "Independent"),
    "inverse_gamma": (_transformed, "InverseGamma"),
    "kumaraswamy": (_transformed, "Kumaraswamy"),
    "laplace": (_continuous, "Laplace"),
    "lkj_cholesky": (_lkj, "LKJCholesky"),
    "log_normal": (_transformed, "LogNormal"),
    "logistic_normal": (_transformed, "LogisticNormal"),
    "mixture_same_family": (_compound, "MixtureSameFamily"),
    "multinomial": (_discrete, "Multinomial"),
    "negative_binomial": (_discrete, "NegativeBinomial"),
    "normal": (_continuous, "Normal"),
    "one_hot_categorical": (_discrete, "OneHotCategorical"),
    "pareto": (_transformed, "Pareto"),
    "poisson": (_discrete, "Poisson"),
    "relaxed_bernoulli": (_relaxed, "RelaxedBernoulli"),
    "relaxed_categorical": (_relaxed, "RelaxedOneHotCategorical"),
    "studentT": (_gamma, "StudentT"),
    "transformed_distribution": (_compound, "TransformedDistribution"),
    "uniform": (_continuous, "Uniform"),
    "von_mises": (_continuous, "VonMises"),
    "weibull": (_transformed, "Weibull"),
}
for _name, (_module, _class) in _MODULES.items():
    sys.modules[f"{__name__}.{_name}"] = _module
    globals()[_name] = _module
_ = (distribution, transforms)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rustnn import _missing

    raise AttributeError(_missing.explain("rustnn.distributions", name, globals()))
