"""Writes `python/rustnn/_C.pyi` from the installed extension: ops from the registry, classes by looking at them.

Run `python rust/py/stubgen.py` after changing an op's signature, `--check` to see whether the stub is up to date.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from rustnn import _C

STUB = Path(__file__).resolve().parents[2] / "python" / "rustnn" / "_C.pyi"

HEAD = '''"""The compiled part of rustnn. Written by `rust/py/stubgen.py` from the registry of ops: do not edit."""

# mypy: disable-error-code="overload-overlap,overload-cannot-match,misc,override,explicit-any"
# ruff: noqa
from collections.abc import Sequence
from types import EllipsisType
from typing import Any, overload

_bool = bool
_int = int
_float = float
_str = str
Number = bool | int | float
'''

TYPES = {
    "Tensor": "Tensor", "Tensor[]": "Sequence[Tensor]", "Tensor?[]": "Sequence[Tensor | None]", "Scalar": "Number",
    "int": "_int", "int[]": "_int | Sequence[_int]", "float": "_float", "float[]": "Sequence[_float]", "bool": "_bool",
    "str": "_str", "dtype": "dtype", "device": "device | _str", "layout": "layout", "memory_format": "memory_format",
    "Generator": "Generator",
}
# Ops that return something else than one tensor (or may, by overload or flag).
NOT_ONE_TENSOR = {
    "allclose", "aminmax", "atleast_1d", "atleast_2d", "atleast_3d", "batch_norm", "broadcast_tensors", "chunk",
    "cummax", "cummin", "dsplit", "equal", "frexp", "geqrf", "hsplit", "is_same_size", "is_set_to", "kthvalue", "max",
    "median", "meshgrid", "min", "mode", "nanmedian", "nonzero", "result_type", "slogdet", "sort", "split",
    "split_with_sizes", "std_mean", "svd", "tensor_split", "topk", "tril_indices", "triu_indices", "unbind", "unique",
    "unique_consecutive", "unsafe_chunk", "unsafe_split", "var_mean", "vsplit", "where", "qr", "eigh", "eig", "lu",
    "symeig", "triangular_solve", "lstsq", "histogram", "can_cast", "promote_types",
}
PYTHON_WORDS = {"from", "lambda", "in", "is", "not", "global", "class", "def", "del", "pass", "return"}


def split(body: str) -> list[str]:
    """The parameters of a signature: commas inside of brackets do not count."""
    out, depth, start = [], 0, 0
    for i, c in enumerate(body):
        depth += (c in "([") - (c in ")]")
        if c == "," and depth == 0:
            out.append(body[start:i])
            start = i + 1
    return [p.strip() for p in [*out, body[start:]] if p.strip()]


def annotation(types: str) -> str:
    """`Tensor|Scalar?` as a Python type."""
    found: list[str] = []
    optional = False
    for t in types.split("|"):
        t = t.strip().removesuffix("...")
        if t.endswith("?"):
            optional, t = True, t[:-1]
        if m := re.fullmatch(r"(int|float)\[(\d+)\]", t):
            found += [f"_{m[1]}", f"Sequence[_{m[1]}]"]
        else:
            found.append(TYPES[t])
    return " | ".join(dict.fromkeys(found)) + (" | None" if optional else "")


def parameters(sig: str, method: bool) -> str:
    """The parameter list of a stub."""
    body = sig[sig.index("(") + 1 : sig.rindex(")")]
    out, optional = ["self"] if method else [], False
    for i, p in enumerate(split(body)):
        if p == "*":
            out.append("*")
            continue
        decl, _, default = p.partition("=")
        types, _, name = decl.strip().rpartition(" ")
        if method and i == 0:
            continue
        if name in PYTHON_WORDS:
            name = f"{name}_"
        if "..." in types:
            out.append(f"*{name}: Any")
            continue
        note = annotation(types)
        optional = optional and "*" not in out
        if default:
            if default.strip() == "None" and "None" not in note:
                note += " | None"
            out.append(f"{name}: {note} = ...")
            optional = True
        else:
            out.append(f"{name}: {note}" + (" = ..." if optional else ""))
    stars = [k for k, v in enumerate(out) if v.startswith("*")]
    for k in stars[1:]:
        if out[k] == "*":
            out[k] = ""
    return ", ".join(p for p in out if p)


def functions(rows: list[dict[str, Any]], surface: str, method: bool, indent: str) -> list[str]:
    """Stub lines of every op on one surface, with in-place forms."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if surface not in row["surfaces"]:
            continue
        params = parameters(row["sig"], method)
        star = ", *" if not re.search(r"(^|, )\*", params) else ""
        by_name[row["name"]].append(params + (f"{star}, out: Any = ..." if row["out"] and surface != "method" else ""))
        if row["inplace"] and surface in ("method", "torch", "nn"):
            by_name[row["name"] + "_"].append(params)
    lines = []
    for name, overloads in sorted(by_name.items()):
        overloads = list(dict.fromkeys(overloads))
        for params in overloads:
            if len(overloads) > 1:
                lines.append(f"{indent}@overload")
            result = "Any" if name in NOT_ONE_TENSOR or name.startswith("_") else "Tensor"
            lines.append(f"{indent}def {name}({params}) -> {result}: ...")
    return lines


