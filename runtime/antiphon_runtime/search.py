"""Decoding over a step function: greedy, beam search, sampling.

`score` is sum_t log p(y_t | y_<t, x) in nats, the end symbol counted; beams are ranked by score / |y|^length_penalty,
|y| counting the end symbol. An output that reaches `longest` must end there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime.text import EOS, PAD, UNK

Array = NDArray[Any]


@dataclass(frozen=True)
class State:
    """What decoding carries by its names, a row a prefix, those of one source side by side.

    `changing` is new after every step; `fixed` is the same for all prefixes of a source.
    """

    changing: dict[str, Array]
    fixed: dict[str, Array]

    def expand(self, width: int) -> State:
        """Every source `width` times, side by side."""
        return State(*({name: np.repeat(value, width, 0) for name, value in part.items()} for part in self._parts))

    def reorder(self, rows: Array) -> State:
        """The given rows, each taken from its own source's rows."""
        return State({name: value[rows] for name, value in self.changing.items()}, self.fixed)

    def select(self, sources: Array, width: int = 1) -> State:
        """Only the given sources, with all their rows."""
        rows = (sources[:, None] * width + np.arange(width)).ravel()
        return State(*({name: value[rows] for name, value in part.items()} for part in self._parts))

    @property
    def _parts(self) -> tuple[dict[str, Array], dict[str, Array]]:
        return self.changing, self.fixed


Step = Callable[[Array, State], tuple[Array, State]]
"""The last symbols [R] and the state -> log-probabilities [R, symbols] of the next, the state after."""
Choose = Callable[[Array, Array], Array]
"""Log-probabilities [rows, symbols] and the rows' numbers -> the symbol that is said."""


class Limits(NamedTuple):
    """Bounds of an output, in symbols without the end symbol."""

    longest: int
    shortest: int = 0


class Hypothesis(NamedTuple):
    """An output: ids without the end symbol, and its log-probability in nats."""

    tokens: tuple[int, ...]
    score: float


def _allowed(log_probs: Array, length: int, limits: Limits) -> Array:
    """Log-probabilities with -inf for what may not be said after `length` symbols."""
    log_probs = log_probs.copy()
    log_probs[:, UNK] = -np.inf
    if length < limits.shortest:
        log_probs[:, EOS] = -np.inf
    if length >= limits.longest:
        log_probs[:, :EOS] = -np.inf
        log_probs[:, EOS + 1 :] = -np.inf
    return log_probs


class Chosen(NamedTuple):
    """A step of saying one symbol after the other: those of the `live` rows [n], and log p of each."""

    live: Array
    symbols: Array
    log_probs: Array


def choices(step: Step, state: State, first: Array, limits: Limits, choose: Choose | None = None) -> Iterator[Chosen]:
    """The most probable symbol at every step, or the one that `choose` draws; `first` is what is read first."""
    live, last = np.arange(len(first)), first
    for length in range(limits.longest + 1):
        log_probs, state = step(last, state)
        allowed = _allowed(log_probs, length, limits)
        last = allowed.argmax(-1) if choose is None else choose(allowed, live)
        yield Chosen(live, last, allowed[np.arange(len(live)), last])
        going = np.flatnonzero(last != EOS)
        if not len(going):
            break
        if len(going) < len(last):
            live, last, state = live[going], last[going], state.select(going)


def greedy(
    step: Step, state: State, first: Array, limits: Limits, choose: Choose | None = None
) -> list[list[Hypothesis]]:
    """The outputs that `choices` makes, each with its score."""
    tokens = np.full((len(first), limits.longest + 1), PAD, np.int64)
    scores = np.zeros(len(first), np.float32)
    for length, (live, symbols, log_probs) in enumerate(choices(step, state, first, limits, choose)):
        tokens[live, length] = symbols
        scores[live] += log_probs
    return [[_hypothesis(row, score)] for row, score in zip(tokens.tolist(), scores.tolist(), strict=True)]


def sampler(temperature: float, top_k: int, top_p: float, noise: Sequence[np.random.Generator]) -> Choose:
    """Draw from softmax(log p / temperature), among the `top_k` most probable (0: all), and of these among the fewest
    that hold `top_p` of the probability; each row from its own `noise`."""

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
        gumbel = np.stack([noise[row].gumbel(size=scores.shape[-1]) for row in rows.tolist()])
        return np.asarray((scores + gumbel).argmax(-1))

    return choose


