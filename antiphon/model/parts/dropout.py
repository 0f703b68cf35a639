"""Dropout: of every step on its own, or the same at all steps of a row."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 1 << 16  # values that a random number for dropout on the CPU can have


def dropped(values: Tensor, rate: float) -> Tensor:
    """Values of which each is set to zero with the probability `rate`, the others divided by 1 - rate.

    On the CPU torch draws one number after the other, and so slowly that it takes as long as a large product: there
    each drawn number serves four values, and the probability is `rate` to within 1 / `LEVELS`.
    """
    threshold = round(rate * LEVELS)
    if values.device.type != "cpu" or not 0 < threshold < LEVELS:
        return functional.dropout(values, rate)
    count = values.numel()
    drawn = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(1 << 63), None)
    kept = drawn.view(torch.int16)[:count].view(values.shape) >= threshold - LEVELS // 2
    return values * kept.to(values.dtype).div_(1 - rate)


class Dropout(nn.Module):
    """Sets a share `rate` of the entries of vectors [R, width] or [B, steps, width] to zero and scales the others up.

    With `locked` all steps of a row lose the same entries (Gal & Ghahramani 2016, arXiv 1512.05287; Merity et al. 2018,
    1708.02182). What is drawn is a value: where steps are taken one at a time, the state carries it.
    """

    def __init__(self, rate: float, locked: bool = False) -> None:
        super().__init__()
        self.rate, self.locked = rate, locked

    @property
    def draws(self) -> bool:
        """Whether it is locked and at work, so that something is drawn for all steps of a row."""
        return self.locked and self.rate > 0 and self.training

    def draw(self, like: Tensor, width: int) -> Tensor:
        """What every step of the rows of `like` [R, ...] is multiplied with, [R, width]."""
        return dropped(like.new_ones(like.shape[0], width), self.rate)

    def forward(self, values: Tensor, drawn: Tensor | None = None) -> Tensor:
        """Values with some dropped, those of `drawn` if it was drawn before."""
        if drawn is None and self.draws and values.dim() == 3:
            drawn = self.draw(values, values.shape[-1])
        if drawn is None:
            return dropped(values, self.rate) if self.rate and self.training else values
        return values * (drawn if values.dim() == 2 else drawn[:, None])
