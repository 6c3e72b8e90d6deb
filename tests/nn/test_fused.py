"""Convolutions that wait for what follows them: the same bits as without, whatever a program does in between."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import rustnn as torch
from rustnn import _C, nn
from rustnn.nn import functional as F


@pytest.fixture(autouse=True)
def _fusion() -> Iterator[None]:
    before = _C._set_fusion(True)
    yield
    _C._set_fusion(before)


def settled(model: nn.Module) -> nn.Module:
    """The model with running statistics and weights that no default has."""
    torch.manual_seed(3)
    for p in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
        p.data.copy_(torch.rand_like(p) - (0.0 if "var" in str(p) else 0.3))
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
            module.running_var.copy_(torch.rand_like(module.running_var) + 0.5)
    return model.eval()


def outcome(value: Any) -> list[bytes]:
    """The bits of all tensors in a result."""
    if isinstance(value, torch.Tensor):
        return [value.detach().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""]
    return [bits for item in value for bits in outcome(item)]


def same(model: nn.Module, *inputs: torch.Tensor) -> Any:
    """The model's answer, which is the same to the bit with and without waiting."""
    copies = [[x.clone() for x in inputs] for _ in range(2)]
    with torch.no_grad():
        fused = model(*copies[0])
        _C._set_fusion(False)
        plain = model(*copies[1])
        _C._set_fusion(True)
    assert outcome(fused) == outcome(plain)
    assert outcome(copies[0]) == outcome(copies[1])
    return fused


class Call(nn.Module):
    """A module whose forward is a function of the parts and the inputs."""

    def __init__(self, forward: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


def conv(cin: int = 8, cout: int = 16, kernel: int = 3, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, kernel, padding=kernel // 2, **more)


ACTIVATIONS = [
    nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(inplace=True), nn.SiLU(), nn.Hardswish(inplace=True), nn.GELU(),
    nn.LeakyReLU(0.1), nn.Sigmoid(), nn.Tanh(), nn.ELU(inplace=True), nn.Mish(), nn.Softplus(), nn.Hardtanh(-0.5, 0.5),
]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("bias", [False, True])
def test_conv_norm_activation(activation: nn.Module, bias: bool) -> None:
    model = settled(nn.Sequential(conv(bias=bias), nn.BatchNorm2d(16), activation, conv(16, 8, 1), activation))
    same(model, torch.randn(2, 8, 21, 19))


# Each way that convolutions go: depthwise, grouped, one tap, small images, strided, dilated, few channels, 1-d and 3-d.
WAYS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Conv2d(64, 64, 3, padding=1), (1, 64, 56, 56)),
    (nn.Conv2d(256, 192, 3, padding=1), (1, 256, 14, 14)),
    (nn.Conv2d(64, 256, 1), (1, 64, 56, 56)),
    (nn.Conv2d(256, 320, 1), (3, 256, 14, 14)),
    (nn.Conv2d(512, 512, 1, stride=2), (1, 512, 14, 14)),
    (nn.Conv2d(512, 512, 3, padding=1), (1, 512, 7, 7)),
    (nn.Conv2d(512, 128, 3, padding=1, stride=2), (4, 512, 7, 7)),
    (nn.Conv2d(64, 128, 3, padding=1, stride=2), (2, 64, 31, 33)),
    (nn.Conv2d(3, 64, 7, padding=3, stride=2), (1, 3, 64, 64)),
    (nn.Conv2d(96, 96, 3, padding=1, groups=96), (1, 96, 56, 56)),
    (nn.Conv2d(48, 96, 5, padding=2, stride=2, groups=48), (2, 48, 28, 28)),
    (nn.Conv2d(32, 64, 3, padding=2, dilation=2, groups=4), (2, 32, 20, 20)),
    (nn.Conv2d(600, 4200, 1), (1, 600, 1, 1)),
    (nn.Conv1d(16, 32, 3, padding=4, dilation=4), (2, 16, 500)),
    (nn.Conv3d(4, 12, 3, padding=1), (2, 4, 6, 11, 10)),
]


