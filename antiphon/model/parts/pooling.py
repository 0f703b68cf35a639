"""Pooling: many encoder states to one vector, whatever the padding."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from antiphon.model.parts.attention.base import masked_softmax
from antiphon.model.state import Encoded

Pool = Literal["mean", "max", "attention"]


def scorer(pool: str, memory: int) -> nn.Linear | None:
    """The learned score of a state that `pool: attention` weighs states by; None for the others."""
    return nn.Linear(memory, 1, bias=False) if pool == "attention" else None


def pooled(encoded: Encoded, pool: Pool, score: nn.Linear | None) -> Tensor:
    """-> [B, memory]: the mean or the largest of the states, or their mean weighed by a softmax of their scores."""
    states, mask = encoded.states, encoded.mask[..., None]
    if pool == "mean":  # states are zero at padding
        return states.sum(1) / mask.sum(1).to(states.dtype)
    if pool == "max":
        return states.masked_fill(~mask, -torch.inf).amax(1)
    assert score is not None
    return (shares(encoded, score)[..., None] * states).sum(1)


def shares(encoded: Encoded, score: nn.Linear) -> Tensor:
    """The weights [B, S] that states are pooled with: a softmax of their scores, zero at padding."""
    scores = score(encoded.states).squeeze(-1)
    return masked_softmax(scores, encoded.mask)


class Pooling(nn.Module):
    """All of a row's states as one vector [B, size]; `last` is the encoder's own last state."""

    def __init__(self, kind: Literal["last", "mean", "max", "attention"], memory: int, last: int) -> None:
        super().__init__()
        self.kind = kind
        self.size = last if kind == "last" else memory
        self.score = scorer(kind, memory)

    def forward(self, encoded: Encoded) -> Tensor:
        return encoded.last if self.kind == "last" else pooled(encoded, self.kind, self.score)
