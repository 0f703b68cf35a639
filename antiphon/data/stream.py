"""A streamed table: encoded windows of its rows, in an order that depends on the seed, the epoch and the shards alone.

The shards of an epoch, in a random order, are dealt to `READERS` readers; each reads its shards one after the other,
and the readers take turns with a chunk of `CHUNK` rows. A window is as many chunks as have `data.shuffle` rows: it has
rows of several shards, is shuffled as a whole, and is all that is in memory. Which processes do the reading changes
nothing, and a training goes on from the `Position` of a window (as in MosaicML's StreamingDataset the order is the same
for any number of processes; the window is the shuffle buffer of others).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import NamedTuple, Protocol

import numpy as np

from antiphon.config.schema import Config
from antiphon.data.encode import encode_some
from antiphon.data.encoded import Examples
from antiphon.data.load import Codecs, copying_of, rank_of, sides_of, tell, untrained
from antiphon.data.problems import Problems
from antiphon.data.shards import Shard, digests, read_shard
from antiphon.errors import DataError

READERS = 8  # shards that are read at the same time, so that a window has rows of several
CHUNK = 500  # rows that a reader gives at a time
SHARDS = 1  # tells the draws of the order of shards from those of rows


class Chunk(NamedTuple):
    """Neighbouring rows of a shard, encoded: how many of its rows are read with them, and which of these are bad."""

    read: int
    examples: Examples
    problems: Problems


class Shards(Protocol):
    """Shards that can be read in chunks, from any row on."""

    def __len__(self) -> int: ...

    def chunks(self, shard: int, skip: int) -> Iterator[Chunk]:
        """The chunks of a shard after its first `skip` rows."""

    def identity(self) -> dict[str, str]:
        """What tells each shard from another, by its name in messages."""


@dataclass(frozen=True)
class Tables:
    """Shards of rows that are read and encoded anew in every epoch. `held` are the digests of the validation inputs,
    drawn from the sample: their rows are left out."""

    config: Config
    codecs: Codecs
    shards: Sequence[Shard]
    held: frozenset[bytes] = frozenset()

    def __len__(self) -> int:
        return len(self.shards)

    def chunks(self, shard: int, skip: int) -> Iterator[Chunk]:
        """As `Shards.chunks`."""
        reading, problems = untrained(self.config), Problems(True)
        rows = read_shard(self.config, sides_of(self.config, reading), self.shards[shard], problems)
        copying, seed = copying_of(self.config, self.codecs), self.config.train.seed
        read = sum(1 for _ in islice(rows, skip))
        problems.take()  # they were met when the rows before were read
        while True:
            part = list(islice(rows, CHUNK))
            kept = [row for row in part if not self.held or rank_of(reading.key_of(row), seed) not in self.held]
            _, examples = encode_some(self.config, self.codecs, kept, copying, problems)
            if not part and not problems.first:
                return
            read += len(part)
            yield Chunk(read, examples, problems.take())

    def identity(self) -> dict[str, str]:
        """As `Shards.identity`."""
        return digests(self.shards)


@dataclass(frozen=True)
class Position:
    """The beginning of a window: its epoch and its number there, the rows of the epoch before it, the reader whose turn
    it is, and for each reader the shard that it reads, of those dealt to it, and how many rows of that are read."""

    epoch: int = 0
    window: int = 0
    rows: int = 0
    turn: int = 0
    places: Sequence[Sequence[int]] = ()

    def place(self, reader: int) -> tuple[int, int]:
        """The shard of a reader and the rows of it that are read."""
        if not self.places:
            return 0, 0
        shard, read = self.places[reader]
        return shard, read


def dealt(shards: int, seed: int | None, epoch: int) -> list[list[int]]:
    """The shards of each reader in an epoch; in their order without a seed."""
    order = list(range(shards))
    if seed is not None:
        order = np.random.default_rng([seed, epoch, SHARDS]).permutation(shards).tolist()
    return [order[reader::READERS] for reader in range(min(READERS, shards))]


Placed = tuple[int, Chunk]  # the shard, of those dealt to the reader, and a chunk of it


def reader_of(shards: Shards, own: Sequence[int], place: tuple[int, int]) -> Iterator[Placed]:
    """The chunks of the shards of a reader, from a place on."""
    for number in range(place[0], len(own)):
        for chunk in shards.chunks(own[number], place[1] if number == place[0] else 0):
            yield number, chunk


def in_turn(readers: Mapping[int, Iterator[Placed]], turn: int) -> Iterator[tuple[int, Placed | None]]:
    """A chunk of each reader in turn, from reader `turn` on; None when a reader has ended.

    Some of the readers alone give the same chunks in the same order, so they may be divided among processes.
    """
    left = sorted(readers, key=lambda reader: (reader < turn, reader))
    while left:
        for reader in list(left):
            placed = next(readers[reader], None)
            if placed is None:
                left.remove(reader)
            yield reader, placed


class Window(NamedTuple):
    """Rows that are shuffled together, and where they begin."""

    position: Position
    examples: Examples


Readers = Callable[[int, Position], Mapping[int, Iterator[Placed]]]
"""The readers of an epoch, which continue at a position."""


@dataclass(frozen=True)
class Stream:
    """The training rows of a streamed table; `rows` of them, about, of which `sample` are some.

    `ahead` gives the windows if other processes read them ahead.
    """

    shards: Shards
    seed: int
    window: int
    rows: int
    sample: Examples
    skip: bool = False  # whether bad rows are left out
    ahead: Callable[[Stream, Position], Iterator[Window]] | None = field(default=None, compare=False)

    def readers(self, epoch: int, at: Position) -> dict[int, Iterator[Placed]]:
        """The readers of an epoch, in this process."""
        own = dealt(len(self.shards), self.seed, epoch)
        return {number: reader_of(self.shards, part, at.place(number)) for number, part in enumerate(own)}

    def visit(self, at: Position) -> Iterator[Window]:
        """Windows without end, epoch after epoch, from a position on; read ahead if that is configured."""
        return self.windows(at) if self.ahead is None else self.ahead(self, at)

    def windows(self, at: Position, readers: Readers | None = None) -> Iterator[Window]:
        """As `visit`, of these readers; windows that have no rows are left out.

        Bad rows, unless they are skipped, and files that cannot be read are a `DataError`.
        """
        for epoch in count(at.epoch):
            rows = at.rows
            for window in self._windows((readers or self.readers)(epoch, at), at):
                rows += len(window.examples)
                yield window
            if not rows:
                raise DataError("data.train: no row of the shards can be read")
            at = Position(epoch + 1)

    def _windows(self, readers: Mapping[int, Iterator[Placed]], at: Position) -> Iterator[Window]:
        """The windows of one epoch, from a position on."""
        places = [at.place(reader) for reader in sorted(readers)]
        parts: list[Examples] = []
        met, rows = Problems(self.skip), 0
        for reader, placed in in_turn(readers, at.turn):
            if placed is None:
                continue
            number, chunk = placed
            places[reader] = number, chunk.read
            met.join(chunk.problems)
            met.raise_any()
            parts += [chunk.examples] if len(chunk.examples) else []
            rows += len(chunk.examples)
            if rows >= self.window:
                _tell(at, met)
                yield Window(at, Examples.joined(parts))
                turn = (reader + 1) % len(places)
                at = Position(at.epoch, at.window + 1, at.rows + rows, turn, [list(place) for place in places])
                parts, met, rows = [], Problems(self.skip), 0
        _tell(at, met)
        if parts:
            yield Window(at, Examples.joined(parts))


def _tell(at: Position, met: Problems) -> None:
    """Log skipped rows, when they are met for the first time."""
    if at.epoch == 0:
        tell(met)
