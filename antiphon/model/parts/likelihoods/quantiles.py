"""Quantiles that never cross."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.errors import ConfigError
from antiphon.model.parts.likelihoods.base import Likelihood


class Quantiles(Likelihood):
    """The quantiles of each number at `levels`, which are ascending and contain 0.5, the answer; they never cross.

    The loss is the pinball loss, the mean over numbers and levels (Koenker & Bassett 1978), times 2, so that at 0.5 it
    is the absolute error. What is drawn lies on straight lines between them, and beyond the outermost ones.
    """

    draws = 1

    def __init__(self, numbers: int, levels: list[float] | None = None) -> None:
        super().__init__(numbers)
        levels = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] if levels is None else levels
        if levels != sorted(set(levels)) or not all(0 < level < 1 for level in levels):
            raise ConfigError("levels", f"must be different probabilities between 0 and 1, ascending (is {levels})")
        if 0.5 not in levels or len(levels) < 2:
            raise ConfigError("levels", f"must contain 0.5, whose quantile is the answer, and another (is {levels})")
        self.levels, self.middle = levels, levels.index(0.5)

    @property
    def size(self) -> int:
        return len(self.levels) * self.numbers

    @property
    def has_density(self) -> bool:
        return False

    def values(self, parameters: Tensor) -> Tensor:
        """The quantiles [..., numbers, levels]: the median, and from it steps that are not negative."""
        raw = parameters.reshape(*parameters.shape[:-1], self.numbers, len(self.levels))
        steps = functional.softplus(raw)
        median = raw[..., self.middle : self.middle + 1]
        below = steps[..., : self.middle].flip(-1).cumsum(-1).flip(-1)
        above = steps[..., self.middle + 1 :].cumsum(-1)
        return torch.cat([median - below, median, median + above], -1)

    def loss(self, parameters: Tensor, targets: Tensor, unit: Tensor | None) -> Tensor:
        errors = targets[..., None] - self.values(parameters)
        levels = errors.new_tensor(self.levels)
        losses = 2 * torch.maximum(levels * errors, (levels - 1) * errors).mean(-1)
        return (losses if unit is None else losses * unit).mean(-1)

    def center(self, parameters: Tensor) -> Tensor:
        return self.values(parameters)[..., self.middle]

    def draw(self, parameters: Tensor, uniform: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        values = self.values(parameters)
        median = values[..., self.middle]
        return median + temperature * (self._between(values, uniform[..., 0]) - median)

    def quantiles(self, parameters: Tensor, probabilities: Sequence[float]) -> Tensor:
        values = self.values(parameters)
        places = (values.new_full((1,), probability).expand(values.shape[:-1]) for probability in probabilities)
        return torch.stack([self._between(values, place) for place in places], -2)

    def _between(self, values: Tensor, probabilities: Tensor) -> Tensor:
        """The quantiles of the probabilities [..., numbers] on straight lines through those at the levels."""
        levels = values.new_tensor(self.levels)
        right = (probabilities[..., None] > levels).sum(-1, keepdim=True).clamp(1, len(self.levels) - 1)
        low, high = (values.gather(-1, place).squeeze(-1) for place in (right - 1, right))
        lower, upper = levels[right - 1].squeeze(-1), levels[right].squeeze(-1)
        return low + (high - low) * (probabilities - lower) / (upper - lower)
