"""A text that is shorter than its frames (CTC)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from antiphon.common.symbols import EOS, FIRST_OUTPUT, PAD
from antiphon.model.parts import ctc
from antiphon.model.parts.heads.base import Head, at_positions, class_logits, output_matrix

BLANK = EOS  # no frame predicts the end symbol, so its class is free


class Aligned(NamedTuple):
    """The features [B, S, features] of every frame, padding included, and how many of each row are not padding [B]."""

    features: Tensor
    frames: Tensor


class CTCHead(Head[Aligned]):
    """A text that is shorter than its frames (Graves et al. 2006): see `antiphon/model/parts/ctc.py`.

    A frame's classes are the symbols; that of the end symbol is the blank. The loss of a target symbol is -log p of its
    row over the row's symbols, the end symbol counted.
    """

    def __init__(self, features: int, symbols: int) -> None:
        super().__init__()
        self.weight = output_matrix(symbols, features)
        self.bias = nn.Parameter(torch.zeros(symbols))

    def log_probs(self, features: Aligned) -> Tensor:
        """log p [B, S, symbols] of every frame, in float32; padding is a blank with probability 1."""
        log_probs = torch.log_softmax(class_logits(features.features, self.weight, self.bias, FIRST_OUTPUT), -1)
        blank = torch.full_like(log_probs[0, 0], -torch.inf)
        blank[BLANK] = 0.0
        return torch.where(_inside(features)[..., None], log_probs, blank)

    def score(self, log_probs: Tensor, frames: Tensor, targets: Tensor) -> Tensor:
        """log p [B] of targets [B, T], each with its end symbol, by these probabilities of the frames."""
        labels = (targets - FIRST_OUTPUT).clamp(min=0)  # torch's gradient is NaN where a class has probability 0
        return ctc.log_likelihood(
            log_probs[..., FIRST_OUTPUT:], frames, labels, (targets != PAD).sum(1) - 1, BLANK - FIRST_OUTPUT
        )

    def judge(self, features: Aligned, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """An even share of the row's -log p, and whether the row's best path is its target, each [N]."""
        log_probs, sizes = self.log_probs(features), (targets != PAD).sum(1)
        shares = -self.score(log_probs, features.frames, targets) / sizes
        paths = ctc.best_path(log_probs, BLANK)
        pairs = zip(paths, targets.tolist(), sizes.tolist(), strict=True)
        right = torch.tensor([path == row[: size - 1] for path, row, size in pairs], device=targets.device)
        losses, hits = (at_positions(row[:, None].expand(targets.shape), positions) for row in (shares, right))
        return losses, hits

    def objective(
        self, features: Aligned, targets: Tensor, positions: Tensor, smoothing: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The rows' summed -log p, with `smoothing` e as 1 - e of it, and of every frame e of its classes' mean -log p.

        Symbols have no weights.
        """
        log_probs = self.log_probs(features)
        nll = -self.score(log_probs, features.frames, targets).sum()
        if not smoothing:
            return nll, nll.detach()
        even = -log_probs[..., FIRST_OUTPUT:].mean(-1).where(_inside(features), 0.0).sum()
        return (1 - smoothing) * nll + smoothing * even, nll.detach()


def _inside(features: Aligned) -> Tensor:
    """Whether a frame [B, S] is not padding."""
    return torch.arange(features.features.shape[1], device=features.frames.device) < features.frames[:, None]
