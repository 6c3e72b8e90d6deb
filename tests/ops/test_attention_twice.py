"""Second derivatives of attention, against finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rustnn
from rustnn.autograd import gradcheck, gradgradcheck


def draw(*shape: int) -> Any:
    rng = np.random.default_rng(sum(shape))
    return rustnn.from_numpy(rng.normal(size=shape)).requires_grad_()


MASK = rustnn.tensor([[True, False, True], [False, False, False], [True, True, True]])
ADDED = rustnn.tensor([[0.0, -1.0, 0.5], [float("-inf")] * 3, [0.3, float("-inf"), 0.0]], dtype=rustnn.float64)


@pytest.mark.parametrize(("heads", "key_heads", "options"), [
    (1, 1, {}), (1, 1, {"is_causal": True, "scale": 0.7}), (1, 1, {"attn_mask": MASK}), (2, 2, {"attn_mask": ADDED}),
    (2, 1, {"enable_gqa": True}), (2, 1, {"enable_gqa": True, "is_causal": True}),
])  # fmt: skip
def test_second_derivative(heads: int, key_heads: int, options: dict[str, Any]) -> None:
    inputs = draw(1, heads, 3, 2), draw(1, key_heads, 3, 2), draw(1, key_heads, 3, 1)

    def function(*args: Any) -> Any:
        return rustnn.nn.functional.scaled_dot_product_attention(*args, **options)

    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


def test_a_query_that_sees_nothing_has_no_gradient() -> None:
    q, k, v = draw(1, 1, 3, 2), draw(1, 1, 3, 2), draw(1, 1, 3, 2)
    rustnn.manual_seed(0)
    out = rustnn.nn.functional.scaled_dot_product_attention(q, k, v, MASK, dropout_p=0.3)
    out.sum().backward()
    assert not out[0, 0, 1].any()
    assert all(bool(rustnn.isfinite(x.grad).all()) for x in (q, k, v))
    assert not q.grad[0, 0, 1].any()
