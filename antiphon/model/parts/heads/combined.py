"""Several heads as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from antiphon.model.parts.heads.base import SymbolHead, judge_symbols

Combine = Callable[[Tensor], Tensor]
"""Log-probabilities of several heads [heads, ..., symbols] -> those of one distribution [..., symbols]."""


def log_linear(log_probs: Tensor) -> Tensor:
    """The mean of log p, normalised again."""
    return torch.log_softmax(log_probs.mean(0), -1)


def mean(log_probs: Tensor) -> Tensor:
    """log of the mean of p."""
    return torch.logsumexp(log_probs, 0) - math.log(len(log_probs))


COMBINATIONS: dict[str, Combine] = {"log_linear": log_linear, "mean": mean}


class CombinedHead(SymbolHead[tuple[Any, ...]]):
    """The distributions of several heads for the same step, as one. Features are a tuple, one entry for each head."""

    def __init__(self, heads: Sequence[SymbolHead[Any]], combine: Combine) -> None:
        super().__init__()
        self.heads, self.combine = list(heads), combine

    def combined(self, log_probs: Sequence[Tensor]) -> Tensor:
        """The log-probabilities [..., symbols] of each head as one."""
        return self.combine(torch.stack(list(log_probs)))

    def kept(self, features: tuple[Any, ...], positions: Tensor) -> tuple[Any, ...]:
        return tuple(head.kept(part, positions) for head, part in zip(self.heads, features, strict=True))

    def log_probs(self, features: tuple[Any, ...]) -> Tensor:
        return self.combined([head.log_probs(part) for head, part in zip(self.heads, features, strict=True)])

    def judge(self, features: tuple[Any, ...], targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """-log p of each target, and whether it is the most probable symbol, each [N]."""
        return judge_symbols(self, features, targets, positions, len(self.heads) * len(self.heads[0].weight))
