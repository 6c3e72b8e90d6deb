"""What is measured. A case is a function in PyTorch's spelling that takes the engine's module and returns the call to
time, so that one text runs on every engine. Adding a case is adding a function to a file of this folder:

    @case("kernels", name="exp 1 Mi", bytes=2 * 4 * 2**20)
    def exp_mi(torch):
        x = torch.randn(2**20)
        return lambda: torch.exp(x)

and a network, from which a training step and an inference are made, is

    @family("vision", "VGG-16 on 32x32", train={"batch": 32}, infer={"batch": 1}, tiny={"batch": 2})
    def vgg16(torch, batch):
        model = vision.vgg16(torch)
        return classifier(torch, model, torch.randn(batch, 3, 32, 32), 10)
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Call = Callable[[], object]


@dataclass
class Task:
    """A network and what it learns: `loss` takes the network's output, `optimizer` its parameters. What is no plain
    step (two networks, a target network) or no plain call (generation) brings a call of its own; a step returns its
    loss, so that engines can be compared.
    """

    model: Any
    inputs: tuple[Any, ...] = ()
    loss: Callable[[Any], Any] | None = None
    optimizer: Callable[[Any], Any] | None = None
    own_step: Call | None = None
    own_inference: Call | None = None
    others: list[Any] = field(default_factory=list)
    """Networks beside `model` that the own calls use."""

    def training(self) -> Call:
        """Zero the gradients, forward, loss, backward, optimizer."""
        if self.own_step is not None:
            return self.own_step
        assert self.loss is not None and self.optimizer is not None
        model, inputs, loss_of = self.model, self.inputs, self.loss
        optimizer = self.optimizer(model.parameters())

        def step() -> Any:
            optimizer.zero_grad()
            loss = loss_of(model(*inputs))
            loss.backward()
            optimizer.step()
            return loss

        return step

    def inference(self, torch: Any) -> Call:
        """Forward in `eval` mode, without gradients."""
        for network in [self.model, *self.others]:
            network.eval()
        model, inputs = self.model, self.inputs
        call = self.own_inference or (lambda: model(*inputs))

        def infer() -> object:
            with torch.inference_mode():
                return call()

        return infer


@dataclass(frozen=True)
class Case:
    """One measurement: its group, the function that prepares it, and the work that one call must do. Where neither is
    said, the arithmetic is counted (`flops.py`).
    """

    name: str
    group: str
    prepare: Callable[[Any], Call]
    flops: float | None = None
    bytes: float | None = None
    task: Callable[..., Task] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    tiny: dict[str, Any] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        return self.group.startswith("training")

    def of_task(self, torch: Any, *, tiny: bool = False, compiled: bool = False) -> tuple[Task, Call]:
        """The network with this case's settings, or with tiny ones, and the call."""
        assert self.task is not None
        task = self.task(torch, **self.settings | (self.tiny if tiny else {}))
        if compiled:
            for network in [task.model, *task.others]:
                network.compile()
        return task, task.training() if self.trains else task.inference(torch)


CASES: dict[str, Case] = {}


def add(case: Case) -> None:
    assert case.name not in CASES, f"two cases named {case.name}"
    CASES[case.name] = case


def case(
    group: str, *, name: str | None = None, flops: float | None = None, bytes: float | None = None
) -> Callable[[Callable[[Any], Call]], Callable[[Any], Call]]:
    """Registers a function as a case of `group`; `flops` and `bytes` say what the call cannot do without."""

    def register(prepare: Callable[[Any], Call]) -> Callable[[Any], Call]:
        add(Case(name or prepare.__name__, group, prepare, flops, bytes))
        return prepare

    return register


def family(
    area: str,
    name: str,
    *,
    train: dict[str, Any] | None = None,
    infer: dict[str, Any] | None = None,
    tiny: dict[str, Any] | None = None,
) -> Callable[[Callable[..., Task]], Callable[..., Task]]:
    """Registers a network twice: a training step with the settings `train`, an inference with `infer` (or one of them).
    With `tiny` settings a test runs it.
    """

    def entry(task: Callable[..., Task], kind: str, settings: dict[str, Any]) -> Case:
        words = [f"{key} {value}" for key, value in settings.items()]
        made: list[Case] = []

        def prepare(torch: Any) -> Call:
            return made[0].of_task(torch)[1]

        label = ", ".join([name, kind, *words])
        made.append(Case(label, f"{kind}: {area}", prepare, None, None, task, settings, tiny or {}))
        return made[0]

    def register(task: Callable[..., Task]) -> Callable[..., Task]:
        for kind, settings in (("training", train), ("inference", infer)):
            if settings is not None:
                add(entry(task, kind, settings))
        return task

    return register


def classifier(torch: Any, model: Any, x: Any, classes: int, optimizer: Callable[[Any], Any] | None = None) -> Task:
    """A network that tells classes; SGD with momentum unless said otherwise."""
    y = torch.randint(0, classes, (len(x),))

    def sgd(params: Any) -> Any:
        return torch.optim.SGD(params, lr=0.01, momentum=0.9)

    return Task(model, (x,), lambda scores: torch.nn.functional.cross_entropy(scores, y), optimizer or sgd)


def load() -> dict[str, Case]:
    """All cases, in the order of the files and of their lines."""
    for info in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{info.name}")
    return CASES
