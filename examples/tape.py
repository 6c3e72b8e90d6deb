"""The documents' tape loop in PyTorch's spelling, mended: w is a (10, 1) parameter that requires a gradient.

python examples/tape.py --epochs 1000
"""

from __future__ import annotations

import argparse

import numpy as np
import rustnn as torch
from rustnn import nn, optim


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    x = torch.rand(100, 10, dtype=torch.float64)
    y = torch.rand(100, 1, dtype=torch.float64)
    w = torch.rand(10, 1, dtype=torch.float64, requires_grad=True)
    loss_fn = nn.MSELoss()
    optimizer = optim.SGD([w], lr=args.lr)
    for step in range(args.epochs):
        loss = loss_fn(x @ w, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % max(1, args.epochs // 10) == 0:
            print(f"Epoch {step + 1}, Loss: {loss.item():.6f}")
    best, *_ = np.linalg.lstsq(x.numpy(), y.numpy(), rcond=None)
    floor = float(np.mean((x.numpy() @ best - y.numpy()) ** 2))
    print(f"Final weights: {w.detach().flatten()}")
    print(f"loss {loss.item():.6f}, least squares {floor:.6f}")


if __name__ == "__main__":
    main()
