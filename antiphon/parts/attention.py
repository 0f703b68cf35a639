"""Attention: scores of all queries against all keys, and the weighted sum c_t = sum_j a_tj h_j.

Queries come as [B, T, query]: the T steps of a row in training, its T beams in decoding. Keys are
projected once a source and kept in the decoder's state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from antiphon.errors import ConfigError
from antiphon.parts.state import Memory, at_least_float32
from antiphon.tables import Table


class Attention(nn.Module, ABC):
    """A way to score queries [B, T, query] against keys [B, S, key]."""

    @abstractmethod
    def keys(self, states: Tensor) -> Tensor:
        """Encoder states [B, S, memory] -> keys [B, S, key]; computed once."""

    @abstractmethod
    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """-> [B, T, S], before masking."""

    def forward(self, queries: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """queries [B, T, query] -> c [B, T, memory] and weights a [B, T, S], zero at padding."""
        scores = at_least_float32(self.scores(queries, memory.keys))
        scores = scores.masked_fill(~memory.mask[:, None, :], -torch.inf)
        weights = torch.softmax(scores, -1).to(memory.states.dtype)
        return weights @ memory.states, weights


class DotAttention(Attention):
    """score = s . h (Luong et al. 2015, arXiv 1508.04025, eq. 8); both need one width."""

    def __init__(self, query: int, memory: int) -> None:
        super().__init__()
        if query != memory:
            raise ConfigError(
                "kind",
                f"dot needs decoder states as wide as encoder states, which are {query} and {memory}; "
                f"set decoder.hidden to {memory}, or choose general",
            )

    def keys(self, states: Tensor) -> Tensor:
        return states

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        return queries @ keys.transpose(1, 2)


class GeneralAttention(Attention):
    """score = s . W h (Luong et al. 2015, arXiv 1508.04025, eq. 8)."""

    def __init__(self, query: int, memory: int) -> None:
        super().__init__()
        self.key = nn.Linear(memory, query, bias=False)

    def keys(self, states: Tensor) -> Tensor:
        keys: Tensor = self.key(states)
        return keys

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        return queries @ keys.transpose(1, 2)


class AdditiveAttention(Attention):
    """score = v . tanh(W s + U h + b) (Bahdanau et al. 2015, arXiv 1409.0473, A.1.2); `size` is v's width.

    The sum over all pairs of steps has B * T * S * size elements. It is made in pieces of at most
    `PIECE` elements, and made again in the backward pass instead of being kept.
    """

    PIECE = 1 << 22

    def __init__(self, query: int, memory: int, size: int | None = None) -> None:
        super().__init__()
        size = size or query
        self.query = nn.Linear(query, size, bias=False)
        self.key = nn.Linear(memory, size)
        self.value = nn.Parameter(torch.empty(size).uniform_(-(size**-0.5), size**-0.5))

    def keys(self, states: Tensor) -> Tensor:
        keys: Tensor = self.key(states)
        return keys

    def _pairs(self, queries: Tensor, keys: Tensor) -> Tensor:
        return torch.tanh(queries[:, :, None] + keys[:, None]) @ self.value.to(keys.dtype)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        projected: Tensor = self.query(queries)
        steps = max(1, self.PIECE // keys.numel())
        pieces = torch.split(projected, steps, 1)
        if torch.is_grad_enabled() and projected.requires_grad:
            made = [
                checkpoint(self._pairs, piece, keys, use_reentrant=False, preserve_rng_state=False) for piece in pieces
            ]
        else:
            made = [self._pairs(piece, keys) for piece in pieces]
        return made[0] if len(made) == 1 else torch.cat(made, 1)


def no_attention(query: int, memory: int) -> None:
    """The decoder sees of the source what its context holds, and nothing else."""


ATTENTIONS: Table[Attention | None] = Table(
    "attention", {"none": no_attention, "dot": DotAttention, "general": GeneralAttention, "additive": AdditiveAttention}
)
