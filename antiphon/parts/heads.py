"""Heads: readout features to log-probabilities or to a loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
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
        return at_least_float32(functional.linear(features, self.weight[FIRST_OUTPUT:], self.bias[FIRST_OUTPUT:]))

    def log_probs(self, features: Tensor) -> Tensor:
        """features [..., features] -> log p [..., symbols], in float32."""
        return functional.pad(torch.log_softmax(self._logits(features), -1), (FIRST_OUTPUT, 0), value=-torch.inf)

    def best(self, features: Tensor) -> Tensor:
        """features [..., features] -> the most probable symbol's id [...]."""
        return self._logits(features).argmax(-1) + FIRST_OUTPUT

    def nll(self, features: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target, in nats: features [N, features], targets [N] -> [N]."""
        return functional.cross_entropy(self._logits(features), targets - FIRST_OUTPUT, reduction="none")

    def judge(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """-log p of each target, and whether it is the most probable symbol, each [N]."""
        logits = self._logits(features)
        classes = targets - FIRST_OUTPUT
        return functional.cross_entropy(logits, classes, reduction="none"), logits.argmax(-1) == classes

    def objective(self, features: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        """What training minimises, and -log p of each target without gradient, each [N].

        With `smoothing` e the objective is the cross-entropy to (1 - e) of the target and e spread
        evenly over all classes (Szegedy et al. 2016, arXiv 1512.00567); without, it is -log p.
        """
        if smoothing == 0:
            nll = self.nll(features, targets)
            return nll, nll.detach()
        log_probs = torch.log_softmax(self._logits(features), -1)
        nll = -log_probs.gather(1, targets[:, None] - FIRST_OUTPUT).squeeze(1)
        return (1 - smoothing) * nll - smoothing * log_probs.mean(-1), nll.detach()
