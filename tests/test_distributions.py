"""Distributions against SciPy and finite differences; the comparison with PyTorch stands in tests/packages."""

from __future__ import annotations

import numpy as np
import pytest
import rustnn as torch
from rustnn import _C
from rustnn import distributions as D

scipy_special = pytest.importorskip("scipy.special")
stats = pytest.importorskip("scipy.stats")


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("alpha", [1e-3, 0.05, 0.3, 1.0, 1.7, 5.0, 40.0, 700.0, 9e4, 3e5])
def test_gamma_draws_move_with_their_shape_as_the_quantiles_do(alpha: float) -> None:
    torch.manual_seed(0)
    a = torch.full((40,), alpha, dtype=torch.float64, requires_grad=True)
    x = _C._standard_gamma(a)
    (slope,) = torch.autograd.grad(x.sum(), a)
    x, h = x.detach().numpy(), alpha * 1e-5
    upper = x > alpha
    p, q = scipy_special.gammainc(alpha, x), scipy_special.gammaincc(alpha, x)

    def at(shape: float) -> np.ndarray:
        return np.where(upper, scipy_special.gammainccinv(shape, q), scipy_special.gammaincinv(shape, p))

    expected = (at(alpha + h) - at(alpha - h)) / (2 * h)
    usable = np.isfinite(expected) & (np.minimum(p, q) > 1e-8) & (x > 1e-250)
    assert usable.sum() > 5
    np.testing.assert_allclose(slope.numpy()[usable], expected[usable], rtol=3e-4)


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.4), (1.0, 1.0), (2.0, 7.0), (9.0, 0.6), (60.0, 45.0)])
def test_beta_draws_move_with_their_parameters_as_the_quantiles_do(a: float, b: float) -> None:
    torch.manual_seed(0)
    first = torch.full((30,), a, dtype=torch.float64, requires_grad=True)
    second = torch.full((30,), b, dtype=torch.float64, requires_grad=True)
    x = D.Beta(first, second).rsample()
    slopes = torch.autograd.grad(x.sum(), (first, second))
    x = x.detach().numpy()
    p = scipy_special.betainc(a, b, x)
    usable = (p > 1e-4) & (p < 1 - 1e-4)
    h = 1e-5
    by_a = (scipy_special.betaincinv(a + h, b, p) - scipy_special.betaincinv(a - h, b, p)) / (2 * h)
    by_b = (scipy_special.betaincinv(a, b + h, p) - scipy_special.betaincinv(a, b - h, p)) / (2 * h)
    np.testing.assert_allclose(slopes[0].numpy()[usable], by_a[usable], rtol=2e-3, atol=1e-7)
    np.testing.assert_allclose(slopes[1].numpy()[usable], by_b[usable], rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: D.Normal(t(1.0), t(2.0)), stats.norm(1, 2)),
        (lambda: D.Laplace(t(1.0), t(2.0)), stats.laplace(1, 2)),
        (lambda: D.Cauchy(t(1.0), t(2.0)), stats.cauchy(1, 2)),
        (lambda: D.Gamma(t(2.5), t(0.5)), stats.gamma(2.5, scale=2)),
        (lambda: D.Beta(t(2.5), t(0.7)), stats.beta(2.5, 0.7)),
        (lambda: D.StudentT(t(5.0), t(1.0), t(2.0)), stats.t(5, 1, 2)),
        (lambda: D.Exponential(t(3.0)), stats.expon(scale=1 / 3)),
        (lambda: D.LogNormal(t(0.3), t(0.5)), stats.lognorm(0.5, scale=np.exp(0.3))),
        (lambda: D.Gumbel(t(0.3), t(0.5)), stats.gumbel_r(0.3, 0.5)),
        (lambda: D.Weibull(t(2.0), t(1.5)), stats.weibull_min(1.5, scale=2)),
        (lambda: D.Pareto(t(2.0), t(4.5)), stats.pareto(4.5, scale=2)),
        (lambda: D.HalfNormal(t(2.0)), stats.halfnorm(scale=2)),
        (lambda: D.FisherSnedecor(t(5.0), t(9.0)), stats.f(5, 9)),
        (lambda: D.InverseGamma(t(3.5), t(2.0)), stats.invgamma(3.5, scale=2)),
        (lambda: D.VonMises(t(0.5), t(3.0)), stats.vonmises(3.0, loc=0.5)),
        (lambda: D.Poisson(t(4.5)), stats.poisson(4.5)),
        (lambda: D.Binomial(10, t(0.3)), stats.binom(10, 0.3)),
        (lambda: D.Geometric(t(0.3)), stats.geom(0.3, loc=-1)),
        (lambda: D.NegativeBinomial(t(4.0), t(0.3)), stats.nbinom(4, 0.7)),
    ],
)
def test_densities_moments_and_draws(ours, theirs) -> None:
    torch.manual_seed(1)
    d = ours()
    x = d.sample((4000,))
    assert x.shape == (4000, 1)
    discrete = hasattr(theirs.dist, "pmf")
    found = theirs.logpmf(x.numpy()) if discrete else theirs.logpdf(x.numpy())
    np.testing.assert_allclose(d.log_prob(x).numpy(), found, rtol=1e-6, atol=1e-8)
    if not discrete and not isinstance(d, D.VonMises):
        assert stats.kstest(x.numpy().ravel(), theirs.cdf).pvalue > 1e-3
    elif discrete and np.isfinite(theirs.var()):
        assert abs(x.mean().item() - theirs.mean()) < 5 * (theirs.var() / 4000) ** 0.5
    if np.isfinite(theirs.var()) and not isinstance(d, D.VonMises):
        np.testing.assert_allclose(d.mean.numpy(), theirs.mean(), rtol=1e-6)
        np.testing.assert_allclose(d.variance.numpy(), theirs.var(), rtol=1e-6)
    try:
        entropy = d.entropy()
    except NotImplementedError:
        return
    np.testing.assert_allclose(entropy.numpy(), theirs.entropy(), rtol=1e-4)


