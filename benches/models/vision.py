"""Convolutional networks: they tell classes, find boxes, cut out regions, draw."""

from __future__ import annotations

from typing import Any


def conv_bn(torch: Any, inputs: int, outputs: int, size: int, act: Any = None, **options: Any) -> list[Any]:
    """Convolution that keeps the side (divided by its stride), batch norm, activation (ReLU)."""
    nn = torch.nn
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False, **options)
    return [conv, nn.BatchNorm2d(outputs), act or nn.ReLU(inplace=True)]


def vgg16(torch: Any, classes: int = 10) -> Any:
    """VGG-16 with batch norm for images of 32x32."""
    nn = torch.nn
    layers: list[Any] = []
    inputs = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += conv_bn(torch, inputs, width, 3)
            inputs = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, classes))


def resnet20(torch: Any) -> Any:
    """ResNet-20 for images of 32x32, with shortcuts that pad."""
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):  # type: ignore[misc]
        """Two 3x3 convolutions around which the input goes."""

        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
            self.more = outputs - inputs

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
            if self.more:
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more // 2, self.more // 2))
            return functional.relu(x + y)

    layers: list[Any] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for i, o in [(16, 16)] * 3 + [(16, 32), (32, 32), (32, 32), (32, 64), (64, 64), (64, 64)]:
        layers.append(Block(i, o, 1 if i == o else 2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def resnet50(torch: Any, classes: int = 1000) -> Any:
    """ResNet-50 for images of 224x224."""
    nn = torch.nn

    class Bottleneck(nn.Module):  # type: ignore[misc]
        """1x1, 3x3, 1x1, around which the input goes (through a 1x1 where its shape changes)."""

        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            outputs = 4 * width
            last = conv_bn(torch, width, outputs, 1)[:2]
            first, middle = conv_bn(torch, inputs, width, 1), conv_bn(torch, width, width, 3, stride=stride)
            self.main = nn.Sequential(*first, *middle, *last)
            same = stride == 1 and inputs == outputs
            self.side = None if same else nn.Sequential(*conv_bn(torch, inputs, outputs, 1, stride=stride)[:2])
            self.act = nn.ReLU(inplace=True)

        def forward(self, x: Any) -> Any:
            y = self.main(x)
            return self.act(y + (x if self.side is None else self.side(x)))

    layers = [*conv_bn(torch, 3, 64, 7, stride=2), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, (width, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for i in range(count):
            layers.append(Bottleneck(inputs, width, 2 if stage and i == 0 else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, classes))


def inception(torch: Any, classes: int = 1000) -> Any:
    """The stem of GoogLeNet and its first three blocks."""
    nn = torch.nn

    class Inception(nn.Module):  # type: ignore[misc]
        """Four branches side by side."""

        def __init__(self, inputs: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int) -> None:
            super().__init__()
            self.one = nn.Sequential(*conv_bn(torch, inputs, one, 1))
            self.three = nn.Sequential(*conv_bn(torch, inputs, three[0], 1), *conv_bn(torch, three[0], three[1], 3))
            self.five = nn.Sequential(*conv_bn(torch, inputs, five[0], 1), *conv_bn(torch, five[0], five[1], 5))
            self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), *conv_bn(torch, inputs, pool, 1))

        def forward(self, x: Any) -> Any:
            return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)

    stem = [*conv_bn(torch, 3, 64, 7, stride=2), nn.MaxPool2d(3, 2, 1), *conv_bn(torch, 64, 64, 1)]
    return nn.Sequential(
        *stem,
        *conv_bn(torch, 64, 192, 3),
        nn.MaxPool2d(3, 2, 1),
        Inception(192, 64, (96, 128), (16, 32), 32),
        Inception(256, 128, (128, 192), (32, 96), 64),
        nn.MaxPool2d(3, 2, 1),
        Inception(480, 192, (96, 208), (16, 48), 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(512, classes),
    )


def mobilenet(torch: Any, classes: int = 1000) -> Any:
    """MobileNetV2: inverted residuals around depthwise convolutions."""
    nn = torch.nn

    class Inverted(nn.Module):  # type: ignore[misc]
        """Wider, depthwise, narrower; added to the input where shapes allow."""

        def __init__(self, inputs: int, outputs: int, stride: int, widen: int) -> None:
            super().__init__()
            width = inputs * widen
            layers = conv_bn(torch, inputs, width, 1, nn.ReLU6()) if widen > 1 else []
            layers += conv_bn(torch, width, width, 3, nn.ReLU6(), stride=stride, groups=width)
            self.main = nn.Sequential(*layers, *conv_bn(torch, width, outputs, 1)[:2])
            self.adds = stride == 1 and inputs == outputs

        def forward(self, x: Any) -> Any:
            return x + self.main(x) if self.adds else self.main(x)

    layers: list[Any] = conv_bn(torch, 3, 32, 3, nn.ReLU6(), stride=2)
    inputs = 32
    plan = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for widen, width, count, stride in plan:
        for i in range(count):
            layers.append(Inverted(inputs, width, stride if i == 0 else 1, widen))
            inputs = width
    layers += conv_bn(torch, 320, 1280, 1, nn.ReLU6())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, classes))


