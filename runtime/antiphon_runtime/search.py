"""Decoding over a step function: greedy, beam search, sampling.

`score` is sum_t log p(y_t | y_<t, x) in nats, the end symbol counted; beams are ranked by score / |y|^length_penalty,
|y| counting the end symbol. An output that reaches `longest` must end there.

The beam is the same algorithm as that of `antiphon/decoding/beam.py`, with steps of the same names: a change of one
is a change of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime.common.symbols import EOS, UNK

Array = NDArray[Any]


class State(NamedTuple):
    """The state of decoding, with a row for each prefix; the prefixes of a source are neighbours.

    `changing` is new after every step; `fixed` is the same for all prefixes of a source.
    """

    changing: tuple[Array, ...]
    fixed: tuple[Array, ...] = ()

    def expand(self, width: int) -> State:
        """Every source `width` times, side by side."""
        return State(*(tuple(np.repeat(value, width, 0) for value in part) for part in self))

    def reorder(self, rows: Array) -> State:
        """These rows of `changing`; each must come from its source's rows."""
        return State(tuple(value[rows] for value in self.changing), self.fixed)

    def select(self, sources: Array, width: int = 1) -> State:
        """Only these sources, with all their rows."""
        rows = (sources[:, None] * width + np.arange(width)).ravel()
        return State(*(tuple(value[rows] for value in part) for part in self))


Step = Callable[[Array, State], tuple[Array, State]]
"""The last symbols [R] and the state -> log-probabilities [R, symbols] of the next, the state after.

The search may write into the log-probabilities.
"""
Choose = Callable[[Array, Array], Array]
"""Log-probabilities [rows, symbols] and the rows' numbers -> the symbol that is chosen."""
SORTED = 1024  # so many numbers are sorted faster than partitioned
BLOCK = 64  # numbers of a block in `largest`
FEW = 0.75  # share of a batch: when no more rows continue, the others are removed; to do it at every end costs more


class Limits(NamedTuple):
    """Bounds of an output, in symbols without the end symbol."""

    longest: int
    shortest: int = 0


class Hypothesis(NamedTuple):
    """An output: ids without the end symbol, its log-probability in nats, and log p of each symbol and of the end."""

    tokens: tuple[int, ...]
    score: float
    parts: tuple[float, ...] = ()


def allowed(log_probs: Array, length: int, limits: Limits) -> Array:
    """Log-probabilities, changed in place, with -inf for what may not follow `length` symbols."""
    log_probs[:, UNK] = -np.inf
    if length < limits.shortest:
        log_probs[:, EOS] = -np.inf
    if length >= limits.longest:
        log_probs[:, :EOS] = -np.inf
        log_probs[:, EOS + 1 :] = -np.inf
    return log_probs


class Chosen(NamedTuple):
    """A step without a beam: the symbols of the `live` rows [n], and log p of each."""

    live: Array
    symbols: Array
    log_probs: Array


def choices(step: Step, state: State, first: Array, limits: Limits, choose: Choose | None = None) -> Iterator[Chosen]:
    """The most probable symbol at every step, or the one that `choose` draws; `first` is what is read first."""
    live = place = each = np.arange(len(first))  # rows that continue, their places in the state, and 0 to n
    last = first
    for length in range(limits.longest + 1):
        log_probs, state = step(last, state)
        ranked = allowed(log_probs if len(place) == len(last) else log_probs[place], length, limits)
        symbols = ranked.argmax(-1) if choose is None else choose(ranked, live)
        yield Chosen(live, symbols, ranked[each, symbols])
        if EOS in symbols.tolist():  # in a list: with so few numbers it is faster
            going = symbols != EOS
            live, place, symbols = live[going], place[going], symbols[going]
            each = np.arange(len(live))
            if not len(live):
                break
        if len(live) == len(last):
            last = symbols
        elif len(live) <= FEW * len(last):
            state, place, last = state.select(place), each, symbols
        else:
            last = last.copy()  # the array of the step before may still be in use
            last[place] = symbols


