"""Kernels: products, convolutions, pointwise ops, reductions, with the work that each must do."""

from __future__ import annotations

from typing import Any

from . import Call, case

F32 = 4


def product(m: int, n: int, k: int) -> None:
    """A case for one shape of matrix product."""

    @case("kernels", name=f"matmul {m}x{k}x{n}", flops=2 * m * n * k, bytes=F32 * (m * k + k * n + m * n))
    def run(torch: Any) -> Call:
        a, b = torch.randn(m, k), torch.randn(k, n)
        return lambda: a @ b


for side in (128, 512, 1024, 2048):
    product(side, side, side)
for rows in (1, 32):
    product(rows, 3072, 768)


@case("kernels", name="add 1 Mi", bytes=3 * F32 * 2**20)
def add_mi(torch: Any) -> Call:
    a, b = torch.randn(2**20), torch.randn(2**20)
    return lambda: a + b


@case("kernels", name="add 16 Mi", bytes=3 * F32 * 2**24)
def add_16_mi(torch: Any) -> Call:
    a, b = torch.randn(2**24), torch.randn(2**24)
    return lambda: a + b


@case("kernels", name="exp 1 Mi", bytes=2 * F32 * 2**20)
def exp_mi(torch: Any) -> Call:
    x = torch.randn(2**20)
    return lambda: torch.exp(x)


@case("kernels", name="tanh 1 Mi", bytes=2 * F32 * 2**20)
def tanh_mi(torch: Any) -> Call:
    x = torch.randn(2**20)
    return lambda: torch.tanh(x)


@case("kernels", name="gelu 1 Mi", bytes=2 * F32 * 2**20)
def gelu_mi(torch: Any) -> Call:
    x = torch.randn(2**20)
    return lambda: torch.nn.functional.gelu(x)


@case("kernels", name="sum 4 Mi", bytes=F32 * 2**22)
def sum_mi(torch: Any) -> Call:
    x = torch.randn(2**22)
    return lambda: x.sum()


@case("kernels", name="sum over rows 2048x2048", bytes=F32 * 2**22)
def sum_rows(torch: Any) -> Call:
    x = torch.randn(2048, 2048)
    return lambda: x.sum(0)


@case("kernels", name="softmax 1024x1024", bytes=2 * F32 * 2**20)
def softmax(torch: Any) -> Call:
    x = torch.randn(1024, 1024)
    return lambda: torch.softmax(x, -1)


@case("kernels", name="layer norm 1024x1024", bytes=2 * F32 * 2**20)
def layer_norm(torch: Any) -> Call:
    x, layer = torch.randn(1024, 1024), torch.nn.LayerNorm(1024)
    return lambda: layer(x)


@case("kernels", name="transpose copy 2048x2048", bytes=2 * F32 * 2**22)
def transpose(torch: Any) -> Call:
    x = torch.randn(2048, 2048)
    return lambda: x.t().contiguous()


@case("kernels", name="dropout 1 Mi")
def dropout(torch: Any) -> Call:
    x = torch.randn(2**20)
    return lambda: torch.nn.functional.dropout(x, 0.1, True)


@case("kernels", name="randn 1 Mi")
def randn(torch: Any) -> Call:
    return lambda: torch.randn(2**20)


@case("kernels", name="conv 3x3 64-64 56x56, batch 4", flops=2 * 9 * 64 * 64 * 56 * 56 * 4)
def conv_3(torch: Any) -> Call:
    layer, x = torch.nn.Conv2d(64, 64, 3, padding=1, bias=False), torch.randn(4, 64, 56, 56)
    return lambda: layer(x)


@case("kernels", name="conv 1x1 256-64 56x56, batch 4", flops=2 * 256 * 64 * 56 * 56 * 4)
def conv_1(torch: Any) -> Call:
    layer, x = torch.nn.Conv2d(256, 64, 1, bias=False), torch.randn(4, 256, 56, 56)
    return lambda: layer(x)


@case("kernels", name="attention 2x8x256x64, causal")
def attention(torch: Any) -> Call:
    q, k, v = (torch.randn(2, 8, 256, 64) for _ in range(3))
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
