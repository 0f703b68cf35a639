"""A mixture of normal distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.errors import ConfigError
from antiphon.model.parts.likelihoods.base import Likelihood, log_of, positive, standard_normal


class Mixture(Likelihood):
    """Several normal distributions of all numbers of a step together, one of which is drawn (Graves 2013, arXiv
    1308.0850, eq. 18-25): the share of each of the `components`, its means and deviations, which are never below
    `least`. With `correlation`, which two numbers can have, also how they depend on each other in each component.
    The answer is the mean.
    """

    draws = 3
    HALVINGS = 30  # of the interval in which a quantile lies

    def __init__(self, numbers: int, components: int = 10, correlation: bool = False, least: float = 1e-3) -> None:
        super().__init__(numbers)
        if components < 1:
            raise ConfigError("components", f"must be at least 1 (is {components})")
        if correlation and numbers != 2:
            raise ConfigError("correlation", f"is for two numbers in a step, and here there are {numbers:,}")
        self.components, self.correlation, self.least = components, correlation, positive(least)

    @property
    def size(self) -> int:
        return self.components * (1 + 2 * self.numbers + self.correlation)

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Logits [..., K], means and deviations [..., K, numbers], correlations [..., K] or None."""
        count, lead = self.components, parameters.shape[:-1]
        sizes = [count, count * self.numbers, count * self.numbers, count * self.correlation]
        logits, means, raw, slopes = torch.split(parameters, sizes, -1)
        deviations = functional.softplus(raw) + self.least
        shape = (*lead, count, self.numbers)
        correlations = 0.999 * torch.tanh(slopes) if self.correlation else None
        return logits, means.reshape(shape), deviations.reshape(shape), correlations

    def loss(self, parameters: Tensor, targets: Tensor, unit: Tensor | None) -> Tensor:
        logits, means, deviations, correlations = self._parts(parameters)
        errors = (targets[..., None, :] - means) / deviations
        nll = deviations.log().sum(-1) + 0.5 * self.numbers * math.log(2 * math.pi)
        if correlations is None:
            nll = nll + 0.5 * errors.square().sum(-1)
        else:
            rest = 1 - correlations.square()
            both = errors.square().sum(-1) - 2 * correlations * errors[..., 0] * errors[..., 1]
            nll = nll + 0.5 * both / rest + 0.5 * rest.log()
        total = -torch.logsumexp(torch.log_softmax(logits, -1) - nll, -1)
        return total + log_of(unit, targets)

    def center(self, parameters: Tensor) -> Tensor:
        logits, means, _, _ = self._parts(parameters)
        return (torch.softmax(logits, -1)[..., None] * means).sum(-2)

    def draw(self, parameters: Tensor, uniform: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        """As by Graves a `temperature` below 1 also makes the greatest shares greater."""
        logits, means, deviations, correlations = self._parts(parameters)
        upper = torch.softmax(logits / temperature, -1).cumsum(-1)[..., :-1]
        component = (uniform[..., :1, 0] > upper).sum(-1, keepdim=True)
        place = component[..., None].expand(*component.shape, self.numbers)
        mean, deviation = (part.gather(-2, place).squeeze(-2) for part in (means, deviations))
        normal = standard_normal(uniform[..., 1], uniform[..., 2])
        if correlations is not None:
            slope = correlations.gather(-1, component)
            first, second = normal.chunk(2, -1)
            normal = torch.cat([first, slope * first + (1 - slope.square()).sqrt() * second], -1)
        return mean + temperature * deviation * normal

    def quantiles(self, parameters: Tensor, probabilities: Sequence[float]) -> Tensor:
        """Of each number by itself, by halving the interval in which it lies."""
        logits, means, deviations, _ = self._parts(parameters)
        shares = torch.softmax(logits, -1)[..., None, None]
        means, deviations = means[..., None, :], deviations[..., None, :]  # [..., K, 1, numbers]
        standard = [[NormalDist().inv_cdf(probability)] for probability in probabilities]
        ends = means + deviations * means.new_tensor(standard)
        low, high = ends.amin(-3), ends.amax(-3)  # every component has its quantile in between
        wanted = means.new_tensor([[probability] for probability in probabilities])
        for _ in range(self.HALVINGS):
            middle = (low + high) / 2
            reached = torch.special.ndtr((middle[..., None, :, :] - means) / deviations)
            below = (shares * reached).sum(-3) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2
