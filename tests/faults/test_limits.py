"""Sizes, lengths and depths that no machine has room for: each is an exception, at once, and the process lives on."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import rustnn as torch
from rustnn import nn

F = nn.functional

# Each must raise, and not with a panic's message. They run in one process, under a limit of memory.
IMPOSSIBLE = """
F.adaptive_avg_pool1d(torch.zeros(1, 0, 4), 2**31)
F.adaptive_avg_pool1d(torch.zeros(1, 0, 4), 2**62)
F.adaptive_avg_pool2d(torch.zeros(0, 1, 4, 4), 2**31)
F.adaptive_max_pool2d(torch.zeros(1, 1, 4, 4), 2**31)
F.interpolate(torch.zeros(1, 0, 4), size=2**40)
F.interpolate(torch.zeros(0, 1, 4), size=2**40, mode="linear")
F.pad(torch.zeros(1, 2, 2), (2**31, 2**31), mode="replicate")
F.pad(torch.zeros(1, 2, 2), (2**62, 2**62), mode="replicate")
F.pad(torch.zeros(1, 2, 2), (2**62, 2**62), mode="reflect")
F.pad(torch.zeros(1, 2, 2), (-2**63, -2**63), mode="circular")
F.pad(torch.zeros(1, 2, 2), (-2**63, 2**63 - 1), mode="replicate")
F.ctc_loss(torch.zeros(4, 2, 3), torch.tensor([1, 2]), torch.tensor([4, 4]), torch.tensor([2**62, 2**62]))
F.multilabel_margin_loss(torch.zeros(2, 2**20), torch.zeros(2, 2**20, dtype=torch.long))
torch.zeros(3).as_strided((2**62,), (0,)).sum()
torch.zeros(1).expand(2**62).sum()
torch.zeros(1).expand(2**62).max()
torch.zeros(1).expand(2**40).argmax()
torch.zeros(1).expand(2**40).nonzero()
torch.zeros(1).expand(2**40).unbind()
torch.zeros(1).expand(2**40).split(1)
torch.zeros(1).expand(2**33).tolist()
torch.zeros(2**40, 0).tolist()
torch.zeros([1] * 5000).tolist()
repr(torch.zeros(1).expand([1] * 100_000))
torch.zeros(0).chunk(2**40)
torch.tensor_split(torch.zeros(3), 2**31)
torch.combinations(torch.arange(100), 2**31, with_replacement=True)
torch.combinations(torch.arange(100), 12)
torch.combinations(torch.arange(3), 2**62, with_replacement=True)
torch.tril_indices(2**40, 3)
torch.tril_indices(2**62, 2**62)
torch.diag_embed(torch.zeros(3), 2**63 - 1)
torch.pdist(torch.zeros(1).expand(2**20, 3)) if hasattr(torch, "pdist") else F.pdist(torch.zeros(1).expand(2**20, 3))
torch.frombuffer(bytearray(16), dtype=torch.int32, offset=4, count=2**62)
torch.tensor(Endless())
torch.tensor([Endless()])
torch.tensor([Itself()])
torch.linalg.cross(torch.zeros(()), torch.zeros(()))
torch.cross(torch.zeros(()), torch.zeros(()), 0)
torch.linalg.solve(torch.eye(2), torch.zeros(()))
torch.linalg.solve(torch.zeros(2), torch.zeros(2), left=False)
torch.linalg.solve(torch.eye(2), torch.zeros(()), left=False)
torch.zeros(3)[torch.zeros(1, dtype=torch.long).expand(2**40)]
torch.zeros(1).expand(2**62).numpy()
memoryview(torch.zeros(1).expand(2**62))
torch.cat([torch.zeros(2**63 - 1, 0), torch.zeros(2**63 - 1, 0)])
torch.zeros(0, 2**62, 2**62).view(torch.uint8)
torch.linalg.svd(torch.zeros(2**62, 0))
torch.zeros(1).expand(2**31, 2**31, 2**31, 1)[..., :0].max(-1)
torch.linalg.multi_dot([torch.zeros(1, 1)] * 100_000)
torch.zeros(range(10**12))
torch.tensor(range(10**12))
"""


def test_bytes_of_more_elements_than_there_are_addresses() -> None:
    assert torch.zeros(1).expand(2**62).nbytes == 2**64


def test_what_cannot_be_had_raises() -> None:
    program = textwrap.dedent(
        """
        import resource, sys, time
        import rustnn as torch
        from rustnn import nn
        F = nn.functional
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

        class Endless:
            def __len__(self): return 3
            def __getitem__(self, i): return 1.0

        class Itself:
            dtype = "float32"
            def item(self): return self

        for call in sys.stdin.read().split("\\n"):
            if not call.strip():
                continue
            print("call", call, flush=True)
            start = time.monotonic()
            try:
                eval(call)
            except Exception as error:
                if "internal error" in str(error):
                    print("PANIC", call, error)
            else:
                print("NO ERROR", call)
            if time.monotonic() - start > 15:
                print("SLOW", call, time.monotonic() - start)
        print("alive", (torch.ones(100_000) + 1).sum().item() == 200_000)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=IMPOSSIBLE, capture_output=True, text=True, timeout=300, check=False
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (done.returncode, lines[-1], done.stderr[-2000:])
    assert lines[-1] == "alive True"
    assert [line for line in lines if line.startswith(("PANIC", "NO ERROR", "SLOW"))] == []
    assert "panicked" not in done.stderr


def test_the_error_of_missing_memory_names_the_op_and_the_bytes() -> None:
    with pytest.raises(MemoryError, match=r"could not allocate 1152921504606846976 bytes\n  in: zeros"):
        torch.zeros(2**58)


