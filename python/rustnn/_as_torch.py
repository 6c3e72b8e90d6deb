"""Importing this makes `import torch` give rustnn: what a server process that forks workers preloads."""

from rustnn._run import install_as_torch

install_as_torch()
