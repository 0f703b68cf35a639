"""Heads: readout features to log-probabilities or to a loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from antiphon.parts.state import at_least_float32
from antiphon.symbols import FIRST_OUTPUT


class SoftmaxHead(nn.Module):
    """A softmax over the target vocabulary: p(y_t | ...) = softmax(W f_t + b).

    The padding and begin symbols are no classes of it: their log-probability is -inf. `weight`
    [symbols, features] may be another part's parameter (tied embeddings, Press & Wolf 2017, 1608.05859).
    """

    def __init__(self, features: int, symbols: int, weight: nn.Parameter | None = None) -> None:
        super().__init__()
        if weight is None:
            weight = nn.Parameter(torch.empty(symbols, features).uniform_(-(features**-0.5), features**-0.5))
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(symbols))

    def _logits(self, features: Tensor) -> Tensor:
        return _logits(features, self.weight, self.bias)

    def log_probs(self, features: Tensor) -> Tensor:
        """features [..., features] -> log p [..., symbols], in float32."""
        return torch.log_softmax(self._logits(features), -1)

    def best(self, features: Tensor) -> Tensor:
        """features [..., features] -> the most probable symbol's id [...]."""
        return self._logits(features).argmax(-1)

    def nll(self, features: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target, in nats: features [N, features], targets [N] -> [N]."""
        return functional.cross_entropy(self._logits(features), targets, reduction="none")

    def judge(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """-log p of each target, and whether it is the most probable symbol, each [N]."""
        logits = self._logits(features)
        return functional.cross_entropy(logits, targets, reduction="none"), logits.argmax(-1) == targets

    def objective(self, features: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        """What training minimises, and -log p of the targets without gradient, each summed over all rows.

        With `smoothing` e the objective is the cross-entropy to (1 - e) of the target and e spread
        evenly over all classes (Szegedy et al. 2016, arXiv 1512.00567); without, it is -log p.
        """
        objective, nll = _CrossEntropy.apply(features, self.weight, self.bias, targets, smoothing)  # type: ignore[no-untyped-call]
        return objective, nll


def _logits(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """W f + b in at least float32, -inf for what is no class."""
    logits = at_least_float32(functional.linear(features, weight, bias))
    logits[..., :FIRST_OUTPUT] = -torch.inf
    return logits


class _CrossEntropy(torch.autograd.Function):
    """The head's product, softmax, loss and gradients, in pieces that stay in the processor's cache.

    The logits [N, symbols] are by far the largest values of a training with a language's vocabulary.
    Each piece's gradient is made at once from its softmax (p - q, times what comes from above, a
    scalar), so no piece is kept and memory is read and written less.
    """

    PIECE = 1 << 21  # logits at a time

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        symbols, learned = len(weight), any(ctx.needs_input_grad[1:3])
        elsewhere = smoothing / (symbols - FIRST_OUTPUT)
        objective = at_least_float32(features.new_zeros(()))
        nll = objective.clone()
        slopes = torch.empty_like(features), torch.zeros_like(weight), torch.zeros_like(bias)
        rows = max(1, _CrossEntropy.PIECE // symbols)
        pieces = (torch.split(values, rows) for values in (features, targets, slopes[0]))
        for piece, target, slope in zip(*pieces, strict=True):
            log_probs = torch.log_softmax(_logits(piece, weight, bias), -1)
            found = log_probs.gather(1, target[:, None]).sum().neg()
            nll += found
            objective += (1 - smoothing) * found
            if smoothing:
                objective -= elsewhere * log_probs[:, FIRST_OUTPUT:].sum()
            above = log_probs.exp_()
            if smoothing:
                above[:, FIRST_OUTPUT:] -= elsewhere
            above.scatter_add_(1, target[:, None], above.new_full((len(target), 1), smoothing - 1))
            if learned:
                slopes[2].add_(above.sum(0))
            above = above.to(piece.dtype)
            torch.mm(above, weight.to(piece.dtype), out=slope)
            if learned:
                slopes[1].add_(above.T @ piece)
        ctx.save_for_backward(*slopes)
        ctx.mark_non_differentiable(nll)
        return objective, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        slopes: tuple[Tensor, ...] = ctx.saved_tensors
        return *(slope * above for slope in slopes), None, None
