"""What an error that passes through modules says besides: where it happened and what was likely forgotten.

``unwind`` runs only when a forward raised. It keeps the type and the first line
of the exception and adds lines below: the path of the innermost module
(``in 2.fc1 (Linear)``), and a hint for the mistakes people make most.
"""

from __future__ import annotations

import dis
from typing import Any

_RAISE = {dis.opmap["RAISE_VARARGS"], dis.opmap["RERAISE"]}
_KINDS = (RuntimeError, TypeError, ValueError, IndexError)


def _from_engine(error: BaseException) -> bool:
    """True if the engine or this package raised, false if a ``raise`` in a program's own code did."""
    tb = error.__traceback__
    if tb is None:
        return False
    while tb.tb_next is not None:
        tb = tb.tb_next
    frame = tb.tb_frame
    if str(frame.f_globals.get("__name__", "")).startswith("rustnn."):
        return True
    code = frame.f_code.co_code
    return tb.tb_lasti >= 0 and code[tb.tb_lasti] not in _RAISE


def _describe(module: Any) -> str:
    try:
        extra = module.extra_repr()
    except Exception:  # noqa: BLE001
        extra = ""
    return f"{type(module).__name__}({extra})" if extra and "\n" not in extra else type(module).__name__


def _path_below(module: Any, child: Any) -> str | None:
    """The path from ``module`` to ``child``: a direct child first, else anywhere below (ModuleList)."""
    for name, direct in module._modules.items():
        if direct is child:
            return str(name)
    for name, below in module.named_modules():
        if below is child and name:
            return str(name)
    return None


def unwind(module: Any, args: tuple[Any, ...], error: Exception) -> None:
    """Notes in ``error`` that it passed through ``module``."""
    try:
        known = error.__dict__.get("_rustnn_path")
        if known is None:
            if not isinstance(error, _KINDS) or isinstance(error, (NotImplementedError, RecursionError)):
                return
            hint = None
            ours = _from_engine(error) and len(error.args) == 1 and isinstance(error.args[0], str)
            if ours:
                hint = _hint(module, args, error.args[0])
            error.__dict__["_rustnn_path"] = {
                "innermost": module,
                "last": module,
                "path": "",
                "ours": ours,
                "text": error.args[0] if ours else "",
                "hint": hint,
            }
            known = error.__dict__["_rustnn_path"]
            if not ours:
                return
        else:
            step = _path_below(module, known["last"])
            if step is None or not known["ours"]:
                return
            known["last"] = module
            known["path"] = f"{step}.{known['path']}" if known["path"] else step
        _rewrite(error, known)
    except Exception:  # noqa: BLE001
        # Explaining must never hide the error itself.
        return


def _rewrite(error: Exception, known: dict[str, Any]) -> None:
    inner = known["innermost"]
    where = f"{known['path']} ({type(inner).__name__})" if known["path"] else f"({type(inner).__name__})"
    described = _describe(inner)
    lines = [
        known["text"],
        f"  in module {where}" + (f": {described}" if described != type(inner).__name__ else ""),
    ]
    if known["hint"]:
        lines += ["  " + line for line in known["hint"].split("\n")]
    error.args = ("\n".join(lines),)


def _shape(value: Any) -> list[int] | None:
    try:
        return [int(n) for n in value.shape]
    except Exception:  # noqa: BLE001
        return None


def _hint(module: Any, args: tuple[Any, ...], text: str) -> str | None:
    """A hint for the commonest mistakes, by the kind of module; None if there is none to give."""
    if not args:
        return None
    shape = _shape(args[0])
    if shape is None:
        return None
    names = {cls.__name__ for cls in type(module).__mro__}
    if "Linear" in names or "Bilinear" in names:
        return _linear_hint(module, args[0], shape, text)
    if "_ConvNd" in names:
        return _conv_hint(module, args[0], shape, text)
    if "Embedding" in names or "EmbeddingBag" in names:
        return _embedding_hint(module, args[0], text)
    if "_NormBase" in names:
        if "more than 1 value per channel" in text:
            return (
                f"The input was {shape}: one value per channel has no variance. Call .eval() to use the running "
                "statistics, or drop the last batch (DataLoader(..., drop_last=True))."
            )
        return _channels_hint(shape, module.num_features, text)
    return None


def _dtype_hint(module: Any, value: Any, text: str) -> str | None:
    weight = getattr(module, "weight", None)
    if weight is None or value.dtype == weight.dtype or "dtype" not in text and "type" not in text:
        return None
    cure = ".float()" if str(weight.dtype).endswith("float32") else f".to({weight.dtype})"
    because = " (NumPy's default is float64)" if str(value.dtype).endswith("float64") else ""
    return f"The input is {value.dtype}, the module's weight {weight.dtype}: convert the input with {cure}{because}."


def _linear_hint(module: Any, value: Any, shape: list[int], text: str) -> str | None:
    wanted = getattr(module, "in_features", None)
    if wanted is None:
        return None
    if not shape or shape[-1] != wanted:
        base = f"in_features={wanted}, but the input was {shape}."
        product = 1
        for start in range(len(shape) - 1, 0, -1):
            product *= shape[start]
            if product == wanted and start < len(shape) - 1:
                n = len(shape) - start
                return f"{base} Its last {n} dimensions multiply to {wanted}: flatten({start}) is missing before it."
        if len(shape) == 1 and shape[0] != wanted:
            return f"{base} The last dimension of the input must be in_features."
        return f"{base} The last dimension of the input ({shape[-1] if shape else 'none'}) must be in_features."
    return _dtype_hint(module, value, text)


def _channels_hint(shape: list[int], channels: int, text: str) -> str | None:
    if len(shape) in (4, 5) and shape[-1] == channels and shape[1] != channels:
        order = "0, 3, 1, 2" if len(shape) == 4 else "0, 4, 1, 2, 3"
        return (
            f"The input was {shape}: its last dimension has the {channels} channels, but channels come second. "
            f"permute({order}) puts them there."
        )
    return None


def _conv_hint(module: Any, value: Any, shape: list[int], text: str) -> str | None:
    hint = _channels_hint(shape, module.in_channels, text)
    if hint is not None:
        return hint
    n = len(module.kernel_size)
    if len(shape) == n + 1 and shape[-1] == module.in_channels and shape[0] != module.in_channels:
        order = ", ".join(str(i) for i in [n, *range(n)])
        return f"The input was {shape}: channels come first. permute({order}) puts them there."
    if len(shape) < n + 1 or len(shape) > n + 2:
        return (
            f"The input was {shape}; {type(module).__name__} takes (N, C, ...) or (C, ...) with {n} spatial dimensions."
        )
    return _dtype_hint(module, value, text)


def _embedding_hint(module: Any, value: Any, text: str) -> str | None:
    if "out of range" not in text or "num_embeddings" in text:
        return None
    n = module.num_embeddings
    flat = value.reshape(-1).tolist()
    for place, index in enumerate(flat):
        if not 0 <= index < n:
            where = []
            rest = place
            for size in reversed(_shape(value) or []):
                where.append(rest % size)
                rest //= size
            return (
                f"Index {index} at {list(reversed(where))} of the input is outside the table: "
                f"num_embeddings={n}, so indices are 0 to {n - 1}."
            )
    return None