@pytest.mark.parametrize("upper", [False, True])
def test_triangles_of_every_place(upper: bool) -> None:
    ours, theirs = (torch.triu_indices, np.triu_indices) if upper else (torch.tril_indices, np.tril_indices)
    for rows, cols, k in itertools.product(range(5), range(5), range(-6, 7)):
        np.testing.assert_array_equal(ours(rows, cols, k).numpy(), np.array(theirs(rows, k, cols)))
    # Any number of rows without an element takes no time.
    assert ours(2**62, 0).shape == (2, 0)
    empty = torch.triu_indices(2**62, 3, 5) if upper else torch.tril_indices(2**62, 3, -(2**62))
    assert empty.shape == (2, 0)
    np.testing.assert_array_equal(torch.triu_indices(2**62, 5, 1).numpy(), np.array(np.triu_indices(5, 1, 5)))


def test_numbers_of_choices() -> None:
    for n, r in itertools.product(range(6), range(6)):
        x = torch.arange(n)
        for again in (False, True):
            choose = itertools.combinations_with_replacement if again else itertools.combinations
            wanted = [list(c) for c in choose(range(n), r)] if r else []
            assert torch.combinations(x, r, with_replacement=again).tolist() == wanted, (n, r, again)


def test_more_neighbours_than_channels() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    for size in (6, 7, 2**40, 2**62):
        left, right = size // 2, (size - 1) // 2
        total = np.stack([(x[:, max(c - left, 0) : c + right + 1] ** 2).sum(1) for c in range(3)], 1)
        wanted = x / (1 + 1e-4 * total / size) ** 0.75
        np.testing.assert_allclose(F.local_response_norm(torch.from_numpy(x), size).numpy(), wanted, rtol=1e-12)


def test_a_row_solves_from_the_right() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(3, 3)), rng.normal(size=3)
    x = torch.linalg.solve(torch.from_numpy(a), torch.from_numpy(b), left=False)
    np.testing.assert_allclose(x.numpy() @ a, b, rtol=1e-10)


def test_sizes_without_elements_may_be_anything() -> None:
    huge = torch.zeros(2**62, 2**62, 0)
    assert F.pixel_shuffle(torch.zeros(0, 2**61, 2**61), 2).shape == (0, 2**62, 2**62)
    assert torch.cat([huge, huge], 2).shape == (2**62, 2**62, 0)
    assert torch.stack([torch.zeros(0, 2**62, 2**62)] * 2).shape == (2, 0, 2**62, 2**62)
    assert torch.column_stack([torch.zeros(0, 2**62, 2**62)]).shape == (0, 2**62, 2**62)
    assert torch.log_softmax(huge, 2).shape == huge.shape
    assert torch.minimum(huge, torch.tensor(1.0)).shape == huge.shape
    assert torch.zeros(2**40, 0).diff(2**31, dim=0).shape == (2**40 - 2**31, 0)
    assert (huge.unsqueeze(1) + 1).numel() == 0


def test_differences_of_any_order() -> None:
    x = np.random.default_rng(2).normal(size=(5, 4))
    for n in range(7):
        np.testing.assert_allclose(torch.from_numpy(x).diff(n, 0).numpy(), np.diff(x, n, 0))
    assert torch.from_numpy(x).diff(2**62).shape == (5, 0)


def test_many_new_dimensions_in_one_index() -> None:
    start = time.monotonic()
    assert torch.zeros(3)[(None,) * 20_000].dim() == 20_001
    assert time.monotonic() - start < 20


def test_memory_that_does_not_begin_where_its_numbers_do() -> None:
    unaligned = np.frombuffer(bytearray(17), dtype=np.int32, offset=1, count=4)
    with pytest.raises((RuntimeError, BufferError)):
        torch.from_dlpack(unaligned)
    with pytest.raises(ValueError, match="aligned"):
        torch.from_numpy(unaligned)


def test_arrays_of_others_are_checked() -> None:
    class Lies:
        ndim = 1
        shape = (2,)

        def __init__(self, **parts):
            array = np.zeros(4, "f4")
            self.keep = array
            self.__array_interface__ = {**array.__array_interface__, **parts}

    assert torch.as_tensor(Lies()).tolist() == [0, 0, 0, 0]
    for parts in ({"shape": (2,), "strides": (4, 4)}, {"shape": (2, 2), "strides": (4,)}, {"shape": (-1,)}):
        with pytest.raises((ValueError, TypeError, RuntimeError)):
            torch.as_tensor(Lies(**parts))


@pytest.mark.parametrize(
    "call",
    [
        "torch.zeros(1).expand(2**40).sum()",
        "torch.zeros(1).expand(2**40).var()",
        "torch.linalg.eigh(torch.eye(3000) + torch.rand(3000, 3000))",
        "torch.linalg.svd(torch.rand(3000, 3000))",
        "torch.zeros(1, requires_grad=True).expand(2**40).sum().backward()",
    ],
)
def test_an_interrupt_stops_one_long_call(call: str) -> None:
    program = textwrap.dedent(
        f"""
        import rustnn as torch
        print("ready", flush=True)
        try:
            {call}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        print("usable", (torch.ones(100_000) + 1).sum().item() == 200_000)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert out.split("\n")[:2] == ["interrupted", "usable True"]
    finally:
        process.kill()


def test_an_interrupt_keeps_its_own_exception() -> None:
    """A handler of the program's decides what a signal raises."""
    program = textwrap.dedent(
        """
        import signal, rustnn as torch
        class Enough(Exception): pass
        def stop(*_): raise Enough("time is up")
        signal.signal(signal.SIGALRM, stop)
        signal.alarm(1)
        try:
            torch.zeros(1).expand(2**40).sum()
        except Enough as error:
            print(error)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "time is up\n"
