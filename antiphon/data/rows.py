"""Files to rows: every format yields the same `Row`, every bad row is reported as `FILE:LINE: reason`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice, zip_longest
from typing import Any, NamedTuple

import numpy as np

from antiphon.common.text import LINE_END
from antiphon.config.files import MEMORY, InMemory
from antiphon.data.columns import read_memory, read_table
from antiphon.data.formats import Column, Layout, read_items, read_lines, refuse_pipe, tables_in
from antiphon.data.problems import Problems
from antiphon.errors import DataError


@dataclass(frozen=True, slots=True)
class Row:
    """One example as its sides' codecs read it, with its file and line."""

    sources: tuple[Any, ...]
    target: Any
    file: str
    line: int


@dataclass(frozen=True)
class SideReader:
    """A side of every row: its name, its columns, and how to read their content.

    `read` takes the content of the column (or a list of the contents of several) and the folder of the table;
    its `ValueError` says what is wrong, as the end of a sentence that begins with the side's name.
    """

    name: str
    columns: Column | tuple[Column, ...] | None  # None: nothing is read
    read: Callable[[object, str], Any]
    gathers: bool = False  # whether it gets the contents of all rows of a group, or else the one that they share
    named: bool = True  # whether the user named the columns; otherwise they are the first
    fills: bool = False  # whether cells may be missing, since the codec fills them
    spells: bool = False  # whether it reads text, so that a number with a fraction is probably a mistake


class _Entry(NamedTuple):
    """The content of a row for each side that has columns, before it is read, with files and lines."""

    files: Sequence[str]  # the file of each value
    folders: Sequence[str]  # and the folder of that file
    lines: Sequence[int]  # several for a group
    values: Sequence[object]
    names: Sequence[str] | None = None  # of the columns of rows in memory


def read_rows(
    tables: Sequence[str | InMemory],
    parallel: Sequence[str],
    sides: Sequence[SideReader],
    header: bool,
    problems: Problems,
    group: Column | None = None,
    separator: str | None = None,
) -> Iterator[Row]:
    """Rows of tables, or of parallel files (one for each side that has columns), in order.

    The last side is the target. With `group` neighbouring rows of a table with the same value in that column are one.
    `separator` is what separates the columns of a text, if it is not what the ending of its name says.
    """
    if parallel:
        entries = _parallel_entries(parallel, problems)
    else:
        reading = [side for side in sides if side.columns is not None]
        entries = chain.from_iterable(
            _table_entries(table, reading, Layout(header=header, separator=separator), problems, group)
            for table in chain.from_iterable(map(_each_table, tables))
        )
    for entry in entries:
        row = _read(entry, sides, problems)
        if row is not None:
            yield row


def _each_table(table: str | InMemory) -> Sequence[str | InMemory]:
    return [table] if isinstance(table, InMemory) else tables_in(table)


def read_texts(paths: Sequence[str | InMemory], side: SideReader, problems: Problems) -> Iterator[Row]:
    """Whole files as one row each, or of rows in memory each; every line of them ends with a newline, also the last."""
    for path in paths:
        if isinstance(path, InMemory):
            yield from _texts_in_memory(path, side, problems)
            continue
        refuse_pipe(path)
        lines = []
        for number, line, reason in read_lines(path):
            if line is None:
                problems.add(path, number, reason)
            else:
                lines.append(f"{line}\n")
        try:
            yield Row((side.read("".join(lines), _folder_of(path)),), "", path, 1)
        except ValueError as error:
            problems.add(path, 1, f"the {side.name} {error}")


def _column_name(side: SideReader, names: Sequence[str] | None) -> Column | None:
    """The column of a side as messages name it; None if it has several."""
    if isinstance(side.columns, int) and names is not None:
        return names[side.columns]
    return None if isinstance(side.columns, tuple) else side.columns


def _texts_in_memory(rows: InMemory, side: SideReader, problems: Problems) -> Iterator[Row]:
    for number, (text,) in read_memory(rows, _columns_of(side), problems, side.named):
        try:
            yield Row((side.read(f"{str(text).removesuffix(LINE_END)}{LINE_END}", ""),), "", str(rows), number)
        except ValueError as error:
            problems.add(str(rows), number, f"the {side.name} {error}")


def _read(entry: _Entry, sides: Sequence[SideReader], problems: Problems) -> Row | None:
    """The row as all sides read it; a bad one is added to `problems`."""
    values: list[Any] = []
    contents = iter(zip(entry.files, entry.folders, entry.values, strict=True))
    for side in sides:
        file, folder, value = next(contents) if side.columns is not None else (entry.files[0], entry.folders[0], "")
        try:
            values.append(side.read(value, folder))
        except ValueError as error:
            line, reason = _bad_member(side, entry.lines, value, folder) or (entry.lines[0], str(error))
            problems.add(file, line, f"the {side.name} {reason}", _column_name(side, entry.names))
            return None
    *sources, target = values
    return Row(tuple(sources), target, entry.files[0], entry.lines[0])


