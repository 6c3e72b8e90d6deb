"""What of `Tensor` is written in Python: attached to the native class when the package is imported.

A method that the native class has itself wins, except those named in `_OVERRIDES`: the slots every Python
class has by birth (`__repr__`, `__reduce_ex__`, ...).
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from rustnn import _C, _basics
from rustnn._hooks import RemovableHandle
from rustnn._tensor_str import tensor_repr

Tensor = Any

_TYPE_NAMES = {
    "float32": "FloatTensor",
    "float64": "DoubleTensor",
    "float16": "HalfTensor",
    "bfloat16": "BFloat16Tensor",
    "int64": "LongTensor",
    "int32": "IntTensor",
    "int16": "ShortTensor",
    "int8": "CharTensor",
    "uint8": "ByteTensor",
    "bool": "BoolTensor",
}


def _dtype_name(dtype: Any) -> str:
    return str(dtype).rsplit(".", 1)[-1]


def _absent_device(name: str) -> RuntimeError:
    return RuntimeError(
        f"this build of rustnn has no device {name!r}: tensors live on 'cpu'.\n"
        "  Keep device = 'cuda' if torch.cuda.is_available() else 'cpu' and the program runs as it is; other devices "
        "come with a build that includes the wgpu feature (rustnn info lists what this one has)."
    )


def _memory_order(tensor: Tensor) -> list[int] | None:
    """The dimensions from the outermost in memory to the innermost, if they fill memory without gaps."""
    order = sorted(range(tensor.dim()), key=lambda d: (-tensor.stride(d), d))
    expected = 1
    for d in reversed(order):
        size = tensor.shape[d]
        if size != 1 and tensor.stride(d) != expected:
            return None
        expected *= max(size, 1)
    return order


def _to_bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().contiguous().reshape(-1)
    if _dtype_name(flat.dtype) == "bfloat16":
        flat = flat.view(_C.int16)
    return bytes(flat.numpy().tobytes())


def _from_bytes(data: Any, dtype_name: str, shape: Sequence[int]) -> Tensor:
    numpy_name = "int16" if dtype_name == "bfloat16" else dtype_name
    array = np.frombuffer(data, dtype=np.dtype(numpy_name)).copy().reshape(tuple(shape))
    tensor = _C.from_numpy(array)
    return tensor.view(_C.bfloat16) if dtype_name == "bfloat16" else tensor


def _rebuild(
    cls: type,
    data: bytes,
    dtype_name: str,
    shape: tuple[int, ...],
    order: tuple[int, ...],
    requires_grad: bool,
    state: dict[str, Any],
) -> Tensor:
    """Makes a tensor from what `__reduce_ex__` wrote; `shape` is in memory order."""
    tensor = _from_bytes(data, dtype_name, shape)
    back = [0] * len(order)
    for place, dim in enumerate(order):
        back[dim] = place
    if list(back) != list(range(len(back))):
        tensor = tensor.permute(*back)
    if requires_grad:
        tensor.requires_grad_()
    if cls is not _C.Tensor:
        tensor = tensor.as_subclass(cls)
    if state:
        tensor.__dict__.update(state)
    return tensor


def _attributes(tensor: Tensor) -> dict[str, Any]:
    found = getattr(tensor, "__dict__", None)
    return {k: v for k, v in found.items() if not k.startswith("_rustnn_")} if found else {}


class _TensorMethods:
    """The methods; `self` is a native tensor."""

    # NumPy's operators leave the work to ours: array + tensor calls Tensor.__radd__.
    __array_priority__ = 1000
    __hash__ = object.__hash__

    # ---- printing ----------------------------------------------------------------------------------------
    def __repr__(self: Tensor, *, tensor_contents: Any = None) -> str:
        cls = type(self)
        plain = cls is _C.Tensor or cls.__name__ in ("Parameter", "Buffer")
        return tensor_repr(self, _C.get_default_dtype(), plain)

    def __str__(self: Tensor) -> str:
        return repr(self)

    def __format__(self: Tensor, spec: str) -> str:
        if self.dim() == 0 and type(self) is _C.Tensor:
            return format(self.item(), spec)
        if spec:
            raise TypeError(
                f"unsupported format string passed to {type(self).__name__}.__format__: a tensor of shape "
                f"{list(self.shape)} has no single number to format; take .item() of one element"
            )
        return str(self)

    # ---- autograd ----------------------------------------------------------------------------------------
    def backward(
        self: Tensor,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Adds the gradients of this tensor to the `.grad` of the leaves it was computed from.

        Args:
            gradient: the gradient of the final value with respect to this tensor; may be left out for one
                element.
            retain_graph: keep the graph's values for another backward (default: `create_graph`).
            create_graph: record the backward pass, for derivatives of higher order.
            inputs: accumulate only into these.

        Example::

            >>> x = rustnn.tensor(2.0, requires_grad=True)
            >>> (x**3).backward()
            >>> x.grad
            tensor(12.)
        """
        from rustnn.autograd import _engine

        _engine.backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Calls `hook(grad)` whenever the gradient of this tensor is computed; what it returns replaces it."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        number = self._register_hook(hook)
        return RemovableHandle.calling(lambda: self._remove_hook(number))

    def retain_grad(self: Tensor) -> None:
        """Keeps `.grad` for this tensor although it is no leaf."""
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self.is_leaf or getattr(self, "_rustnn_retains_grad", False):
            return
        here = weakref.ref(self)

        def keep(gradient: Tensor) -> None:
            tensor = here()
            if tensor is not None:
                tensor.grad = gradient if tensor.grad is None else tensor.grad + gradient

        self._register_hook(keep)
        self.__dict__["_rustnn_retains_grad"] = True

    @property
    def retains_grad(self: Tensor) -> bool:
        """True for a tensor that is no leaf and keeps its `.grad`."""
        return bool(getattr(self, "_rustnn_retains_grad", False))

    # ---- copies ------------------------------------------------------------------------------------------
    def __deepcopy__(self: Tensor, memo: dict[int, Any]) -> Tensor:
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the "
                "moment. Use .detach() first for a copy without the graph, or .clone() for one inside it."
            )
        before = _C._set_grad_enabled(False)
        try:
            twin = self.detach().clone()
        finally:
            _C._set_grad_enabled(before)
        if type(self) is not _C.Tensor:
            twin = twin.as_subclass(type(self))
        if self.requires_grad:
            twin.requires_grad_()
        memo[id(self)] = twin
        if self.grad is not None:
            twin.grad = copy.deepcopy(self.grad, memo)
        attributes = _attributes(self)
        if attributes:
            twin.__dict__.update(copy.deepcopy(attributes, memo))
        return twin

    def __copy__(self: Tensor) -> Tensor:
        twin = self.detach()
        if type(self) is not _C.Tensor:
            twin = twin.as_subclass(type(self))
        if self.requires_grad:
            twin.requires_grad_()
        attributes = _attributes(self)
        if attributes:
            twin.__dict__.update(attributes)
        return twin

    def __reduce_ex__(self: Tensor, protocol: Any) -> Any:
        if self.requires_grad and not self.is_leaf:
            raise RuntimeError(
                "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support "
                "crossing process boundaries.  If you just want to transfer the data, call detach() on the tensor "
                "before serializing (e.g., putting it on the queue)."
            )
        plain = self.detach()
        order = _memory_order(plain)
        if order is None:
            order = list(range(plain.dim()))
        in_memory = plain.permute(*order) if order != list(range(len(order))) else plain
        arguments = (
            type(self),
            _to_bytes(in_memory),
            _dtype_name(self.dtype),
            tuple(int(n) for n in in_memory.shape),
            tuple(order),
            bool(self.requires_grad),
            _attributes(self),
        )
        return _rebuild, arguments

    def __setstate__(self: Tensor, state: Any) -> None:
        if not isinstance(state, dict):
            raise TypeError(f"the state of a tensor is a dict of attributes, not {type(state).__name__}")
        self.__dict__.update(state)

    def as_subclass(self: Tensor, cls: type) -> Tensor:
        """The same data as an instance of `cls`, a subclass of Tensor."""
        if not (isinstance(cls, type) and issubclass(cls, _C.Tensor)):
            raise RuntimeError(  # noqa: TRY004
                f"Creating a Tensor subclass from a class that does not inherit from Tensor: {cls!r}"
            )
        return _C.Tensor._make_subclass(cls, self)

    # ---- NumPy -------------------------------------------------------------------------------------------
    def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(
                    f"a copy is needed to make {array.dtype} into {np.dtype(dtype)}, but copy=False"
                )
            return array.astype(dtype)
        return array.copy() if copy else array

    def __array_wrap__(self: Tensor, array: Any, context: Any = None, return_scalar: bool = False) -> Tensor:
        array = np.asarray(array)
        if array.dtype == np.bool_:
            array = array.astype(np.uint8)
        return _C.from_numpy(array)

    # ---- container ---------------------------------------------------------------------------------------
    def __iter__(self: Tensor) -> Iterator[Tensor]:
        if self.dim() == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __reversed__(self: Tensor) -> Tensor:
        return self if self.dim() == 0 else self.flip(0)

    def __contains__(self: Tensor, element: Any) -> bool:
        if isinstance(element, (_C.Tensor, bool, int, float, complex)):
            return bool((self == element).any().item())
        raise RuntimeError(
            f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}."
        )

    def __dir__(self: Tensor) -> list[str]:
        names = set(dir(type(self))) | set(getattr(self, "__dict__", ()))
        return sorted(n for n in names if not n.startswith("_rustnn_"))

    def __len__(self: Tensor) -> int:
        if self.dim() == 0:
            raise TypeError("len() of a 0-d tensor")
        return int(self.shape[0])

    # ---- shape and statistics written with other ops -------------------------------------------------------
    def split(self: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """Views of at most `split_size` items each along `dim`, or of the sizes in a list."""
        from rustnn import _functions

        return _functions.split(self, split_size, dim)

    def unique(
        self: Tensor,
        sorted: bool = True,
        return_inverse: bool = False,
        return_counts: bool = False,
        dim: int | None = None,
    ) -> Any:
        """The distinct elements (or slices along `dim`), and where and how often each occurs."""
        from rustnn import _functions

        return _functions.unique(self, sorted, return_inverse, return_counts, dim)

    def unique_consecutive(
        self: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
    ) -> Any:
        """The elements without immediate repetitions."""
        from rustnn import _functions

        return _functions.unique_consecutive(self, return_inverse, return_counts, dim)

    def norm(
        self: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None
    ) -> Tensor:
        """The norm of order `p` over `dim` (all dimensions by default)."""
        from rustnn import _functions

        return _functions.norm(self, p, dim, keepdim, dtype=dtype)

    def __rdiv__(self: Tensor, other: Any) -> Tensor:
        return self.reciprocal() * other

    # ---- kinds and places ----------------------------------------------------------------------------------
    def type(self: Tensor, dtype: Any = None, non_blocking: bool = False, **_: Any) -> Any:
        """The tensor's type name (`"torch.FloatTensor"`), or the tensor cast to `dtype`."""
        if dtype is None:
            return "torch." + _TYPE_NAMES[_dtype_name(self.dtype)]
        if isinstance(dtype, str):
            wanted = dtype.rsplit(".", 1)[-1]
            for name, kind in _TYPE_NAMES.items():
                if kind == wanted and "cuda" not in dtype:
                    return self.to(getattr(_C, name))
            raise ValueError(f"invalid type: {dtype!r}")
        if isinstance(dtype, type) and hasattr(dtype, "dtype"):
            if getattr(dtype, "is_cuda", False) is True:
                raise _absent_device("cuda")
            return self.to(dtype.dtype)
        return self.to(dtype)

    def cuda(
        self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None
    ) -> Tensor:
        """There is no CUDA device: raises an error that says what there is."""
        raise _absent_device(
            "cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else str(device)
        )

    def xpu(self: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
        """There is no XPU device: raises an error that says what there is."""
        raise _absent_device("xpu")

    def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
        """The tensor itself: it is on the CPU."""
        return self

    def pin_memory(self: Tensor, device: Any = None) -> Tensor:
        """The tensor itself: there is no device to copy to."""
        return self

    def is_pinned(self: Tensor, device: Any = None) -> bool:
        return False

    def is_shared(self: Tensor) -> bool:
        """Whether the memory is shared between processes."""
        return bool(getattr(self, "_rustnn_shared", False))

    def share_memory_(self: Tensor) -> Tensor:
        """Accepted for compatibility: processes made by fork see a copy, workers get tensors by pickling."""
        self.__dict__["_rustnn_shared"] = True
        return self

    def get_device(self: Tensor) -> int:
        return -1

    is_cuda = property(lambda self: False, doc="False: the tensor is on the CPU.")
    is_xpu = property(lambda self: False, doc="False: the tensor is on the CPU.")
    is_mps = property(lambda self: False, doc="False: the tensor is on the CPU.")
    is_cpu = property(lambda self: True, doc="True: the tensor is on the CPU.")
    is_sparse = property(lambda self: False, doc="False: all tensors are dense.")
    is_quantized = property(lambda self: False, doc="False: there are no quantized tensors.")
    is_mkldnn = property(lambda self: False, doc="False.")
    is_nested = property(lambda self: False, doc="False.")
    names = property(lambda self: (None,) * self.dim(), doc="Dimensions have no names: all None.")

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls `func`; a subclass's override of this gets the calls whose arguments are of the subclass."""
        before = _C._set_torch_function_enabled(False)
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            _C._set_torch_function_enabled(before)
        return _wrap_like(cls, result)


def _wrap_like(cls: type, value: Any) -> Any:
    """Plain tensors of a result as instances of the subclass `cls`."""
    if type(value) is _C.Tensor and cls is not _C.Tensor and cls.__name__ != "Parameter":
        return value.as_subclass(cls)
    if isinstance(value, tuple) and any(type(v) is _C.Tensor for v in value):
        items = [_wrap_like(cls, v) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


# What a class has by birth, so that "the native class has it" says nothing.
_OVERRIDES = {
    "__repr__",
    "__str__",
    "__format__",
    "__hash__",
    "__reduce_ex__",
    "__dir__",
}


def _intercept(name: str, method: bool, args: tuple[Any, ...], kwargs: dict[str, Any], cls: Any) -> Any:
    """Gives a native call on a tensor of subclass `cls` to its `__torch_function__`."""
    takes_over = cls.__torch_function__
    if getattr(takes_over, "_rustnn_disabled", False):
        return NotImplemented
    func = (
        getattr(_C.Tensor, name, None) if method else getattr(_C, name, None) or getattr(_C._nn, name, None)
    )
    types = tuple({type(a) for a in (*args, *kwargs.values()) if isinstance(a, _C.Tensor)})
    return takes_over(func, types, args, kwargs)


def attach() -> None:
    """Gives the native class what it lacks."""
    _C._set_torch_function_handler(_intercept)
    for name, value in {**vars(_TensorMethods), **_basics.methods}.items():
        if name in ("__module__", "__doc__", "__dict__", "__weakref__", "__qualname__", "__annotations__"):
            continue
        if name in _OVERRIDES or not hasattr(_C.Tensor, name):
            setattr(_C.Tensor, name, value)
