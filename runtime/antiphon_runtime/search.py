"""Decoding over a step function: greedy, beam search, sampling.

`score` is sum_t log p(y_t | y_<t, x) in nats, the end symbol counted; beams are ranked by score / |y|^length_penalty,
|y| counting the end symbol. An output that reaches `longest` must end there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime.common.symbols import EOS, UNK

Array = NDArray[Any]


class State(NamedTuple):
    """What decoding carries, a row a prefix, those of one source side by side.

    `changing` is new after every step; `fixed` is the same for all prefixes of a source.
    """

    changing: tuple[Array, ...]
    fixed: tuple[Array, ...] = ()

    def expand(self, width: int) -> State:
        """Every source `width` times, side by side."""
        return State(*(tuple(np.repeat(value, width, 0) for value in part) for part in self))

    def reorder(self, rows: Array) -> State:
        """The given rows, each taken from its own source's rows."""
        return State(tuple(value[rows] for value in self.changing), self.fixed)

    def select(self, sources: Array, width: int = 1) -> State:
        """Only the given sources, with all their rows."""
        rows = (sources[:, None] * width + np.arange(width)).ravel()
        return State(*(tuple(value[rows] for value in part) for part in self))


Step = Callable[[Array, State], tuple[Array, State]]
"""The last symbols [R] and the state -> log-probabilities [R, symbols] of the next, the state after.

The log-probabilities are the search's own: it may write into them.
"""
Choose = Callable[[Array, Array], Array]
"""Log-probabilities [rows, symbols] and the rows' numbers -> the symbol that is said."""
SORTED = 1024  # numbers that are sorted sooner than parted
BLOCK = 64  # numbers that are looked at together
FEW = 0.75  # of a batch: when no more go on, the others leave; to copy the memory at every end would cost more


class Limits(NamedTuple):
    """Bounds of an output, in symbols without the end symbol."""

    longest: int
    shortest: int = 0


class Hypothesis(NamedTuple):
    """An output: ids without the end symbol, its log-probability in nats, and log p of each symbol and of the end."""

    tokens: tuple[int, ...]
    score: float
    parts: tuple[float, ...] = ()


def _allowed(log_probs: Array, length: int, limits: Limits) -> Array:
    """Log-probabilities, in their own place, with -inf for what may not be said after `length` symbols."""
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
    live = place = each = np.arange(len(first))  # rows that go on, where they stand in the state, and in an answer
    last = first
    for length in range(limits.longest + 1):
        log_probs, state = step(last, state)
        allowed = _allowed(log_probs if len(place) == len(last) else log_probs[place], length, limits)
        symbols = allowed.argmax(-1) if choose is None else choose(allowed, live)
        yield Chosen(live, symbols, allowed[each, symbols])
        if EOS in symbols.tolist():  # of a list: of so few numbers it is quicker
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
            last = last.copy()  # whoever was told of it keeps it
            last[place] = symbols


def greedy(
    step: Step, state: State, first: Array, limits: Limits, choose: Choose | None = None
) -> list[list[Hypothesis]]:
    """The outputs that `choices` makes, each with its score."""
    tokens: list[list[int]] = [[] for _ in first]
    parts: list[list[float]] = [[] for _ in first]
    scores = np.zeros(len(first), np.float32)
    for live, symbols, log_probs in choices(step, state, first, limits, choose):
        scores[live] += log_probs
        for row, symbol, own in zip(live.tolist(), symbols.tolist(), log_probs.tolist(), strict=True):
            tokens[row].append(symbol)
            parts[row].append(own)
    found = zip(tokens, scores.tolist(), parts, strict=True)
    return [[Hypothesis(tuple(row[:-1]), score, tuple(own))] for row, score, own in found]


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


def _top(values: Array, count: int) -> tuple[Array, Array]:
    """The `count` largest of each row in order, of equals the first, and their places."""
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
    found = values[row, place]
    order = np.argsort(-found, 1, kind="stable")
    return found[row, order], place[row, order]


