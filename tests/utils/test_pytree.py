"""`rustnn.utils._pytree`: flattening, mapping, paths, structures as text. The texts are PyTorch's."""

from __future__ import annotations

import dataclasses
import pickle
from collections import OrderedDict, defaultdict, deque, namedtuple
from typing import Any

import pytest
import rustnn as torch
from rustnn.utils import _pytree as pytree

Point = namedtuple("Point", "x y")  # noqa: PYI024
TREE = {"a": [1, (2, 3)], "b": None, "c": OrderedDict(x=1)}


@pytest.mark.parametrize(
    "tree",
    [
        TREE,
        5,
        None,
        [],
        (),
        {},
        Point(1, [2]),
        deque([1, 2], maxlen=3),
        defaultdict(list, {"a": 1}),
        torch.Size([1, 2]),
        [[[[1], 2], 3], (4, {"k": (5,)})],
    ],
)
def test_flatten_and_back(tree: Any) -> None:
    leaves, spec = pytree.tree_flatten(tree)
    again = pytree.tree_unflatten(leaves, spec)
    assert again == tree and type(again) is type(tree)
    assert spec == pytree.tree_structure(tree) and spec.num_leaves == len(leaves) == len(pytree.tree_leaves(tree))
    if type(tree) is not Point:
        assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(spec) == hash(pytree.tree_structure(tree))
    paths, other = pytree.tree_flatten_with_path(tree)
    assert other == spec and [x for _, x in paths] == leaves
    assert all(pytree.key_get(tree, path) == leaf for path, leaf in paths)


def test_deque_keeps_its_length_and_defaultdict_its_factory() -> None:
    assert pytree.tree_map(str, deque([1], maxlen=3)).maxlen == 3
    assert pytree.tree_map(str, defaultdict(list, a=1)).default_factory is list


def test_the_structures_text_is_pytorchs() -> None:
    leaves, spec = pytree.tree_flatten(TREE)
    assert leaves == [1, 2, 3, None, 1]
    assert repr(spec) == (
        "TreeSpec(dict, ['a', 'b', 'c'], [TreeSpec(list, None, [*,\n"
        "    TreeSpec(tuple, None, [*,\n"
        "      *])]),\n"
        "  *,\n"
        "  TreeSpec(OrderedDict, ['x'], [*])])"
    )
    assert pytree.treespec_pprint(spec) == "{'a': [*, (*, *)], 'b': *, 'c': OrderedDict([('x', *)])}"
    text = pytree.treespec_dumps(pytree.tree_structure([1, {"k": 2}]))
    assert text == (
        '[1, {"type": "builtins.list", "context": "null", "children_spec": [{"type": null, "context": null, '
        '"children_spec": []}, {"type": "builtins.dict", "context": "[\\"k\\"]", "children_spec": [{"type": null, '
        '"context": null, "children_spec": []}]}]}]'
    )
    for tree in (TREE, deque([1], maxlen=2), defaultdict(list, a=1), torch.Size([1]), 3):
        spec = pytree.tree_structure(tree)
        assert pytree.treespec_loads(pytree.treespec_dumps(spec)) == spec
    with pytest.raises(NotImplementedError, match="_register_namedtuple"):
        pytree.treespec_dumps(pytree.tree_structure(Point(1, 2)))
    assert pytree.keystr(pytree.tree_flatten_with_path(TREE)[0][1][0]) == "['a'][1][0]"


def test_maps() -> None:
    assert pytree.tree_map(lambda a, b: (a, b), [1, 2], [(1, 2), 3]) == [(1, (1, 2)), (2, 3)]
    assert pytree.tree_map_only(int, lambda a: a + 1, [1, "a", 2.0]) == [2, "a", 2.0]
    assert pytree.tree_map_only((int, str), lambda a: a * 2, [1, "a", 2.0]) == [2, "aa", 2.0]
    assert pytree.tree_map_only(lambda x: x == 2.0, lambda a: -a, [1, 2.0]) == [1, -2.0]
    assert pytree.tree_map_with_path(lambda p, x: pytree.keystr(p), {"a": [1]}) == {"a": ["['a'][0]"]}
    assert pytree.tree_map(len, [[1, 2], [3]], is_leaf=lambda x: x and isinstance(x[0], int)) == [2, 1]
    assert pytree.tree_all(bool, [1, (2,)]) and pytree.tree_any(lambda x: x == 2, [1, (2,)])
    assert not pytree.tree_all_only(int, lambda x: x > 1, [1, "a"])
    seen: list[int] = []
    tree = [1, (2,)]
    assert pytree.tree_map_(seen.append, tree) is tree and seen == [1, 2]
    assert pytree._broadcast_to_and_flatten([1, 2], pytree.tree_structure([[0, 0], 0])) == [1, 1, 2]
    assert pytree._broadcast_to_and_flatten([1, 2, 3], pytree.tree_structure([[0, 0], 0])) is None
    assert pytree.tree_structure(TREE).flatten_up_to({"c": OrderedDict(x=1), "a": [[1], ((2,), 3)], "b": 7}) == [
        [1], (2,), 3, 7, 1,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: pytree.tree_unflatten([1], pytree.tree_structure([1, 2])), ValueError, "length 1 .* holds 2 items"),
        (lambda: pytree.tree_map(max, [1, 2], [1]), ValueError, "arity mismatch; expected 2, but got 1"),
        (lambda: pytree.tree_map(max, {"a": 1}, {"b": 1}), ValueError, "missing key.*'a'.*extra key.*'b'"),
        (lambda: pytree.tree_map(max, [1], 3), ValueError, "type mismatch"),
        (lambda: pytree.register_pytree_node(list, None, None), ValueError, "already registered"),
        (lambda: pytree.tree_unflatten([1], 3), TypeError, "treespec"),
        (lambda: pytree.tree_map_only(3, str, [1]), TypeError, "type"),
    ],
)
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_registered_types() -> None:
    class Box:
        def __init__(self, value: Any) -> None:
            self.value = value

    assert pytree.tree_leaves([Box(1)])[0].value == 1
    pytree.register_pytree_node(
        Box, lambda b: ([b.value], None), lambda values, _: Box(*values), serialized_type_name="test.Box"
    )
    try:
        assert pytree.tree_map(lambda x: x + 1, [Box((1, 2))])[0].value == (2, 3)
        spec = pytree.tree_structure(Box(1))
        assert pytree.treespec_loads(pytree.treespec_dumps(spec)) == spec
        with pytest.raises(ValueError, match="flatten_with_keys_fn"):
            pytree.tree_flatten_with_path(Box(1))
    finally:
        pytree._deregister_pytree_node(Box)

    @dataclasses.dataclass
    class Pair:
        a: Any
        b: Any = None

    pytree.register_dataclass(Pair)
    try:
        assert pytree.tree_map(lambda x: x * 2, Pair(1, [2])) == Pair(2, [4])
        assert pytree.tree_map(lambda x: x * 2, Pair(1)) == Pair(2)
        assert pytree.keystr(pytree.tree_flatten_with_path(Pair(1, [2]))[0][1][0]) == ".b[0]"
    finally:
        pytree._deregister_pytree_node(Pair)


def test_tuples_that_operations_return() -> None:
    found = torch.ones(2, 2).max(0)
    twice = pytree.tree_map(lambda x: x * 2, found)
    assert type(twice) is type(found) and twice.values.tolist() == [2.0, 2.0]
    assert pytree.tree_structure(1).is_leaf() and isinstance(pytree.tree_structure(1), pytree.LeafSpec)