def greedy(
    step: Step, state: State, first: Array, limits: Limits, choose: Choose | None = None
) -> list[list[Hypothesis]]:
    """The outputs of `choices`, each with its score."""
    tokens: list[list[int]] = [[] for _ in first]
    parts: list[list[float]] = [[] for _ in first]
    scores = np.zeros(len(first), np.float32)
    for live, symbols, log_probs in choices(step, state, first, limits, choose):
        scores[live] += log_probs
        for row, symbol, log_prob in zip(live.tolist(), symbols.tolist(), log_probs.tolist(), strict=True):
            tokens[row].append(symbol)
            parts[row].append(log_prob)
    outputs = zip(tokens, scores.tolist(), parts, strict=True)
    return [[Hypothesis(tuple(ids[:-1]), score, tuple(of_symbols))] for ids, score, of_symbols in outputs]


def sampler(
    temperature: float, top_k: int, top_p: float, noise: Sequence[np.random.Generator], padded: bool = False
) -> Choose:
    """Draw from softmax(log p / temperature), among the `top_k` most probable (0: all), and among the fewest of
    these that have `top_p` of the probability together; each row from its `noise`, so that it does not depend on the
    rows beside it; with `padded` these may add symbols behind its own, which are never drawn."""

    def drawn(row: int, symbols: int) -> Array:
        generator = np.random.default_rng(noise[row].integers(1 << 62)) if padded else noise[row]
        return generator.gumbel(size=symbols)

    def choose(log_probs: Array, rows: Array) -> Array:
        scores = log_probs.astype(np.float64) / temperature
        if top_k and top_k < scores.shape[-1]:
            least = np.partition(scores, -top_k, -1)[:, -top_k, None]
            scores = np.where(scores < least, -np.inf, scores)
        if top_p < 1:
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            shares /= shares.sum(-1, keepdims=True)
            place = np.argsort(-shares, axis=-1, kind="stable")
            ordered = np.take_along_axis(shares, place, -1)
            beyond = ordered.cumsum(-1) - ordered >= top_p  # the first to reach it still counts
            out = np.zeros_like(beyond)
            np.put_along_axis(out, place, beyond, -1)
            scores = np.where(out, -np.inf, scores)
        gumbel = np.stack([drawn(row, scores.shape[-1]) for row in rows.tolist()])
        return np.asarray((scores + gumbel).argmax(-1))

    return choose


def largest(values: Array, count: int) -> tuple[Array, Array]:
    """The `count` largest numbers of each row in order (of equal ones the first), and their places."""
    row = np.arange(len(values))[:, None]
    if values.shape[1] <= SORTED:
        place = np.argsort(-values, 1, kind="stable")[:, :count]
        return values[row, place], place
    blocks = values.shape[1] // BLOCK
    if blocks < 2 * count:
        place = np.sort(np.argpartition(values, -count, 1)[:, -count:], 1)
    else:
        # they lie in the `count` blocks whose largest are the largest, or behind all blocks; a block's numbers lie
        # `blocks` apart, so that all blocks are gone through at once
        peaks = values[:, : BLOCK * blocks].reshape(-1, BLOCK, blocks).max(1)
        chosen = np.argpartition(peaks, -count, 1)[:, -count:]
        inside = chosen[:, None] + blocks * np.arange(BLOCK)[:, None]
        behind = np.broadcast_to(np.arange(BLOCK * blocks, values.shape[1]), (len(values), values.shape[1] % BLOCK))
        looked = np.concatenate([inside.reshape(len(values), -1), behind], 1)
        near = np.argpartition(values[row, looked], -count, 1)[:, -count:]
        place = np.sort(looked[row, near], 1)
    best = values[row, place]
    order = np.argsort(-best, 1, kind="stable")
    return best[row, order], place[row, order]


