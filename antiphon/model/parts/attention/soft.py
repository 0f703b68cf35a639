"""Attention that reads a mean of the source's states, and the hard kind that is trained as one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from antiphon.errors import ConfigError
from antiphon.model.parts.attention.base import Attention, Looked, check_sizes
from antiphon.model.state import Memory, at_least_float32


class DotAttention(Attention):
    """score = s . h (Luong et al. 2015, arXiv 1508.04025, eq. 8); both need one width."""

    def __init__(self, query: int, memory: int) -> None:
        super().__init__()
        if query != memory:
            raise ConfigError(
                "kind",
                f"dot needs decoder states as wide as encoder states, which are {query} and {memory}; "
                f"set decoder.hidden to {memory}, or choose general",
            )

    def keys(self, states: Tensor) -> Tensor:
        return states

    def scores(self, queries: Tensor, memory: Memory, attended: Tensor | None = None) -> Tensor:
        return queries @ memory.keys.transpose(1, 2)


class GeneralAttention(Attention):
    """score = s . W h (Luong et al. 2015, arXiv 1508.04025, eq. 8)."""

    def __init__(self, query: int, memory: int) -> None:
        super().__init__()
        self.key = nn.Linear(memory, query, bias=False)

    def keys(self, states: Tensor) -> Tensor:
        keys: Tensor = self.key(states)
        return keys

    def scores(self, queries: Tensor, memory: Memory, attended: Tensor | None = None) -> Tensor:
        return queries @ memory.keys.transpose(1, 2)


class LocalAttention(GeneralAttention):
    """score = s . W h - (j - p)^2 / (2 sigma^2) at the j-th of S steps, p = S sigmoid(v . tanh(W_p s)), sigma =
    `window` / 2 (Luong et al. 2015, arXiv 1508.04025, section 3.2, local-p).

    Luong's weights are a softmax within `window` steps of p, times the Gaussian; here the Gaussian stands in the
    softmax, over all steps, so that weights add up to 1 and no step is lost at an edge.
    """

    def __init__(self, query: int, memory: int, window: int = 10) -> None:
        super().__init__(query, memory)
        check_sizes(window=window)
        self.deviation = window / 2
        self.position = nn.Sequential(nn.Linear(query, query, bias=False), nn.Tanh(), nn.Linear(query, 1, bias=False))

    def scores(self, queries: Tensor, memory: Memory, attended: Tensor | None = None) -> Tensor:
        share = torch.sigmoid(at_least_float32(self.position(queries)))  # [B, T, 1]
        away = memory.places[:, None] - share * memory.mask.sum(1)[:, None, None]
        return super().scores(queries, memory) - (away / self.deviation).square() / 2


class MultiHeadAttention(Attention):
    """c = W_o [c_1, ..], of each head c_i = sum_j a_ij V_i h_j with the score Q_i s . K_i h / sqrt(`size`) (Vaswani et
    al. 2017, arXiv 1706.03762, section 3.2). The weights that are shown, and copied by, are the mean of the heads'.

    `size` is a head's width, by default its share of the query's, rounded up.
    """

    def __init__(self, query: int, memory: int, heads: int = 4, size: int | None = None) -> None:
        super().__init__()
        check_sizes(heads=heads, size=size)
        self.heads, self.size = heads, size or -(-query // heads)
        self.query = nn.Linear(query, heads * self.size, bias=False)
        self.key = nn.Linear(memory, heads * self.size, bias=False)
        self.value = nn.Linear(memory, heads * self.size, bias=False)
        self.output = nn.Linear(heads * self.size, memory, bias=False)

    def keys(self, states: Tensor) -> Tensor:
        """Keys and values of all heads."""
        return torch.cat([self.key(states), self.value(states)], -1)

    def _each(self, joined: Tensor) -> Tensor:
        """[B, steps, heads * size] -> [B, heads, steps, size]."""
        return joined.view(*joined.shape[:2], self.heads, self.size).transpose(1, 2)

    def scores(self, queries: Tensor, memory: Memory, attended: Tensor | None = None) -> Tensor:
        """-> [B, heads * T, S]: every head has T queries of its own."""
        keys = self._each(memory.keys.chunk(2, -1)[0])
        scores: Tensor = self._each(self.query(queries)) @ keys.transpose(2, 3) * self.size**-0.5
        return scores.flatten(1, 2)

    def forward(self, queries: Tensor, memory: Memory, attended: Tensor | None = None) -> Looked:
        values = self._each(memory.keys.chunk(2, -1)[1])
        weights = self.weights(queries, memory, attended).to(values.dtype)
        weights = weights.view(*values.shape[:2], -1, values.shape[2])  # [B, heads, T, S]
        read = self.output((weights @ values).transpose(1, 2).flatten(2))
        return Looked(read, weights.mean(1), None)


class AdditiveAttention(Attention):
    """score = v . tanh(W s + U h + b) (Bahdanau et al. 2015, arXiv 1409.0473, A.1.2); `size` is v's width.

    The sum over all pairs of steps has B * T * S * size elements. It is computed in pieces of at most
    `PIECE` elements, and computed again in the backward pass instead of being kept.
    """

    PIECE = 1 << 22

    def __init__(self, query: int, memory: int, size: int | None = None) -> None:
        super().__init__()
        check_sizes(size=size)
        size = size or query
        self.query = nn.Linear(query, size, bias=False)
        self.key = nn.Linear(memory, size)
        self.value = nn.Parameter(torch.empty(size).uniform_(-(size**-0.5), size**-0.5))

    def keys(self, states: Tensor) -> Tensor:
        keys: Tensor = self.key(states)
        return keys

    def scores(self, queries: Tensor, memory: Memory, attended: Tensor | None = None) -> Tensor:
        return self._in_pieces(self.query(queries), memory.keys, self._recalled(memory, attended))

    def _recalled(self, memory: Memory, attended: Tensor | None) -> Tensor | None:
        """What else enters the sum of each pair [B, T, S, features]: here nothing."""
        return None

    def _sums(self, queries: Tensor, keys: Tensor, recalled: Tensor | None) -> Tensor:
        """W s + U h + b of all pairs [B, T, S, size]."""
        return queries[:, :, None] + keys[:, None]

    def _pairs(self, queries: Tensor, keys: Tensor, recalled: Tensor | None) -> Tensor:
        return torch.tanh(self._sums(queries, keys, recalled)) @ self.value.to(keys.dtype)

    def _in_pieces(self, queries: Tensor, keys: Tensor, recalled: Tensor | None) -> Tensor:
        """`_pairs` of projected queries [B, T, size]."""
        steps = max(1, self.PIECE // keys.numel())
        query_pieces = torch.split(queries, steps, 1)
        others = [None] * len(query_pieces) if recalled is None else torch.split(recalled, steps, 1)
        pieces = [(piece, keys, other) for piece, other in zip(query_pieces, others, strict=True)]
        if torch.is_grad_enabled() and queries.requires_grad:
            made = [checkpoint(self._pairs, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
        else:
            made = [self._pairs(*piece) for piece in pieces]
        return made[0] if len(made) == 1 else torch.cat(made, 1)


class RecallingAttention(AdditiveAttention):
    """score = v . tanh(W s + U h + X f + b), with `features` numbers f a pair that describe where a row has looked."""

    def __init__(self, query: int, memory: int, features: int, size: int | None) -> None:
        super().__init__(query, memory, size)
        self.recall = nn.Linear(features, len(self.value), bias=False)

    def initial(self, memory: Memory) -> Tensor:
        return at_least_float32(torch.zeros_like(memory.states[..., 0]))

    def _sums(self, queries: Tensor, keys: Tensor, recalled: Tensor | None) -> Tensor:
        sums: Tensor = super()._sums(queries, keys, recalled) + self.recall(recalled)
        return sums


class LocationAttention(RecallingAttention):
    """f = F * a_{t-1}, the step before's weights seen through `filters` filters, each `width` source steps wide
    (Chorowski et al. 2015, arXiv 1506.07503, eq. 8 and 9).

    score = v . tanh(W s + U h + X f + b). As it depends on where the steps before have looked, steps are computed one
    by one.
    """

    def __init__(self, query: int, memory: int, filters: int = 10, width: int = 15, size: int | None = None) -> None:
        check_sizes(filters=filters, width=width)
        if width % 2 == 0:
            raise ConfigError(
                "width", f"must be odd, so that the filter reaches equally far in both directions (is {width})"
            )
        super().__init__(query, memory, filters, size)
        self.filters = nn.Conv1d(1, filters, width, padding=width // 2, bias=False)

    def kept(self, attended: Tensor | None, weights: Tensor) -> Tensor:
        return weights

    def _recalled(self, memory: Memory, attended: Tensor | None) -> Tensor:
        """Several sources stand in memory with padding between, which must not keep neighbours apart."""
        assert attended is not None
        place = (memory.places - 1).clamp(min=0)[:, None].expand_as(attended)
        dense = torch.zeros_like(attended).scatter_add(2, place, attended)
        convolved: Tensor = self.filters(dense.flatten(0, 1)[:, None])  # [B * T, filters, S]
        filtered = convolved.view(*attended.shape[:2], *convolved.shape[1:])
        return filtered.gather(3, place[:, :, None].expand_as(filtered)).transpose(2, 3)


class CoverageAttention(RecallingAttention):
    """f = sum_{t' < t} a_t', how much of each source step has been read (See et al. 2017, arXiv 1704.04368, eq. 10 and
    11, without the loss of eq. 12).

    score = v . tanh(W s + U h + X f + b); steps are computed one by one.
    """

    def __init__(self, query: int, memory: int, size: int | None = None) -> None:
        super().__init__(query, memory, 1, size)

    def kept(self, attended: Tensor | None, weights: Tensor) -> Tensor:
        assert attended is not None
        return attended + weights

    def _recalled(self, memory: Memory, attended: Tensor | None) -> Tensor:
        assert attended is not None
        return attended[..., None]


class MonotonicAttention(Attention):
    """Hard monotonic attention (Raffel et al. 2017, arXiv 1704.00784): each step walks on from where the one before
    stood and stops at a source step j with the probability p_j = sigmoid(v . tanh(W s + U h + b) + r).

    In training (`model.train()`) weights are the expectation over all walks, a_tj = p_tj q_tj with q_tj =
    (1 - p_t,j-1) q_t,j-1 + a_t-1,j (eq. 13 and 14), with Gaussian noise of the deviation `noise` before the sigmoid, so
    that p comes near 0 or 1. In use (`model.eval()`: validation, scores, every search, export) a step
    stops at the first j with p_j > 1/2. A walk that has not stopped stops at the last source step, where Raffel's
    reads nothing: so weights add up to 1 in both. The first walk begins at the first source step.
    """

    hard = True

    def __init__(self, query: int, memory: int, size: int | None = None, noise: float = 1.0) -> None:
        super().__init__()
        if not 0 <= noise <= 100:
            raise ConfigError("noise", f"must lie between 0 and 100 (is {noise:g})")
        self.energy, self.noise = AdditiveAttention(query, memory, size), noise
        self.offset = nn.Parameter(torch.full((1,), -1.0))

    def keys(self, states: Tensor) -> Tensor:
        return self.energy.keys(states)

    def scores(self, queries: Tensor, memory: Memory, attended: Tensor | None = None) -> Tensor:
        return self.energy.scores(queries, memory) + self.offset

    def initial(self, memory: Memory) -> Tensor:
        return at_least_float32((memory.mask & (memory.places == 1)).to(memory.states.dtype))

    def kept(self, attended: Tensor | None, weights: Tensor) -> Tensor:
        return weights

    def weights(self, queries: Tensor, memory: Memory, attended: Tensor | None) -> Tensor:
        assert attended is not None
        scores = at_least_float32(self.scores(queries, memory)).masked_fill(~memory.mask[:, None], -torch.inf)
        last = (memory.mask & (memory.places == memory.mask.sum(1, keepdim=True)))[:, None]
        if not self.training:
            may = ((scores > 0) | last) & (attended.cumsum(-1) > 0)
            return (may & (may.long().cumsum(-1) == 1)).to(scores.dtype)
        stops = torch.sigmoid(scores + self.noise * torch.randn_like(scores)).masked_fill(last, 1.0)
        return stops * _walked(1 - stops, attended)


def _walked(goes: Tensor, starts: Tensor) -> Tensor:
    """q_j = goes_{j-1} q_{j-1} + starts_j over [..., S], as a scan of log2 S rounds.

    Products and sums of what lies between 0 and 1: nothing overflows or is divided.
    """
    goes, span = functional.pad(goes[..., :-1], (1, 0)), 1
    while span < goes.shape[-1]:
        starts = starts + goes * functional.pad(starts[..., :-span], (span, 0))
        goes = goes * functional.pad(goes[..., :-span], (span, 0))
        span *= 2
    return starts
