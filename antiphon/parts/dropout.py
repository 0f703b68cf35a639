"""Dropout: of every step on its own, or the same at all steps of a row."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


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
        return functional.dropout(like.new_ones(like.shape[0], width), self.rate)

    def forward(self, values: Tensor, drawn: Tensor | None = None) -> Tensor:
        """Values with some dropped, those of `drawn` if it was drawn before."""
        if drawn is None and self.draws and values.dim() == 3:
            drawn = self.draw(values, values.shape[-1])
        if drawn is None:
            return functional.dropout(values, self.rate, self.training)
        return values * (drawn if values.dim() == 2 else drawn[:, None])
