"""Attention: where in the source each step looks, and what it reads there, c_t = sum_j a_tj h_j.

Queries come as [B, T, query]: the T steps of a row in training, its T beams in decoding. Keys are
projected once a source and kept in the decoder's state. A kind that uses its earlier weights
keeps them in the state too, as `attended`; its steps are then computed one at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError
from antiphon.model.state import Memory, at_least_float32

WIDEST = 1 << 16  # a larger size is a typing error
FAINT = 46.0  # nats: e^-46 is 1e-20
NEVER = -1e4  # log p of what cannot be: its exponential is 0, and unlike that of -inf its gradient is not NaN


class Looked(NamedTuple):
    """What queries have read, c [B, T, memory]; the weights a [B, T, S], zero at padding, of sum 1; what is kept of
    them for the next step [B, T, S], or None."""

    read: Tensor
    weights: Tensor
    attended: Tensor | None


class Attention(nn.Module, ABC):
    """A way to score queries [B, T, query] against keys [B, S, key].

    A kind that uses its earlier weights also defines what it keeps of them: `initial` before the first step, `kept`
    after each step.
    """

    hard: ClassVar[bool] = False  # whether it looks at one step alone in use
    marginal: ClassVar[bool] = False  # whether it is a distribution of alignments: see `HardAttention`

    @abstractmethod
    def keys(self, states: Tensor) -> Tensor:
        """Encoder states [B, S, memory] -> keys [B, S, key]; computed once."""

    @abstractmethod
    def scores(self, queries: Tensor, memory: Memory, attended: Tensor | None = None) -> Tensor:
        """-> [B, T, S], before masking; `attended` [B, T, S] is what each query's row has kept."""

    def initial(self, memory: Memory) -> Tensor | None:
        """What is kept before the first step [B, S]; None for a kind that keeps nothing."""
        return None

    def kept(self, attended: Tensor | None, weights: Tensor) -> Tensor | None:
        """What is kept after a step, from what was kept before it and its weights, each [B, T, S]."""
        return None

    def weights(self, queries: Tensor, memory: Memory, attended: Tensor | None) -> Tensor:
        """a [B, T, S], zero at padding, in float32 at least."""
        return masked_softmax(at_least_float32(self.scores(queries, memory, attended)), memory.mask[:, None])

    def forward(self, queries: Tensor, memory: Memory, attended: Tensor | None = None) -> Looked:
        """What each query [B, T, query] reads, with what its row has kept [B, T, S]."""
        exact = self.weights(queries, memory, attended)
        weights = exact.to(memory.states.dtype)
        return Looked(weights @ memory.states, weights, self.kept(attended, exact))


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """The softmax of scores [..., S] over the places where a mask that broadcasts to them is true, elsewhere zero.

    What is less than e^-`FAINT` of the largest is zero too. Such weights are lost in rounding, but they and their
    gradients come so near to the smallest numbers there are that a processor takes a hundred times as long over them.
    """
    if torch.compiler.is_exporting():  # the runtime makes the processor treat such numbers as zero
        return torch.softmax(torch.where(mask, scores, -torch.inf), -1)
    largest = scores.detach().masked_fill(~mask, -torch.inf).amax(-1, keepdim=True)
    return torch.softmax(torch.where(mask & (scores > largest - FAINT), scores, -torch.inf), -1)


def check_sizes(**sizes: int | None) -> None:
    """Sizes that were given must be ones that a layer can have."""
    for name, size in sizes.items():
        if size is not None and not 1 <= size <= WIDEST:
            raise ConfigError(name, f"must lie between 1 and {WIDEST:,} (is {size:,})")
