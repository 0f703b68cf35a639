"""What the distribution of a step's numbers is, and what several share.

A distribution has no weights: it is a function of the parameters that a head computes for each step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from antiphon.errors import ConfigError


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

    def draw(self, parameters: Tensor, uniform: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        """Random numbers [..., numbers] from `uniform` [..., numbers, draws], each in the open interval (0, 1).

        `temperature` is a factor of their distance to the center.
        """
        raise NotImplementedError

    def quantiles(self, parameters: Tensor, probabilities: Sequence[float]) -> Tensor:
        """The numbers [..., Q, numbers] below which a number lies with these probabilities, each between 0 and 1."""
        raise NotImplementedError


def positive(least: float) -> float:
    """The smallest spread, checked."""
    if not least > 0:
        raise ConfigError("least", f"must be above 0 (is {least})")
    return least


def standard_normal(first: Tensor, second: Tensor) -> Tensor:
    """Two uniform numbers to a normal one (Box & Muller 1958)."""
    return (-2 * first.log()).sqrt() * (2 * math.pi * second).cos()


def log_of(unit: Tensor | None, like: Tensor) -> Tensor:
    """The logarithm of the volume of a unit in every number [...]; 0 without one."""
    return torch.zeros_like(like[..., 0]) if unit is None else unit.log().sum(-1)
