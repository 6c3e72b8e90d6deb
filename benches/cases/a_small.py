"""Small ops: what a call costs beyond its arithmetic."""

from __future__ import annotations

from typing import Any

from . import Call, case


@case("small ops")
def add(torch: Any) -> Call:
    a, b = torch.randn(4), torch.randn(4)
    return lambda: a + b


@case("small ops")
def add_with_grad(torch: Any) -> Call:
    a, b = torch.randn(4, requires_grad=True), torch.randn(4)
    return lambda: a + b


@case("small ops")
def index(torch: Any) -> Call:
    x = torch.randn(4, 4)
    return lambda: x[1]


@case("small ops")
def view(torch: Any) -> Call:
    x = torch.randn(4, 4)
    return lambda: x.view(2, 8)


@case("small ops")
def zeros(torch: Any) -> Call:
    return lambda: torch.zeros(4)


@case("small ops")
def sum_item(torch: Any) -> Call:
    x = torch.randn(4)
    return lambda: x.sum().item()


@case("small ops")
def linear_4_4(torch: Any) -> Call:
    layer, x = torch.nn.Linear(4, 4), torch.randn(1, 4)
    return lambda: layer(x)


@case("small ops")
def add_sum_backward(torch: Any) -> Call:
    a, b = torch.randn(4, requires_grad=True), torch.randn(4)

    def step() -> None:
        a.grad = None
        (a + b).sum().backward()

    return step


@case("small ops")
def adam_six_tiny(torch: Any) -> Call:
    params = [torch.nn.Parameter(torch.randn(4, 4)) for _ in range(6)]
    for p in params:
        p.grad = torch.randn(4, 4)
    optimizer = torch.optim.Adam(params, lr=1e-3)
    return lambda: optimizer.step()
