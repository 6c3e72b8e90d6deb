"""The kinds of containers that `rustnn.utils._pytree` looks into: how each is taken apart, put together and named."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from rustnn._size import Size

__all__ = [
    "GetAttrKey",
    "KeyEntry",
    "KeyPath",
    "MappingKey",
    "Node",
    "NodeDef",
    "SequenceKey",
    "is_namedtuple",
    "is_namedtuple_class",
    "is_namedtuple_instance",
    "is_structseq",
    "is_structseq_class",
    "is_structseq_instance",
    "key_get",
    "keystr",
    "node_of",
    "register_constant",
    "register_dataclass",
    "register_pytree_node",
]

KeyEntry = Any
KeyPath = tuple[Any, ...]


# ---- the steps of a path from the root to a leaf ----------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SequenceKey:
    """The step into a list or tuple."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"

    def get(self, sequence: Any) -> Any:
        """The part that the step leads to."""
        return sequence[self.idx]


@dataclasses.dataclass(frozen=True)
class MappingKey:
    """The step into a dictionary."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"

    def get(self, mapping: Any) -> Any:
        """The part that the step leads to."""
        return mapping[self.key]


@dataclasses.dataclass(frozen=True)
class GetAttrKey:
    """The step to an attribute."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"

    def get(self, obj: Any) -> Any:
        """The part that the step leads to."""
        return getattr(obj, self.name)


def keystr(kp: Iterable[Any]) -> str:
    """A path as one writes it: `['a'][0].name`."""
    return "".join(str(key) for key in kp)


def key_get(obj: Any, kp: Iterable[Any]) -> Any:
    """What the path leads to, from `obj` on."""
    for key in kp:
        obj = key.get(obj)
    return obj


# ---- the registry -----------------------------------------------------------------------------------------


class NodeDef(NamedTuple):
    """How containers of one type are taken apart and put together."""

    type: type[Any]
    flatten_fn: Callable[[Any], tuple[list[Any], Any]]
    unflatten_fn: Callable[[Iterable[Any], Any], Any]
    flatten_with_keys_fn: Callable[[Any], tuple[list[tuple[Any, Any]], Any]] | None


@dataclasses.dataclass
class Node:
    """What a registered type has for writing its structure as text."""

    name: str | None = None
    to_dumpable: Callable[[Any], Any] | None = None
    from_dumpable: Callable[[Any], Any] | None = None


SUPPORTED_NODES: dict[type[Any], NodeDef] = {}
SERIALIZATION: dict[type[Any], Node] = {}
BY_NAME: dict[str, type[Any]] = {}
CONSTANT_NODES: set[type[Any]] = set()


def register_pytree_node(
    cls: type[Any],
    flatten_fn: Callable[[Any], tuple[list[Any], Any]],
    unflatten_fn: Callable[[Iterable[Any], Any], Any],
    *,
    serialized_type_name: str | None = None,
    to_dumpable_context: Callable[[Any], Any] | None = None,
    from_dumpable_context: Callable[[Any], Any] | None = None,
    flatten_with_keys_fn: Callable[[Any], tuple[list[tuple[Any, Any]], Any]] | None = None,
) -> None:
    """Makes containers of a type part of the trees.

    Args:
        cls: the type itself (its subclasses are leaves).
        flatten_fn: gives the children as a list, and what else is needed to make the container again.
        unflatten_fn: makes a container of children and that context.
        serialized_type_name: the name in `treespec_dumps`.
        to_dumpable_context: turns the context into what JSON can hold; given together with its inverse.
        from_dumpable_context: the inverse.
        flatten_with_keys_fn: as `flatten_fn`, children as pairs of a key and the child.

    Raises:
        ValueError: the type is registered already, or only one of the two conversions is given.
    """
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    if (to_dumpable_context is None) != (from_dumpable_context is None):
        raise ValueError(
            f"Both to_dumpable_context and from_dumpable_context for {cls} must be None or registered."
        )
    SUPPORTED_NODES[cls] = NodeDef(cls, flatten_fn, unflatten_fn, flatten_with_keys_fn)
    SERIALIZATION[cls] = Node(serialized_type_name, to_dumpable_context, from_dumpable_context)
    if serialized_type_name is not None:
        BY_NAME[serialized_type_name] = cls


def deregister_pytree_node(cls: type[Any]) -> None:
    """Takes a type out of the trees again."""
    del SUPPORTED_NODES[cls]
    node = SERIALIZATION.pop(cls)
    BY_NAME.pop(node.name or "", None)
    CONSTANT_NODES.discard(cls)


