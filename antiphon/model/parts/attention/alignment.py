"""Alignments as hidden variables: every output symbol is written at a place of the source, summed over exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from antiphon.model.parts.attention.base import NEVER, check_sizes
from antiphon.model.parts.attention.soft import GeneralAttention
from antiphon.model.state import Memory, at_least_float32


class HardAttention(GeneralAttention):
    """Hard attention, summed exactly over all alignments (Wu et al. 2018, arXiv 1808.10024, eq. 4 to 6):

    p(y_t | y_<t, x) = sum_i p(a_t = i | y_<t, x) p(y_t | a_t = i, y_<t, x)

    The place a_t in the first source, of which a symbol is written, is a hidden variable: with the readout f_t as query
    p(a_t = i) = softmax_i(f_t . W h_i), and each place has features tanh(A f_t + B h_i + b) for the head. What is the
    same in every place is read from the context.
    """

    marginal = True

    def __init__(self, query: int, memory: int) -> None:
        super().__init__(query, memory)
        self.from_query = nn.Linear(query, query)
        self.from_memory = nn.Linear(memory, query, bias=False)

    def keys(self, states: Tensor) -> Tensor:
        """W h and B h, side by side."""
        return torch.cat([self.key(states), self.from_memory(states)], -1)

    def scores(self, queries: Tensor, memory: Memory, attended: Tensor | None = None) -> Tensor:
        return at_least_float32(queries @ memory.keys.chunk(2, -1)[0].transpose(1, 2))

    def features(self, queries: Tensor, memory: Memory) -> Tensor:
        """The readout of every step and place: queries [B, T, query] -> [B, T, S, query]."""
        return torch.tanh(self.from_query(queries)[:, :, None] + memory.keys.chunk(2, -1)[1][:, None])

    def initial(self, memory: Memory) -> Tensor:
        """log p of the place before the first step [B, S]: the first."""
        first = memory.mask & (memory.places == 1)
        return at_least_float32(torch.zeros_like(memory.states[..., 0])).masked_fill(~first, NEVER)

    def ends(self, memory: Memory) -> Tensor | None:
        """The places [B, S] at which an output may end; None if it may everywhere."""
        return None

    def moves(self, queries: Tensor, memory: Memory, features: Tensor) -> Tensor:
        """log p(a_t = i | a_t-1 = j) of every step [B, T, j, i]; where a step does not depend on the one before,
        [B, T, 1, i]. `features` are those of every step and place."""
        return self.scores(queries, memory).masked_fill(~memory.mask[:, None], NEVER).log_softmax(-1)[:, :, None]


class HardMonotonicAttention(HardAttention):
    """Hard attention that never goes back, summed exactly over all alignments (Wu & Cotterell 2019, arXiv 1905.06319):

    p(a_t = i | a_t-1 = j) = softmax_{i >= j}(f_t . W h_i + u_{i - j} . f_t + c_{i - j})

    The last summand says how far a step goes; distances from `farthest` on are alike.
    """

    def __init__(self, query: int, memory: int, farthest: int = 8) -> None:
        super().__init__(query, memory)
        check_sizes(farthest=farthest)
        self.distance = nn.Linear(query, farthest + 1)

    def moves(self, queries: Tensor, memory: Memory, features: Tensor) -> Tensor:
        far = memory.places[:, None] - memory.places[:, :, None]  # [B, j, i]
        known = far.clamp(0, self.distance.out_features - 1)[:, None].expand(-1, queries.shape[1], -1, -1)
        distances = at_least_float32(self.distance(queries))[:, :, None].expand(-1, -1, far.shape[1], -1)
        scores = self.scores(queries, memory)[:, :, None] + distances.gather(3, known)
        return scores.masked_fill(~(memory.mask[:, None] & (far >= 0))[:, None], NEVER).log_softmax(-1)


class TransducerAttention(HardAttention):
    """A recurrent transducer (Graves 2012, arXiv 1211.3711), whose outputs need no more of the source than the places
    up to theirs:

    p(a_t = i | a_t-1 = j) = prod_{j <= m < i} b(m, t) (1 - b(i, t)), b(m, t) = sigmoid(w . f(m, t) + c)

    At every place m a step writes a symbol or goes on to the next place, the blank of probability b; the blank has a
    logistic unit and the symbols a softmax of their own (Variani et al. 2020, arXiv 2003.07705, eq. 5 and 6). At the
    last place nothing is left to read: there, and only there, the output may end.
    """

    def __init__(self, query: int, memory: int) -> None:
        super().__init__(query, memory)
        self.blank = nn.Linear(query, 1)

    def _last(self, memory: Memory) -> Tensor:
        return memory.mask & (memory.places == memory.mask.sum(1, keepdim=True))

    def ends(self, memory: Memory) -> Tensor | None:
        return self._last(memory)

    def moves(self, queries: Tensor, memory: Memory, features: Tensor) -> Tensor:
        blank = at_least_float32(self.blank(features).squeeze(-1))  # [B, T, S]
        stays = functional.logsigmoid(-blank).masked_fill(self._last(memory)[:, None], 0.0)
        goes = functional.logsigmoid(blank).masked_fill(~memory.mask[:, None], 0.0)
        before = goes.cumsum(-1) - goes  # log p of the blanks at all places before each
        moves = (before + stays)[:, :, None] - before[..., None]
        far = memory.places[:, None] - memory.places[:, :, None]  # [B, j, i]
        return moves.masked_fill(~(memory.mask[:, None] & (far >= 0))[:, None], NEVER).clamp(min=NEVER)


def reached(place: Tensor, moves: Tensor) -> Tensor:
    """log p of every place after a step [..., i], from that before it [..., j] and its moves [..., j or 1, i]."""
    return moves.squeeze(-2) if moves.shape[-2] == 1 else torch.logsumexp(place[..., None] + moves, -2)


def posteriors(start: Tensor, moves: Tensor, emitted: Tensor) -> Tensor:
    """p(a_t = i | y, x) [B, T, S] of a whole output, by the forward-backward recursion: `start` [B, S] is log p before
    the first step, `emitted` [B, T, S] that of each symbol of the output at every place."""
    forward, place = [], start
    for step in range(moves.shape[1]):
        place = (reached(place, moves[:, step]) + emitted[:, step]).log_softmax(-1)
        forward.append(place)
    backward = [torch.zeros_like(place)]
    for step in range(moves.shape[1] - 1, 0, -1):
        after = torch.logsumexp(moves[:, step] + (emitted[:, step] + backward[0])[:, None], -1)
        backward.insert(0, after.expand_as(place))
    return (torch.stack(forward, 1) + torch.stack(backward, 1)).softmax(-1)
