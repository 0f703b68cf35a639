"""Losses of one value for each number, without a distribution."""

from __future__ import annotations

from torch import Tensor

from antiphon.model.parts.likelihoods.base import Likelihood


class PointLoss(Likelihood):
    """One value for each number, without a distribution, so that nothing can be drawn."""

    @property
    def size(self) -> int:
        return self.numbers

    @property
    def has_density(self) -> bool:
        return False

    def of_errors(self, errors: Tensor) -> Tensor:
        """The loss of every error."""
        raise NotImplementedError

    def loss(self, parameters: Tensor, targets: Tensor, unit: Tensor | None) -> Tensor:
        errors = parameters - targets
        return self.of_errors(errors if unit is None else errors * unit).mean(-1)

    def center(self, parameters: Tensor) -> Tensor:
        return parameters


class SquaredError(PointLoss):
    """One value for each number; the loss is the squared error, the mean over a step's numbers. Nothing can be drawn.

    It is learned as the mean of a normal distribution is whose deviation is the same everywhere.
    """

    def of_errors(self, errors: Tensor) -> Tensor:
        return errors.square()


class AbsoluteError(PointLoss):
    """One value for each number; the loss is the absolute error, the mean over a step's numbers. Nothing can be drawn.

    It is learned as a median is.
    """

    def of_errors(self, errors: Tensor) -> Tensor:
        return errors.abs()
