"""Finding the line of the forward pass whose backward fails or gives NaN."""

from __future__ import annotations

from rustnn import _C

__all__ = ["detect_anomaly", "set_detect_anomaly"]

_state: dict[str, bool] = {"enabled": False, "check_nan": True}


def _switch(mode: bool, check_nan: bool) -> None:
    _state["enabled"], _state["check_nan"] = mode, check_nan
    _C._set_anomaly(mode)


class detect_anomaly:
    """Inside the block, an error in backward names the forward line it comes from, and NaN is an error.

    Example::

        >>> with rustnn.autograd.detect_anomaly():
        ...     loss = model(x).log().sum()
        ...     loss.backward()
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.mode, self.check_nan = True, check_nan
        self._before: list[tuple[bool, bool]] = []

    def __enter__(self) -> None:
        self._before.append((_state["enabled"], _state["check_nan"]))
        _switch(self.mode, self.check_nan)

    def __exit__(self, *_: object) -> None:
        _switch(*self._before.pop())


class set_detect_anomaly(detect_anomaly):
    """Switches anomaly detection at once; as a context manager, until the block's end."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        super().__init__(check_nan)
        self.mode = bool(mode)
        self._before.append((_state["enabled"], _state["check_nan"]))
        _switch(self.mode, check_nan)

    def __enter__(self) -> None:
        return None
