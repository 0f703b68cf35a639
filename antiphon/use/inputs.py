"""What `predict` reads of a file: one input per line, or the source columns of a table such as training reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, BinaryIO

from antiphon.config.schema import Config
from antiphon.data.codecs.labels import CategoryCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.formats import KEYED, read_lines, suffix_of
from antiphon.data.load import Codecs, sides_of
from antiphon.data.problems import Problems
from antiphon.data.rows import SideReader, read_rows
from antiphon.errors import DataError

LINES = (".tsv", ".txt", "")  # files that may be a table or one input per line
Input = tuple[int, Any]  # the line it stands on, and what it is


def read_file(path: str, config: Config, codecs: Codecs) -> Iterator[Input]:
    """The inputs of a file: of a table its source columns, answers beside them are not read; else its lines."""
    suffix = suffix_of(path)
    if suffix in (".csv", ".npz", ".npy", *KEYED) or (suffix in LINES and _is_table(path, config, codecs)):
        return _of_table(path, config, codecs)
    return lines_of(path, codecs)


def lines_of(name: str, codecs: Codecs, stream: BinaryIO | None = None) -> Iterator[Input]:
    """The lines of a file, or of an open stream called `name`; a line with more fields than sources is refused."""
    needed = sum(codec.reads for codec in codecs.sources)
    plain = all(isinstance(codec, TextCodec | CategoryCodec) for codec in codecs.sources)  # JSON may hold tabs
    for number, line, reason in read_lines(name, stream):
        if line is None:
            raise DataError(f"{name}:{number}: {reason}")
        count = line.count("\t") + 1
        if plain and needed and count > needed:
            raise DataError(
                f"{name}:{number}: has {count} fields, and the model reads {needed}: give its sources alone "
                f"(cut -f1 takes the first field), or a table as FILE"
            )
        yield number, line


def _is_table(path: str, config: Config, codecs: Codecs) -> bool:
    """Whether the first line that is not empty has more fields than the model has sources, or names its column."""
    needed = sum(codec.reads for codec in codecs.sources)
    places = [side.column for side in config.sources if side.column is not None]
    for _, line, _ in islice(read_lines(path), 100):
        if line:
            fields = line.split("\t")
            return len(fields) > needed or any(isinstance(place, str) and place in fields for place in places)
    return False


def _of_table(path: str, config: Config, codecs: Codecs) -> Iterator[Input]:
    *sources, target = sides_of(config, codecs)
    named = [column for side in (*config.sources, config.target) for column in (side.column, *(side.columns or ()))]
    header = config.data.header or any(isinstance(column, str) for column in named)
    sides = [replace(side, named=True) for side in sources]
    problems = Problems()
    nothing = SideReader(target.name, None, lambda value, folder: "")
    for row in read_rows([path], [], [*sides, nothing], header, problems, config.data.group):
        if problems.first:
            break
        values = [value for codec, value in zip(codecs.sources, row.sources, strict=True) if codec.reads]
        yield row.line, values[0] if len(values) == 1 else tuple(values)
    problems.raise_any()