def register_dataclass(
    cls: type[Any],
    *,
    field_names: list[str] | None = None,
    drop_field_names: list[str] | None = None,
    serialized_type_name: str | None = None,
) -> None:
    """Makes a data class part of the trees: its fields are the children, those that are `None` are left out."""
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"register_dataclass() can only be used with dataclasses, got {cls!r}")
    made = [f.name for f in dataclasses.fields(cls) if f.init]
    names = made if field_names is None else list(field_names)
    unknown = set(names) - {f.name for f in dataclasses.fields(cls)}
    if unknown:
        raise ValueError(f"register_dataclass: {cls.__name__} has no fields {sorted(unknown)}")
    names = [n for n in names if n not in (drop_field_names or [])]

    def parts(obj: Any) -> tuple[list[str], list[str]]:
        there = [n for n in names if getattr(obj, n) is not None]
        return there, [n for n in names if getattr(obj, n) is None]

    def flatten(obj: Any) -> tuple[list[Any], Any]:
        there, none = parts(obj)
        return [getattr(obj, n) for n in there], [there, none]

    def flatten_with_keys(obj: Any) -> tuple[list[tuple[Any, Any]], Any]:
        there, none = parts(obj)
        return [(GetAttrKey(n), getattr(obj, n)) for n in there], [there, none]

    def unflatten(values: Iterable[Any], context: Any) -> Any:
        there, none = context
        return cls(**dict(zip(there, values, strict=True)), **dict.fromkeys(none))

    register_pytree_node(
        cls,
        flatten,
        unflatten,
        serialized_type_name=serialized_type_name,
        flatten_with_keys_fn=flatten_with_keys,
    )


def register_constant(cls: type[Any]) -> None:
    """Makes objects of a type parts of the structure instead of leaves; they have to compare by value."""
    if vars(object)["__eq__"] is getattr(cls, "__eq__", None):
        raise TypeError(
            f"register_constant(cls) expects `cls` to have a non-default `__eq__` implementation: {cls}"
        )
    register_pytree_node(
        cls, lambda obj: ([], obj), lambda _, context: context, flatten_with_keys_fn=lambda obj: ([], obj)
    )
    CONSTANT_NODES.add(cls)


def is_constant_class(cls: type[Any]) -> bool:
    """Whether the type is registered as a constant."""
    return cls in CONSTANT_NODES


# ---- named tuples, and the tuples that operations return --------------------------------------------------


def is_namedtuple_class(cls: Any) -> bool:
    """Whether a class is a `namedtuple`."""
    return (
        isinstance(cls, type)
        and issubclass(cls, tuple)
        and isinstance(getattr(cls, "_fields", None), tuple)
        and all(isinstance(f, str) for f in getattr(cls, "_fields", ()))
        and callable(getattr(cls, "_make", None))
        and not is_structseq_class(cls)
    )


def is_namedtuple_instance(obj: object) -> bool:
    """Whether an object is a `namedtuple`."""
    return is_namedtuple_class(type(obj))


def is_namedtuple(obj: Any) -> bool:
    """Whether a class or an object is a `namedtuple`."""
    return is_namedtuple_class(obj if isinstance(obj, type) else type(obj))


def is_structseq_class(cls: Any) -> bool:
    """Whether a class is one of the tuples with names that operations return."""
    if not isinstance(cls, type) or not issubclass(cls, tuple):
        return False
    return cls.__module__ in ("rustnn.return_types", "torch.return_types") or (
        isinstance(getattr(cls, "n_sequence_fields", None), int)
        and isinstance(getattr(cls, "n_fields", None), int)
    )


def is_structseq_instance(obj: object) -> bool:
    """Whether an object is one of them."""
    return is_structseq_class(type(obj))


def is_structseq(obj: Any) -> bool:
    """Whether a class or an object is one of them."""
    return is_structseq_class(obj if isinstance(obj, type) else type(obj))


class _NamedTupleKind:
    """Stands for all named tuples in the registry; the class itself is the context."""


def node_of(tree: Any) -> type[Any] | None:
    """The registered type that a container counts as; `None` for a leaf."""
    kind = type(tree)
    if kind in SUPPORTED_NODES:
        return kind
    if is_namedtuple_class(kind):
        return NAMEDTUPLE
    if is_structseq_class(kind):
        _register_structseq(kind)
        return kind
    return None


def _register_structseq(cls: type[Any]) -> None:
    register_pytree_node(
        cls,
        lambda obj: (list(obj), None),
        lambda values, _: _make_structseq(cls, values),
        serialized_type_name=f"torch.return_types.{cls.__name__}",
        flatten_with_keys_fn=lambda obj: ([(SequenceKey(i), v) for i, v in enumerate(obj)], None),
    )


def _make_structseq(cls: type[Any], values: Iterable[Any]) -> Any:
    make = getattr(cls, "_make", None)
    return make(values) if make is not None else cls(list(values))


def _sequence_keys(values: Iterable[Any]) -> list[tuple[Any, Any]]:
    return [(SequenceKey(i), v) for i, v in enumerate(values)]


def _mapping_keys(mapping: Any) -> list[tuple[Any, Any]]:
    return [(MappingKey(k), v) for k, v in mapping.items()]


def _named_tuple_keys(obj: Any) -> tuple[list[tuple[Any, Any]], Any]:
    return [(GetAttrKey(name), value) for name, value in zip(obj._fields, obj, strict=True)], type(obj)


