"""The softmax's loss and its gradients, in pieces that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from antiphon.model.state import at_least_float32


def log_softmax_in_place(logits: Tensor) -> Tensor:
    """log p, in at least float32, of logits that are not used afterwards. On the CPU it takes their place if they are
    as exact, so that less memory is read and written."""
    exact = at_least_float32(logits)
    return torch.log_softmax(exact, -1, out=exact if exact.device.type == "cpu" else None)


def in_pieces(most: int, symbols: int, *values: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Values [N, ...] in pieces of so many rows that their logits are at most `most`, or of one row."""
    rows = max(1, most // symbols)
    return zip(*(torch.split(value, rows) for value in values), strict=True)


class CrossEntropy(torch.autograd.Function):
    """The head's product, softmax, loss and gradients, in pieces that stay in the processor's cache.

    The logits [N, symbols] are by far the largest values of a training with a language's vocabulary.
    Products are made of so many positions that they are fast, softmaxes of so few that they stay in the cache; each
    softmax is turned at once into the gradient (p - q, times what comes from above, a scalar) in the place of its
    logits, so memory is read and written less.
    """

    PRODUCT = 1 << 23  # logits of a product
    PIECE = 1 << 18  # logits of a softmax

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        smoothing: float,
        first: int,
        weights: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        symbols, learned = len(weight), any(ctx.needs_input_grad[1:3])
        elsewhere = smoothing / (symbols - first)
        objective = at_least_float32(features.new_zeros(()))
        nll = objective.clone()
        slope, slope_of_bias = torch.empty_like(features), torch.zeros_like(bias)
        slope_of_weight: Tensor | None = None
        factor, offset = weight.to(features.dtype), bias.to(features.dtype)  # once, not for every piece
        for part, part_targets, part_slope in in_pieces(CrossEntropy.PRODUCT, symbols, features, targets, slope):
            errors = functional.linear(part, factor, offset)  # logits, until each block's are turned into p - q
            errors[:, :first] = -torch.inf
            for logits, target in in_pieces(CrossEntropy.PIECE, symbols, errors, part_targets):
                log_probs = log_softmax_in_place(logits)
                losses = log_probs.gather(1, target[:, None])[:, 0].neg()
                nll += losses.sum()
                losses *= 1 - smoothing
                if smoothing:
                    losses -= elsewhere * log_probs[:, first:].sum(1)
                above = log_probs.exp_()
                if smoothing:
                    above[:, first:] -= elsewhere
                above.scatter_add_(1, target[:, None], above.new_full((len(target), 1), smoothing - 1))
                if weights is not None:
                    losses *= weights[target]
                    above *= weights[target, None]
                objective += losses.sum()
                if learned:
                    slope_of_bias.add_(above.sum(0))
                if above is not logits:
                    logits.copy_(above)
            torch.mm(errors, factor, out=part_slope)
            if not learned:
                continue
            if slope_of_weight is None:
                slope_of_weight = torch.mm(errors.T, part).to(weight.dtype)
            elif part.dtype == weight.dtype:
                slope_of_weight.addmm_(errors.T, part)
            else:
                slope_of_weight.add_(torch.mm(errors.T, part))
        ctx.slopes = slope, slope_of_weight, slope_of_bias if learned else None
        ctx.mark_non_differentiable(nll)
        return objective, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        slopes: tuple[Tensor | None, ...] = ctx.slopes
        ctx.slopes = None  # they are used up: the largest gradient is not copied
        return *(None if slope is None else slope.mul_(above) for slope in slopes), None, None, None, None
