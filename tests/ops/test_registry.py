"""Every op of the registry on every sample: values, gradients, layouts, dtypes, forms, errors, threads."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import pytest
import rustnn
from ops import harness as h
from rustnn import _C
from rustnn.autograd import gradcheck, gradgradcheck

ALL = h.cases()
WITH_ORACLE = [c for c in ALL if c.row["oracle"]]
SMOOTH = [c for c in ALL if not c.row["nondiff"]]
SLOW = bool(os.environ.get("RUSTNN_SLOW_TESTS"))
# Without RUSTNN_SLOW_TESTS the second derivative is checked on each op's first sample alone.
TWICE = [c for c in SMOOTH if SLOW or c.number == 0]


def ids(cases: list[h.Case]) -> list[str]:
    return [c.id for c in cases]


def unsupported(error: BaseException) -> bool:
    text = str(error)
    words = ("not implemented for", "not supported", "does not support", "must be either float or double")
    return any(w in text for w in words)


def call(case: h.Case, args: Any, kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return h.function_of(case.row)(*args, **kwargs)


def smooth_inputs(args: Any, kwargs: Any, case: h.Case | None = None) -> list[Any]:
    """The float tensors among the arguments; of a sample that detaches some, those that it drew and left."""
    found = [t for t in h.tensors_in([list(args), kwargs]) if t.dtype.is_floating_point]
    if case is not None and ".detach()" in case.text:
        found = [t for t in found if getattr(t, "drawn", False)]
    return found


# Gradients that are zero on purpose, which finite differences do not know.
NOT_BY_DIFFERENCES = {"embedding(i(3, lo=0, hi=5), t(5,2), 1)": "the padding row gets no gradient"}


def require_smooth(case: h.Case, result: Any) -> None:
    if case.id in NOT_BY_DIFFERENCES:
        pytest.skip(NOT_BY_DIFFERENCES[case.id])
    if not smooth_outputs(result):
        pytest.skip("no float input leads to a float output")
    if any(t.dtype != _C.float64 for t in smooth_outputs(result)):
        pytest.skip("a result of less precision than differences need")


def smooth_outputs(result: Any) -> tuple[Any, ...]:
    return tuple(t for t in h.tensors_in([result]) if t.dtype.is_floating_point and t.requires_grad)


# Rows without a sample of their own: what they do is tested by name elsewhere (tests/test_rng.py for draws,
# tests/nn and tests/optim for what layers and optimizers call, the pointwise and indexing tests for writes in place).
OVERLOAD_DOCS: set[str] = {
    "split", "tensor_split", "hsplit", "vsplit", "dsplit", "atleast_1d", "atleast_2d", "atleast_3d",
    "repeat_interleave", "view",
}  # fmt: skip
UNSAMPLED = {
    "cpu", "copy", "zero", "fill", "fill_diagonal_", "unsafe_chunk", "unsafe_split", "_mT", "_unique2", "range",
    "_index_put_impl_", "_embedding_renorm_", "_dropout_noise", "dropout_", "gumbel_softmax", "_softmax_backward",
    "ctc_loss", "lstm_cell", "_rnn_lstm", "_rnn_gru", "_rnn_rnn_tanh", "_rnn_rnn_relu",
    "_sgd_step", "_adam_step", "_rmsprop_step", "_adagrad_step", "_total_norm", "_clip_grad_norm",
    "rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm", "normal", "normal_", "uniform_",
    "random_", "bernoulli", "bernoulli_", "exponential_", "geometric_", "cauchy_", "log_normal_", "multinomial",
    "poisson", "binomial", "_standard_gamma", "_sample_dirichlet",
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "new_full",
    "new_ones", "new_zeros",
}  # fmt: skip


def test_every_row_can_be_tested() -> None:
    """A row has samples, and an oracle or a reason (random numbers, views of memory) not to have one."""
    rows = _C._registry()
    sampled = {r["name"] for r in rows if r["samples"]}
    documented = {r["name"] for r in rows if r["doc"]}
    lacking = {r["name"] for r in rows} - sampled - UNSAMPLED
    assert not lacking, f"ops without samples: {sorted(lacking)}"
    assert not UNSAMPLED & sampled, f"no longer without samples: {sorted(UNSAMPLED & sampled)}"
    for row in rows:
        h.parse_signature(row["sig"])
        public = {"method", "torch", "nn"} & set(row["surfaces"]) and not row["name"].startswith("_")
        if public and row["name"] not in UNSAMPLED:
            h.function_of(row)
            assert row["name"] in documented or row["name"] in OVERLOAD_DOCS, f"{row['name']} has no doc"


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("case", WITH_ORACLE, ids=ids(WITH_ORACLE))
def test_forward_is_the_oracle(case: h.Case, dtype: str) -> None:
    args, kwargs = h.arguments(case, dtype)
    if dtype in ("float16", "bfloat16"):
        if not smooth_inputs(args, kwargs):
            pytest.skip("no float input: the dtype changes nothing")
        try:
            result = call(case, args, kwargs)
        except (RuntimeError, NotImplementedError) as error:
            if unsupported(error):
                pytest.skip(str(error).splitlines()[0])
            raise
    else:
        result = call(case, args, kwargs)
    args, kwargs = h.arguments(case, dtype)
    h.assert_matches(result, h.expected(case, args, kwargs), dtype, case.id)


@pytest.mark.parametrize("case", SMOOTH, ids=ids(SMOOTH))
def test_gradient(case: h.Case) -> None:
    args, kwargs = h.arguments(case)
    inputs = [x.requires_grad_() for x in smooth_inputs(args, kwargs, case)]
    if not inputs:
        pytest.skip("no float input")
    require_smooth(case, call(case, args, kwargs))

    def function(*_: Any) -> tuple[Any, ...]:
        return tuple(t for t in h.tensors_in([call(case, args, kwargs)]) if t.dtype.is_floating_point)

    assert gradcheck(function, tuple(inputs))


@pytest.mark.parametrize("case", TWICE, ids=ids(TWICE))
def test_second_gradient(case: h.Case) -> None:
    args, kwargs = h.arguments(case)
    inputs = [x.requires_grad_() for x in smooth_inputs(args, kwargs, case)]
    if not inputs:
        pytest.skip("no float input")
    require_smooth(case, call(case, args, kwargs))
    if sum(x.numel() for x in inputs) > 40 and not SLOW:
        pytest.skip("large: with RUSTNN_SLOW_TESTS only")

    def function(*_: Any) -> tuple[Any, ...]:
        return smooth_outputs(call(case, args, kwargs))

    try:
        gradgradcheck(function, tuple(inputs))
    except RuntimeError as error:
        # A fused backward without a derivative says so; it never returns zero.
        if "second derivative" in str(error) or "differentiable once" in str(error):
            pytest.skip(str(error).splitlines()[0])
        if "does not require grad" in str(error):
            pytest.skip("linear: its gradient does not depend on its inputs")
        raise


def transposed(tensor: Any) -> Any:
    if tensor.dim() < 2:
        return tensor
    order = tuple(reversed(range(tensor.dim())))
    return tensor.permute(*order).contiguous().permute(*order)


def every_second(tensor: Any) -> Any:
    """The same values behind an offset, at twice the stride."""
    if tensor.dim() == 0:
        return _C.stack([tensor, tensor])[1]
    doubled = _C.stack([tensor, tensor, tensor], -1).reshape(*tensor.shape[:-1], 3 * tensor.shape[-1])
    return doubled[..., 1::3]


# Views of memory: what they show depends on the strides, by their nature.
BY_STRIDES = {"view", "view_as", "as_strided"}


@pytest.mark.parametrize("change", [transposed, every_second])
@pytest.mark.parametrize("case", ALL, ids=ids(ALL))
def test_layout_of_inputs_changes_nothing(case: h.Case, change: Any) -> None:
    args, kwargs = h.arguments(case, "float64")
    if not h.tensors_in([list(args), kwargs]):
        pytest.skip("no tensor input")
    if not case.row["oracle"] or case.name in BY_STRIDES:
        pytest.skip("no oracle: random, or about memory itself")
    plain = call(case, args, kwargs)
    args, kwargs = h.arguments(case, "float64")
    moved = call(case, h.map_tensors(args, change), h.map_tensors(kwargs, change))
    for a, b in zip(h.tensors_in([moved]), h.tensors_in([plain]), strict=True):
        assert a.dtype == b.dtype
        assert tuple(a.shape) == tuple(b.shape)
        np.testing.assert_allclose(h.to_numpy(a), h.to_numpy(b), rtol=1e-12, atol=1e-13)


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e-300, -1e300, 0.5, 2.0, 1e10])


# Not element by element, although shapes may look so.
ALONG_A_DIM = {
    "cumsum", "cumprod", "logcumsumexp", "tril", "triu", "argsort", "sort", "softmax", "log_softmax", "softmin",
    "batch_norm", "instance_norm", "local_response_norm", "layer_norm", "group_norm", "rms_norm", "normalize",
    "renorm", "cholesky_inverse",
}  # fmt: skip
# At NaN and infinities these follow PyTorch, which differs from NumPy (sign(nan) is 0, casts are unspecified).
AS_PYTORCH = {"sign", "sgn", "div", "divide", "threshold", "int", "short", "char", "byte", "long"}


@pytest.mark.parametrize("shape", [(0,), (0, 3), (), (12,), (300, 41)])
@pytest.mark.parametrize("case", WITH_ORACLE, ids=ids(WITH_ORACLE))
def test_pointwise_on_special_shapes_and_values(case: h.Case, shape: tuple[int, ...]) -> None:
    args, kwargs = h.arguments(case)
    if not h.is_pointwise(case, args, kwargs, call(case, args, kwargs)):
        pytest.skip("not pointwise")
    if case.name in ALONG_A_DIM or (case.name in AS_PYTORCH and shape == (12,)):
        pytest.skip("not pointwise, or not NumPy's at NaN")
    floats = smooth_inputs(args, kwargs)
    if not floats or len(floats) != len(h.tensors_in([list(args), kwargs])):
        pytest.skip("not of float tensors alone")
    if any(0 < t.numel() < 2 or len(set(map(tuple, (f.shape for f in floats)))) > 1 for t in floats):
        pytest.skip("a sample of broadcasting")
    rng = np.random.default_rng(0)
    domain = "pos(" in case.text or "unit(" in case.text

    def other(tensor: Any) -> Any:
        if shape == (12,) and not domain:
            return _C.from_numpy(rng.permutation(SPECIAL))
        low, high = (0.5, 0.9) if domain else (-2.0, 2.0)
        return _C.from_numpy(np.asarray(rng.uniform(low, high, size=shape)))

    args, kwargs = h.map_tensors(args, other), h.map_tensors(kwargs, other)
    try:
        wanted = h.expected(case, args, kwargs)
    except (ValueError, IndexError):
        pytest.skip("the oracle has no answer there")
    if np.shape(wanted) != shape:
        pytest.skip("not pointwise")
    h.assert_matches_special(call(case, args, kwargs), wanted, case.id)


INPLACE = [c for c in ALL if c.row["inplace"]]
OUT = [c for c in ALL if c.row["out"]]


@pytest.mark.parametrize("case", INPLACE, ids=ids(INPLACE))
def test_in_place_form(case: h.Case) -> None:
    args, kwargs = h.arguments(case, "float32")
    try:
        result = call(case, args, kwargs)
    except RuntimeError as error:
        if unsupported(error):
            pytest.skip(str(error).splitlines()[0])
        raise
    args, kwargs = h.arguments(case, "float32")
    first = args[0]
    if not hasattr(_C.Tensor, case.name + "_"):
        pytest.skip("its in-place form is a function, not a method")
    if not isinstance(first, _C.Tensor) or tuple(result.shape) != tuple(first.shape):
        pytest.skip("the result has another shape than the first argument")
    if result.dtype.is_floating_point and not first.dtype.is_floating_point:
        with pytest.raises(RuntimeError):
            getattr(first, case.name + "_")(*args[1:], **kwargs)
        return
    version = first._version
    returned = getattr(first, case.name + "_")(*args[1:], **kwargs)
    assert returned is first
    assert first._version > version
    if case.row["oracle"]:
        np.testing.assert_array_equal(h.to_numpy(first), h.to_numpy(result.to(first.dtype)))
    # A leaf that requires a gradient is not changed in place.
    leaf_args, leaf_kwargs = h.arguments(case, "float32")
    if leaf_args[0].dtype.is_floating_point:
        leaf = leaf_args[0].requires_grad_()
        with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
            getattr(leaf, case.name + "_")(*leaf_args[1:], **leaf_kwargs)


@pytest.mark.parametrize("case", OUT, ids=ids(OUT))
def test_out_form(case: h.Case) -> None:
    args, kwargs = h.arguments(case, "float32")
    result = call(case, args, kwargs)
    if not isinstance(result, _C.Tensor) or "torch" not in h.surfaces(case.row):
        pytest.skip("several results, or no function of the top module")
    args, kwargs = h.arguments(case, "float32")
    target = _C.empty(tuple(result.shape), dtype=result.dtype)
    returned = call(case, args, {**kwargs, "out": target})
    assert returned is target
    if case.row["oracle"]:
        assert h.equal_bits(target, result)
        strided = _C.empty((*result.shape, 2), dtype=result.dtype)[..., 0]
        args, kwargs = h.arguments(case, "float32")
        call(case, args, {**kwargs, "out": strided})
        assert h.equal_bits(strided, result)


def scale_of(case: h.Case) -> int:
    """How much larger every size can be made without a product of the inputs getting out of hand."""
    args, kwargs = h.arguments(case, "float32")
    dims = sum(sum(1 for d in t.shape if d > 1) for t in h.tensors_in([list(args), kwargs]))
    return 24 if dims <= 4 else 6 if dims <= 6 else 2


@pytest.mark.parametrize("case", WITH_ORACLE, ids=ids(WITH_ORACLE))
def test_bits_do_not_depend_on_threads(case: h.Case) -> None:
    before = rustnn.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            rustnn.set_num_threads(threads)
            try:
                args, kwargs = h.arguments(case, "float32", scale=scale_of(case))
                results.append(call(case, args, kwargs))
            except (RuntimeError, ValueError, IndexError, TypeError, MemoryError):
                args, kwargs = h.arguments(case, "float32")
                results.append(call(case, args, kwargs))
    finally:
        rustnn.set_num_threads(before)
    assert h.equal_bits(results[0], results[1])


NAMES = {c.name: c for c in reversed(ALL)}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_wrong_calls_raise(name: str) -> None:
    case = NAMES[name]
    function = h.function_of(case.row)
    args, kwargs = h.arguments(case)
    needs_one = any(p.default is None and not p.keyword_only and not p.spread for p in case.params)
    overloads = [r for r in _C._registry() if r["name"] == name]
    if needs_one and len(overloads) == 1:
        with pytest.raises(TypeError):
            function()
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        function(*args, **{**kwargs, "no_such_argument": 1})
    for place, value in enumerate(args):
        if isinstance(value, _C.Tensor):
            for foreign in ({}, "text", object()):
                changed = [*args[:place], foreign, *args[place + 1 :]]
                with pytest.raises((TypeError, AttributeError, RuntimeError, ValueError)):
                    function(*changed, **kwargs)
