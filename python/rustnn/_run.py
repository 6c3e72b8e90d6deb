"""Programs that say `import torch`: the imports answered with rustnn, and scripts run as Python runs them."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType, ModuleType, TracebackType
from typing import Any

__all__ = ["install_as_torch", "run_code", "run_module", "run_script"]

# What programs that ask for a version of PyTorch are told: the release whose behaviour is followed.
TORCH_VERSION = "2.9.0+rustnn"
TORCHVISION_VERSION = "0.24.0+rustnn"
_ROOTS = {"torch": "rustnn", "torchvision": "rustnn.vision"}
_VERSIONS = {"torch": TORCH_VERSION, "torchvision": TORCHVISION_VERSION}

# Modules of PyTorch that libraries import at their top, mostly to ask for classes they then never meet. They can
# be imported; what is taken from them fails by name when it is called.
_PLACEHOLDERS = (
    "torch._dynamo",
    "torch._functorch",
    "torch._higher_order_ops",
    "torch._inductor",
    "torch._prims_common",
    "torch._subclasses",
    "torch.ao",
    "torch.distributed",
    "torch.distributions.continuous_bernoulli",
    "torch.distributions.generalized_pareto",
    "torch.distributions.lkj_cholesky",
    "torch.distributions.lowrank_multivariate_normal",
    "torch.distributions.wishart",
    "torch.export",
    "torch.fft",
    "torch.futures",
    "torch.fx",
    "torch.masked",
    "torch.nested",
    "torch.nn.attention",
    "torch.nn.intrinsic",
    "torch.nn.parallel",
    "torch.nn.quantized",
    "torch.onnx",
    "torch.package",
    "torch.quantization",
    "torch.sparse",
    "torch.utils.cpp_extension",
    "torch.utils.flop_counter",
    "torch.utils.mobile_optimizer",
    "torch.utils.tensorboard",
    "torchvision.extension",
    "torchvision.io",
    "torchvision.models.convnext",
    "torchvision.models.densenet",
    "torchvision.models.detection",
    "torchvision.models.efficientnet",
    "torchvision.models.feature_extraction",
    "torchvision.models.googlenet",
    "torchvision.models.inception",
    "torchvision.models.mobilenet",
    "torchvision.models.mobilenetv2",
    "torchvision.models.mobilenetv3",
    "torchvision.models.optical_flow",
    "torchvision.models.segmentation",
    "torchvision.models.shufflenetv2",
    "torchvision.models.squeezenet",
    "torchvision.models.swin_transformer",
    "torchvision.models.video",
    "torchvision.models.vision_transformer",
    "torchvision.ops",
    "torchvision.transforms.v2",
    "torchvision.tv_tensors",
    "torchvision.utils",
)

# Classes that libraries name in annotations or ask about; they fail by name when one is made.
_ABSENT_CLASSES = frozenset(("PyTorchFileReader", "PyTorchFileWriter", "SymInt", "SymFloat", "SymBool", "Tag"))


class _MissingMeta(type):
    """A class that stands for something PyTorch has and rustnn has not."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = missing_class(f"{cls.__qualname__}.{name}")
        setattr(cls, name, value)
        return value

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        # A decorator used without arguments at import time passes its function through.
        if cls.__dict__.get("_missing") and len(args) == 1 and not kwargs and isinstance(args[0], _FUNCTION):
            return args[0]
        if cls.__dict__.get("_missing"):
            raise NotImplementedError(_why(cls.__qualname__))
        return super().__call__(*args, **kwargs)


_FUNCTION = type(lambda: None)


def _why(what: str) -> str:
    return (
        f"rustnn does not have PyTorch's {what}.\n"
        "  Write it with the operations that exist (dir(torch) lists them), or run this part with PyTorch."
    )


def missing_class(full_name: str) -> type:
    """A class by PyTorch's name, which can be named and derived from, and fails by name when it is called."""
    short = full_name.rsplit(".", 1)[-1]
    return _MissingMeta(short, (), {"__qualname__": full_name, "__module__": "torch", "_missing": True})


class _Placeholder(ModuleType):
    """A module of PyTorch that rustnn lacks: importable, its names fail when used."""

    def __init__(self, name: str) -> None:
        super().__init__(name, f"PyTorch's {name}, which rustnn does not have.")
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = missing_class(f"{self.__name__}.{name}")
        setattr(self, name, value)
        return value


