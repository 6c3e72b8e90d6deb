"""Softmax as the documents write it: the maximum subtracted first, so that large inputs do no harm.

python examples/softmax.py
"""

from __future__ import annotations

import rustnn as torch
import rustnn.nn.functional as F


def softmax(x: torch.Tensor) -> torch.Tensor:
    """exp(x - max) / sum(exp(x - max)) over the last dimension."""
    exp_x = torch.exp(x - x.max(dim=-1, keepdim=True).values)
    return exp_x / exp_x.sum(dim=-1, keepdim=True)


def main() -> None:
    for values in ([1.0, 2.0, 3.0], [1000.0, 1001.0, 1002.0], [-1e30, 0.0, 1e30]):
        x = torch.tensor(values)
        own, builtin = softmax(x), F.softmax(x, dim=-1)
        torch.testing.assert_close(own, builtin)
        print(f"{values} -> {own.tolist()}, sum {own.sum().item():.6f}")


if __name__ == "__main__":
    main()
