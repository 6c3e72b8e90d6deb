"""The documents' gradient descent on y = 2x, once with NumPy as printed, once with tensors and autograd.

python examples/gradient_descent_numpy.py --epochs 1000
"""

from __future__ import annotations

import argparse

import numpy as np
import rustnn as torch


def by_hand(epochs: int, learning_rate: float, seed: int) -> tuple[float, float]:
    """The text's own program: gradients written out."""
    rng = np.random.default_rng(seed)
    w, b = rng.random((1, 1)), rng.random((1, 1))
    x, y = np.array([[1], [2], [3], [4]]), np.array([[2], [4], [6], [8]])
    for _ in range(epochs):
        y_pred = np.dot(x, w) + b
        grad_w = np.dot(x.T, (y_pred - y))
        grad_b = np.sum(y_pred - y)
        w = w - learning_rate * grad_w
        b = b - learning_rate * grad_b
    return float(w[0, 0]), float(b[0, 0])


def by_autograd(epochs: int, learning_rate: float, seed: int) -> tuple[float, float]:
    """The same steps, gradients by backward: half the squared error has the gradients above."""
    rng = np.random.default_rng(seed)
    w = torch.from_numpy(rng.random((1, 1))).requires_grad_()
    b = torch.from_numpy(rng.random((1, 1))).requires_grad_()
    x = torch.tensor([[1.0], [2.0], [3.0], [4.0]], dtype=torch.float64)
    y = 2 * x
    for _ in range(epochs):
        loss = 0.5 * ((x @ w + b - y) ** 2).sum()
        loss.backward()
        with torch.no_grad():
            for parameter in (w, b):
                parameter -= learning_rate * parameter.grad
                parameter.grad = None
    return w.item(), b.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    hand, auto = by_hand(args.epochs, args.lr, args.seed), by_autograd(args.epochs, args.lr, args.seed)
    print(f"NumPy:    w = {hand[0]:.6f}, b = {hand[1]:.6f}")
    print(f"autograd: w = {auto[0]:.6f}, b = {auto[1]:.6f}")
    assert abs(hand[0] - auto[0]) < 1e-9, "both take the same steps"


if __name__ == "__main__":
    main()
