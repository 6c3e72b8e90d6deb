"""Every layer beside PyTorch's: repr, state keys, first values, outputs, gradients, with one seed."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import rustnn
import rustnn.nn
from nn.cases import LAYERS, LOSSES

torch = pytest.importorskip("torch", reason="PyTorch is not installed: the comparison with it is skipped")


def names(lib: Any, seed: int) -> dict[str, Any]:
    """The input makers for one library; both libraries get the same numbers."""
    rng = np.random.default_rng(seed)

    def tensor(a: np.ndarray, grad: bool) -> Any:
        x = lib.tensor(a.tolist(), dtype=lib.float32 if a.dtype == np.float32 else lib.int64)
        return x.requires_grad_() if grad else x

    def floats(draw: Any, grad: bool = True) -> Any:
        def make(*shape: int) -> Any:
            x = tensor(np.asarray(draw(shape), np.float32), grad)
            made.append(x)
            return x

        return make

    made: list[Any] = []
    return {
        "nn": lib.nn,
        "made": made,
        "t": floats(lambda s: rng.standard_normal(s)),
        "pos": floats(lambda s: rng.random(s) + 0.1),
        "unit": floats(lambda s: rng.random(s) * 0.9 + 0.05, False),
        "vec": floats(lambda s: rng.random(s) + 0.1, False),
        "sign": floats(lambda s: np.sign(rng.standard_normal(s)), False),
        "i": lambda *s, n: tensor(np.asarray(rng.integers(0, n, s), np.int64), False),
        "starts": lambda v: lib.tensor(v),
        "labels": lambda v: lib.tensor(v),
        "lengths": lambda v: lib.tensor(v),
    }


def flat(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [x for v in value for x in flat(v)]
    return [] if value is None else [value]


def numbers(x: Any) -> np.ndarray:
    return np.asarray(x.detach().tolist(), dtype=np.float64).reshape(tuple(x.shape))


def run(lib: Any, maker: str, inputs: str, train: bool) -> dict[str, Any]:
    env = names(lib, 7)
    lib.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = eval(maker, env)
    module.train(train)
    first = {k: numbers(v) for k, v in module.state_dict().items()}
    lib.manual_seed(5)
    args = eval(f"[{inputs}]", env)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = flat(module(*args))
    total: Any = 0
    for k, o in enumerate(out):
        if o.is_floating_point() and o.requires_grad:
            total = total + (o * (k + 1)).sin().sum()
    grads = []
    if not isinstance(total, int):
        total.backward()
        grads = [numbers(x.grad) for x in env["made"] if x.grad is not None]
        grads += [numbers(p.grad) for p in module.parameters() if p.grad is not None]
    after = {k: numbers(v) for k, v in module.state_dict().items()}
    return {
        "repr": repr(module), "first": first, "out": [numbers(o) for o in out], "grads": grads, "after": after,
    }  # fmt: skip


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("maker", "inputs"), LAYERS + LOSSES)
def test_same_as_torch(maker: str, inputs: str, train: bool) -> None:
    ours, theirs = run(rustnn, maker, inputs, train), run(torch, maker, inputs, train)
    assert ours["repr"] == theirs["repr"]
    assert list(ours["first"]) == list(theirs["first"])
    for key in ours["first"]:
        np.testing.assert_allclose(ours["first"][key], theirs["first"][key], rtol=1e-6, atol=1e-7, err_msg=key)
    assert len(ours["out"]) == len(theirs["out"])
    assert len(ours["grads"]) == len(theirs["grads"])
    for what in ("out", "grads"):
        for a, b in zip(ours[what], theirs[what], strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5, err_msg=what)
    for key in ours["after"]:
        np.testing.assert_allclose(ours["after"][key], theirs["after"][key], rtol=1e-5, atol=1e-6, err_msg=key)


@pytest.mark.parametrize(
    "call",
    [
        "xavier_uniform_(w)", "xavier_normal_(w, 2.0)", "kaiming_uniform_(w, 0.1)",
        "kaiming_normal_(w, mode='fan_out', nonlinearity='relu')", "trunc_normal_(w, std=0.5)",
        "trunc_normal_(w, 0.0, 1.0, -1.0, 1.0)", "trunc_normal_(w, 0.0, 1.0, 1.5, 2.5)", "uniform_(w, -2, 3)",
        "normal_(w, 1.0, 2.0)", "constant_(w, 3.0)", "ones_(w)", "zeros_(w)", "eye_(w)", "sparse_(w, 0.3)",
        "orthogonal_(w)", "orthogonal_(w, 2.0)", "dirac_(c)", "dirac_(c, 2)",
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(6, 5), (17, 20)])
def test_init_draws_as_torch(call: str, shape: tuple[int, int]) -> None:
    results = []
    for lib in (rustnn, torch):
        lib.manual_seed(11)
        env = {"w": lib.empty(shape), "c": lib.empty(4, 3, 3, 2)}
        results.append(numbers(eval(f"init.{call}", env | {"init": lib.nn.init})))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_packed_sequences_as_torch() -> None:
    results = []
    for lib in (rustnn, torch):
        lib.manual_seed(2)
        out = []
        for kind in ("LSTM", "GRU", "RNN"):
            layer = getattr(lib.nn, kind)(3, 4, 2, bidirectional=True)
            x = lib.randn(5, 3, 3)
            pack = lib.nn.utils.rnn.pack_padded_sequence(x, lib.tensor([3, 5, 2]), enforce_sorted=False)
            packed, state = layer(pack)
            padded, lengths = lib.nn.utils.rnn.pad_packed_sequence(packed, padding_value=-1.0)
            out += [numbers(padded), numbers(lengths), *(numbers(s) for s in flat(state))]
        results.append(out)
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_attention_masks_as_torch() -> None:
    results = []
    for lib in (rustnn, torch):
        lib.manual_seed(4)
        mha = lib.nn.MultiheadAttention(8, 2, batch_first=True)
        x = lib.randn(3, 5, 8)
        pad = lib.tensor([[False] * 5, [False] * 3 + [True] * 2, [False] * 4 + [True]])
        causal = lib.nn.Transformer.generate_square_subsequent_mask(5)
        out: list[Any] = [*mha(x, x, x, key_padding_mask=pad)]
        out += [*mha(x, x, x, attn_mask=causal, average_attn_weights=False)]
        out += [mha(x, x, x, attn_mask=causal, is_causal=True, need_weights=False)[0]]
        out += [mha(x, x, x, attn_mask=causal, key_padding_mask=pad, need_weights=False)[0]]
        layer = lib.nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
        encoder = lib.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        out += [encoder(x, mask=causal, src_key_padding_mask=pad), encoder(x, mask=causal)]
        results.append([numbers(o) for o in out])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def _errors(lib: Any) -> list[str]:
    nn = lib.nn
    module = nn.Module()
    module.x = 1
    linear = nn.Linear(2, 2)
    calls: list[Any] = [
        lambda: nn.Module(3),
        lambda: nn.Linear(2, 2).register_parameter("a.b", None),
        lambda: nn.Linear(2, 2).register_parameter("", None),
        lambda: nn.Linear(2, 2).register_parameter(3, None),
        lambda: module.register_parameter("x", None),
        lambda: module.register_parameter("y", 3),
        lambda: module.register_parameter("y", nn.Parameter(lib.ones(2)) * 2),
        lambda: module.register_buffer("a.b", None),
        lambda: module.register_buffer("x", None),
        lambda: module.register_buffer("y", 3),
        lambda: module.add_module("x", nn.ReLU()),
        lambda: module.add_module("a.b", nn.ReLU()),
        lambda: module.add_module("", nn.ReLU()),
        lambda: module.add_module("m", 3),
        lambda: setattr(linear, "weight", 3),
        lambda: setattr(nn.BatchNorm1d(2), "running_mean", 3),
        lambda: setattr(nn.Sequential(nn.ReLU()), "0", 3),
        lambda: module(2),
        lambda: linear.nothing,
        lambda: linear.train(3),
        lambda: linear.to(lib.int64),
        lambda: linear.get_submodule("a.b"),
        lambda: linear.get_parameter("bias.x"),
        lambda: linear.get_parameter("nothing"),
        lambda: linear.get_buffer("weight"),
        lambda: nn.Sequential(linear).set_submodule("", linear),
        lambda: nn.Sequential(linear).set_submodule("3.x", linear),
        lambda: linear.load_state_dict(3),
        lambda: linear.load_state_dict({"weight": lib.ones(2, 2)}),
        lambda: linear.load_state_dict({"weight": lib.ones(2, 2), "bias": lib.ones(2), "more": lib.ones(1)}),
        lambda: linear.load_state_dict({"weight": lib.ones(3, 2), "bias": 2}),
        lambda: nn.Dropout(2.0),
        lambda: nn.Conv2d(3, 4, 3, groups=2),
        lambda: nn.Conv2d(4, 4, 3, 2, padding="same"),
        lambda: nn.GroupNorm(2, 3),
        lambda: nn.BatchNorm2d(3)(lib.ones(2, 3)),
        lambda: nn.LSTM(0, 3),
        lambda: nn.LSTM(3, 3, proj_size=4),
        lambda: nn.LSTM(3, 3)(lib.ones(2, 2, 4)),
        lambda: nn.LSTM(3, 3)(lib.ones(2, 2, 2, 3)),
        lambda: nn.GRU(3, 3)(lib.ones(2, 2, 3), lib.ones(1, 3, 3)),
        lambda: nn.GRUCell(3, 3)(lib.ones(2, 2, 3)),
        lambda: nn.MultiheadAttention(0, 2),
        lambda: nn.Unflatten(1, 3),
        lambda: nn.Sequential(nn.ReLU())[3],
        lambda: nn.ModuleList().extend(3),
        lambda: nn.ModuleDict().update(3),
        lambda: nn.ParameterList()(3),
        lambda: nn.init.calculate_gain("what"),
        lambda: nn.init.kaiming_uniform_(lib.ones(3)),
        lambda: nn.init.eye_(lib.ones(3)),
        lambda: nn.init.dirac_(lib.ones(3)),
        lambda: nn.init.orthogonal_(lib.ones(3)),
        lambda: nn.utils.rnn.pad_sequence(3),
        lambda: nn.utils.parametrize.register_parametrization(nn.Linear(2, 2), "what", nn.ReLU()),
        lambda: nn.utils.remove_weight_norm(nn.ReLU()),
        lambda: nn.functional.dropout(lib.ones(2), 1.5),
        lambda: nn.functional.gaussian_nll_loss(lib.ones(2), lib.ones(2), lib.tensor([-1.0, 1.0])),
        lambda: nn.TripletMarginLoss(0),
        lambda: nn.MultiMarginLoss(3),
        lambda: nn.Embedding(3, 4, padding_idx=5),
        lambda: nn.Embedding.from_pretrained(lib.ones(3)),
        lambda: nn.FractionalMaxPool2d(2),
        lambda: nn.AdaptiveLogSoftmaxWithLoss(3, 4, [9]),
    ]
    texts = []
    for k, call in enumerate(calls):
        try:
            call()
            texts.append(f"{k}: nothing")
        except Exception as error:  # noqa: BLE001
            text = str(error).replace("torch.", "").replace("rustnn.", "").replace("_C.", "")
            first = text.split("\n  ")[0].split("\n\tHint")[0]
            texts.append(f"{k}: {type(error).__name__}: {first}")
    return texts


def test_errors_as_torch() -> None:
    ours, theirs = _errors(rustnn), _errors(torch)
    different = [f"\n  ours   {a}\n  theirs {b}" for a, b in zip(ours, theirs, strict=True) if a != b]
    assert not different, "".join(different)
