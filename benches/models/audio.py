"""Networks that hear and speak."""

from __future__ import annotations

from typing import Any


def deep_speech(torch: Any, bands: int = 161, hidden: int = 256, layers: int = 3, letters: int = 29) -> Any:
    """Two convolutions over a spectrogram, bidirectional GRUs, scores of letters for each frame."""
    nn = torch.nn

    class DeepSpeech(nn.Module):  # type: ignore[misc]
        """Takes spectrograms (batch, 1, bands, frames); gives log-probabilities (frames / 2, batch, letters)."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(
                nn.Conv2d(1, 32, (41, 11), (2, 2), (20, 5), bias=False),
                nn.BatchNorm2d(32),
                nn.Hardtanh(0, 20),
                nn.Conv2d(32, 32, (21, 11), (2, 1), (10, 5), bias=False),
                nn.BatchNorm2d(32),
                nn.Hardtanh(0, 20),
            )
            self.recurrent = nn.GRU(32 * -(-bands // 4), hidden, layers, bidirectional=True)
            self.head = nn.Linear(2 * hidden, letters)

        def forward(self, x: Any) -> Any:
            x = self.conv(x)
            x = x.flatten(1, 2).permute(2, 0, 1)
            return torch.log_softmax(self.head(self.recurrent(x)[0]), -1)

    return DeepSpeech()


def wavenet(torch: Any, width: int = 32, skip: int = 128, stacks: int = 2, depth: int = 9, levels: int = 256) -> Any:
    """Gated convolutions over samples, the distance of their two points doubling from layer to layer."""
    nn, functional = torch.nn, torch.nn.functional

    class Layer(nn.Module):  # type: ignore[misc]
        """One gated convolution that sees the past only."""

        def __init__(self, dilation: int) -> None:
            super().__init__()
            self.dilation = dilation
            self.both = nn.Conv1d(width, 2 * width, 2, dilation=dilation)
            self.next, self.skip = nn.Conv1d(width, width, 1), nn.Conv1d(width, skip, 1)

        def forward(self, x: Any) -> Any:
            value, gate = self.both(functional.pad(x, (self.dilation, 0))).chunk(2, 1)
            y = torch.tanh(value) * torch.sigmoid(gate)
            return x + self.next(y), self.skip(y)

    class WaveNet(nn.Module):  # type: ignore[misc]
        """Takes numbers of levels (batch, samples); gives scores of the next (batch, levels, samples)."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(levels, width)
            self.layers = nn.ModuleList([Layer(2**i) for _ in range(stacks) for i in range(depth)])
            self.head = nn.Sequential(nn.ReLU(), nn.Conv1d(skip, skip, 1), nn.ReLU(), nn.Conv1d(skip, levels, 1))

        def forward(self, x: Any) -> Any:
            x = self.embedding(x).transpose(1, 2)
            total = 0
            for layer in self.layers:
                x, seen = layer(x)
                total = total + seen
            return self.head(total)

    return WaveNet()
