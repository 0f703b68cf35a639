"""Numbers and bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.model.parts.heads.base import Head, at_positions
from antiphon.model.state import at_least_float32


class NumbersHead(Head[Tensor]):
    """Numbers y = W f + b; the loss is the squared error, the mean over a step's numbers."""

    def __init__(self, features: int, symbols: int) -> None:
        super().__init__()
        self.output = nn.Linear(features, symbols)

    def _numbers(self, features: Tensor, positions: Tensor) -> Tensor:
        return at_least_float32(self.output(at_positions(features, positions)))

    def answer(self, features: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        numbers = self._numbers(features, positions)
        return numbers, numbers

    def judge(self, features: Tensor, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        errors = (self._numbers(features, positions) - at_positions(targets, positions)).square().mean(-1)
        return errors, torch.zeros_like(errors, dtype=torch.bool)

    def objective(
        self, features: Tensor, targets: Tensor, positions: Tensor, smoothing: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        loss = self.judge(features, targets, positions)[0].sum()
        return loss, loss.detach()


class BitsHead(NumbersHead):
    """Bits with p(y_d = 1) = sigmoid(W f + b)_d; the loss is -log p of a step's bits together, in nats.

    (Boulanger-Lewandowski et al. 2012, arXiv 1206.6392, call its mean the negative log-likelihood per frame.)
    The prediction for a bit is p.
    """

    def answer(self, features: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = torch.sigmoid(self._numbers(features, positions))
        return probabilities, probabilities

    def judge(self, features: Tensor, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        logits, bits = self._numbers(features, positions), at_positions(targets, positions)
        nll = functional.binary_cross_entropy_with_logits(logits, bits, reduction="none").sum(-1)
        return nll, ((logits > 0) == (bits > 0.5)).all(-1)
