"""A softmax with a cache of the symbols read before."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from antiphon.common.symbols import FIRST_OUTPUT, PAD
from antiphon.model.parts.heads.base import judge_symbols
from antiphon.model.parts.heads.softmax import SoftmaxHead
from antiphon.model.state import Layer, at_least_float32

SMALLEST = -1e30  # in place of -inf, whose differences would be NaN


class Recalled(NamedTuple):
    """The features of steps, and the cache that each looks at.

    For single steps [R]: readout [R, features], keys [R, size, features] and ids [R, size]. For all steps of rows:
    readout [B, T, features], keys [B, size + T - 1, features] and ids [B, size + T - 1], of which step t looks at those
    from t to t + size - 1. An id is PAD where nothing has been read yet.
    """

    readout: Tensor
    keys: Tensor
    ids: Tensor


class CacheHead(SoftmaxHead):
    """A softmax that symbols of the last `size` steps share in (Grave et al. 2017, arXiv 1612.04426, eq. 3 to 5):

    p(w) = (1 - share) P_vocab(w) + share sum_{i: x_{i+1} is w} softmax_i(scale h_t . h_i)

    h_i are the readout features after which x_{i+1} was read. Nothing of it is learned: in training it is a softmax
    alone. A symbol repeated in a text becomes more probable, as names and subjects are.
    """

    def __init__(
        self, features: int, symbols: int, size: int, scale: float, share: float, weight: nn.Parameter | None = None
    ) -> None:
        super().__init__(features, symbols, weight)
        self.size, self.scale, self.share = size, scale, share

    def begin(self, rows: int) -> Layer:
        """An empty cache: the last features [R, features], keys [R, size, features] and ids [R, size]."""
        features = self.weight.shape[1]
        keys = self.weight.new_zeros(rows, self.size, features)
        return keys[:, 0], keys, torch.full((rows, self.size), PAD, dtype=torch.long, device=keys.device)

    def step(self, token: Tensor, readout: Tensor, cache: Layer) -> tuple[Recalled, Layer]:
        """The symbol [R] that was read, and the features [R, features] after it: what the head takes, and the cache."""
        features, (_, keys, ids) = self.run(token[:, None], readout[:, None], cache)
        return Recalled(readout, features.keys, features.ids), (readout, keys, ids)

    def run(self, tokens: Tensor, readout: Tensor, cache: Layer) -> tuple[Recalled, Layer]:
        """The symbols [B, T] that were read, and the features [B, T, features] after each: as `step` for all of them.

        The begin symbol, which was read after nothing, is not kept.
        """
        last, keys, ids = cache
        before = torch.cat([last[:, None], readout[:, :-1]], 1)
        keys = torch.cat([keys[:, 1:], before], 1)
        ids = torch.cat([ids[:, 1:], tokens.masked_fill(tokens < FIRST_OUTPUT, PAD)], 1)
        return Recalled(readout, keys, ids), (readout[:, -1], keys[:, -self.size :], ids[:, -self.size :])

    def kept(self, features: Tensor | Recalled, positions: Tensor) -> Any:
        if isinstance(features, Tensor):
            return super().kept(features, positions)
        steps = features.readout.shape[1]
        row, step = positions // steps, positions % steps
        window = step[:, None] + torch.arange(self.size, device=step.device)
        keys, ids = (values[row[:, None], window] for values in (features.keys, features.ids))
        return Recalled(features.readout[row, step], keys, ids)

    def log_probs(self, features: Tensor | Recalled) -> Tensor:
        if isinstance(features, Tensor):
            return super().log_probs(features)
        readout, keys = at_least_float32(features.readout), at_least_float32(features.keys)
        empty = features.ids == PAD
        scores = (keys @ readout[..., None]).squeeze(-1) * self.scale
        weights = torch.softmax(scores.masked_fill(empty, SMALLEST), -1).masked_fill(empty, 0.0)
        log_probs = super().log_probs(features.readout)
        recalled = torch.zeros_like(log_probs).scatter_add(-1, features.ids, weights.to(log_probs.dtype))
        share = self.share * (~empty).any(-1, keepdim=True)
        return torch.log((1 - share) * log_probs.exp() + share * recalled)

    def best(self, features: Tensor | Recalled) -> Tensor:
        return self.log_probs(features).argmax(-1)

    def judge(self, features: Tensor | Recalled, targets: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(features, Tensor):
            return super().judge(features, targets, positions)
        looked = self.size * self.weight.shape[1]
        return judge_symbols(self, cast(Any, features), targets, positions, max(len(self.weight), looked))
