"""Names of PyTorch's that programs take for granted: constants, dtypes that are names only, checks, old constructors,
autocast's questions, custom operations, functions of functions. Values and errors are PyTorch's."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rustnn as torch


def test_constants() -> None:
    assert (torch.pi, torch.e, torch.inf) == (math.pi, math.e, math.inf) and math.isnan(torch.nan)
    assert torch.ones(2)[torch.newaxis].shape == (1, 2)


@pytest.mark.parametrize(
    ("name", "size", "kind"),
    [
        ("complex32", 4, "complex"),
        ("complex64", 8, "complex"),
        ("complex128", 16, "complex"),
        ("uint16", 2, "integer"),
        ("uint64", 8, "integer"),
        ("float8_e4m3fn", 1, "float"),
        ("float8_e5m2", 1, "float"),
        ("quint8", 1, "integer"),
        ("int4", 1, "integer"),
    ],
)
def test_dtypes_that_are_names(name: str, size: int, kind: str) -> None:
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype) and repr(dtype) == f"torch.{name}" and dtype.itemsize == size
    assert dtype == dtype and dtype != torch.float32 and {dtype: 1}[dtype] == 1
    assert (dtype.is_complex, dtype.is_floating_point) == (kind == "complex", kind == "float")
    assert pickle.loads(pickle.dumps(dtype)) == dtype and copy.deepcopy(dtype) == dtype
    for ask in (
        lambda: torch.zeros(2, dtype=dtype),
        lambda: torch.zeros(2).to(dtype),
        lambda: torch.tensor([1], dtype=dtype),
        lambda: torch.promote_types(dtype, torch.float32),
        lambda: torch.ones(2).sum(dtype=dtype),
    ):
        with pytest.raises(NotImplementedError, match=f"torch.{name}(.|\n)*hint"):
            ask()


def test_dtype_relations() -> None:
    assert torch.float32.to_complex() == torch.complex64 == torch.cfloat and torch.complex64.to_real() == torch.float32
    assert torch.float64.to_complex() == torch.complex128 and torch.float16.to_complex() == torch.complex32
    assert torch.float16.to_real() == torch.float16
    assert torch.finfo(torch.float8_e4m3fn).max == 448.0 and torch.finfo(torch.complex64).eps == 2.0**-23
    assert torch.iinfo(torch.uint16).max == 65535
    with pytest.raises(NotImplementedError, match="sparse_coo"):
        torch.zeros(2, layout=torch.sparse_coo)


def test_checks() -> None:
    torch._assert(True, "m")
    with pytest.raises(AssertionError, match="m"):
        torch._assert(torch.tensor(False), "m")
    cases: list[tuple[Any, type[Exception]]] = [
        (torch._check, RuntimeError),
        (torch._check_index, IndexError),
        (torch._check_value, ValueError),
        (torch._check_type, TypeError),
        (torch._check_not_implemented, NotImplementedError),
    ]
    for check, error in cases:
        check(True)
        with pytest.raises(error, match="why"):
            check(False, lambda: "why")
        with pytest.raises(error, match="Expected cond to be True"):
            check(False)
        with pytest.raises(TypeError, match="cond must be a bool"):
            check(1)
    with pytest.raises(RuntimeError, match="z"):
        torch._check_tensor_all(torch.tensor([True, False]), "z")
    with pytest.raises(TypeError, match="cond must be a tensor"):
        torch._check_tensor_all(True)
    with pytest.raises(RuntimeError):
        torch._check_is_size(-1)
    with pytest.raises(RuntimeError, match="no"):
        torch._assert_async(torch.tensor(0), "no")


def test_broadcast_shapes() -> None:
    assert torch.broadcast_shapes((2, 1), (3,), 1) == torch.Size([2, 3]) and torch.broadcast_shapes() == torch.Size([])
    assert torch.broadcast_shapes((0,), (1,)) == torch.Size([0]) and type(torch.broadcast_shapes([2])) is torch.Size
    with pytest.raises(RuntimeError, match=r"length 3 at -1.* index 1 had \(3,\)"):
        torch.broadcast_shapes((2,), (3,))
    with pytest.raises(ValueError, match="negative"):
        torch.broadcast_shapes((-1,))
    with pytest.raises(RuntimeError, match="ints"):
        torch.broadcast_shapes("a")
    for shapes in [((2, 1, 4), (3, 1)), ((5,), (1, 5)), ((), (2, 2))]:
        assert tuple(torch.broadcast_shapes(*shapes)) == np.broadcast_shapes(*shapes)


def test_old_constructors() -> None:
    names = {"Float": "float32", "Double": "float64", "Long": "int64", "Bool": "bool", "Byte": "uint8"}
    for name, dtype in names.items():
        kind = getattr(torch, f"{name}Tensor")
        assert kind(2, 3).shape == (2, 3) and kind(2, 3).dtype == getattr(torch, dtype) == kind.dtype
        assert kind([1, 0]).tolist() == [1, 0] and kind().shape == (0,) and kind(torch.Size([2])).shape == (2,)
        assert kind(np.ones(3)).tolist() == [1, 1, 1] and kind(np.int64(3)).shape == (3,)
        assert isinstance(kind(2), kind) and not isinstance(3, kind)
        assert torch.ones(2).type(kind).dtype == getattr(torch, dtype)
    assert not isinstance(torch.ones(1), torch.LongTensor)
    x = torch.ones(2)
    y = torch.FloatTensor(x)
    y[0] = 5
    assert x[0] == 5
    for call, error in [
        (lambda: torch.FloatTensor(torch.ones(2).int()), TypeError),
        (lambda: torch.FloatTensor(2.5), TypeError),
        (lambda: torch.FloatTensor("a"), TypeError),
        (lambda: torch.FloatTensor(-1), RuntimeError),
        (lambda: torch.cuda.FloatTensor(2), RuntimeError),
        (lambda: torch.ones(2).type(torch.cuda.LongTensor), RuntimeError),
    ]:
        with pytest.raises(error):
            call()
    assert not isinstance(torch.ones(1), torch.cuda.FloatTensor)
    assert x.new(2).shape == (2,) and x.int().new([1.7]).tolist() == [1] and x.new().shape == (0,)


def test_autocast_is_never_on() -> None:
    assert not torch.is_autocast_enabled() and not torch.is_autocast_enabled("cpu")
    assert torch.get_autocast_dtype("cpu") == torch.bfloat16 == torch.get_autocast_cpu_dtype()
    assert torch.get_autocast_dtype("cuda") == torch.float16 and torch.is_autocast_cache_enabled()
    with torch.autocast("cpu"):
        assert not torch.is_autocast_enabled("cpu")
    with pytest.raises(RuntimeError, match="foo"):
        torch.is_autocast_enabled("foo")


def test_swap_tensors() -> None:
    a, b = torch.nn.Parameter(torch.ones(2)), torch.zeros(3)
    a.note = 1
    held = [a, b]
    torch.utils.swap_tensors(a, b)
    assert held[0].tolist() == [0, 0, 0] and held[1].tolist() == [1, 1]
    assert isinstance(b, torch.nn.Parameter) and b.requires_grad and b.note == 1
    assert type(a) is torch.Tensor and not hasattr(a, "note")
    x = torch.ones(2, requires_grad=True)
    y, z = x * 3, torch.zeros(2)
    torch.utils.swap_tensors(y, z)
    z.sum().backward()
    assert x.grad.tolist() == [3, 3] and y.grad_fn is None
    torch.utils.swap_tensors(x, x)
    with pytest.raises(TypeError):
        torch.utils.swap_tensors(x, 3)


def test_absent_devices_answer() -> None:
    for module in (torch.cuda, torch.xpu, torch.mps, torch.mtia, torch.accelerator):
        assert not module.is_available() and module.device_count() == 0
    assert torch.accelerator.current_accelerator() is None
    for call in (torch.accelerator.synchronize, torch.xpu.current_device, torch.cuda.CUDAGraph, torch.cuda.Stream):
        with pytest.raises(RuntimeError, match="hint|Ask"):
            call()


def test_blocks_on_meta() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with torch.device("meta"):
        layer = torch.nn.Linear(3, 4)
        assert layer.weight.device.type == "meta" and layer.weight.is_meta
        assert torch.get_default_device().type == "meta"
    assert layer.weight.device.type == "cpu" and not layer.weight.is_meta
    assert torch.equal(torch.rand(3), expected)
    with pytest.raises(NotImplementedError, match="hint"):
        torch.zeros(2, device="meta")
    with torch.device("cpu"):
        assert torch.zeros(2).device.type == "cpu"
    with pytest.raises(RuntimeError), torch.device("cuda"):
        pass


def test_asarray_and_storages(tmp_path: Path) -> None:
    array = np.arange(3.0)
    torch.asarray(array)[0] = 7
    assert array[0] == 7 and torch.asarray(array, copy=True).tolist() == [7, 1, 2]
    assert torch.asarray([1, 2]).dtype == torch.int64 and torch.asarray(3).dim() == 0
    assert torch.asarray(bytearray(8), dtype=torch.int16).shape == (4,)
    for bad in (lambda: torch.asarray([1], copy=False), lambda: torch.asarray(array, dtype=torch.int8, copy=False)):
        with pytest.raises(ValueError, match="alias"):
            bad()
    x = torch.ones(2, requires_grad=True)
    assert torch.asarray(x) is x and not torch.asarray(x, requires_grad=False).requires_grad
    path = tmp_path / "bytes"
    path.write_bytes(bytes(range(16)))
    storage = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=16)
    assert storage.nbytes() == 16 and torch.asarray(storage, dtype=torch.uint8)[4:6].tolist() == [4, 5]
    torch.asarray(storage, dtype=torch.uint8)[0] = 9
    assert path.read_bytes()[0] == 0
    shared = torch.UntypedStorage.from_file(str(path), shared=True, nbytes=16)
    torch.asarray(shared, dtype=torch.uint8)[0] = 9
    assert path.read_bytes()[0] == 9
    with pytest.raises(RuntimeError, match="16 bytes"):
        torch.UntypedStorage.from_file(str(path), nbytes=17)


def test_func() -> None:
    cube = torch.func.grad(torch.func.grad(lambda x: x**3))
    assert cube(torch.tensor(2.0)).item() == 12.0
    (g, h), value = torch.func.grad_and_value(lambda a, b: (a * b).sum(), (0, 1))(torch.ones(2), torch.full((2,), 3.0))
    assert g.tolist() == [3, 3] and h.tolist() == [1, 1] and value.item() == 6 and not value.requires_grad
    assert torch.func.jacrev(lambda x: x**2)(torch.tensor([1.0, 2.0])).tolist() == [[2, 0], [0, 4]]
    assert torch.func.hessian(lambda x: (x**3).sum())(torch.tensor([1.0, 2.0])).tolist() == [[6, 0], [0, 12]]
    value, pull = torch.func.vjp(torch.sin, torch.tensor(0.0))
    assert value.item() == 0 and pull(torch.tensor(2.0))[0].item() == 2
    layer = torch.nn.Linear(2, 1)
    grads = torch.func.grad(lambda p: torch.func.functional_call(layer, p, torch.ones(1, 2)).sum())(
        dict(layer.named_parameters())
    )
    assert grads["weight"].tolist() == [[1, 1]] and grads["bias"].tolist() == [1]
    stacked, _ = torch.func.stack_module_state([layer, torch.nn.Linear(2, 1)])
    assert stacked["weight"].shape == (2, 1, 2)
    with pytest.raises(RuntimeError, match="scalar"):
        torch.func.grad(lambda x: x)(torch.ones(2))


def test_custom_operations() -> None:
    @torch.library.custom_op("test_surface::cube", mutates_args=())
    def cube(x: Any) -> Any:
        return x.detach() ** 3

    cube.register_autograd(
        lambda ctx, g: g * 3 * ctx.saved_tensors[0] ** 2,
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
    )
    x = torch.tensor(2.0, requires_grad=True)
    torch.ops.test_surface.cube(x).backward()
    assert x.grad.item() == 12.0
    assert torch.ops.aten.add.Tensor(torch.ones(1), 1).item() == 2
    for call, error in [
        (lambda: torch.ops.nobody.knows, AttributeError),
        (lambda: torch.ops.aten.no_such_thing(1), NotImplementedError),
        (lambda: torch.ops.load_library("x.so"), OSError),
        (lambda: torch.library.custom_op("plain", lambda: 0), ValueError),
    ]:
        with pytest.raises(error):
            call()


def test_overrides() -> None:
    from rustnn import overrides

    class Own(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return "mine"

    own = torch.ones(2).as_subclass(Own)
    assert overrides.has_torch_function((own,)) and not overrides.has_torch_function((torch.ones(1), 3))
    assert not overrides.has_torch_function_unary(torch.nn.Parameter(torch.ones(1)))
    assert overrides.handle_torch_function(torch.add, (own,), own, own) == "mine"
    assert overrides.is_tensor_like(own) and not overrides.is_tensor_like([1])
    with pytest.raises(NotImplementedError, match="TorchFunctionMode"), overrides.TorchFunctionMode():
        pass


def test_low_rank_svd() -> None:
    torch.manual_seed(0)
    a = torch.randn(20, 3) @ torch.randn(3, 12)
    u, s, v = torch.svd_lowrank(a, q=4)
    assert torch.allclose(u @ s.diag_embed() @ v.mT, a, atol=1e-4)
    np.testing.assert_allclose(s[:3].numpy(), np.linalg.svd(a.numpy())[1][:3], rtol=1e-4)
    u, s, v = torch.svd_lowrank(a.mT, q=4)
    assert torch.allclose(u @ s.diag_embed() @ v.mT, a.mT, atol=1e-4)
    _, s, _ = torch.pca_lowrank(a, q=3)
    np.testing.assert_allclose(s.numpy(), np.linalg.svd(a.numpy() - a.numpy().mean(0))[1][:3], rtol=1e-4)
    with pytest.raises(ValueError, match="q"):
        torch.svd_lowrank(a, q=13)


@pytest.mark.parametrize("name", ["mul", "div", "atan2", "pow", "hypot", "sub", "maximum", "copysign"])
def test_in_place_ops_keep_what_they_overwrite(name: str) -> None:
    def value(inplace: bool) -> tuple[Any, Any]:
        x = torch.tensor([0.5, 1.5, 2.0], dtype=torch.float64, requires_grad=True)
        w = torch.tensor([1.2, 0.7, 2.5], dtype=torch.float64, requires_grad=True)
        left, right = x * 1.5, w.exp()
        if inplace:
            getattr(left, name + "_")(right)
        else:
            left = getattr(left, name)(right)
        return torch.autograd.grad((left**2).sum(), (x, w), create_graph=True)

    if not hasattr(torch.Tensor, name + "_"):
        pytest.skip(f"no {name}_")
    for a, b in zip(value(True), value(False), strict=True):
        assert torch.equal(a, b) and a.requires_grad == b.requires_grad
    x = torch.randn(4, requires_grad=True)
    y = torch.nn.functional.hardswish(x * 2, inplace=True)
    y.sum().backward()
    z = x.detach().requires_grad_()
    torch.nn.functional.hardswish(z * 2).sum().backward()
    assert torch.equal(x.grad, z.grad)


def test_what_programs_import_and_never_use(tmp_path: Path) -> None:
    code = """
