"""Blocks as they come from workers, in any order and perhaps twice, to complete files."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from antiphon.errors import AntiphonError, DataError, count_of
from antiphon.files import Digesting, make_folder, write_atomically
from antiphon.shards.files import Shard
from antiphon.shards.finished import Entry, Finished, digest

PLAIN_SECONDS = 10.0  # between lines of progress


@dataclass(frozen=True)
class Done:
    """A predicted block: which shard, which of its blocks and whether the last, its rows as they are written, or the
    error of any row; `unread` says why the rows behind it cannot be read, `notes` are warnings about the file."""

    shard: int
    block: int
    last: bool
    header: bytes = b""
    content: bytes = b""
    rows: int = 0
    unknown: int = 0
    error: str | None = None
    unread: str | None = None
    notes: Sequence[str] = ()


def in_order(done: Iterable[Done], shards: int) -> Iterator[Done]:
    """Each block of all shards once, in order, whatever the order of `done`; one that is there twice is taken once.

    A missing block is an `AntiphonError`.
    """
    waiting: dict[tuple[int, int], Done] = {}
    expected = (0, 0)
    for item in done:
        if (item.shard, item.block) >= expected:
            waiting.setdefault((item.shard, item.block), item)
        while (following := waiting.pop(expected, None)) is not None:
            yield following
            expected = (following.shard + 1, 0) if following.last else (following.shard, following.block + 1)
    if expected != (shards, 0) or waiting:
        raise AntiphonError("Ray has lost rows, and nothing of the file that they belong to is written; start again")


@dataclass
class Progress:
    """How far it is, told on standard error."""

    files: int
    file: int = 0
    rows: int = 0
    start: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)

    def add(self, rows: int) -> None:
        """Count rows, and tell now and then."""
        self.rows += rows
        if time.monotonic() - self.told >= PLAIN_SECONDS:
            self.told = time.monotonic()
            print(f"file {self.file:,} of {self.files:,}, {self.rate()}", file=sys.stderr, flush=True)

    def rate(self) -> str:
        """Rows, and rows per second."""
        seconds = max(time.monotonic() - self.start, 1e-9)
        return f"{count_of(self.rows, 'row')}, {self.rows / seconds:,.0f} rows/s"


def write(
    shards: Sequence[Shard], done: Iterable[Done], out: Path, finished: Finished
) -> tuple[list[Entry], list[str]]:
    """Write the file of every shard, each only when it is complete, and note that it is finished.

    Gives the entries of the written files, and the errors of the others: a wrong row in one file does not stop others.
    """
    blocks, progress = in_order(done, len(shards)), Progress(len(shards))
    entries: list[Entry] = []
    errors: list[str] = []
    for number, shard in enumerate(shards, 1):
        progress.file = number
        target = out / shard.name
        make_folder(target.parent)
        lines = _Lines(blocks, progress)
        try:
            write_atomically(target, lines.write)
        except DataError as error:
            errors.append(str(error))
            continue
        entries.append(Entry(shard.name, shard.digest, digest(target), lines.rows, lines.unknown))
        finished.add(entries[-1])
    next(blocks, None)  # so that it comes to its end, where a lost block is an error
    return entries, errors


class _Lines:
    """The blocks of one shard as the content of a file."""

    def __init__(self, blocks: Iterator[Done], progress: Progress) -> None:
        self.blocks, self.progress = blocks, progress
        self.rows = self.unknown = 0

    def write(self, file: Digesting) -> None:
        """Write all; a `DataError` if any block has an error, and then all of them are taken."""
        wrong: str | None = None
        for block in self.blocks:
            for note in block.notes:
                print(f"warning: {note}", file=sys.stderr)
            wrong = wrong or block.error or block.unread
            if wrong is None:
                file.write((b"" if self.rows else block.header) + block.content)
                self.rows, self.unknown = self.rows + block.rows, self.unknown + block.unknown
                self.progress.add(block.rows)
            if block.last:
                break
        if wrong is not None:
            raise DataError(wrong)
