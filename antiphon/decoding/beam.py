"""Beam search over a step function and nothing else.

A `_Frontier` holds the prefixes that are extended next. Each of its methods is a step of the algorithm, and `beam` goes
through them in order. The runtime's beam is the same algorithm, with steps of the same names, for numpy and without
rules (`runtime/antiphon_runtime/search.py`): a change of one is a change of both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Self

import torch
from torch import Tensor

from antiphon.common.symbols import BOS, EOS, PAD
from antiphon.decoding.constraints import Lanes, Together
from antiphon.decoding.hypothesis import Hypothesis, content
from antiphon.decoding.step import Limits, Rule, StepFunction, allowed
from antiphon.model.state import S


class Extended(NamedTuple):
    """What a beam has looked at in one step, for a caller that watches it; about its sources `live` [n].

    For every extension [n, K]: `origin`, its prefix's place among the source's R; `symbol`; `score`, log p so far in
    nats; `rank`, by which it was chosen (-inf: there is none); whether it `ends` as an output. The prefixes of the next
    step are the extensions at the places `going` [n, R], where `alive` [n, R].
    """

    live: Tensor
    origin: Tensor
    symbol: Tensor
    score: Tensor
    rank: Tensor
    ends: Tensor
    going: Tensor
    alive: Tensor


class Coverage(NamedTuple):
    """cp(x, y) = strength * sum_i log min(sum_t a_ti, 1) over the source's symbols i, which is added to an output's
    rank score (Wu et al. 2016, arXiv 1609.08144, eq. 14): an output that leaves out part of its source loses.

    `mask` [sources, S] is true at the sources' symbols.
    """

    strength: float
    mask: Tensor

    def penalty(self, attended: Tensor, sources: Tensor) -> Tensor:
        """Attention summed over steps [n, k, S], of these sources [n] -> [n, k]."""
        logs = attended.clamp(torch.finfo(attended.dtype).tiny, 1.0).log()
        return self.strength * logs.masked_fill(~self.mask[sources][:, None], 0.0).sum(-1)


def beam(
    step: StepFunction[S],
    state: S,
    sources: int,
    device: torch.device,
    limits: Limits,
    width: int,
    length_penalty: float = 1.0,
    first: Tensor | None = None,
    rules: Sequence[Rule] = (),
    lanes: Lanes | None = None,
    coverage: Coverage | None = None,
    watch: Callable[[Extended], None] | None = None,
) -> list[list[Hypothesis]]:
    """Beam search: the `width` best prefixes of every lane, extended until it has `width` outputs.

    At each step the 2 * width best extensions are looked at; those among the first `width` that end
    are outputs, and the best `width` others go on. Outputs are kept by rank score. A source is finished once its lanes
    have `width` outputs and no prefix is more probable than the surest of them, or no prefix is left; it then leaves
    the batch. (Outputs alone are no reason to stop: a sure model's best prefix outlives `width` improbable early
    ends.) With one lane and width 1 this is `greedy`. `watch` is called at every step.
    """
    lanes = lanes or Together()
    first = torch.full((sources,), BOS, dtype=torch.long, device=device) if first is None else first
    frontier = _Frontier.start(state, first, limits.max_length, width, lanes, coverage)
    for _ in range(limits.max_length + 1):
        log_probs = frontier.read(step)
        candidates = frontier.extend(log_probs, limits, rules)
        frontier.finish(candidates, length_penalty)
        full = frontier.full(candidates)
        extended = frontier.choose(candidates, full)
        if watch is not None:
            watch(extended)
        unfinished = frontier.unfinished(extended, full)
        if not len(unfinished):
            break
        extended = frontier.drop_finished(extended, unfinished)
        frontier.advance(extended)
    return frontier.outputs.hypotheses(lanes.count)


class _Candidates(NamedTuple):
    """The extensions that the lanes look at in one step, [n, lanes, k] each, those of a lane in order."""

    origin: Tensor  # the prefix's place among its source's
    symbol: Tensor
    scores: Tensor  # log p so far, in nats
    ranks: Tensor  # by which they are chosen (-inf: there is none)
    ends: Tensor  # whether it is an output
    goes_on: Tensor  # whether it may be a prefix of the next step


@dataclass
class _Frontier(Generic[S]):
    """The prefixes that are extended next, and the outputs so far.

    Only sources that are not finished have prefixes: the n of `live`, R = lanes * width each, those of a lane side by
    side.
    """

    lanes: Lanes
    width: int
    coverage: Coverage | None
    outputs: _Outputs  # for all sources
    live: Tensor  # [n]
    state: S  # n * R rows
    last: Tensor  # [n * R], the symbols that are read next
    tokens: Tensor  # [n, R, length]
    ranks: Tensor  # [n, R], by which prefixes are chosen (-inf: there is none in this place)
    scores: Tensor  # [n, R], log p in nats; the same if no rule adds anything
    finished: Tensor  # [n, lanes], how many outputs there are
    surest: Tensor  # [n, lanes], the most probable output, by what prefixes are ranked
    attended: Tensor | None = None  # [n, R, S], attention summed over steps, if there is a coverage penalty

    @classmethod
    def start(
        cls, state: S, first: Tensor, longest: int, width: int, lanes: Lanes, coverage: Coverage | None
    ) -> _Frontier[S]:
        """The empty prefix in every lane, or in the first alone if the last has the outputs of all."""
        sources, count, device = len(first), lanes.count, first.device
        ranks = torch.full((sources, count, width), -torch.inf, device=device)
        ranks[:, : 1 if lanes.shared else count, 0] = 0.0
        ranks = ranks.flatten(1)
        return cls(
            lanes,
            width,
            coverage,
            outputs=_Outputs.none(sources * count, width, longest + 1, device),
            live=torch.arange(sources, device=device),
            state=state.expand(count * width),
            last=first.repeat_interleave(count * width),
            tokens=torch.full((sources, count * width, 0), PAD, dtype=torch.long, device=device),
            ranks=ranks,
            scores=ranks,
            finished=torch.zeros(sources, count, dtype=torch.long, device=device),
            surest=torch.full((sources, count), -torch.inf, device=device),
        )

    def read(self, step: StepFunction[S]) -> Tensor:
        """Log-probabilities [n * R, symbols] of the symbols that follow the last ones."""
        answer = step(self.last, self.state)
        self.state = answer.state
        if self.coverage is not None:
            assert answer.attention is not None, "a coverage penalty is for models that attend"
            attention = answer.attention.view(*self.ranks.shape, -1)
            self.attended = attention if self.attended is None else self.attended + attention
        return answer.log_probs

    def extend(self, log_probs: Tensor, limits: Limits, rules: Sequence[Rule]) -> _Candidates:
        """The best extensions of every lane's prefixes by one symbol."""
        sources, rows = self.ranks.shape
        ranked = allowed(log_probs, self.tokens.flatten(0, 1), self.live, rows, limits, rules)
        ranks, origin, symbol = self.lanes.extend(self.ranks, ranked.view(sources, rows, -1), self.tokens)
        scores = ranks
        if rules:  # what they add to the rank is no part of log p
            place = (origin * log_probs.shape[1] + symbol).flatten(1)
            added = log_probs.view(sources, -1).gather(1, place)
            scores = (self.scores.gather(1, origin.flatten(1)) + added).view_as(ranks)
        exists, is_end = ranks > -torch.inf, symbol == EOS
        ends = is_end & exists
        ends[..., self.width :] = False
        return _Candidates(origin, symbol, scores, ranks, ends, ~is_end & exists)

    def finish(self, candidates: _Candidates, length_penalty: float) -> None:
        """Keep the candidates that end among the outputs, by rank score."""
        origin, _, scores, ranks, ends, _ = candidates
        if not ends.any():
            return
        length = self.tokens.shape[2]
        rank_scores = ranks / (length + 1) ** length_penalty
        if self.coverage is not None and self.attended is not None:
            attended = _at(self.attended, origin.flatten(1))
            rank_scores = rank_scores + self.coverage.penalty(attended, self.live).view_as(ranks)
        prefixes = _at(self.tokens, origin.flatten(1)).view(*origin.shape, length)
        lanes = self.live[:, None] * self.lanes.count + torch.arange(self.lanes.count, device=self.live.device)
        self.outputs.keep_best(lanes.flatten(), *(x.flatten(0, 1) for x in (prefixes, scores, rank_scores, ends)))
        self.finished = self.finished + ends.sum(2)
        self.surest = torch.maximum(self.surest, ranks.masked_fill(~ends, -torch.inf).amax(2))

    def full(self, candidates: _Candidates) -> Tensor:
        """Which lanes [n, lanes] are done: those with `width` outputs, and no candidate that goes on and is more
        probable than the surest of them. If lanes share their outputs, the last one counts for all [n, 1]."""
        leading = candidates.ranks.masked_fill(~candidates.goes_on, -torch.inf).amax(2)
        full = (self.finished >= self.width) & (leading <= self.surest)
        return full[:, -1:] if self.lanes.shared else full

    def choose(self, candidates: _Candidates, full: Tensor) -> Extended:
        """The `width` best candidates that go on of every lane that is not full."""
        goes_on, count = candidates.goes_on, self.lanes.count
        if count > 1:  # where a single lane is full, the source is finished
            goes_on = goes_on & ~full[..., None]
        order = (~goes_on).int().argsort(dim=2, stable=True)[..., : self.width]  # stable: they come first, in order
        alive = goes_on.gather(2, order)
        going = order + torch.arange(count, device=order.device)[:, None] * goes_on.shape[2]
        return Extended(self.live, *(values.flatten(1) for values in (*candidates[:5], going, alive)))

    def unfinished(self, extended: Extended, full: Tensor) -> Tensor:
        """The places in `live` of the sources that have a prefix in a lane that is not full."""
        alive = extended.alive.view(len(self.live), self.lanes.count, self.width)
        return (alive.any(2) & ~full).any(1).nonzero().flatten()

    def drop_finished(self, extended: Extended, unfinished: Tensor) -> Extended:
        """Let finished sources leave the batch; what is left of the extensions."""
        if len(unfinished) == len(self.live):
            return extended
        self.live, self.tokens = self.live[unfinished], self.tokens[unfinished]
        self.finished, self.surest = self.finished[unfinished], self.surest[unfinished]
        self.attended = None if self.attended is None else self.attended[unfinished]
        self.state = self.state.select(unfinished, self.ranks.shape[1])
        return Extended(*(values[unfinished] for values in extended))

    def advance(self, extended: Extended) -> None:
        """Go on with the extensions that were chosen: they are the prefixes now."""
        origin, symbol, scores, ranks = (values.gather(1, extended.going) for values in extended[1:5])
        self.ranks = ranks.masked_fill(~extended.alive, -torch.inf)
        self.scores = scores.masked_fill(~extended.alive, -torch.inf)
        self.tokens = torch.cat([_at(self.tokens, origin), symbol[..., None]], 2)
        self.attended = None if self.attended is None else _at(self.attended, origin)
        begin = torch.arange(len(origin), device=origin.device)[:, None] * origin.shape[1]  # row of each source
        self.state = self.state.reorder((begin + origin).flatten())
        self.last = symbol.flatten()


