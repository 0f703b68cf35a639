"""A file as blocks of rows, which workers predict one by one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from antiphon.config.schema import Config
from antiphon.data.formats import suffix_of
from antiphon.data.load import Codecs
from antiphon.errors import DataError
from antiphon.use.inputs import TABLES, cells_of, lines_of, source_names, with_fields

ROWS = 4096  # rows of a block: as many as `predict` holds at once, so that batches are the same
BYTES = 16 << 20  # of the content of a block, about
PICTURES = ("image", "images")  # kinds whose inputs may be names of files, which other machines do not have

Row: TypeAlias = tuple[int, Any, Sequence[Any]]
"""The line of an input, the input, and what stands in the columns of its sources."""


@dataclass(frozen=True)
class Reading:
    """How a model reads files; an exported one has no configuration, so it reads an input a line. `copies` says whether
    it copies unknown symbols."""

    codecs: Codecs
    config: Config | None = None
    copies: bool = False

    @property
    def names(self) -> list[str]:
        """What the columns of the sources are called."""
        if self.config is not None:
            return source_names(self.config, self.codecs)
        return [name for name, codec in self.codecs.named.items() if codec.reads and codec is not self.codecs.target]

    def rows(self, path: str) -> Iterator[Row]:
        """The inputs of a file, as `predict` reads them; what is wrong is a `DataError`."""
        for line, value, cells in self._rows(path):
            try:
                yield line, self._with_pictures(value), cells
            except ValueError as error:
                raise DataError(f"{path}:{line}: the input {error}") from None

    def _rows(self, path: str) -> Iterator[Row]:
        if self.config is not None:
            yield from cells_of(path, self.config, self.codecs)
        elif suffix_of(path) in TABLES:
            reason = "is a table, and an exported model does not know which columns it reads"
            raise DataError(f"{path}: {reason}; name the folder that it was exported from, or give one input a line")
        else:
            yield from with_fields(lines_of(path, self.codecs), self.codecs)

    def _with_pictures(self, value: Any) -> Any:
        """An input whose pictures are read."""
        codecs = [codec for codec in self.codecs.sources if codec.reads]
        if not any(codec.kind in PICTURES for codec in codecs) or (isinstance(value, str) and not value):
            return value
        parts = [value] if len(codecs) == 1 else value.split("\t") if isinstance(value, str) else value
        if len(parts) != len(codecs):
            return value  # the worker says what is wrong
        pairs = zip(codecs, parts, strict=True)
        read = tuple(codec.read_input(part) if codec.kind in PICTURES else part for codec, part in pairs)
        return read[0] if len(read) == 1 else read


@dataclass(frozen=True)
class Piece:
    """Rows that stand one behind the other in a file: the number of the first, from 0, and whether the file ends with
    them. `unread` says why what is behind them cannot be read; `notes` are warnings about the file."""

    first: int
    rows: Sequence[Row]
    last: bool
    unread: str | None = None
    notes: Sequence[str] = ()


def pieces(reading: Reading, path: str, most: int = ROWS, size: int = BYTES) -> Iterator[Piece]:
    """A file in pieces of at most `most` rows and about `size` bytes, in order; also an empty file has one.

    A wrong row ends it. What stands before is still predicted, because an earlier row may be wrong in another way.
    """
    first, rows, held = 0, list[Row](), 0
    unread: str | None = None
    with _noted() as notes:
        try:
            for row in reading.rows(path):
                if len(rows) == most or held >= size:
                    yield Piece(first, rows, last=False)
                    first, rows, held = first + len(rows), [], 0
                rows.append(row)
                held += _size(row[1])
        except DataError as error:
            unread = str(error)
    yield Piece(first, rows, last=True, unread=unread, notes=tuple(notes))


@contextmanager
def _noted() -> Iterator[list[str]]:
    """Within it, warnings of this package become texts in a list: in a worker nobody sees them."""
    notes: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: notes.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("antiphon")
    logger.addHandler(handler)
    try:
        yield notes
    finally:
        logger.removeHandler(handler)


def _size(value: Any) -> int:
    """About how many bytes an input has."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    return len(value) if isinstance(value, str | bytes) else 8
