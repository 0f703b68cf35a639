"""Files to rows: every format yields the same `Row`, every bad row is reported as `FILE:LINE: reason`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, zip_longest
from typing import Any

from antiphon.data.columns import read_table
from antiphon.data.formats import Column, _items, read_lines, tables_in
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
    reading = [side for side in sides if side.columns is not None]
    if parallel:
        numbered: Iterator[tuple[tuple[str, ...], Sequence[int], list[object]]] = (
            (tuple(parallel), (line,), values) for line, values in _parallel(parallel, problems)
        )
    else:
        numbered = (
            ((path,) * len(reading), lines, values)
            for table in tables
            for path in tables_in(table)
            for lines, values in _table_values(path, reading, header, problems, group)
        )
    for files, lines, found in numbered:
        values: list[Any] = []
        given = iter(zip(files, found, strict=True))
        for side in sides:
            file, value = next(given) if side.columns is not None else (files[0], "")
            folder = os.path.dirname(os.path.abspath(file))
            try:
                values.append(side.read(value, folder))
            except ValueError as error:
                line, reason = _member(side, lines, value, folder) or (lines[0], str(error))
                problems.add(file, line, f"the {side.name} {reason}")
                break
        else:
            yield Row(tuple(values[:-1]), values[-1], files[0], lines[0])


def _member(side: SideReader, lines: Sequence[int], value: object, folder: str) -> tuple[int, str] | None:
    """Of a group that cannot be read the line of the first row that alone cannot be read either, and why."""
    if len(lines) < 2 or not isinstance(value, list):
        return None
    for line, item in zip(lines, value, strict=False):
        try:
            side.read([item], folder)
        except ValueError as error:
            return line, str(error)
    return None


def _table_values(
    path: str, sides: Sequence[SideReader], header: bool, problems: Problems, group: Column | None
) -> Iterator[tuple[Sequence[int], list[object]]]:
    """What stands in each side's column, or a list of what stands in its several columns; and the lines."""
    flat = [column for side in sides for column in _as_tuple(side.columns)]
    if group is not None:
        yield from _grouped(path, sides, read_table(path, [group, *flat], header, problems), problems)
        return
    for line, values in read_table(path, flat, header, problems, all(side.named for side in sides)):
        yield [line], _by_side(sides, values)


def _by_side(sides: Sequence[SideReader], values: Iterable[object]) -> list[object]:
    given = iter(values)
    return [
        list(islice(given, len(side.columns))) if isinstance(side.columns, tuple) else next(given) for side in sides
    ]


def _grouped(
    path: str, sides: Sequence[SideReader], rows: Iterator[tuple[int, list[object]]], problems: Problems
) -> Iterator[tuple[Sequence[int], list[object]]]:
    """Neighbouring rows with the same first value as one, and their lines."""
    begun: dict[str, int] = {}
    for name, members in groupby(rows, key=lambda row: str(row[1][0])):
        lines, found = zip(*((line, _by_side(sides, values)) for line, (_, *values) in members), strict=True)
        if begun.setdefault(name, lines[0]) != lines[0]:
            reason = f"the rows of a group must stand together: {name!r} began on line {begun[name]}; sort the table"
            problems.add(path, lines[0], reason)
            continue
        values: list[object] = []
        for side, column in zip(sides, zip(*found, strict=True), strict=True):
            other = next((line for line, value in zip(lines, column, strict=True) if value != column[0]), None)
            if not side.gathers and other is not None:
                problems.add(path, other, f"the {side.name} is not that of its group, which begins on line {lines[0]}")
                break
            values.append(list(column) if side.gathers else column[0])
        else:
            yield lines, values


def _as_tuple(columns: Column | tuple[Column, ...] | None) -> tuple[Column, ...]:
    return () if columns is None else columns if isinstance(columns, tuple) else (columns,)


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
            yield Row((side.read("".join(lines), os.path.dirname(os.path.abspath(path))),), "", path, 1)
        except ValueError as error:
            problems.add(path, 1, f"the {side.name} {error}")


def _parallel(files: Sequence[str], problems: Problems) -> Iterator[tuple[int, list[object]]]:
    for items in zip_longest(*map(_items, files)):
        if None in items:
            longer = next(file for file, item in zip(files, items, strict=True) if item is not None)
            shorter = next(file for file, item in zip(files, items, strict=True) if item is None)
            line = next(item[0] for item in items if item is not None)
            raise DataError(f"{longer}:{line}: has more lines than {shorter}; parallel files need equal numbers")
        for file, (number, value, reason) in zip(files, items, strict=True):
            if value is None:
                problems.add(file, number, reason)
                break
        else:
            yield items[0][0], [value for _, value, _ in items]