def members(cls: type, skip: set[str]) -> list[str]:
    """Stub lines of what a native class has by hand."""
    lines = []
    for name, value in sorted(vars(cls).items()):
        if name in skip or name in ("__doc__", "__module__", "__dict__", "__weakref__", "__hash__", "__new__"):
            continue
        if inspect.isgetsetdescriptor(value):
            lines += [f"    {name}: Any"]
        elif isinstance(value, staticmethod):
            lines += ["    @staticmethod", f"    def {name}(*args: Any, **kwargs: Any) -> Any: ..."]
        elif inspect.ismethoddescriptor(value):
            returns = {
                "__bool__": "_bool", "__len__": "_int", "__float__": "_float", "__int__": "_int", "__index__": "_int",
                "__repr__": "_str", "__str__": "_str", "__hash__": "_int",
            }
            lines += [f"    def {name}(self, *args: Any, **kwargs: Any) -> {returns.get(name, 'Any')}: ..."]
    return lines or ["    ..."]


def text() -> str:
    """The whole stub."""
    rows = _C._registry()
    methods = {r["name"] for r in rows if "method" in r["surfaces"]}
    methods |= {f"{r['name']}_" for r in rows if r["inplace"]}
    lines = [HEAD]
    for name in sorted(n for n in dir(_C) if isinstance(getattr(_C, n), type) and n != "Tensor"):
        lines += [f"class {name}:", "    def __init__(self, *args: Any, **kwargs: Any) -> None: ..."]
        lines += [m for m in members(getattr(_C, name), set()) if m != "    ..."] + [""]
    lines += ["class Tensor:", "    def __init__(self, *args: Any, **kwargs: Any) -> None: ..."]
    lines += members(_C.Tensor, methods) + ["    def __getattr__(self, name: str) -> Any: ..."]
    lines += functions(rows, "method", True, "    ") + [""]
    lines += functions(rows, "torch", False, "") + functions(rows, "private", False, "")
    shown = [r for r in rows if {"torch", "private"} & set(r["surfaces"])]
    ops = {r["name"] for r in shown} | {r["name"] + "_" for r in shown if r["inplace"]}
    kinds = {_C.dtype: "dtype", _C.memory_format: "memory_format", _C.layout: "layout", _C.Generator: "Generator"}
    for name in sorted(dir(_C)):
        value = getattr(_C, name)
        if isinstance(value, type) or name.startswith("__") or name in ops:
            continue
        if type(value) in kinds:
            lines.append(f"{name}: {kinds[type(value)]}")
        elif callable(value):
            lines.append(f"def {name}(*args: Any, **kwargs: Any) -> Any: ...")
        else:
            lines.append(f"{name}: Any")
    lines += ["__version__: str", ""]
    return "\n".join(lines)


def main() -> int:
    new = text()
    if "--check" in sys.argv:
        if STUB.read_text() != new:
            print(f"{STUB} is out of date: run python rust/py/stubgen.py", file=sys.stderr)
            return 1
        return 0
    STUB.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
