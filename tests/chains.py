"""A hand-made Markov chain in the place of a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Chain:
    """A state that is only one number per row: which of several chains it follows."""

    which: Tensor

    def expand(self, width: int) -> Chain:
        return Chain(self.which.repeat_interleave(width))

    def reorder(self, rows: Tensor) -> Chain:
        return Chain(self.which[rows])

    def select(self, sources: Tensor, width: int = 1) -> Chain:
        return Chain(self.which.view(-1, width)[sources].flatten())
