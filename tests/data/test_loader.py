"""Datasets, samplers, collation and the loader in one process."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import rustnn
from rustnn.utils import data
from rustnn.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset


class Squares(Dataset):
    def __init__(self, n=10):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return i, float(i * i)


class Count(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))

    def __len__(self):
        return self.n


def test_batches_in_order():
    seen = list(DataLoader(Squares(5), batch_size=2))
    assert [b[0].tolist() for b in seen] == [[0, 1], [2, 3], [4]]
    assert seen[0][1].dtype == rustnn.float64
    assert len(DataLoader(Squares(5), 2)) == 3 and len(DataLoader(Squares(5), 2, drop_last=True)) == 2
    assert len(list(DataLoader(Squares(5), 2, drop_last=True))) == 2


def test_without_batching():
    assert list(DataLoader(Squares(3), batch_size=None))[2] == [2, 4.0]
    arrays = [np.ones(2, dtype="float32"), np.zeros(2, dtype="float32")]
    assert next(iter(DataLoader(arrays, batch_size=None))).tolist() == [1.0, 1.0]


def test_iterable():
    loader = DataLoader(Count(5), batch_size=2)
    assert [b.tolist() for b in loader] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in DataLoader(Count(5), batch_size=2, drop_last=True)] == [[0, 1], [2, 3]]
    assert [b for b in DataLoader(Count(3), batch_size=None)] == [0, 1, 2]
    assert len(loader) == 3


def test_longer_than_it_said():
    class Liar(Count):
        def __len__(self):
            return 2

    loader = DataLoader(Liar(4))
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="was reported to be 2"):
        list(loader)


def test_whole_batches_equal_item_by_item():
    xs = rustnn.arange(24.0).reshape(8, 3)
    ys = rustnn.arange(8)
    dataset = TensorDataset(xs, ys)

    def plain(batch):
        return data.default_collate(batch)

    for d in (dataset, Subset(dataset, [7, 1, 4, 2, 0]), Subset(Subset(dataset, [7, 1, 4, 2]), [3, 1])):
        fast, slow = list(DataLoader(d, 3)), list(DataLoader(d, 3, collate_fn=plain))
        assert len(fast) == len(slow)
        for a, b in zip(fast, slow, strict=True):
            assert type(a) is type(b) is list
            for s, t in zip(a, b, strict=True):
                assert s.dtype == t.dtype and s.tolist() == t.tolist()


def test_batches_do_not_alias_the_dataset():
    xs = rustnn.zeros(4, 2)
    for (batch,) in DataLoader(TensorDataset(xs), 2):
        batch.fill_(7.0)
    assert xs.sum().item() == 0


def test_subclass_of_tensor_dataset_keeps_its_getitem():
    class Doubled(TensorDataset):
        def __getitem__(self, i):
            return (self.tensors[0][i] * 2,)

    ((batch,),) = list(DataLoader(Doubled(rustnn.arange(3)), 3))
    assert batch.tolist() == [0, 2, 4]

    class Shifted(Subset):
        def __getitem__(self, i):
            return super().__getitem__(i)[0] + 100

        def __getitems__(self, indices):
            return [self[i] for i in indices]

    (batch,) = list(DataLoader(Shifted(TensorDataset(rustnn.arange(3)), [2, 1]), 2))
    assert batch.tolist() == [102, 101]


def test_getitems_is_used():
    class Many(Squares):
        def __getitems__(self, indices):
            return [-i for i in indices]

    assert next(iter(DataLoader(Many(), 3))).tolist() == [0, -1, -2]


def test_dataset_kinds():
    a, b = TensorDataset(rustnn.arange(3)), TensorDataset(rustnn.arange(3) + 10)
    both = a + b
    assert len(both) == 6 and both[4][0].item() == 11 and both[-1][0].item() == 12
    stack = data.StackDataset(x=a, y=b)
    assert stack[1]["y"][0].item() == 11
    assert [i for i in data.ChainDataset([Count(2), Count(3)])] == [0, 1, 0, 1, 2]
    (batch,) = list(DataLoader(stack, 3))
    assert batch["y"][0].tolist() == [10, 11, 12]


def test_collate():
    point = collections.namedtuple("point", "x y")
    out = data.default_collate([point(1, {"a": "s"}), point(2, {"a": "t"})])
    assert type(out) is point and out.x.tolist() == [1, 2] and out.y == {"a": ["s", "t"]}
    assert data.default_collate([np.float32(1)]).dtype == rustnn.float32
    assert data.default_collate([True, False]).dtype == rustnn.bool
    assert data.default_collate([[1, 2], [3, 4]])[1].tolist() == [2, 4]
    with pytest.raises(TypeError, match="batch must contain tensors, numpy arrays"):
        data.default_collate([object()])
    with pytest.raises(RuntimeError, match="each element in list of batch should be of equal size"):
        data.default_collate([[1], [1, 2]])


def test_random_split_fractions():
    parts = data.random_split(range(10), [0.3, 0.3, 0.4])
    assert [len(p) for p in parts] == [3, 3, 4]
    assert sorted(i for p in parts for i in p) == list(range(10))
    with pytest.raises(ValueError, match="Sum of input lengths"):
        data.random_split(range(10), [3, 3])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        data.random_split(range(1), [0.5, 0.5])


def test_distributed():
    shares = [list(data.DistributedSampler(range(10), 3, r, seed=3)) for r in range(3)]
    assert [len(s) for s in shares] == [4, 4, 4] and set(sum(shares, [])) == set(range(10))
    assert list(data.DistributedSampler(range(10), 3, 1, shuffle=False, drop_last=True)) == [1, 4, 7]


ERRORS = [
    ({"num_workers": -1}, "num_workers option should be non-negative"),
    ({"timeout": -1}, "timeout option should be non-negative"),
    ({"prefetch_factor": 2}, "could only be specified in multiprocessing"),
    ({"persistent_workers": True}, "persistent_workers option needs num_workers > 0"),
    ({"sampler": [1], "shuffle": True}, "sampler option is mutually exclusive with shuffle"),
    ({"batch_sampler": [[1]], "batch_size": 2}, "batch_sampler option is mutually exclusive with"),
    ({"batch_size": None, "drop_last": True}, "batch_size=None option disables auto-batching"),
    ({"batch_size": 0}, "batch_size should be a positive integer value, but got batch_size=0"),
    ({"num_workers": 1, "multiprocessing_context": "x"}, "should specify a valid start method"),
    ({"multiprocessing_context": "fork"}, "can only be used with multi-process loading"),
]


@pytest.mark.parametrize(("options", "text"), ERRORS)
def test_refused_options(options, text):
    with pytest.raises(ValueError, match=text):
        DataLoader(Squares(), **options)


def test_fixed_attributes():
    loader = DataLoader(Squares())
    with pytest.raises(ValueError, match="batch_size attribute should not be set after DataLoader"):
        loader.batch_size = 3


def test_orders_equal_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")

    def run(lib):
        out = []
        lib.manual_seed(3)
        d = lib.utils.data
        parts = d.random_split(range(50), [0.7, 0.3])
        out.append([list(p.indices) for p in parts])
        loader = d.DataLoader(d.TensorDataset(lib.arange(20)), 6, shuffle=True)
        out.append([[b[0].tolist() for b in loader] for _ in range(3)])
        g = lib.Generator()
        g.manual_seed(9)
        loader = d.DataLoader(range(20), 6, shuffle=True, generator=g)
        out.append([[b.tolist() for b in loader] for _ in range(2)])
        plain = d.DataLoader(range(4))
        out.append([b.tolist() for b in plain])
        g.manual_seed(5)
        out.append(list(d.RandomSampler(range(6), replacement=True, num_samples=40, generator=g)))
        out.append(list(d.RandomSampler(range(6), num_samples=14, generator=g)))
        out.append(list(d.SubsetRandomSampler([3, 5, 7], g)))
        out.append(list(d.WeightedRandomSampler([0.1, 0.9, 0.4], 5, generator=g)))
        out.append(list(d.WeightedRandomSampler([0.1, 0.9, 0.4], 2, replacement=False, generator=g)))
        out.append(list(d.DistributedSampler(range(10), 3, 1, seed=3)))
        out.append(lib.rand(2).tolist())
        return out

    assert run(rustnn) == run(torch)
