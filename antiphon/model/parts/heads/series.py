"""The numbers of a series, and where it stops."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.model.parts.heads.base import Head, at_positions
from antiphon.model.parts.likelihoods.base import Likelihood
from antiphon.model.state import at_least_float32


class Scaling(NamedTuple):
    """What a row's own numbers are measured from and in: shift and unit, each [B, numbers]."""

    shift: Tensor
    unit: Tensor

    def into(self, values: Tensor) -> Tensor:
        """Values [B, T, numbers] in the scale of their row."""
        return (values - self.shift[:, None]) / self.unit[:, None]

    def back(self, values: Tensor) -> Tensor:
        """The inverse of `into`."""
        return values * self.unit[:, None] + self.shift[:, None]


class SeriesFeatures(NamedTuple):
    """Readout features [B, K, features] of the decoder's steps, and the scaling of each row if it has its own."""

    readout: Tensor
    scaling: Scaling | None = None


class SeriesHead(Head[SeriesFeatures]):
    """The distribution of the numbers of every step of a series; if it `stops`, also of whether it ends there.

    A step of the decoder gives the parameters W f + b of a `segment` of steps. p(y, T) = prod_t p(y_t) times the
    probability of stopping after step T and not before, a Bernoulli for each step. `log_unit` is the logarithm of the
    unit of the scaled numbers, so that a density is one in the units of the data.
    """

    def __init__(
        self,
        features: int,
        symbols: int,
        likelihood: Likelihood,
        segment: int = 1,
        stops: bool = False,
        log_unit: float = 0.0,
    ) -> None:
        super().__init__()
        self.numbers, self.likelihood, self.segment, self.log_unit = symbols, likelihood, segment, log_unit
        self.output = nn.Linear(features, segment * likelihood.size)
        self.stop = nn.Linear(features, segment) if stops else None

    def parameters_of(self, readout: Tensor) -> Tensor:
        """Features [..., K, features] -> the likelihood's parameters of every step [..., K * segment, size]."""
        parameters = at_least_float32(self.output(readout))
        *lead, steps = parameters.shape[:-1]
        return parameters.reshape(*lead, steps * self.segment, self.likelihood.size)

    def stop_logits(self, readout: Tensor) -> Tensor | None:
        """Features [..., K, features] -> the logit of stopping after every step [..., K * segment]."""
        return None if self.stop is None else at_least_float32(self.stop(readout)).flatten(-2)

    def _losses(self, features: SeriesFeatures, targets: Tensor, positions: Tensor) -> Tensor:
        """The loss of every step that is not padding [N]."""
        rows, steps = targets.shape[:2]
        parameters = at_positions(self.parameters_of(features.readout)[:, :steps], positions)
        unit = None
        if features.scaling is not None:
            targets = features.scaling.into(targets)
            unit = at_positions(features.scaling.unit[:, None].expand(-1, steps, -1), positions)
        losses = self.likelihood.loss(parameters, at_positions(targets, positions), unit)
        if self.likelihood.has_density:
            losses = losses + self.log_unit
        logits = self.stop_logits(features.readout)
        if logits is None:
            return losses
        inside = torch.zeros(rows * steps, dtype=torch.bool, device=targets.device)
        mask = inside.index_fill(0, positions, True).view(rows, steps)
        last = mask & ~functional.pad(mask[:, 1:], (0, 1))
        ends = functional.binary_cross_entropy_with_logits(logits[:, :steps], last.to(logits.dtype), reduction="none")
        return losses + at_positions(ends, positions)

    def judge(self, features: SeriesFeatures, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        losses = self._losses(features, targets, positions)
        return losses, torch.zeros_like(losses, dtype=torch.bool)

    def objective(
        self,
        features: SeriesFeatures,
        targets: Tensor,
        positions: Tensor,
        smoothing: float,
        weights: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        loss = self._losses(features, targets, positions).sum()
        return loss, loss.detach()

    def answer(self, features: SeriesFeatures, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The center of every step."""
        numbers = self.likelihood.center(self.parameters_of(features.readout))
        if features.scaling is not None:
            numbers = features.scaling.back(numbers)
        kept = at_positions(numbers, positions)
        return kept, kept
