"""Packed copies of weights that inference keeps: never of values that have been overwritten since, by whatever way."""

import gc

import pytest
import rustnn
import rustnn as torch
from rustnn import nn

F = nn.functional


def conv(w):
    """A 1x1, a strided 3x3 and a plain 3x3 convolution of one weight, by several ways of the kernels."""
    x = torch.arange(2 * 32 * 12 * 12).reshape(2, 32, 12, 12).float() / 1000
    return F.conv2d(x, w, stride=2, padding=1), F.conv2d(x[:1, :, :7, :7], w, padding=1), F.conv2d(x, w[:, :, :1, :1])


def transposed(w):
    x = torch.arange(2 * 64 * 6 * 6).reshape(2, 64, 6, 6).float() / 1000
    return (F.conv_transpose2d(x, w, stride=2),)


def linear(w):
    """Products of 64 and of 600 rows with a weight `[out, in]`, and with its transpose."""
    w = w.reshape(64, 288)
    x = torch.arange(600 * 288).reshape(600, 288).float() / 10000
    y = torch.arange(40 * 64).reshape(40, 64).float() / 1000
    return F.linear(x, w), F.linear(x[:64], w), y @ w, torch.addmm(torch.ones(288), y, w)


def recurrent(w):
    """An LSTM of 64 units whose weights lie in one, over steps of 20 rows and of one row."""
    w = w.reshape(-1)
    weights = [w[:1792].view(256, 7), w[2000 : 2000 + 16384].view(256, 64)]
    x = torch.arange(30 * 20 * 7).reshape(30, 20, 7).float() / 1000
    zeros = torch.zeros(1, 20, 64)
    many = torch._C._rnn_lstm(x, (zeros, zeros), weights, False, 1, 0.0, False, False, False)[0]
    one = torch._C._rnn_lstm(x[:, :1], (zeros[:, :1], zeros[:, :1]), weights, False, 1, 0.0, False, False, False)[0]
    return many, one


def packed():
    return rustnn.memory_stats()["packed"]


USES = [conv, transposed, linear, recurrent]


def weight(seed=0):
    return torch.randn(64, 32, 3, 3, generator=torch.Generator().manual_seed(seed))


def fresh(use, w):
    """What a weight that nobody has seen gives."""
    with torch.no_grad():
        return [t.clone() for t in use(w.detach().clone())]


def check(use, w, message):
    with torch.no_grad():
        for _ in range(4):
            for got, want in zip(use(w), fresh(use, w), strict=True):
                assert torch.equal(got, want), message


def sgd(w):
    p = nn.Parameter(w)
    p.grad = torch.ones_like(p)
    torch.optim.SGD([p], lr=0.1).step()


def through_numpy(w):
    w.numpy()[...] += 1


def through_dlpack(w):
    torch.from_dlpack(w).add_(1)


def through_storage(w):
    other = torch.empty(0)
    other.set_(w.untyped_storage(), 0, w.shape, w.stride()) if hasattr(other, "set_") else w.add_(1)
    other.mul_(3)


def through_address(w):
    import ctypes

    at = w.data_ptr()
    ctypes.memset(at, 0, 400)
    w.data_ptr()
    ctypes.memset(at, 0, 800)
    torch.autograd.graph.increment_version(w)


WRITES = {
    "add_": lambda w: w.add_(1),
    "copy_": lambda w: w.copy_(weight(1)),
    "setitem": lambda w: w.__setitem__((3, 4), 7.0),
    "data": lambda w: w.data.mul_(2),
    "view": lambda w: w.view(-1)[5:900].fill_(3),
    "detach": lambda w: w.detach().zero_(),
    "init": lambda w: nn.init.normal_(w, generator=torch.Generator().manual_seed(3)),
    "out": lambda w: torch.add(w, 1, out=w),
    "foreach": lambda w: torch._foreach_mul_([w], 2),
    "optimizer": sgd,
    "numpy": through_numpy,
    "dlpack": through_dlpack,
    "storage": through_storage,
    "address": through_address,
    "index_put": lambda w: w.index_put_((torch.tensor([1, 2]),), torch.tensor(9.0)),
    "masked_fill": lambda w: w.masked_fill_(w > 0, 0.5),
    "load": lambda w: nn.ParameterList([w]).load_state_dict({"0": weight(2)}),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("way", WRITES)
def test_written_weights_are_packed_again(use, way):
    w = weight()
    check(use, w, "before")
    before = [t.clone() for t in use(w)]
    with torch.no_grad():
        WRITES[way](w)
    check(use, w, way)
    assert not torch.equal(use(w)[0], before[0]), "the write changed nothing"


@pytest.mark.parametrize("use", USES)
def test_views_of_others_memory(use):
    array = weight().numpy().copy()
    w = torch.from_numpy(array)
    for _ in range(3):
        check(use, w, "array")
        array += 1
    alias = w.clone()
    shown = alias.numpy()
    for _ in range(3):
        check(use, alias, "shown")
        shown += 1
    del shown
    gc.collect()
    check(use, alias, "no longer shown")


@pytest.mark.parametrize("use", USES)
def test_a_network_between_training_and_answering(use):
    w = nn.Parameter(weight())
    opt = torch.optim.Adam([w], lr=0.01)
    for _ in range(3):
        check(use, w, "answering")
        opt.zero_grad()
        sum(t.mean() for t in use(w)).backward()
        opt.step()
    assert w.grad is not None


def test_gradients_are_those_of_fresh_weights():
    w = nn.Parameter(weight())
    for _ in range(3):
        check(conv, w, "answering")
    conv(w)[0].sum().backward()
    v = nn.Parameter(weight())
    conv(v)[0].sum().backward()
    assert torch.equal(w.grad, v.grad)


def test_copies_are_bounded_and_go_with_their_weight():
    before = packed()
    layer = nn.Linear(512, 512)
    x = torch.randn(64, 512)
    for _ in range(3):
        layer(x)
    assert packed() == before, "training keeps no copies"
    with torch.inference_mode():
        layer(x)
        assert packed() == before, "one call keeps nothing"
        for _ in range(5):
            layer(x)
    assert packed() - before == 512 * 512 * 4
    del layer
    gc.collect()
    assert packed() == before


def test_threads_share_a_weight():
    import threading

    layer, x = nn.Linear(300, 400), torch.randn(32, 300)
    with torch.no_grad():
        want = layer(x)
    wrong = []

    def run():
        with torch.no_grad():
            for _ in range(50):
                if not torch.equal(layer(x), want):
                    wrong.append(1)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
