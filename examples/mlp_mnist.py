"""A multilayer perceptron (784-128-10) on MNIST.

python examples/mlp_mnist.py --data DIR --epochs 5
"""

from __future__ import annotations

from pathlib import Path

import common
import rustnn as torch
from rustnn import nn, optim
from rustnn.utils.data import DataLoader, Subset, random_split
from rustnn.vision import datasets, transforms


def main() -> None:
    parser = common.arguments(__doc__, epochs=5, batch_size=64, lr=1e-3)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--images", type=int, default=0, help="train on only this many images")
    args = parser.parse_args()
    out = Path(args.out)
    torch.manual_seed(args.seed)
    prepare = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    trainset = datasets.MNIST(root=args.data, train=True, download=True, transform=prepare)
    testset = datasets.MNIST(root=args.data, train=False, download=True, transform=prepare)
    print(
        f"data: {len(trainset)} training and {len(testset)} test images from {common.said(trainset, args.data)}"
    )
    if args.images:
        trainset = Subset(trainset, range(args.images))
    size = int(0.8 * len(trainset))
    training, validation = random_split(trainset, [size, len(trainset) - size])
    train_loader = DataLoader(training, batch_size=args.batch_size, shuffle=True)

    net = nn.Sequential(nn.Flatten(), nn.Linear(784, args.hidden), nn.ReLU(), nn.Linear(args.hidden, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(net.parameters(), lr=args.lr)
    first, history = common.start(args, {"loss": [], "validation": []}, net, optimizer)
    for epoch in range(first, args.epochs):
        total = 0.0
        for images, labels in common.progress(train_loader, f"epoch {epoch + 1}/{args.epochs}"):
            loss = criterion(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        history["loss"].append(total / len(train_loader))
        history["validation"].append(common.accuracy(net, DataLoader(validation, batch_size=1000)))
        print(
            f"epoch {epoch + 1}  loss {history['loss'][-1]:.4f}  validation accuracy "
            f"{history['validation'][-1]:.2f} %",
            flush=True,
        )
        common.save_checkpoint(out / "checkpoint.pt", epoch + 1, history, net, optimizer)
    common.save_weights(net, out / "model.safetensors")
    common.curves(history, out / "mlp_mnist.png", ["loss"], ["validation"])
    print(f"weights: {out / 'model.safetensors'}\nfigure: {out / 'mlp_mnist.png'}")
    print(f"test accuracy: {common.accuracy(net, DataLoader(testset, batch_size=1000)):.2f} %")


if __name__ == "__main__":
    main()
