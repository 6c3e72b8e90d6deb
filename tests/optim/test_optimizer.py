"""The optimizer base: hooks, groups, closures, state, pickling."""

from __future__ import annotations

import copy
import pickle
import sys

import pytest
import rustnn
from rustnn import optim


def param(*values):
    return rustnn.tensor(list(values), requires_grad=True)


def with_grad(p):
    p.grad = rustnn.ones_like(p.detach())
    return p


def test_step_hooks_run_and_change_arguments():
    p = with_grad(param(1.0))
    opt = optim.SGD([p], lr=0.5)
    seen = []
    h = opt.register_step_pre_hook(lambda o, a, k: seen.append(("pre", o is opt)))
    opt.register_step_post_hook(lambda o, a, k: seen.append(("post", o is opt)))
    opt.step()
    assert seen == [("pre", True), ("post", True)]
    h.remove()
    opt.step()
    assert seen[2:] == [("post", True)]
    bad = opt.register_step_pre_hook(lambda o, a, k: 3)
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        opt.step()
    bad.remove()


def test_global_hooks():
    seen = []
    h = optim.optimizer.register_optimizer_step_pre_hook(lambda o, a, k: seen.append(type(o).__name__))
    try:
        optim.SGD([with_grad(param(1.0))]).step()
        optim.Adam([with_grad(param(1.0))]).step()
    finally:
        h.remove()
    assert seen == ["SGD", "Adam"]


def test_state_dict_hooks():
    opt = optim.SGD([with_grad(param(1.0))], momentum=0.9)
    opt.step()
    opt.register_state_dict_post_hook(lambda o, s: {**s, "more": 1})
    opt.register_load_state_dict_pre_hook(lambda o, s: {k: v for k, v in s.items() if k != "more"})
    done = []
    opt.register_load_state_dict_post_hook(lambda o: done.append(1))
    state = opt.state_dict()
    assert state["more"] == 1
    opt.load_state_dict(state)
    assert done == [1]


def test_closure_runs_with_gradients_on():
    p = param(1.0)
    opt = optim.SGD([p], lr=0.1)

    def closure():
        opt.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with rustnn.no_grad():
        assert float(opt.step(closure)) == 1.0
    assert abs(p.item() - 0.8) < 1e-6


def test_subclass_of_a_user_gets_hooks():
    class Mine(optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 1.0})

        def step(self, closure=None):
            return "stepped"

    opt = Mine([param(1.0)])
    seen = []
    opt.register_step_post_hook(lambda *a: seen.append(1))
    assert opt.step() == "stepped" and seen == [1]


def test_parameters_without_gradient_are_left_alone():
    a, b = with_grad(param(1.0)), param(2.0)
    opt = optim.Adam([a, b], lr=0.1)
    opt.step()
    assert b.item() == 2.0 and list(opt.state_dict()["state"]) == [0]
    with_grad(b)
    opt.step()
    state = opt.state_dict()["state"]
    assert float(state[0]["step"]) == 2 and float(state[1]["step"]) == 1


def test_momentum_of_late_parameters():
    a, b = with_grad(param(1.0)), param(2.0)
    opt = optim.SGD([a, b], lr=1.0, momentum=0.5)
    opt.step()
    with_grad(b)
    opt.step()
    assert a.item() == 1 - 1 - 1.5 and b.item() == 1.0


def test_changed_state_is_seen():
    p = with_grad(param(1.0))
    opt = optim.SGD([p], lr=1.0, momentum=0.5)
    opt.step()
    opt.state[p]["momentum_buffer"] = rustnn.zeros(1)
    opt.step()
    assert p.item() == -1.0
    opt.state.clear()
    opt.step()
    assert opt.state[p]["momentum_buffer"].item() == 1.0
    opt.state[p].clear()
    opt.step()
    assert opt.state[p]["momentum_buffer"].item() == 1.0


def test_adam_state_cleared_in_place():
    p = with_grad(param(1.0))
    opt = optim.Adam([p])
    opt.step()
    opt.state[p].clear()
    opt.step()
    assert float(opt.state[p]["step"]) == 1


def test_swapped_parameters_are_seen():
    p, q = with_grad(param(1.0)), with_grad(param(5.0))
    opt = optim.SGD([p], lr=1.0, momentum=0.5)
    opt.step()
    opt.param_groups[0]["params"][0] = q
    opt.step()
    assert p.item() == 0.0 and q.item() == 4.0