def beam(
    step: Step, state: State, first: Array, limits: Limits, width: int, length_penalty: float
) -> list[list[Hypothesis]]:
    """Beam search: the `width` best prefixes of every source, extended until it has `width` outputs, the best first.

    At each step the 2 * width best extensions are considered; those among the first `width` that end are outputs, and
    the best `width` others continue. A source is finished once it has `width` outputs and no prefix is more probable
    than the most probable of them, or no prefix is left.
    """
    frontier = _Frontier.start(state, first, width)
    for _ in range(limits.longest + 1):
        log_probs = frontier.read(step)
        candidates = frontier.extend(log_probs, limits)
        frontier.finish(candidates, length_penalty)
        full = frontier.full(candidates)
        extended = frontier.choose(candidates)
        unfinished = frontier.unfinished(extended, full)
        if not len(unfinished):
            break
        extended = frontier.drop_finished(extended, unfinished)
        frontier.advance(extended)
    return [[hypothesis for _, hypothesis in outputs] for outputs in frontier.outputs]


class _Candidates(NamedTuple):
    """The extensions of every source that are considered in one step, [n, k] each, in order."""

    origin: Array  # the prefix's place among those of its source
    symbol: Array
    scores: Array  # log p so far (-inf: there is none)
    parts: Array  # log p of the symbol
    ends: Array  # whether it is an output
    goes_on: Array  # whether it may be a prefix of the next step


class Extended(NamedTuple):
    """The extensions that were chosen, [n, width] each, in order."""

    origin: Array
    symbol: Array
    scores: Array  # -inf: there is none
    parts: Array


