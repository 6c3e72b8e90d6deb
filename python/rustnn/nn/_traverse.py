"""The part of Module that walks over submodules: ``named_*``, ``get_*``, ``apply``, ``to``, ``train``."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from ._base import _C, Tensor, dtype_type, is_lazy, no_grad

if TYPE_CHECKING:
    from .module import Module
    from .parameter import Parameter


def _parse_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, bool, Any]:
    """Reads the arguments of ``to``: ``(device, dtype, non_blocking, memory_format)``."""
    device = kwargs.pop("device", None)
    dtype = kwargs.pop("dtype", None)
    non_blocking = bool(kwargs.pop("non_blocking", False))
    memory_format = kwargs.pop("memory_format", None)
    other = kwargs.pop("tensor", kwargs.pop("other", None))
    kwargs.pop("copy", None)
    if kwargs:
        raise TypeError(f"to() received an invalid combination of arguments - got an unexpected {next(iter(kwargs))!r}")
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
    if other is not None:
        device, dtype = other.device, other.dtype
    elif rest and isinstance(rest[0], dtype_type):
        dtype = rest.pop(0)
    elif rest and (rest[0] is None or not isinstance(rest[0], bool)):
        device = rest.pop(0)
        if rest and (rest[0] is None or isinstance(rest[0], dtype_type)):
            dtype = rest.pop(0)
    if rest and isinstance(rest[0], bool):
        non_blocking = rest.pop(0)
    if rest and isinstance(rest[0], bool):
        rest.pop(0)
    if rest:
        raise TypeError(f"to() received an invalid combination of arguments - got {typename_list(args)}")
    return device, dtype, non_blocking, memory_format


def typename_list(args: tuple[Any, ...]) -> str:
    """``(str, int)``: the types of arguments, for a message."""
    return "(" + ", ".join(type(a).__name__ for a in args) + ")"


def _walk_path(root: Any, atoms: list[str]) -> Any:
    """Follows attribute names from ``root``; every step must be a Module."""
    from .module import Module

    module = root
    for item in atoms:
        if not hasattr(module, item):
            raise AttributeError(f"{module._get_name()} has no attribute `{item}`")
        module = getattr(module, item)
        if not isinstance(module, Module):
            raise AttributeError(f"`{item}` is not an nn.Module")  # noqa: TRY004
    return module


class TraverseMixin:
    """Methods of Module over the tree of its submodules."""

    training: bool
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]

    # -- iterating ------------------------------------------------------------

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Yields ``(path, module)`` for this module (path ``""``) and all below it, each module once."""
        if memo is None:
            memo = set()
        if self not in memo:
            if remove_duplicate:
                memo.add(self)
            yield prefix, self  # type: ignore[misc]
            for name, module in self._modules.items():
                if module is not None:
                    path = f"{prefix}.{name}" if prefix else name
                    yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """Yields this module and all below it."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yields ``(name, module)`` of the immediate submodules, each module once."""
        memo = set()
        for name, module in self._modules.items():
            if module is not None and module not in memo:
                memo.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """Yields the immediate submodules."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self,
        get_members_fn: Callable[[Any], Any],
        prefix: str = "",
        recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:
        memo = set()
        modules: Any = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        )
        for path, module in modules:
            for name, value in get_members_fn(module):
                if value is None or id(value) in memo:
                    continue
                if remove_duplicate:
                    memo.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yields ``(path, parameter)``; a shared parameter once, unless ``remove_duplicate=False``."""
        yield from self._named_members(lambda m: m._parameters.items(), prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yields the parameters, as an optimizer takes them."""
        for _, param in self.named_parameters(recurse=recurse):
            yield param

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yields ``(path, buffer)``."""
        yield from self._named_members(lambda m: m._buffers.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yields the buffers."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    # -- by path ----------------------------------------------------------------

    def get_submodule(self, target: str) -> Module:
        """The submodule at a dotted path; ``""`` is this module.

        Raises:
            AttributeError: the path leads nowhere, or to something that is no Module.
        """
        return _walk_path(self, target.split(".")) if target else self  # type: ignore[return-value]

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path."""
        from .parameter import Parameter

        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        param = getattr(module, name)
        if not isinstance(param, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")  # noqa: TRY004
        return param

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return module._buffers[name]

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Replaces (or, without ``strict``, adds) the submodule at a dotted path."""
        from .module import Module

        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        atoms = target.split(".")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")  # noqa: TRY004
        parent: Any = self if len(atoms) == 1 else _walk_path(self, atoms[:-1])
        name = atoms[-1]
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    # -- converting -----------------------------------------------------------------

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Self:
        """Replaces the values of all parameters, their gradients and all buffers by ``fn`` of them."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for param in self._parameters.values():
            if param is None:
                continue
            with no_grad():
                grad = None if is_lazy(param) else param.grad
                param.data = fn(param.data if not is_lazy(param) else param)
                if grad is not None:
                    grad.data = fn(grad.data)
                    if param.grad is not grad:
                        param.grad = grad
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def apply(self, fn: Callable[[Any], None]) -> Self:
        """Calls ``fn`` on every module, children first; typically to initialise weights."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Moves and casts parameters and buffers in place.

        ``to(device, dtype, non_blocking)``, ``to(dtype)``, ``to(tensor)``, ``to(memory_format=...)``.
        Integer members keep their dtype.

        Raises:
            TypeError: the dtype is neither floating point nor complex.
        """
        device, dtype, _, memory_format = _parse_to(args, dict(kwargs))
        if dtype is not None and not (dtype.is_floating_point or getattr(dtype, "is_complex", False)):
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
            )

        def convert(t: Any) -> Any:
            how: dict[str, Any] = {}
            if device is not None:
                how["device"] = device
            if dtype is not None and t.is_floating_point():
                how["dtype"] = dtype
            if memory_format is not None and t.dim() in (4, 5):
                how["memory_format"] = memory_format
            return t.to(**how) if how else t

        return self._apply(convert)

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Moves members to ``device`` without copying their values."""
        return self._apply(lambda t: _C.empty_like(t, device=device), recurse=recurse)

    def type(self, dst_type: Any) -> Self:
        """Casts all members to ``dst_type``."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self) -> Self:
        """Casts floating point members to float32."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self) -> Self:
        """Casts floating point members to float64."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def half(self) -> Self:
        """Casts floating point members to float16."""
        return self._apply(lambda t: t.half() if t.is_floating_point() else t)

    def bfloat16(self) -> Self:
        """Casts floating point members to bfloat16."""
        return self._apply(lambda t: t.bfloat16() if t.is_floating_point() else t)

    def cpu(self) -> Self:
        """Moves members to the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self, device: Any = None) -> Self:
        """Moves members to a CUDA device (rustnn has none: the tensors' own error says so)."""
        return self.to("cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)

    def xpu(self, device: Any = None) -> Self:
        """Moves members to an XPU device."""
        return self.to("xpu" if device is None else device)

    def share_memory(self) -> Self:
        """Moves members into memory that processes share."""
        return self._apply(lambda t: t.share_memory_())

    # -- modes -----------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Sets training mode (dropout drops, batch norm uses the batch) on this and all submodules."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")  # noqa: TRY004
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Sets ``requires_grad`` of all parameters."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops (or, with ``set_to_none=False``, zeroes) the gradients of all parameters."""
        for param in self.parameters():
            if param.grad is None:
                continue
            if set_to_none:
                param.grad = None
            else:
                if param.grad.grad_fn is not None:
                    param.grad.detach_()
                else:
                    param.grad.requires_grad_(False)
                param.grad.zero_()

    def compile(self, *args: Any, **kwargs: Any) -> Self:
        """Does nothing: rustnn runs eagerly. Gives the module itself."""
        return self

    def _replicate_for_data_parallel(self) -> Any:
        from ._mirror import Members

        replica = self.__new__(type(self))
        replica.__dict__.update(self.__dict__)
        replica.__dict__["_parameters"] = Members(replica)
        replica.__dict__["_buffers"] = Members(replica, self._buffers.items())
        replica.__dict__["_modules"] = Members(replica, self._modules.items())
        replica.__dict__["_is_replica"] = True
        return replica