class _Facade(ModuleType):
    """`torch` itself: rustnn's names, with a version that programs written for PyTorch understand."""

    def __init__(self, name: str, target: ModuleType) -> None:
        super().__init__(name, target.__doc__)
        self.__dict__["_target"] = target
        for key, value in vars(target).items():
            if not (key.startswith("__") and key.endswith("__")):
                self.__dict__[key] = value
        self.__dict__["__file__"] = target.__file__
        self.__dict__["__path__"] = list(getattr(target, "__path__", []))
        self.__dict__["__all__"] = list(getattr(target, "__all__", []))
        from rustnn.torch_version import TorchVersion

        # The native module is found through the module that adds PyTorch's inner names to it.
        self.__dict__.pop("_C", None)
        if name == "torch":
            self.__dict__["torch"] = self  # PyTorch has this name, and programs write torch.torch.Tensor
        self.__dict__["__version__"] = TorchVersion(_VERSIONS[name])

    def __getattr__(self, name: str) -> Any:
        full = f"{self.__name__}.{name}"
        try:
            value = importlib.import_module(full) if full == "torch._C" else getattr(self._target, name)
        except AttributeError as error:
            if full in sys.modules:
                return sys.modules[full]
            if name in _ABSENT_CLASSES and self.__name__ == "torch":
                self.__dict__[name] = missing_class(full)
                return self.__dict__[name]
            if full in _PLACEHOLDERS:
                return importlib.import_module(full)
            raise AttributeError(
                str(error).replace("module 'rustnn", f"module '{self.__name__}", 1)
            ) from None
        return value

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *dir(self._target)})


def _mapped(name: str) -> str | None:
    root, _, rest = name.partition(".")
    if root not in _ROOTS:
        return None
    if name == "torch._C":
        return "rustnn._torch_c"
    return _ROOTS[root] + ("." + rest if rest else "")


class _Loader(importlib.abc.Loader):
    def __init__(self, target: str | None) -> None:
        self.target = target
        self.former: Any = None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        if self.target is None:
            return _Placeholder(_theirs(spec.name))
        module = importlib.import_module(self.target)
        if spec.name in _ROOTS:
            return _Facade(spec.name, module)
        self.former = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has given a module that exists already a new spec: its own comes back.
        if self.former is not None:
            module.__spec__ = self.former


class _Distribution(importlib.metadata.Distribution):
    """What `importlib.metadata.version("torch")` reads."""

    def __init__(self, name: str) -> None:
        self._name = name

    def read_text(self, filename: str) -> str | None:
        if filename == "METADATA":
            return f"Metadata-Version: 2.1\nName: {self._name}\nVersion: {_VERSIONS[self._name]}\n"
        return None

    def locate_file(self, path: Any) -> Any:
        import pathlib

        return pathlib.Path(__file__).parent / path


class _Finder(importlib.abc.MetaPathFinder):
    """Answers imports of torch and torchvision, before any installed PyTorch is found."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.startswith("rustnn."):
            return _absent_part(fullname, path)
        mapped = _mapped(fullname)
        if mapped is None:
            return None
        if fullname in _ROOTS or mapped in sys.modules or _exists(mapped):
            # Every module may be asked for parts of its own, so all are packages.
            spec = importlib.machinery.ModuleSpec(fullname, _Loader(mapped), is_package=True)
            spec.origin = "rustnn"
            return spec
        if _stands_in(fullname):
            return importlib.machinery.ModuleSpec(fullname, _Loader(None), is_package=True)
        raise ModuleNotFoundError(
            f"No module named {fullname!r}: rustnn answers for torch and torchvision here, and does not have this "
            "part of them.\n  Leave the import out, or run this program with PyTorch.",
            name=fullname,
        )

    def find_distributions(self, context: Any = None) -> Iterable[importlib.metadata.Distribution]:
        return self._distributions(context)

    @staticmethod
    def _distributions(context: Any) -> Iterator[importlib.metadata.Distribution]:
        name = getattr(context, "name", None)
        if name in _VERSIONS:
            yield _Distribution(name)


def _stands_in(name: str) -> bool:
    return any(name == known or name.startswith(known + ".") for known in _PLACEHOLDERS)


def _absent_part(name: str, path: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
    """What `from torch.distributed import rpc` looks for under the name of rustnn's module."""
    if _probing or not _stands_in(_theirs(name)):
        return None
    if importlib.machinery.PathFinder.find_spec(name, path) is not None:
        return None
    return importlib.machinery.ModuleSpec(name, _Loader(None), is_package=True)


def _theirs(name: str) -> str:
    """PyTorch's name of a module of rustnn's."""
    if name.startswith("rustnn."):
        name = name.replace("rustnn.vision", "torchvision", 1).replace("rustnn.", "torch.", 1)
    return name


# The names that `_exists` is asking about: placeholders do not count then.
_probing: list[str] = []


def _exists(name: str) -> bool:
    _probing.append(name)
    try:
        return importlib.util.find_spec(name) is not None
    except (ModuleNotFoundError, ValueError, AttributeError):
        return False
    finally:
        _probing.pop()


