"""The loader with worker processes: order, seeds, failures, deaths, and nothing that hangs."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import rustnn
from rustnn.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


class Items(Dataset):
    """Items from a function of the index; a class of its own so that spawned workers can import it."""

    def __init__(self, fn, n=8):
        self.fn, self.n = fn, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.fn(i)


def big(i):
    return rustnn.full((100, 100), float(i)), np.full(5000, i), str(i)


def raise_at_5(i):
    if i == 5:
        raise ValueError("boom")
    return i


def test_same_batches_as_one_process():
    dataset = Items(big, 11)
    alone = list(DataLoader(dataset, 3))
    for workers in (1, 2, 3):
        for a, b in zip(alone, DataLoader(dataset, 3, num_workers=workers), strict=True):
            assert a[0].tolist() == b[0].tolist() and a[1].tolist() == b[1].tolist() and a[2] == b[2]


def test_tensors_of_workers_are_writable_and_stay():
    batches = list(DataLoader(Items(big, 4), 1, num_workers=2))
    for i, batch in enumerate(batches):
        batch[0].add_(1.0)
        assert batch[0].min().item() == i + 1


def test_dtypes_travel():
    def item(i):
        return [rustnn.full((5000,), i, dtype=d) for d in DTYPES]

    DTYPES = [rustnn.float32, rustnn.float64, rustnn.bfloat16, rustnn.float16, rustnn.int64, rustnn.uint8, rustnn.bool]
    for i, batch in enumerate(DataLoader(Items(item, 3), None, num_workers=1)):
        assert [t.dtype for t in batch] == DTYPES
        assert all(float(t[0]) == (min(i, 1) if t.dtype == rustnn.bool else i) for t in batch)


def test_shuffled_and_seeded_as_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")

    def run(lib, **options):
        def item(i):
            info = lib.utils.data.get_worker_info()
            return i, info.id, info.seed, random.random(), np.random.rand(), lib.randint(1000, ()).item()

        lib.manual_seed(1)
        loader = lib.utils.data.DataLoader(Items(item), 3, shuffle=True, num_workers=2, **options)
        epochs = [[[p.tolist() for p in b] for b in loader] for _ in range(2)]
        return epochs, lib.rand(2).tolist()

    for options in ({}, {"persistent_workers": True}):
        assert run(rustnn, **options) == run(torch, **options)


def test_worker_info():
    def item(i):
        info = get_worker_info()
        return info.id, info.num_workers, len(info.dataset)

    assert get_worker_info() is None
    seen = [tuple(x) for x in DataLoader(Items(item, 4), None, num_workers=2)]
    assert seen == [(0, 2, 4), (1, 2, 4), (0, 2, 4), (1, 2, 4)]


def test_exception_comes_whole():
    loader = DataLoader(Items(raise_at_5), 1, num_workers=2)
    with pytest.raises(ValueError, match="(?s)Caught ValueError in DataLoader worker process 1.*raise_at_5.*boom"):
        list(loader)


def test_key_errors_are_readable():
    def item(i):
        raise KeyError("missing")

    with pytest.raises(KeyError) as info:
        list(DataLoader(Items(item), 1, num_workers=1))
    assert "Original Traceback" in str(info.value) and "\\n" not in str(info.value)


def test_exception_types_that_need_more_arguments():
    class Odd(Exception):
        def __init__(self, a, b):
            super().__init__(a, b)

    def item(i):
        raise Odd(1, 2)

    with pytest.raises(RuntimeError, match="Caught"):
        list(DataLoader(Items(item), 1, num_workers=1))


def test_unpicklable_items_are_an_error():
    def item(i):
        return lambda: i

    with pytest.raises(RuntimeError, match="(?i)pickle"):
        list(DataLoader(Items(item), None, num_workers=1))


def test_training_goes_on_after_an_exception():
    iterator = iter(DataLoader(Items(raise_at_5), 1, num_workers=2))
    seen = []
    for _ in range(8):
        try:
            seen.append(next(iterator).item())
        except ValueError:
            seen.append("boom")
    assert seen == [0, 1, 2, 3, 4, "boom", 6, 7]


def test_killed_worker():
    def item(i):
        if i == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly.*SIGKILL"):
        list(DataLoader(Items(item), 1, num_workers=2))


def test_timeout():
    def item(i):
        time.sleep(30)

    start = time.monotonic()
    with pytest.raises(RuntimeError, match="DataLoader timed out after 0.3 seconds"):
        list(DataLoader(Items(item), 1, num_workers=1, timeout=0.3))
    assert time.monotonic() - start < 20


def test_init_function():
    def init(worker):
        get_worker_info().dataset.n = 100 + worker

    def item(i):
        return get_worker_info().dataset.n

    seen = [x for x in DataLoader(Items(item, 4), None, num_workers=2, worker_init_fn=init)]
    assert seen == [100, 101, 100, 101]

    def broken(worker):
        raise OSError("no")

    with pytest.raises(OSError, match="Caught OSError"):
        list(DataLoader(Items(item, 4), None, num_workers=2, worker_init_fn=broken))


class Shard(IterableDataset):
    def __iter__(self):
        info = get_worker_info()
        return iter(range(info.id * 100, info.id * 100 + 3 + info.id))


def test_iterable_shards():
    seen = list(DataLoader(Shard(), None, num_workers=2))
    assert seen == [0, 100, 1, 101, 2, 102, 103]
    loader = DataLoader(Shard(), 2, num_workers=2, persistent_workers=True)
    for _ in range(3):
        assert [b.tolist() for b in loader] == [[0, 1], [100, 101], [2], [102, 103]]


def test_persistent_workers_stay():
    def item(i):
        return os.getpid()

    loader = DataLoader(Items(item, 4), None, num_workers=2, persistent_workers=True)
    assert list(loader) == list(loader)
    iterator = iter(loader)
    next(iterator)
    assert len(list(loader)) == 4  # an epoch left early does not leak into the next


def test_out_of_order():
    def item(i):
        time.sleep(0.5 if i == 0 else 0.0)
        return i

    seen = list(DataLoader(Items(item, 6), None, num_workers=2, in_order=False))
    assert sorted(seen) == list(range(6)) and seen[0] != 0


def test_left_early():
    for _ in range(3):
        for batch in DataLoader(Items(big, 50), 2, num_workers=2):
            assert len(batch[0]) == 2
            break
    gc.collect()
    assert not multiprocessing.active_children()


def test_prefetching_ends_with_the_data():
    seen = [b.tolist() for b in DataLoader(Items(lambda i: i, 5), 2, num_workers=2, prefetch_factor=10**12)]
    assert seen == [[0, 1], [2, 3], [4]]


def test_large_messages_both_ways():
    def item(i):
        return "x" * 1_000_000

    batches = [list(range(30_000)) for _ in range(6)]
    seen = list(DataLoader(Items(lambda i: i, 30_000), batch_sampler=batches, num_workers=1))
    assert len(seen) == 6
    assert len(list(DataLoader(Items(item, 12), 3, num_workers=2))) == 4


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(method):
    loader = DataLoader(TensorDataset(rustnn.arange(6)), 2, num_workers=1, multiprocessing_context=method)
    assert [b[0].tolist() for b in loader] == [[0, 1], [2, 3], [4, 5]]


def test_after_the_engine_has_used_its_threads():
    x = rustnn.randn(400, 400)
    for _ in range(3):
        (x @ x).sum().item()

    def item(i):
        y = rustnn.ones(200, 200)
        return (y @ y).sum().item() + i

    for _ in range(5):
        assert list(DataLoader(Items(item, 4), None, num_workers=2)) == [8e6, 8e6 + 1, 8e6 + 2, 8e6 + 3]
        (x @ x).sum().item()


def test_interrupt_ends_everything():
    script = textwrap.dedent("""
        import time
        import rustnn
        from rustnn.utils.data import DataLoader, Dataset
        class Slow(Dataset):
            def __len__(self): return 100
            def __getitem__(self, i):
                time.sleep(0.2); return i
        print("go", flush=True)
        for b in DataLoader(Slow(), 1, num_workers=2): print("batch", flush=True)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "go\n" and process.stdout.readline() == "batch\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in err and process.returncode != 0


def test_workers_die_with_their_parent():
    script = textwrap.dedent("""
        import os, time
        from rustnn.utils.data import DataLoader, Dataset
        class Slow(Dataset):
            def __len__(self): return 1000
            def __getitem__(self, i):
                time.sleep(0.05); return os.getpid()
        it = iter(DataLoader(Slow(), None, num_workers=2))
        print(next(it), next(it), flush=True)
        os.kill(os.getpid(), 9)
    """)
    out = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, timeout=60).stdout
    pids = [int(p) for p in out.split()]
    assert len(pids) == 2
    until = time.monotonic() + 10
    while any(_runs(p) for p in pids) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(_runs(p) for p in pids)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
