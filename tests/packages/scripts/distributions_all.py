"""torch.distributions: draws under a seed, densities, gradients, moments, divergences, transforms, constraints."""

import torch
import torch.distributions as D
from report import show
from torch.distributions import constraints, transforms

PARAMETERS = []


def leaf(*values):
    PARAMETERS.append(torch.tensor(values, requires_grad=True))
    return PARAMETERS[-1]


def square(n):
    a = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return (a @ a.T + n * torch.eye(n, dtype=torch.float64)).float()


CASES = {
    "Normal": lambda: D.Normal(leaf(0.0, 1.0, -2.0), leaf(1.0, 0.5, 2.0)),
    "Laplace": lambda: D.Laplace(leaf(0.0, 1.0), leaf(1.0, 2.0)),
    "Cauchy": lambda: D.Cauchy(leaf(0.0, 1.0), leaf(1.0, 2.0)),
    "Uniform": lambda: D.Uniform(leaf(0.0, -1.0), leaf(1.0, 2.0)),
    "Exponential": lambda: D.Exponential(leaf(0.5, 3.0)),
    "HalfNormal": lambda: D.HalfNormal(leaf(0.5, 3.0)),
    "HalfCauchy": lambda: D.HalfCauchy(leaf(0.5, 3.0)),
    "Gamma": lambda: D.Gamma(leaf(0.3, 1.0, 2.5, 30.0), leaf(1.0, 2.0, 0.5, 4.0)),
    "Chi2": lambda: D.Chi2(leaf(1.0, 5.0)),
    "Beta": lambda: D.Beta(leaf(0.5, 2.0, 7.0), leaf(0.5, 3.0, 1.5)),
    "Dirichlet": lambda: D.Dirichlet(leaf([0.5, 2.0, 3.0], [5.0, 1.0, 0.2])),
    "StudentT": lambda: D.StudentT(leaf(2.5, 5.0), leaf(0.0, 1.0), leaf(1.0, 2.0)),
    "FisherSnedecor": lambda: D.FisherSnedecor(leaf(3.0, 6.0), leaf(5.0, 9.0)),
    "Bernoulli": lambda: D.Bernoulli(leaf(0.2, 0.5, 0.9)),
    "Bernoulli.logits": lambda: D.Bernoulli(logits=leaf(-1.0, 0.5, 3.0)),
    "Binomial": lambda: D.Binomial(10, leaf(0.2, 0.5, 0.9)),
    "Geometric": lambda: D.Geometric(leaf(0.2, 0.5, 0.9)),
    "NegativeBinomial": lambda: D.NegativeBinomial(5.0, leaf(0.2, 0.5, 0.9)),
    "Poisson": lambda: D.Poisson(leaf(0.5, 4.0, 50.0)),
    "Categorical": lambda: D.Categorical(leaf([0.2, 0.3, 0.5], [1.0, 1.0, 4.0])),
    "Categorical.logits": lambda: D.Categorical(logits=leaf([0.2, -0.3, 0.5], [1.0, 2.0, 4.0])),
    "OneHotCategorical": lambda: D.OneHotCategorical(leaf(0.2, 0.3, 0.5)),
    "OneHotCategoricalStraightThrough": lambda: D.OneHotCategoricalStraightThrough(leaf(0.2, 0.3, 0.5)),
    "Multinomial": lambda: D.Multinomial(7, leaf(0.2, 0.3, 0.5)),
    "LogNormal": lambda: D.LogNormal(leaf(0.0, 1.0), leaf(1.0, 0.5)),
    "Gumbel": lambda: D.Gumbel(leaf(0.0, 1.0), leaf(1.0, 0.5)),
    "Weibull": lambda: D.Weibull(leaf(1.0, 2.0), leaf(1.5, 0.8)),
    "Pareto": lambda: D.Pareto(leaf(1.0, 2.0), leaf(3.0, 4.0)),
    "Kumaraswamy": lambda: D.Kumaraswamy(leaf(1.5, 2.0), leaf(3.0, 4.0)),
    "InverseGamma": lambda: D.InverseGamma(leaf(3.0, 4.0), leaf(1.0, 2.0)),
    "LogisticNormal": lambda: D.LogisticNormal(leaf(0.0, 1.0), leaf(1.0, 0.5)),
    "RelaxedBernoulli": lambda: D.RelaxedBernoulli(torch.tensor(0.7), leaf(0.2, 0.6)),
    "RelaxedOneHotCategorical": lambda: D.RelaxedOneHotCategorical(torch.tensor(0.7), leaf(0.2, 0.3, 0.5)),
    "MultivariateNormal": lambda: D.MultivariateNormal(leaf(0.0, 1.0, 2.0), square(3).requires_grad_()),
    "MultivariateNormal.tril": lambda: D.MultivariateNormal(leaf(0.0, 1.0, 2.0),
                                                            scale_tril=torch.linalg.cholesky(square(3))),
    "MultivariateNormal.precision": lambda: D.MultivariateNormal(torch.zeros(2, 3), precision_matrix=square(3)),
    "VonMises": lambda: D.VonMises(leaf(0.0, 1.0), leaf(1.0, 4.0)),
    "Independent": lambda: D.Independent(D.Normal(torch.zeros(2, 3), leaf(1.0, 2.0, 3.0)), 1),
    "MixtureSameFamily": lambda: D.MixtureSameFamily(
        D.Categorical(leaf(0.3, 0.7)), D.Normal(leaf(-1.0, 2.0), leaf(0.5, 1.0))),
    "Transformed": lambda: D.TransformedDistribution(
        D.Normal(torch.zeros(2), leaf(1.0, 2.0)),
        [transforms.TanhTransform(), transforms.AffineTransform(1.0, leaf(2.0, -3.0))]),
}