def yolo_tiny(torch: Any, anchors: int = 3, classes: int = 80) -> Any:
    """Backbone of a tiny YOLO and a head: boxes, confidence and classes for each cell of a 32 times smaller grid."""
    nn = torch.nn

    def leaky() -> Any:
        return nn.LeakyReLU(0.1)

    layers: list[Any] = []
    inputs = 3
    for width in (16, 32, 64, 128, 256):
        layers += [*conv_bn(torch, inputs, width, 3, leaky()), nn.MaxPool2d(2)]
        inputs = width
    layers += conv_bn(torch, 256, 512, 3, leaky()) + conv_bn(torch, 512, 1024, 3, leaky())
    layers += conv_bn(torch, 1024, 256, 1, leaky()) + conv_bn(torch, 256, 512, 3, leaky())
    return nn.Sequential(*layers, nn.Conv2d(512, anchors * (5 + classes), 1))


def unet(torch: Any, width: int = 32, depth: int = 4, classes: int = 2) -> Any:
    """U-Net: down by pooling, up by transposed convolutions, what was seen on the way down put beside."""
    nn = torch.nn

    class UNet(nn.Module):  # type: ignore[misc]
        """Takes images whose sides are multiples of 2**depth."""

        def __init__(self) -> None:
            super().__init__()
            widths = [width * 2**i for i in range(depth + 1)]
            self.down = nn.ModuleList([self.two(i, o) for i, o in zip([3, *widths], widths, strict=False)])
            steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
            self.up = nn.ModuleList([nn.ConvTranspose2d(i, o, 2, 2) for i, o in steps])
            self.merge = nn.ModuleList([self.two(i, o) for i, o in steps])
            self.pool, self.head = nn.MaxPool2d(2), nn.Conv2d(width, classes, 1)

        def two(self, inputs: int, outputs: int) -> Any:
            return nn.Sequential(*conv_bn(torch, inputs, outputs, 3), *conv_bn(torch, outputs, outputs, 3))

        def forward(self, x: Any) -> Any:
            seen = []
            for i, down in enumerate(self.down):
                x = down(self.pool(x) if i else x)
                seen.append(x)
            for up, merge, beside in zip(self.up, self.merge, seen[-2::-1], strict=True):
                x = merge(torch.cat([beside, up(x)], 1))
            return self.head(x)

    return UNet()


def dcgan(torch: Any, width: int = 64, noise: int = 100) -> tuple[Any, Any]:
    """Generator and discriminator of images of 64x64."""
    nn = torch.nn
    layers: list[Any] = []
    steps = [(noise, 8 * width, 1, 0), *((8 * width // 2**i, 4 * width // 2**i, 2, 1) for i in range(3))]
    for inputs, outputs, stride, padding in steps:
        up = nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False)
        layers += [up, nn.BatchNorm2d(outputs), nn.ReLU(True)]
    generator = nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh())
    layers = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for i in range(3):
        down = nn.Conv2d(width * 2**i, width * 2 ** (i + 1), 4, 2, 1, bias=False)
        layers += [down, nn.BatchNorm2d(width * 2 ** (i + 1)), nn.LeakyReLU(0.2, inplace=True)]
    discriminator = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 0, bias=False), nn.Flatten(0))
    for module in [*generator.modules(), *discriminator.modules()]:
        if "Conv" in type(module).__name__:
            nn.init.normal_(module.weight, 0.0, 0.02)
    return generator, discriminator