def test_multivariate_normal() -> None:
    a = np.array([[2.0, 0.3, 0.1], [0.3, 1.5, -0.2], [0.1, -0.2, 1.0]])
    for kwargs in (
        {"covariance_matrix": torch.tensor(a)},
        {"precision_matrix": torch.tensor(np.linalg.inv(a))},
        {"scale_tril": torch.tensor(np.linalg.cholesky(a))},
    ):
        d = D.MultivariateNormal(t(0.0, 1.0, 2.0), **kwargs)
        x = d.sample((5,))
        oracle = stats.multivariate_normal([0, 1, 2], a)
        np.testing.assert_allclose(d.log_prob(x).numpy(), oracle.logpdf(x.numpy()), rtol=1e-8)
        np.testing.assert_allclose(d.entropy().item(), oracle.entropy(), rtol=1e-8)
        np.testing.assert_allclose(d.covariance_matrix.numpy(), a, atol=1e-10)
        np.testing.assert_allclose(d.precision_matrix.numpy(), np.linalg.inv(a), atol=1e-10)


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (lambda: D.Normal(t(0.0), t(1.0)), lambda: D.Normal(t(1.0), t(2.0))),
        (lambda: D.Gamma(t(2.0), t(1.0)), lambda: D.Gamma(t(3.0), t(2.0))),
        (lambda: D.Beta(t(2.0), t(3.0)), lambda: D.Beta(t(1.5), t(0.5))),
        (lambda: D.Laplace(t(0.0), t(1.0)), lambda: D.Laplace(t(1.0), t(2.0))),
        (lambda: D.Normal(t(0.5), t(1.0)), lambda: D.Laplace(t(1.0), t(2.0))),
        (lambda: D.Gumbel(t(0.0), t(1.0)), lambda: D.Gumbel(t(1.0), t(2.0))),
        (lambda: D.Geometric(t(0.3)), lambda: D.Geometric(t(0.6))),
        (lambda: D.Bernoulli(t(0.3)), lambda: D.Poisson(t(0.6))),
        (lambda: D.Cauchy(t(0.0), t(1.0)), lambda: D.Cauchy(t(1.0), t(2.0))),
        (lambda: D.HalfCauchy(t(1.0)), lambda: D.HalfCauchy(t(2.0))),
        (lambda: D.LogNormal(t(0.0), t(1.0)), lambda: D.LogNormal(t(1.0), t(2.0))),
    ],
)
def test_divergences_are_the_mean_difference_of_log_densities(p, q) -> None:
    torch.manual_seed(2)
    p, q = p(), q()
    x = p.sample((200_000,))
    difference = p.log_prob(x) - q.log_prob(x)
    spread = difference.std().item() / len(x) ** 0.5
    assert abs(D.kl_divergence(p, q).item() - difference.mean().item()) < 6 * spread + 1e-6


