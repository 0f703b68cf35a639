"""Lanes: how a beam divides a source's prefixes. All together, in groups that differ, or by the phrases in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from antiphon.common.symbols import EOS
from antiphon.decoding.step import largest

MOST_PHRASES = 8  # the machine that follows phrases has a state for every set of them


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

    def extend(self, ranks: Tensor, ranked: Tensor, prefixes: Tensor) -> Extensions:
        """The extensions that the lanes look at: twice as many as they are wide; where there are fewer, at least as
        many.

        `ranks` [n, R] of the `prefixes` [n, R, length], those of a lane side by side; `ranked` [n, R, symbols], what
        each symbol adds.
        """


def best_extensions(ranks: Tensor, ranked: Tensor) -> Extensions:
    """The best extensions of one lane, ranks [n, width] and ranked [n, width, symbols]: [n, 1, 2 * width]."""
    width, symbols = ranked.shape[1:]
    # the 2 * width best of a lane are among the 2 * width best of each of its prefixes
    near = min(2 * width, symbols)
    best, symbol = (x.view(-1, width, near) for x in largest(ranked.flatten(0, 1), near))
    top, place = (ranks[..., None] + best).flatten(1).topk(min(2 * width, width * near), -1)
    extensions = Extensions(top, place // near, symbol.flatten(1).gather(1, place))
    return Extensions(*(values[:, None] for values in extensions))


class Together:
    """All prefixes of a source in one lane: a beam as it is commonly meant."""

    count = 1
    shared = False

    def extend(self, ranks: Tensor, ranked: Tensor, prefixes: Tensor) -> Extensions:
        return best_extensions(ranks, ranked)


class Diverse:
    """Diverse beam search (Vijayakumar et al. 2016, arXiv 1610.02424, Hamming diversity).

    The lanes choose one after the other: what a lane chooses from at a step is log p less `strength` times how often
    the lanes before it have chosen the same symbol at this step. This moves the choice of a step alone: neither score
    nor rank score holds it.
    """

    shared = False

    def __init__(self, groups: int, strength: float) -> None:
        self.count, self.strength = groups, strength

    def extend(self, ranks: Tensor, ranked: Tensor, prefixes: Tensor) -> Extensions:
        symbols = ranked.shape[2]
        lanes: list[Extensions] = []
        chosen = ranked.new_zeros(len(ranked), symbols)
        for lane_ranks, lane_ranked in zip(ranks.chunk(self.count, 1), ranked.chunk(self.count, 1), strict=True):
            width, start = lane_ranked.shape[1], lane_ranked.shape[1] * len(lanes)
            top, origin, symbol = (
                x[:, 0] for x in best_extensions(lane_ranks, lane_ranked - self.strength * chosen[:, None])
            )
            plain = lane_ranks.gather(1, origin) + lane_ranked.flatten(1).gather(1, origin * symbols + symbol)
            chosen = chosen.scatter_add(1, symbol[:, :width], (top[:, :width] > -torch.inf).to(chosen.dtype))
            lanes.append(Extensions(plain, origin + start, symbol))
        return Extensions(*(torch.stack(values, 1) for values in zip(*lanes, strict=True)))


class Phrases:
    """Grid beam search (Hokamp & Liu 2017, arXiv 1704.07138): every output holds all of these phrases, in any order.

    A lane holds the prefixes with the same number of symbols of the phrases: those of the phrases in a prefix, and
    those of one more phrase of which it ends with a prefix. So less probable prefixes with more of them are not lost.
    As a rule it forbids the end before all phrases are complete, as lanes it gives each number of symbols its own beam.

    `phrases` are ids of symbols below `symbols`. A machine follows each prefix; its states are the phrases in it and
    the longest end of it that is a prefix of a phrase (Aho & Corasick 1975).
    """

    shared = True

    def __init__(self, phrases: Sequence[Sequence[int]], symbols: int) -> None:
        self.phrases = list(dict.fromkeys(map(tuple, phrases)))
        if not 1 <= len(self.phrases) <= MOST_PHRASES or not all(self.phrases):
            raise ValueError(
                f"must be 1 to {MOST_PHRASES} phrases of at least one symbol each (are {len(self.phrases)})"
            )
        self.count = 1 + sum(map(len, self.phrases))
        letters = sorted({symbol for phrase in self.phrases for symbol in phrase})
        self.letter = torch.zeros(symbols, dtype=torch.long)  # the letter of each symbol; 0 if it is in no phrase
        self.letter[letters] = torch.arange(1, len(letters) + 1)
        numbers: dict[tuple[tuple[int, ...], frozenset[tuple[int, ...]]], int] = {((), frozenset()): 0}
        states = list(numbers)
        after: list[list[int]] = []
        for end, met in states:  # a list that grows in the loop
            after.append([])
            for letter in (-1, *letters):
                extended = (*end, letter)
                now = met | {phrase for phrase in self.phrases if extended[-len(phrase) :] == phrase}
                state = (self._longest_prefix(extended, self.phrases), now)
                if state not in numbers:
                    numbers[state] = len(states)
                    states.append(state)
                after[-1].append(numbers[state])
        self.after = torch.tensor(after)  # [states, letters]
        self.progress = torch.tensor([self._progress(*state) for state in states])

    @staticmethod
    def _longest_prefix(ids: tuple[int, ...], phrases: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """The longest end of `ids` that is a prefix of one of the phrases."""
        ends = (ids[start:] for start in range(len(ids) + 1))
        return next(end for end in ends if not end or any(phrase[: len(end)] == end for phrase in phrases))

    def _progress(self, end: tuple[int, ...], met: frozenset[tuple[int, ...]]) -> int:
        missing = [phrase for phrase in self.phrases if phrase not in met]
        return sum(map(len, met)) + len(self._longest_prefix(end, missing))

    def _states(self, prefixes: Tensor) -> Tensor:
        """The machine's states [R] after prefixes [R, length]."""
        state = prefixes.new_zeros(len(prefixes))
        for letter in self._letters(prefixes).unbind(1):
            state = self.after.to(prefixes.device)[state, letter]
        return state

    def _letters(self, symbols: Tensor) -> Tensor:
        """The letters of symbols [...]; symbols that only a source has are in no phrase."""
        known = symbols < len(self.letter)
        return self.letter.to(symbols.device)[symbols.where(known, 0)].where(known, 0)

    def __call__(self, ranked: Tensor, prefixes: Tensor, sources: Tensor) -> Tensor:
        lacking = self.progress.to(prefixes.device)[self._states(prefixes)] < self.count - 1
        ranked[:, EOS] = ranked[:, EOS].masked_fill(lacking, -torch.inf)
        return ranked

    def extend(self, ranks: Tensor, ranked: Tensor, prefixes: Tensor) -> Extensions:
        sources, rows, symbols = ranked.shape
        after = self.after.to(prefixes.device)[self._states(prefixes.flatten(0, 1))]
        letters = self._letters(torch.arange(symbols, device=prefixes.device))
        lane = self.progress.to(prefixes.device)[after][:, letters].view(sources, -1)
        total = (ranks[..., None] + ranked).flatten(1)
        size = min(2 * (rows // self.count), rows * symbols)
        best = [total.masked_fill(lane != number, -torch.inf).topk(size, 1) for number in range(self.count)]
        top, place = (torch.stack(values, 1) for values in zip(*best, strict=True))
        return Extensions(top, place // symbols, place % symbols)
