"""A streamed table before the first update: its sample, its vocabularies, and the stream of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, overload

from antiphon.config.schema import Config
from antiphon.data.encoded import Examples
from antiphon.data.encoded_table import EncodedTable, is_encoded
from antiphon.data.load import Codecs, learned_codecs, load_parts, rank_of, sides_of, train_codecs, untrained
from antiphon.data.problems import Problems
from antiphon.data.rows import Row
from antiphon.data.shards import count_rows, is_streamed, read_shard, shards_of, window_of
from antiphon.data.stream import Chunk, Placed, Position, Shards, Stream, Tables, dealt, in_turn, reader_of
from antiphon.data.workers import can_work, default_workers, windows_ahead, working
from antiphon.errors import ConfigError


def check_streamed(config: Config) -> None:
    """Refuse what needs all rows in memory, if the table is streamed."""
    if not is_streamed(config):
        if config.data.shuffle is not None:
            raise ConfigError("data.shuffle", "one long text is read from its beginning to its end; leave it out")
        if config.data.sample is not None or config.data.workers is not None:
            key = "data.sample" if config.data.sample is not None else "data.workers"
            raise ConfigError(key, "is for a streamed table: a folder or a pattern in data.train, or set data.shuffle")
        return
    advice = "name its files in a list in data.train, without data.shuffle"
    reason = f"needs all rows in memory, and this table is streamed; {advice}"
    for key, used in (("data.hallucinate", config.data.hallucinate), ("train.teachers", config.train.teachers)):
        if used:
            raise ConfigError(key, reason)


def held_of(config: Config, rows: Sequence[Row]) -> frozenset[bytes]:
    """The digests of the inputs of validation rows that were drawn from the sample."""
    if isinstance(config.data.valid, float | None):
        reading = untrained(config)
        return frozenset(rank_of(reading.key_of(row), config.train.seed) for row in rows)
    return frozenset()


class EveryValue(Sequence[Any]):
    """The values of a side in all rows of all shards, read anew each time they are iterated."""

    def __init__(self, config: Config, place: int, held: frozenset[bytes], problems: Problems) -> None:
        self.config, self.place, self.held, self.problems = config, place, held, problems

    def __iter__(self) -> Iterator[Any]:
        reading, met = untrained(self.config), Problems(self.problems.skip)
        for shard in shards_of(self.config.data.train):
            for row in read_shard(self.config, sides_of(self.config, reading), shard, met):
                if not self.held or rank_of(reading.key_of(row), self.config.train.seed) not in self.held:
                    yield (*row.sources, row.target)[self.place]
        self.problems.first, self.problems.reasons = met.first, met.reasons

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @overload
    def __getitem__(self, number: int) -> Any: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Any]: ...
    def __getitem__(self, number: int | slice) -> Any:
        if number != 0:
            raise IndexError("only the first value is known without reading all")
        return next(iter(self))


def codecs_of(config: Config, rows: Sequence[Row], valid_rows: Sequence[Row]) -> Codecs:
    """The codecs of all sides, learned from training `rows`: of a streamed table its sample, or all rows as configured;
    then bad rows in any shard are errors, unless they are skipped."""
    if not is_streamed(config) or config.data.sample != "all":
        return train_codecs(config, rows)
    met = Problems(config.data.on_error == "skip")
    held = held_of(config, valid_rows)
    learned = learned_codecs(config, lambda place: EveryValue(config, place, held, met))
    met.raise_any()
    return learned


def rows_of_shards(config: Config) -> int:
    """About how many rows a streamed table has, those of the validation too if they are drawn from it."""
    if is_encoded(config.data.train):
        return int(EncodedTable.open(str(config.data.train)).about["counted"])
    return count_rows(config, sides_of(config, untrained(config)))


def workers_of(config: Config, tables: Tables) -> int:
    """How many processes read tables ahead; none if only this process can read them."""
    workers = default_workers() if config.data.workers is None else config.data.workers
    return workers if can_work(tables) else 0


@contextmanager
def every_chunk(config: Config, shards: Shards) -> Iterator[Iterator[tuple[int, Chunk | None]]]:
    """Within it, every chunk of all shards, in the order of the shards, with the number of its shard; None when a shard
    has ended."""
    own, at = dealt(len(shards), None, 0), Position()
    workers = workers_of(config, shards) if isinstance(shards, Tables) else 0
    if workers and isinstance(shards, Tables):
        with working(shards, workers, None, at) as (readers, _):
            yield _with_ends(readers(0, at), own)
    else:
        yield _with_ends({reader: reader_of(shards, part, (0, 0)) for reader, part in enumerate(own)}, own)


def _with_ends(
    readers: Mapping[int, Iterator[Placed]], own: Sequence[Sequence[int]]
) -> Iterator[tuple[int, Chunk | None]]:
    ended = dict.fromkeys(readers, 0)  # for each reader, the shards that it has read to their ends
    for reader, placed in in_turn(readers, 0):
        number = len(own[reader]) if placed is None else placed[0]
        yield from ((shard, None) for shard in own[reader][ended[reader] : number])
        ended[reader] = number
        if placed is not None:
            yield own[reader][number], placed[1]


def encoded_table(config: Config) -> EncodedTable | None:
    """The encoded table that `data.train` names, if it is one and the configuration is that of its rows."""
    if not is_encoded(config.data.train):
        return None
    table = EncodedTable.open(str(config.data.train))
    table.refuse_changed(config.model_dump(mode="json", by_alias=True), whole=True)
    return table


def sample_of_encoded(config: Config) -> list[Row]:
    """The rows of the sample of an encoded table, those that validate too, in the order in which they were read."""
    table = EncodedTable.open(str(config.data.train))
    drawn = table.read_rows("valid") if isinstance(config.data.valid, float | None) else []
    return sorted([*table.read_rows("sample"), *drawn], key=lambda row: (row.file, row.line))


def rows_of_parts(config: Config, codecs: Codecs) -> tuple[Sequence[Row], Sequence[Row]]:
    """Training and validation rows, as configured, of an encoded table too; of a streamed one the sample's."""
    if is_encoded(config.data.train):
        table = EncodedTable.open(str(config.data.train))
        return table.read_rows("sample"), table.read_rows("valid")
    return load_parts(config, codecs)


def stream_of(
    config: Config, codecs: Codecs, rows: Sequence[Row], valid_rows: Sequence[Row], sample: Examples
) -> Stream | None:
    """The stream of a streamed table; `rows` are the training rows of its sample, `sample` is these encoded. None for
    rows in memory."""
    if not is_streamed(config):
        return None
    held = held_of(config, valid_rows)
    tables = Tables(config, codecs, shards_of(config.data.train), held)
    share = len(rows) / (len(rows) + len(valid_rows)) if held else 1.0
    count = int(share * rows_of_shards(config))
    workers = workers_of(config, tables)
    ahead = partial(windows_ahead, tables, workers) if workers else None
    return Stream(tables, config.train.seed, window_of(config), count, sample, config.data.on_error == "skip", ahead)


def stream_of_encoded(config: Config, table: EncodedTable, sample: Examples) -> Stream:
    """The stream of an encoded table."""
    return Stream(table, config.train.seed, window_of(config), table.about["rows"], sample)
