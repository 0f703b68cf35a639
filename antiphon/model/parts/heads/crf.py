"""A linear-chain CRF over the labels of a row."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.common.symbols import SPECIALS
from antiphon.model.parts import crf
from antiphon.model.parts.heads.base import Head, at_positions, class_logits, output_matrix


class CRFHead(Head[Tensor]):
    """A linear-chain CRF over a row's labels (Lafferty et al. 2001; Lample et al. 2016, arXiv 1603.01360, eq. 1):

    log p(y | x) = start[y_1] + sum_t (W f_t + b)[y_t] + sum_t transitions[y_t, y_t+1] + end[y_T] - log Z.

    The prediction is the most probable labelling; the probabilities with it are the labels' marginals. The loss of a
    label is -log p of its row over the row's labels. No special symbol is a label.
    """

    stepwise = False

    def __init__(self, features: int, symbols: int) -> None:
        super().__init__()
        labels = symbols - SPECIALS
        self.weight = output_matrix(symbols, features)
        self.bias = nn.Parameter(torch.zeros(symbols))
        self.transitions = nn.Parameter(torch.zeros(labels, labels))
        self.start = nn.Parameter(torch.zeros(labels))
        self.end = nn.Parameter(torch.zeros(labels))

    def _chain(self, features: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Potentials [B, T, labels], a row's start and end in them, and the mask [B, T] of what is not padding."""
        rows, steps, _ = features.shape
        inside = torch.zeros(rows * steps, dtype=torch.bool, device=features.device)
        mask = inside.index_fill(0, positions, True).view(rows, steps)
        first = mask & ~functional.pad(mask[:, :-1], (1, 0))
        last = mask & ~functional.pad(mask[:, 1:], (0, 1))
        return self.potentials(features, first, last), mask

    def potentials(self, features: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Potentials [B, T, labels], a row's start and end in those of its `first` and `last` steps [B, T]."""
        emissions = class_logits(features, self.weight, self.bias, SPECIALS)[..., SPECIALS:]
        return emissions + self.start * first[..., None] + self.end * last[..., None]

    def _less_target(self, potentials: Tensor, targets: Tensor) -> Tensor:
        """The potentials with each step's share of the target's score taken off, so that log Z is -log p(target).

        Nothing large is subtracted from something large, however long a row is.
        """
        labels = (targets - SPECIALS).clamp(min=0)  # padding is not a label
        pairs = labels[:, :-1] * len(self.transitions) + labels[:, 1:]
        # an embedding's gradients are always added up in the same order, an index's are not
        moves = functional.embedding(pairs, self.transitions.view(-1, 1)).squeeze(-1)
        target = potentials.gather(-1, labels[..., None]).squeeze(-1) + functional.pad(moves, (1, 0))
        return potentials - target[..., None]

    def judge(self, features: Tensor, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        potentials, mask = self._chain(features, positions)
        nll = crf.log_partition(self._less_target(potentials, targets), self.transitions, mask)
        losses = (nll / mask.sum(1))[:, None].expand(mask.shape)
        hits = crf.viterbi(potentials, self.transitions, mask) + SPECIALS == targets
        return at_positions(losses, positions), at_positions(hits, positions)

    def objective(
        self, features: Tensor, targets: Tensor, positions: Tensor, smoothing: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The rows' summed cross-entropy, and -log p of the targets.

        With `smoothing` e the cross-entropy is to (1 - e) of the target and e spread evenly over all labellings. With
        transitions of zero this is the softmax's.
        """
        potentials, mask = self._chain(features, positions)
        relative = self._less_target(potentials, targets)
        nll = crf.log_partition(relative, self.transitions, mask).sum()
        even = (relative.mean(-1) * mask).sum() + self.transitions.mean() * mask[:, 1:].sum()
        return nll - smoothing * even, nll.detach()

    def answer(self, features: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        potentials, mask = self._chain(features, positions)
        labels = crf.viterbi(potentials, self.transitions, mask) + SPECIALS
        marginals = crf.log_marginals(potentials, self.transitions, mask)
        return at_positions(labels, positions), at_positions(
            functional.pad(marginals, (SPECIALS, 0), value=-torch.inf), positions
        )
