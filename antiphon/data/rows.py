"""Files to rows: every format yields the same `Row`, every bad row is reported as `FILE:LINE: reason`."""

from __future__ import annotations

import csv
import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count, groupby, islice, zip_longest
from pathlib import Path
from typing import IO, Any, TypeAlias
from zipfile import BadZipFile, is_zipfile

import numpy as np
from numpy.typing import NDArray

from antiphon.data.conllu import FIELDS, sentences
from antiphon.errors import DataError, nearest

NOT_UTF8 = "not UTF-8 text"
BROKEN = (OSError, EOFError, zlib.error)  # what reading a damaged file raises
UTF16 = (b"\xff\xfe", b"\xfe\xff")
LONGEST_LINE = 16 << 20  # bytes; a longer line is no text, and must not fill the memory

Record: TypeAlias = Sequence[object] | Mapping[str, object]
Column: TypeAlias = int | str
Numbered: TypeAlias = Iterator[tuple[int, Record | None, str]]
"""Of each record its line, itself (empty for a blank line), and if it is None the reason."""


@dataclass(frozen=True, slots=True)
class Row:
    """One example as its sides' codecs read it, and where it stands."""

    sources: tuple[Any, ...]
    target: Any
    file: str
    line: int


@dataclass(frozen=True)
class Side:
    """A side of every row: what to call it, its columns, and how to read what stands there.

    `read` takes what stands in the one column (or a list of what stands in several) and the folder of the table;
    its `ValueError` says what is wrong, as the end of a sentence that begins with the side's name.
    """

    name: str
    columns: Column | tuple[Column, ...] | None  # None: nothing is read
    read: Callable[[object, str], Any]
    gathers: bool = False  # of a group of rows, what stands in each; otherwise the one thing that stands in all
    named: bool = True  # whether the user named the columns; otherwise they are the first


@dataclass
class Problems:
    """Bad rows met while reading: kept until the end, so that a user sees them all at once."""

    skip: bool = False
    first: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)  # what is no error, and may be a mistake
    hint: str = ""  # what may help with all of them

    SHOWN = 10

    def add(self, file: str, line: int, reason: str) -> None:
        """Note a bad row."""
        if len(self.first) < self.SHOWN:
            self.first.append(f"{file}:{line}: {reason}")
        self.reasons[reason.partition(":")[0]] += 1

    def summary(self) -> str:
        """The first bad rows, and the count by reason if there are more."""
        total = self.reasons.total()
        lines = list(self.first)
        if total > len(lines):
            counts = "; ".join(f"{count} x {reason}" for reason, count in self.reasons.most_common())
            lines.append(f"... {total} bad rows in all: {counts}")
        return "\n".join([*lines, self.hint] if self.hint else lines)

    def raise_any(self) -> None:
        """Raise what was met, unless bad rows are skipped."""
        if self.first and not self.skip:
            hint = "\n(data.on_error: skip goes on without them)" if self.reasons.total() > 1 else ""
            raise DataError(self.summary() + hint)


def open_bytes(path: str) -> IO[bytes]:
    """The file at `path`, decompressed if its name ends in .gz."""
    try:
        if Path(path).is_dir():
            raise DataError(f"{path}: is a folder; name a file")
        return gzip.open(path) if path.endswith(".gz") else open(path, "rb")  # type: ignore[return-value]
    except (OSError, ValueError) as error:  # the latter: a NUL in the name
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_lines(path: str, stream: IO[bytes] | None = None) -> Iterator[tuple[int, str | None, str]]:
    """Numbered lines of a UTF-8 file, or of an open stream called `path`; a bad line is None, with the reason.

    Only a newline ends a line; a carriage return before it and a byte order mark are stripped.
    """
    with open_bytes(path) if stream is None else nullcontext(stream) as file:
        try:
            for number in count(1):
                line = file.readline(LONGEST_LINE + 1)
                if not line:
                    return
                if number == 1:
                    if line.startswith(UTF16):
                        raise DataError(f"{path}: is UTF-16 text; convert it to UTF-8")
                    if line.count(b"\r") > 1 and b"\n" not in line:
                        raise DataError(f"{path}: its lines end in carriage returns; convert them to newlines")
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if len(line) > LONGEST_LINE:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(LONGEST_LINE)
                    yield number, None, f"longer than {LONGEST_LINE >> 20} MiB"
                    continue
                try:
                    yield number, line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8"), ""
                except UnicodeDecodeError:
                    yield number, None, NOT_UTF8
        except BROKEN as error:
            raise DataError(f"{path}: is damaged: {error}") from None


