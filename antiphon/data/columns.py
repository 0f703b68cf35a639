"""Records to what stands in the wanted columns, and what may be wrong with a table's columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from antiphon.data.formats import ENDINGS, FORMATS, KEYED, Column, Record, _position, suffix_of
from antiphon.data.problems import Problems
from antiphon.errors import DataError


def read_table(
    path: str, columns: Sequence[Column], header: bool, problems: Problems, named: bool = True
) -> Iterator[tuple[int, list[object]]]:
    """What stands in the wanted columns of every record of a table, with its line.

    If the columns are not `named`, but taken because they are the first, there must be no others.
    """
    suffix = suffix_of(path)
    if suffix not in FORMATS:
        raise DataError(f"{path}: unknown kind of file {suffix!r}; tables end in {ENDINGS} (text with .gz too)")
    keyed = suffix in KEYED
    wanted = list(columns)
    first = not keyed and (header or any(isinstance(column, str) for column in columns))
    seen, blank = False, Blank(path)
    for line, record, reason in FORMATS[suffix](path, columns):
        if record is not None and not len(record) and not keyed:
            blank.add(line)
            continue
        blank.end(seen)
        if not (named or keyed or record is None) and len(record) > len(columns):
            if not seen:
                raise DataError(f"{path}:{line}: {_which(record, len(columns))}")
            problems.add(path, line, f"has {len(record)} columns, and {len(columns)} are read{_other_mark(record)}")
            continue
        seen = True
        if record is None:
            if first:
                raise DataError(f"{path}:{line}: the header is {reason}")
            problems.add(path, line, reason)
            continue
        if first:
            first = False
            names = [str(name) for name in record]
            wanted = [_position(column, names, f"{path}:{line}") for column in columns]
            continue
        values: list[object] = []
        for column in wanted:
            value, reason = _value(record, column)
            if reason:
                problems.add(path, line, reason)
                break
            values.append(value)
        else:
            yield line, values
    problems.notes += blank.told()


@dataclass
class Blank:
    """Blank lines between the rows of a table, which are left out; those at its ends say nothing."""

    path: str
    lines: list[int] = field(default_factory=list)
    between: int = 0
    first: int = 0

    def add(self, line: int) -> None:
        self.lines.append(line)

    def end(self, after: bool) -> None:
        """A row follows, `after` others."""
        if after and self.lines:
            self.first = self.first or self.lines[0]
            self.between += len(self.lines)
        self.lines.clear()

    def told(self) -> list[str]:
        if not self.between:
            return []
        lines = f"{self.between:,} blank lines" if self.between > 1 else "a blank line"
        advice = (
            "if they separate sequences, a step a row, name a column that is the same in all rows of a sequence in "
            "data.group, or write a sequence on one line: its words, a tab, its labels"
        )
        return [f"{self.path}:{self.first}: {lines} between rows left out; {advice}"]


def _which(record: Record, wanted: int) -> str:
    """Ask which of a table's columns are meant."""
    shown = [repr(str(value)[:20]) for value in record]
    listed = ", ".join(f"{place} {value}" for place, value in enumerate(shown[:12])) + (", ..." if shown[12:] else "")
    sides = "--set source.column=0" + (" --set target.column=1" if wanted > 1 else "")
    return (
        f"has {len(record)} columns, and {wanted} are read: which? Name them by position or, where the first line has "
        f"their names, by name, as in {sides} (or in a configuration). The first row has {listed}"
    )


def _value(record: Record, column: Column) -> tuple[object, str]:
    """What stands in a column, or a reason why nothing does."""
    if isinstance(record, Mapping):
        if not isinstance(column, str):
            return (
                None,
                f"name source.column and target.column: the object has the fields {', '.join(map(str, record))}",
            )
        if column not in record:
            return None, f"no field {column!r}: the object has {', '.join(map(str, record))[:200]}"
        value = record[column]
    else:
        if not isinstance(column, int):
            return None, f"no field {column!r}: this row is a list; columns are positions from 0"
        if not -len(record) <= column < len(record):
            return None, f"column {column} is missing: {_columns(record)}"
        value = record[column]
    return (None, f"column {column!r} is null") if value is None else (value, "")


COMMENTS = (";;", "# ", "## ", "//", "%%")
SEPARATORS = {
    ";": "a semicolon what separates them?",
    "\t": "a tab what separates them? Such a table ends in .tsv",
    ",": "a comma what separates them? Such a table ends in .csv",
    "|": "a bar what separates them? Put tabs in their place",
    "  ": "it blanks that separate them? A tab must: sed '/^;;;/d; s/([0-9]*)  /  /; s/   */\\t/' FILE > FILE.tsv",
}


def _columns(record: Sequence[object]) -> str:
    """How many columns a row has, and what may be the reason that it has one."""
    if len(record) != 1:
        return f"the row has {len(record)} columns, counted from 0"
    if str(record[0]).startswith(COMMENTS):
        return "the row has only column 0; is it a comment? Take such lines out"
    return f"the row has only column 0{_other_mark(record)}"


def _other_mark(record: Record) -> str:
    """What may separate the columns of a row in place of what does in its kind of file."""
    text = str(record[0])  # type: ignore[index]
    return next((f"; is {advice}" for mark, advice in SEPARATORS.items() if mark in text), "")
