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

# mypy: disable-error-code="overload-overlap,overload-cannot-match"
# ruff: noqa
import builtins
from collections.abc import Sequence
from typing import Any, Self, final, overload

from rustnn._size import Size

_bool = builtins.bool
_int = builtins.int
_float = builtins.float
_str = builtins.str
_dtype = dtype
_device = device
_layout = layout
_memory_format = memory_format
_Number = _bool | _int | _float
'''

TYPES = {
    "Tensor": "Tensor", "Tensor[]": "Sequence[Tensor]", "Tensor?[]": "Sequence[Tensor | None]", "Scalar": "_Number",
    "int": "_int", "int[]": "_int | Sequence[_int]", "float": "_float", "float[]": "Sequence[_float]", "bool": "_bool",
    "str": "_str", "dtype": "_dtype", "device": "_device | _str", "layout": "_layout",
    "memory_format": "_memory_format", "Generator": "Generator",
}
# What hand-written functions, methods and attributes give, by name or by Class.name; of the rest nothing is said.
GIVES = {
    "__bool__": "_bool", "__len__": "_int", "__float__": "_float", "__int__": "_int", "__index__": "_int",
    "__repr__": "_str", "__str__": "_str", "__hash__": "_int", "__format__": "_str", "__setitem__": "None",
    "__delitem__": "None", "__dlpack_device__": "tuple[_int, _int]", "__dir__": "list[_str]", "__eq__": "_bool",
    "__ne__": "_bool", "__lt__": "_bool", "__le__": "_bool", "__gt__": "_bool", "__ge__": "_bool",
    "__contains__": "_bool", "__reduce_ex__": "tuple[Any, ...]",
    "dim": "_int", "ndimension": "_int", "numel": "_int", "nelement": "_int", "element_size": "_int",
    "data_ptr": "_int", "storage_offset": "_int", "_storage_ptr": "tuple[_int, _int]", "itemsize": "_int",
    "nbytes": "_int",
    "ndim": "_int", "output_nr": "_int", "_version": "_int", "get_device": "_int",
    "requires_grad": "_bool", "is_leaf": "_bool", "retains_grad": "_bool", "is_contiguous": "_bool",
    "is_floating_point": "_bool", "is_complex": "_bool", "is_signed": "_bool", "is_conj": "_bool", "is_neg": "_bool",
    "is_inference": "_bool", "_is_view": "_bool", "is_cpu": "_bool", "is_cuda": "_bool", "is_sparse": "_bool",
    "is_sparse_csr": "_bool", "is_quantized": "_bool", "is_meta": "_bool", "is_mps": "_bool", "is_xla": "_bool",
    "is_xpu": "_bool", "is_nested": "_bool", "is_mkldnn": "_bool",
    "shape": "Size", "dtype": "_dtype", "layout": "_layout", "Tensor.device": "_device", "Generator.device": "_device",
    "backward": "None", "retain_grad": "None", "detach": "Tensor", "detach_": "Tensor", "requires_grad_": "Tensor",
    "data": "Tensor", "T": "Tensor", "H": "Tensor", "mT": "Tensor", "mH": "Tensor", "grad_fn": "Node | None",
    "manual_seed": "Generator", "initial_seed": "_int", "seed": "_int", "get_state": "Tensor", "set_state": "Generator",
    "clone_state": "Generator", "device.type": "_str", "device.index": "_int | None", "to_complex": "_dtype",
    "to_real": "_dtype", "Node.name": "_str",
    "tensor": "Tensor", "as_tensor": "Tensor", "from_numpy": "Tensor", "from_dlpack": "Tensor", "frombuffer": "Tensor",
    "_restride": "Tensor", "_view_dtype": "Tensor", "can_cast": "_bool", "promote_types": "_dtype",
    "get_default_dtype": "_dtype", "set_default_dtype": "None", "get_num_threads": "_int", "set_num_threads": "None",
    "empty_cache": "None", "memory_stats": "dict[_str, _int]", "_is_anomaly": "_bool", "_is_grad_enabled": "_bool",
    "_is_inference_mode": "_bool", "_isa": "_str", "_isas": "list[_str]", "_registry": "list[dict[_str, Any]]",
}
# Operators of a tensor give a tensor.
OPERATORS = set(
    "__abs__ __invert__ __neg__ __pos__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __getitem__".split()
) | {
    f"__{kind}{name}__" for kind in ("", "i", "r") for name in (
        "add", "sub", "mul", "truediv", "div", "floordiv", "mod", "pow", "matmul", "and", "or", "xor",
        "lshift", "rshift",
    )
}
_TUPLE = "tuple[Tensor, ...]"
# Ops that return something else than one tensor (or may, by overload or flag).
OPS_GIVE = {
    **dict.fromkeys(("allclose", "equal", "is_same_size", "is_set_to"), "_bool"),
    **dict.fromkeys((
        "broadcast_tensors", "chunk", "dsplit", "hsplit", "split", "split_with_sizes", "tensor_split", "unbind",
        "unsafe_chunk", "unsafe_split", "vsplit", "meshgrid",
    ), _TUPLE),
    **dict.fromkeys((
        "aminmax", "batch_norm", "cummax", "cummin", "frexp", "geqrf", "kthvalue", "mode", "nonzero", "slogdet", "sort",
        "std_mean", "svd", "topk", "unique", "unique_consecutive", "var_mean", "qr", "eigh", "eig", "lu", "symeig",
        "triangular_solve", "lstsq", "histogram",
    ), "Any"),
    "result_type": "_dtype",
    **dict.fromkeys(("_rdiv", "_rfloor_divide", "_rpow", "_rremainder", "_mT", "_conv_grad_weight", "_tensordot",
                     "_softmax_backward", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "_total_norm"), "Tensor"),
}


def op_gives(name: str, params: str) -> str:
    """The type of an op's result, which may depend on the overload."""
    if name in ("max", "min", "median", "nanmedian"):
        return "Any" if re.search(r"\bdim:", params) else "Tensor"
    if name == "where":
        return "Tensor" if "other:" in params else _TUPLE
    if name.startswith("atleast_"):
        return _TUPLE if "*tensors" in params else "Tensor"
    return OPS_GIVE.get(name, "Any" if name.startswith("_") else "Tensor")


_CAN_BE_A_BASE = 1 << 10  # Py_TPFLAGS_BASETYPE
SETTABLE = {"data", "grad", "requires_grad"}  # native attributes of a tensor that can be assigned
# What the type system has no words for: comparisons that give no bool, `__pow__` whose third argument is refused.
IGNORED = {"__eq__": "override", "__ne__": "override", "__ipow__": "misc"}
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


def functions(rows: list[dict[str, Any]], surfaces: set[str], indent: str = "") -> list[str]:
    """Stub lines of every op on these surfaces, with in-place forms."""
    method = "method" in surfaces
    by_name: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if not surfaces & set(row["surfaces"]):
            continue
        params = parameters(row["sig"], method)
        star = ", *" if not re.search(r"(^|, )\*", params) else ""
        owner = _C.Tensor if method else _C  # which lacks the forms that PyTorch lacks
        if hasattr(owner, row["name"]):
            by_name[row["name"]].append(params + (f"{star}, out: Any = ..." if row["out"] and not method else ""))
        if row["inplace"] and hasattr(owner, row["name"] + "_"):
            by_name[row["name"] + "_"].append(params)
    lines = []
    for name, overloads in sorted(by_name.items()):
        overloads = list(dict.fromkeys(overloads))
        for params in overloads:
            if len(overloads) > 1:
                lines.append(f"{indent}@overload")
            lines.append(f"{indent}def {name}({params}) -> {op_gives(name, params)}: ...")
    return lines


def written(note: Any) -> str:
    """An annotation of a function written in Python as the stub may say it: of simple names only."""
    names = {"Tensor": "Tensor", "None": "None", **{t: f"_{t}" for t in ("bool", "int", "float", "str")}}
    parts = [p.strip() for p in str(note).split("|")]
    return " | ".join(names[p] for p in parts) if all(p in names for p in parts) else "Any"


def signature(function: Any, result: str, method: bool) -> str:
    """`(parameters) -> result` of a function that is not an op."""
    try:
        sig = inspect.signature(function)
    except ValueError:
        return f"({'self, ' if method else ''}*args: Any, **kwargs: Any) -> {result}"
    if result == "Any":
        result = written(sig.return_annotation)
    out, keyword_only = [], False
    last_positional = max((i for i, p in enumerate(sig.parameters.values()) if p.kind is p.POSITIONAL_ONLY), default=-1)
    for i, p in enumerate(sig.parameters.values()):
        if p.kind is p.VAR_POSITIONAL or p.kind is p.VAR_KEYWORD:
            keyword_only |= p.kind is p.VAR_POSITIONAL
            out.append(f"{'*' if p.kind is p.VAR_POSITIONAL else '**'}{p.name}: Any")
            continue
        if p.kind is p.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            out.append("*")
        if method and i == 0:
            out.append("self")
        else:
            out.append(f"{p.name}: {written(p.annotation)}" + ("" if p.default is p.empty else " = ..."))
        if i == last_positional and i > 0:
            out.append("/")
    return f"({', '.join(out)}) -> {result}"


def members(cls: type, skip: set[str]) -> list[str]:
    """Stub lines of what a class has by hand, natively or attached from Python."""
    lines = []
    skip = skip | {"__doc__", "__module__", "__dict__", "__weakref__", "__new__", "__init__"}
    for name, value in sorted(vars(cls).items()):
        if name in skip:
            continue
        gives = GIVES.get(f"{cls.__name__}.{name}", GIVES.get(name, "Any"))
        if cls is _C.Tensor and name in OPERATORS:
            gives = "Tensor"
        if inspect.isgetsetdescriptor(value):
            lines += ["    @property", f"    def {name}(self) -> {gives}: ..."]
            if cls is _C.Tensor and name in SETTABLE:
                lines += [f"    @{name}.setter", f"    def {name}(self, value: Any) -> None: ..."]
        elif isinstance(value, property):
            lines += ["    @property", f"    def {name}(self) -> {gives}: ..."]
            if value.fset is not None:
                lines += [f"    @{name}.setter", f"    def {name}(self, value: Any) -> None: ..."]
        elif isinstance(value, staticmethod):
            lines += ["    @staticmethod", f"    def {name}{signature(value.__func__, gives, False)}: ..."]
        elif isinstance(value, classmethod):
            call = signature(value.__func__, gives, True).replace("(self", "(cls", 1)
            lines += ["    @classmethod", f"    def {name}{call}: ..."]
        elif inspect.ismethoddescriptor(value) or inspect.isfunction(value):
            ignored = f"  # type: ignore[{IGNORED[name]}]" if cls is _C.Tensor and name in IGNORED else ""
            lines.append(f"    def {name}{signature(value, gives, True)}: ...{ignored}")
        elif value is None:
            lines.append(f"    {name}: None")
        else:
            lines.append(f"    {name}: Any")
    return lines


def constructor(cls: type) -> list[str]:
    """How a class is made; those that only the extension makes take nothing a user could give."""
    made = vars(cls).get("__new__")
    if made is None:
        return []
    params = "*args: Any, **kwargs: Any" if cls is _C.Tensor else signature(cls, "", False)[1:].rpartition(")")[0]
    return [f"    def __new__(cls, {params}) -> Self: ..."]


def text() -> str:
    """The whole stub."""
    rows = _C._registry()
    methods = {r["name"] for r in rows if "method" in r["surfaces"]}
    methods |= {f"{r['name']}_" for r in rows if r["inplace"] and "method" in r["surfaces"]}
    lines = [HEAD]
    for name in sorted(n for n in dir(_C) if isinstance(getattr(_C, n), type) and n != "Tensor"):
        cls = getattr(_C, name)
        lines += [] if cls.__flags__ & _CAN_BE_A_BASE else ["@final"]
        base = f"({cls.__base__.__name__})" if issubclass(cls, Exception) else ""
        inside = [] if base else [*constructor(cls), *members(cls, set())]
        lines += [f"class {name}{base}:", *(inside or ["    ..."]), ""]
    lines += ["class Tensor:", *constructor(_C.Tensor), *members(_C.Tensor, methods)]
    lines += functions(rows, {"method"}, "    ") + [""]
    lines += functions(rows, {"torch", "private"})
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
            lines.append(f"def {name}{signature(value, GIVES.get(name, 'Any'), False)}: ...")
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
