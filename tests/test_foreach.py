"""Lists of tensors under the names that optimizers of other packages call them by."""

from __future__ import annotations

from typing import Any

import pytest
import rustnn as torch
from rustnn.utils import _foreach_utils, model_zoo


def lists() -> tuple[list[Any], list[Any]]:
    return [torch.tensor([1.0, 2.0]), torch.tensor(4.0)], [torch.tensor([3.0, -2.0]), torch.tensor(0.5)]


@pytest.mark.parametrize(
    ("call", "want"),
    [
        (lambda a, b: torch._foreach_lerp(a, b, 0.25), [[1.5, 1.0], 3.125]),
        (lambda a, b: torch._foreach_lerp(a, b, weight=0.25), [[1.5, 1.0], 3.125]),
        (lambda a, b: torch._foreach_lerp(a, b, weights=[torch.tensor(0.0), torch.tensor(1.0)]), [[1.0, 2.0], 0.5]),
        (lambda a, b: torch._foreach_mul(a, scalar=3), [[3.0, 6.0], 12.0]),
        (lambda a, b: torch._foreach_add(a, scalars=[1.0, 2.0]), [[2.0, 3.0], 6.0]),
        (lambda a, b: torch._foreach_add(a, b, alpha=2), [[7.0, -2.0], 5.0]),
        (lambda a, b: torch._foreach_pow(a, exponent=2), [[1.0, 4.0], 16.0]),
        (lambda a, b: torch._foreach_addcmul(a, b, b, value=0.5), [[5.5, 4.0], 4.125]),
        (lambda a, b: torch._foreach_addcdiv(a, tensor1=a, tensor2=b, scalars=[3.0, 1.0]), [[2.0, -1.0], 12.0]),
        (lambda a, b: torch._foreach_addcmul(a, b, b, tensor=torch.tensor([0.5, 2.0])), [[5.5, 4.0], 4.5]),
    ],
)
def test_names_of_the_overloads(call: Any, want: list[Any]) -> None:
    assert [t.tolist() for t in call(*lists())] == want


def test_in_place() -> None:
    a, b = lists()
    torch._foreach_lerp_(a, b, weight=0.25)
    torch._foreach_addcmul_(a, b, b, scalars=[1.0, 0.0])
    torch._foreach_mul_(a, scalar=2)
    assert [t.tolist() for t in a] == [[21.0, 10.0], 6.25]


@pytest.mark.parametrize(
    "call",
    [
        lambda a, b: torch._foreach_lerp(a, b),
        lambda a, b: torch._foreach_lerp(a, b, 0.5, weight=0.5),
        lambda a, b: torch._foreach_mul(a),
        lambda a, b: torch._foreach_addcmul(a, b, b, value=1, scalars=[1, 1]),
    ],
)
def test_one_of_them_is_enough(call: Any) -> None:
    with pytest.raises(TypeError, match=r"_foreach_\w+\(\) takes one of"):
        call(*lists())


def test_groups_of_a_kind() -> None:
    a = [torch.zeros(1), torch.zeros(2, dtype=torch.float64), torch.zeros(3)]
    groups = _foreach_utils._group_tensors_by_device_and_dtype([a, [None, *a[1:]]], with_indices=True)
    assert {key[1]: places for key, (_, places) in groups.items()} == {torch.float32: [0, 2], torch.float64: [1]}
    (first, second), _ = groups[torch.device("cpu"), torch.float32]
    assert first == [a[0], a[2]] and second[0] is None and second[1] is a[2]
    with pytest.raises(ValueError, match="one length"):
        _foreach_utils._group_tensors_by_device_and_dtype([a, a[:2]])
    assert not _foreach_utils._has_foreach_support(a, "cpu")


def test_old_name_of_the_hub() -> None:
    assert model_zoo.load_url is torch.hub.load_state_dict_from_url
