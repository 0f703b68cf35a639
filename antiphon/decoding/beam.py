"""Beam search over a step function and nothing else: the best prefixes of every source, extended side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from antiphon.decoding.constraints import Lanes, Together
from antiphon.decoding.hypothesis import Hypothesis, content
from antiphon.decoding.step import Limits, Rule, StepFunction, allowed
from antiphon.model.state import S
from antiphon.symbols import BOS, EOS, PAD


class Extended(NamedTuple):
    """What a beam has looked at in one step, for whoever watches it; about its sources `live` [n].

    Of every extension [n, K]: `origin`, its prefix's place among the source's R; `symbol`; `score`, log p so far in
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
    are outputs, and the best `width` others go on. Outputs are kept by rank score. A source is done once its lanes
    have `width` outputs and no prefix is more probable than the surest of them, or no prefix is left; it then leaves
    the batch. (Outputs alone are no reason to stop: a sure model's best prefix outlives `width` improbable early
    ends.) With one lane and width 1 this is `greedy`. `watch` is told of every step.
    """
    lanes = lanes or Together()
    count, rows = lanes.count, lanes.count * width
    done = _Outputs.none(sources * count, width, limits.max_length + 1, device)
    live = torch.arange(sources, device=device)  # sources still searched; all below is about these
    state = state.expand(rows)
    tokens = torch.full((sources, rows, 0), PAD, dtype=torch.long, device=device)
    ranks = torch.full((sources, count, width), -torch.inf, device=device)
    ranks[..., 0] = 0.0  # all prefixes are empty at first: only one of a lane counts
    if lanes.shared:
        ranks[:, 1:] = -torch.inf
    ranks = ranks.flatten(1)
    scores = ranks  # the same as long as no rule adds anything
    ended = torch.zeros(sources, count, dtype=torch.long, device=device)
    surest = torch.full((sources, count), -torch.inf, device=device)  # by what prefixes are ranked
    attended: Tensor | None = None
    begin = torch.full((sources,), BOS, dtype=torch.long, device=device) if first is None else first
    last = begin.repeat_interleave(rows)

    for length in range(limits.max_length + 1):
        answer = step(last, state)
        ranked = allowed(answer.log_probs, tokens.flatten(0, 1), live, rows, limits, rules)
        top, origin, symbol = lanes.extend(ranks, ranked.view(len(live), rows, -1), tokens)
        size = top.shape[2]
        origin, symbol = origin.flatten(1), symbol.flatten(1)  # [n, lanes * size]
        total = top
        if rules:
            said = answer.log_probs.view(len(live), -1).gather(1, origin * ranked.shape[1] + symbol)
            total = (scores.gather(1, origin) + said).view_as(top)
        if coverage is not None:
            assert answer.attention is not None, "a coverage penalty is for models that attend"
            now = answer.attention.view(len(live), rows, -1)
            attended = now if attended is None else attended + now

        finite = top > -torch.inf
        ends = (symbol.view_as(top) == EOS) & finite
        ends[..., width:] = False
        if ends.any():
            final = top / (length + 1) ** length_penalty
            if coverage is not None and attended is not None:
                read = attended.gather(1, origin[..., None].expand(-1, -1, attended.shape[2]))
                final = final + coverage.penalty(read, live).view_as(top)
            before = tokens.gather(1, origin[..., None].expand(-1, -1, length)).view(*top.shape, length)
            which = (live[:, None] * count + torch.arange(count, device=device)).flatten()
            done.keep_best(which, before.flatten(0, 1), *(x.flatten(0, 1) for x in (total, final, ends)))
        ended = ended + ends.sum(2)
        surest = torch.maximum(surest, top.masked_fill(~ends, -torch.inf).amax(2))

        # the best extensions of each lane that go on: a stable sort puts them first, in order
        going = (symbol.view_as(top) != EOS) & finite
        leading = top.masked_fill(~going, -torch.inf).amax(2)
        full = (ended >= width) & (leading <= surest)
        if lanes.shared:  # outputs stand in the last lane, and so do the prefixes that could become better ones
            full = full[:, -1:]
        if count > 1:
            going = going & ~full[..., None]
        order = (~going).int().argsort(dim=2, stable=True)[..., :width]
        alive = going.gather(2, order)
        if size < width:  # fewer extensions than a lane is wide
            lack = (0, width - size)
            order, alive = torch.nn.functional.pad(order, lack), torch.nn.functional.pad(alive, lack)
        ranks = top.gather(2, order).masked_fill(~alive, -torch.inf).flatten(1)
        scores = total.gather(2, order).masked_fill(~alive, -torch.inf).flatten(1) if rules else ranks
        order = (order + torch.arange(count, device=device)[:, None] * size).flatten(1)
        if watch is not None:
            found = (total.flatten(1), top.flatten(1), ends.flatten(1))
            watch(Extended(live, origin, symbol, *found, order, alive.flatten(1)))
        origin, symbol = origin.gather(1, order), symbol.gather(1, order)
        tokens = torch.cat([tokens.gather(1, origin[..., None].expand(-1, -1, length)), symbol[..., None]], 2)

        stay = (alive.any(2) & ~full).any(1).nonzero().flatten()
        if not len(stay):
            break
        moved = (torch.arange(len(live), device=device)[:, None] * rows + origin).flatten()
        state = answer.state.reorder(moved)
        if attended is not None:
            attended = attended.flatten(0, 1)[moved].view_as(attended)[stay]
        if len(stay) < len(live):
            live, tokens, ranks, scores = live[stay], tokens[stay], ranks[stay], scores[stay]
            ended, surest, symbol = ended[stay], surest[stay], symbol[stay]
            state = state.select(stay, rows)
        last = symbol.flatten()
    return done.hypotheses(count)


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

    def keep_best(self, lanes: Tensor, said: Tensor, scores: Tensor, ranks: Tensor, ends: Tensor) -> None:
        """Put the outputs that end now (`ends` [n, k], after said [n, k, length]) among the best of their lanes [n]."""
        width, length = self.scores.shape[1], said.shape[2]
        ranks = torch.where(ends, ranks, -torch.inf)
        kept, place = torch.cat([self.ranks[lanes], ranks], 1).sort(dim=1, descending=True, stable=True)
        kept, place = kept[:, :width], place[:, :width]
        endings = said.new_full((*ends.shape, self.tokens.shape[2]), PAD)
        endings[..., :length], endings[..., length] = said, EOS
        tokens = torch.cat([self.tokens[lanes], endings], 1)
        self.ranks[lanes] = kept
        self.scores[lanes] = torch.cat([self.scores[lanes], scores], 1).gather(1, place)
        self.tokens[lanes] = tokens.gather(1, place[..., None].expand(-1, -1, tokens.shape[2]))

    def hypotheses(self, count: int) -> list[list[Hypothesis]]:
        """The outputs of every source, `count` lanes each, the best first; what several lanes say counts once."""
        sources = len(self.tokens) // count
        values = (x.reshape(sources, -1, *x.shape[2:]).tolist() for x in (self.tokens, self.scores, self.ranks))
        found = [
            [Hypothesis(content(row), *own) for row, *own in zip(*rows, strict=True) if own[1] > -torch.inf]
            for rows in zip(*values, strict=True)
        ]
        return found if count == 1 else [_distinct(hypotheses) for hypotheses in found]


def _distinct(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """The best first, each output once."""
    found: dict[tuple[int, ...], Hypothesis] = {}
    for one in sorted(hypotheses, key=lambda one: -one.rank_score):
        found.setdefault(one.tokens, one)
    return list(found.values())
