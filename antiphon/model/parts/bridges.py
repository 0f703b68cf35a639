"""Bridges: the context vector C from the encoder, and the decoder's first state from C.

`last` (Sutskever et al. 2014, arXiv 1409.3215), `projected_last` (Cho et al. 2014, 1406.1078),
`projected_all` (Bahdanau et al. 2015, 1409.0473, starts from one state; here from a pool of all), and `none`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError
from antiphon.model.parts.pooling import Pool, pooled, scorer
from antiphon.model.state import Encoded, Layer
from antiphon.registry import Table


class Bridge(nn.Module, ABC):
    """C [B, size] from encoder states; decoder layers' first states from C.

    `memory` is the width of the encoder's states, `last` that of its last state (several sources join theirs).
    """

    size: int

    @abstractmethod
    def context(self, encoded: Encoded) -> Tensor:
        """-> C [B, size]."""

    @abstractmethod
    def start(self, context: Tensor) -> tuple[Layer, ...]:
        """C [B, size] -> the state of every decoder layer before the first step."""


class Last(Bridge):
    """C = h_S (Sutskever et al. 2014, arXiv 1409.3215).

    Every decoder layer starts from C itself, an LSTM's cell state from zero.
    """

    def __init__(self, memory: int, last: int, hidden: int, layers: int, state_parts: int) -> None:
        super().__init__()
        if last != hidden:
            raise ConfigError(
                "from",
                f"last starts every decoder layer from the encoder's last state, which is {last} wide while "
                f"decoder.hidden is {hidden}; make them equal, or choose projected_last",
            )
        self.size, self.layers, self.state_parts = last, layers, state_parts

    def context(self, encoded: Encoded) -> Tensor:
        return encoded.last

    def start(self, context: Tensor) -> tuple[Layer, ...]:
        return ((context, *[torch.zeros_like(context)] * (self.state_parts - 1)),) * self.layers


class _Projected(Bridge):
    """C = tanh(W x + b). Every layer has its own map: h_0 = tanh(V C + d), an LSTM's c_0 = V' C + d'."""

    def __init__(self, inputs: int, hidden: int, layers: int, state_parts: int) -> None:
        super().__init__()
        self.size, self.layers, self.state_parts = hidden, layers, state_parts
        self.project = nn.Linear(inputs, hidden)
        self.first = nn.Linear(hidden, layers * state_parts * hidden)

    def start(self, context: Tensor) -> tuple[Layer, ...]:
        made = self.first(context).chunk(self.layers * self.state_parts, -1)
        layers = [made[i : i + self.state_parts] for i in range(0, len(made), self.state_parts)]
        return tuple((torch.tanh(h), *rest) for h, *rest in layers)


class ProjectedLast(_Projected):
    """C = tanh(W h_S + b) (Cho et al. 2014, arXiv 1406.1078)."""

    def __init__(self, memory: int, last: int, hidden: int, layers: int, state_parts: int) -> None:
        super().__init__(last, hidden, layers, state_parts)

    def context(self, encoded: Encoded) -> Tensor:
        return torch.tanh(self.project(encoded.last))


class ProjectedAll(_Projected):
    """C = tanh(W pool(h_1..h_S) + b), the pool masked: `mean`, `max`, or `attention` (learned weights).

    Bahdanau et al. 2015 (arXiv 1409.0473) start from one state, here it is a pool of all.
    """

    def __init__(
        self,
        memory: int,
        last: int,
        hidden: int,
        layers: int,
        state_parts: int,
        pool: Pool = "mean",
    ) -> None:
        super().__init__(memory, hidden, layers, state_parts)
        self.pool: Pool = pool
        self.score = scorer(pool, memory)

    def context(self, encoded: Encoded) -> Tensor:
        return torch.tanh(self.project(pooled(encoded, self.pool, self.score)))


class NoContext(Bridge):
    """C = 0: the decoder begins alike for every source, and knows of it what its attention or alignment gives."""

    def __init__(self, memory: int, last: int, hidden: int, layers: int, state_parts: int) -> None:
        super().__init__()
        self.size, self.layers, self.state_parts = hidden, layers, state_parts

    def context(self, encoded: Encoded) -> Tensor:
        return encoded.last.new_zeros(encoded.last.shape[0], self.size)

    def start(self, context: Tensor) -> tuple[Layer, ...]:
        return ((torch.zeros_like(context),) * self.state_parts,) * self.layers


BRIDGES: Table[Bridge] = Table(
    "context",
    {"none": NoContext, "last": Last, "projected_last": ProjectedLast, "projected_all": ProjectedAll},
)
