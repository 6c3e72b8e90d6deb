"""Optimizers and schedules beside PyTorch's: the same program in both, number for number."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import rustnn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")

RULES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "maximize": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True}),
    ("Adam", {"lr": 0.01, "maximize": True, "foreach": True}),
    ("AdamW", {"lr": 0.01, "betas": (0.8, 0.99)}),
    ("AdamW", {"lr": 0.01, "amsgrad": True, "capturable": False}),
    ("NAdam", {"weight_decay": 0.1}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.01, "betas": (0.9, 0.9), "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adamax", {"weight_decay": 0.1}),
    ("Adadelta", {"weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {"weight_decay": 0.1}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("ASGD", {"lr": 0.1, "t0": 3, "weight_decay": 0.1}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.1, "weight_decay": 0.1, "d": 2.0, "maximize": True}),
    ("Adafactor", {"eps": (1e-8, 1e-2), "beta2_decay": -0.5}),
    ("Rprop", {}),
    ("Rprop", {"etas": (0.4, 1.3), "step_sizes": (1e-4, 0.1), "maximize": True}),
]


def problem(lib):
    rng = np.random.default_rng(0)
    params = [
        lib.tensor(rng.standard_normal(shape).astype("float32"), requires_grad=True) for shape in [(3, 4), (4,), ()]
    ]
    x = lib.tensor(rng.standard_normal((8, 3)).astype("float32"))

    def loss():
        out = lib.tanh(x @ params[0] + params[1]) * params[2]
        return ((out - 1) ** 2).mean()

    return params, loss


def trained(lib, name, options, steps=8):
    params, loss = problem(lib)
    opt = getattr(lib.optim, name)([{"params": params[:1]}, {"params": params[1:], "lr": 0.05}], **options)
    for _ in range(steps):
        opt.zero_grad()
        loss().backward()
        opt.step()
    return params, opt


def flat(value):
    """A state dict as comparable pairs."""
    if isinstance(value, dict):
        return [(k, v) for key in value for k, v in [(key, None), *flat(value[key])]]
    if isinstance(value, (list, tuple)):
        return [pair for v in value for pair in flat(v)]
    if hasattr(value, "detach"):
        return [("tensor", value.detach().numpy().astype("float64"))]
    return [("value", value)]


@pytest.mark.parametrize(("name", "options"), RULES)
def test_same_parameters_and_state(name, options):
    ours, our_opt = trained(rustnn, name, options)
    theirs, their_opt = trained(torch, name, options)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-5, atol=2e-6)
    a, b = our_opt.state_dict(), their_opt.state_dict()
    assert repr(a["param_groups"]) == repr(b["param_groups"])
    for (ka, va), (kb, vb) in zip(flat(a["state"]), flat(b["state"]), strict=True):
        assert ka == kb
        if isinstance(va, np.ndarray):
            np.testing.assert_allclose(va, vb, rtol=2e-4, atol=2e-6)
        else:
            assert va == vb
    assert repr(our_opt) == repr(their_opt)


@pytest.mark.parametrize("options", [
    {}, {"lr": 0.02, "nesterov": False}, {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.0},
    {"momentum": 0.5, "ns_steps": 3}, {"lr": -1}, {"adjust_lr_fn": "x"}, {"ns_steps": 100},
])  # fmt: skip
def test_muon(options):
    """The update is orthogonalised in bfloat16, whose products are rounded in another order."""

    def run(lib):
        rng = np.random.default_rng(0)
        params = [lib.tensor(rng.standard_normal(s).astype("float32"), requires_grad=True) for s in ((3, 4), (6, 2))]
        opt = lib.optim.Muon(params, **options)
        for _ in range(5):
            opt.zero_grad()
            sum(((p - 1) ** 2).sum() for p in params).backward()
            opt.step()
        return [p.detach().numpy() for p in params], opt

    if options.get("lr") == -1 or "x" in options.values() or options.get("ns_steps") == 100:
        for lib in (rustnn, torch):
            with pytest.raises(ValueError, match="Learning rate|not supported|less than 100"):
                run(lib)
        return
    (ours, our_opt), (theirs, their_opt) = run(rustnn), run(torch)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
    assert repr(our_opt) == repr(their_opt)
    assert list(our_opt.state_dict()["state"][0]) == list(their_opt.state_dict()["state"][0])
    with pytest.raises(ValueError, match="2D parameters"):
        rustnn.optim.Muon([rustnn.ones(3, requires_grad=True)])


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("lr", [1, 0.3])
def test_lbfgs(search, lr):
    def run(lib):
        params, loss = problem(lib)
        opt = lib.optim.LBFGS(params, lr=lr, line_search_fn=search, max_iter=12, history_size=5)

        def closure():
            opt.zero_grad()
            value = loss()
            value.backward()
            return value

        losses = [opt.step(closure).item() for _ in range(2)]
        return losses, opt.state_dict()["state"][0]["func_evals"], list(opt.state_dict()["state"][0])

    ours, theirs = run(rustnn), run(torch)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-3)
    assert sorted(ours[2]) == sorted(theirs[2])


SCHEDULES = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda e: 0.95**e),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.9),
    "StepLR": lambda s, o: s.StepLR(o, 3),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 9], 0.5),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.2, 4),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.1, 0.9, 7),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 7, 2.0),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 4, 0.001),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=21),
    "OneCycleLR-3": lambda s, o: s.OneCycleLR(
        o, [0.5, 0.4], epochs=7, steps_per_epoch=3, anneal_strategy="linear", three_phase=True
    ),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.1, 0.5, 3, 4),
    "CyclicLR-2": lambda s, o: s.CyclicLR(o, [0.1, 0.2], 0.5, 3, mode="triangular2"),
    "CyclicLR-e": lambda s, o: s.CyclicLR(o, 0.1, 0.5, 3, mode="exp_range", gamma=0.9, cycle_momentum=False),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o), s.ExponentialLR(o, 0.9), s.CosineAnnealingLR(o, 5)], [3, 8]
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.ConstantLR(o), s.ExponentialLR(o, 0.9)], o),
}


def schedule(lib, make, steps=20, resume=False):
    params, loss = problem(lib)
    opt = lib.optim.SGD([{"params": params[:1]}, {"params": params[1:], "lr": 0.05}], lr=0.1, momentum=0.9)
    s = make(lib.optim.lr_scheduler, opt)
    seen = []
    for step in range(steps):
        seen.append([(g["lr"], g["momentum"]) for g in opt.param_groups])
        opt.step()
        s.step()
        if resume and step == 7:
            kept, kept_opt = s.state_dict(), opt.state_dict()
            opt = lib.optim.SGD([{"params": params[:1]}, {"params": params[1:]}], lr=0.1, momentum=0.9)
            s = make(lib.optim.lr_scheduler, opt)
            opt.load_state_dict(kept_opt)
            s.load_state_dict(kept)
    return seen, s.get_last_lr(), s.state_dict()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("resume", [False, True])
def test_schedules(name, resume):
    ours, theirs = (schedule(lib, SCHEDULES[name], resume=resume) for lib in (rustnn, torch))
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]
    assert ours[2].keys() == theirs[2].keys()


@pytest.mark.parametrize(
    "name",
    [
        "StepLR",
        "ExponentialLR",
        "CosineAnnealingLR",
        "LinearLR",
        "PolynomialLR",
        "OneCycleLR",
        "MultiStepLR",
        "ConstantLR",
    ],
)
def test_schedule_from_last_epoch(name):
    def run(lib):
        kinds = {
            "StepLR": (3,),
            "ExponentialLR": (0.9,),
            "CosineAnnealingLR": (6,),
            "LinearLR": (),
            "PolynomialLR": (9,),
            "OneCycleLR": (0.5, 20),
            "MultiStepLR": ([2, 4],),
            "ConstantLR": (),
        }
        p = lib.zeros(1, requires_grad=True)
        opt = lib.optim.SGD(
            [
                {
                    "params": [p],
                    "lr": 0.1,
                    "initial_lr": 0.2,
                    "max_lr": 0.5,
                    "min_lr": 0.001,
                    "max_momentum": 0.9,
                    "base_momentum": 0.8,
                }
            ],
            momentum=0.9,
        )
        s = getattr(lib.optim.lr_scheduler, name)(opt, *kinds[name], last_epoch=2)
        seen = []
        for _ in range(6):
            seen.append(opt.param_groups[0]["lr"])
            opt.step()
            s.step()
        return seen

    assert run(rustnn) == run(torch)


def test_plateau():
    def run(lib, **options):
        p = lib.zeros(1, requires_grad=True)
        opt = lib.optim.SGD([p], lr=0.1)
        s = lib.optim.lr_scheduler.ReduceLROnPlateau(opt, patience=1, cooldown=1, min_lr=1e-3, **options)
        seen = []
        for value in [1, 0.9, 0.95, 0.9, 0.9, 0.9, 0.9, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3]:
            s.step(value)
            seen.append(opt.param_groups[0]["lr"])
        return seen, s.state_dict()

    for options in ({}, {"mode": "max"}, {"threshold_mode": "abs", "factor": 0.5}):
        assert run(rustnn, **options) == run(torch, **options)


def test_swa():
    def run(lib):
        params, loss = problem(lib)
        opt = lib.optim.SGD(params, lr=0.2)
        s = lib.optim.swa_utils.SWALR(opt, 0.05, 4)
        seen = []
        for _ in range(7):
            opt.step()
            s.step()
            seen.append(s.get_last_lr())
        return seen

    assert run(rustnn) == run(torch)


BAD = [
    lambda lib, p: lib.optim.SGD([]),
    lambda lib, p: lib.optim.SGD([1]),
    lambda lib, p: lib.optim.SGD(p),
    lambda lib, p: lib.optim.SGD([p * 2]),
    lambda lib, p: lib.optim.SGD([p], lr=-1),
    lambda lib, p: lib.optim.SGD([p], nesterov=True),
    lambda lib, p: lib.optim.SGD([p], fused=True, foreach=True),
    lambda lib, p: lib.optim.SGD([{"params": {p}}]),
    lambda lib, p: lib.optim.SGD([{"params": [p]}, {"params": [p]}]),
    lambda lib, p: lib.optim.SGD([("a", p), p]),
    lambda lib, p: lib.optim.SGD([p]).add_param_group([p]),
    lambda lib, p: lib.optim.Adam([p], betas=(1.0, 0.9)),
    lambda lib, p: lib.optim.Adam([p], eps=-1),
    lambda lib, p: lib.optim.Rprop([p], etas=(1, 2)),
    lambda lib, p: lib.optim.SGD([p]).load_state_dict({"state": {}, "param_groups": []}),
    lambda lib, p: lib.optim.SGD([p]).load_state_dict({"state": {}, "param_groups": [{"params": [0, 1]}]}),
    lambda lib, p: lib.optim.LBFGS([{"params": [p]}, {"params": [lib.zeros(1)]}]),
    lambda lib, p: lib.optim.lr_scheduler.StepLR(3, 1),
    lambda lib, p: lib.optim.lr_scheduler.StepLR(lib.optim.SGD([p]), 1, last_epoch=3),
    lambda lib, p: lib.optim.lr_scheduler.LinearLR(lib.optim.SGD([p]), 0),
    lambda lib, p: lib.optim.lr_scheduler.OneCycleLR(lib.optim.SGD([p]), 0.1),
    lambda lib, p: lib.optim.lr_scheduler.OneCycleLR(lib.optim.Adagrad([p]), 0.1, 3),
    lambda lib, p: lib.optim.lr_scheduler.ReduceLROnPlateau(lib.optim.SGD([p]), mode="x"),
    lambda lib, p: lib.optim.lr_scheduler.SequentialLR(lib.optim.SGD([p]), [], []),
]


@pytest.mark.parametrize("index", range(len(BAD)))
def test_errors_are_pytorchs(index):
    caught = []
    for lib in (rustnn, torch):
        with pytest.raises(Exception) as info:
            BAD[index](lib, lib.zeros(2, requires_grad=True))
        caught.append(info)
    assert caught[0].type is caught[1].type or issubclass(caught[0].type, caught[1].type)
    assert str(caught[0].value).startswith(str(caught[1].value).split(" (")[0])


def test_wrong_order_warns():
    for lib in (rustnn, torch):
        opt = lib.optim.SGD([lib.zeros(1, requires_grad=True)], lr=1.0)
        s = lib.optim.lr_scheduler.StepLR(opt, 1)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            s.step()
            s.step()
            s.get_lr()
        assert len(seen) == 2 and "Detected call of `lr_scheduler.step()`" in str(seen[0].message)


def test_state_dicts_cross_over():
    """A state dict made by PyTorch goes on training here (through NumPy)."""
    theirs, their_opt = trained(torch, "Adam", {"lr": 0.01})
    params, loss = problem(rustnn)
    with rustnn.no_grad():
        for p, q in zip(params, theirs, strict=True):
            p.copy_(rustnn.tensor(q.detach().numpy()))

    def moved(value):
        if isinstance(value, dict):
            return {k: moved(v) for k, v in value.items()}
        if isinstance(value, list):
            return [moved(v) for v in value]
        return rustnn.tensor(value.numpy()) if isinstance(value, torch.Tensor) else value

    opt = rustnn.optim.Adam([{"params": params[:1]}, {"params": params[1:]}], lr=1.0)
    opt.load_state_dict(moved(their_opt.state_dict()))
    their_params = theirs
    opt.zero_grad()
    loss().backward()
    for p, q in zip(params, their_params, strict=True):
        q.grad = torch.tensor(p.grad.numpy())
    opt.step()
    their_opt.step()
    for p, q in zip(params, their_params, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-5, atol=1e-7)
