"""Softmax over many classes in clusters of falling frequency."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import functional as F
from .._base import _C, Tensor
from ..module import Module
from .container import ModuleList, Sequential
from .linear import Linear

__all__ = ["AdaptiveLogSoftmaxWithLoss"]


class _ASMoutput(NamedTuple):
    output: Any
    loss: Any


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-softmax whose rare classes share smaller clusters (Grave et al. 2016).

    Args:
        in_features: size of the input.
        n_classes: all classes, ordered from frequent to rare.
        cutoffs: where the clusters end.
        div_value: by which the size of each further cluster's projection shrinks.
        head_bias: a bias for the first cluster.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        if len(cutoffs) == 0:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            cutoffs != sorted(cutoffs)
            or min(cutoffs) <= 0
            or max(cutoffs) > n_classes - 1
            or len(set(cutoffs)) != len(cutoffs)
            or any(int(c) != c for c in cutoffs)
        ):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, "
                "where each value is between 1 and n_classes-1"
            )
        how: dict[str, Any] = {"device": device, "dtype": dtype}
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, **how)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden = int(in_features // (div_value ** (i + 1)))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(
                Sequential(Linear(in_features, hidden, bias=False, **how), Linear(hidden, size, bias=False, **how))
            )

    def reset_parameters(self) -> None:
        """Draws all weights anew."""
        self.head.reset_parameters()
        for projection in self.tail:
            for layer in projection:
                layer.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        """Log-probabilities of the targets, and their mean loss."""
        batched = target_.dim() > 0
        input = input_ if batched else input_.unsqueeze(0)
        target = target_ if batched else target_.unsqueeze(0)
        if batched and input.shape[0] != target.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        if target.numel() and (int(target.min()) < 0 or int(target.max()) >= self.n_classes):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], "
                f"but values in range [{int(target.min())}, {int(target.max())}] were found. "
            )
        # Each tail is computed for the rows whose class lies in it, and not at all if there are none.
        head_output = F.log_softmax(self.head(input), dim=1)
        bounds = [0, *self.cutoffs]
        tail_part: Any = 0
        head_class = target
        for i in range(1, len(bounds) - 1):
            inside = (target >= bounds[i]) & (target < bounds[i + 1])
            rows = inside.nonzero().reshape(-1)
            if not rows.numel():
                continue
            cluster = F.log_softmax(self.tail[i - 1](input.index_select(0, rows)), dim=1)
            own = cluster.gather(1, (target.index_select(0, rows) - bounds[i]).unsqueeze(1)).squeeze(1)
            zeros = _C.zeros(target.numel(), dtype=own.dtype)
            tail_part = zeros.index_add(0, rows, own) + tail_part
            head_class = head_class.masked_fill(inside, self.shortlist_size + i - 1)
        chosen = head_output.gather(1, head_class.unsqueeze(1)).squeeze(1) + tail_part
        loss = (-chosen).mean()
        return _ASMoutput(chosen if batched else chosen.squeeze(0), loss)

    def _get_full_log_prob(self, input: Tensor, head_output: Tensor) -> Tensor:
        head = F.log_softmax(head_output, dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i in range(self.n_clusters):
            cluster = F.log_softmax(self.tail[i](input), dim=1)
            parts.append(cluster + head[:, self.shortlist_size + i].unsqueeze(1))
        return _C.cat(parts, 1)

    def log_prob(self, input: Tensor) -> Tensor:
        """``(N, in_features)`` to log-probabilities ``(N, n_classes)``."""
        return self._get_full_log_prob(input, self.head(input))

    def predict(self, input: Tensor) -> Tensor:
        """The likeliest class of each row."""
        return self.log_prob(input).argmax(1)
