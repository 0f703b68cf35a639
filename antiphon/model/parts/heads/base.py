"""What every head is, and what several of them share."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.model.parts.heads.cross_entropy import CrossEntropy, in_pieces
from antiphon.model.state import at_least_float32

F = TypeVar("F")
LEAST = -100.0  # log p of a symbol that a teacher predicts and the student cannot: its gradient is 0


class Head(nn.Module, Generic[F]):
    """From readout features to a loss in training, and to a prediction in use.

    Features F are a tensor [B, T, features] for most heads. `positions` are the flat indices (row by row) of the N
    steps that are not padding; `targets` are [B, T], or [B, T, numbers]. What a head gives has one entry for each
    position, in their order.
    """

    stepwise: ClassVar[bool] = True  # whether the prediction for a step depends on this step's features alone

    def judge(self, features: F, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of every target, and whether the prediction is right, each [N]."""
        raise NotImplementedError

    def objective(
        self, features: F, targets: Tensor, positions: Tensor, smoothing: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What training minimises, and the loss of the targets without gradient, each summed over all positions.

        `smoothing` and the `weights` [symbols] of classes act on what is minimised alone, and only where targets are
        classes.
        """
        raise NotImplementedError

    def answer(self, features: F, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction, ids [N] or numbers [N, size]; and log p of every class [N, size], or again the numbers."""
        raise NotImplementedError


class SymbolHead(Head[F]):
    """A head whose steps each have a distribution over symbols, so that symbols can be written one by one."""

    weight: nn.Parameter  # [symbols, features]

    def kept(self, features: F, positions: Tensor) -> F:
        """Features of N steps, those at the positions."""
        raise NotImplementedError

    def log_probs(self, features: F) -> Tensor:
        """Features of steps [...] -> log p [..., symbols], in float32."""
        raise NotImplementedError

    def of_targets(self, features: F, targets: Tensor) -> Tensor:
        """Features of steps [...] -> log p of each target [...], which can be differentiated."""
        return self.log_probs(features).gather(-1, targets[..., None]).squeeze(-1)

    def towards(self, features: F, positions: Tensor, ids: Tensor, probabilities: Tensor) -> Tensor:
        """The cross-entropy to a teacher's distribution, summed over N positions: - sum_k q(k) log p(k) with the
        probabilities q of the symbols `ids`, both [N, K] (Hinton et al. 2015, arXiv 1503.02531, without a temperature).
        """
        losses = []
        for places, symbols, weights in in_pieces(
            CrossEntropy.PRODUCT, len(self.weight), positions, ids, probabilities
        ):
            log_probs = self.log_probs(self.kept(features, places)).gather(1, symbols)
            losses.append(-(weights * log_probs.clamp(min=LEAST)).sum())
        return torch.stack(losses).sum()

    def disagreement(self, features: F, first: Tensor, second: Tensor) -> Tensor:
        """How much the distributions at the positions [N] `first` differ from those at `second`, summed: the mean of
        both Kullback-Leibler divergences, in nats (R-Drop, Liang et al. 2021, arXiv 2106.14448, eq. 2)."""
        sums = []
        for places in in_pieces(CrossEntropy.PRODUCT, 2 * len(self.weight), first, second):
            p, q = (self.log_probs(self.kept(features, part)).clamp(min=LEAST) for part in places)
            sums.append(((p.exp() - q.exp()) * (p - q)).sum() / 2)
        return torch.stack(sums).sum()

    def best(self, features: F) -> Tensor:
        """Features of steps [...] -> the most probable symbol's id [...]."""
        return self.log_probs(features).argmax(-1)


def output_matrix(symbols: int, features: int) -> nn.Parameter:
    """An output matrix [symbols, features] before training."""
    return nn.Parameter(torch.empty(symbols, features).uniform_(-(features**-0.5), features**-0.5))


def at_positions(values: Tensor, positions: Tensor) -> Tensor:
    """The values [B, T, ...] at the positions: [N, ...]."""
    return values.flatten(0, 1)[positions]


def class_logits(features: Tensor, weight: Tensor, bias: Tensor, first: int) -> Tensor:
    """W f + b in at least float32, -inf for ids that are not classes."""
    logits = at_least_float32(functional.linear(features, weight, bias))
    logits[..., :first] = -torch.inf
    return logits


def judge_symbols(
    head: SymbolHead[F], features: F, targets: Tensor, positions: Tensor, symbols: int
) -> tuple[Tensor, Tensor]:
    """-log p of each target, and whether it is the most probable symbol, each [N]; a step costs so many `symbols`."""
    losses, hits = [], []
    for places, target in in_pieces(CrossEntropy.PRODUCT, symbols, positions, at_positions(targets, positions)):
        log_probs = head.log_probs(head.kept(features, places))
        losses.append(-log_probs.gather(1, target[:, None])[:, 0])
        hits.append(log_probs.argmax(-1) == target)
    return torch.cat(losses), torch.cat(hits)
