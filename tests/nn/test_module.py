"""Module itself, against fixed expectations: members, hooks, state dictionaries, copies, errors' paths."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref
from collections import OrderedDict
from typing import Any

import pytest
import rustnn as torch
from rustnn import nn


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def forward(self, x: Any) -> Any:
        return self.fc(x) * self.scale + self.mean


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Sequential(nn.Linear(3, 2), nn.ReLU())

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def test_names_and_keys() -> None:
    net = Net()
    assert list(net.state_dict()) == [
        "blocks.0.scale", "blocks.0.mean", "blocks.0.fc.weight", "blocks.0.fc.bias",
        "blocks.1.scale", "blocks.1.mean", "blocks.1.fc.weight", "blocks.1.fc.bias",
        "head.0.weight", "head.0.bias",
    ]  # fmt: skip
    assert [n for n, _ in net.named_modules()] == [
        "", "blocks", "blocks.0", "blocks.0.fc", "blocks.1", "blocks.1.fc", "head", "head.0", "head.1",
    ]  # fmt: skip
    assert [n for n, _ in net.named_buffers()] == [
        "blocks.0.mean", "blocks.0.scratch", "blocks.1.mean", "blocks.1.scratch",
    ]  # fmt: skip
    assert len(list(net.parameters())) == 8
    assert [n for n, _ in net.named_children()] == ["blocks", "head"]
    assert [n for n, _ in net.head.named_parameters(prefix="p")] == ["p.0.weight", "p.0.bias"]
    assert net.get_submodule("blocks.1.fc") is net.blocks[1].fc
    assert net.get_parameter("head.0.bias") is net.head[0].bias
    assert net.get_buffer("blocks.0.mean") is net.blocks[0].mean


def test_shared_parameters_come_once() -> None:
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight = a.weight
    net = nn.Sequential(a, b)
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert len(list(net.named_parameters(remove_duplicate=False))) == 4
    assert len(net.state_dict()) == 4
    assert copy.deepcopy(net)[0].weight is not a.weight
    twin = copy.deepcopy(net)
    assert twin[0].weight is twin[1].weight


def test_repr() -> None:
    assert repr(Net()) == (
        "Net(\n"
        "  (blocks): ModuleList(\n"
        "    (0-1): 2 x Block(\n"
        "      (fc): Linear(in_features=3, out_features=3, bias=True)\n"
        "    )\n"
        "  )\n"
        "  (head): Sequential(\n"
        "    (0): Linear(in_features=3, out_features=2, bias=True)\n"
        "    (1): ReLU()\n"
        "  )\n"
        ")"
    )
    assert repr(nn.Parameter(torch.ones(2))) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"


def test_assigning_members() -> None:
    m = nn.Module()
    m.p = nn.Parameter(torch.ones(2))
    assert "p" in m._parameters
    m.p = None
    assert m.p is None
    assert dict(m._parameters) == {"p": None}
    m.p = nn.Parameter(torch.zeros(2))
    del m.p
    assert not hasattr(m, "p")
    m.p = 3
    m.p = nn.Linear(1, 1)
    assert isinstance(m.p, nn.Linear)
    assert "p" in m._modules
    m.b = nn.Buffer(torch.ones(2))
    assert "b" in m._buffers
    m.b = torch.zeros(2)
    assert float(m._buffers["b"].sum()) == 0
    m.c = nn.Buffer(torch.ones(2), persistent=False)
    assert list(m.state_dict()) == ["b", "p.weight", "p.bias"]
    assert "b" in dir(m)


def test_writing_the_dictionaries_shows_in_the_attributes() -> None:
    m = nn.Linear(2, 2)
    m._parameters["weight"] = None
    assert m.weight is None
    del m._parameters["bias"]
    assert not hasattr(m, "bias")
    m._modules["sub"] = nn.ReLU()
    assert isinstance(m.sub, nn.ReLU)
    m._modules.pop("sub")
    assert not hasattr(m, "sub")
    m._buffers.update(x=torch.ones(1))
    assert float(m.x) == 1.0
    m._buffers.clear()
    assert not hasattr(m, "x")


def test_before_init() -> None:
    class Bad(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"cannot assign module before Module.__init__\(\) call"):
        Bad()


def test_a_module_is_freed_at_once() -> None:
    gc.disable()
    try:
        net = Net()
        net(torch.ones(1, 3))
        ref = weakref.ref(net)
        del net
        assert ref() is None
    finally:
        gc.enable()


def test_copy_and_pickle() -> None:
    net = Net()
    x = torch.randn(2, 3)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), copy.copy(net)):
        assert torch.equal(twin(x), net(x))
        assert repr(twin) == repr(net)
    twin = copy.deepcopy(net)
    twin.blocks[0].scale = nn.Parameter(torch.zeros(3))
    assert float(net.blocks[0].scale.sum()) == 3.0
    twin.head[0]._parameters["bias"] = None
    assert twin.head[0].bias is None
    assert net.head[0].bias is not None


def test_train_eval_requires_grad_zero_grad_apply() -> None:
    net = Net()
    net.eval()
    assert not net.blocks[0].fc.training
    net.train()
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net(torch.ones(1, 3)).sum().backward()
    assert net.head[0].bias.grad is not None
    net.zero_grad(set_to_none=False)
    assert float(net.head[0].bias.grad.abs().sum()) == 0.0
    net.zero_grad()
    assert net.head[0].bias.grad is None
    seen: list[str] = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen[0] == "Linear"
    assert seen[-1] == "Net"


def test_to_dtype_keeps_identity() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    weight = net[0].weight
    net(torch.ones(3, 2)).sum().backward()
    assert net.double() is net
    assert net[0].weight is weight
    assert weight.dtype == torch.float64
    assert weight.grad.dtype == torch.float64
    assert net[1].running_mean.dtype == torch.float64
    assert net[1].num_batches_tracked.dtype == torch.int64
    net.to(torch.float32).to("cpu")
    assert weight.dtype == torch.float32
    net.to(torch.ones(1, dtype=torch.float64))
    assert weight.dtype == torch.float64
    assert net.half()[0].weight.dtype == torch.float16
    assert net.bfloat16()[0].weight.dtype == torch.bfloat16
    assert net.float()[0].weight.dtype == torch.float32
    assert net.type(torch.float64)[0].weight.dtype == torch.float64


def test_load_state_dict() -> None:
    a, b = Net(), Net()
    result = b.load_state_dict(a.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    x = torch.randn(2, 3)
    assert torch.equal(a(x), b(x))
    state = a.state_dict()
    state["extra"] = torch.ones(1)
    del state["head.0.bias"]
    result = b.load_state_dict(state, strict=False)
    assert result.missing_keys == ["head.0.bias"]
    assert result.unexpected_keys == ["extra"]
    with pytest.raises(RuntimeError) as caught:
        b.load_state_dict(state)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Net:\n"
        '\tMissing key(s) in state_dict: "head.0.bias". \n'
        '\tUnexpected key(s) in state_dict: "extra". '
    )


def test_load_state_dict_hints() -> None:
    net = nn.Sequential(nn.Linear(2, 3))
    wrapped = {f"module.{k}": v for k, v in net.state_dict().items()}
    with pytest.raises(RuntimeError, match=r'fit without their prefix "module\."'):
        net.load_state_dict(wrapped)
    with pytest.raises(RuntimeError, match=r'fit with the prefix "0\."'):
        net.load_state_dict(net[0].state_dict())
    with pytest.raises(
        RuntimeError, match=r"size mismatch for weight: copying a param with shape torch.Size\(\[3, 2\]\)"
    ):
        nn.Linear(3, 3).load_state_dict(nn.Linear(2, 3).state_dict())
    renamed = {"first.weight": torch.ones(3, 2), "0.bias": torch.ones(3)}
    with pytest.raises(RuntimeError, match=r'likeliest renames: "first.weight" -> "0.weight"'):
        net.load_state_dict(renamed)


def test_load_with_assign() -> None:
    net = nn.Linear(2, 2)
    given = {k: v.double() for k, v in net.state_dict().items()}
    net.load_state_dict(given, assign=True)
    assert net.weight.dtype == torch.float64
    assert isinstance(net.weight, nn.Parameter)
    assert net.weight.requires_grad


def test_extra_state() -> None:
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def get_extra_state(self) -> dict[str, int]:
            return {"count": self.count}

        def set_extra_state(self, state: dict[str, int]) -> None:
            self.count = state["count"]

    a, b = Counted(), Counted()
    a.count = 3
    assert list(a.state_dict()) == ["_extra_state"]
    b.load_state_dict(a.state_dict())
    assert b.count == 3
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "_extra_state"'):
        b.load_state_dict({})


def test_state_dict_hooks() -> None:
    net = nn.Linear(1, 1)
    net.register_state_dict_pre_hook(lambda m, prefix, keep: calls.append(("pre", prefix, keep)))
    net.register_state_dict_post_hook(lambda m, state, prefix, meta: state.pop("bias") and None)
    calls: list[Any] = []
    assert list(net.state_dict(keep_vars=True)) == ["weight"]
    assert calls == [("pre", "", True)]
    other = nn.Linear(1, 1)
    other.register_load_state_dict_pre_hook(lambda m, state, *rest: state.setdefault("bias", torch.ones(1)) and None)
    other.register_load_state_dict_post_hook(lambda m, keys: calls.append(keys))
    other.load_state_dict(net.state_dict())
    assert float(other.bias.detach()) == 1.0
    assert calls[-1].missing_keys == []


def test_forward_hooks() -> None:
    m = nn.Identity()
    log: list[str] = []
    one = m.register_forward_pre_hook(lambda m, args: log.append("pre"))
    m.register_forward_pre_hook(lambda m, args: (args[0] + 1,), prepend=True)
    m.register_forward_pre_hook(lambda m, args, kw: (args, {**kw}), with_kwargs=True)
    post = m.register_forward_hook(lambda m, args, out: out * 2)
    m.register_forward_hook(lambda m, args, kw, out: log.append(f"kw {sorted(kw)}"), with_kwargs=True)
    assert m(1) == 4
    assert log == ["pre", "kw []"]
    one.remove()
    with post:
        assert m(1) == 4
    assert m(1) == 2
    assert log.count("pre") == 1


def test_always_called_hook_and_errors() -> None:
    class Fails(nn.Module):
        def forward(self, x: Any) -> Any:
            raise KeyError("mine")

    m = Fails()
    seen: list[Any] = []
    m.register_forward_hook(lambda m, a, out: seen.append(out), always_call=True)
    m.register_forward_hook(lambda m, a, out: seen.append("never"))
    with pytest.raises(KeyError, match="mine"):
        m(1)
    assert seen == [None]


def test_global_hooks() -> None:
    from rustnn.nn.modules import module as where

    log: list[str] = []
    handles = [
        where.register_module_forward_pre_hook(lambda m, args: log.append("pre")),
        where.register_module_forward_hook(lambda m, args, out: log.append("post")),
        where.register_module_parameter_registration_hook(lambda m, name, p: log.append(name)),
    ]
    nn.Linear(1, 1)(torch.ones(1))
    for handle in handles:
        handle.remove()
    nn.Linear(1, 1)(torch.ones(1))
    assert log == ["weight", "bias", "pre", "post"]


def test_backward_hooks() -> None:
    m = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        m.weight.copy_(torch.eye(2))
    x = torch.ones(1, 2, requires_grad=True)
    seen: list[Any] = []
    m.register_full_backward_pre_hook(lambda m, grad_out: (grad_out[0] * 2,))
    m.register_full_backward_hook(lambda m, gi, go: seen.append((gi[0].tolist(), go[0].tolist())))
    m.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10,))
    m(x).sum().backward()
    assert seen == [([[2.0, 2.0]], [[2.0, 2.0]])]
    assert x.grad.tolist() == [[20.0, 20.0]]
    assert m.weight.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_backward_hook_without_input_gradient() -> None:
    m = nn.Linear(2, 1)
    seen: list[Any] = []
    m.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].tolist())))
    m(torch.ones(1, 2)).sum().backward()
    assert seen == [((None,), [[1.0]])]


def test_errors_name_the_module() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
            self.fc = nn.Linear(4 * 6 * 6, 5)

        def forward(self, x: Any, flat: bool = False) -> Any:
            x = self.features(x)
            return self.fc(x.flatten(1) if flat else x)

    model = nn.Sequential(OrderedDict(body=Model()))
    with pytest.raises(RuntimeError) as caught:
        model(torch.ones(2, 3, 8, 8))
    text = str(caught.value)
    assert "mat1 and mat2 shapes cannot be multiplied (48x6 and 144x5)" in text.split("\n")[0]
    assert "body.fc (Linear)" in text
    assert "in_features=144" in text
    assert "flatten(1) is missing" in text
    with pytest.raises(RuntimeError) as caught:
        model(torch.ones(2, 8, 8, 3))
    text = str(caught.value)
    assert "expected input[2, 8, 8, 3] to have 3 channels, but got 8 channels instead" in text
    assert "body.features.0 (Conv2d)" in text
    assert "permute(0, 3, 1, 2)" in text
    with pytest.raises(IndexError) as caught_index:
        nn.Sequential(nn.Embedding(4, 2))(torch.tensor([[0, 1], [2, 7]]))
    text = str(caught_index.value)
    assert "index out of range in self" in text.split("\n")[0]
    assert "0 (Embedding)" in text
    assert "7" in text
    with pytest.raises(RuntimeError) as caught:
        nn.Sequential(nn.Linear(2, 2))(torch.ones(1, 2, dtype=torch.float64))
    assert "0 (Linear)" in str(caught.value)
    assert ".float()" in str(caught.value)
    with pytest.raises(ValueError, match=r"more than 1 value per channel[\s\S]*0 \(BatchNorm1d\)[\s\S]*\.eval\(\)"):
        nn.Sequential(nn.BatchNorm1d(3))(torch.ones(1, 3))


def test_a_programs_own_errors_stay_as_they_are() -> None:
    class Fails(nn.Module):
        def forward(self, x: Any) -> Any:
            raise ValueError("mine")

    with pytest.raises(ValueError) as caught:
        nn.Sequential(Fails())(1)
    assert str(caught.value) == "mine"


def test_containers() -> None:
    seq = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 3))
    assert len(seq) == 3
    assert isinstance(seq[1:], nn.Sequential)
    assert list(seq[1:]._modules) == ["1", "2"]
    seq.insert(1, nn.Tanh())
    assert [type(m).__name__ for m in seq] == ["Linear", "Tanh", "ReLU", "Linear"]
    del seq[1]
    seq[1] = nn.Sigmoid()
    assert list(seq._modules) == ["0", "1", "2"]
    assert isinstance(seq.pop(-1), nn.Linear)
    seq.append(nn.ReLU()).extend([nn.ReLU(), nn.ReLU()])
    assert len(seq + nn.Sequential(nn.ReLU())) == 6
    assert len(nn.Sequential(nn.ReLU()) * 3) == 3
    seq += nn.Sequential(nn.Tanh())
    assert isinstance(seq[-1], nn.Tanh)

    layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(3))
    layers.append(nn.ReLU())
    layers.insert(0, nn.Tanh())
    layers += [nn.ReLU()]
    del layers[1:3]
    assert [type(m).__name__ for m in layers] == ["Tanh", "Linear", "ReLU", "ReLU"]
    assert isinstance(layers[-1], nn.ReLU)
    assert isinstance(layers[:2], nn.ModuleList)
    assert len(layers + [nn.ReLU()]) == 5

    table = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Tanh()})
    table["c"] = nn.Linear(1, 1)
    table.update([("d", nn.ReLU())])
    assert list(table) == ["a", "b", "c", "d"]
    assert "c" in table
    table.pop("a")
    del table["d"]
    assert list(table.keys()) == ["b", "c"]
    assert [k for k, _ in table.items()] == ["b", "c"]
    table.clear()
    assert len(table) == 0

    params = nn.ParameterList([torch.ones(1), nn.Parameter(torch.ones(2)), "text"])
    assert [n for n, _ in params.named_parameters()] == ["0", "1"]
    assert params[-1] == "text"
    params[0] = torch.zeros(3)
    assert tuple(params[0].shape) == (3,)
    named = nn.ParameterDict({"w": torch.ones(2)})
    named["v"] = torch.ones(3)
    assert list(named) == ["w", "v"]
    assert isinstance(named["v"], nn.Parameter)
    assert named.get("x") is None
    assert named.popitem()[0] == "v"
    assert [n for n, _ in named.named_parameters()] == ["w"]


def test_lazy_layers() -> None:
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(5))
    assert repr(net[3]) == "LazyLinear(in_features=0, out_features=5, bias=True)"
    out = net(torch.ones(2, 3, 6, 6))
    assert tuple(out.shape) == (2, 5)
    assert [type(m) for m in net] == [nn.Conv2d, nn.BatchNorm2d, nn.Flatten, nn.Linear]
    assert type(net[0].weight) is nn.Parameter
    assert net[3].in_features == 64
    other = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(5))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other.eval()(torch.ones(2, 3, 6, 6)), net.eval()(torch.ones(2, 3, 6, 6)))


def test_parameter() -> None:
    p = nn.Parameter(torch.ones(2))
    assert p.requires_grad
    assert p.is_leaf
    assert isinstance(p, torch.Tensor)
    assert type(p * 2) is torch.Tensor
    assert type(p.data) is torch.Tensor
    twin = copy.deepcopy(p)
    assert type(twin) is nn.Parameter
    assert twin.data_ptr() != p.data_ptr()
    assert isinstance(pickle.loads(pickle.dumps(p)), nn.Parameter)
    shared = torch.zeros(2)
    q = nn.Parameter(shared, requires_grad=False)
    shared.add_(1)
    assert q.tolist() == [1.0, 1.0]


def test_clipping_and_vectors() -> None:
    p, q = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))
    p.grad, q.grad = torch.full((2,), 3.0), torch.full((3,), 4.0)
    norm = (2 * 9 + 3 * 16) ** 0.5
    assert float(nn.utils.clip_grad_norm_([p, q], 1.0)) == pytest.approx(norm, rel=1e-6)
    total = float((p.grad**2).sum() + (q.grad**2).sum())
    assert total == pytest.approx(1.0, rel=1e-5)
    nn.utils.clip_grad_value_([p, q], 0.1)
    assert float(q.grad.max()) == pytest.approx(0.1)
    p.grad = torch.full((2,), float("inf"))
    with pytest.raises(RuntimeError, match="The total norm of order 2.0 for gradients"):
        nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    vec = nn.utils.parameters_to_vector([p, q])
    assert tuple(vec.shape) == (5,)
    nn.utils.vector_to_parameters(torch.arange(5.0), [p, q])
    assert q.tolist() == [2.0, 3.0, 4.0]


def test_reparametrizations() -> None:
    layer = nn.Linear(3, 4)
    x = torch.randn(2, 3)
    before = layer(x)
    nn.utils.weight_norm(layer)
    assert [n for n, _ in layer.named_parameters()] == ["bias", "weight_g", "weight_v"]
    assert torch.allclose(layer(x), before, atol=1e-6)
    nn.utils.remove_weight_norm(layer)
    assert torch.allclose(layer(x), before, atol=1e-6)
    nn.utils.parametrizations.weight_norm(layer)
    assert list(layer.state_dict()) == [
        "bias", "parametrizations.weight.original0", "parametrizations.weight.original1",
    ]  # fmt: skip
    assert torch.allclose(layer(x), before, atol=1e-6)
    assert type(layer).__name__ == "ParametrizedLinear"
    layer(x).sum().backward()
    assert layer.parametrizations.weight.original0.grad is not None
    nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear
    assert torch.allclose(layer(x), before, atol=1e-6)

    class Symmetric(nn.Module):
        def forward(self, w: Any) -> Any:
            return w.triu() + w.triu(1).transpose(-1, -2)

    square = nn.Linear(3, 3)
    nn.utils.parametrize.register_parametrization(square, "weight", Symmetric())
    assert torch.equal(square.weight, square.weight.T)
    spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4))
    for _ in range(30):
        w = spectral.weight
    assert float(torch.from_numpy(w.detach().numpy()).norm()) >= 0.99
    old = nn.utils.spectral_norm(nn.Linear(3, 4))
    old(x).sum().backward()
    assert old.weight_orig.grad is not None


def test_functional_call_and_fusion() -> None:
    from rustnn.nn.utils.stateless import functional_call

    layer = nn.Linear(2, 1, bias=False)
    kept = layer.weight
    out = functional_call(layer, {"weight": torch.ones(1, 2)}, (torch.ones(1, 2),))
    assert float(out) == 2.0
    assert layer.weight is kept
    conv, bn = nn.Conv2d(2, 3, 3).eval(), nn.BatchNorm2d(3)
    bn(torch.randn(4, 3, 5, 5))
    bn.eval()
    x = torch.randn(1, 2, 6, 6)
    fused = nn.utils.fuse_conv_bn_eval(conv, bn)
    assert torch.allclose(fused(x), bn(conv(x)), atol=1e-5)


def test_packing_round_trip() -> None:
    from rustnn.nn.utils import rnn

    parts = [torch.arange(float(n)).reshape(n, 1) for n in (3, 1, 2)]
    packed = rnn.pack_sequence(parts, enforce_sorted=False)
    assert packed.batch_sizes.tolist() == [3, 2, 1]
    for a, b in zip(rnn.unpack_sequence(packed), parts, strict=True):
        assert torch.equal(a, b)
    assert rnn.pad_sequence(parts, padding_value=-1.0).squeeze(-1).T.tolist()[1] == [0.0, -1.0, -1.0]
    with pytest.raises(RuntimeError, match="must be sorted in decreasing order"):
        rnn.pack_sequence(parts)


def test_messages_are_not_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = nn.Transformer(8, 2, 1, 1, 16)(torch.ones(2, 1, 8), torch.ones(2, 1, 8))
    assert out.shape == (2, 1, 8)
