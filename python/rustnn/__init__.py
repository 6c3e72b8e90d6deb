"""rustnn: tensors, automatic differentiation and neural networks, with PyTorch's names and meanings.

`import rustnn as torch` is enough for a program written for PyTorch. Operations are native and stand in the
compiled module `rustnn._C`; packages such as `rustnn.nn` are loaded when they are first used.
"""

from __future__ import annotations

import importlib
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

# Loaded at first use; the second name is the module it stands in.
_LAZY_MODULES = {
    name: f"rustnn.{name}"
    for name in (
        "amp",
        "autograd",
        "backends",
        "compiler",
        "cuda",
        "distributed",
        "distributions",
        "fft",
        "hub",
        "interop",
        "jit",
        "linalg",
        "mps",
        "multiprocessing",
        "nn",
        "onnx",
        "optim",
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
}


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
    if name.startswith("__"):
        raise AttributeError(f"module 'rustnn' has no attribute {name!r}")
    _missing = importlib.import_module("rustnn._missing")

    raise AttributeError(_missing.explain("rustnn", name, globals()))


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY_MODULES, *_LAZY_NAMES})


__all__ = [
    "Size",
    *(_name for _name in dir(_C) if not _name.startswith("_")),
    *_alias_names,
    *_function_names,
    "autograd",  # noqa: F405  (loaded at first use)
    "enable_grad",
    "fork_rng",
    "get_printoptions",
    "get_rng_state",
    "grad_mode",
    "inference_mode",
    "initial_seed",
    "manual_seed",
    "no_grad",
    "printoptions",
    "random",
    "seed",
    "set_grad_enabled",
    "set_printoptions",
    "set_rng_state",
]
