"""Heads: readout features to log-probabilities or to a loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from antiphon.parts.state import at_least_float32
from antiphon.symbols import FIRST_OUTPUT, SPECIALS
from antiphon.tables import Table


class Head(nn.Module):
    """What readout features [N, features] say: a loss in training, an answer in use."""

    def judge(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of every target, and whether the answer is right, each [N]."""
        raise NotImplementedError

    def objective(self, features: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        """What training minimises, and the loss of the targets without gradient, each summed over all rows."""
        raise NotImplementedError

    def answer(self, features: Tensor) -> Tensor:
        """features [..., features] -> [..., size]: log p of every class, the expected numbers, or p of every bit."""
        raise NotImplementedError


class SoftmaxHead(Head):
    """A softmax over symbols or labels: p(y_t | ...) = softmax(W f_t + b).

    Ids below `first` are no classes of it: their log-probability is -inf. For symbols these are the padding and
    begin symbols. `weight` [symbols, features] may be another part's parameter (tied embeddings, Press & Wolf
    2017, arXiv 1608.05859).
    """

    def __init__(
        self, features: int, symbols: int, weight: nn.Parameter | None = None, first: int = FIRST_OUTPUT
    ) -> None:
        super().__init__()
        if weight is None:
            weight = nn.Parameter(torch.empty(symbols, features).uniform_(-(features**-0.5), features**-0.5))
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(symbols))
        self.first = first

    def _logits(self, features: Tensor) -> Tensor:
        return _logits(features, self.weight, self.bias, self.first)

    def log_probs(self, features: Tensor) -> Tensor:
        """features [..., features] -> log p [..., symbols], in float32."""
        return torch.log_softmax(self._logits(features), -1)

    def answer(self, features: Tensor) -> Tensor:
        return self.log_probs(features)

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
        """The summed cross-entropy, and -log p of the targets.

        With `smoothing` e the objective is the cross-entropy to (1 - e) of the target and e spread
        evenly over all classes (Szegedy et al. 2016, arXiv 1512.00567); without, it is -log p.
        """
        objective, nll = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
            features, self.weight, self.bias, targets, smoothing, self.first
        )
        return objective, nll


class LabelHead(SoftmaxHead):
    """A softmax over labels; no special symbol is one."""

    def __init__(self, features: int, symbols: int) -> None:
        super().__init__(features, symbols, first=SPECIALS)


class NumbersHead(Head):
    """Numbers y = W f + b; the loss is the squared error, the mean over a step's numbers."""

    def __init__(self, features: int, symbols: int) -> None:
        super().__init__()
        self.output = nn.Linear(features, symbols)

    def answer(self, features: Tensor) -> Tensor:
        return at_least_float32(self.output(features))

    def judge(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        errors = (self.answer(features) - targets).square().mean(-1)
        return errors, torch.zeros_like(errors, dtype=torch.bool)

    def objective(self, features: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        loss = self.judge(features, targets)[0].sum()
        return loss, loss.detach()


class BitsHead(NumbersHead):
    """Bits with p(y_d = 1) = sigmoid(W f + b)_d; the loss is -log p of a step's bits together, in nats.

    (Boulanger-Lewandowski et al. 2012, arXiv 1206.6392, call its mean the negative log-likelihood a frame.)
    """

    def answer(self, features: Tensor) -> Tensor:
        return torch.sigmoid(at_least_float32(self.output(features)))

    def judge(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = at_least_float32(self.output(features))
        nll = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(-1)
        return nll, ((logits > 0) == (targets > 0.5)).all(-1)


HEADS: Table[Head] = Table(
    "part that says a target",
    {"symbols": SoftmaxHead, "labels": LabelHead, "numbers": NumbersHead, "bits": BitsHead},
)


def _logits(features: Tensor, weight: Tensor, bias: Tensor, first: int) -> Tensor:
    """W f + b in at least float32, -inf for what is no class."""
    logits = at_least_float32(functional.linear(features, weight, bias))
    logits[..., :first] = -torch.inf
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
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float, first: int
    ) -> tuple[Tensor, Tensor]:
        symbols, learned = len(weight), any(ctx.needs_input_grad[1:3])
        elsewhere = smoothing / (symbols - first)
        objective = at_least_float32(features.new_zeros(()))
        nll = objective.clone()
        slopes = torch.empty_like(features), torch.zeros_like(weight), torch.zeros_like(bias)
        rows = max(1, _CrossEntropy.PIECE // symbols)
        pieces = (torch.split(values, rows) for values in (features, targets, slopes[0]))
        for piece, target, slope in zip(*pieces, strict=True):
            log_probs = torch.log_softmax(_logits(piece, weight, bias, first), -1)
            found = log_probs.gather(1, target[:, None]).sum().neg()
            nll += found
            objective += (1 - smoothing) * found
            if smoothing:
                objective -= elsewhere * log_probs[:, first:].sum()
            above = log_probs.exp_()
            if smoothing:
                above[:, first:] -= elsewhere
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
        return *(slope * above for slope in slopes), None, None, None