def beam(
    step: Step, state: State, first: Array, limits: Limits, width: int, length_penalty: float
) -> list[list[Hypothesis]]:
    """The `width` best prefixes of every source, extended until `width` outputs have ended, the best first.

    At each step the 2 * width best extensions are looked at; those among the first `width` that end are outputs, and
    the best `width` others go on, until none of them is more probable than the surest output.
    """
    sources = len(first)
    done: list[list[tuple[float, Hypothesis]]] = [[] for _ in range(sources)]  # each with its rank
    live, place = np.arange(sources), np.arange(sources)  # sources that go on, and where they stand in the state
    state = state.expand(width)
    tokens, parts = np.empty((sources, width, 0), np.int64), np.empty((sources, width, 0), np.float32)
    scores = np.full((sources, width), -np.inf, np.float32)
    scores[:, 0] = 0.0  # all prefixes are empty at first: only one of them counts
    ended, surest = np.zeros(sources, np.int64), np.full(sources, -np.inf, np.float32)
    last = np.repeat(first, width).reshape(sources, width)
    for length in range(limits.longest + 1):
        log_probs, state = step(last.ravel(), state)
        symbols = log_probs.shape[1]
        if len(place) < len(last):
            log_probs = log_probs.reshape(*last.shape, symbols)[place].reshape(-1, symbols)
        near, row = min(2 * width, symbols), np.arange(len(live))[:, None]
        # the 2 * width best of a source are among the 2 * width best of each of its prefixes
        best, said = _top(_allowed(log_probs, length, limits), near)
        total = scores[..., None] + best.reshape(len(live), width, near)
        top, extension = _top(total.reshape(len(live), -1), min(2 * width, width * near))
        origin, symbol = extension // near, said.reshape(len(live), -1)[row, extension]
        own = best.reshape(len(live), -1)[row, extension]
        going = symbol != EOS
        if going.all():
            order = np.arange(width)[None]
        else:
            going &= top > -np.inf
            ends = (symbol == EOS) & (top > -np.inf)
            ends[:, width:] = False
            for source, column in zip(*np.nonzero(ends), strict=True):
                score, before = top[source, column], origin[source, column]
                rank = float(score / np.float32((length + 1) ** length_penalty))
                found, told = done[live[source]], (*parts[source, before].tolist(), float(own[source, column]))
                found.append((rank, Hypothesis(tuple(tokens[source, before].tolist()), float(score), told)))
                found.sort(key=lambda one: -one[0])  # stable: of equals the earlier stays before
                del found[width:]
            ended = ended + ends.sum(1)
            surest = np.maximum(surest, np.where(ends, top, np.float32(-np.inf)).max(1))
            order = np.argsort(~going, axis=1, kind="stable")[:, :width]
            top = np.where(going, top, np.float32(-np.inf))
        scores, origin, symbol, own = top[row, order], origin[row, order], symbol[row, order], own[row, order]
        tokens = np.concatenate([tokens[row, origin], symbol[..., None]], 2)
        parts = np.concatenate([parts[row, origin], own[..., None]], 2)

        stay = ((ended < width) | (scores[:, 0] > surest)) & (scores[:, 0] > -np.inf)
        if not stay.all():
            live, place, tokens, scores, parts = live[stay], place[stay], tokens[stay], scores[stay], parts[stay]
            ended, surest, origin, symbol = ended[stay], surest[stay], origin[stay], symbol[stay]
        if not len(live):
            break
        rows = np.arange(last.size).reshape(last.shape)
        rows[place] = place[:, None] * width + origin
        state = state.reorder(rows.ravel())
        if len(live) <= FEW * len(last):
            state, place, last = state.select(place, width), np.arange(len(live)), symbol
        else:
            last[place] = symbol
    return [[one for _, one in found] for found in done]