OPTIONS = [
    (optim.SGD, {"lr": 0.1}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (optim.Adam, {}),
    (optim.Adam, {"amsgrad": True, "weight_decay": 0.1, "maximize": True}),
    (optim.AdamW, {}),
    (optim.RMSprop, {"momentum": 0.9, "centered": True}),
    (optim.RMSprop, {}),
    (optim.Adagrad, {"lr_decay": 0.1}),
]


@pytest.mark.parametrize(("cls", "options"), OPTIONS)
def test_the_short_way_and_the_long_one_give_the_same_bits(cls, options, monkeypatch):
    """A step gathers its lists in the engine, or in Python where something is not plain: strided, empty and
    zero-dimensional parameters of several dtypes, each without a gradient in some steps.
    """

    def run(short):
        rustnn.manual_seed(0)
        params = [
            rustnn.randn(3, 4),
            rustnn.randn(4, 3).t(),
            rustnn.randn(2, 5, dtype=rustnn.float64),
            rustnn.randn(7, dtype=rustnn.bfloat16),
            rustnn.randn(()),
            rustnn.randn(0, 3),
            rustnn.randn(150, 130),
        ]
        params = [p.requires_grad_() for p in params]
        opt = cls(params, **options)
        module = sys.modules[cls.step.__module__]
        taken = []

        def step(*args):
            taken.append(short and short_step(*args))
            return taken[-1]

        short_step = module._step
        with monkeypatch.context() as patch:
            patch.setattr(module, "_step", step)
            for i in range(6):
                for j, p in enumerate(params):
                    grad = rustnn.randn(p.shape, dtype=p.dtype)
                    p.grad = None if (i + j) % 4 == 3 else grad if j != 1 else grad.t().contiguous().t()
                opt.step()
        assert taken[-1] is short
        states = [opt.state[p][k] for p in params if p in opt.state for k in sorted(opt.state[p])]
        return [p.detach() for p in params] + states

    for a, b in zip(run(True), run(False), strict=True):
        assert rustnn.equal(a, b)


def test_a_state_of_another_shape_is_an_error():
    p = with_grad(param(1.0, 2.0, 3.0))
    opt = optim.Adam([p])
    opt.step()
    opt.state[p]["exp_avg"] = rustnn.zeros(4)
    with pytest.raises(RuntimeError, match=r"shape \[3\].*state of shape \[4\]"):
        opt.step()
    opt.state[p]["exp_avg"] = p.detach()
    with pytest.raises(RuntimeError, match="shares memory"):
        opt.step()
    assert opt.state[p]["step"].item() == 1  # a step that failed does not count
    opt.state[p]["exp_avg"] = None
    with pytest.raises(TypeError, match="exp_avgs"):
        opt.step()


def test_zero_grad():
    p = with_grad(param(1.0))
    opt = optim.SGD([p])
    opt.zero_grad(set_to_none=False)
    assert p.grad.item() == 0.0
    opt.zero_grad()
    assert p.grad is None


def test_named_parameters():
    opt = optim.SGD([("w", param(1.0)), ("b", param(2.0))])
    assert opt.state_dict()["param_groups"][0]["param_names"] == ["w", "b"]


def test_empty_list_hints():
    with pytest.raises(ValueError, match="optimizer got an empty parameter list\n.*Hint"):
        optim.SGD([])


def test_pickle_and_deepcopy():
    p = with_grad(param(1.0))
    opt = optim.Adam([p])
    opt.step()
    for twin in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        q = twin.param_groups[0]["params"][0]
        with_grad(q)
        twin.step()
        assert float(twin.state[q]["step"]) == 2


def test_resumed_run_is_the_same():
    def fresh():
        w = rustnn.tensor([1.0, -2.0, 3.0], requires_grad=True)
        return w, optim.AdamW([w], lr=0.1)

    def go(w, opt, steps):
        for _ in range(steps):
            opt.zero_grad()
            ((w - 1) ** 2).sum().backward()
            opt.step()

    w, opt = fresh()
    go(w, opt, 3)
    w2, opt2 = fresh()
    with rustnn.no_grad():
        w2.copy_(w.detach())
    opt2.load_state_dict(opt.state_dict())
    go(w, opt, 4)
    go(w2, opt2, 4)
    assert w.tolist() == w2.tolist()


def test_tensor_learning_rate():
    p = with_grad(param(1.0))
    opt = optim.SGD([p], lr=rustnn.tensor(0.5))
    s = optim.lr_scheduler.ExponentialLR(opt, 0.5)
    opt.step()
    s.step()
    assert p.item() == 0.5 and float(opt.param_groups[0]["lr"]) == 0.25


def test_averaged_model():
    from rustnn import nn

    model = nn.Linear(1, 1)
    mean = optim.swa_utils.AveragedModel(model)
    ema = optim.swa_utils.AveragedModel(model, multi_avg_fn=optim.swa_utils.get_ema_multi_avg_fn(0.5))
    for value in (1.0, 3.0):
        with rustnn.no_grad():
            model.weight.fill_(value)
        mean.update_parameters(model)
        ema.update_parameters(model)
    assert mean.module.weight.item() == 2.0 and ema.module.weight.item() == 2.0
    assert mean.n_averaged.item() == 2
    with pytest.raises(ValueError, match="Invalid decay value"):
        optim.swa_utils.get_ema_avg_fn(2.0)
