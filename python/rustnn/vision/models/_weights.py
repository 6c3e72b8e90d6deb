"""What to say of weights that are not there."""

from __future__ import annotations

from typing import Any


def refuse_weights(name: str, weights: Any, pretrained: Any) -> None:
    """Trained weights do not come with the package.

    Raises:
        NotImplementedError: they are asked for.
    """
    if weights or pretrained:
        raise NotImplementedError(
            f"{name}: trained weights are not part of rustnn. Make the model without them and load a file of "
            "torchvision's: model.load_state_dict(rustnn.load(path))"
        )
