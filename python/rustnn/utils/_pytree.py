"""Nested containers as trees: flattened to a list of leaves and a structure, mapped over, compared, written as text.

Under the names of `torch.utils._pytree`. Lists, tuples, named tuples, dictionaries (ordered and with defaults),
deques and the tuples that operations return are looked into, and what `register_pytree_node` adds; everything else,
`None` too, is a leaf.

Example::

    >>> from rustnn.utils import _pytree as pytree
    >>> pytree.tree_map(lambda x: x * 10, {"a": [1, 2], "b": (3,)})
    {'a': [10, 20], 'b': (30,)}
"""

from __future__ import annotations

import json
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from types import UnionType
from typing import Any

from rustnn.utils import _pytree_nodes as _nodes
from rustnn.utils._pytree_nodes import (
    BY_NAME as SERIALIZED_TYPE_TO_PYTHON_TYPE,
)
from rustnn.utils._pytree_nodes import (
    CONSTANT_NODES,
    SUPPORTED_NODES,
    GetAttrKey,
    KeyEntry,
    KeyPath,
    MappingKey,
    NodeDef,
    SequenceKey,
    is_constant_class,
    is_namedtuple,
    is_namedtuple_class,
    is_namedtuple_instance,
    is_structseq,
    is_structseq_class,
    is_structseq_instance,
    key_get,
    keystr,
    register_constant,
    register_dataclass,
    register_pytree_node,
)
from rustnn.utils._pytree_nodes import SERIALIZATION as SUPPORTED_SERIALIZED_TYPES
from rustnn.utils._pytree_nodes import deregister_pytree_node as _deregister_pytree_node
from rustnn.utils._pytree_nodes import register_namedtuple as _register_namedtuple

__all__ = [
    "BUILTIN_TYPES",
    "CONSTANT_NODES",
    "SERIALIZED_TYPE_TO_PYTHON_TYPE",
    "SUPPORTED_NODES",
    "SUPPORTED_SERIALIZED_TYPES",
    "Context",
    "GetAttrKey",
    "KeyEntry",
    "KeyPath",
    "LeafSpec",
    "MappingKey",
    "NodeDef",
    "PyTree",
    "PyTreeSpec",
    "SequenceKey",
    "TreeSpec",
    "_deregister_pytree_node",
    "_register_namedtuple",
    "is_constant_class",
    "is_namedtuple",
    "is_namedtuple_class",
    "is_namedtuple_instance",
    "is_structseq",
    "is_structseq_class",
    "is_structseq_instance",
    "key_get",
    "keystr",
    "register_constant",
    "register_dataclass",
    "register_pytree_node",
    "tree_all",
    "tree_all_only",
    "tree_any",
    "tree_any_only",
    "tree_flatten",
    "tree_flatten_with_path",
    "tree_is_leaf",
    "tree_iter",
    "tree_leaves",
    "tree_leaves_with_path",
    "tree_map",
    "tree_map_",
    "tree_map_only",
    "tree_map_only_",
    "tree_map_with_path",
    "tree_structure",
    "tree_unflatten",
    "treespec_dumps",
    "treespec_loads",
    "treespec_pprint",
]

PyTree = Any
Context = Any
DumpableContext = Any
FlattenFn = Callable[[Any], tuple[list[Any], Any]]
FlattenFunc = FlattenFn
UnflattenFn = Callable[[Iterable[Any], Any], Any]
UnflattenFunc = UnflattenFn
FlattenWithKeysFunc = Callable[[Any], tuple[list[tuple[Any, Any]], Any]]
ToDumpableContextFn = FromDumpableContextFn = Callable[[Any], Any]
IsLeaf = Callable[[Any], bool] | None
_MAPPINGS = (dict, OrderedDict, defaultdict)
BUILTIN_TYPES: frozenset[type[Any]] = frozenset(
    (tuple, list, dict, OrderedDict, defaultdict, deque, _nodes.NAMEDTUPLE)
)


