"""The documents' convolutional network on MNIST: trains, validates, tests, and draws what it gets wrong.

    python examples/mnist.py --data DIR --epochs 10
    python examples/mnist.py --epochs 12 --resume      # two epochs more, as if it had never stopped

Leaves `model.safetensors`, `checkpoint.pt` and `mnist.png` in --out.
"""

from __future__ import annotations

from pathlib import Path

import common
import rustnn as torch
import rustnn.nn.functional as F
from rustnn import nn, optim
from rustnn.utils.data import DataLoader, Subset, random_split
from rustnn.vision import datasets, transforms


class Net(nn.Module):
    """One convolution, one pooling, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.pool = nn.MaxPool2d(kernel_size=2, stride=2)
        self.fc1 = nn.Linear(10 * 12 * 12, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = x.view(-1, 10 * 12 * 12)
        x = F.relu(self.fc1(x))
        return self.fc2(x)


def draw(history: dict[str, list[float]], wrong: list[tuple[torch.Tensor, int, int]], path: Path) -> None:
    """Curves of loss and accuracy above the misclassified digits (true label, and what the network says)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows, columns = 3, 10
    figure = plt.figure(figsize=(10, 7))
    grid = figure.add_gridspec(2 + rows, columns)
    loss, right = figure.add_subplot(grid[:2, :5]), figure.add_subplot(grid[:2, 5:])
    epochs = range(1, len(history["loss"]) + 1)
    loss.plot(epochs, history["loss"], marker="o", label="training loss")
    right.plot(epochs, history["validation"], marker="o", color="tab:green", label="validation accuracy, %")
    for axis in (loss, right):
        axis.set_xlabel("epoch")
        axis.legend()
        axis.grid(alpha=0.3)
    for place, (image, label, said) in enumerate(wrong[: rows * columns]):
        axis = figure.add_subplot(grid[2 + place // columns, place % columns])
        axis.imshow(image.squeeze(0).numpy(), cmap="gray_r")
        axis.set_title(f"{label} → {said}", fontsize=8)
        axis.axis("off")
    common.save_figure(figure, path)


def main() -> None:
    parser = common.arguments(__doc__, epochs=10, batch_size=100, lr=0.01)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--images", type=int, default=0, help="train on only this many images")
    args = parser.parse_args()
    out = Path(args.out)
    torch.manual_seed(args.seed)

    to_tensor = transforms.ToTensor()
    trainset = datasets.MNIST(root=args.data, train=True, download=True, transform=to_tensor)
    testset = datasets.MNIST(root=args.data, train=False, download=True, transform=to_tensor)
    print(
        f"data: {len(trainset)} training and {len(testset)} test images from {common.said(trainset, args.data)}"
    )
    if args.images:
        trainset = Subset(trainset, range(args.images))
    train_size = int(0.8 * len(trainset))
    training, validation = random_split(trainset, [train_size, len(trainset) - train_size])
    train_loader = DataLoader(training, batch_size=args.batch_size, shuffle=True)
    val_loader = DataLoader(validation, batch_size=500)
    test_loader = DataLoader(testset, batch_size=500)

    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=args.lr, momentum=args.momentum)
    first, history = common.start(args, {"loss": [], "validation": []}, net, optimizer)

    for epoch in range(first, args.epochs):
        total = 0.0
        for images, labels in common.progress(train_loader, f"epoch {epoch + 1}/{args.epochs}"):
            optimizer.zero_grad()
            loss = criterion(net(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        history["loss"].append(total / len(train_loader))
        history["validation"].append(common.accuracy(net, val_loader))
        print(
            f"epoch {epoch + 1:2d}  loss {history['loss'][-1]:.4f}  "
            f"validation accuracy {history['validation'][-1]:.2f} %",
            flush=True,
        )
        common.save_checkpoint(out / "checkpoint.pt", epoch + 1, history, net, optimizer)

    common.save_weights(net, out / "model.safetensors")
    wrong, right = [], 0
    net.eval()
    with torch.no_grad():
        for images, labels in test_loader:
            predicted = net(images).argmax(1)
            for i in (predicted != labels).nonzero().flatten().tolist():
                wrong.append((images[i], labels[i].item(), predicted[i].item()))
            right += (predicted == labels).sum().item()
    draw(history, wrong, out / "mnist.png")
    print(f"weights: {out / 'model.safetensors'}\nfigure: {out / 'mnist.png'}")
    print(f"test accuracy: {100 * right / len(testset):.2f} %")


if __name__ == "__main__":
    main()
