"""Modules, functions of nn.functional, optimizers, schedulers and loaders, made from random arguments and used."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any

import rustnn
from fuzz.values import Values, describe
from rustnn import nn
from rustnn.optim import lr_scheduler
from rustnn.utils import data

# How often something is made or done: so often it is, each time taking its time. Beside it what waits for others.
COUNTS = ("layers", "max_iter", "max_eval", "power_iterations")
LEAVE_OUT = {"DataParallel", "DistributedDataParallel", "handle_torch_function", "has_torch_function"}


def classes(home: Any, base: type) -> list[type]:
    found = [v for k, v in sorted(vars(home).items()) if isinstance(v, type) and issubclass(v, base)]
    return [c for c in found if c is not base and c.__name__ not in LEAVE_OUT]


def parameters(f: Any) -> list[inspect.Parameter]:
    try:
        return [p for p in inspect.signature(f).parameters.values() if p.name != "self"]
    except (TypeError, ValueError):
        return [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in ("input", "a", "b")]


class Kind:
    def __init__(self) -> None:
        self.values = Values()
        self.layers = classes(nn, nn.Module)
        self.optimizers = classes(rustnn.optim, rustnn.optim.Optimizer)
        self.schedulers = classes(lr_scheduler, lr_scheduler.LRScheduler)
        self.samplers = [*classes(data, data.Sampler), *classes(data, data.Dataset)]
        self.functions = [
            (k, v)
            for k, v in sorted(vars(nn.functional).items())
            if callable(v) and not k.startswith("_") and not isinstance(v, type) and k not in LEAVE_OUT
        ]

    def prepare(self, rng: random.Random) -> tuple[str, Callable[[], None]]:
        self.values.rng = rng
        choice = rng.randrange(10)
        if choice < 4:
            return self.layer(rng)
        if choice < 7:
            return self.function(rng)
        return self.optimizer(rng) if choice < 9 else self.loader(rng)

    def argument(self, rng: random.Random, p: inspect.Parameter) -> Any:
        """A value for a parameter: mostly of the kind that its name and default ask for."""
        name, default = p.name, p.default
        if rng.random() < 0.1 and not any(word in name for word in COUNTS):
            return self.values.value()
        if name in ("input", "target", "x", "query", "key", "value", "src", "tgt", "weight", "other", "running_mean"):
            return self.values.tensor()
        if name in ("module", "layer", "encoder_layer", "decoder_layer"):
            return rng.choice((nn.Linear(3, 3), nn.TransformerEncoderLayer(4, 2, 8), nn.ReLU(), None))
        if isinstance(default, bool):
            return rng.random() < 0.5
        if any(word in name for word in COUNTS):
            return rng.choice((0, 1, 2, -1))
        if isinstance(default, float):
            return rng.choice((default, 0.0, 0.5, 1.0, -1.0, 1e-8, 1e30, float("nan")))
        if isinstance(default, int) or "size" in name or "features" in name or "channels" in name or "dim" in name:
            whole = (0, 1, 1, 2, 2, 3, 4, 7, -1, -5, 2**31, 2**62, -(2**63))
            n = rng.choice(whole)
            return n if rng.random() < 0.75 else tuple(rng.choice(whole) for _ in range(rng.randrange(5)))
        if isinstance(default, str):
            return rng.choice((default, "mean", "sum", "none", "zeros", "reflect", "circular", "bilinear", "tanh", "x"))
        if default is None and rng.random() < 0.6:
            return None
        return self.values.value()

    def made(self, rng: random.Random, f: Any) -> tuple[list[Any], dict[str, Any]]:
        args, kwargs = [], {}
        for p in parameters(f):
            if p.kind == p.VAR_POSITIONAL:
                args += [self.values.value() for _ in range(rng.randrange(3))]
            elif p.kind == p.VAR_KEYWORD:
                continue
            elif p.default is p.empty and p.kind != p.KEYWORD_ONLY:
                args.append(self.argument(rng, p))
            elif rng.random() < 0.25:
                kwargs[p.name] = self.argument(rng, p)
        return args, kwargs

    def layer(self, rng: random.Random) -> tuple[str, Callable[[], None]]:
        cls = rng.choice(self.layers)
        args, kwargs = self.made(rng, cls)
        shown = (
            f"nn.{cls.__name__}({', '.join(map(describe, args))}, **{ {k: describe(v) for k, v in kwargs.items()} })"
        )

        def call() -> None:
            module = cls(*args, **kwargs)
            repr(module)
            if rng.random() < 0.3:
                module.eval()
            for _ in range(3):
                inputs = [self.argument(rng, p) for p in parameters(module.forward)[: rng.randrange(1, 4)]]
                try:
                    result = module(*inputs)
                except Exception as error:
                    if "internal error" in str(error):
                        raise RuntimeError(f"{error}; called with {', '.join(map(describe, inputs))}") from error
                    continue
                for r in result if isinstance(result, tuple) else (result,):
                    if isinstance(r, rustnn.Tensor) and r.requires_grad and r.numel() < 10_000:
                        r.sum().backward()
            state = module.state_dict()
            module.load_state_dict(state)
            rng.choice((module.double, module.half, module.zero_grad, module.bfloat16))()

        return shown, call

    def function(self, rng: random.Random) -> tuple[str, Callable[[], None]]:
        name, f = rng.choice(self.functions)
        args, kwargs = self.made(rng, f)
        shown = f"F.{name}({', '.join(map(describe, args))}, **{ {k: describe(v) for k, v in kwargs.items()} })"

        def call() -> None:
            result = f(*args, **kwargs)
            if isinstance(result, rustnn.Tensor) and result.numel() < 10_000:
                repr(result)
                if result.requires_grad:
                    result.sum().backward()

        return shown, call

    def optimizer(self, rng: random.Random) -> tuple[str, Callable[[], None]]:
        cls = rng.choice(self.optimizers)
        _, kwargs = self.made(rng, cls.__init__)
        shown = f"optim.{cls.__name__}(..., **{ {k: describe(v) for k, v in kwargs.items()} })"

        def call() -> None:
            params = [
                nn.Parameter(self.values.tensor().detach().to(rustnn.float32)) for _ in range(rng.randrange(1, 4))
            ]
            groups: Any = params
            if rng.random() < 0.3:
                groups = [{"params": params[:1], "lr": rng.choice((0.1, -1, "x"))}, {"params": params[1:]}]
            optimizer = cls(groups, **kwargs)
            scheduler = None
            if rng.random() < 0.5:
                made = rng.choice(self.schedulers)
                args, options = self.made(rng, made.__init__)
                try:
                    scheduler = made(optimizer, *args[1:], **options)
                except Exception as error:
                    if "internal error" in str(error):
                        raise
            for _ in range(rng.randrange(1, 4)):
                for p in params:
                    act = rng.randrange(8)
                    if act < 5:
                        p.grad = rustnn.randn(p.shape)
                    elif act == 5:
                        p.grad = None
                    elif act == 6 and p.numel() < 10_000:
                        p.data = self.values.tensor().detach().float()
                optimizer.step(*((lambda: rustnn.tensor(1.0),) if cls.__name__ == "LBFGS" else ()))
                if scheduler is not None:
                    scheduler.step(*((self.values.value(),) if rng.random() < 0.3 else ()))
            state = optimizer.state_dict()
            if rng.random() < 0.3:
                state["state"] = {0: {"step": self.values.value(), "exp_avg": self.values.value()}}
            optimizer.load_state_dict(state)
            optimizer.step(*((lambda: rustnn.tensor(1.0),) if cls.__name__ == "LBFGS" else ()))

        return shown, call

    def loader(self, rng: random.Random) -> tuple[str, Callable[[], None]]:
        n = rng.choice((0, 1, 5, 7))
        if rng.random() < 0.3:
            cls = rng.choice(self.samplers)
            args, kwargs = self.made(rng, cls.__init__)

            def walk() -> None:
                made = cls(*args, **kwargs)
                for k, _ in enumerate(iter(made)):
                    if k > 20:
                        break

            return f"data.{cls.__name__}({', '.join(map(describe, args))}, {describe(kwargs)})", walk
        things: Any = rng.choice(
            (
                lambda: data.TensorDataset(rustnn.randn(n, 2), rustnn.arange(n)),
                lambda: list(range(n)),
                lambda: [self.values.value() for _ in range(n)],
                lambda: [self.values.tensor() for _ in range(n)],
                lambda: self.values.value(),
                lambda: [{"a": rustnn.ones(2), "b": (1, "text", None)}] * n,
            )
        )()
        kwargs = {
            # As many workers as are asked for are started, and never too many here.
            key: rng.choice((*some, self.values.value() if rng.random() < 0.3 and key != "num_workers" else some[0]))
            for key, some in (
                ("batch_size", (1, 2, 100, 0, -1, None, 2**62)),
                ("shuffle", (False, True)),
                ("drop_last", (False, True)),
                ("sampler", (None, [0, 0, 99], range(2), iter([0]))),
                ("batch_sampler", (None, [[0], [], [-1]])),
                ("collate_fn", (None, list)),
                ("num_workers", (0, 0, -1, 1.5)),
                ("timeout", (0, -1)),
                ("generator", (None, rustnn.Generator())),
                ("prefetch_factor", (None, 2, -1)),
                ("persistent_workers", (False, True)),
            )
            if rng.random() < 0.3
        }

        def call() -> None:
            loader = data.DataLoader(things, **kwargs)
            for k, _ in enumerate(loader):
                if k > 20:
                    break
            len(loader)

        return f"DataLoader({describe(things)}, **{ {k: describe(v) for k, v in kwargs.items()} })", call