def _hypothesis(row: Sequence[int], score: float) -> Hypothesis:
    return Hypothesis(tuple(row[: row.index(EOS)]), score)


def _top(values: Array, count: int) -> tuple[Array, Array]:
    """The `count` largest of each row in order, and their places."""
    place = np.arange(values.shape[1])[None].repeat(len(values), 0)
    if count < values.shape[1]:
        place = np.sort(np.argpartition(-values, count - 1, -1)[:, :count], -1)
    found = np.take_along_axis(values, place, -1)
    order = np.argsort(-found, axis=-1, kind="stable")
    return np.take_along_axis(found, order, -1), np.take_along_axis(place, order, -1)


def beam(
    step: Step, state: State, first: Array, limits: Limits, width: int, length_penalty: float
) -> list[list[Hypothesis]]:
    """The `width` best prefixes of every source, extended until `width` outputs have ended, the best first.

    At each step the 2 * width best extensions are looked at; those among the first `width` that end are outputs, and
    the best `width` others go on, until none of them is more probable than the surest output.
    """
    sources = len(first)
    done: list[list[tuple[float, float, list[int]]]] = [[] for _ in range(sources)]  # rank, score, tokens
    live = np.arange(sources)
    state = state.expand(width)
    tokens = np.full((sources, width, 0), PAD, np.int64)
    scores = np.full((sources, width), -np.inf, np.float32)
    scores[:, 0] = 0.0  # all prefixes are empty at first: only one of them counts
    ended, surest = np.zeros(sources, np.int64), np.full(sources, -np.inf, np.float32)
    last = np.repeat(first, width)
    for length in range(limits.longest + 1):
        log_probs, after = step(last, state)
        near = min(2 * width, log_probs.shape[-1])
        best, symbol = _top(_allowed(log_probs, length, limits), near)
        total = (scores[..., None] + best.reshape(len(live), width, near)).reshape(len(live), -1)
        top, place = _top(total, min(2 * width, width * near))
        origin, symbol = place // near, np.take_along_axis(symbol.reshape(len(live), -1), place, 1)
        finite = top > -np.inf
        ends = (symbol == EOS) & finite
        ends[:, width:] = False
        for row, column in zip(*np.nonzero(ends), strict=True):
            score = top[row, column]
            rank = float(score / np.float32((length + 1) ** length_penalty))
            found = done[live[row]]
            found.append((rank, float(score), tokens[row, origin[row, column]].tolist()))
            found.sort(key=lambda one: -one[0])  # stable: of equals the earlier stays before
            del found[width:]
        ended = ended + ends.sum(1)
        surest = np.maximum(surest, np.where(ends, top, np.float32(-np.inf)).max(1))

        going = (symbol != EOS) & finite
        order = np.argsort(~going, axis=1, kind="stable")[:, :width]
        scores = np.where(np.take_along_axis(going, order, 1), np.take_along_axis(top, order, 1), np.float32(-np.inf))
        origin, symbol = (np.take_along_axis(values, order, 1) for values in (origin, symbol))
        lack = ((0, 0), (0, width - order.shape[1]))  # fewer symbols than beams
        scores = np.pad(scores, lack, constant_values=-np.inf)
        origin, symbol = np.pad(origin, lack), np.pad(symbol, lack, constant_values=EOS)
        tokens = np.concatenate([np.take_along_axis(tokens, origin[..., None], 1), symbol[..., None]], 2)

        stay = np.flatnonzero(((ended < width) | (scores[:, 0] > surest)) & (scores[:, 0] > -np.inf))
        if not len(stay):
            break
        state = after.reorder((np.arange(len(live))[:, None] * width + origin).ravel())
        if len(stay) < len(live):
            live, tokens, scores, symbol = live[stay], tokens[stay], scores[stay], symbol[stay]
            ended, surest = ended[stay], surest[stay]
            state = state.select(stay, width)
        last = symbol.ravel()
    return [[Hypothesis(tuple(row), score) for _, score, row in found] for found in done]
