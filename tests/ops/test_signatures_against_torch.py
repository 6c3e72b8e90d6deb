"""Keyword names and defaults of every function and method that PyTorch has too, read from its documentation lines and,
for functions written in Python, from their signatures."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from typing import Any

import pytest
import rustnn
from ops import harness as h
from rustnn import _C

torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")

# Where PyTorch's documentation has another name than its functions take, or describes what only other devices do; with
# each name what is meant by it here.
DOCUMENTED_OTHERWISE = {
    "addmm": {"out_dtype"}, "baddbmm": {"out_dtype"}, "bmm": {"out_dtype", "batch2"}, "mm": {"out_dtype"},
    "arange": {"start"}, "range": {"start", "out"}, "normal": {"mean"}, "randint": {"low"}, "randint_like": {"low"},
    "broadcast_to": {"shape"}, "view": {"shape"}, "concatenate": {"axis"}, "matrix_exp": {"A"}, "lu_solve": {"b"},
    "cholesky": {"A"}, "cholesky_ex": {"A"}, "cholesky_solve": {"B", "L"}, "cholesky_inverse": {"L"},
    "searchsorted": {"values"}, "dot": {"other"}, "matmul": {"tensor2"}, "take": {"indices"}, "where": {"y"},
    "index_copy": {"tensor2"}, "masked_scatter": {"tensor"}, "narrow": {"dimension"}, "narrow_copy": {"dimension"},
    "type_as": {"tensor"}, "resize_": {"sizes"}, "resize_as_": {"tensor"}, "one_hot": {"tensor"},
    "div": {"value"}, "divide": {"value"}, "mul": {"value"}, "multiply": {"value"}, "floor_divide": {"value"},
    "true_divide": {"value", "dividend", "divisor"}, "fmod": {"divisor"}, "remainder": {"divisor"},
    "hsplit": {"split_size_or_sections"}, "vsplit": {"split_size_or_sections"}, "dsplit": {"split_size_or_sections"},
    "unsafe_split": {"split_size_or_sections"}, "orgqr": {"tau"}, "ormqr": {"tau", "other"}, "triangular_solve": {"b"},
    "lstsq": {"A", "B"}, "tensorsolve": {"B"}, "lu_factor": {"bool pivot"}, "apply_": {"callable"},
    "to_dense": {"dtype", "masked_grad"},
    "new_tensor": {"layout", "pin_memory"}, "from_dlpack": {"ext_tensor", "device", "copy"},
    "trapezoid": {"x", "dx"}, "trapz": {"x", "dx"}, "cumulative_trapezoid": {"x", "dx"}, "random_": {"from", "to"},
    "set_default_tensor_type": {"t"}, "set_num_interop_threads": {"int"}, "set_num_threads": {"int"},
    "kthvalue": {"values", "indices"}, "nanmedian": {"values", "indices"}, "topk": {"values", "indices"},
    "pow": {"self"}, "set_warn_always": {"b"}, "xpu": {"memory_format"},
}  # fmt: skip
# Absent on purpose: what compiles, forward-mode results, low-level forms that write pairs.
WITHOUT_OUT = {"conj_physical", "histogram", "std_mean", "var_mean", "matrix_power", "qr"}
NOT_COMPARED = {"compile", "tensor", "to", "type", "frombuffer"}
# A default that our signatures spell otherwise, with the same meaning.
SAME_DEFAULTS = [{"None", "()"}, {"None", "-1"}, {"0", "None"}, {"1", "None"}]
PLACEMENT = {"layout", "device", "pin_memory", "requires_grad", "dtype", "memory_format", "generator"}

Signature = list[tuple[str, str | None]]


def plain(default: str | None) -> str | None:
    """A default in one spelling."""
    if default is None:
        return None
    try:
        value = eval(default, {"torch": torch, "inf": float("inf")})  # noqa: S307
    except Exception:
        return default.strip()
    if isinstance(value, list):
        value = tuple(value)
    return repr(int(value) if isinstance(value, float) and value.is_integer() else value)


def of_python(function: Any) -> Signature:
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, None if p.default is p.empty else plain(repr(p.default))) for p in parameters]


def of_docs(name: str, doc: str) -> Iterator[Signature]:
    shown = re.compile(rf"(?:\.\. (?:function|method):: )?(?:\w+\.)*{re.escape(name)}\((.*?)\)\s*(->.*)?$")
    for line in doc.splitlines()[:60]:
        found = shown.match(line.strip())
        if found is None:
            continue
        signature: Signature = []
        for part in h.split_top(found.group(1)):
            word, given, default = part.partition("=")
            if re.fullmatch(r"\w+( \w+)?", word.split(":")[0].strip()):
                signature.append((word.split(":")[0].strip(), plain(default) if given else None))
        yield signature


def theirs(name: str, function: Any) -> list[Signature]:
    if isinstance(function, types.FunctionType):
        signature = of_python(function)
        if not {"args", "kwargs"} & {p for p, _ in signature}:
            return [signature]
    return list(of_docs(name, getattr(function, "__doc__", None) or ""))


def ours(name: str, surface: str, function: Any) -> dict[str, set[str | None]]:
    """Defaults by parameter, over all overloads."""
    found: dict[str, set[str | None]] = {}
    rows = [r for r in _C._registry() if r["name"] == name and surface in h.surfaces(r)]
    if rows and not isinstance(function, types.FunctionType):
        for row in rows:
            for p in h.parse_signature(row["sig"]):
                found.setdefault(p.name, set()).add(plain(p.default))
            if row["out"]:
                found.setdefault("out", set()).add("None")
        for defaults in found.values():  # what an overload does without may be left out
            defaults |= {"None"} if len(rows) > 1 else set()
        return found
    try:
        signature = of_python(function)
    except (TypeError, ValueError):
        return {}
    return {} if {"args", "kwargs"} & {p for p, _ in signature} else {p: {d} for p, d in signature}


HOMES = [
    ("torch", torch, rustnn),
    ("nn", torch.nn.functional, rustnn.nn.functional),
    ("linalg", torch.linalg, rustnn.linalg),
    ("special", torch.special, rustnn.special),
    ("method", torch.Tensor, rustnn.Tensor),
]


def pairs() -> list[tuple[str, str]]:
    found = []
    for surface, a, b in HOMES:
        for name in sorted(set(dir(a)) & set(dir(b))):
            other = getattr(a, name, None)
            function = not inspect.isclass(other) and not inspect.ismodule(other) and callable(other)
            if function and not name.startswith("_") and name not in NOT_COMPARED:
                found.append((surface, name))
    return found


@pytest.mark.parametrize(("surface", "name"), pairs())
def test_names_and_defaults(surface: str, name: str) -> None:
    _, a, b = next(home for home in HOMES if home[0] == surface)
    known = ours(name, surface, getattr(b, name))
    if not known:
        pytest.skip("no signature to read here")
    otherwise = DOCUMENTED_OTHERWISE.get(name, set()) | ({"out"} if name in WITHOUT_OUT else set())
    for signature in theirs(name, getattr(a, name)):
        for parameter, default in signature:
            if parameter in otherwise or (parameter == "self" and surface == "method"):
                continue
            if parameter == "A" and "input" in known:  # linalg's documentation, whose functions take `input`
                continue
            assert parameter in known, f"{name}() has no {parameter}, but {sorted(known)}"
            if default is None or default in known[parameter] or parameter in PLACEMENT or name == "cdist":
                continue
            assert any({default, str(own)} in SAME_DEFAULTS for own in known[parameter]), (
                f"{name}({parameter}={default}), ours {known[parameter]}"
            )