def install_as_torch() -> None:
    """From now on `import torch` and `import torchvision`, and their parts, give rustnn's modules.

    For programs and released packages written for PyTorch. `torch.__version__` then looks like a version of
    PyTorch ("2.9.0+rustnn"); `rustnn.__version__` stays its own. Processes started by `multiprocessing` inherit it.

    Raises:
        RuntimeError: PyTorch itself has been imported already.

    Example::

        >>> import rustnn
        >>> rustnn.install_as_torch()
        >>> import torch
        >>> torch.tensor([1.0])
        tensor([1.])
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    present = sys.modules.get("torch")
    if present is not None and not isinstance(present, _Facade):
        raise RuntimeError(
            f"PyTorch itself is imported already, from {getattr(present, '__file__', '?')}: call "
            "rustnn.install_as_torch() before anything imports torch"
        )
    sys.meta_path.insert(0, _Finder())
    _teach_processes()


def _teach_processes() -> None:
    """Makes processes that multiprocessing starts afresh install the finder before they import the program."""
    import multiprocessing
    from multiprocessing import spawn

    command_line = spawn.get_command_line

    def get_command_line(**kwargs: Any) -> list[str]:
        parts = command_line(**kwargs)
        start = "from multiprocessing.spawn import"
        install = f"import rustnn; rustnn.install_as_torch(); {start}"
        return [p.replace(start, install, 1) if isinstance(p, str) else p for p in parts]

    spawn.get_command_line = get_command_line
    if hasattr(multiprocessing, "set_forkserver_preload"):
        multiprocessing.set_forkserver_preload(["__main__", "rustnn._as_torch"])


def _visible(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of this file, as Python itself would show it."""
    here = __file__
    while trace is not None and trace.tb_frame.f_code.co_filename in (
        here,
        __file__.replace("_run", "__main__"),
    ):
        trace = trace.tb_next
    return trace


def _execute(code: CodeType, namespace: dict[str, Any]) -> int:
    """Runs the program's code; the exit status, with what Python does at an exception."""
    try:
        exec(code, namespace)  # noqa: S102
    except SystemExit:
        raise
    except KeyboardInterrupt as error:
        sys.excepthook(type(error), error.with_traceback(_visible(error.__traceback__)), error.__traceback__)
        _die_by_interrupt()
        return 130
    except BaseException as error:  # noqa: BLE001
        trace = _visible(error.__traceback__)
        error.__traceback__ = trace
        sys.excepthook(type(error), error, trace)
        return 1
    return 0


def _die_by_interrupt() -> None:
    """Ends as Python does on Ctrl-C: by the signal, so that a shell's loop stops too."""
    import signal

    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _main_module(path: str | None) -> dict[str, Any]:
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = __import__("builtins")
    module.__dict__["__annotations__"] = {}  # noqa: RUF063
    module.__spec__ = None
    if path is not None:
        module.__file__ = path
        module.__dict__["__cached__"] = None
        module.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    sys.modules["__main__"] = module
    return module.__dict__


def run_script(path: str, arguments: Sequence[str]) -> int:
    """Runs a Python file as `python path arguments...` does, its `import torch` answered by rustnn.

    Returns:
        the exit status; `SystemExit` passes through.
    """
    install_as_torch()
    sys.argv = [path, *arguments]
    if os.path.isdir(path) or path.endswith((".zip", ".pyz")):
        import runpy

        sys.path[0] = path
        runpy.run_path(path, run_name="__main__")
        return 0
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        print(
            f"rustnn: can't open file {os.path.abspath(path)!r}: [Errno {error.errno}] {error.strerror}",
            file=sys.stderr,
        )
        return 2
    namespace = _main_module(path)
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        error.__traceback__ = None
        sys.excepthook(type(error), error, None)
        return 1
    return _execute(code, namespace)


def run_code(source: str, arguments: Sequence[str]) -> int:
    """Runs a string as `python -c source arguments...` does."""
    install_as_torch()
    sys.argv = ["-c", *arguments]
    sys.path[0] = ""
    namespace = _main_module(None)
    try:
        code = compile(source, "<string>", "exec", dont_inherit=True)
    except SyntaxError as error:
        error.__traceback__ = None
        sys.excepthook(type(error), error, None)
        return 1
    return _execute(code, namespace)


def run_module(name: str, arguments: Sequence[str]) -> int:
    """Runs a module as `python -m name arguments...` does."""
    import runpy

    install_as_torch()
    sys.argv = [name, *arguments]
    sys.path[0] = os.getcwd()
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except ImportError as error:
        if getattr(error, "name", None) not in (name, None) or not str(error).startswith("No module named"):
            raise
        print(f"rustnn: {error}", file=sys.stderr)
        return 1
    return 0