@pytest.mark.parametrize(("layer", "shape"), WAYS, ids=lambda v: str(v).replace(" ", ""))
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_way(layer: nn.Module, shape: tuple[int, ...], threads: int) -> None:
    norm = {3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[len(shape)](layer.out_channels)

    def forward(m: Any, x: Any) -> Any:
        y = m.norm(m.layer(x))
        y = y.relu_()
        return y + torch.ones_like(y)

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        same(settled(Call(forward, layer=layer, norm=norm)), torch.randn(*shape))
    finally:
        torch.set_num_threads(before)


class Bottleneck(nn.Module):
    """A residual block, with the sum in place or not and with either operand first."""

    def __init__(self, sum: str, down: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(32, 16, 1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = conv(16, 16, bias=False), nn.BatchNorm2d(16)
        self.conv3, self.bn3 = conv(16, 32, 1, bias=False), nn.BatchNorm2d(32)
        self.down = nn.Sequential(conv(32, 32, 1), nn.BatchNorm2d(32)) if down else None
        self.relu, self.sum = nn.ReLU(inplace=True), sum

    def forward(self, x: Any) -> Any:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.down is not None:
            x = self.down(x)
        if self.sum == "+=":
            y += x
        elif self.sum == "y+x":
            y = y + x
        else:
            y = torch.add(x, y)
        return self.relu(y)


@pytest.mark.parametrize("sum", ["+=", "y+x", "add(x,y)"])
@pytest.mark.parametrize("down", [False, True])
def test_residual(sum: str, down: bool) -> None:
    model = settled(nn.Sequential(*(Bottleneck(sum, down) for _ in range(3))))
    x = torch.randn(2, 32, 17, 18)
    same(model, x)
    x[0, 3, 4, 5], x[1, 2, 0, 0] = float("nan"), float("inf")
    same(model, x)


def test_values_do_wait() -> None:
    seen = []

    def forward(m: Any, x: Any) -> Any:
        y = m.conv(x)
        z = m.norm(y)
        seen.append((_C._waits(y), _C._waits(z)))
        del y
        z = F.relu(z)
        seen.append(_C._waits(z))
        return z

    model = settled(Call(forward, conv=conv(), norm=nn.BatchNorm2d(16)))
    x = torch.randn(1, 8, 32, 32)
    with torch.no_grad():
        y = model(x)
    assert seen == [(True, True), True]
    assert not _C._waits(y)
    assert not _C._waits(x)
    assert not _C._waits(model.conv.weight)
    # A layer by itself, a small one, a profiled one and one that is trained do not wait.
    with torch.no_grad():
        assert not _C._waits(model.conv(x))
    for grad, some in ((True, x), (False, x[:, :, :4, :4].contiguous())):
        seen.clear()
        with torch.set_grad_enabled(grad):
            model(some)
        assert seen == [(False, False), False]
    seen.clear()
    with torch.no_grad(), torch.profiler.profile() as profile:
        model(x)
    assert seen == [(False, False), False]
    assert any("conv2d" in e.key for e in profile.key_averages())


# What a program does between a convolution and what follows it; the result must not notice.


def input_is_written(m: Any, x: Any) -> Any:
    y = m.conv(x)
    x.zero_()
    return m.norm(y)


def input_is_written_through_a_view(m: Any, x: Any) -> Any:
    y = m.norm(m.conv(x))
    x[0].fill_(7.0)
    return y.relu()


def input_is_written_through_numpy(m: Any, x: Any) -> Any:
    y = m.conv(x)
    x.numpy()[:] = 5.0
    return m.norm(y)


def input_is_lent_before(m: Any, x: Any) -> Any:
    array = x.numpy()
    y = m.conv(x)
    array[:] = 5.0
    return m.norm(y)


def input_is_somebody_elses(m: Any, x: Any) -> Any:
    array = np.ascontiguousarray(x.numpy() * 2)
    y = m.conv(torch.from_numpy(array))
    array[:] = 5.0
    return m.norm(y)


def weight_is_written(m: Any, x: Any) -> Any:
    before = m.conv.weight.clone()
    y = m.conv(x)
    m.conv.weight.data.add_(1.0)
    y = m.norm(y)
    m.conv.weight.data.copy_(before)
    return y


def statistics_are_written(m: Any, x: Any) -> Any:
    before = m.norm.running_mean.clone()
    y = m.norm(m.conv(x))
    m.norm.running_mean.add_(1.0)
    m.norm.weight.data.mul_(2.0)
    y = y.relu_()
    m.norm.running_mean.copy_(before)
    m.norm.weight.data.mul_(0.5)
    return y


def everything_is_kept(m: Any, x: Any) -> Any:
    a = m.conv(x)
    b = m.norm(a)
    c = F.relu(b)
    d = c + b
    return a, b, c, d


def some_is_kept(m: Any, x: Any) -> Any:
    a = m.conv(x)
    b = F.relu(m.norm(a))
    c = torch.sigmoid(b) + a
    return a, c


def in_place_while_kept(m: Any, x: Any) -> Any:
    a = m.conv(x)
    b = m.norm(a)
    view = b[:, 1:3]
    b.relu_()
    a.add_(1.0)
    return a, view, b


def views_are_written(m: Any, x: Any) -> Any:
    y = m.conv(x)
    y[:, 2:5].relu_()
    return m.norm(y)


def shapes_change(m: Any, x: Any) -> Any:
    y = m.norm(m.conv(x))
    y = y.flatten(2).relu()
    return y + y.mean(2, keepdim=True), y.transpose(1, 2)


def sum_with_itself(m: Any, x: Any) -> Any:
    y = m.conv(x)
    return y + y, y.add_(y)


def sum_with_what_it_came_from(m: Any, x: Any) -> Any:
    y = m.conv(x)
    z = m.norm(y)
    return z + y


def sum_with_its_input(m: Any, x: Any) -> Any:
    y = m.norm(m.back(x))
    y += x
    x += 1.0
    return y


def into_its_input(m: Any, x: Any) -> Any:
    y = m.back(x)
    x += y
    return x


def out_is_given(m: Any, x: Any) -> Any:
    y = m.conv(x)
    out = torch.empty_like(y)
    torch.add(y, 1.0, out=out)
    z = m.conv(x)
    torch.relu(z)
    torch.add(z, out, out=out)
    return out


def broadcast_sum(m: Any, x: Any) -> Any:
    y = m.conv(x)
    return y + y.mean((2, 3), keepdim=True), m.conv(x) + 1, m.conv(x) + torch.ones(16, 1, 1)


def other_dtype(m: Any, x: Any) -> Any:
    return m.conv(x) + torch.ones(1, 16, 24, 20, dtype=torch.float64), m.conv(x).double(), m.conv(x) > 0


def many_wait(m: Any, x: Any) -> Any:
    ys = [m.conv(x + i) for i in range(9)]
    ys = [m.norm(y) if i % 2 else y.relu_() for i, y in enumerate(ys)]
    return ys[0] + ys[1], ys[2:]


def resized(m: Any, x: Any) -> Any:
    y = m.conv(x)
    y.data = torch.ones(3)
    z = m.conv(x)
    x.data = torch.zeros(2)
    return y, z, x


def dropped(m: Any, x: Any) -> Any:
    m.conv(x)
    y = m.conv(x)
    del y
    return x


PROGRAMS = [
    input_is_written, input_is_written_through_a_view, input_is_written_through_numpy, input_is_lent_before,
    input_is_somebody_elses, weight_is_written, statistics_are_written, everything_is_kept, some_is_kept,
    in_place_while_kept, views_are_written, shapes_change, sum_with_itself, sum_with_what_it_came_from,
    sum_with_its_input, into_its_input, out_is_given, broadcast_sum, other_dtype, many_wait, resized, dropped,
]  # fmt: skip


@pytest.mark.parametrize("forward", PROGRAMS, ids=lambda f: f.__name__)
def test_whatever_a_program_does(forward: Callable[..., Any]) -> None:
    model = settled(Call(forward, conv=conv(), back=conv(8, 8), norm=nn.BatchNorm2d(16)))
    if forward is sum_with_its_input:
        model = settled(Call(forward, back=conv(8, 8), norm=nn.BatchNorm2d(8)))
    same(model, torch.randn(1, 8, 24, 20))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes(dtype: Any) -> None:
    model = settled(nn.Sequential(conv(), nn.BatchNorm2d(16), nn.ReLU())).to(dtype)
    same(model, torch.randn(2, 8, 16, 16).to(dtype))


def test_training_mode_norm_and_frozen_layers() -> None:
    model = settled(nn.Sequential(conv(), nn.BatchNorm2d(16), nn.ReLU(), conv(16, 8)))
    model[0].requires_grad_(False)
    x = torch.randn(2, 8, 16, 16)
    grads = []
    for fusion in (True, False):
        _C._set_fusion(fusion)
        model.zero_grad()
        model(x).square().sum().backward()
        grads.append([outcome(p.grad) for p in model.parameters() if p.grad is not None])
    assert grads[0] == grads[1]
    assert len(grads[0]) == 4
    _C._set_fusion(True)
    model.train()
    with torch.no_grad():
        a = model(x)
    model[1].reset_running_stats()
    assert a.shape == (2, 8, 16, 16)


def test_hooks_see_values() -> None:
    seen: list[Any] = []
    model = settled(nn.Sequential(conv(), nn.BatchNorm2d(16), nn.ReLU(inplace=True)))
    model[0].register_forward_hook(lambda m, a, y: seen.append(y.sum().item()))
    model[1].register_forward_hook(lambda m, a, y: seen.append(y))
    x = torch.randn(1, 8, 20, 20)
    results = []
    for fusion in (True, False):
        _C._set_fusion(fusion)
        seen.clear()
        with torch.no_grad():
            y = model(x)
        results.append((seen[0], outcome([seen[1], y])))
    assert results[0] == results[1]


def test_errors_end_the_waiting() -> None:
    def forward(m: Any, x: Any) -> Any:
        m.kept = m.norm(m.conv(x))
        raise ValueError("on purpose")

    model = settled(Call(forward, conv=conv(), norm=nn.BatchNorm2d(16)))
    x = torch.randn(1, 8, 20, 20)
    with torch.no_grad():
        with pytest.raises(ValueError, match="on purpose"):
            model(x)
        assert not _C._waits(model.kept)
        assert outcome(model.kept) == outcome(model.norm(model.conv(x)))
        with pytest.raises(RuntimeError, match="channels"):
            nn.Sequential(conv(), conv())(x)
        assert not _C._waits(x)
        assert not _C._waits(model.conv(x))


def test_another_thread_reads_and_writes() -> None:
    def read(m: Any, x: Any) -> Any:
        y, got = m.norm(m.conv(x)), []
        thread = threading.Thread(target=lambda: got.append(y.sum()))
        thread.start()
        thread.join()
        return y.relu(), got[0]

    def write(m: Any, x: Any) -> Any:
        y = m.norm(m.conv(x))
        thread = threading.Thread(target=x.zero_)
        thread.start()
        thread.join()
        return y.relu()

    for forward in (read, write):
        same(settled(Call(forward, conv=conv(), norm=nn.BatchNorm2d(16))), torch.randn(1, 8, 40, 40))


def test_two_threads_one_model() -> None:
    model = settled(nn.Sequential(*(Bottleneck("+=", True) for _ in range(2))))
    inputs = [torch.randn(1, 32, 24 + i, 20) for i in range(4)]
    with torch.no_grad():
        want = [outcome(model(x)) for x in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        with torch.no_grad():
            for _ in range(20):
                if outcome(model(inputs[i])) != want[i]:
                    wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert not any(t.is_alive() for t in threads)
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_while_it_waits() -> None:
    x = torch.randn(1, 8, 30, 30)
    want: list[Any] = []
    ends: list[int] = []

    def forward(m: Any, x: Any) -> Any:
        y = m.norm(m.conv(x))
        if want:
            child = os.fork()
            if child == 0:
                # Its own copy of what waits; nothing of the parent's threads is needed.
                os._exit(0 if outcome(y.relu()) == want[0] and not _C._waits(m.conv.weight) else 1)
            ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return y.relu()

    model = settled(Call(forward, conv=conv(), norm=nn.BatchNorm2d(16)))
    with torch.no_grad():
        want.append(outcome(model(x)))
        assert outcome(model(x)) == want[0]
    assert ends == [0]
