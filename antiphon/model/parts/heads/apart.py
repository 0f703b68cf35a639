"""The head of a series whose columns are written alone, with shared weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from antiphon.model.parts.heads.series import SeriesHead
from antiphon.model.parts.likelihoods.base import Likelihood
from antiphon.model.state import at_least_float32


class Apart(Likelihood):
    """The same distribution `each` of every number by itself."""

    def __init__(self, each: Likelihood, numbers: int) -> None:
        super().__init__(numbers)
        self.each = each

    @property
    def draws(self) -> int:  # type: ignore[override]
        return self.each.draws

    @property
    def size(self) -> int:
        return self.numbers * self.each.size

    @property
    def has_density(self) -> bool:
        return self.each.has_density

    def _of_each(self, parameters: Tensor) -> Tensor:
        return parameters.reshape(*parameters.shape[:-1], self.numbers, self.each.size)

    def loss(self, parameters: Tensor, targets: Tensor, unit: Tensor | None) -> Tensor:
        units = None if unit is None else unit[..., None]
        losses = self.each.loss(self._of_each(parameters), targets[..., None], units)
        return losses.sum(-1) if self.has_density else losses.mean(-1)

    def center(self, parameters: Tensor) -> Tensor:
        return self.each.center(self._of_each(parameters))[..., 0]

    def draw(self, parameters: Tensor, uniform: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        return self.each.draw(self._of_each(parameters), uniform[..., None, :], temperature)[..., 0]

    def quantiles(self, parameters: Tensor, probabilities: Sequence[float]) -> Tensor:
        return self.each.quantiles(self._of_each(parameters), probabilities)[..., 0].transpose(-1, -2)


class ApartHead(SeriesHead):
    """As `SeriesHead`, from features of C * B rows, all rows of a column after those of the one before, with the same
    weights for all columns."""

    def __init__(self, features: int, likelihood: Apart, segment: int, log_unit: float) -> None:
        super().__init__(features, likelihood.numbers, likelihood, segment, log_unit=log_unit)
        self.output = nn.Linear(features, segment * likelihood.each.size)

    def parameters_of(self, readout: Tensor) -> Tensor:
        """Features [C * B, K, features] -> the parameters of every step [B, K * segment, C * size of each]."""
        parameters = at_least_float32(self.output(readout))
        rows, steps = parameters.shape[0] // self.numbers, parameters.shape[1]
        apart = parameters.reshape(self.numbers, rows, steps * self.segment, -1)
        return apart.permute(1, 2, 0, 3).flatten(2)