def test_gradients_of_the_sigmoid_pieces_at_zero() -> None:
    logits = torch.zeros(3, requires_grad=True)
    D.Bernoulli(logits=logits).log_prob(torch.tensor([0.0, 1.0, 1.0])).sum().backward()
    assert logits.grad.tolist() == [-0.5, 0.5, 0.5]


def test_second_derivative_of_a_draw_is_refused() -> None:
    a = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="derivative"):
        torch.autograd.grad(_C._standard_gamma(a).sum(), a, create_graph=True)


def test_odd_parameters() -> None:
    a = torch.tensor([0.0, -1.0, float("nan"), float("inf"), 1e-30])
    x = _C._standard_gamma(a)
    assert x[0] > 0 and x[1].isnan() and x[2].isnan() and x[4] > 0
    assert _C._standard_gamma(torch.ones(0)).shape == (0,) and _C._standard_gamma(torch.ones(())).dim() == 0
    assert _C._standard_gamma(torch.ones(4, 3).T).shape == (3, 4)
    assert _C._sample_dirichlet(torch.ones(0, 3)).shape == (0, 3)
    with pytest.raises(NotImplementedError):
        _C._standard_gamma(torch.ones(2, dtype=torch.int64))
    with pytest.raises(RuntimeError):
        _C._sample_dirichlet(torch.ones(()))
    with pytest.raises(ValueError, match="scale"):
        D.Normal(0.0, -1.0)
    with pytest.raises(ValueError, match="support"):
        D.Bernoulli(torch.tensor(0.5)).log_prob(torch.tensor(0.3))


@pytest.mark.parametrize("concentration", [0.5, 1.0, 4.0])
def test_lkj_of_two_dimensions_is_a_beta_of_the_correlation(concentration: float) -> None:
    torch.manual_seed(3)
    lkj = D.LKJCholesky(2, concentration)
    # Midpoints of r in (-1, 1); the density has poles of order concentration - 1 at the ends.
    r = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 100_000 - 1
    factors = torch.zeros(len(r), 2, 2, dtype=torch.float64)
    factors[:, 0, 0], factors[:, 1, 0], factors[:, 1, 1] = 1, r, (1 - r * r).sqrt()
    total = lkj.log_prob(factors).exp().mean().item() * 2
    assert total == pytest.approx(1, abs=5e-3)
    # 2 beta(c + (dim - 2) / 2, the same) - 1, in every place, whatever the dimension.
    for dim in (2, 5):
        factors = D.LKJCholesky(dim, concentration).sample((20_000,))
        drawn = (factors @ factors.mT)[:, -1, 0]
        assert drawn.var().item() == pytest.approx(1 / (2 * concentration + dim - 1), rel=0.05)
        assert abs(drawn.mean().item()) < 0.02


def test_lkj_expands_and_has_gradients() -> None:
    c = torch.tensor(2.0, requires_grad=True)
    lkj = D.LKJCholesky(3, c)
    assert lkj.expand((2, 4)).sample((5,)).shape == (5, 2, 4, 3, 3)
    factors = lkj.sample()
    lkj.log_prob(factors).backward()
    step = 1e-2
    near = [D.LKJCholesky(3, c.item() + s).log_prob(factors).item() for s in (step, -step)]
    assert c.grad.item() == pytest.approx((near[0] - near[1]) / (2 * step), rel=1e-2)
    with pytest.raises(ValueError, match="dim=1"):
        D.LKJCholesky(1)
    with pytest.raises(ValueError, match="support"):
        lkj.log_prob(torch.ones(3, 3))