import importlib.metadata, torch
from torch.distributed import rpc
from torch.distributions.wishart import Wishart
from torch._C import _TensorMeta
import torch.fx, torch.onnx, torch.profiler, torch.jit.annotations
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision.models import ResNet18_Weights, MobileNetV2
import torch.distributions.normal as normal
assert importlib.metadata.version("torch").startswith("2.") and torch.torch is torch
assert isinstance(torch.ones(1), torch.Tensor) and isinstance(torch.Tensor, _TensorMeta)
assert normal.Normal is torch.distributions.Normal
@torch.fx.wrap
def f(x): return x
assert f(3) == 3 and not torch.onnx.is_in_onnx_export() and get_proxy_mode() is None
class Net(MobileNetV2): pass
class T(torch.fx.Tracer): pass
for call in (lambda: Wishart(3), Net, T, lambda: rpc.init_rpc("a")):
    try: call()
    except NotImplementedError as error: print(str(error).splitlines()[0])
    else: raise SystemExit("no error")
with sdpa_kernel(SDPBackend.MATH): pass
"""
    done = subprocess.run(
        [sys.executable, "-m", "rustnn", "run", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    for name in ("Wishart", "MobileNetV2", "Tracer", "init_rpc"):
        assert name in done.stdout


def test_numbers_of_traced_programs() -> None:
    assert torch.sym_int(3.7) == 3 and torch.sym_max(2, 3.0) == 3.0 and torch.sym_min(1, 2) == 1
    assert isinstance(torch.sym_max(3, 2.0), float) and torch.sym_not(0) and torch.sym_ite(True, 1, 2) == 1
    assert torch.sym_sum([1, 2, 3]) == 6 and torch._shape_as_tensor(torch.ones(2, 3)).tolist() == [2, 3]
    assert torch.get_device_module("cuda") is torch.cuda and torch.get_device_module("cpu").device_count() == 1
    with pytest.raises(RuntimeError, match="ipu"):
        torch.get_device_module("ipu")