made = {}
for name, make in CASES.items():
    PARAMETERS.clear()
    d = make()
    parts = list(PARAMETERS)
    made[name] = d
    show(f"{name}.shapes", [list(d.batch_shape), list(d.event_shape), d.has_rsample])
    if name != "VonMises":  # drawn by another scheme of rejection
        torch.manual_seed(1)
        show(f"{name}.sample", d.sample((4, 2)))
    torch.manual_seed(2)
    if d.has_rsample:
        value = d.rsample((5,))
        weights = torch.linspace(0.1, 1.0, value.numel()).view(value.shape)
        if parts and name not in ("LogisticNormal",):
            grads = torch.autograd.grad((value * weights).sum(), parts, allow_unused=True, retain_graph=True)
            for i, g in enumerate(grads):
                show(f"{name}.rsample.gradient{i}", g)
        value = value.detach()
    else:
        value = d.sample((5,)) if name != "VonMises" else torch.linspace(-3, 3, 10).view(5, 2)
    if name not in ("OneHotCategoricalStraightThrough", "RelaxedBernoulli"):
        if d.has_rsample and name not in ("Uniform", "Kumaraswamy"):
            value = value.clamp(min=-30.0, max=30.0) if not isinstance(d.support, type(constraints.simplex)) else value
        found = d.log_prob(value)
        show(f"{name}.log_prob", found)
        if parts and found.requires_grad:
            for i, g in enumerate(torch.autograd.grad(found.sum(), parts, allow_unused=True, retain_graph=True)):
                show(f"{name}.log_prob.gradient{i}", g)
    for what in ("mean", "mode", "variance", "stddev"):
        if (name, what) == ("Kumaraswamy", "mode"):  # PyTorch's is NaN
            continue
        try:
            show(f"{name}.{what}", getattr(d, what))
        except NotImplementedError:
            pass
    try:
        show(f"{name}.entropy", d.entropy())
    except NotImplementedError:
        pass
    if name not in ("Gamma", "Chi2", "InverseGamma"):  # the incomplete gamma function
        try:
            p = torch.tensor([0.1, 0.6]) if d.batch_shape != (3,) else torch.tensor([0.1, 0.6, 0.7])
            x = d.icdf(p)
            show(f"{name}.icdf", x)
            show(f"{name}.cdf", d.cdf(x))
        except (NotImplementedError, RuntimeError):
            pass
    show(f"{name}.expanded", list(d.expand((2, *d.batch_shape)).log_prob(value[:1]).shape)
         if name not in ("OneHotCategoricalStraightThrough", "RelaxedBernoulli") else None)
    if d.has_enumerate_support:
        show(f"{name}.support", d.enumerate_support())