def _bad_member(side: SideReader, lines: Sequence[int], value: object, folder: str) -> tuple[int, str] | None:
    """The line of the first row of a bad group that cannot be read alone either, and why."""
    if len(lines) < 2 or not isinstance(value, list):
        return None
    for line, item in zip(lines, value, strict=False):
        try:
            side.read([item], folder)
        except ValueError as error:
            return line, str(error)
    return None


def _folder_of(file: str) -> str:
    """The folder of a table; none for rows in memory, whose paths are taken as they are."""
    return "" if file.startswith(MEMORY) else os.path.dirname(os.path.abspath(file))


def _parallel_entries(files: Sequence[str], problems: Problems) -> Iterator[_Entry]:
    folders = list(map(_folder_of, files))
    for items in zip_longest(*map(read_items, files)):
        if None in items:
            longer, line = next((file, item[0]) for file, item in zip(files, items, strict=True) if item is not None)
            shorter = next(file for file, item in zip(files, items, strict=True) if item is None)
            raise DataError(f"{longer}:{line}: has more lines than {shorter}; parallel files need equal numbers")
        for file, (number, value, reason) in zip(files, items, strict=True):
            if value is None:
                problems.add(file, number, reason)
                break
        else:
            first_line, _, _ = items[0]
            yield _Entry(files, folders, [first_line], [value for _, value, _ in items])


def _table_entries(
    table: str | InMemory, sides: Sequence[SideReader], layout: Layout, problems: Problems, group: Column | None
) -> Iterator[_Entry]:
    path, files = str(table), [str(table)] * len(sides)
    folders = [_folder_of(path)] * len(sides)
    columns = [column for side in sides for column in _columns_of(side)]
    named = group is not None or all(side.named for side in sides)
    columns = columns if group is None else [group, *columns]
    names = table.names if isinstance(table, InMemory) else None
    fills = [column for side in sides if side.fills for column in _columns_of(side)]
    if isinstance(table, InMemory):
        spells = [column for side in sides if side.spells for column in _columns_of(side)]
        rows = read_memory(table, columns, problems, named, fills, spells)
    else:
        rows = read_table(table, columns, layout.header, problems, named, layout.separator, fills)
    if group is None:
        for line, values in rows:
            yield _Entry(files, folders, [line], _by_side(sides, values), names)
    else:
        for lines, by_side in _groups(path, sides, rows, problems):
            yield _Entry(files, folders, lines, by_side, names)


def _columns_of(side: SideReader) -> Sequence[Column]:
    if side.columns is None:
        return ()
    return side.columns if isinstance(side.columns, tuple) else (side.columns,)


def _by_side(sides: Sequence[SideReader], values: Iterable[object]) -> list[object]:
    """The content of each side's column, or a list of the contents of its several columns."""
    rest = iter(values)
    return [list(islice(rest, len(side.columns))) if isinstance(side.columns, tuple) else next(rest) for side in sides]


def _groups(
    path: str, sides: Sequence[SideReader], rows: Iterator[tuple[int, list[object]]], problems: Problems
) -> Iterator[tuple[Sequence[int], Sequence[object]]]:
    """Neighbouring rows with the same first value as one: their lines, and their content for each side."""
    begins: dict[str, int] = {}  # the first line of each group
    for name, members in groupby(rows, key=lambda row: str(row[1][0])):
        lines, contents = zip(*((line, _by_side(sides, values)) for line, (_, *values) in members), strict=True)
        if begins.setdefault(name, lines[0]) != lines[0]:
            reason = f"the rows of a group must stand together: {name!r} began on line {begins[name]}; sort the table"
            problems.add(path, lines[0], reason)
            continue
        columns = list(zip(*contents, strict=True))
        difference = _difference(sides, lines, columns)
        if difference is not None:
            problems.add(path, *difference)
            continue
        yield lines, [list(values) if side.gathers else values[0] for side, values in zip(sides, columns, strict=True)]


def _difference(
    sides: Sequence[SideReader], lines: Sequence[int], columns: Sequence[Sequence[object]]
) -> tuple[int, str] | None:
    """The first line of a group that differs from its first row where all must be the same, and the message."""
    for side, values in zip(sides, columns, strict=True):
        if side.gathers:
            continue
        for line, value in zip(lines, values, strict=True):
            if not _equal(value, values[0]):
                return line, f"the {side.name} differs from that of its group, which begins on line {lines[0]}"
    return None


def _equal(first: object, other: object) -> bool:
    if isinstance(first, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(first, other)
    return bool(first == other)