def _no_serialized_name(context: Any) -> Any:
    if context in SERIALIZATION and SERIALIZATION[context].name is not None:
        return SERIALIZATION[context].name
    raise NotImplementedError(
        f"Can't serialize TreeSpec of namedtuple class {context} because we didn't register a "
        "serialized_type_name. Please register using `_register_namedtuple`."
    )


def register_namedtuple(cls: type[Any], *, serialized_type_name: str) -> None:
    """Names a `namedtuple` class for `treespec_dumps`."""
    SERIALIZATION[cls] = Node(serialized_type_name)
    BY_NAME[serialized_type_name] = cls


def _defaultdict_to_dumpable(context: Any) -> Any:
    factory, keys = context
    return {
        "default_factory_module": None if factory is None else factory.__module__,
        "default_factory_name": None if factory is None else factory.__qualname__,
        "dict_context": keys,
    }


def _defaultdict_from_dumpable(context: Any) -> Any:
    if context["default_factory_name"] is None:
        return [None, context["dict_context"]]
    module = importlib.import_module(context["default_factory_module"])
    return [getattr(module, context["default_factory_name"]), context["dict_context"]]


def _register_builtin() -> None:
    def sequence(cls: type[Any], name: str, make: Callable[[Iterable[Any]], Any]) -> None:
        register_pytree_node(
            cls,
            lambda obj: (list(obj), None),
            lambda values, _: make(values),
            serialized_type_name=name,
            flatten_with_keys_fn=lambda obj: (_sequence_keys(obj), None),
        )

    sequence(tuple, "builtins.tuple", tuple)
    sequence(list, "builtins.list", list)
    sequence(Size, "torch.Size", Size)
    for mapping, name in ((dict, "builtins.dict"), (OrderedDict, "collections.OrderedDict")):
        register_pytree_node(
            mapping,
            lambda obj: (list(obj.values()), list(obj)),
            lambda values, keys, make=mapping: make(zip(keys, values, strict=True)),  # type: ignore[misc]
            serialized_type_name=name,
            flatten_with_keys_fn=lambda obj: (_mapping_keys(obj), list(obj)),
        )
    register_pytree_node(
        defaultdict,
        lambda obj: (list(obj.values()), [obj.default_factory, list(obj)]),
        lambda values, context: defaultdict(context[0], zip(context[1], values, strict=True)),
        serialized_type_name="collections.defaultdict",
        to_dumpable_context=_defaultdict_to_dumpable,
        from_dumpable_context=_defaultdict_from_dumpable,
        flatten_with_keys_fn=lambda obj: (_mapping_keys(obj), [obj.default_factory, list(obj)]),
    )
    register_pytree_node(
        deque,
        lambda obj: (list(obj), obj.maxlen),
        lambda values, maxlen: deque(values, maxlen=maxlen),
        serialized_type_name="collections.deque",
        flatten_with_keys_fn=lambda obj: (_sequence_keys(obj), obj.maxlen),
    )
    register_pytree_node(
        NAMEDTUPLE,
        lambda obj: (list(obj), type(obj)),
        lambda values, cls: cls(*values),
        serialized_type_name="collections.namedtuple",
        to_dumpable_context=_no_serialized_name,
        from_dumpable_context=BY_NAME.__getitem__,
        flatten_with_keys_fn=_named_tuple_keys,
    )


_NamedTupleKind.__name__ = _NamedTupleKind.__qualname__ = "namedtuple"
NAMEDTUPLE: type[Any] = _NamedTupleKind
_register_builtin()


def to_json(kind: type[Any], context: Any) -> tuple[str, Any]:
    """The name and the context of a container, as they stand in JSON."""
    node = SERIALIZATION.get(kind)
    if node is None or node.name is None:
        raise NotImplementedError(
            f"No registered serialization name for {kind} found. Please update your _register_pytree_node call "
            "with a `serialized_type_name` kwarg."
        )
    if node.to_dumpable is not None:
        return node.name, node.to_dumpable(context)
    try:
        return node.name, json.dumps(context)
    except TypeError as error:
        raise TypeError(
            "Unable to serialize context. Please make the context json dump-able, or register a custom "
            "serializer using _register_pytree_node."
        ) from error


def from_json(name: str, context: Any) -> tuple[type[Any], Any]:
    """The type and the context that `to_json` wrote."""
    if name not in BY_NAME and name.startswith("torch.return_types."):
        from rustnn import return_types

        cls = getattr(return_types, name.rsplit(".", 1)[-1], None)
        if cls is not None:
            _register_structseq(cls)
    if name not in BY_NAME:
        raise NotImplementedError(
            f"Deserializing `{name}` in pytree is not registered: call register_pytree_node for it first"
        )
    kind = BY_NAME[name]
    node = SERIALIZATION[kind]
    return kind, json.loads(context) if node.from_dumpable is None else node.from_dumpable(context)
