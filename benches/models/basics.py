"""Small networks: perceptrons, the MNIST network, word vectors."""

from __future__ import annotations

from typing import Any


def mlp(torch: Any, *widths: int) -> Any:
    """Linear layers with ReLU between them."""
    nn = torch.nn
    layers: list[Any] = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def mnist_cnn(torch: Any) -> Any:
    """One convolution, one pooling, two linear layers."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 10, 5),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Flatten(),
        nn.Linear(1440, 50),
        nn.ReLU(),
        nn.Linear(50, 10),
    )


def word2vec(torch: Any, words: int, width: int) -> Any:
    """Skip-gram with negative sampling: a centre, its neighbour, and words that are none."""
    nn, functional = torch.nn, torch.nn.functional

    class SkipGram(nn.Module):  # type: ignore[misc]
        """Two tables of vectors; the output is the loss."""

        def __init__(self) -> None:
            super().__init__()
            self.centres, self.contexts = nn.Embedding(words, width), nn.Embedding(words, width)
            nn.init.uniform_(self.centres.weight, -0.5 / width, 0.5 / width)
            nn.init.uniform_(self.contexts.weight, -0.5 / width, 0.5 / width)

        def forward(self, centre: Any, context: Any, others: Any) -> Any:
            v = self.centres(centre)
            near = (v * self.contexts(context)).sum(-1)
            far = torch.bmm(self.contexts(others), v.unsqueeze(2)).squeeze(2)
            return -(functional.logsigmoid(near) + functional.logsigmoid(-far).sum(-1)).mean()

    return SkipGram()
