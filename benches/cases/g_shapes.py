"""Kernels at the shapes of the networks: convolutions, attention, normalisation, embeddings, optimizers, products that
are skinny or come in batches. A layer is measured forward, and forward with backward where its name says so.
"""

from __future__ import annotations

from typing import Any

from . import Call, case

F32 = 4


def layer(name: str, build: Any, shape: tuple[int, ...], bytes: float | None = None, backward: bool = True) -> None:
    """Cases for one layer: forward without gradients, and forward with backward."""

    @case("layers", name=name, bytes=bytes)
    def forward(torch: Any) -> Call:
        module, x = build(torch.nn), torch.randn(*shape)

        def call() -> Any:
            with torch.no_grad():
                return module(x)

        return call

    if not backward:
        return

    @case("layers, forward and backward", name=f"{name}, backward", bytes=None if bytes is None else 3 * bytes)
    def both(torch: Any) -> Call:
        module, x = build(torch.nn), torch.randn(*shape, requires_grad=True)
        out = torch.randn(module(x).shape)

        def call() -> None:
            module(x).backward(out)

        return call


def first_result(nn: Any, module: Any) -> Any:
    """A layer without its second result."""

    class First(nn.Module):  # type: ignore[misc]
        """Gives the sequence, not the last state."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: Any) -> Any:
            return self.inner(x)[0]

    return First()


def conv(what: str, inputs: int, outputs: int, size: int, side: int, batch: int = 4, **options: Any) -> None:
    """A two-dimensional convolution without bias that keeps its side."""
    layer(
        f"conv {what} {inputs}-{outputs}, {batch}x{side}x{side}",
        lambda nn: nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False, **options),
        (batch, inputs, side, side),
    )


conv("3x3", 64, 64, 3, 56)
conv("3x3", 128, 128, 3, 28)
conv("3x3", 256, 256, 3, 14)
conv("3x3", 512, 512, 3, 7)
conv("3x3 stride 2", 128, 128, 3, 56, stride=2)
conv("1x1", 256, 64, 1, 56)
conv("1x1", 1024, 256, 1, 14)
conv("7x7 stride 2, stem", 3, 64, 7, 224, stride=2)
conv("5x5", 32, 96, 5, 28)
conv("depthwise 3x3", 96, 96, 3, 112, groups=96)
conv("depthwise 3x3", 384, 384, 3, 14, groups=384)
conv("grouped (32) 3x3", 256, 256, 3, 28, groups=32)

layer("conv 1-d, 2 points, dilation 64, 32-64, 2x4000", lambda nn: nn.Conv1d(32, 64, 2, dilation=64), (2, 32, 4000))
layer("transposed conv 4x4 / 2, 256-128, 4x16x16", lambda nn: nn.ConvTranspose2d(256, 128, 4, 2, 1), (4, 256, 16, 16))
layer("max pool 2x2, 4x64x112x112", lambda nn: nn.MaxPool2d(2), (4, 64, 112, 112), F32 * 4 * 64 * 112 * 112)
layer("batch norm, 4x64x56x56", lambda nn: nn.BatchNorm2d(64), (4, 64, 56, 56), 2 * F32 * 4 * 64 * 56 * 56)
layer("layer norm, 1024x768", lambda nn: nn.LayerNorm(768), (1024, 768), 2 * F32 * 1024 * 768)
layer("group norm 32, 4x256x28x28", lambda nn: nn.GroupNorm(32, 256), (4, 256, 28, 28), 2 * F32 * 4 * 256 * 28 * 28)
layer("LSTM 256-256, 35 steps, batch 20", lambda nn: first_result(nn, nn.LSTM(256, 256)), (35, 20, 256))
layer("GRU 256-256, 35 steps, batch 20", lambda nn: first_result(nn, nn.GRU(256, 256)), (35, 20, 256))


def linear(rows: int, inputs: int, outputs: int) -> None:
    layer(f"linear {inputs}-{outputs}, {rows} rows", lambda nn: nn.Linear(inputs, outputs), (rows, inputs))


linear(1, 768, 3072)
linear(8, 768, 3072)
linear(128, 768, 3072)
linear(2048, 384, 1536)
linear(128, 768, 50257)


def attention(batch: int, heads: int, length: int, width: int, causal: bool, queries: int | None = None) -> None:
    """Attention forward and with its backward; few queries stand for generation."""
    rows = queries or length
    name = f"attention {batch}x{heads}x{rows}" + (f"/{length}" if queries else "") + f"x{width}"
    name += ", causal" if causal else ""

    def tensors(torch: Any, grad: bool) -> list[Any]:
        return [torch.randn(batch, heads, n, width, requires_grad=grad) for n in (rows, length, length)]

    @case("layers", name=name)
    def forward(torch: Any) -> Call:
        q, k, v = tensors(torch, False)
        return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    if queries:
        return

    @case("layers, forward and backward", name=f"{name}, backward")
    def both(torch: Any) -> Call:
        q, k, v = tensors(torch, True)
        out = torch.randn(batch, heads, rows, width)
        return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal).backward(out)


attention(1, 12, 128, 64, False)
attention(8, 6, 256, 64, True)
attention(1, 12, 1024, 64, True)
attention(1, 12, 512, 64, False, queries=1)


def product(name: str, a: tuple[int, ...], b: tuple[int, ...], transposed: bool = False) -> None:
    """A product of two tensors, the second perhaps a transposed view."""

    @case("products", name=name)
    def run(torch: Any) -> Call:
        x, y = torch.randn(*a), torch.randn(*b)
        y = y.transpose(-1, -2) if transposed else y
        return lambda: torch.matmul(x, y)


product("matmul 1x768x50257, transposed", (1, 768), (50257, 768), transposed=True)
product("matmul 16x4096x16", (16, 4096), (4096, 16))
product("matmul 4096x16x4096", (4096, 16), (16, 4096))
product("matmul 4096x16x16", (4096, 16), (16, 16))
product("matmul 512x512x512, transposed", (512, 512), (512, 512), transposed=True)
product("matmul 1000x1000x1000", (1000, 1000), (1000, 1000))
product("matvec 4096x4096", (4096, 4096), (4096,))
product("bmm 64x128x64x128", (64, 128, 64), (64, 64, 128))
product("bmm 512x16x32x16", (512, 16, 32), (512, 32, 16))


@case("tables and optimizers", name="embedding 50257x768, 1024 words", bytes=2 * F32 * 1024 * 768)
def embedding(torch: Any) -> Call:
    table, x = torch.randn(50257, 768), torch.randint(0, 50257, (1024,))
    return lambda: torch.nn.functional.embedding(x, table)


@case("tables and optimizers", name="embedding 10000x256, 1024 words, backward")
def embedding_backward(torch: Any) -> Call:
    module, x, out = torch.nn.Embedding(10000, 256), torch.randint(0, 10000, (1024,)), torch.randn(1024, 256)

    def call() -> None:
        module.zero_grad()
        module(x).backward(out)

    return call


@case("tables and optimizers", name="cross-entropy 1024x10000, backward", bytes=4 * F32 * 1024 * 10000)
def cross_entropy(torch: Any) -> Call:
    x, y = torch.randn(1024, 10000, requires_grad=True), torch.randint(0, 10000, (1024,))

    def call() -> None:
        x.grad = None
        torch.nn.functional.cross_entropy(x, y).backward()

    return call


def optimizer(name: str, moved: int, **options: Any) -> None:
    """A step over the parameters of a small transformer; `moved` tells how often each is read or written."""
    shapes = [(1024, 1024)] * 8 + [(4096, 512)] + [(1024,)] * 16
    numbers = 8 * 2**20 + 2**21 + 2**14

    @case("tables and optimizers", name=f"{name} step, 10 M numbers", bytes=F32 * moved * numbers)
    def run(torch: Any) -> Call:
        params = [torch.nn.Parameter(torch.randn(*shape)) for shape in shapes]
        for p in params:
            p.grad = torch.randn(p.shape)
        chosen = getattr(torch.optim, name)(params, lr=1e-4, **options)
        return lambda: chosen.step()


optimizer("SGD", 5, momentum=0.9)
optimizer("Adam", 7)
optimizer("AdamW", 7)
