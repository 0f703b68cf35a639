"""Decoding over a step function and nothing else: greedy, sampling, beam search, forced scoring.

A step function maps (tokens [R], state) to the log-probabilities [R, symbols] of what comes next and
the state after. The state is any value with `expand`, `reorder` and `select` (see `State`). Every way of
decoding returns the same `Hypothesis`, one list of them a source, the best first.

`score` is sum_t log p(y_t | y_<t, x) of the model itself in nats, the end symbol counted, whatever rules a search
keeps. `rank_score`, by which a beam is ordered, is score / |y|^length_penalty, |y| counting the end symbol (Wu et al.
2016, 1609.08144, has a related form), where what rules add to the score, and a coverage penalty, count too. An output
that reaches `max_length` must end there, so every score holds an end symbol.

A `Rule` says what may follow what has been said, the same in every search. `Lanes` say how a beam divides a source's
prefixes. A source for which the rules leave no output has no hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from antiphon.common.symbols import BOS, EOS, PAD, UNK
from antiphon.model.state import S, Step

StepFunction = Callable[[Tensor, S], Step[S]]


@dataclass(frozen=True)
class Limits:
    """Bounds of an output, in symbols without the end symbol, and whether it may hold UNK."""

    max_length: int
    min_length: int = 0
    unknown: bool = False


class Rule(Protocol):
    """What may follow what has been said: a function of that alone, so that every search keeps it.

    Rows never depend on each other. See `antiphon/decoding/rules.py` for those that a user can choose.
    """

    def __call__(self, ranked: Tensor, said: Tensor, sources: Tensor) -> Tensor:
        """ranked [R, symbols], by which the next symbols are chosen: log p, and what other rules made of it.

        Returns it with -inf for what may not follow said [R, length], or with something added. `sources` [R] are the
        places of the rows' sources in the batch.
        """


@dataclass(frozen=True)
class Hypothesis:
    """An output: ids without the end symbol, its log-probability in nats, what it is ranked by."""

    tokens: tuple[int, ...]
    score: float
    rank_score: float


def _ranked(
    log_probs: Tensor, said: Tensor, sources: Tensor, width: int, limits: Limits, rules: Sequence[Rule]
) -> Tensor:
    """Log-probabilities [R, symbols] with -inf for what may not follow said [R, length], and what the rules add.

    Without rules in the place of the log-probabilities: those of what may follow stay as they are.
    """
    ranked, length = log_probs.clone() if rules else log_probs, said.shape[1]
    if not limits.unknown:
        ranked[:, UNK] = -torch.inf
    if length < limits.min_length:
        ranked[:, EOS] = -torch.inf
    if length >= limits.max_length:
        ranked[:, :EOS] = -torch.inf
        ranked[:, EOS + 1 :] = -torch.inf
    if rules:
        sources = sources.repeat_interleave(width)
        for rule in rules:
            ranked = rule(ranked, said, sources)
    return ranked


BLOCK = 64  # symbols that `largest` looks at together


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest numbers of each row of values [R, n] in order, and their places: as `topk`, but sooner.

    They lie in the `count` blocks of a row whose largest numbers are the largest, which one quick pass tells.
    """
    blocks, rest = divmod(values.shape[1], BLOCK)
    if blocks < 2 * count or values.device.type != "cpu":
        found, place = values.max(-1, keepdim=True) if count == 1 else values.topk(count, -1)
        return found, place
    whole, near = blocks * BLOCK, count * BLOCK
    parts = values[:, :whole].reshape(-1, blocks, BLOCK)
    chosen = parts.amax(-1).topk(count, -1, sorted=False).indices.sort(-1).values
    looked = parts[torch.arange(len(values))[:, None], chosen].flatten(1)
    found, place = (torch.cat([looked, values[:, whole:]], 1) if rest else looked).topk(count, -1)
    block = chosen.gather(1, (place // BLOCK).clamp(max=count - 1))
    return found, torch.where(place < near, block * BLOCK + place % BLOCK, place + (whole - near))


Choose = Callable[[Tensor, Tensor], Tensor]
"""ranked log-probabilities [rows, symbols] and the rows' numbers [rows] -> the symbol that is said [rows]."""


class Chosen(NamedTuple):
    """A step of saying one symbol after the other: those of the `live` rows [n], log p of each (-inf: the rules leave
    nothing, and the end symbol stands there), and what all rows have said [sources, longest], padded."""

    live: Tensor
    symbols: Tensor
    log_probs: Tensor
    said: Tensor


def choices(
    step: StepFunction[S],
    state: S,
    sources: int,
    device: torch.device,
    limits: Limits,
    first: Tensor | None = None,
    choose: Choose | None = None,
    rules: Sequence[Rule] = (),
) -> Iterator[Chosen]:
    """The most probable symbol at every step, or the one that `choose` draws. Finished rows leave the batch.

    `first` [sources] is what the model reads first, by default BOS.
    """
    live = torch.arange(sources, device=device)
    tokens = torch.full((sources, limits.max_length + 1), PAD, dtype=torch.long, device=device)
    last = torch.full((sources,), BOS, dtype=torch.long, device=device) if first is None else first
    for length in range(limits.max_length + 1):
        answer = step(last, state)
        said = tokens[live, :length] if rules else tokens[:, :length]
        ranked = _ranked(answer.log_probs, said, live, 1, limits, rules)
        last = largest(ranked, 1)[1].squeeze(1) if choose is None else choose(ranked, live)
        found = answer.log_probs.gather(1, last[:, None])[:, 0]
        if rules:  # which may leave nothing to say
            stuck = ranked.gather(1, last[:, None])[:, 0] == -torch.inf
            last, found = last.masked_fill(stuck, EOS), found.masked_fill(stuck, -torch.inf)
        tokens[live, length] = last
        yield Chosen(live, last, found, tokens)
        going = (last != EOS).nonzero().flatten()
        if not len(going):
            break
        state = answer.state
        if len(going) < len(last):
            live, last, state = live[going], last[going], state.select(going)


def greedy(
    step: StepFunction[S],
    state: S,
    sources: int,
    device: torch.device,
    limits: Limits,
    first: Tensor | None = None,
    choose: Choose | None = None,
    rules: Sequence[Rule] = (),
) -> list[list[Hypothesis]]:
    """The outputs that `choices` makes, each with its score."""
    scores = torch.zeros(sources, device=device)
    for chosen in choices(step, state, sources, device, limits, first, choose, rules):
        scores[chosen.live] += chosen.log_probs
    return [
        [Hypothesis(_content(row), score, score)] if score > -torch.inf else []
        for row, score in zip(chosen.said.tolist(), scores.tolist(), strict=True)
    ]


def sampler(
    temperature: float, top_k: int, top_p: float, noise: Sequence[np.random.Generator], padded: bool = False
) -> Choose:
    """Draw each symbol from softmax(log p / temperature), among the `top_k` most probable (0: all), and of these
    among the fewest that hold `top_p` of the probability (Holtzman et al. 2020, arXiv 1904.09751).

    Each row draws from its own `noise`, by its largest log p / temperature + Gumbel noise, so that it never depends
    on the rows beside it; `padded` says that these may bring symbols behind its own, which are never drawn.
    """

    def drawn(row: int, symbols: int) -> NDArray[np.float64]:
        own = np.random.default_rng(noise[row].integers(1 << 62)) if padded else noise[row]
        return own.gumbel(size=symbols)

    def choose(log_probs: Tensor, rows: Tensor) -> Tensor:
        scores = log_probs.double() / temperature
        if top_k and top_k < scores.shape[-1]:
            scores = scores.masked_fill(scores < scores.topk(top_k, -1).values[:, -1:], -torch.inf)
        if top_p < 1:
            ordered, place = torch.softmax(scores, -1).sort(dim=-1, descending=True, stable=True)
            beyond = ordered.cumsum(-1) - ordered >= top_p  # the first to reach it still counts
            scores = scores.masked_fill(torch.zeros_like(beyond).scatter(1, place, beyond), -torch.inf)
        gumbel = np.stack([drawn(row, scores.shape[-1]) for row in rows.tolist()])
        return (scores + torch.from_numpy(gumbel).to(scores.device)).argmax(-1)

    return choose


def _content(row: Sequence[int]) -> tuple[int, ...]:
    """What stands before the end symbol."""
    return tuple(row[: row.index(EOS)])


class Extensions(NamedTuple):
    """The best extensions of every lane, [n, lanes, k] each, in order: what they are ranked by so far (-inf: none),
    the place of the prefix among its source's, the symbol."""

    ranks: Tensor
    origin: Tensor
    symbol: Tensor


class Lanes(Protocol):
    """How a beam divides a source's prefixes: `count` lanes, each of which keeps its own best and its own outputs.

    A lane that has all its outputs, and no prefix that is more probable than the surest of them, goes on no more; with
    `shared`, outputs stand in the last lane, and when it is done, so are all of its source's.
    """

    count: int
    shared: bool

    def extend(self, ranks: Tensor, ranked: Tensor, said: Tensor) -> Extensions:
        """The extensions that the lanes look at, twice as many as they are wide, fewer where there are fewer.

        `ranks` [n, R] of the prefixes said [n, R, length], those of a lane side by side; `ranked` [n, R, symbols], what
        each symbol adds.
        """


def best_extensions(ranks: Tensor, ranked: Tensor) -> Extensions:
    """The best extensions of one lane, ranks [n, width] and ranked [n, width, symbols]: [n, 1, 2 * width]."""
    width, symbols = ranked.shape[1:]
    # the 2 * width best of a lane are among the 2 * width best of each of its prefixes
    near = min(2 * width, symbols)
    best, symbol = (x.view(-1, width, near) for x in largest(ranked.flatten(0, 1), near))
    top, place = (ranks[..., None] + best).flatten(1).topk(min(2 * width, width * near), -1)
    found = Extensions(top, place // near, symbol.flatten(1).gather(1, place))
    return Extensions(*(values[:, None] for values in found))


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


class Together:
    """All prefixes of a source in one lane: a beam as it is commonly meant."""

    count = 1
    shared = False

    def extend(self, ranks: Tensor, ranked: Tensor, said: Tensor) -> Extensions:
        return best_extensions(ranks, ranked)


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
        ranked = _ranked(answer.log_probs, tokens.flatten(0, 1), live, rows, limits, rules)
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
            [Hypothesis(_content(row), *own) for row, *own in zip(*rows, strict=True) if own[1] > -torch.inf]
            for rows in zip(*values, strict=True)
        ]
        return found if count == 1 else [_distinct(hypotheses) for hypotheses in found]


def _distinct(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """The best first, each output once."""
    found: dict[tuple[int, ...], Hypothesis] = {}
    for one in sorted(hypotheses, key=lambda one: -one.rank_score):
        found.setdefault(one.tokens, one)
    return list(found.values())


def score(step: StepFunction[S], state: S, targets: Tensor, length_penalty: float = 1.0) -> list[list[Hypothesis]]:
    """Forced scoring: targets [B, T], each with EOS and then padding -> one hypothesis a source."""
    totals = forced(step, state, targets).sum(1).tolist()
    return [
        [Hypothesis(_content(row), total, total / (row.index(EOS) + 1) ** length_penalty)]
        for row, total in zip(targets.tolist(), totals, strict=True)
    ]


def forced(step: StepFunction[S], state: S, targets: Tensor) -> Tensor:
    """log p of every symbol of targets [B, T] when they are said in turn: [B, T], zero at padding."""
    last = torch.full((len(targets),), BOS, dtype=torch.long, device=targets.device)
    columns = []
    for target in targets.unbind(1):
        answer = step(last, state)
        found = answer.log_probs.gather(1, target[:, None]).squeeze(1)
        columns.append(found.masked_fill(target == PAD, 0.0))
        last, state = target, answer.state
    return torch.stack(columns, 1)
