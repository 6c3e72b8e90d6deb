"""How modules are called: by a C function that subclasses inherit, and what programs do to and ask of it."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest
import rustnn as torch
from rustnn import nn


class Given(nn.Module):
    """Returns what it was called with."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs


class Same(nn.Module):
    def forward(self, x: Any) -> Any:
        return x


class Own(nn.Module):
    """A call of its own around the inherited one."""

    def __call__(self, x: Any, y: int = 2) -> Any:
        return super().__call__(x), y

    def forward(self, x: Any) -> Any:
        return x


def test_arguments_arrive_as_given() -> None:
    m = Given()
    assert m() == ((), {})
    assert m(1) == ((1,), {})
    assert m(1, 2, 3) == ((1, 2, 3), {})
    assert m(a=3) == ((), {"a": 3})
    assert m(1, b=2) == ((1,), {"b": 2})
    assert m(*[1], **{}) == ((1,), {})
    for module in (m, nn.Sequential(m)):
        module.register_forward_hook(lambda module, args, output: (output, "seen"))
    assert m(1, b=2) == (((1,), {"b": 2}), "seen")


def test_forward_of_the_object_goes_first() -> None:
    m = Same()
    m.forward = lambda x: x + 1  # type: ignore[method-assign]
    assert m(1) == 2
    del m.forward
    assert m(1) == 1


def test_signatures() -> None:
    assert str(inspect.signature(Same())) == "(*args, **kwargs)"
    assert list(inspect.signature(Own()).parameters) == ["x", "y"]
    assert list(inspect.signature(nn.Linear).parameters)[:3] == ["in_features", "out_features", "bias"]
    assert not hasattr(nn.Linear, "__signature__")


def test_calls_may_be_overridden_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Own()(1) == (1, 2)
    called: list[str] = []
    before: Callable[..., Any] = nn.Module.__call__

    def noting(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        called.append(type(self).__name__)
        return before(self, *args, **kwargs)

    net = nn.Sequential(Same(), nn.Sequential(Same()))
    with monkeypatch.context() as m:
        m.setattr(nn.Module, "__call__", noting)
        assert net(1) == 1
    assert called == ["Sequential", "Same", "Sequential", "Same"]
    assert net(1) == 1
    assert len(called) == 4


def test_a_module_without_init_says_so() -> None:
    class Forgot(nn.Module):
        def __init__(self) -> None:
            pass

        def forward(self, x: Any) -> Any:
            return x

    with pytest.raises(AttributeError, match="_modules"):
        Forgot()(1)


def test_other_bases_beside_it() -> None:
    class Table(nn.Module, dict[str, int]):
        def forward(self, x: Any) -> Any:
            return x

    assert Table()(1) == 1


def test_errors_pass_through_every_level_unchanged() -> None:
    class Raises(nn.Module):
        def __init__(self, error: BaseException) -> None:
            super().__init__()
            self.error = error

        def forward(self, x: Any) -> Any:
            raise self.error

    for error in (KeyboardInterrupt(), SystemExit(3), StopIteration(4), ZeroDivisionError("no")):
        with pytest.raises(type(error)) as got:
            nn.Sequential(nn.Sequential(Raises(error)))(1)
        assert got.value is error

    class Loops(nn.Module):
        def forward(self, x: Any) -> Any:
            return self(x)

    with pytest.raises(RecursionError):
        Loops()(1)


def test_nothing_is_kept_of_a_call() -> None:
    net, x = nn.Sequential(Same(), nn.Linear(3, 3)), torch.ones(2, 3)
    with torch.no_grad():
        net(x)
        before = sys.getrefcount(x), sys.getrefcount(net), sys.getrefcount(net[0])
        for _ in range(100):
            net(x)
            with pytest.raises(RuntimeError):
                net(torch.ones(2, 4))
        assert (sys.getrefcount(x), sys.getrefcount(net), sys.getrefcount(net[0])) == before


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_and_copies_are_called_alike(protocol: int) -> None:
    net, x = nn.Sequential(nn.Linear(3, 3), nn.ReLU()), torch.ones(2, 3)
    for other in (pickle.loads(pickle.dumps(net, protocol)), copy.deepcopy(net), copy.copy(net)):
        assert torch.equal(other(x), net(x))
