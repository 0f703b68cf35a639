"""Decoding over a step function and nothing else: greedy, beam search, forced scoring.

A step function maps (tokens [R], state) to the log-probabilities [R, symbols] of what comes next and
the state after. The state is any value with `expand`, `reorder` and `select` (see `State`). Every way of
decoding returns the same `Hypothesis`, one list of them a source, the best first.

`score` is sum_t log p(y_t | y_<t, x) in nats, the end symbol counted; `rank_score`, by which a beam is
ordered, is score / |y|^length_penalty, |y| counting the end symbol (Wu et al. 2016, 1609.08144, has a
related form). An output that reaches `max_length` must end there, so every score holds an end symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from antiphon.symbols import BOS, EOS, PAD, UNK


class DecodingState(Protocol):
    """What a search asks of a state; `width` rows of one source lie side by side."""

    def expand(self, width: int) -> Self: ...

    def reorder(self, rows: Tensor) -> Self: ...

    def select(self, sources: Tensor, width: int = 1) -> Self: ...


S = TypeVar("S", bound=DecodingState)


class Step(NamedTuple, Generic[S]):
    """The answer of a step function: log_probs [R, symbols], the state after, attention [R, S] or None."""

    log_probs: Tensor
    state: S
    attention: Tensor | None = None


StepFunction = Callable[[Tensor, S], Step[S]]


@dataclass(frozen=True)
class Limits:
    """Bounds of an output, in symbols without the end symbol."""

    max_length: int
    min_length: int = 0


@dataclass(frozen=True)
class Hypothesis:
    """An output: ids without the end symbol, its log-probability in nats, what it is ranked by."""

    tokens: tuple[int, ...]
    score: float
    rank_score: float


def _allowed(log_probs: Tensor, length: int, limits: Limits) -> Tensor:
    """Log-probabilities with -inf for what may not be said after `length` symbols."""
    log_probs = log_probs.clone()
    log_probs[:, UNK] = -torch.inf
    if length < limits.min_length:
        log_probs[:, EOS] = -torch.inf
    if length >= limits.max_length:
        log_probs[:, :EOS] = -torch.inf
        log_probs[:, EOS + 1 :] = -torch.inf
    return log_probs


Choose = Callable[[Tensor, Tensor], Tensor]
"""log-probabilities [rows, symbols] and the rows' numbers [rows] -> the symbol that is said [rows]."""


def greedy(
    step: StepFunction[S],
    state: S,
    sources: int,
    device: torch.device,
    limits: Limits,
    first: Tensor | None = None,
    choose: Choose | None = None,
) -> list[list[Hypothesis]]:
    """The most probable symbol at every step, or the one that `choose` draws. Finished rows leave the batch.

    `first` [sources] is what the model reads first, by default BOS.
    """
    live = torch.arange(sources, device=device)
    tokens = torch.full((sources, limits.max_length + 1), PAD, dtype=torch.long, device=device)
    scores = torch.zeros(sources, device=device)
    last = torch.full((sources,), BOS, dtype=torch.long, device=device) if first is None else first
    for length in range(limits.max_length + 1):
        answer = step(last, state)
        allowed = _allowed(answer.log_probs, length, limits)
        last = allowed.argmax(-1) if choose is None else choose(allowed, live)
        scores[live] += allowed.gather(1, last[:, None])[:, 0]
        tokens[live, length] = last
        going = (last != EOS).nonzero().flatten()
        if not len(going):
            break
        state = answer.state
        if len(going) < len(last):
            live, last, state = live[going], last[going], state.select(going)
    return [[_hypothesis(row, score, 0.0)] for row, score in zip(tokens.tolist(), scores.tolist(), strict=True)]


def sampler(temperature: float, top_k: int, top_p: float, noise: Sequence[np.random.Generator]) -> Choose:
    """Draw each symbol from softmax(log p / temperature), among the `top_k` most probable (0: all), and of these
    among the fewest that hold `top_p` of the probability (Holtzman et al. 2020, arXiv 1904.09751).

    Each row draws from its own `noise`, by its largest log p / temperature + Gumbel noise, so that it never depends
    on the rows beside it.
    """

    def choose(log_probs: Tensor, rows: Tensor) -> Tensor:
        scores = log_probs.double() / temperature
        if top_k and top_k < scores.shape[-1]:
            scores = scores.masked_fill(scores < scores.topk(top_k, -1).values[:, -1:], -torch.inf)
        if top_p < 1:
            ordered, place = torch.softmax(scores, -1).sort(dim=-1, descending=True, stable=True)
            beyond = ordered.cumsum(-1) - ordered >= top_p  # the first to reach it still counts
            scores = scores.masked_fill(torch.zeros_like(beyond).scatter(1, place, beyond), -torch.inf)
        gumbel = np.stack([noise[row].gumbel(size=scores.shape[-1]) for row in rows.tolist()])
        return (scores + torch.from_numpy(gumbel).to(scores.device)).argmax(-1)

    return choose


def _hypothesis(row: Sequence[int], score: float, length_penalty: float) -> Hypothesis:
    end = row.index(EOS)
    return Hypothesis(tuple(row[:end]), score, score / (end + 1) ** length_penalty)


