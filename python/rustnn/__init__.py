"""rustnn: tensors, automatic differentiation and neural networks, with PyTorch's names and meanings.

`import rustnn as torch` is enough for a program written for PyTorch. Operations are native and stand in the
compiled module `rustnn._C`; packages such as `rustnn.nn` are loaded when they are first used.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

from rustnn import _C, _foreach, _inplace_views, _storage
from rustnn import _tensor as _tensor_methods
from rustnn._size import Size

if TYPE_CHECKING:
    from rustnn._C import *  # noqa: F403

# The native functions, types and dtypes under their public names.
globals().update({_name: getattr(_C, _name) for _name in dir(_C) if not _name.startswith("_")})

_tensor_methods.attach()
_inplace_views.attach()
_storage.attach()
_foreach.install(globals())

from rustnn import random  # noqa: E402  (needs the native names above)
from rustnn._aliases import *  # noqa: E402, F403
from rustnn._aliases import __all__ as _alias_names  # noqa: E402
from rustnn._checks import *  # noqa: E402, F403
from rustnn._checks import __all__ as _check_names  # noqa: E402
from rustnn._functions import *  # noqa: E402, F403
from rustnn._functions import __all__ as _function_names  # noqa: E402
from rustnn._tensor_str import get_printoptions, printoptions, set_printoptions  # noqa: E402
from rustnn.autograd import (  # noqa: E402
    enable_grad,
    grad_mode,
    inference_mode,
    no_grad,
    set_grad_enabled,
)
from rustnn.random import (  # noqa: E402
    fork_rng,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)

__version__: str = _C.__version__

inf, nan, pi, e = math.inf, math.nan, math.pi, math.e
newaxis = None
legacy_contiguous_format = _C.contiguous_format

# Loaded at first use; the second name is the module it stands in.
_LAZY_MODULES = {
    name: f"rustnn.{name}"
    for name in (
        "__config__",
        "__future__",
        "_dynamo",
        "accelerator",
        "amp",
        "autograd",
        "backends",
        "compiler",
        "cpu",
        "cuda",
        "distributed",
        "distributions",
        "fft",
        "func",
        "fx",
        "hub",
        "interop",
        "jit",
        "library",
        "linalg",
        "mps",
        "mtia",
        "multiprocessing",
        "nn",
        "onnx",
        "optim",
        "overrides",
        "profiler",
        "serialization",
        "special",
        "testing",
        "text",
        "torch_version",
        "train",
        "types",
        "utils",
        "return_types",
        "version",
        "vision",
        "xpu",
    )
}
_LAZY_NAMES = {
    "save": "rustnn.serialization",
    "load": "rustnn.serialization",
    "GradScaler": "rustnn.amp",
    "autocast": "rustnn.amp",
    "install_as_torch": "rustnn._run",
    "TypedStorage": "rustnn._storage",
    "UntypedStorage": "rustnn._storage",
    "ScriptFunction": "rustnn.jit",
    "ScriptModule": "rustnn.jit",
    "Event": "rustnn.cuda",
    "OutOfMemoryError": "rustnn.cuda",
    "Stream": "rustnn.cuda",
    "asarray": "rustnn._convert",
    "_sample_dirichlet": "rustnn._C",
    "_standard_gamma": "rustnn._C",
    "_shape_as_tensor": "rustnn._symbolic",
    "get_device_module": "rustnn._symbolic",
    "sym_float": "rustnn._symbolic",
    "sym_int": "rustnn._symbolic",
    "sym_ite": "rustnn._symbolic",
    "sym_max": "rustnn._symbolic",
    "sym_min": "rustnn._symbolic",
    "sym_not": "rustnn._symbolic",
    "sym_sqrt": "rustnn._symbolic",
    "sym_sum": "rustnn._symbolic",
    "ops": "rustnn._op_names",
    "pca_lowrank": "rustnn._lowrank",
    "svd_lowrank": "rustnn._lowrank",
    "record_function": "rustnn.autograd.profiler",
    **dict.fromkeys(
        (
            "autocast_decrement_nesting",
            "autocast_increment_nesting",
            "clear_autocast_cache",
            "get_autocast_cpu_dtype",
            "get_autocast_dtype",
            "get_autocast_gpu_dtype",
            "is_autocast_cache_enabled",
            "is_autocast_cpu_enabled",
            "is_autocast_enabled",
            "set_autocast_cache_enabled",
            "set_autocast_cpu_dtype",
            "set_autocast_cpu_enabled",
            "set_autocast_dtype",
            "set_autocast_enabled",
            "set_autocast_gpu_dtype",
        ),
        "rustnn.amp._queries",
    ),
}
_TENSOR_TYPES = frozenset(f"{kind}Tensor" for kind in (
    "Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool",
))  # fmt: skip


def __getattr__(name: str) -> Any:
    target = _LAZY_MODULES.get(name)
    if target is not None:
        try:
            return importlib.import_module(target)
        except ModuleNotFoundError as error:
            if error.name != target:
                raise
    elif name in _LAZY_NAMES:
        value = getattr(importlib.import_module(_LAZY_NAMES[name]), name)
        globals()[name] = value
        return value
    elif name in _TENSOR_TYPES:
        types: dict[str, Any] = importlib.import_module("rustnn._legacy").TYPES
        globals().update(types)
        return types[name]
    if name.startswith("__"):
        raise AttributeError(f"module 'rustnn' has no attribute {name!r}")
    _missing = importlib.import_module("rustnn._missing")

    raise AttributeError(_missing.explain("rustnn", name, globals()))


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY_MODULES, *_LAZY_NAMES, *_TENSOR_TYPES})


__all__ = [
    "Size",
    *(_name for _name in dir(_C) if not _name.startswith("_")),
    *_alias_names,
    *_function_names,
    *_check_names,
    "autograd",  # noqa: F405  (loaded at first use)
    "e",
    "enable_grad",
    "fork_rng",
    "get_printoptions",
    "get_rng_state",
    "grad_mode",
    "inf",
    "inference_mode",
    "initial_seed",
    "manual_seed",
    "nan",
    "newaxis",
    "no_grad",
    "pi",
    "printoptions",
    "random",
    "seed",
    "set_grad_enabled",
    "set_printoptions",
    "set_rng_state",
]