def _at(values: Tensor, places: Tensor) -> Tensor:
    """What stands at each source's places [n, k] of values [n, R, size]: [n, k, size]."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[2]))


@dataclass(frozen=True)
class _Outputs:
    """The best outputs of every lane so far: tokens [lanes, width, longest], their scores and ranks [lanes, width]."""

    tokens: Tensor
    scores: Tensor
    ranks: Tensor

    @classmethod
    def none(cls, lanes: int, width: int, longest: int, device: torch.device) -> Self:
        tokens = torch.full((lanes, width, longest), PAD, dtype=torch.long, device=device)
        nothing = torch.full((lanes, width), -torch.inf, device=device)
        return cls(tokens, nothing, nothing.clone())

    def keep_best(self, lanes: Tensor, prefixes: Tensor, scores: Tensor, ranks: Tensor, ends: Tensor) -> None:
        """Put the prefixes [n, k, length] that end now (`ends` [n, k]) among the best outputs of their lanes [n]."""
        width, length = self.scores.shape[1], prefixes.shape[2]
        ranks = torch.where(ends, ranks, -torch.inf)
        kept, place = torch.cat([self.ranks[lanes], ranks], 1).sort(dim=1, descending=True, stable=True)
        kept, place = kept[:, :width], place[:, :width]
        endings = prefixes.new_full((*ends.shape, self.tokens.shape[2]), PAD)
        endings[..., :length], endings[..., length] = prefixes, EOS
        tokens = torch.cat([self.tokens[lanes], endings], 1)
        self.ranks[lanes] = kept
        self.scores[lanes] = torch.cat([self.scores[lanes], scores], 1).gather(1, place)
        self.tokens[lanes] = tokens.gather(1, place[..., None].expand(-1, -1, tokens.shape[2]))

    def hypotheses(self, count: int) -> list[list[Hypothesis]]:
        """The outputs of every source, `count` lanes each, the best first; what several lanes hold counts once."""
        sources = len(self.tokens) // count
        values = (x.reshape(sources, -1, *x.shape[2:]).tolist() for x in (self.tokens, self.scores, self.ranks))
        hypotheses = [
            [Hypothesis(content(row), *both) for row, *both in zip(*lanes, strict=True) if both[1] > -torch.inf]
            for lanes in zip(*values, strict=True)
        ]
        return hypotheses if count == 1 else [_distinct(several) for several in hypotheses]


def _distinct(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """The best first, each output once."""
    best: dict[tuple[int, ...], Hypothesis] = {}
    for hypothesis in sorted(hypotheses, key=lambda hypothesis: -hypothesis.rank_score):
        best.setdefault(hypothesis.tokens, hypothesis)
    return list(best.values())
