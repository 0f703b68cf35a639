"""A softmax over symbols or labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.common.symbols import FIRST_OUTPUT, SPECIALS
from antiphon.model.parts.heads.base import SymbolHead, at_positions, class_logits, judge_symbols, output_matrix
from antiphon.model.parts.heads.cross_entropy import CrossEntropy, log_softmax_in_place


class SoftmaxHead(SymbolHead[Tensor]):
    """A softmax over symbols or labels: p(y_t | ...) = softmax(W f_t + b).

    Ids below `first` are not classes: their log-probability is -inf. For symbols these are the padding and
    begin symbols. `weight` [symbols, features] may be another part's parameter (tied embeddings, Press & Wolf
    2017, arXiv 1608.05859).
    """

    def __init__(
        self, features: int, symbols: int, weight: nn.Parameter | None = None, first: int = FIRST_OUTPUT
    ) -> None:
        super().__init__()
        self.weight = output_matrix(symbols, features) if weight is None else weight
        self.bias = nn.Parameter(torch.zeros(symbols))
        self.first = first

    def _logits(self, features: Tensor) -> Tensor:
        return class_logits(features, self.weight, self.bias, self.first)

    def kept(self, features: Tensor, positions: Tensor) -> Tensor:
        return at_positions(features, positions)

    def log_probs(self, features: Tensor) -> Tensor:
        logits = self._logits(features)
        return log_softmax_in_place(logits) if logits.is_inference() else torch.log_softmax(logits, -1)

    def best(self, features: Tensor) -> Tensor:
        return self._logits(features).argmax(-1)

    def nll(self, features: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target, in nats: features [N, features], targets [N] -> [N]."""
        return functional.cross_entropy(self._logits(features), targets, reduction="none")

    def judge(self, features: Tensor, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """-log p of each target, and whether it is the most probable symbol, each [N]."""
        return judge_symbols(self, features, targets, positions, len(self.weight))

    def objective(
        self, features: Tensor, targets: Tensor, positions: Tensor, smoothing: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The summed cross-entropy, each target's times the weight of its class, and -log p of the targets.

        With `smoothing` e the objective is the cross-entropy to (1 - e) of the target and e spread
        evenly over all classes (Szegedy et al. 2016, arXiv 1512.00567); without, it is -log p.
        """
        kept, kept_targets = at_positions(features, positions), at_positions(targets, positions)
        objective, nll = CrossEntropy.apply(  # type: ignore[no-untyped-call]
            kept, self.weight, self.bias, kept_targets, smoothing, self.first, weights
        )
        return objective, nll

    def answer(self, features: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        log_probs = self.log_probs(at_positions(features, positions))
        return log_probs.argmax(-1), log_probs


class LabelHead(SoftmaxHead):
    """A softmax over labels; special symbols are not labels."""

    def __init__(self, features: int, symbols: int) -> None:
        super().__init__(features, symbols, first=SPECIALS)
