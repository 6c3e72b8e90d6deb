"""The arithmetic of a call, counted from the shapes of its products: linear layers, convolutions, recurrent layers,
attention, matrix products. Pointwise work is left out: next to products it is small, and it is bound by memory.

A product whose operands want gradients counts three times: itself, and one product for each operand's gradient.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

RECURRENT = [kind + cell for kind in ("RNN", "GRU", "LSTM") for cell in ("", "Cell")]
CACHE = 64e6
"""Bytes above which weights are taken to come from memory each time."""


def product(a: Any, b: Any) -> float:
    """`torch.matmul` of two tensors, broadcast batches included."""
    rows = a.shape[-2] if a.dim() > 1 else 1
    columns = b.shape[-1] if b.dim() > 1 else 1
    batch = max(math.prod(a.shape[:-2]), math.prod(b.shape[:-2]))
    return 2.0 * batch * rows * columns * a.shape[-1]


def attention(q: Any, k: Any, v: Any, causal: bool = False) -> float:
    """Scores and their product with the values; a causal mask leaves half of both out."""
    pairs = math.prod(q.shape[:-1]) * k.shape[-2]
    return 2.0 * pairs * (q.shape[-1] + v.shape[-1]) * (0.5 if causal else 1.0)


def linear(module: Any, inputs: Any, output: Any) -> float:
    return 2.0 * output.numel() * module.in_features


def bilinear(module: Any, inputs: Any, output: Any) -> float:
    return 2.0 * output.numel() * module.in1_features * (module.in2_features + 1)


def convolution(module: Any, inputs: Any, output: Any) -> float:
    """Each weight meets each place: of the output, or of the input where the convolution is transposed."""
    kind, x = type(module).__name__, inputs[0]
    places = x if "Transpose" in kind else output
    spatial = len(module.kernel_size)
    batch = math.prod(places.shape[: places.dim() - spatial - 1])
    return 2.0 * batch * math.prod(places.shape[places.dim() - spatial :]) * module.weight.numel()


def recurrent(module: Any, inputs: Any, output: Any) -> float:
    """All weights at each step of each sequence; cells see one step."""
    x = inputs[0]
    steps = x.numel() / x.shape[-1]
    return 2.0 * steps * sum(p.numel() for p in module.parameters() if p.dim() == 2)


def multihead(module: Any, inputs: Any, output: Any) -> float:
    """Three projections, the attention itself, the projection of the result."""
    q, k, v = inputs[:3]
    width, heads = module.embed_dim, module.num_heads
    projections = q.numel() * width + k.numel() * width + v.numel() * width + q.numel() * width
    batch = q.shape[0 if module.batch_first else 1] if q.dim() == 3 else 1
    targets, sources = q.numel() // (batch * q.shape[-1]), k.numel() // (batch * k.shape[-1])
    return 2.0 * projections + 4.0 * batch * heads * targets * sources * (width // heads)


MODULES: dict[str, Callable[[Any, Any, Any], float]] = {
    "Linear": linear,
    "NonDynamicallyQuantizableLinear": linear,
    "Bilinear": bilinear,
    "MultiheadAttention": multihead,
    **{f"Conv{kind}{n}d": convolution for kind in ("", "Transpose") for n in (1, 2, 3)},
    **dict.fromkeys(RECURRENT, recurrent),
}


class Counter:
    """What was counted so far."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.flops = 0.0
        self.inside = 0
        self.read = 0.0
        self.weights: dict[int, float] = {}

    def add(self, flops: float, tensors: Any) -> None:
        self.flops += flops * self.times(tensors)

    def times(self, tensors: Any) -> float:
        return 3.0 if self.torch.is_grad_enabled() and any(t.requires_grad for t in tensors) else 1.0

    def bytes(self) -> float:
        """Weights that the products read (and whose gradients they write), if there are too many for a cache."""
        return self.read if sum(self.weights.values()) > CACHE else 0.0

    def enter(self, module: Any, inputs: Any) -> None:
        self.inside += type(module).__name__ in MODULES

    def leave(self, module: Any, inputs: Any, output: Any) -> None:
        rule = MODULES.get(type(module).__name__)
        if rule is None:
            return
        self.inside -= 1
        if self.inside == 0:
            weights = list(module.parameters())
            self.add(rule(module, inputs, output), weights)
            sizes = {id(p): 4.0 * p.numel() for p in weights}
            self.weights |= sizes
            self.read += sum(sizes.values()) * self.times(weights)

    def wrap(self, place: Any, name: str, rule: Callable[..., float]) -> Callable[[], None]:
        """Counts the function's calls; returns what ends that."""
        inner = getattr(place, name)

        def counted(*args: Any, **options: Any) -> Any:
            if self.inside == 0:
                tensors = [a for a in args if isinstance(a, self.torch.Tensor)]
                self.add(rule(*args, **options), tensors)
            return inner(*args, **options)

        setattr(place, name, counted)
        return lambda: setattr(place, name, inner)


@contextlib.contextmanager
def counting(torch: Any) -> Iterator[Counter]:
    """Counts the block's products: modules by hooks, `torch.matmul`, `torch.bmm` and attention by name. Models that are
    measured call these functions and not the operator `@`, which cannot be watched on every engine.
    """
    counter = Counter(torch)
    hooks, mha = torch.nn.modules.module, getattr(torch.backends, "mha", None)
    handles = [
        hooks.register_module_forward_pre_hook(counter.enter),
        hooks.register_module_forward_hook(counter.leave),
    ]

    def sdpa(q: Any, k: Any, v: Any, *args: Any, is_causal: bool = False, **_: Any) -> float:
        return attention(q, k, v, is_causal)

    undo = [
        counter.wrap(torch, "matmul", product),
        counter.wrap(torch, "bmm", product),
        counter.wrap(torch.nn.functional, "scaled_dot_product_attention", sdpa),
    ]
    fast = mha is not None and mha.get_fastpath_enabled()  # it calls no modules, so it would not be seen
    if fast:
        mha.set_fastpath_enabled(False)
    try:
        yield counter
    finally:
        if fast:
            mha.set_fastpath_enabled(True)
        for handle in handles:
            handle.remove()
        for end in undo:
            end()