@dataclass
class _Frontier:
    """The prefixes that are extended next, `width` of each source that is not finished, and the outputs so far."""

    width: int
    outputs: list[list[tuple[float, Hypothesis]]]  # for each source, with their rank scores, the best first
    live: Array  # [n], the sources that are not finished
    place: Array  # [n], the place of each in the state, from which finished ones are removed several at a time
    state: State
    last: Array  # [sources in the state, width], the symbols that are read next
    tokens: Array  # [n, width, length]
    parts: Array  # [n, width, length], log p of each symbol
    scores: Array  # [n, width], log p (-inf: there is no prefix in this place)
    finished: Array  # [n], how many outputs there are
    surest: Array  # [n], log p of the most probable output
    sources: Array  # [n, 1], 0 to n - 1: the first index of what stands at a source's places

    @classmethod
    def start(cls, state: State, first: Array, width: int) -> _Frontier:
        """The empty prefix of every source."""
        sources = len(first)
        scores = np.full((sources, width), -np.inf, np.float32)
        scores[:, 0] = 0.0
        return cls(
            width,
            outputs=[[] for _ in range(sources)],
            live=np.arange(sources),
            place=np.arange(sources),
            state=state.expand(width),
            last=np.repeat(first, width).reshape(sources, width),
            tokens=np.empty((sources, width, 0), np.int64),
            parts=np.empty((sources, width, 0), np.float32),
            scores=scores,
            finished=np.zeros(sources, np.int64),
            surest=np.full(sources, -np.inf, np.float32),
            sources=np.arange(sources)[:, None],
        )

    def read(self, step: Step) -> Array:
        """Log-probabilities [n * width, symbols] of the symbols that follow the last ones."""
        log_probs, self.state = step(self.last.ravel(), self.state)
        if len(self.live) == len(self.last):
            return log_probs
        symbols = log_probs.shape[1]
        return log_probs.reshape(*self.last.shape, symbols)[self.place].reshape(-1, symbols)

    def extend(self, log_probs: Array, limits: Limits) -> _Candidates:
        """The best extensions of every source's prefixes by one symbol."""
        count, symbols, length = len(self.live), log_probs.shape[1], self.tokens.shape[2]
        near = min(2 * self.width, symbols)
        # the 2 * width best of a source are among the 2 * width best of each of its prefixes
        best, following = largest(allowed(log_probs, length, limits), near)
        total = (self.scores[..., None] + best.reshape(count, self.width, near)).reshape(count, -1)
        scores, place = largest(total, min(2 * self.width, total.shape[1]))
        symbol = following.reshape(count, -1)[self.sources, place]
        parts = best.reshape(count, -1)[self.sources, place]
        exists, is_end = scores > -np.inf, symbol == EOS
        ends = is_end & exists
        ends[:, self.width :] = False
        return _Candidates(
            place // near, symbol, scores, parts, ends, exists > is_end
        )  # exists, and is not the end symbol

    def finish(self, candidates: _Candidates, length_penalty: float) -> None:
        """Keep the candidates that end among the outputs, by rank score."""
        origin, _, scores, parts, ends, _ = candidates
        if not ends.any():
            return
        divisor = np.float32((self.tokens.shape[2] + 1) ** length_penalty)
        for source, place in zip(*np.nonzero(ends), strict=True):
            score, prefix = scores[source, place], origin[source, place]
            log_probs = (*self.parts[source, prefix].tolist(), float(parts[source, place]))
            hypothesis = Hypothesis(tuple(self.tokens[source, prefix].tolist()), float(score), log_probs)
            outputs = self.outputs[self.live[source]]
            outputs.append((float(score / divisor), hypothesis))
            outputs.sort(key=lambda output: -output[0])  # stable: of equals the earlier stays before
            del outputs[self.width :]
        self.finished = self.finished + ends.sum(1)
        self.surest = np.maximum(self.surest, np.where(ends, scores, np.float32(-np.inf)).max(1))

    def full(self, candidates: _Candidates) -> Array:
        """Which sources [n] have `width` outputs, and no candidate that continues and is more probable than all of
        them."""
        full = self.finished >= self.width
        if full.any():
            leading = np.where(candidates.goes_on, candidates.scores, np.float32(-np.inf)).max(1)
            full &= leading <= self.surest
        return full

    def choose(self, candidates: _Candidates) -> Extended:
        """The `width` best candidates of every source that continue."""
        origin, symbol, scores, parts, _, goes_on = candidates
        if goes_on[:, : self.width].all():  # the usual case
            return Extended(*(values[:, : self.width] for values in candidates[:4]))
        order = np.argsort(~goes_on, axis=1, kind="stable")[:, : self.width]  # stable: they come first, in order
        scores = np.where(goes_on, scores, np.float32(-np.inf))
        return Extended(*(values[self.sources, order] for values in (origin, symbol, scores, parts)))

    def unfinished(self, extended: Extended, full: Array) -> Array:
        """The places in `live` of the sources that have a prefix and are not full."""
        return np.flatnonzero((extended.scores[:, 0] > -np.inf) > full)  # has a prefix, and is not full

    def drop_finished(self, extended: Extended, unfinished: Array) -> Extended:
        """Remove finished sources from the batch; returns the extensions of the others."""
        if len(unfinished) == len(self.live):
            return extended
        self.live, self.place = self.live[unfinished], self.place[unfinished]
        self.tokens, self.parts = self.tokens[unfinished], self.parts[unfinished]
        self.finished, self.surest = self.finished[unfinished], self.surest[unfinished]
        self.sources = self.sources[: len(unfinished)]
        return Extended(*(values[unfinished] for values in extended))

    def advance(self, extended: Extended) -> None:
        """Make the chosen extensions the prefixes of the next step."""
        origin, symbol, self.scores, parts = extended
        self.tokens = np.concatenate([self.tokens[self.sources, origin], symbol[..., None]], 2)
        self.parts = np.concatenate([self.parts[self.sources, origin], parts[..., None]], 2)
        rows = np.arange(self.last.size).reshape(self.last.shape)
        rows[self.place] = self.place[:, None] * self.width + origin
        self.state = self.state.reorder(rows.ravel())
        if len(self.live) <= FEW * len(self.last):
            self.state = self.state.select(self.place, self.width)
            self.place, self.last = np.arange(len(self.live)), symbol
        else:
            self.last[self.place] = symbol
