"""NumPy, the buffer protocol, DLPack, pickling, copies, iteration and subclasses."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
import rustnn as torch
from rustnn import nn

try:
    import torch as pytorch
except ImportError:
    pytorch = None

DTYPES = ["float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]


@pytest.mark.parametrize("name", DTYPES)
def test_from_numpy_shares_memory(name: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(name)
    tensor = torch.from_numpy(array)
    assert str(tensor.dtype) == f"torch.{name}"
    assert tuple(tensor.shape) == (2, 3)
    array[0, 0] = 1
    assert tensor[0, 0].item() == 1
    tensor[1, 2] = 0
    assert array[1, 2] == 0


def test_numpy_shares_memory_and_strides() -> None:
    tensor = torch.arange(12.0).reshape(3, 4)
    view = tensor.t()[1:]
    array = view.numpy()
    assert array.strides == tuple(s * 4 for s in view.stride())
    array[0, 0] = 42
    assert tensor[0, 1].item() == 42


def test_array_outlives_tensor_and_tensor_outlives_array() -> None:
    array = torch.full((1000,), 7.0).numpy()
    gc.collect()
    torch.zeros(1000)
    assert (array == 7).all()
    source = np.full(1000, 3.0)
    tensor = torch.from_numpy(source)
    del source
    gc.collect()
    np.zeros(1000)
    assert (tensor == 3).all().item()


def test_from_numpy_of_strange_arrays() -> None:
    array = np.arange(10.0)[::2]
    np.testing.assert_array_equal(torch.from_numpy(array).numpy(), array)
    with pytest.raises(ValueError, match="negative"):
        torch.from_numpy(np.arange(5)[::-1])
    with pytest.raises(TypeError):
        torch.from_numpy(np.array(["a", "b"]))
    with pytest.raises(TypeError):
        torch.from_numpy([1, 2])
    assert torch.from_numpy(np.zeros((0, 3))).shape == (0, 3)


def test_numpy_functions_and_operators() -> None:
    tensor = torch.tensor([1.0, 4.0, 9.0])
    np.testing.assert_allclose(np.asarray(tensor), [1, 4, 9])
    assert isinstance(np.sqrt(tensor), torch.Tensor)
    assert np.asarray(tensor, dtype=np.int32).dtype == np.int32
    total = tensor + np.array([1.0, 1.0, 1.0])
    assert isinstance(total, torch.Tensor)
    assert total.dtype == torch.float64
    # NumPy leaves its operators on a tensor to the tensor.
    assert isinstance(np.ones(3) * tensor, torch.Tensor)
    assert (torch.tensor([1, 2]) == np.array([1, 3])).tolist() == [True, False]
    assert (np.ones(3) * 2 == np.asarray(torch.full((3,), 2.0))).all()
    assert np.array(tensor).flags.owndata
    assert np.mean(tensor.numpy()) == pytest.approx(14 / 3)
    assert (torch.tensor([1, 2]) + np.int64(3)).tolist() == [4, 5]
    assert (torch.tensor([1.0]) * np.float32(2)).dtype == torch.float32


def test_buffer_protocol() -> None:
    tensor = torch.arange(6, dtype=torch.int32).reshape(2, 3)
    view = memoryview(tensor)
    assert view.shape == (2, 3)
    assert view.tolist() == [[0, 1, 2], [3, 4, 5]]
    made = torch.frombuffer(bytearray(b"\x01\x00\x02\x00"), dtype=torch.int16)
    assert made.tolist() == [1, 2]


def test_dlpack_with_numpy() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    array = np.from_dlpack(tensor)
    np.testing.assert_array_equal(array, tensor.numpy())
    tensor[0, 0] = 5
    assert array[0, 0] == 5
    source = np.arange(4.0)
    back = torch.from_dlpack(source)
    source[0] = 9
    assert back[0].item() == 9
    with pytest.raises((RuntimeError, BufferError)):
        torch.ones(2, requires_grad=True).__dlpack__()


@pytest.mark.skipif(pytorch is None, reason="PyTorch is not installed")
def test_dlpack_with_pytorch() -> None:
    for source in (
        torch.arange(6.0).reshape(2, 3).t(),
        torch.zeros(0),
        torch.tensor(3),
        torch.ones(3).bfloat16(),
    ):
        theirs = pytorch.from_dlpack(source)
        assert tuple(theirs.shape) == tuple(source.shape)
        assert str(theirs.dtype) == str(source.dtype)
        back = torch.from_dlpack(theirs)
        assert torch.equal(back, source)
    theirs = pytorch.arange(5)
    ours = torch.from_dlpack(theirs)
    theirs[0] = 8
    assert ours[0].item() == 8


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", [*DTYPES, "bfloat16"])
def test_pickle(name: str, protocol: int) -> None:
    for shape in ((2, 3), (), (0, 4)):
        tensor = torch.ones(shape).to(getattr(torch, name))
        back = pickle.loads(pickle.dumps(tensor, protocol))
        assert back.dtype == tensor.dtype
        assert back.shape == tensor.shape
        assert torch.equal(back, tensor)


def test_pickle_keeps_layout_flags_and_attributes() -> None:
    tensor = torch.arange(6.0).reshape(2, 3).t()
    tensor.note = "kept"
    back = pickle.loads(pickle.dumps(tensor.requires_grad_()))
    assert back.stride() == tensor.stride()
    assert back.requires_grad
    assert back.note == "kept"
    parameter = nn.Parameter(torch.ones(2))
    back = pickle.loads(pickle.dumps(parameter))
    assert isinstance(back, nn.Parameter)
    assert back.requires_grad
    with pytest.raises(RuntimeError, match="non-leaf"):
        pickle.dumps(torch.ones(2, requires_grad=True) * 2)
    model = pickle.loads(pickle.dumps(nn.Linear(3, 2)))
    assert model(torch.zeros(1, 3)).shape == (1, 2)
    assert pickle.loads(pickle.dumps(torch.float32)) is torch.float32
    assert pickle.loads(pickle.dumps(torch.device("cpu"))) == torch.device("cpu")
    assert pickle.loads(pickle.dumps(torch.zeros(2, 3).shape)) == (2, 3)


def test_deepcopy() -> None:
    tensor = torch.ones(2, requires_grad=True)
    (tensor * 3).sum().backward()
    both = [tensor, tensor]
    copied = copy.deepcopy(both)
    assert copied[0] is copied[1]
    assert copied[0] is not tensor
    assert copied[0].requires_grad
    assert copied[0].grad.tolist() == [3, 3]
    with torch.no_grad():
        copied[0].add_(1)
    assert tensor.tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="deepcopy protocol"):
        copy.deepcopy(tensor * 2)
    shallow = copy.copy(torch.zeros(2))
    assert shallow.tolist() == [0, 0]


def test_iteration_and_containers() -> None:
    tensor = torch.arange(6).reshape(3, 2)
    assert [row.tolist() for row in tensor] == [[0, 1], [2, 3], [4, 5]]
    assert len(tensor) == 3
    assert 4 in tensor
    assert 9 not in tensor
    assert [r.tolist() for r in reversed(tensor)] == [[4, 5], [2, 3], [0, 1]]
    with pytest.raises(TypeError, match="0-d tensor"):
        iter(torch.tensor(1))
    with pytest.raises(TypeError, match="0-d tensor"):
        len(torch.tensor(1))
    assert [10, 20, 30][torch.tensor(1)] == 20
    assert list(range(3))[torch.tensor(1) : torch.tensor(3)] == [1, 2]
    a, b = torch.tensor([1.0, 2.0])
    assert (a + b).item() == 3
    assert int(torch.tensor(3.7)) == 3
    assert float(torch.tensor(2)) == 2.0
    assert {tensor: 1}[tensor] == 1


def test_weak_references_and_attributes() -> None:
    tensor = torch.zeros(2)
    tensor.anything = 5
    here = weakref.ref(tensor)
    assert here() is tensor
    del tensor
    assert here() is None


class Tagged(torch.Tensor):
    """A subclass that sees the calls made with it."""

    calls: list[str] = []  # noqa: RUF012

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.calls.append(getattr(func, "__name__", str(func)))
        return super().__torch_function__(func, types, args, kwargs or {})


def test_subclass() -> None:
    class Plain(torch.Tensor):
        def doubled(self):
            return self * 2

    tensor = torch.tensor([1.0, 2.0]).as_subclass(Plain)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.doubled().tolist() == [2, 4]
    assert isinstance(tensor + 1, Plain)
    assert isinstance(torch.exp(tensor), Plain)
    assert type(nn.Parameter(torch.ones(2)) * 2) is torch.Tensor
    assert isinstance(copy.deepcopy(tensor), Plain)


def test_torch_function() -> None:
    Tagged.calls.clear()
    tensor = torch.tensor([1.0, 2.0]).as_subclass(Tagged)
    result = torch.exp(tensor)
    assert isinstance(result, Tagged)
    assert any("exp" in name for name in Tagged.calls)


def test_splits_and_unique() -> None:
    assert [p.tolist() for p in torch.arange(5).split(2)] == [[0, 1], [2, 3], [4]]
    assert [p.tolist() for p in torch.split(torch.arange(5), [1, 4])] == [[0], [1, 2, 3, 4]]
    with pytest.raises(RuntimeError, match="sum exactly to 5"):
        torch.split(torch.arange(5), [1, 1])
    values, inverse, counts = torch.tensor([3, 1, 3]).unique(return_inverse=True, return_counts=True)
    assert (values.tolist(), inverse.tolist(), counts.tolist()) == ([1, 3], [1, 0, 1], [1, 2])


def test_types_and_names() -> None:
    assert torch.zeros(1).type() == "torch.FloatTensor"
    assert torch.zeros(1).type(torch.int64).dtype == torch.int64
    assert torch.zeros(1).type("torch.DoubleTensor").dtype == torch.float64
    assert torch.typename(torch.zeros(1)) == "torch.FloatTensor"
    assert torch.is_tensor(torch.zeros(1))
    assert not torch.is_tensor(1)
    assert torch.finfo(torch.float32).eps == np.finfo(np.float32).eps
    assert torch.iinfo(torch.int16).max == 32767


@pytest.mark.skipif(pytorch is None, reason="PyTorch is not installed")
def test_limits_against_pytorch() -> None:
    for name in ("float32", "float64", "float16", "bfloat16"):
        ours, theirs = torch.finfo(getattr(torch, name)), pytorch.finfo(getattr(pytorch, name))
        for field in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution"):
            assert getattr(ours, field) == getattr(theirs, field), (name, field)
        assert repr(ours) == repr(theirs)
    for name in ("int64", "int32", "int16", "int8", "uint8"):
        ours, theirs = torch.iinfo(getattr(torch, name)), pytorch.iinfo(getattr(pytorch, name))
        assert (ours.bits, ours.max, ours.min, repr(ours)) == (
            theirs.bits,
            theirs.max,
            theirs.min,
            repr(theirs),
        )
