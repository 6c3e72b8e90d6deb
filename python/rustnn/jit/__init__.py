"""`torch.jit`: scripting returns the function or module unchanged; saved TorchScript files can't be run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

__all__ = ["Final", "annotate", "export", "ignore", "is_scripting", "is_tracing", "script", "trace", "unused"]


class ScriptModule:
    """Nothing is an instance of this: modules stay as they are."""


class ScriptFunction:
    """Nothing is an instance of this: functions stay as they are."""


RecursiveScriptModule = ScriptModule


def script(obj: Any, *args: Any, **kwargs: Any) -> Any:
    """The function, class or module unchanged."""
    return obj


def script_if_tracing(fn: Any) -> Any:
    return fn


def trace(func: Any, example_inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The function or module unchanged."""
    return func


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    return drop if callable(drop) else (lambda fn: fn)


def unused(fn: Any) -> Any:
    return fn


def export(fn: Any) -> Any:
    return fn


def interface(obj: Any) -> Any:
    return obj


def _overload(fn: Callable[..., Any]) -> Callable[..., Any]:
    return fn


def _overload_method(fn: Callable[..., Any]) -> Callable[..., Any]:
    return fn


def annotate(the_type: Any, the_value: Any) -> Any:
    return the_value


def isinstance(obj: Any, target_type: Any) -> bool:
    import builtins

    return builtins.isinstance(obj, target_type)


def is_scripting() -> bool:
    return False


def is_tracing() -> bool:
    return False


def fork(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls the function at once; `wait` gives its result."""
    return func(*args, **kwargs)


def wait(future: Any) -> Any:
    return future


def freeze(mod: Any, *args: Any, **kwargs: Any) -> Any:
    return mod


def optimize_for_inference(mod: Any, *args: Any, **kwargs: Any) -> Any:
    return mod


def load(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError(
        "torch.jit.load: TorchScript files carry programs, which rustnn does not run.\n"
        "  Load the model's weights (state_dict) into a module written in Python instead."
    )


def save(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError("torch.jit.save: save the module's state_dict with rustnn.save instead.")
