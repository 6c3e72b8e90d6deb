"""The mistakes people make: the type PyTorch raises, its key words, and what helps the person."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rustnn as torch
import rustnn.nn.functional as F
from rustnn import nn, optim


def raised(kind: type[BaseException], call: Callable[[], Any]) -> str:
    with pytest.raises(kind) as info:
        call()
    return str(info.value)


def contains(text: str, *parts: str) -> None:
    for part in parts:
        assert part in text, f"{part!r} is not in:\n{text}"


def test_linear_after_a_forgotten_flatten() -> None:
    model = nn.Sequential(nn.Conv2d(1, 10, 5), nn.MaxPool2d(2), nn.Linear(1440, 50))
    text = raised(RuntimeError, lambda: model(torch.zeros(100, 1, 28, 28)))
    contains(text, "mat1 and mat2 shapes cannot be multiplied (12000x12 and 1440x50)")
    contains(text, "2 (Linear)", "in_features=1440", "[100, 10, 12, 12]", "flatten(1)")


def test_matrix_product_of_wrong_shapes() -> None:
    text = raised(RuntimeError, lambda: torch.zeros(3, 4) @ torch.zeros(3, 4))
    contains(text, "mat1 and mat2 shapes cannot be multiplied (3x4 and 3x4)", ".T")


def test_broadcast() -> None:
    text = raised(RuntimeError, lambda: torch.zeros(3, 4) + torch.zeros(3, 5))
    contains(
        text, "The size of tensor a (4) must match the size of tensor b (5) at non-singleton dimension 1"
    )
    contains(text, "add", "[3, 4]", "[3, 5]")


def test_channels_last_into_channels_first() -> None:
    text = raised(RuntimeError, lambda: nn.Conv2d(3, 8, 3)(torch.zeros(4, 32, 32, 3)))
    contains(
        text,
        "Given groups=1, weight of size [8, 3, 3, 3], expected input[4, 32, 32, 3] to have 3 channels, but got 32 "
        "channels instead",
        "permute(0, 3, 1, 2)",
    )


def test_labels_as_floats() -> None:
    text = raised(RuntimeError, lambda: F.cross_entropy(torch.zeros(4, 3), torch.zeros(4)))
    contains(text, "Long", "Float", ".long()")


def test_label_out_of_range() -> None:
    text = raised(IndexError, lambda: F.cross_entropy(torch.zeros(4, 3), torch.tensor([0, 1, 3, 2])))
    contains(text, "Target 3 is out of bounds.", "3 classes", "2")


def test_index_outside_the_vocabulary() -> None:
    model = nn.Sequential(OrderedDict(words=nn.Embedding(10, 4)))
    text = raised(IndexError, lambda: model(torch.tensor([[1, 10]])))
    contains(text, "index out of range in self", "10", "num_embeddings", "words (Embedding)")


def test_backward_twice() -> None:
    x = torch.ones(3, requires_grad=True)
    loss = (x * x).sum()
    loss.backward()
    text = raised(RuntimeError, loss.backward)
    contains(text, "Trying to backward through the graph a second time", "Backward0", "retain_graph=True")


def test_backward_of_a_non_scalar() -> None:
    x = torch.ones(3, requires_grad=True)
    text = raised(RuntimeError, lambda: (x * 2).backward())
    contains(text, "grad can be implicitly created only for scalar outputs", "[3]", ".sum()", "gradient=")


def test_in_place_on_a_saved_tensor() -> None:
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    y.add_(1)
    text = raised(RuntimeError, y.sum().backward)
    contains(
        text, "one of the variables needed for gradient computation has been modified by an inplace operation"
    )
    contains(text, "Exp", "version 1", "version 0")


def test_in_place_on_a_leaf() -> None:
    x = torch.ones(3, requires_grad=True)
    text = raised(RuntimeError, lambda: x.add_(1))
    contains(text, "a leaf Variable that requires grad is being used in an in-place operation.", "no_grad()")


def test_numpy_with_a_gradient() -> None:
    text = raised(RuntimeError, torch.ones(3, requires_grad=True).numpy)
    contains(text, "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


def test_float64_from_numpy_into_a_float32_layer() -> None:
    text = raised(RuntimeError, lambda: nn.Linear(4, 2)(torch.from_numpy(np.zeros((3, 4)))))
    contains(text, "mat1 and mat2 must have the same dtype, but got Double and Float", ".float()", "NumPy")


def test_integer_tensor_asked_for_a_gradient() -> None:
    text = raised(RuntimeError, lambda: torch.tensor([1, 2], requires_grad=True))
    contains(text, "Tensors of floating point", "can require gradients", "Long")


def test_truth_of_many() -> None:
    text = raised(RuntimeError, lambda: bool(torch.zeros(2, 2) == 0))
    contains(
        text, "Boolean value of Tensor with more than one value is ambiguous", "[2, 2]", ".any()", ".all()"
    )


def test_bad_reshape() -> None:
    text = raised(RuntimeError, lambda: torch.zeros(3, 4).reshape(5, -1))
    contains(text, "shape '[5, -1]' is invalid for input of size 12", "[3, 4]")


def test_view_of_a_transpose() -> None:
    text = raised(RuntimeError, lambda: torch.zeros(3, 4).t().view(12))
    contains(
        text, "view size is not compatible with input tensor's size and stride", "Use .reshape(...) instead."
    )


def test_state_dict_of_another_width() -> None:
    model = nn.Linear(4, 2)
    text = raised(RuntimeError, lambda: model.load_state_dict(nn.Linear(5, 2).state_dict()))
    contains(
        text, "Error(s) in loading state_dict for Linear", "size mismatch for weight", "[2, 5]", "[2, 4]"
    )
    prefixed = {f"module.{k}": v for k, v in model.state_dict().items()}
    text = raised(RuntimeError, lambda: model.load_state_dict(prefixed))
    contains(text, "Missing key(s)", "Unexpected key(s)", "module.")


def test_optimizer_without_parameters() -> None:
    text = raised(ValueError, lambda: optim.SGD([], lr=0.1))
    contains(text, "optimizer got an empty parameter list")
    assert "generator" in text or "list" in text


def test_batch_norm_on_one_sample() -> None:
    text = raised(ValueError, lambda: nn.BatchNorm1d(4)(torch.zeros(1, 4)))
    contains(text, "Expected more than 1 value per channel when training, got input size", ".eval()")


def test_image_smaller_than_the_kernel() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 5))
    text = raised(RuntimeError, lambda: model(torch.zeros(1, 1, 3, 3)))
    contains(text, "Calculated padded input size per channel: (3 x 3). Kernel size: (5 x 5).", "0 (Conv2d)")


def test_unknown_device() -> None:
    text = raised(RuntimeError, lambda: torch.zeros(2, device="gpu"))
    contains(text, "device type at start of device string: gpu", "cpu")


def test_device_that_is_not_here() -> None:
    text = raised(RuntimeError, lambda: torch.zeros(2).cuda())
    contains(text, "cuda", "cpu")
    raised((RuntimeError, AssertionError), lambda: torch.zeros(2).to("cuda"))


def test_list_of_unequal_rows() -> None:
    text = raised(ValueError, lambda: torch.tensor([[1, 2], [3]]))
    contains(text, "expected sequence of length 2 at dim 1 (got 1)", "1")


def test_stack_of_unequal_shapes() -> None:
    text = raised(RuntimeError, lambda: torch.stack([torch.zeros(3), torch.zeros(4)]))
    contains(text, "stack expects each tensor to be equal size, but got [3] at entry 0 and [4] at entry 1")


def test_name_that_is_missing() -> None:
    text = raised(AttributeError, lambda: torch.sparse_coo_tensor)
    contains(text, "sparse_coo_tensor", "Instead")
    assert not hasattr(torch, "no_such_name_at_all")