ACROSS = {("Normal", "Laplace"), ("Laplace", "Normal"), ("Uniform", "Normal"), ("Exponential", "Gamma"),
          ("Exponential", "Chi2"), ("Chi2", "Exponential"), ("Laplace", "Uniform"), ("Bernoulli", "Poisson")}
for p in made:
    for q in made:
        pair = (p.split(".")[0], q.split(".")[0])
        if made[p].batch_shape != made[q].batch_shape or (pair[0] != pair[1] and pair not in ACROSS):
            continue
        try:
            show(f"kl.{p}.{q}", D.kl_divergence(made[p], made[q]))
        except (NotImplementedError, ValueError, RuntimeError):
            pass
show("kl.Normal", D.kl_divergence(D.Normal(0.0, 1.0), D.Normal(torch.tensor([1.0, 2.0]), 3.0)))

x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
for name in ["ExpTransform", "SigmoidTransform", "TanhTransform", "SoftplusTransform", "StickBreakingTransform",
             "SoftmaxTransform", "AbsTransform"]:
    t = getattr(transforms, name)()
    y = t(x)
    show(f"transform.{name}", y)
    show(f"transform.{name}.inverse", t.inv(y))
    if t.bijective:
        show(f"transform.{name}.jacobian", t.log_abs_det_jacobian(x, y))
t = transforms.ComposeTransform([transforms.AffineTransform(1.0, 2.0), transforms.ExpTransform().inv.inv,
                                 transforms.PowerTransform(torch.tensor(0.5))])
show("transform.Compose", t(x))
show("transform.Compose.jacobian", t.log_abs_det_jacobian(x, t(x)))
t = transforms.IndependentTransform(transforms.ExpTransform(), 1)
show("transform.Independent", t.log_abs_det_jacobian(x, t(x)))
t = transforms.CatTransform([transforms.ExpTransform(), transforms.TanhTransform()], dim=-1, lengths=[1, 3])
show("transform.Cat", t.log_abs_det_jacobian(x, t(x)))
t = transforms.StackTransform([transforms.ExpTransform(), transforms.TanhTransform(), transforms.identity_transform])
show("transform.Stack", t(x))
show("transform.LowerCholesky", transforms.LowerCholeskyTransform()(square(3)))
for c in [constraints.positive, constraints.unit_interval, constraints.simplex, constraints.real,
          constraints.interval(-1.0, 3.0), constraints.greater_than(2.0), constraints.lower_cholesky,
          constraints.independent(constraints.positive, 1)]:
    z = x[:, :3] if c is constraints.lower_cholesky else x
    show(f"transform_to.{c}", D.transform_to(c)(z))
    if c is not constraints.lower_cholesky:
        show(f"biject_to.{c}", D.biject_to(c)(z))
for c in [constraints.positive, constraints.simplex, constraints.boolean, constraints.nonnegative_integer,
          constraints.integer_interval(0, 2), constraints.real_vector, constraints.one_hot]:
    show(f"check.{c}", c.check(torch.tensor([[0.0, 1.0], [0.5, 0.5], [-1.0, 2.0]])))
show("check.positive_definite", constraints.positive_definite.check(torch.stack([square(3), -square(3)])))
for make in [lambda: D.Normal(0.0, -1.0), lambda: D.Categorical(torch.tensor([-1.0, 2.0])),
             lambda: D.Uniform(1.0, 0.0), lambda: D.Bernoulli(torch.tensor(0.5)).log_prob(torch.tensor(0.3)),
             lambda: D.Bernoulli(), lambda: D.Normal(torch.zeros(2), 1.0).log_prob(torch.zeros(3))]:
    try:
        make()
        show("error", "none")
    except ValueError as error:
        show("error", str(error).splitlines()[0][:60])
show("repr", repr(D.Normal(torch.zeros(3), 1.0)))
show("repr", repr(D.Independent(D.Normal(torch.zeros(3), 1.0), 1)))
