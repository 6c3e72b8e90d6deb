"""`torch.ops`: operations by PyTorch's inner names; those that are functions of the top module can be called."""

from __future__ import annotations

from typing import Any

__all__ = ["ops"]


class _Op:
    """One operation, or one overload of it: `torch.ops.aten.add`, `torch.ops.aten.add.Tensor`."""

    def __init__(self, name: str, overload: str = "") -> None:
        self._name, self._overload = name, overload
        self.__name__ = name if not overload else f"{name}.{overload}"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self._overload:
            raise AttributeError(f"torch.ops.aten.{self.__name__} has no attribute {name!r}")
        value = _Op(self._name, name)
        self.__dict__[name] = value
        return value

    def __repr__(self) -> str:
        return f"<OpOverload(op='aten.{self._name}', overload='{self._overload or 'default'}')>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        import rustnn

        function = getattr(rustnn, self._name, None) if not self._name.startswith("_") else None
        if function is None and self._name.endswith("_") and args:
            function = getattr(type(args[0]), self._name, None)
        if function is None:
            raise NotImplementedError(
                f"rustnn does not have PyTorch's torch.ops.aten.{self.__name__}.\n"
                "  hint: call the function of the public interface (dir(torch) lists them)"
            )
        return function(*args, **kwargs)


class _Namespace:
    """`torch.ops.aten`, or the (empty) one of an extension library."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            from rustnn.library import _OPS

            defined = _OPS.get(f"{self.__name__}::{name}")
            if defined is not None:
                return defined
        if name.startswith("__") or self.__name__ != "aten":
            raise AttributeError(
                f"'_OpNamespace' {self.__name__!r} object has no attribute {name!r}: compiled extensions of PyTorch "
                "cannot be loaded into rustnn"
            )
        value = _Op(name)
        self.__dict__[name] = value
        return value


class _Ops:
    """The namespaces."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = _Namespace(name)
        self.__dict__[name] = value
        return value

    def load_library(self, path: str) -> None:
        """Raises: libraries built for PyTorch cannot be loaded.

        Raises:
            OSError: always.
        """
        raise OSError(f"torch.ops.load_library({path!r}): libraries built for PyTorch cannot be loaded into rustnn")


ops = _Ops()
