"""Bridges: the context vector C from the encoder, and the decoder's first state from C.

`last` (Sutskever et al. 2014, arXiv 1409.3215), `projected_last` (Cho et al. 2014, 1406.1078),
`projected_all` (Bahdanau et al. 2015, 1409.0473, starts from one state; here from a pool of all).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError
from antiphon.parts.state import Encoded, Layer
from antiphon.tables import Table


class Bridge(nn.Module, ABC):
    """C [B, size] from encoder states; decoder layers' first states from C."""

    size: int

    @abstractmethod
    def context(self, encoded: Encoded) -> Tensor:
        """-> C [B, size]."""

    @abstractmethod
    def start(self, context: Tensor) -> tuple[Layer, ...]:
        """C [B, size] -> the state of every decoder layer before the first step."""


class Last(Bridge):
    """C = h_S. Every decoder layer starts from C itself, an LSTM's cell state from zero."""

    def __init__(self, memory: int, hidden: int, layers: int, state_parts: int) -> None:
        super().__init__()
        if memory != hidden:
            raise ConfigError(
                "from",
                f"last starts every decoder layer from the encoder's last state, which is {memory} wide while "
                f"decoder.hidden is {hidden}; make them equal, or choose projected_last",
            )
        self.size, self.layers, self.state_parts = memory, layers, state_parts

    def context(self, encoded: Encoded) -> Tensor:
        return encoded.last

    def start(self, context: Tensor) -> tuple[Layer, ...]:
        return ((context, *[torch.zeros_like(context)] * (self.state_parts - 1)),) * self.layers


class _Projected(Bridge):
    """C = tanh(W x + b). Every layer has its own map: h_0 = tanh(V C + d), an LSTM's c_0 = V' C + d'."""

    def __init__(self, memory: int, hidden: int, layers: int, state_parts: int) -> None:
        super().__init__()
        self.size, self.layers, self.state_parts = hidden, layers, state_parts
        self.project = nn.Linear(memory, hidden)
        self.first = nn.Linear(hidden, layers * state_parts * hidden)

    def start(self, context: Tensor) -> tuple[Layer, ...]:
        made = self.first(context).chunk(self.layers * self.state_parts, -1)
        layers = [made[i : i + self.state_parts] for i in range(0, len(made), self.state_parts)]
        return tuple((torch.tanh(h), *rest) for h, *rest in layers)


class ProjectedLast(_Projected):
    """C = tanh(W h_S + b)."""

    def context(self, encoded: Encoded) -> Tensor:
        return torch.tanh(self.project(encoded.last))


class ProjectedAll(_Projected):
    """C = tanh(W pool(h_1..h_S) + b), the pool masked: `mean`, `max`, or `attention` (learned weights)."""

    def __init__(
        self,
        memory: int,
        hidden: int,
        layers: int,
        state_parts: int,
        pool: Literal["mean", "max", "attention"] = "mean",
    ) -> None:
        super().__init__(memory, hidden, layers, state_parts)
        self.pool = pool
        self.score = nn.Linear(memory, 1, bias=False) if pool == "attention" else None

    def context(self, encoded: Encoded) -> Tensor:
        return torch.tanh(self.project(self._pooled(encoded)))

    def _pooled(self, encoded: Encoded) -> Tensor:
        states, mask = encoded.states, encoded.mask[..., None]
        if self.pool == "mean":  # states are zero at padding
            return states.sum(1) / mask.sum(1).to(states.dtype)
        if self.pool == "max":
            return states.masked_fill(~mask, -torch.inf).amax(1)
        assert self.score is not None
        weights = torch.softmax(self.score(states).masked_fill(~mask, -torch.inf), 1)
        return (weights * states).sum(1)


BRIDGES: Table[Bridge] = Table(
    "context", {"last": Last, "projected_last": ProjectedLast, "projected_all": ProjectedAll}
)