def beam(
    step: StepFunction[S],
    state: S,
    sources: int,
    device: torch.device,
    limits: Limits,
    width: int,
    length_penalty: float = 1.0,
    first: Tensor | None = None,
) -> list[list[Hypothesis]]:
    """Beam search: the `width` best prefixes of every source, extended until `width` outputs have ended.

    At each step the 2 * width best extensions are looked at; those among the first `width` that end
    are outputs, and the best `width` others go on. Outputs are kept by rank score. A source is done once it
    has `width` outputs and no prefix is more probable than the best of them, or no prefix is left; it then leaves
    the batch. (Outputs alone are no reason to stop: a sure model's best prefix outlives `width` improbable early
    ends.) With width 1 this is `greedy`.
    """
    done_tokens = torch.full((sources, width, limits.max_length + 1), PAD, dtype=torch.long, device=device)
    done_scores = torch.full((sources, width), -torch.inf, device=device)
    done_ranks = done_scores.clone()
    live = torch.arange(sources, device=device)  # sources still searched; all below is about these
    state = state.expand(width)
    tokens = torch.full((sources, width, 0), PAD, dtype=torch.long, device=device)
    scores = torch.full((sources, width), -torch.inf, device=device)
    scores[:, 0] = 0.0  # all prefixes are empty at first: only one of them counts
    ended = torch.zeros(sources, dtype=torch.long, device=device)
    begin = torch.full((sources,), BOS, dtype=torch.long, device=device) if first is None else first
    last = begin.repeat_interleave(width)

    for length in range(limits.max_length + 1):
        answer = step(last, state)
        symbols = answer.log_probs.shape[-1]
        # the 2 * width best of a source are among the 2 * width best of each of its prefixes
        near = min(2 * width, symbols)
        best, symbol = _allowed(answer.log_probs, length, limits).topk(near, -1)
        total = scores[..., None] + best.view(len(live), width, near)
        top, place = total.flatten(1).topk(min(2 * width, width * near), -1)
        origin = place // near
        symbol = symbol.view(len(live), -1).gather(1, place)

        finite = top > -torch.inf
        ends = (symbol == EOS) & finite
        ends[:, width:] = False
        if ends.any():
            _keep_best(done_tokens, done_scores, done_ranks, live, tokens, top, origin, ends, length, length_penalty)
        ended = ended + ends.sum(1)

        # the best extensions that go on: a stable sort puts them first, in order
        going = (symbol != EOS) & finite
        order = (~going).int().argsort(dim=1, stable=True)[:, :width]
        scores = top.gather(1, order).masked_fill(~going.gather(1, order), -torch.inf)
        origin, symbol = origin.gather(1, order), symbol.gather(1, order)
        if order.shape[1] < width:  # fewer symbols than beams
            lack = width - order.shape[1]
            scores = torch.cat([scores, scores.new_full((len(live), lack), -torch.inf)], 1)
            origin = torch.cat([origin, origin.new_zeros(len(live), lack)], 1)
            symbol = torch.cat([symbol, symbol.new_full((len(live), lack), EOS)], 1)
        tokens = torch.cat([tokens.gather(1, origin[..., None].expand(-1, -1, length)), symbol[..., None]], 2)

        behind = (ended < width) | (scores[:, 0] > done_scores[live, 0])
        open_ = behind & (scores[:, 0] > -torch.inf)
        stay = open_.nonzero().flatten()
        if not len(stay):
            break
        rows = (torch.arange(len(live), device=device)[:, None] * width + origin).flatten()
        state = answer.state.reorder(rows)
        if len(stay) < len(live):
            live, tokens, scores, ended, symbol = live[stay], tokens[stay], scores[stay], ended[stay], symbol[stay]
            state = state.select(stay, width)
        last = symbol.flatten()

    results: list[list[Hypothesis]] = []
    for rows_, found in zip(done_tokens.tolist(), done_scores.tolist(), strict=True):
        results.append(
            [
                _hypothesis(row, score, length_penalty)
                for row, score in zip(rows_, found, strict=True)
                if score > -torch.inf
            ]
        )
    return results


def _keep_best(
    done_tokens: Tensor,
    done_scores: Tensor,
    done_ranks: Tensor,
    live: Tensor,
    tokens: Tensor,
    top: Tensor,
    origin: Tensor,
    ends: Tensor,
    length: int,
    length_penalty: float,
) -> None:
    """Put the outputs that end now (`ends`, after `length` symbols) among the best of their sources, in order."""
    width = done_scores.shape[1]
    ranks = torch.where(ends, top / (length + 1) ** length_penalty, -torch.inf)
    kept, place = torch.cat([done_ranks[live], ranks], 1).sort(dim=1, descending=True, stable=True)
    kept, place = kept[:, :width], place[:, :width]
    endings = done_tokens.new_full((*origin.shape, done_tokens.shape[2]), PAD)
    endings[..., :length] = tokens.gather(1, origin[..., None].expand(-1, -1, length))
    endings[..., length] = EOS
    everything = torch.cat([done_tokens[live], endings], 1)
    done_ranks[live] = kept
    done_scores[live] = (
        torch.cat([done_scores[live], top], 1).gather(1, place).masked_fill(kept == -torch.inf, -torch.inf)
    )
    done_tokens[live] = everything.gather(1, place[..., None].expand(-1, -1, everything.shape[2]))


def score(step: StepFunction[S], state: S, targets: Tensor, length_penalty: float = 1.0) -> list[list[Hypothesis]]:
    """Forced scoring: targets [B, T], each with EOS and then padding -> one hypothesis a source."""
    totals = forced(step, state, targets).sum(1).tolist()
    return [[_hypothesis(row, total, length_penalty)] for row, total in zip(targets.tolist(), totals, strict=True)]


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
