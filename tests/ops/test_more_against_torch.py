"""Calls beside the registry's samples that PyTorch and rustnn answer alike: forms, borders, warnings, dtypes."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import rustnn

torch = pytest.importorskip("torch", reason="compares with PyTorch")

CALLS = """
trapezoid(t([1, 2, 3]))
trapezoid(t([1, 2, 3]), dx=2)
trapezoid(t([True]))
trapezoid(ones(2, 0))
trapezoid(ones(3, 4), t([1., 2., 4., 7.]))
trapezoid(ones(3, 4), t([1., 2., 4.]))
cumulative_trapezoid(t([1, 2, 3]))
gradient(t([1, 2, 4]))
gradient(ones(1))
gradient(ones(3, 4), spacing=[1., 2., 3.])
gradient(ones(3, 4), spacing=(ones(3),))
gradient(t([[1., 2., 4., 8.]]), spacing=2, dim=1)
cov(ones(2, 3, 4))
cov(t([1, 2, 4]))
cov(t([[1., 2.], [3., 5.]]), fweights=t([1, -2]))
cov(t([[1., 2.], [3., 5.]]), aweights=t([1, 2]))
corrcoef(t([1., 2., 3.]))
corrcoef(t([[1., 2.], [2., 1.]]))
dist(ones(3), zeros(2, 1))
renorm(ones(3, 4), 2, 0, 1)
renorm(ones(3), 2, 0, 1)
renorm(ones(3, 4), 0, 0, 1)
frexp(t([1., 0., -3., math.inf, math.nan, 1e-40]))
frexp(t([1]))
angle(t([1, -1]))
angle(t([1., -1., -0., math.nan]))
histogram(t([1., 2., 1.]), 4, range=(0, 3))
histogram(t([1., 1., 1.]), 4)
histogram(t([1, 2]), 4)
histogram(t([1., 2., math.nan]), 4, range=(0., 3.))
histogram(t([1., 2., math.nan]), 4)
histogram(t([1., 2.]), t([0., 1., 2.]), density=True)
histogram(t([1., 2.]), 0)
unravel_index(t([1, 5]), (2, 3))
unravel_index(t([1, 9]), (2, 3))
unravel_index(t([1., 5.]), (2, 3))
unravel_index(t(5), (2, 3))
nonzero_static(t([1, 0, 2]), size=4)
nonzero_static(t([1, 0, 2]), size=1)
nonzero_static(t([1, 0, 2]), size=-1)
hann_window(5, dtype=torch.int64)
hann_window(1)
hann_window(-1)
hann_window(12, periodic=False)
hamming_window(12, True, 0.6)
blackman_window(11)
bartlett_window(11)
kaiser_window(4, False)
kaiser_window(11, True, beta=3.0, dtype=torch.float64)
kaiser_window(11, True, 0.0)
igamma(t([1., 2., 0., 0., -1., math.inf, 3., 3., math.nan]), t([3., 4., 1., 0., 1., 1., math.inf, 0., 1.]))
igammac(t([1., 2., 0., 0., -1., math.inf, 3., 3., math.nan]), t([3., 4., 1., 0., 1., 1., math.inf, 0., 1.]))
igamma(t([1]), t([2]))
igamma(t([100., 1000., 1e5]), t([90., 1010., 1e5]))
conj(t([1, 2]))
real(t([1., 2.]))
conj_physical(t([1]))
resolve_neg(t([1.]))
slice_scatter(ones(3), zeros(2), 0, 1)
slice_scatter(ones(3), zeros(1), 0, 1)
slice_scatter(ones(6), zeros(2), 0, -4, 100, 2)
slice_scatter(ones(3), zeros(0), 0, 2, 1)
slice_scatter(ones(3), zeros(3), 0, step=0)
slice_scatter(ones(3).int(), zeros(3) + 1.5)
select_scatter(ones(3, 2), zeros(3), 1, 0)
select_scatter(ones(3, 2), zeros(2), 1, 0)
select_scatter(ones(3, 2), zeros(3), 1, 2)
diagonal_scatter(ones(3, 2), zeros(2))
diagonal_scatter(ones(3, 2), zeros(3))
vander(t([1, 2, 3]), 2)
vander(t([1, 2, 3]), 0)
vander(t([True, False]))
vander(ones(2, 2))
linalg.vander(t([1, 2, 3]))
linalg.vander(t([1., 2., 3.]), N=1)
linalg.vecdot(ones(3, 4), ones(4))
linalg.vecdot(ones(3, 4), ones(4).double())
linalg.vecdot(t([1, 2]).int(), t([1, 2]).int())
tensordot(ones(2, 3), ones(3, 4), 1)
tensordot(ones(2, 3), ones(2, 3))
tensordot(ones(2, 3), ones(3, 2), dims=([1, 0], [0, 1]))
tensordot(ones(2, 3), ones(3, 2), dims=t([[1, 0], [0, 1]]))
tensordot(ones(2), ones(3), 0)
tensordot(ones(2, 3), ones(4, 2), 1)
tensordot(ones(2, 3), ones(4, 2), -1)
tensordot(ones(2, 3), ones(4, 2), 3)
einsum(ones(2, 3), [0, 1], ones(3, 4), [1, 2], [0, 2])
einsum(ones(2, 3), [0, 1], ones(3, 4), [1, 2])
einsum(ones(5, 2, 3), [..., 0, 1], [..., 1, 0])
einsum('ij,jk', [ones(2, 3), ones(3, 4)])
einsum('i,j->ij', t([1, 2]), t([1.5]))
einsum('ij->i', t([[1, 2]]).int())
einsum('ij,k->ik', t([[1, 2]]).int(), t([1, 2]).int())
einsum('ij,ij->', t([[True, True]]), t([[True, True]]))
index_reduce(ones(3), 0, t([0, 0]), t([2., 3.]), 'sum')
index_reduce(ones(3), 0, t([0, 0]), t([2., 3.]), 'prod')
index_reduce(ones(3), 0, t([0, 3]), t([2., 3.]), 'amax')
index_reduce(ones(3, 2), 0, t([0]), t([2., 3.]), 'amax')
index_reduce(t(1.), 0, t([0]), t(2.), 'amax')
index_reduce(t([1, 2]), 0, t([0, 0]), t([2, 4]), 'mean')
norm_except_dim(ones(3, 4), 2, 0)
nuclear_norm(t([[1., 0.], [0., 1.]]))
frobenius_norm(ones(2, 2), (0, 1))
svd(t([[1., 0.], [0., 1.]]), compute_uv=False)
result_type(t([1]), 2.5)
result_type(t([1], dtype=torch.int8), t(2))
result_type(1, 2.5)
result_type(t([1.]), t([1.], dtype=torch.float64))
result_type(t([1], dtype=torch.uint8), t([1], dtype=torch.int8))
is_same_size(ones(2), ones(2))
is_signed(t([1], dtype=torch.uint8))
is_conj(ones(1))
is_neg(ones(1))
get_device(ones(1))
fill(ones(2), 3)
fill_(ones(2), 3)
zero_(ones(2))
threshold_(t([1., -1.]), 0, 5)
threshold(t([1, -1]), 0.5, 5.7)
expand_copy(ones(1), (3,))
unbind_copy(ones(2, 2))
squeeze_copy(ones(1, 2))
split_with_sizes_copy(ones(3), [1, 2])
nn.functional.hardtanh(t([-2, 0, 2]), -1.7, 1.2)
nn.functional.hardtanh(t([True]))
nn.functional.relu6(t([200, 3], dtype=torch.uint8))
nn.functional.threshold(t([True]), 0.5, 1)
matrix_power(t([[1, 1], [0, 1]]), 5)
matrix_power(t([[1, 1], [0, 1]]), -1)
matrix_power(t([[1., math.inf], [0., 1.]]), 0)
matrix_power(ones(2, 3), 2)
matrix_power(ones(3), 2)
softmax(ones(0, 2).bool(), 1)
softmax(ones(2, 2).int(), 1)
addr(t([[True, False]]), t([True]), t([False, True]))
addr(t([[True, False]]), t([True]), t([False, True]), beta=0)
kron(ones(2, 0), ones(3, 1))
kron(t([1, 2]), t([1.5]))
outer(t([1, 2]), t([1.5]))
inner(t(2), t([1.5, 2.]))
mm(ones(2, 0).bool(), ones(0, 2).bool())
mm(ones(2, 1).bool(), ones(1, 2).bool())
special.erfcx(t([-30., -1., 0., 5., 30., 1e10, math.inf, math.nan]))
special.gammainc(t([2.]), t([1.]))
special.logsumexp(ones(2, 3), 1)
special.round(t([1.25]), decimals=1)
special.multigammaln(t([3.]), 2)
""".strip().splitlines()


def outcome(module: Any, call: str) -> Any:
    def plain(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return [plain(v) for v in value]
        if hasattr(value, "dtype") and hasattr(value, "tolist"):
            return str(value.dtype).rsplit(".", 1)[-1], tuple(value.shape), np.asarray(value.tolist(), dtype=float)
        return str(value).rsplit(".", 1)[-1] if "float" in str(value) or "int" in str(value) else value

    names = {n: getattr(module, n) for n in ("ones", "zeros", "tensor")}
    body = call.replace("torch.", "module.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            names.update(t=module.tensor, module=module, math=math)
            return plain(eval(f"module.{body}", names))  # noqa: S307
        except Exception as error:
            return type(error).__name__


def same(got: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return isinstance(got, list) and len(got) == len(wanted) and all(map(same, got, wanted))
    if isinstance(wanted, tuple):
        return (
            isinstance(got, tuple)
            and got[:2] == wanted[:2]
            and bool(np.allclose(got[2], wanted[2], rtol=2e-5, atol=1e-6, equal_nan=True))
        )
    return bool(got == wanted)


@pytest.mark.parametrize("call", CALLS)
def test_the_same_outcome(call: str) -> None:
    got, wanted = outcome(rustnn, call), outcome(torch, call)
    assert same(got, wanted), f"{got} != {wanted}"


@pytest.mark.parametrize("call", [
    "t(1.).std()", "t([1.]).var()", "ones(3, 1).std(1)", "ones(3, 2).var(1, correction=2)", "ones(3, 0).var(1)",
    "ones(3, 2).var(1)", "ones(3).std()", "var_mean(t(1.))",
])  # fmt: skip
def test_warnings_of_too_few_elements(call: str) -> None:
    def texts(module: Any) -> list[str]:
        names = {"ones": module.ones, "t": module.tensor, "var_mean": module.var_mean}
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            eval(call, names)  # noqa: S307
        return [str(w.message).split("(")[1].split(" (")[0][:40] for w in seen]

    assert texts(rustnn) == texts(torch)


def test_warnings_can_be_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="degrees of freedom"):
            rustnn.tensor(1.0).std()
    assert math.isnan(_quiet(lambda: rustnn.tensor(1.0).std().item()))


def _quiet(function: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function()


def gradients(module: Any, source: str, *values: Any) -> list[list[float]]:
    leaves = [module.tensor(v, dtype=module.float64, requires_grad=True) for v in values]
    names = {"abcdef"[i]: leaf for i, leaf in enumerate(leaves)}
    result = eval(source, {**names, "torch": module})  # noqa: S307
    (result * module.arange(1, 1 + result.numel(), dtype=module.float64).reshape(result.shape)).sum().backward()
    grads = [leaf.grad if leaf.grad is not None else module.zeros_like(leaf) for leaf in leaves]
    return [np.ravel(g.tolist()).tolist() for g in grads]


@pytest.mark.parametrize(("source", "values"), [
    ("torch.quantile(a, b)", ([1.0, 4.0, 2.0, 8.0], [0.2, 0.5])),
    ("torch.quantile(a, b, 1)", ([[1.0, 4.0, 2.0], [3.0, 5.0, 9.0]], [0.2, 0.6])),
    ("torch.nanquantile(a, b, 1)", ([[1.0, float("nan"), 2.0], [3.0, 5.0, 9.0]], [0.2, 0.6])),
    ("torch.quantile(a, b, interpolation='nearest')", ([1.0, 4.0, 2.0, 8.0], [0.2, 0.6])),
    ("a.scatter_reduce(0, torch.tensor([0, 0, 1, 1]), b, 'prod')", ([2.0, 3.0], [0.0, 5.0, 0.0, 0.0])),
    ("a.scatter_reduce(0, torch.tensor([0, 0, 1]), b, 'prod')", ([0.0, 3.0], [4.0, 5.0, 6.0])),
    (
        "a.scatter_reduce(0, torch.tensor([0, 0, 1]), b, 'prod', include_self=False)",
        ([0.0, 3.0, 2.0], [0.0, 5.0, 6.0]),
    ),
    ("a.index_reduce(0, torch.tensor([0, 0, 1]), b, 'prod')", ([2.0, 3.0], [0.0, 5.0, 6.0])),
    ("torch.angle(a)", ([2.0, -3.0],)),
    ("torch.frexp(a)[0]", ([2.0, -3.0],)),
    ("torch.renorm(a, 2, 0, 1.0)", ([[2.0, -3.0], [0.1, 0.2]],)),
])  # fmt: skip
def test_the_same_gradients(source: str, values: Any) -> None:
    for got, wanted in zip(gradients(rustnn, source, *values), gradients(torch, source, *values), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)


def test_floor_divide_has_no_gradient_as_in_pytorch() -> None:
    for module in (rustnn, torch):
        x = module.ones(3, requires_grad=True)
        result = x // 2
        assert result.requires_grad
        with pytest.raises(RuntimeError, match="derivative for aten::floor_divide is not implemented"):
            result.sum().backward()
