"""The weights that are validated and shipped: the last ones, their moving average, or a mean of checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.training.optimizer import averaged


class Average:
    """Keeps the weights of which the shipped ones are an average.

    `ema`: the decay of an exponential moving average over updates, which rises to it as (1 + t) / (10 + t).
    `last`: the mean of the weights at this many last validations. Neither: the mean that the `optimizer` keeps, if it
    keeps one, or the weights themselves.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        ema: float | None,
        last: int,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.parameters, self.decay, self.last, self.optimizer = parameters, ema, last, optimizer
        self.moving = [p.detach().clone() for p in parameters] if ema else []
        self.snapshots: list[list[Tensor]] = []
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """To be called after every update of the weights."""
        self.updates += 1
        if self.decay:
            decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
            torch._foreach_lerp_(self.moving, [p.detach() for p in self.parameters], 1 - decay)

    def snapshot(self) -> None:
        """To be called before every validation."""
        if self.last > 1:
            self.snapshots = [*self.snapshots[1 - self.last :], [p.detach().clone() for p in self.parameters]]

    @contextmanager
    def shipped(self) -> Iterator[None]:
        """Within it, the model has the weights that are validated and shipped."""
        mean = self._mean()
        if not mean:
            yield
            return
        current = [p.detach().clone() for p in self.parameters]
        self._copy(mean)
        try:
            yield
        finally:
            self._copy(current)

    def _mean(self) -> list[Tensor]:
        """The average to ship, parameter by parameter; empty if it is the weights themselves."""
        if self.moving or len(self.snapshots) > 1:
            return self.moving or [torch.stack(values).mean(0) for values in zip(*self.snapshots, strict=True)]
        kept = averaged(self.optimizer) if self.optimizer and self.last == 1 else {}
        return [kept.get(p, p.detach()) for p in self.parameters] if kept else []

    @torch.no_grad()
    def _copy(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

    def state(self) -> dict[str, Any]:
        return {"moving": self.moving, "snapshots": self.snapshots, "updates": self.updates}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the value of `state`, on the parameters' devices."""

        def placed(values: list[Tensor]) -> list[Tensor]:
            return [value.to(p.device) for value, p in zip(values, self.parameters, strict=True)]

        self.moving = placed(state["moving"]) if state["moving"] else []
        self.snapshots = [placed(values) for values in state["snapshots"]]
        self.updates = state["updates"]