def _tsv(path: str, _: Sequence[Column]) -> Numbered:
    for number, line, reason in read_lines(path):
        if line is None:
            yield number, None, reason
        else:
            yield number, line.split("\t") if line else [], ""


def _csv(path: str, _: Sequence[Column]) -> Numbered:
    bad: list[tuple[int, str]] = []

    def texts() -> Iterator[str]:
        for number, line, reason in read_lines(path):
            if line is None:
                bad.append((number, reason))
            yield f"{line or ''}\n"

    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader(texts(), strict=True)
    while True:
        first = reader.line_num + 1  # a quoted field may span lines
        try:
            record = next(reader, None)
        except csv.Error as error:
            if reader.line_num > first:  # all that follows the quote would be lost
                raise DataError(f"{path}:{first}: not CSV: a quote is opened and not closed: {error}") from None
            yield first, None, f"not CSV: {error}"
            continue
        if bad:
            number, reason = bad[0]
            bad.clear()
            yield number, None, reason
        elif record is None:
            return
        else:
            yield first, record, ""


def _jsonl(path: str, _: Sequence[Column]) -> Numbered:
    for number, line, reason in read_lines(path):
        if line is None:
            yield number, None, reason
        elif line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, None, f"not JSON: {error}"
                continue
            if isinstance(value, dict | list):
                yield number, value, ""
            else:
                yield number, None, "not a JSON object or list"


def _conllu(path: str, _: Sequence[Column]) -> Numbered:
    """Sentences of CoNLL-U, each a record of its words' fields; the line is its first word's."""
    for sentence in sentences(read_lines(path)):
        record = None if sentence.wrong else {name: sentence.field(name) for name in FIELDS}
        yield sentence.line, record, sentence.wrong


def _parquet(path: str, columns: Sequence[Column]) -> Numbered:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DataError(f"{path}: reading Parquet needs the extra: pip install 'antiphon[parquet]'") from None
    try:
        with ParquetFile(path) as file:
            names = file.schema_arrow.names
            for column in columns:
                if not isinstance(column, str):
                    raise DataError(f"{path}: name source.column and target.column; it has {', '.join(names)}")
                _position(column, names, path)
            numbers = count(1)
            for batch in file.iter_batches(batch_size=64, columns=list(columns)):  # a row may be large
                for record in batch.to_pylist():
                    yield next(numbers), record, ""
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{path}: is not Parquet: {str(error).splitlines()[0]}") from None


def load_array(path: str) -> NDArray[Any]:
    """The array of plain values in `file.npy`, or in `file.npz#array`; anything else is a `DataError`."""
    file, _, name = path.partition("#")
    try:
        if file.endswith(".npz") and Path(file).is_file() and not is_zipfile(file):
            raise DataError(f"{file}: is no .npz file, or a damaged one")
        with closing_any(np.load(file, allow_pickle=False)) as arrays:
            if isinstance(arrays, np.ndarray):
                return arrays
            if not name:
                raise DataError(f"{file}: name one of its arrays, as in {file}#{next(iter(arrays.files), 'array')}")
            if name not in arrays.files:
                raise DataError(f"{file}: no array {name!r}; {nearest(name, arrays.files)}")
            array = arrays[name]
            if not isinstance(array, np.ndarray):
                raise DataError(f"{path}: is not an array")
            return array
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise DataError(f"{path}: is larger than the memory") from None
    except (ValueError, TypeError, EOFError, BadZipFile, zlib.error, RuntimeError, SyntaxError) as error:
        raise DataError(f"{path}: is not an array of plain values: {str(error).splitlines()[0]}") from None


def closing_any(opened: Any) -> Any:
    """A context that closes what has to be closed."""
    return opened if hasattr(opened, "__exit__") else nullcontext(opened)


