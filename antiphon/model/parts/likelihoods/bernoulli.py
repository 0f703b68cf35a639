"""Bits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.model.parts.likelihoods.base import Likelihood


class Bernoulli(Likelihood):
    """Numbers that are 0 or 1, each with its probability, which is the answer."""

    draws = 1

    @property
    def size(self) -> int:
        return self.numbers

    def loss(self, parameters: Tensor, targets: Tensor, unit: Tensor | None) -> Tensor:
        return functional.binary_cross_entropy_with_logits(parameters, targets, reduction="none").sum(-1)

    def center(self, parameters: Tensor) -> Tensor:
        return torch.sigmoid(parameters)

    def draw(self, parameters: Tensor, uniform: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
        return (uniform[..., 0] < torch.sigmoid(parameters / temperature)).to(parameters.dtype)

    def quantiles(self, parameters: Tensor, probabilities: Sequence[float]) -> Tensor:
        ones = torch.sigmoid(parameters)
        return torch.stack([(1 - ones < probability).to(ones.dtype) for probability in probabilities], -2)