class TreeSpec:
    """The structure of a tree: the type of its root, what that needs to be made again, and the children's.

    `type` is `None` for a leaf. Structures compare by value.
    """

    __slots__ = ("_children", "context", "num_children", "num_leaves", "num_nodes", "type")

    def __init__(self, type: Any, context: Any, children_specs: Iterable[TreeSpec]) -> None:
        self.type, self.context, self._children = type, context, list(children_specs)
        self.num_children: int = len(self._children)
        self.num_nodes: int = 1 + sum(c.num_nodes for c in self._children)
        self.num_leaves: int = 1 if type is None else sum(c.num_leaves for c in self._children)

    @property
    def children_specs(self) -> list[TreeSpec]:
        """The structures of the children."""
        return list(self._children)

    def children(self) -> list[TreeSpec]:
        """The structures of the children."""
        return list(self._children)

    def child(self, index: int) -> TreeSpec:
        """The structure of one child."""
        return self._children[index]

    def is_leaf(self) -> bool:
        """Whether this is a leaf."""
        return self.type is None

    def __repr__(self, indent: int = 0) -> str:
        if self.type is None:
            return "*"
        inner = indent + 2
        parts = [child.__repr__(inner) for child in self._children]
        text = (",\n" + " " * inner).join(parts)
        return f"TreeSpec({self.type.__name__}, {self.context}, [{text}])"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TreeSpec):
            return NotImplemented
        return (
            self.type is other.type
            and self.num_leaves == other.num_leaves
            and bool(self.context == other.context)
            and self._children == other._children
        )

    def __hash__(self) -> int:
        if self.type in _MAPPINGS or isinstance(self.context, (list, dict)):
            return hash((self.type, repr(self.context), tuple(self._children)))
        return hash((self.type, self.context, tuple(self._children)))

    def __reduce__(self) -> Any:
        return TreeSpec, (self.type, self.context, self._children)

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """The tree of this structure with the leaves given.

        Raises:
            ValueError: their number is not that of the structure.
        """
        values = leaves if isinstance(leaves, (list, tuple)) else list(leaves)
        if len(values) != self.num_leaves:
            raise ValueError(
                f"treespec.unflatten(leaves): `leaves` has length {len(values)} but the spec refers to a pytree "
                f"that holds {self.num_leaves} items ({self})."
            )
        return self._build(iter(values))

    def _build(self, leaves: Iterator[Any]) -> Any:
        if self.type is None:
            return next(leaves)
        parts = [child._build(leaves) for child in self._children]
        return SUPPORTED_NODES[self.type].unflatten_fn(parts, self.context)

    def flatten_up_to(self, tree: Any) -> list[Any]:
        """The subtrees of `tree` that stand where this structure has leaves.

        Raises:
            ValueError: `tree` does not begin with this structure.
        """
        found: list[Any] = []
        self._collect(tree, found)
        return found

    def _collect(self, tree: Any, found: list[Any]) -> None:
        if self.type is None:
            found.append(tree)
            return
        kind = _nodes.node_of(tree)
        both = self.type in _MAPPINGS and kind in _MAPPINGS
        if kind is None or (kind is not self.type and not both):
            raise ValueError(f"Node type mismatch; expected {self.type!r}, but got {type(tree)!r}.")
        parts, context = SUPPORTED_NODES[kind].flatten_fn(tree)
        if both:
            keys = self.context[1] if self.type is defaultdict else self.context
            missing, extra = set(keys) - set(tree), set(tree) - set(keys)
            if missing or extra:
                message = "Node keys mismatch"
                message += f"; missing key(s): {missing}" if missing else ""
                message += f"; extra key(s): {extra}" if extra else ""
                raise ValueError(message + ".")
            parts = [tree[key] for key in keys]
        elif len(parts) != self.num_children:
            raise ValueError(f"Node arity mismatch; expected {self.num_children}, but got {len(parts)}.")
        elif self.type is not deque and context != self.context:
            raise ValueError(f"Node context mismatch for {self.type!r}: {self.context!r} and {context!r}.")
        for child, part in zip(self._children, parts, strict=True):
            child._collect(part, found)


class _LeafSpecMeta(type):
    def __instancecheck__(cls, obj: object) -> bool:
        return isinstance(obj, TreeSpec) and obj.is_leaf()


class LeafSpec(TreeSpec, metaclass=_LeafSpecMeta):
    """The structure of a leaf; every structure of one counts as an instance."""

    def __new__(cls) -> Any:
        return _LEAF

    def __init__(self) -> None:
        """There is one such structure."""


_LEAF = TreeSpec(None, None, [])
_LEAF_SPEC = _LEAF
PyTreeSpec = TreeSpec


