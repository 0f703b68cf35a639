"""The shards of a streamed table: which files they are, how many rows they have, and the reading of one.

A table is streamed if `data.train` is a folder or a pattern, or if `data.shuffle` is set; then its rows are never all
in memory. The long tables of `data.window` are always in memory.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sized
from itertools import chain, islice
from typing import TypeAlias

from antiphon.config.files import Files, InMemory, Parallel, file_of
from antiphon.config.schema import Config
from antiphon.data.formats import count_records, is_pattern, tables_in
from antiphon.data.problems import Problems
from antiphon.data.rows import Row, SideReader, read_rows
from antiphon.errors import DataError

Shard: TypeAlias = str | Parallel | InMemory
EDGE = 1 << 16  # bytes at the beginning and at the end of a shard that tell it from another of the same size
WINDOW = 100_000  # rows of a shuffle window, unless configured
SAMPLE = 100_000  # rows that settings and vocabularies are chosen by, unless configured


def is_streamed(config: Config) -> bool:
    """Whether the training rows are streamed. One long text is not, since it is a value of its own; nor is a long
    table, since windows are cut from all rows of a group."""
    if config.sources[0].kind == "long_text" or config.data.window is not None:
        return False
    train = config.data.train
    return config.data.shuffle is not None or (isinstance(train, str) and (is_pattern(train) or os.path.isdir(train)))


def window_of(config: Config) -> int:
    """Rows that are shuffled together."""
    return config.data.shuffle or WINDOW


def sample_of(config: Config) -> int:
    """Rows of the sample."""
    return config.data.sample if isinstance(config.data.sample, int) else SAMPLE


def shards_of(files: Files) -> list[Shard]:
    """The shards in the order of their names; files that are not there are a `DataError`."""
    if isinstance(files, Parallel | InMemory):
        return [files]
    return list(chain.from_iterable(map(tables_in, [files] if isinstance(files, str) else files)))


def read_shard(config: Config, sides: list[SideReader], shard: Shard, problems: Problems) -> Iterator[Row]:
    """The rows of a shard, in order; bad ones are added to `problems`, a damaged file is a `DataError`."""
    data = config.data
    tables = [] if isinstance(shard, Parallel) else [shard]
    parallel = [shard.source, shard.target] if isinstance(shard, Parallel) else []
    return read_rows(tables, parallel, sides, data.header, problems, data.group, data.separator)


def read_sample(config: Config, sides: list[SideReader], problems: Problems) -> Iterator[Row]:
    """The first rows of every shard, as many of each, `data.sample` rows in all."""
    shards = shards_of(config.data.train)
    each = -(-sample_of(config) // len(shards))
    for shard in shards:
        yield from islice(read_shard(config, sides, shard, problems), each)


def count_rows(config: Config, sides: list[SideReader]) -> int:
    """About how many rows all shards have; exactly, but for blank lines, headers and bad rows."""
    if config.data.group is not None:  # several lines are a row
        return sum(_length(read_shard(config, sides, shard, Problems(True))) for shard in shards_of(config.data.train))
    return sum(map(_count, shards_of(config.data.train)))


def _count(shard: Shard) -> int:
    if isinstance(shard, InMemory):
        rows = getattr(shard.records, "rows", shard.records)
        return len(rows) if isinstance(rows, Sized) else _length(shard.records or ())
    path = shard.source if isinstance(shard, Parallel) else shard
    try:
        status = os.stat(file_of(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    return _count_once(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(4096)
def _count_once(path: str, size: int, changed: int) -> int:
    return count_records(path)


def _length(rows: Iterable[object]) -> int:
    return sum(1 for _ in rows)


def digests(shards: Iterable[Shard]) -> dict[str, str]:
    """What tells each shard from another: its size, and a digest of its first and last bytes, by the file's name;
    files of one name in several folders are also numbered, so that none stands for another."""
    files = list(
        chain.from_iterable(
            [shard.source, shard.target] if isinstance(shard, Parallel) else [shard]
            for shard in shards
            if not isinstance(shard, InMemory)
        )
    )
    names = [os.path.basename(file) for file in files]
    counts = Counter(names)
    numbered = [f"{name} (file {number})" if counts[name] > 1 else name for number, name in enumerate(names, 1)]
    return {f"the shard {name}": _digest(file_of(file)) for name, file in zip(numbered, files, strict=True)}


def _digest(path: str) -> str:
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            content = file.read(EDGE)
            file.seek(max(len(content), size - EDGE))
            content += file.read(EDGE)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    return f"{size:,} bytes with the digest {hashlib.blake2b(content, digest_size=16).hexdigest()}"
