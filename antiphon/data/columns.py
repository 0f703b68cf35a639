"""From records to the content of their columns, and what may be wrong with a table's columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal

from antiphon.config.files import LOST, InMemory
from antiphon.data.formats import (
    ENDINGS,
    FORMATS,
    KEYED,
    Column,
    Layout,
    Numbered,
    Record,
    position_of,
    sniffed,
    suffix_of,
)
from antiphon.data.problems import Problems, place
from antiphon.errors import DataError

COMMENTS = (";;", "# ", "## ", "//", "%%")
SEPARATORS = {
    ";": "semicolons?",
    "\t": "tabs? Such a table ends in .tsv",
    ",": "commas? Such a table ends in .csv",
    "|": "bars? Replace them by tabs",
    "  ": "blanks? A pronunciation lexicon is read if its name ends in .dict; other columns need tabs",
}


def read_table(
    path: str,
    columns: Sequence[Column],
    header: bool,
    problems: Problems,
    named: bool = True,
    separator: str | None = None,
    fills: Collection[Column] = (),
) -> Iterator[tuple[int, list[object]]]:
    """The content of the columns `columns` of every record of a table, with its line.

    Cells of the columns in `fills` may be null, as in Parquet and JSON; an empty text is judged by who reads it. If the
    columns are not `named` by the user but are simply the first, there must be no others. `separator` is what
    separates the columns of a text, by default what the ending says; for .csv a look at the first lines decides.
    """
    suffix = suffix_of(path)
    if suffix not in FORMATS:
        raise DataError(f"{path}: unknown kind of file {suffix!r}; tables end in {ENDINGS} (text with .gz too)")
    names_columns = header or any(isinstance(column, str) for column in columns)
    if suffix == ".csv" and separator is None and (separator := sniffed(path)) != ",":
        problems.notes.append(
            f"{path}: read with {separator!r} between columns; --set data.separator=, reads it otherwise"
        )
    records = FORMATS[suffix](path, Layout(columns, names_columns, separator))
    has_header = names_columns and suffix not in KEYED
    if suffix not in KEYED:
        records = _without_blank_lines(path, records, problems)
    selected, nullable = list(columns), [column in fills for column in columns]
    for number, (line, record, reason) in enumerate(records):
        first = number == 0
        if record is None:
            if first and has_header:
                raise DataError(f"{path}:{line}: the header is {reason}")
            problems.add(path, line, reason)
        elif not named and len(record) > len(columns) and not isinstance(record, Mapping):  # its fields have names
            if first:
                raise DataError(f"{path}:{line}: {_which_columns(record, len(columns), headed=suffix not in KEYED)}")
            hint = _separator_hint(list(record))
            problems.add(path, line, f"has {len(record)} columns, but {len(columns)} are needed{hint}")
        elif first and has_header:
            names = [str(name) for name in record]
            selected = [position_of(column, names, f"{path}:{line}") for column in columns]
        else:
            try:
                values = [_value(record, *cell) for cell in zip(selected, nullable, strict=True)]
            except ValueError as error:
                problems.add(path, line, str(error))
            else:
                yield line, values


def read_memory(
    rows: InMemory,
    columns: Sequence[Column],
    problems: Problems,
    named: bool = True,
    fills: Collection[Column] = (),
    spells: Collection[Column] = (),
) -> Iterator[tuple[int, list[object]]]:
    """As `read_table`, of rows in memory; their number takes the place of the line.

    Cells of the columns in `fills` may be missing; those of the columns in `spells` are read as text, so numbers with a
    fraction in them are bad rows.
    """
    if rows.records is None:
        about = rows.about.removesuffix(LOST)
        raise DataError(f"the configured rows were in memory and cannot be read again ({about}); give the data")
    names = rows.names
    if not rows.records:
        return
    if names is None and any(isinstance(column, str) for column in columns):
        raise DataError(f"{rows}: have no names of columns; give positions from 0, or rows that are dicts")
    selected = [position_of(column, names or (), str(rows), "in these rows") for column in columns]
    for number, record in enumerate(rows.records, 1):
        if not named and len(record) > len(columns):
            raise DataError(f"{place(str(rows), number)}: {_which_columns(record, len(columns), names)}")
        values = []
        for column, position in zip(columns, map(int, selected), strict=True):
            try:
                values.append(_checked(_cell(record, position), column in fills, column in spells))
            except ValueError as error:
                name = names[position] if names and position < len(names) else column
                problems.add(str(rows), number, str(error), name)
                break
        else:
            yield number, values


def _checked(value: object, fills: bool, spells: bool) -> object:
    """A cell of a row in memory, unless it is missing or of a type that files cannot have."""
    if value is None and not fills:
        raise ValueError("has no value (None or NaN)")
    if isinstance(value, float) and spells:
        kinds = "vector for a source, number or label for a target"
        raise ValueError(f"is the number {value:g}, but text is read; name the kind: {kinds}; or make the column text")
    if isinstance(value, date | time | timedelta | Decimal):
        kind = type(value).__name__
        raise ValueError(f"is of the type {kind}; make it a text first, as it should be read")  # noqa: TRY004
    return value


def _without_blank_lines(path: str, records: Numbered, problems: Problems) -> Numbered:
    """The records that are not blank lines. Blank lines between two records may be a mistake, which is noted."""
    begun = False
    since_last: list[int] = []  # blank lines after the last record
    between, first_between = 0, 0
    for line, record, reason in records:
        if record is not None and not len(record):
            if begun:
                since_last.append(line)
            continue
        if since_last:
            between += len(since_last)
            first_between = first_between or since_last[0]
            since_last.clear()
        begun = True
        yield line, record, reason
    if between:
        lines = f"{between:,} blank lines" if between > 1 else "a blank line"
        problems.notes.append(
            f"{path}:{first_between}: {lines} between rows left out; if they separate sequences, one step per row, "
            "name a column that is the same in all rows of a sequence in data.group, or write a sequence on one line: "
            "its words, a tab, its labels; if each line is a token and a blank line ends a sentence: name it .conll"
        )


def _value(record: Record, column: Column, nullable: bool) -> object:
    """The content of a column, None only where it may be; a `ValueError` says why there is none."""
    value = _field(record, column) if isinstance(record, Mapping) else _cell(record, column)
    if value is None and not nullable:
        raise ValueError(f"column {column!r} is null")
    return value


def _field(record: Mapping[str, object], column: Column) -> object:
    fields = ", ".join(map(str, record))
    if not isinstance(column, str):
        raise ValueError(f"name source.column and target.column: the object has the fields {fields}")  # noqa: TRY004
    if column not in record:
        raise ValueError(f"no field {column!r}: the object has {fields[:200]}")
    return record[column]


def _cell(record: Sequence[object], column: Column) -> object:
    if not isinstance(column, int):
        raise ValueError(f"no field {column!r}: this row is a list; columns are positions from 0")  # noqa: TRY004
    if not -len(record) <= column < len(record):
        raise ValueError(f"column {column} is missing: {_width(record)}")
    return record[column]


def _width(record: Sequence[object]) -> str:
    """How many columns a row has, and what may be the reason that it has only one."""
    if len(record) != 1:
        return f"the row has {len(record)} columns, counted from 0"
    if str(record[0]).startswith(COMMENTS):
        return "the row has only column 0; is it a comment? Take such lines out"
    return f"the row has only column 0{_separator_hint(record)}"


def _separator_hint(record: Sequence[object]) -> str:
    """A hint which other character may separate the columns of a row, as the end of a message; empty without one."""
    text = str(record[0])
    return next((f"; are the columns separated by {advice}" for mark, advice in SEPARATORS.items() if mark in text), "")


def _which_columns(
    record: Sequence[object], count: int, names: Sequence[str] | None = None, headed: bool = True
) -> str:
    """The message that asks which of a table's columns are meant; `names` are those of rows in memory, and a file may
    be `headed` by names."""
    shown = [repr(str(value)[:20]) for value in record]
    listed = ", ".join(f"{place} {value}" for place, value in enumerate(shown[:12])) + (", ..." if shown[12:] else "")
    sides = "--set source.column=0" + (" --set target.column=1" if count > 1 else "")
    if names is not None:
        columns = ", ".join(map(repr, names[:12])) + (", ..." if names[12:] else "")
        sides = f"source={names[0]!r}" + (f", target={names[-1]!r}" if count > 1 else "")
        return f"has {len(record)} columns, but {count} are needed; name them, as in {sides}; the columns are {columns}"
    by_name = ", or by name if the first line is a header" if headed else ""
    return (
        f"has {len(record)} columns, but {count} are needed; name them by position, as in {sides}{by_name}. "
        f"The first row has {listed}"
    )
