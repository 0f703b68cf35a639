"""Encoded rows, and the order in which training visits them; without PyTorch, for processes that only encode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from antiphon.common.symbols import PAD

Ints = NDArray[np.int64]


class Sequences:
    """Many arrays [steps, ...] in one flat array: for ids 4 bytes per step and 8 bytes per sequence."""

    def __init__(self, sequences: Iterable[Sequence[int] | NDArray[Any]]) -> None:
        each = list(sequences)
        self.lengths: Ints = np.fromiter(map(len, each), dtype=np.int64, count=len(each))
        if any(isinstance(sequence, np.ndarray) for sequence in each):
            self.values = np.concatenate([s if isinstance(s, np.ndarray) else np.asarray(s, np.int32) for s in each])
        else:
            self.values = np.fromiter(chain.from_iterable(each), np.int32, int(self.lengths.sum()))
        self.ends: Ints = np.cumsum(self.lengths, dtype=np.int64)

    @classmethod
    def of(cls, values: NDArray[Any], lengths: Ints) -> Sequences:
        """Sequences of these lengths, one behind the other in `values`."""
        made = cls([])
        made.values, made.lengths = values, lengths
        made.ends = np.cumsum(lengths, dtype=np.int64)
        return made

    def between(self, start: int, end: int) -> Sequences:
        """The sequences from number `start` up to `end`, without a copy."""
        first, last = (0 if place == 0 else int(self.ends[place - 1]) for place in (start, end))
        return Sequences.of(self.values[first:last], self.lengths[start:end])

    @classmethod
    def joined(cls, parts: Sequence[Sequences]) -> Sequences:
        """All sequences of the parts, in order."""
        if not parts:
            return cls([])
        return cls.of(np.concatenate([part.values for part in parts]), np.concatenate([part.lengths for part in parts]))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> NDArray[Any]:
        return self.values[self.ends[row] - self.lengths[row] : self.ends[row]]

    def take(self, rows: Sequence[int] | Ints) -> Sequences:
        """Only these rows, in their order."""
        return Sequences([self[int(row)] for row in rows])

    def padded(self, rows: Sequence[int] | Ints) -> NDArray[Any]:
        """The rows as [len(rows), longest, ...], filled with zeros, which PAD is for ids."""
        lengths = self.lengths[rows]
        dtype = np.dtype(np.int64) if self.values.dtype.kind == "i" else self.values.dtype
        out = np.full((len(rows), int(lengths.max(initial=0)), *self.values.shape[1:]), PAD, dtype=dtype)
        mask = np.arange(out.shape[1]) < lengths[:, None]
        if len(rows):
            out[mask] = np.concatenate([self[int(row)] for row in rows])
        return out


class EncodedInput(NamedTuple):
    """An input as the model reads it: each source's value and array, the prefix of its outputs as ids, and how many
    of its symbols are not in the vocabulary."""

    values: Sequence[Any]
    arrays: list[Any]
    prefix: Sequence[int] = ()
    unknown: int = 0

    @property
    def sources(self) -> list[Sequences]:
        """The arrays as sequences of one row."""
        return [Sequences([array]) for array in self.arrays]


class Guide(NamedTuple):
    """What teachers predict at every step of every target: their most probable symbols and how probable these are.

    Of all rows they are `Sequences` of [steps, symbols], of a batch tensors [B, T, symbols], of N steps [N, symbols].
    """

    ids: Any
    probabilities: Any


@dataclass(frozen=True)
class Examples:
    """Encoded rows: one `Sequences` a source, the targets, and what teachers predict in their place, if there are any.

    With `lanes` they are pieces of one long text that is read in this many places at once: the first `lanes` rows, then
    the next `lanes` rows, and so on.
    """

    sources: tuple[Sequences, ...]
    target: Sequences
    lanes: int | None = None
    guide: Guide | None = None

    def __len__(self) -> int:
        return len(self.target)

    @classmethod
    def empty(cls, sources: int) -> Examples:
        """No rows, with so many sources."""
        return cls(tuple(Sequences([]) for _ in range(sources)), Sequences([]))

    def between(self, start: int, end: int) -> Examples:
        """The rows from number `start` up to `end`, without a copy."""
        return Examples(tuple(source.between(start, end) for source in self.sources), self.target.between(start, end))

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        """The rows of all parts, which have rows and no guide, in order."""
        sources = zip(*(part.sources for part in parts), strict=True)
        return cls(tuple(map(Sequences.joined, sources)), Sequences.joined([part.target for part in parts]))

    @property
    def source_lengths(self) -> Ints:
        """Steps of all sources of every row together."""
        total: Ints = np.sum([source.lengths for source in self.sources], axis=0, dtype=np.int64)
        return total


def only(examples: Examples, rows: Sequence[int]) -> Examples:
    """These of the examples, without a guide."""
    return Examples(tuple(source.take(rows) for source in examples.sources), examples.target.take(rows))


def in_lanes(examples: Examples, begin: int, lanes: int, steps: int) -> Examples:
    """Long texts as one, divided into `lanes` of equal length and cut into pieces of `steps` symbols, for truncated
    back-propagation through time. A piece's source is the symbol before each of its symbols; `begin` is the very first.

    The rest at the end, fewer symbols than lanes, is left out.
    """
    ids = examples.target.values
    length = len(ids) // lanes
    before = np.concatenate([np.asarray([begin], ids.dtype), ids[:-1]])
    sources, targets = (side[: lanes * length].reshape(lanes, length) for side in (before, ids))
    places = [(lane, start) for start in range(0, length, steps) for lane in range(lanes)]
    cut = (Sequences(side[lane, start : start + steps] for lane, start in places) for side in (sources, targets))
    return Examples((next(cut),), next(cut), lanes)


def cut_long(examples: Examples, least: int, most: int) -> Examples:
    """Long texts cut into at most `most` rows each, of at least `least` symbols, so that they are read side by side."""
    rows = [
        piece
        for row in range(len(examples))
        for piece in np.array_split(examples.target[row], max(1, min(most, len(examples.target[row]) // least)))
    ]
    cut = Sequences(rows)
    return Examples((cut,), cut)


def epoch_batches(
    examples: Examples, batch_size: int, batch_tokens: int | None, seed: int, epoch: int, window: int | None = None
) -> list[Ints]:
    """Row numbers of every batch of an epoch, or of a `window` of a streamed epoch: a pure function of its arguments.

    Pieces of a long text are visited in their order. Other rows are shuffled, sorted by length within pools of 100
    batches (by the target's, then by the source's, up and down in turn, so that neighbours are alike), cut, and the
    batches shuffled.
    With `batch_tokens` a batch has as many rows as fit, counting padded source and target tokens.
    """
    if examples.lanes is not None:
        return [np.arange(first, first + examples.lanes) for first in range(0, len(examples), examples.lanes)]
    order = np.random.default_rng([seed, epoch] if window is None else [seed, epoch, window])
    rows = order.permutation(len(examples))
    sources, targets = examples.source_lengths, examples.target.lengths
    mean = float(np.mean(sources + targets)) if len(examples) else 1.0
    pool = 100 * (batch_size if batch_tokens is None else max(1, int(batch_tokens / mean)))
    batches: list[Ints] = []
    for start in range(0, len(rows), pool):
        part = rows[start : start + pool]
        turned = np.where(targets[part] % 2, -sources[part], sources[part])
        part = part[np.lexsort((turned, targets[part]))]
        batches.extend(_cut(part, sources, targets, batch_size, batch_tokens))
    return [batches[i] for i in order.permutation(len(batches))]


def _cut(rows: Ints, sources: Ints, targets: Ints, batch_size: int, batch_tokens: int | None) -> Iterator[Ints]:
    if batch_tokens is None:
        yield from (rows[i : i + batch_size] for i in range(0, len(rows), batch_size))
        return
    start = 0
    longest_source = longest_target = 0
    for end in range(len(rows)):
        source = max(longest_source, int(sources[rows[end]]))
        target = max(longest_target, int(targets[rows[end]]))
        if end > start and (source + target) * (end - start + 1) > batch_tokens:
            yield rows[start:end]
            start = end
            source, target = int(sources[rows[end]]), int(targets[rows[end]])
        longest_source, longest_target = source, target
    if start < len(rows):
        yield rows[start:]
