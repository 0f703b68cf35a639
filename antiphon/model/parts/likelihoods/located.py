"""Distributions with a place and a spread: normal, Laplace, Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from antiphon.model.parts.likelihoods.base import Likelihood, log_of, positive, standard_normal


class Located(Likelihood):
    """A distribution of each number by itself that has a place and a spread, which is never below `least`."""

    def __init__(self, numbers: int, least: float = 1e-3) -> None:
        super().__init__(numbers)
        self.least = positive(least)

    @property
    def size(self) -> int:
        return 2 * self.numbers

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Place and spread, each [..., numbers]."""
        place, raw = parameters[..., : 2 * self.numbers].chunk(2, -1)
        return place, functional.softplus(raw) + self.least

    def standard_loss(self, parameters: Tensor, errors: Tensor) -> Tensor:
        """-log p [..., numbers] of a number that is so many spreads from its place, with a spread of 1."""
        raise NotImplementedError

    def standard_draw(self, parameters: Tensor, uniform: Tensor) -> Tensor:
        """Random numbers [..., numbers] with the place 0 and the spread 1."""
        raise NotImplementedError

    def standard_quantiles(self, parameters: Tensor, probabilities: Sequence[float]) -> Tensor:
        """The quantiles with the place 0 and the spread 1, [..., Q, numbers] or [Q, 1] for all."""
        raise NotImplementedError

    def loss(self, parameters: Tensor, targets: Tensor, unit: Tensor | None) -> Tensor:
        place, spread = self._parts(parameters)
        nll = self.standard_loss(parameters, (targets - place) / spread) + spread.log()
        return nll.sum(-1) + log_of(unit, nll)

    def center(self, parameters: Tensor) -> Tensor:
        return self._parts(parameters)[0]

    def draw(self, parameters: Tensor, uniform: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        place, spread = self._parts(parameters)
        return place + temperature * spread * self.standard_draw(parameters, uniform)

    def quantiles(self, parameters: Tensor, probabilities: Sequence[float]) -> Tensor:
        place, spread = self._parts(parameters)
        return place[..., None, :] + spread[..., None, :] * self.standard_quantiles(parameters, probabilities)


class Gaussian(Located):
    """A normal distribution of each number: its mean and its deviation, which is never below `least`."""

    draws = 2

    def standard_loss(self, parameters: Tensor, errors: Tensor) -> Tensor:
        return 0.5 * errors.square() + 0.5 * math.log(2 * math.pi)

    def standard_draw(self, parameters: Tensor, uniform: Tensor) -> Tensor:
        return standard_normal(uniform[..., 0], uniform[..., 1])

    def standard_quantiles(self, parameters: Tensor, probabilities: Sequence[float]) -> Tensor:
        return parameters.new_tensor([[NormalDist().inv_cdf(probability)] for probability in probabilities])


class Laplace(Located):
    """A Laplace distribution of each number: its median and its mean distance from it, which is never below `least`.

    It expects more outliers than a normal distribution.
    """

    draws = 1

    def standard_loss(self, parameters: Tensor, errors: Tensor) -> Tensor:
        return errors.abs() + math.log(2)

    def standard_draw(self, parameters: Tensor, uniform: Tensor) -> Tensor:
        centered = uniform[..., 0] - 0.5
        return -torch.sign(centered) * torch.log1p(-2 * centered.abs())

    def standard_quantiles(self, parameters: Tensor, probabilities: Sequence[float]) -> Tensor:
        centered = [probability - 0.5 for probability in probabilities]
        return parameters.new_tensor([[math.copysign(math.log1p(-2 * abs(value)), value)] for value in centered])


class StudentT(Located):
    """Student's t-distribution of each number: its median, its spread, which is never below `least`, and its degrees of
    freedom, which are above 2. With few of them it expects far outliers.
    """

    draws = 2
    NODES, HALVINGS = 48, 30  # of the integral for a quantile, and of the interval that it lies in

    @property
    def size(self) -> int:
        return 3 * self.numbers

    def freedom(self, parameters: Tensor) -> Tensor:
        """The degrees of freedom [..., numbers]."""
        return 2.0 + 1e-3 + functional.softplus(parameters[..., 2 * self.numbers :])

    def standard_loss(self, parameters: Tensor, errors: Tensor) -> Tensor:
        freedom = self.freedom(parameters)
        power = (freedom + 1) / 2 * torch.log1p(errors.square() / freedom)
        return power - _log_t_constant(freedom)

    def standard_draw(self, parameters: Tensor, uniform: Tensor) -> Tensor:
        """Bailey 1994, Polar generation of random variates with the t-distribution, as Box & Muller's direct form."""
        freedom = self.freedom(parameters)
        radius = (freedom * torch.expm1(-2 / freedom * uniform[..., 0].log())).sqrt()
        return radius * (2 * math.pi * uniform[..., 1]).cos()

    def standard_quantiles(self, parameters: Tensor, probabilities: Sequence[float]) -> Tensor:
        """By halving an interval of angles a, t = sqrt(n) tan a, in which the density is as cos(a)^(n - 1)."""
        freedom = self.freedom(parameters)[..., None, :].expand(*parameters.shape[:-1], len(probabilities), -1)
        nodes, weights = _legendre(self.NODES, parameters)
        low, high = torch.zeros_like(freedom), torch.full_like(freedom, math.pi / 2)

        def within(angle: Tensor) -> Tensor:
            density = (angle[..., None] * nodes).cos().clamp(min=0) ** (freedom[..., None] - 1)
            return angle * (density * weights).sum(-1)

        centered = parameters.new_tensor([[probability - 0.5] for probability in probabilities])
        wanted = 2 * centered.abs() * within(high)
        for _ in range(self.HALVINGS):
            middle = (low + high) / 2
            below = within(middle) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return torch.sign(centered) * freedom.sqrt() * low.tan()


def _log_t_constant(freedom: Tensor) -> Tensor:
    """log of the factor of the density of Student's t: gamma((n + 1) / 2) / (sqrt(n pi) gamma(n / 2))."""
    return torch.lgamma((freedom + 1) / 2) - torch.lgamma(freedom / 2) - 0.5 * (freedom * math.pi).log()


def _legendre(count: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Places in [0, 1] and weights of a Gauss-Legendre integral."""
    places, weights = np.polynomial.legendre.leggauss(count)
    return like.new_tensor((places + 1) / 2), like.new_tensor(weights / 2)
