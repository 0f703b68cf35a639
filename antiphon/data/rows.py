"""Files to rows: every format yields the same `Row`, every bad row is reported as `FILE:LINE: reason`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice, zip_longest
from typing import Any, NamedTuple

from antiphon.data.columns import read_table
from antiphon.data.formats import Column, read_items, read_lines, tables_in
from antiphon.data.problems import Problems
from antiphon.errors import DataError


@dataclass(frozen=True, slots=True)
class Row:
    """One example as its sides' codecs read it, and where it stands."""

    sources: tuple[Any, ...]
    target: Any
    file: str
    line: int


@dataclass(frozen=True)
class SideReader:
    """A side of every row: what to call it, its columns, and how to read what stands there.

    `read` takes what stands in the one column (or a list of what stands in several) and the folder of the table;
    its `ValueError` says what is wrong, as the end of a sentence that begins with the side's name.
    """

    name: str
    columns: Column | tuple[Column, ...] | None  # None: nothing is read
    read: Callable[[object, str], Any]
    gathers: bool = False  # of a group of rows, what stands in each; otherwise the one thing that stands in all
    named: bool = True  # whether the user named the columns; otherwise they are the first


class _Entry(NamedTuple):
    """What a row holds for each side that reads anything, before it is read, and where that stands."""

    files: Sequence[str]  # where each value stands
    lines: Sequence[int]  # several if they are a group
    values: Sequence[object]


def read_rows(
    tables: Sequence[str],
    parallel: Sequence[str],
    sides: Sequence[SideReader],
    header: bool,
    problems: Problems,
    group: Column | None = None,
) -> Iterator[Row]:
    """Rows of tables, or of files whose items belong together (one a side that reads anything), in order.

    The last side is the target. With `group` neighbouring rows of a table that have the same in that column are one.
    """
    if parallel:
        entries = _parallel_entries(parallel, problems)
    else:
        reading = [side for side in sides if side.columns is not None]
        paths = (path for table in tables for path in tables_in(table))
        entries = chain.from_iterable(_table_entries(path, reading, header, problems, group) for path in paths)
    for entry in entries:
        row = _read(entry, sides, problems)
        if row is not None:
            yield row


def read_texts(paths: Sequence[str], side: SideReader, problems: Problems) -> Iterator[Row]:
    """Whole files as one row each; every line of them ends with a newline, also the last."""
    for path in paths:
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


def _read(entry: _Entry, sides: Sequence[SideReader], problems: Problems) -> Row | None:
    """The row as all sides read it; a bad one is added to `problems`."""
    values: list[Any] = []
    contents = iter(zip(entry.files, entry.values, strict=True))
    for side in sides:
        file, value = next(contents) if side.columns is not None else (entry.files[0], "")
        folder = _folder_of(file)
        try:
            values.append(side.read(value, folder))
        except ValueError as error:
            line, reason = _bad_member(side, entry.lines, value, folder) or (entry.lines[0], str(error))
            problems.add(file, line, f"the {side.name} {reason}")
            return None
    *sources, target = values
    return Row(tuple(sources), target, entry.files[0], entry.lines[0])


def _bad_member(side: SideReader, lines: Sequence[int], value: object, folder: str) -> tuple[int, str] | None:
    """The line of the first row of a bad group that alone cannot be read either, and why."""
    if len(lines) < 2 or not isinstance(value, list):
        return None
    for line, item in zip(lines, value, strict=False):
        try:
            side.read([item], folder)
        except ValueError as error:
            return line, str(error)
    return None


def _folder_of(file: str) -> str:
    return os.path.dirname(os.path.abspath(file))


def _parallel_entries(files: Sequence[str], problems: Problems) -> Iterator[_Entry]:
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
            yield _Entry(files, [first_line], [value for _, value, _ in items])


def _table_entries(
    path: str, sides: Sequence[SideReader], header: bool, problems: Problems, group: Column | None
) -> Iterator[_Entry]:
    files = [path] * len(sides)
    columns = [column for side in sides for column in _columns_of(side)]
    if group is None:
        for line, values in read_table(path, columns, header, problems, all(side.named for side in sides)):
            yield _Entry(files, [line], _by_side(sides, values))
    else:
        rows = read_table(path, [group, *columns], header, problems)
        for lines, by_side in _groups(path, sides, rows, problems):
            yield _Entry(files, lines, by_side)


def _columns_of(side: SideReader) -> Sequence[Column]:
    if side.columns is None:
        return ()
    return side.columns if isinstance(side.columns, tuple) else (side.columns,)


def _by_side(sides: Sequence[SideReader], values: Iterable[object]) -> list[object]:
    """What stands in each side's column, or a list of what stands in its several columns."""
    rest = iter(values)
    return [list(islice(rest, len(side.columns))) if isinstance(side.columns, tuple) else next(rest) for side in sides]


def _groups(
    path: str, sides: Sequence[SideReader], rows: Iterator[tuple[int, list[object]]], problems: Problems
) -> Iterator[tuple[Sequence[int], Sequence[object]]]:
    """Neighbouring rows with the same first value as one: their lines, and what stands in them for each side."""
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
    """The first line of a group that differs from its first row where all must be the same, and what to say."""
    for side, values in zip(sides, columns, strict=True):
        if side.gathers:
            continue
        for line, value in zip(lines, values, strict=True):
            if value != values[0]:
                return line, f"the {side.name} differs from that of its group, which begins on line {lines[0]}"
    return None
