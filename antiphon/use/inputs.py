"""What `predict` reads of a file: one input per line, or the source columns of a table such as training reads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, BinaryIO

from antiphon.config.files import InMemory
from antiphon.config.schema import Config
from antiphon.data.codecs.labels import CategoryCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.formats import KEYED, Column, is_table, position_of, read_lines, refuse_pipe, suffix_of
from antiphon.data.load import Codecs, sides_of, tell
from antiphon.data.memory import plain, table_of
from antiphon.data.problems import Problems
from antiphon.data.rows import SideReader, read_rows
from antiphon.errors import DataError
from antiphon.use.forecasting import continued_inputs

LOG = logging.getLogger("antiphon")
LINES = (".tsv", ".txt", "")  # files that may be a table or one input per line
TABLES = (".csv", ".conll", ".dict", ".npz", ".npy", *KEYED)  # files that always are
Input = tuple[int, Any]  # the line it stands on, and what it is


def read_file(path: str, config: Config, codecs: Codecs) -> Iterator[Input]:
    """The inputs of a file: of a table its source columns, answers beside them are not read; else its lines."""
    if is_read_as_table(path, config, codecs):
        return ((line, value) for line, value, _ in _of_table(path, config, codecs))
    _warn_of_tokens(path, codecs)
    return lines_of(path, codecs)


def cells_of(path: str, config: Config, codecs: Codecs) -> Iterator[tuple[int, Any, list[Any]]]:
    """As `read_file`, with what stands in the columns of the sources, or in the fields of a line."""
    if is_read_as_table(path, config, codecs):
        yield from _of_table(path, config, codecs)
    else:
        _warn_of_tokens(path, codecs)
        yield from with_fields(lines_of(path, codecs), codecs)


def source_names(config: Config, codecs: Codecs) -> list[str]:
    """The sources that are read, by the names of their columns, or else source, source-2 and so on."""
    sides = zip(codecs.named.items(), config.sources, strict=False)
    return [side.column if isinstance(side.column, str) else name for (name, codec), side in sides if codec.reads]


def with_fields(lines: Iterable[Input], codecs: Codecs) -> Iterator[tuple[int, Any, list[Any]]]:
    """Lines with their fields, one for each source that reads; an empty line has empty ones."""
    count = sum(codec.reads for codec in codecs.sources)
    for number, line in lines:
        fields = [line] if count == 1 else line.split("\t")
        yield number, line, fields if len(fields) == count else [""] * count


def is_read_as_table(path: str, config: Config, codecs: Codecs) -> bool:
    """Whether a file is a table, of which the source columns are read, and not one input per line."""
    refuse_pipe(path)
    suffix = suffix_of(path)
    if config.data.window is not None:
        return suffix != ".txt" and is_table(path)
    return suffix in TABLES or (suffix in LINES and _is_table(path, config, codecs))


def inputs_of(inputs: Iterable[Any], config: Config, codecs: Codecs) -> Iterable[Any]:
    """The inputs in a table or a dict of columns: what its source columns contain; other columns are not read.

    Anything else is a sequence of inputs, in which a dict stands for a row of such a table.
    """
    table = None if isinstance(inputs, list | tuple | str) else table_of(inputs)
    if table is not None:
        return [value for _, value, _ in _of_table(table, config, codecs)]
    return (_of_dict(number, value, config, codecs) for number, value in enumerate(inputs, 1))


def _of_dict(number: int, value: Any, config: Config, codecs: Codecs) -> Any:
    """An input that is a dict as the values of its source columns; any other input as it is."""
    if not isinstance(value, Mapping):
        return value
    names = list(map(str, value))
    parts = []
    for place, (side, codec) in enumerate(zip(config.sources, codecs.sources, strict=True)):
        if codec.reads:
            columns = side.place(place)
            cells = [
                _cell(value, names, column, number) for column in (columns if isinstance(columns, tuple) else [columns])
            ]
            parts.append(cells if isinstance(columns, tuple) else cells[0])
    return parts[0] if len(parts) == 1 else tuple(parts)


def _cell(value: Mapping[Any, Any], names: list[str], column: Column, number: int) -> Any:
    position = position_of(column, names, f"input {number}", "in it")
    assert isinstance(position, int)
    if position >= len(names):
        raise DataError(f"input {number}: has no column {position}; it has {', '.join(names)}")
    return plain(list(value.values())[position])


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
            fields = line.split(config.data.separator or "\t")
            return len(fields) > needed or any(isinstance(place, str) and place in fields for place in places)
    return False


def _warn_of_tokens(path: str, codecs: Codecs) -> None:
    """Warn if a model that labels words is to read a file that looks like one token per line with blank lines."""
    lines = [line.split() for _, line, _ in islice(read_lines(path), 200) if line is not None]
    widths = {len(fields) for fields in lines if fields}
    if codecs.target.kind == "labels" and [] in lines[1:-1] and len(widths) == 1 and widths != {1}:
        LOG.warning(
            "%s: each line is read as an input; if each is a token with its columns, and a blank line ends a sentence, "
            "name it .conll",
            path,
        )


def _of_table(table: str | InMemory, config: Config, codecs: Codecs) -> Iterator[tuple[int, Any, list[Any]]]:
    if config.data.window is not None:
        for value, ahead, parts in continued_inputs(table, config, codecs):
            yield ahead.line, value, parts
        return
    *sources, target = sides_of(config, codecs)
    named = [column for side in (*config.sources, config.target) for column in (side.column, *(side.columns or ()))]
    header = config.data.header or any(isinstance(column, str) for column in named)
    sides = [replace(side, named=True, read=_both(side.read)) for side in sources]
    problems = Problems()
    nothing = SideReader(target.name, None, lambda value, folder: "")
    data = config.data
    for row in read_rows([table], [], [*sides, nothing], header, problems, data.group, data.separator):
        if problems.first:
            break
        pairs = [pair for codec, pair in zip(codecs.sources, row.sources, strict=True) if codec.reads]
        values = [value for _, value in pairs]
        yield row.line, values[0] if len(values) == 1 else tuple(values), [cell for cell, _ in pairs]
    problems.raise_any()
    tell(problems)


def _both(read: Callable[[object, str], Any]) -> Callable[[object, str], tuple[object, Any]]:
    """A reader that also gives what it has read."""
    return lambda content, folder: (content, read(content, folder))