def tree_is_leaf(tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether `tree` is no container that is looked into, or `is_leaf` says that it counts as a leaf."""
    return bool(is_leaf is not None and is_leaf(tree)) or _nodes.node_of(tree) is None


_is_leaf = tree_is_leaf


def _flatten(tree: Any, leaves: list[Any], is_leaf: IsLeaf) -> TreeSpec:
    kind = None if is_leaf is not None and is_leaf(tree) else _nodes.node_of(tree)
    if kind is None:
        leaves.append(tree)
        return _LEAF
    parts, context = SUPPORTED_NODES[kind].flatten_fn(tree)
    return TreeSpec(kind, context, [_flatten(part, leaves, is_leaf) for part in parts])


def tree_flatten(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[Any], TreeSpec]:
    """The leaves from left to right, and the structure that `tree_unflatten` makes the tree of again."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves, is_leaf)


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> Any:
    """The tree of a structure and leaves.

    Raises:
        ValueError: the number of leaves is not that of the structure.
    """
    if not isinstance(treespec, TreeSpec):
        if isinstance(leaves, TreeSpec):  # the older order of the arguments
            return leaves.unflatten(treespec)
        raise TypeError(
            f"tree_unflatten(leaves, treespec): Expected `treespec` to be instance of TreeSpec but got item of "
            f"type {type(treespec)}."
        )
    return treespec.unflatten(leaves)


def tree_iter(tree: Any, is_leaf: IsLeaf = None) -> Iterator[Any]:
    """The leaves, one after the other."""
    if tree_is_leaf(tree, is_leaf):
        yield tree
        return
    kind = _nodes.node_of(tree)
    parts = SUPPORTED_NODES[kind].flatten_fn(tree)[0] if kind is not None else []
    for part in parts:
        yield from tree_iter(part, is_leaf)


def tree_leaves(tree: Any, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves from left to right."""
    return list(tree_iter(tree, is_leaf))


def arg_tree_leaves(*args: Any, **kwargs: Any) -> list[Any]:
    """The leaves of all arguments."""
    return [leaf for value in (*args, *kwargs.values()) for leaf in tree_iter(value)]


def tree_structure(tree: Any, is_leaf: IsLeaf = None) -> TreeSpec:
    """The structure alone."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: IsLeaf = None) -> Any:
    """A tree of the same structure with `func(leaf, *leaves of the rests)` as leaves.

    Raises:
        ValueError: one of the rests does not begin with the structure of `tree`.
    """
    leaves, spec = tree_flatten(tree, is_leaf)
    columns = [leaves] + [spec.flatten_up_to(rest) for rest in rests]
    return spec.unflatten([func(*row) for row in zip(*columns, strict=True)])


def tree_map_(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: IsLeaf = None) -> Any:
    """Calls `func` on every leaf (for what it does to it) and gives the tree itself."""
    leaves, spec = tree_flatten(tree, is_leaf)
    columns = [leaves] + [spec.flatten_up_to(rest) for rest in rests]
    for row in zip(*columns, strict=True):
        func(*row)
    return tree


def map_only(type_or_types_or_pred: Any, /) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """A decorator: the function is applied to values of the types (or that the test accepts), others pass."""
    test = _predicate(type_or_types_or_pred)

    def wrap(func: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda value: func(value) if test(value) else value

    return wrap


def _predicate(wanted: Any) -> Callable[[Any], bool]:
    if isinstance(wanted, (type, tuple, UnionType)):
        return lambda value: isinstance(value, wanted)
    if callable(wanted):
        return lambda value: bool(wanted(value))
    raise TypeError("Argument must be a type, a tuple of types, or a callable.")


def tree_map_only(
    type_or_types_or_pred: Any, /, func: Callable[[Any], Any], tree: Any, is_leaf: IsLeaf = None
) -> Any:
    """`tree_map` that applies `func` to leaves of the types given only."""
    return tree_map(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_map_only_(
    type_or_types_or_pred: Any, /, func: Callable[[Any], Any], tree: Any, is_leaf: IsLeaf = None
) -> Any:
    """`tree_map_` for leaves of the types given only."""
    return tree_map_(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether all leaves pass the test."""
    return all(map(pred, tree_iter(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether one leaf passes the test."""
    return any(map(pred, tree_iter(tree, is_leaf)))


def tree_all_only(
    type_or_types: Any, /, pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None
) -> bool:
    """Whether all leaves of the types pass the test."""
    return all(pred(x) for x in tree_iter(tree, is_leaf) if isinstance(x, type_or_types))


def tree_any_only(
    type_or_types: Any, /, pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None
) -> bool:
    """Whether one leaf of the types passes the test."""
    return any(pred(x) for x in tree_iter(tree, is_leaf) if isinstance(x, type_or_types))


# ---- paths ------------------------------------------------------------------------------------------------


def _with_paths(path: KeyPath, tree: Any, is_leaf: IsLeaf) -> Iterator[tuple[KeyPath, Any]]:
    kind = None if is_leaf is not None and is_leaf(tree) else _nodes.node_of(tree)
    if kind is None:
        yield path, tree
        return
    with_keys = SUPPORTED_NODES[kind].flatten_with_keys_fn
    if with_keys is None:
        raise ValueError(
            f"Did not find a flatten_with_keys_fn for type: {kind}. Please pass a flatten_with_keys_fn argument to "
            "register_pytree_node."
        )
    for key, part in with_keys(tree)[0]:
        yield from _with_paths((*path, key), part, is_leaf)


def tree_flatten_with_path(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[tuple[KeyPath, Any]], TreeSpec]:
    """Pairs of path and leaf, and the structure."""
    return list(_with_paths((), tree, is_leaf)), tree_structure(tree, is_leaf)


def tree_leaves_with_path(tree: Any, is_leaf: IsLeaf = None) -> list[tuple[KeyPath, Any]]:
    """Pairs of path and leaf."""
    return list(_with_paths((), tree, is_leaf))


def tree_map_with_path(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: IsLeaf = None) -> Any:
    """`tree_map` with the path as the first argument of `func`."""
    pairs, spec = tree_flatten_with_path(tree, is_leaf)
    columns = [[p for p, _ in pairs], [x for _, x in pairs]] + [spec.flatten_up_to(rest) for rest in rests]
    return spec.unflatten([func(*row) for row in zip(*columns, strict=True)])


def _broadcast_to_and_flatten(tree: Any, treespec: TreeSpec, is_leaf: IsLeaf = None) -> list[Any] | None:
    """The leaves of `tree`, each repeated for all leaves of the structure below it; `None` where they don't fit."""
    kind = None if is_leaf is not None and is_leaf(tree) else _nodes.node_of(tree)
    if kind is None:
        return [tree] * treespec.num_leaves
    if treespec.type is not kind:
        return None
    parts, context = SUPPORTED_NODES[kind].flatten_fn(tree)
    if len(parts) != treespec.num_children or context != treespec.context:
        return None
    result: list[Any] = []
    for part, child in zip(parts, treespec.children(), strict=True):
        below = _broadcast_to_and_flatten(part, child, is_leaf)
        if below is None:
            return None
        result += below
    return result


# ---- structures as text -----------------------------------------------------------------------------------

_PROTOCOL = 1


def _to_json(spec: TreeSpec) -> dict[str, Any]:
    if spec.type is None:
        return {"type": None, "context": None, "children_spec": []}
    name, context = _nodes.to_json(spec.type, spec.context)
    return {"type": name, "context": context, "children_spec": [_to_json(c) for c in spec.children()]}


def _from_json(data: dict[str, Any]) -> TreeSpec:
    if data["type"] is None and data["context"] is None:
        return _LEAF
    kind, context = _nodes.from_json(data["type"], data["context"])
    return TreeSpec(kind, context, [_from_json(c) for c in data["children_spec"]])


def treespec_dumps(treespec: TreeSpec, protocol: int | None = None) -> str:
    """The structure as JSON, in PyTorch's form.

    Raises:
        NotImplementedError: a type has no name for this.
    """
    if not isinstance(treespec, TreeSpec):
        raise TypeError(
            f"treespec_dumps(treespec, protocol): Expected `treespec` to be instance of TreeSpec but got item of "
            f"type {type(treespec)}."
        )
    if protocol not in (None, _PROTOCOL):
        raise ValueError(f"Unknown protocol {protocol}. Available protocols: [{_PROTOCOL}]")
    return json.dumps((_PROTOCOL, _to_json(treespec)))


def treespec_loads(serialized: str) -> TreeSpec:
    """The structure that `treespec_dumps` wrote."""
    protocol, data = json.loads(serialized)
    if protocol != _PROTOCOL:
        raise ValueError(f"Unknown protocol {protocol}. Available protocols: [{_PROTOCOL}]")
    return _from_json(data)


class _Star:
    def __repr__(self) -> str:
        return "*"


def treespec_pprint(treespec: TreeSpec) -> str:
    """The tree with a star for every leaf."""
    return repr(treespec.unflatten([_Star() for _ in range(treespec.num_leaves)]))


def _register_pytree_node(
    cls: type[Any],
    flatten_fn: FlattenFn,
    unflatten_fn: UnflattenFn,
    to_str_fn: Any = None,
    maybe_from_str_fn: Any = None,
    **options: Any,
) -> None:
    """`register_pytree_node` by its older name."""
    register_pytree_node(cls, flatten_fn, unflatten_fn, **options)


_private_register_pytree_node = _register_pytree_node


# ---- names of single steps that libraries build on --------------------------------------------------------


def _get_node_type(tree: Any) -> type[Any]:
    """The registered type that a container counts as; its own for a leaf."""
    return _nodes.node_of(tree) or type(tree)


_is_namedtuple_instance = is_namedtuple_instance


def __getattr__(name: str) -> Any:
    # `_dict_flatten`, `_list_unflatten`, `_ordereddict_flatten_with_keys`, ...: the steps of the registered types.
    kinds: dict[str, type[Any]] = {"odict": OrderedDict, "ordereddict": OrderedDict, "namedtuple": _nodes.NAMEDTUPLE}
    plain: tuple[type[Any], ...] = (dict, list, tuple, deque, defaultdict)
    kinds |= {k.__name__: k for k in plain}
    kind, _, step = name.removeprefix("_").partition("_")
    steps = {"flatten": "flatten_fn", "unflatten": "unflatten_fn", "flatten_with_keys": "flatten_with_keys_fn"}
    if name.startswith("_") and kind in kinds and step in steps:
        return getattr(SUPPORTED_NODES[kinds[kind]], steps[step])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
