"""`finfo` and `iinfo`: the limits of the dtypes."""

from __future__ import annotations

from typing import Any

from rustnn import _C

__all__ = ["finfo", "iinfo"]

# bits, largest, smallest normal, distance from one to the next, decimal digits
_FLOATS = {
    "float64": (64, 1.7976931348623157e308, 2.2250738585072014e-308, 2.0**-52, 1e-15),
    "float32": (32, 3.4028234663852886e38, 2.0**-126, 2.0**-23, 1e-6),
    "float16": (16, 65504.0, 2.0**-14, 2.0**-10, 1e-3),
    "bfloat16": (16, 3.3895313892515355e38, 2.0**-126, 2.0**-7, 1e-2),
    # Those that are names only: programs put their limits into tables.
    "float8_e4m3fn": (8, 448.0, 2.0**-6, 0.125, 1.0),
    "float8_e4m3fnuz": (8, 240.0, 2.0**-7, 0.125, 1.0),
    "float8_e5m2": (8, 57344.0, 2.0**-14, 0.25, 1.0),
    "float8_e5m2fnuz": (8, 57344.0, 2.0**-15, 0.25, 1.0),
    "float8_e8m0fnu": (8, 2.0**127, 2.0**-127, 1.0, 1.0),
}
# Complex numbers have the limits of their parts.
_PARTS = {"complex32": "float16", "complex64": "float32", "complex128": "float64"}
_SUBNORMALS = {"float64": 5e-324, "float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}
_SUBNORMALS |= {"float8_e4m3fn": 2.0**-9, "float8_e4m3fnuz": 2.0**-10, "float8_e5m2": 2.0**-16}
_SUBNORMALS |= {"float8_e5m2fnuz": 2.0**-17, "float8_e8m0fnu": 2.0**-127}
_INTEGERS = {
    "int64": (64, True),
    "int32": (32, True),
    "int16": (16, True),
    "int8": (8, True),
    "uint8": (8, False),
    "uint16": (16, False),
    "uint32": (32, False),
    "uint64": (64, False),
}


class finfo:
    """Limits of a floating point dtype: `bits`, `eps`, `max`, `min`, `tiny`, `smallest_normal`, `resolution`.

    Example::

        >>> rustnn.finfo(rustnn.float32).eps
        1.1920928955078125e-07
    """

    def __init__(self, type: Any = None) -> None:
        dtype = _C.get_default_dtype() if type is None else type
        name = str(dtype).rsplit(".", 1)[-1]
        name = _PARTS.get(name, name)
        if name not in _FLOATS:
            raise TypeError(
                f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{name}'"
            )
        self.dtype = name
        self.bits, self.max, self.tiny, self.eps, self.resolution = _FLOATS[name]
        self.min = -self.max if name != "float8_e8m0fnu" else self.tiny
        self.smallest_normal = self.tiny
        self.smallest_subnormal = _SUBNORMALS[name]

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, finfo) and other.dtype == self.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)


class iinfo:
    """Limits of an integer dtype: `bits`, `max`, `min`.

    Example::

        >>> rustnn.iinfo(rustnn.int8).max
        127
    """

    def __init__(self, type: Any) -> None:
        name = str(type).rsplit(".", 1)[-1]
        if name not in _INTEGERS:
            raise TypeError(
                f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{name}'"
            )
        self.dtype = name
        self.bits, signed = _INTEGERS[name]
        self.max = 2 ** (self.bits - signed) - 1
        self.min = -(2 ** (self.bits - 1)) if signed else 0

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, iinfo) and other.dtype == self.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)
