"""Parameters and buffers: tensors that a Module registers when they are assigned to it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from ._base import _C, Tensor, make_subclass

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]


def _rebuild_parameter(data: Tensor, requires_grad: bool, backward_hooks: Any) -> Parameter:
    """Unpickles a Parameter."""
    return Parameter(data, requires_grad)


class _ParameterMeta(type(Tensor)):  # type: ignore[misc]
    """Lets a foreign tensor subclass count as a Parameter once it carries ``_is_param``."""

    def __instancecheck__(cls, instance: object) -> bool:
        if super().__instancecheck__(instance):
            return True
        return cls is Parameter and isinstance(instance, Tensor) and bool(getattr(instance, "_is_param", False))


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that is a parameter of the module it is assigned to.

    Args:
        data: the values; shared, not copied. None gives an empty tensor.
        requires_grad: whether the parameter takes part in training.

    Example::

        self.scale = nn.Parameter(rustnn.ones(3))
    """

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:  # noqa: PYI034
        if data is None:
            data = _C.empty(0)
        if type(data) is Tensor or type(data) is Parameter or isinstance(data, Parameter):
            return make_subclass(cls, data, requires_grad)
        if not isinstance(data, Tensor):
            raise TypeError(
                f"Parameter data must be a Tensor, not {type(data).__name__}: wrap it in rustnn.tensor(...)"
            )
        # A user's subclass of Tensor keeps its class and is marked instead.
        kept: Any = data.detach().requires_grad_(requires_grad)
        if type(kept) is not type(data):
            return make_subclass(cls, data, requires_grad)
        setattr(kept, "_is_param", True)  # noqa: B010  (not an attribute that Tensor declares)
        return kept

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        # Everything is done in __new__; this keeps object.__init__ from seeing the arguments.
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]  # type: ignore[no-any-return]
        result = type(self)(self.data.clone(), self.requires_grad)
        memo[id(self)] = result
        return result

    def __repr__(self) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + Tensor.__repr__(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild_parameter, (self.data, self.requires_grad, OrderedDict())


class _BufferMeta(type(Tensor)):  # type: ignore[misc]
    """``isinstance(t, Buffer)`` is true for any tensor that was made by ``Buffer(...)``."""

    def __instancecheck__(cls, instance: object) -> bool:
        if super().__instancecheck__(instance):
            return True
        return cls is Buffer and isinstance(instance, Tensor) and bool(getattr(instance, "_is_buffer", False))


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that is a buffer (state without gradient steps) of the module it is assigned to.

    Args:
        data: the values; shared, not copied.
        persistent: whether the buffer is part of the module's ``state_dict``.
    """

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        if data is None:
            data = _C.empty(0)
        tensor = data.detach().requires_grad_(data.requires_grad)
        tensor.persistent = persistent
        tensor._is_buffer = True
        return tensor


_NO_DATA = (
    "Can't access the shape of an uninitialized parameter or buffer. "
    "This error usually happens in `load_state_dict` when trying to load "
    "an uninitialized parameter into an initialized one. "
    "Call `forward` to initialize the parameters before accessing their attributes."
)


class UninitializedTensorMixin:
    """What has neither shape nor values before its module's first forward."""

    _is_uninitialized = True
    cls_to_become: Any = None
    dtype: Any

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Gives the tensor its shape (values undefined) and turns it into an ordinary one."""
        self.data = _C.empty(shape, dtype=self.dtype if dtype is None else dtype)
        self.__class__ = self.cls_to_become

    @property
    def shape(self) -> Any:
        """Raises: there is no shape yet."""
        raise RuntimeError(_NO_DATA)

    def share_memory_(self) -> Any:
        """Raises: there is nothing to share yet."""
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. "
            "Call `forward` to initialize the parameters before calling `module.share_memory()`."
        )

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__class__, (self.requires_grad,)  # type: ignore[attr-defined]


class UninitializedParameter(UninitializedTensorMixin, Parameter):  # type: ignore[misc]
    """A parameter of a lazy module before its first forward."""

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        return make_subclass(cls, _C.empty(0, dtype=dtype), requires_grad)

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        result = type(self)(self.requires_grad, dtype=self.dtype)
        memo[id(self)] = result
        return result


class UninitializedBuffer(UninitializedTensorMixin, Tensor):  # type: ignore[misc]
    """A buffer of a lazy module before its first forward."""

    cls_to_become = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> Any:
        tensor = make_subclass(cls, _C.empty(0, dtype=dtype), requires_grad)
        tensor.persistent = persistent
        tensor._is_buffer = True
        return tensor


def is_lazy(param: Any) -> bool:
    """True for a parameter or buffer whose shape is not known yet."""
    return isinstance(param, UninitializedTensorMixin)


if hasattr(_C, "_set_parameter_type"):
    _C._set_parameter_type(Parameter)  # parameters never intercept calls: they cost no look-up
