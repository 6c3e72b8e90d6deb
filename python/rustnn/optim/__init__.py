"""Optimizers and learning-rate schedules, under PyTorch's names (``torch.optim``)."""

from __future__ import annotations

from . import lr_scheduler, swa_utils
from ._matrices import Adafactor, Muon
from ._rules import ASGD, Adadelta, Adamax, NAdam, RAdam, Rprop
from .adam import Adam, AdamW
from .lbfgs import LBFGS
from .optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from .rmsprop import Adagrad, RMSprop
from .sgd import SGD

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
    "swa_utils",
]
