"""Linear regression by gradient descent, beside the closed form it has to reach.

python examples/linear_regression.py --epochs 200
"""

from __future__ import annotations

from pathlib import Path

import common
import numpy as np
import rustnn as torch
from rustnn import nn, optim
from rustnn.utils.data import DataLoader, TensorDataset


def main() -> None:
    parser = common.arguments(__doc__, epochs=100, batch_size=50, lr=0.05)
    parser.add_argument("--features", type=int, default=5)
    args = parser.parse_args()
    out = Path(args.out)
    torch.manual_seed(args.seed)
    x = torch.randn(500, args.features)
    true_weight = torch.randn(args.features, 1)
    y = x @ true_weight + 0.7 + 0.1 * torch.randn(500, 1)
    loader = DataLoader(TensorDataset(x, y), batch_size=args.batch_size, shuffle=True)

    model = nn.Linear(args.features, 1)
    optimizer = optim.SGD(model.parameters(), lr=args.lr)
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, 0.97)
    first, history = common.start(args, {"loss": []}, model, optimizer, scheduler)
    for epoch in common.progress(range(first, args.epochs), "epochs"):
        for inputs, targets in loader:
            loss = nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
        with torch.no_grad():
            history["loss"].append(nn.functional.mse_loss(model(x), y).item())
        common.save_checkpoint(out / "checkpoint.pt", epoch + 1, history, model, optimizer, scheduler)

    # Closed form: the least-squares solution with a column of ones for the bias.
    augmented = np.hstack([x.numpy(), np.ones((len(x), 1))]).astype(np.float64)
    solution, *_ = np.linalg.lstsq(augmented, y.double().numpy(), rcond=None)
    residual = float(((augmented @ solution - y.double().numpy()) ** 2).mean())
    found = torch.cat([model.weight.detach().flatten(), model.bias.detach()])
    distance = float(np.abs(found.double().numpy() - solution.ravel()).max())
    common.curves(history, out / "linear_regression.png", ["loss"], [])
    common.save_weights(model, out / "model.safetensors")
    print(f"weights: {out / 'model.safetensors'}\nfigure: {out / 'linear_regression.png'}")
    print(
        f"loss {history['loss'][-1]:.6f}, least squares {residual:.6f}, largest difference of weights {distance:.1e}"
    )


if __name__ == "__main__":
    main()
