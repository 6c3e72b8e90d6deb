"""Training steps of whole networks: zero the gradients, forward, loss, backward, optimizer."""

from __future__ import annotations

from typing import Any

from . import Call, case


def training_step(torch: Any, model: Any, optimizer: Any, x: Any, y: Any) -> Call:
    """One step of classification with cross-entropy; the scores' last dimension is the classes."""

    def step() -> None:
        optimizer.zero_grad()
        scores = model(x)
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, -2), y.flatten())
        loss.backward()
        optimizer.step()

    return step


@case("training steps", name="MNIST CNN, batch 100")
def mnist_cnn(torch: Any) -> Call:
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 10, 5),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Flatten(),
        nn.Linear(1440, 50),
        nn.ReLU(),
        nn.Linear(50, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return training_step(torch, model, optimizer, torch.randn(100, 1, 28, 28), torch.randint(0, 10, (100,)))


@case("training steps", name="MLP 784-512-256-10, batch 128")
def mlp(torch: Any) -> Call:
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return training_step(torch, model, optimizer, torch.randn(128, 784), torch.randint(0, 10, (128,)))


@case("training steps", name="LSTM 128-256, batch 20, 35 steps")
def lstm(torch: Any) -> Call:
    nn = torch.nn

    class Model(nn.Module):  # type: ignore[misc]
        """A character language model."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(65, 128)
            self.lstm = nn.LSTM(128, 256, batch_first=True)
            self.head = nn.Linear(256, 65)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(self.embedding(x))[0])

    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x = torch.randint(0, 65, (20, 36))
    return training_step(torch, model, optimizer, x[:, :-1], x[:, 1:])


@case("training steps", name="small GPT, 4x128, batch 8, context 128")
def gpt(torch: Any) -> Call:
    nn, functional = torch.nn, torch.nn.functional
    width, heads, layers, context, words = 128, 4, 4, 128, 65

    class Block(nn.Module):  # type: ignore[misc]
        """Attention and a two-layer network, each on a normalised input and added."""

        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            b, t, c = x.shape
            q, k, v = self.qkv(self.norm1(x)).split(c, dim=2)
            q, k, v = (z.view(b, t, heads, c // heads).transpose(1, 2) for z in (q, k, v))
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).contiguous().view(b, t, c))
            return x + self.narrow(functional.gelu(self.wide(self.norm2(x))))

    class GPT(nn.Module):  # type: ignore[misc]
        """A character-level language model."""

        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(words, width), nn.Embedding(context, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)

        def forward(self, x: Any) -> Any:
            x = self.tokens(x) + self.places(torch.arange(x.shape[1]))
            return self.head(self.norm(self.blocks(x)))

    torch.manual_seed(0)
    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x = torch.randint(0, words, (8, context + 1))
    return training_step(torch, model, optimizer, x[:, :-1], x[:, 1:])


@case("training steps", name="ResNet-20 on 32x32, batch 32")
def resnet20(torch: Any) -> Call:
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

    torch.manual_seed(0)
    layers: list[Any] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for i, o in [(16, 16)] * 3 + [(16, 32), (32, 32), (32, 32), (32, 64), (64, 64), (64, 64)]:
        layers.append(Block(i, o, 1 if i == o else 2))
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    return training_step(torch, model, optimizer, torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,)))
