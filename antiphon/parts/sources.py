"""Sources: what turns a batch's input into vectors, one a step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.symbols import PAD


class Embedding(nn.Module):
    """Ids [...] -> vectors [..., size]; the padding symbol's is zero.

    Entries start uniform with unit variance divided by `size`'s root, so that a tied output matrix starts
    at a sensible scale too.
    """

    def __init__(self, symbols: int, size: int) -> None:
        super().__init__()
        bound = (3.0 / size) ** 0.5
        self.weight = nn.Parameter(torch.empty(symbols, size).uniform_(-bound, bound))
        with torch.no_grad():
            self.weight[PAD].zero_()

    def forward(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.weight, padding_idx=PAD)


class TextSource(nn.Module):
    """Symbols [B, S] -> vectors [B, S, size]."""

    def __init__(self, symbols: int, size: int) -> None:
        super().__init__()
        self.embedding = Embedding(symbols, size)
        self.size = size

    def forward(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self.embedding(ids)
        return vectors
