"""ResNet-20 on CIFAR-10: the accuracy of published weights, or training from nothing.

python examples/resnet20_cifar10.py --evaluate DIR/resnet_cifar10/resnet20.safetensors --data DIR
python examples/resnet20_cifar10.py --data DIR --epochs 20
"""

from __future__ import annotations

from pathlib import Path

import common
import rustnn as torch
import rustnn.nn.functional as F
from rustnn import nn, optim
from rustnn.utils.data import DataLoader, Subset
from rustnn.vision import datasets, transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut without parameters (every second pixel, zeros for new channels)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.stride, self.new = stride, after - before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride != 1 or self.new:
            half = self.new // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.new - half))
        return F.relu(out + x)


class ResNet(nn.Module):
    """Three stages of `depth` blocks with 16, 32 and 64 channels: 6·depth + 2 layers."""

    def __init__(self, depth: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self.stage(16, 16, depth, 1)
        self.layer2 = self.stage(16, 32, depth, 2)
        self.layer3 = self.stage(32, 64, depth, 2)
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def stage(before: int, after: int, depth: int, stride: int) -> nn.Sequential:
        first = Block(before, after, stride)
        return nn.Sequential(first, *(Block(after, after, 1) for _ in range(depth - 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.avg_pool2d(x, x.shape[3]).flatten(1))


def main() -> None:
    parser = common.arguments(__doc__, epochs=20, batch_size=128, lr=0.1)
    parser.add_argument(
        "--evaluate", metavar="FILE", help="only measure these weights (safetensors) on the test set"
    )
    parser.add_argument("--images", type=int, default=0, help="train on only this many images")
    args = parser.parse_args()
    out = Path(args.out)
    torch.manual_seed(args.seed)
    normalise = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    testset = datasets.CIFAR10(
        root=args.data, train=False, download=True, transform=transforms.Compose(normalise)
    )
    print(f"data: {common.said(testset, args.data)}")
    test_loader = DataLoader(testset, batch_size=250)

    net = ResNet()
    if args.evaluate:
        common.load_weights(net, Path(args.evaluate))
        print(f"test accuracy: {common.accuracy(net, common.progress(test_loader, 'test')):.2f} %")
        return

    augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    trainset = datasets.CIFAR10(
        root=args.data, train=True, download=True, transform=transforms.Compose(augment + normalise)
    )
    if args.images:
        trainset = Subset(trainset, range(args.images))
    train_loader = DataLoader(trainset, batch_size=args.batch_size, shuffle=True)
    optimizer = optim.SGD(net.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-4)
    marks = [args.epochs // 2, 3 * args.epochs // 4]
    scheduler = optim.lr_scheduler.MultiStepLR(optimizer, milestones=marks)
    first, history = common.start(args, {"loss": [], "test": []}, net, optimizer, scheduler)
    for epoch in range(first, args.epochs):
        total = 0.0
        for images, labels in common.progress(train_loader, f"epoch {epoch + 1}/{args.epochs}"):
            loss = F.cross_entropy(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        scheduler.step()
        history["loss"].append(total / len(train_loader))
        history["test"].append(common.accuracy(net, test_loader))
        print(
            f"epoch {epoch + 1}  loss {history['loss'][-1]:.4f}  test accuracy {history['test'][-1]:.2f} %",
            flush=True,
        )
        common.save_checkpoint(out / "checkpoint.pt", epoch + 1, history, net, optimizer, scheduler)
    common.save_weights(net, out / "model.safetensors")
    common.curves(history, out / "resnet20.png", ["loss"], ["test"])
    print(f"weights: {out / 'model.safetensors'}\nfigure: {out / 'resnet20.png'}")
    print(f"test accuracy: {common.accuracy(net, test_loader):.2f} %")


if __name__ == "__main__":
    main()