def _array(path: str, _: Sequence[Column]) -> Numbered:
    """Rows of an array, [rows, columns] or [rows]."""
    array = load_array(path)
    if array.ndim not in (1, 2) or array.dtype.kind not in "Uiufb":
        raise DataError(
            f"{path}: must be texts or numbers in rows and columns, but is {array.dtype} {list(array.shape)}; "
            "give it as one side of data.train: {source: FILE.npz#x, target: FILE.npz#y}"
        )
    for number, record in enumerate(array, 1):
        try:
            yield (
                number,
                [value.item() if value.dtype.kind != "U" else str(value) for value in np.atleast_1d(record)],
                "",
            )
        except (SystemError, ValueError):
            yield number, None, "holds what is no character"


def _items(path: str) -> Iterator[tuple[int, object, str]]:
    """Numbered items of a side that is a file of its own: lines of a text, or what an array holds."""
    if suffix_of(path) not in (".npz", ".npy"):
        yield from read_lines(path)
        return
    array = load_array(path)
    if not array.ndim or array.dtype.kind not in "Uiufb":
        raise DataError(f"{path}: must hold one item a row, but is {array.dtype} {list(array.shape)}")
    for number, item in enumerate(array, 1):
        try:
            yield number, str(item) if array.dtype.kind == "U" and array.ndim == 1 else item, ""
        except (SystemError, ValueError):
            yield number, None, "holds what is no character"


FORMATS: dict[str, Callable[[str, Sequence[Column]], Numbered]] = {
    ".tsv": _tsv,
    ".txt": _tsv,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".conllu": _conllu,
    ".parquet": _parquet,
    ".npz": _array,
    ".npy": _array,
}
KEYED = (".jsonl", ".ndjson", ".conllu", ".parquet")  # records with names of their own, so no header
ENDINGS = ", ".join(FORMATS)


def suffix_of(path: str) -> str:
    """The ending of a file's name that says its format, without .gz."""
    file, inside, _ = path.partition(".npz#")
    return ".npz" if inside else Path(file.removesuffix(".gz")).suffix.lower()


def is_table(path: str) -> bool:
    """Whether the name of a file, or of an array in one, says that it holds a table of rows."""
    return suffix_of(path) in FORMATS


def tables_in(path: str) -> list[str]:
    """The tables of a folder, in the order of their names; a file alone."""
    if not Path(path).is_dir():
        return [path]
    found = sorted(
        str(file)
        for file in Path(path).iterdir()
        if is_table(file.name) and file.is_file() and not file.name.startswith((".", "~"))  # other programs' own
    )
    if not found:
        raise DataError(f"{path}: is a folder without tables ({ENDINGS}, text with .gz too)")
    return found


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


def _position(column: Column, names: Sequence[str], where: str) -> Column:
    if isinstance(column, int):
        return column
    if names.count(column) > 1:
        raise DataError(f"{where}: the header names the column {column!r} more than once")
    if column not in names:
        hint = f"; it is the position {column} if written without quotes" if column.isdigit() else ""
        raise DataError(f"{where}: no column {column!r} in the header; {nearest(column, names)}{hint}")
    return names.index(column)


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


def read_rows(
    tables: Sequence[str],
    parallel: Sequence[str],
    sides: Sequence[Side],
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


def _member(side: Side, lines: Sequence[int], value: object, folder: str) -> tuple[int, str] | None:
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
    path: str, sides: Sequence[Side], header: bool, problems: Problems, group: Column | None
) -> Iterator[tuple[Sequence[int], list[object]]]:
    """What stands in each side's column, or a list of what stands in its several columns; and the lines."""
    flat = [column for side in sides for column in _as_tuple(side.columns)]
    if group is not None:
        yield from _grouped(path, sides, read_table(path, [group, *flat], header, problems), problems)
        return
    for line, values in read_table(path, flat, header, problems, all(side.named for side in sides)):
        yield [line], _by_side(sides, values)


def _by_side(sides: Sequence[Side], values: Iterable[object]) -> list[object]:
    given = iter(values)
    return [
        list(islice(given, len(side.columns))) if isinstance(side.columns, tuple) else next(given) for side in sides
    ]


def _grouped(
    path: str, sides: Sequence[Side], rows: Iterator[tuple[int, list[object]]], problems: Problems
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


def read_texts(paths: Sequence[str], side: Side, problems: Problems) -> Iterator[Row]:
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
