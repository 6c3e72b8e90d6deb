"""Networks that guess what someone clicks."""

from __future__ import annotations

from typing import Any


def deep_fm(torch: Any, fields: int = 26, values: int = 1000, numbers: int = 13, width: int = 16) -> Any:
    """A factorisation machine and a perceptron over one table of embeddings."""
    nn = torch.nn

    class DeepFM(nn.Module):  # type: ignore[misc]
        """Takes a number for each field and the numeric features; gives the logit of a click."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("starts", torch.arange(fields) * values)
            self.vectors, self.weights = nn.Embedding(fields * values, width), nn.Embedding(fields * values, 1)
            self.numeric = nn.Linear(numbers, 1)
            widths = [fields * width + numbers, 400, 400]
            layers: list[Any] = []
            for inputs, outputs in zip(widths, widths[1:], strict=False):
                layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(0.2)]
            self.deep = nn.Sequential(*layers, nn.Linear(400, 1))
            nn.init.normal_(self.vectors.weight, 0.0, 0.01)

        def forward(self, kinds: Any, numeric: Any) -> Any:
            kinds = kinds + self.starts
            v = self.vectors(kinds)
            pairs = 0.5 * (v.sum(1).pow(2) - v.pow(2).sum(1)).sum(1)
            first = self.weights(kinds).sum((1, 2)) + self.numeric(numeric).squeeze(1)
            return first + pairs + self.deep(torch.cat([v.flatten(1), numeric], 1)).squeeze(1)

    return DeepFM()
