"""What to say of weights that are not there."""

from __future__ import annotations

import enum
import functools
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


class WeightsEnum(enum.Enum):
    """Names of trained weights; a model made with one of them raises `NotImplementedError`."""

    @property
    def url(self) -> str:
        """Raises: it is not known here where the files are."""
        raise NotImplementedError(f"{self}: trained weights are not part of rustnn, nor where they are kept")


@functools.cache
def weights_enum(name: str) -> type[WeightsEnum]:
    """`ResNet18_Weights` and so on, with the names that most of torchvision's have."""
    members = {"IMAGENET1K_V1": "IMAGENET1K_V1", "IMAGENET1K_V2": "IMAGENET1K_V2", "DEFAULT": "DEFAULT"}
    made: Any = WeightsEnum(name, members)  # type: ignore[call-arg]
    return made  # type: ignore[no-any-return]
