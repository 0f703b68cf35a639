"""The distributions of a step's numbers, by the names users type: a new one is a class and a row here.

A distribution has no weights: it is a function of the parameters that a head computes for each step.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.errors import ConfigError
from antiphon.registry import Table


class Likelihood:
    """The distribution of a step's `numbers`, given `size` parameters of any value.

    Parameters are [..., size] and numbers [..., numbers], scaled. What is drawn is a function of `draws` uniform random
    numbers for each number, so that it can be exported and repeated anywhere.
    """

    draws: ClassVar[int] = 0  # uniform random numbers that a drawn number needs; 0: nothing can be drawn

    def __init__(self, numbers: int) -> None:
        self.numbers = numbers

    @property
    def size(self) -> int:
        """Parameters of a step."""
        raise NotImplementedError

    def loss(self, parameters: Tensor, targets: Tensor, unit: Tensor | None) -> Tensor:
        """-log p of the targets [...], or another loss where there is no density.

        `unit` [..., numbers] is what a difference of 1 is in the scale in which the loss is measured (None: 1).
        """
        raise NotImplementedError

    @property
    def has_density(self) -> bool:
        """Whether the loss is -log p."""
        return True

    def center(self, parameters: Tensor) -> Tensor:
        """The answer [..., numbers]: the mean or the median."""
        raise NotImplementedError

    def draw(self, parameters: Tensor, uniform: Tensor, temperature: float = 1.0) -> Tensor:
        """Random numbers [..., numbers] from `uniform` [..., numbers, draws], each in the open interval (0, 1).

        `temperature` is a factor of their distance to the center.
        """
        raise NotImplementedError

    def quantiles(self, parameters: Tensor, probabilities: Tensor) -> Tensor:
        """The numbers [..., Q, numbers] that lie above with these probabilities [Q]."""
        raise NotImplementedError


def _positive(least: float) -> float:
    if not least > 0:
        raise ConfigError("least", f"must be above 0 (is {least})")
    return least


class Gaussian(Likelihood):
    """A normal distribution for each number: its mean and its deviation, which is never below `least`."""

    draws = 2

    def __init__(self, numbers: int, least: float = 1e-3) -> None:
        super().__init__(numbers)
        self.least = _positive(least)

    @property
    def size(self) -> int:
        return 2 * self.numbers

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = parameters.chunk(2, -1)
        return mean, functional.softplus(raw) + self.least

    def loss(self, parameters: Tensor, targets: Tensor, unit: Tensor | None) -> Tensor:
        mean, deviation = self._parts(parameters)
        nll = 0.5 * ((targets - mean) / deviation).square() + deviation.log() + 0.5 * math.log(2 * math.pi)
        return nll.sum(-1) + _log_of(unit, nll)

    def center(self, parameters: Tensor) -> Tensor:
        return self._parts(parameters)[0]

    def draw(self, parameters: Tensor, uniform: Tensor, temperature: float = 1.0) -> Tensor:
        mean, deviation = self._parts(parameters)
        return mean + temperature * deviation * standard_normal(uniform[..., 0], uniform[..., 1])

    def quantiles(self, parameters: Tensor, probabilities: Tensor) -> Tensor:
        mean, deviation = self._parts(parameters)
        place: Tensor = torch.special.ndtri(probabilities)[:, None]
        return mean[..., None, :] + deviation[..., None, :] * place


class SquaredError(Likelihood):
    """One value for each number; the loss is the squared error, the mean over a step's numbers. Nothing can be drawn.

    This is the loss of a normal distribution whose deviation is the same for all.
    """

    @property
    def size(self) -> int:
        return self.numbers

    @property
    def has_density(self) -> bool:
        return False

    def loss(self, parameters: Tensor, targets: Tensor, unit: Tensor | None) -> Tensor:
        errors = parameters - targets
        if unit is not None:
            errors = errors * unit
        return errors.square().mean(-1)

    def center(self, parameters: Tensor) -> Tensor:
        return parameters


def standard_normal(first: Tensor, second: Tensor) -> Tensor:
    """Two uniform numbers to a normal one (Box & Muller 1958)."""
    return (-2 * first.log()).sqrt() * (2 * math.pi * second).cos()


def _log_of(unit: Tensor | None, like: Tensor) -> Tensor:
    """The logarithm of the volume of a unit in every number [...]; 0 without one."""
    return torch.zeros_like(like[..., 0]) if unit is None else unit.log().sum(-1)


LIKELIHOODS: Table[Likelihood] = Table("likelihood", {"gaussian": Gaussian, "mse": SquaredError})
