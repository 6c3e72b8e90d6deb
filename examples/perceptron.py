"""Rosenblatt's perceptron on separable data: it stops making mistakes.

python examples/perceptron.py --epochs 50
"""

from __future__ import annotations

from pathlib import Path

import common
import rustnn as torch


class Perceptron:
    """y = sign(w·x + b); a mistake moves w by the example."""

    def __init__(self, features: int) -> None:
        self.weight = torch.zeros(features)
        self.bias = torch.zeros(())

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"weight": self.weight, "bias": self.bias}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.weight, self.bias = state["weight"], state["bias"]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x @ self.weight + self.bias > 0, 1.0, -1.0)


def main() -> None:
    args = common.arguments(__doc__, epochs=50, batch_size=1, lr=1.0).parse_args()
    out = Path(args.out)
    torch.manual_seed(args.seed)
    x = torch.randn(200, 2)
    margin = x @ torch.tensor([2.0, -1.0]) + 0.5
    keep = margin.abs() > 0.3
    x, y = x[keep], torch.sign(margin[keep])

    model = Perceptron(2)
    first, history = common.start(args, {"mistakes": []}, model)
    for epoch in common.progress(range(first, args.epochs), "epochs"):
        mistakes = 0
        for i in torch.randperm(len(x)).tolist():
            if model(x[i]).item() != y[i].item():
                model.weight += args.lr * y[i] * x[i]
                model.bias += args.lr * y[i]
                mistakes += 1
        history["mistakes"].append(mistakes)
        common.save_checkpoint(out / "checkpoint.pt", epoch + 1, history, model)
        if mistakes == 0:
            break
    common.save_weights(model, out / "model.safetensors")
    draw(model, x, y, history, out / "perceptron.png")
    right = 100 * (model(x) == y).float().mean().item()
    print(f"weights: {out / 'model.safetensors'}\nfigure: {out / 'perceptron.png'}")
    print(
        f"epochs {len(history['mistakes'])}, mistakes in the last {history['mistakes'][-1]}, accuracy {right:.2f} %"
    )


def draw(
    model: Perceptron, x: torch.Tensor, y: torch.Tensor, history: dict[str, list[int]], path: Path
) -> None:
    """The points, the line found, and the mistakes of each epoch."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for sign, marker in ((1.0, "o"), (-1.0, "x")):
        points = x[y == sign]
        left.scatter(points[:, 0].numpy(), points[:, 1].numpy(), marker=marker, s=15)
    (a, b), c = model.weight.tolist(), model.bias.item()
    ends = torch.tensor([-3.0, 3.0])
    left.plot(ends.numpy(), (-(a * ends + c) / b).numpy(), color="black")
    left.set_xlim(-3, 3)
    left.set_ylim(-3, 3)
    right.plot(history["mistakes"], marker="o")
    right.set_xlabel("epoch")
    right.set_ylabel("mistakes")
    common.save_figure(figure, path)


if __name__ == "__main__":
    main()
