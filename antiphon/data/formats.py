"""Files to numbered records: one function for each format, and the reading of lines and arrays."""

from __future__ import annotations

import csv
import glob
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import IO, Any, TypeAlias
from zipfile import BadZipFile, is_zipfile

import numpy as np
from numpy.typing import NDArray

from antiphon.common.numbers import DECIMAL_COMMA
from antiphon.config.files import file_and_array, file_of
from antiphon.data.conllu import FIELDS, sentences
from antiphon.data.lexicons import pronunciations
from antiphon.errors import DataError, nearest

NOT_UTF8 = "not UTF-8 text"
NO_CHARACTER = "holds what is no character"
TEXTS_OR_NUMBERS = "Uiufb"  # kinds of array that are read
BROKEN = (OSError, EOFError, zlib.error)  # what reading a damaged file raises
UTF16 = (b"\xff\xfe", b"\xfe\xff")
BLOCK = 1 << 20  # bytes that are read at once where only lines are counted
LONGEST_LINE = 16 << 20  # bytes; a longer line is not text, and must not fill the memory

Record: TypeAlias = Sequence[object] | Mapping[str, object]
Column: TypeAlias = int | str
Numbered: TypeAlias = Iterator[tuple[int, Record | None, str]]
"""For each record: its line, the record (empty for a blank line, None for a bad one), and the reason if it is None."""

MOST_SNIFFED = 20  # lines


@dataclass(frozen=True)
class Layout:
    """How a table is read: the columns that are needed, whether it has a header, and what separates its columns (None:
    what its ending says)."""

    columns: Sequence[Column] = ()
    header: bool = False
    separator: str | None = None


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
                    line = _checked_first_line(path, line)
                if len(line) > LONGEST_LINE:
                    _skip_rest(file, line)
                    yield number, None, f"longer than {LONGEST_LINE >> 20} MiB"
                    continue
                try:
                    yield number, line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8"), ""
                except UnicodeDecodeError:
                    yield number, None, NOT_UTF8
        except BROKEN as error:
            raise DataError(f"{path}: is damaged: {error}") from None


def _checked_first_line(path: str, line: bytes) -> bytes:
    """The first line without a byte order mark; text that must be converted before is a `DataError`."""
    if line.startswith(UTF16):
        raise DataError(f"{path}: is UTF-16 text; convert it to UTF-8")
    if line.count(b"\r") > 1 and b"\n" not in line:
        raise DataError(f"{path}: its lines end in carriage returns; convert them to newlines")
    return line.removeprefix(b"\xef\xbb\xbf")


def _skip_rest(file: IO[bytes], line: bytes) -> None:
    """Skip the rest of a line that begins with `line`."""
    while line and not line.endswith(b"\n"):
        line = file.readline(LONGEST_LINE)


def _tsv(path: str, layout: Layout) -> Numbered:
    separator = layout.separator or "\t"
    for number, line, reason in read_lines(path):
        if line is None:
            yield number, None, reason
        else:
            yield number, line.split(separator) if line else [], ""


def sniffed(path: str) -> str:
    """What separates the columns of a .csv file: a comma, unless its first lines are a table with another mark alone.

    Where a comma fits too, numbers with decimal commas decide against it.
    """
    lines = [line for _, line, _ in islice(read_lines(path), MOST_SNIFFED) if line]

    def records(separator: str) -> list[list[str]]:
        try:
            read = list(csv.reader(lines, delimiter=separator))
            return read[:-1] if len(lines) == MOST_SNIFFED else read  # the last may continue on a further line
        except csv.Error:  # reported where the table is read
            return []

    def fits(separator: str) -> bool:
        widths = {len(record) for record in records(separator)}
        return len(widths) == 1 and widths != {1}

    def has_decimal_commas(separator: str) -> bool:
        return any(DECIMAL_COMMA.fullmatch(cell) for record in records(separator) for cell in record)

    others = [mark for mark in (";", "\t") if fits(mark) and (not fits(",") or has_decimal_commas(mark))]
    return others[0] if others else ","


def _csv(path: str, layout: Layout) -> Numbered:
    bad_lines: list[tuple[int, str]] = []  # in the record that is being read

    def lines() -> Iterator[str]:
        for number, line, reason in read_lines(path):
            if line is None:
                bad_lines.append((number, reason))
            yield f"{line or ''}\n"

    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader(lines(), strict=True, delimiter=layout.separator or ",")
    while True:
        first = reader.line_num + 1  # a quoted field may span lines
        try:
            record = next(reader, None)
        except csv.Error as error:
            if reader.line_num > first:  # all that follows the quote would be lost
                raise DataError(f"{path}:{first}: not CSV: a quote is opened and not closed: {error}") from None
            yield first, None, f"not CSV: {error}"
            continue
        if bad_lines:
            number, reason = bad_lines[0]
            bad_lines.clear()
            yield number, None, reason
        elif record is None:
            return
        else:
            yield first, record, ""


def _jsonl(path: str, _: Layout) -> Numbered:
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


def _conllu(path: str, _: Layout) -> Numbered:
    """Sentences of CoNLL-U, each a record of its words' fields; the line is its first word's."""
    for sentence in sentences(read_lines(path)):
        record = None if sentence.wrong else {name: sentence.field(name) for name in FIELDS}
        yield sentence.line, record, sentence.wrong


def _conll(path: str, layout: Layout) -> Numbered:
    """Sentences of column files as in CoNLL-2003: one token per line, a blank line between sentences.

    A record has the text of each column, with a blank between tokens; the line is that of the first token.
    """
    header = layout.header
    tokens: list[list[str]] = []
    first, wrong = 0, ""

    def sentence() -> Record | None:
        return None if wrong else [" ".join(cells) for cells in zip(*tokens, strict=True)]

    for number, line, reason in read_lines(path):
        fields = [] if line is None else _fields(line, layout.separator)
        if line is not None and (not fields or fields[0] == "-DOCSTART-"):
            if first:
                yield first, sentence(), wrong
            tokens, first, wrong = [], 0, ""
        elif header:
            header = False
            yield number, fields, reason
        else:
            first = first or number
            tokens.append(fields)
            if line is None:
                wrong = wrong or f"line {number} is {reason}"
            elif len(fields) != len(tokens[0]):
                count = f"{len(fields)} columns, and line {first} has {len(tokens[0])}"
                wrong = wrong or f"line {number} of the sentence has {count}"
    if first:
        yield first, sentence(), wrong


def _lexicon(path: str, _: Layout) -> Numbered:
    """Words and their pronunciations, symbols with a blank between; each pronunciation of a word is a record."""
    for number, item, reason in pronunciations(read_lines(path)):
        yield number, None if item is None else [item.word, " ".join(item.symbols)], reason


def _fields(line: str, separator: str | None) -> list[str]:
    """The columns of a token's line, between tabs or blanks; white space within a column becomes "_"."""
    mark = separator or ("\t" if "\t" in line else " ")
    fields = [re.sub(r"\s", "_", field.strip()) for field in line.split(mark)]
    return [field for field in fields if field] if mark == " " else fields if any(fields) else []


def _parquet(path: str, layout: Layout) -> Numbered:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DataError(f"{path}: reading Parquet needs the extra: pip install 'antiphon[parquet]'") from None
    try:
        with ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            for column in layout.columns:
                if not isinstance(column, str):
                    raise DataError(f"{path}: name source.column and target.column; it has {', '.join(names)}")
                position_of(column, names, path)
            line = 0
            for group in range(file.num_row_groups):
                end = line + file.metadata.row_group(group).num_rows
                try:
                    batches = file.iter_batches(64, [group], list(layout.columns) or None)  # a row may be large
                    for record in chain.from_iterable(batch.to_pylist() for batch in batches):
                        line += 1
                        yield line, record, ""
                except (ArrowException, OSError, ValueError, OverflowError) as error:
                    reason = f"is damaged: {str(error).splitlines()[0]}"
                    raise DataError(f"{path}: row group {group} (rows up to {end:,}) {reason}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{path}: is not Parquet: {str(error).splitlines()[0]}") from None


def _rows_of_parquet(path: str) -> int:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_metadata

        return int(read_metadata(path).num_rows)
    except (ImportError, ArrowException, OSError, ValueError):
        return sum(1 for _ in _parquet(path, Layout()))  # which says what is wrong


def _lines(path: str) -> int:
    """How many lines a text has; much faster than reading them."""
    lines, last = 0, b"\n"
    with open_bytes(path) as file:
        try:
            while block := file.read(BLOCK):
                lines, last = lines + block.count(b"\n"), block
        except BROKEN as error:
            raise DataError(f"{path}: is damaged: {error}") from None
    return lines + (not last.endswith(b"\n"))


def count_records(path: str) -> int:
    """About how many records a table has, without reading them: blank lines, a header and line ends in quotes count."""
    suffix = suffix_of(path)
    if suffix == ".parquet":
        return _rows_of_parquet(path)
    if suffix in (".conllu", ".conll", ".npz", ".npy"):
        return sum(1 for _ in FORMATS[suffix](path, Layout()))
    return _lines(path)


def load_array(path: str) -> NDArray[Any]:
    """The array of plain values in `file.npy`, or in `file.npz#array`; anything else is a `DataError`."""
    return array_in(*file_and_array(path))


def array_in(file: str, name: str) -> NDArray[Any]:
    """As `load_array`; of an .npz file the array `name`."""
    path = f"{file}#{name}" if name else file
    try:
        if file.endswith(".npz") and Path(file).is_file() and not is_zipfile(file):
            raise DataError(f"{file}: is not an .npz file, or it is damaged")
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


def _array(path: str, _: Layout) -> Numbered:
    """Rows of an array, [rows, columns] or [rows]."""
    array = load_array(path)
    if array.ndim not in (1, 2) or array.dtype.kind not in TEXTS_OR_NUMBERS:
        raise DataError(
            f"{path}: must be texts or numbers in rows and columns, but is {array.dtype} {list(array.shape)}; "
            "give it as one side of data.train: {source: FILE.npz#x, target: FILE.npz#y}"
        )
    texts = array.dtype.kind == "U"
    for number, row in enumerate(array, 1):
        try:
            record = [str(value) if texts else value.item() for value in np.atleast_1d(row)]
        except (SystemError, ValueError):
            yield number, None, NO_CHARACTER
        else:
            yield number, record, ""


def read_items(path: str) -> Iterator[tuple[int, object, str]]:
    """Numbered items of a side that has its own file: lines of a text, or items of an array."""
    if suffix_of(path) not in (".npz", ".npy"):
        yield from read_lines(path)
        return
    array = load_array(path)
    if not array.ndim or array.dtype.kind not in TEXTS_OR_NUMBERS:
        raise DataError(f"{path}: must hold one item per row, but is {array.dtype} {list(array.shape)}")
    texts = array.dtype.kind == "U" and array.ndim == 1
    for number, row in enumerate(array, 1):
        try:
            item = str(row) if texts else row
        except (SystemError, ValueError):
            yield number, None, NO_CHARACTER
        else:
            yield number, item, ""


FORMATS: dict[str, Callable[[str, Layout], Numbered]] = {
    ".tsv": _tsv,
    ".txt": _tsv,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".conllu": _conllu,
    ".conll": _conll,
    ".dict": _lexicon,
    ".parquet": _parquet,
    ".npz": _array,
    ".npy": _array,
}
KEYED = (".jsonl", ".ndjson", ".conllu", ".parquet")  # each record has names, so there is no header
ENDINGS = ", ".join(FORMATS)


def suffix_of(path: str) -> str:
    """The ending of a file's name that names its format, without .gz."""
    return Path(file_of(path).removesuffix(".gz")).suffix.lower()


def is_table(path: str) -> bool:
    """Whether a file, or an array in it, is a table of rows by its name."""
    return suffix_of(path) in FORMATS


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern of several files, as shards/*.tsv is, and not a file of that very name."""
    return glob.has_magic(path) and not Path(path).exists()


def refuse_pipe(path: str) -> None:
    """Refuse what can be read only once: the first lines tell how a table is read, and then it is read again."""
    place = Path(path)
    if place.exists() and not (place.is_file() or place.is_dir()):
        advice = "give a file; predict without FILE reads standard input"
        raise DataError(f"{path}: is a pipe or a device, which cannot be read twice; {advice}")


def tables_in(path: str) -> list[str]:
    """The tables of a folder or of a pattern (`*`, `?`, `[0-9]`, `**`), in the order of their names; a file alone."""
    if is_pattern(path):
        tables = sorted(file for file in glob.glob(path, recursive=True) if _is_read(Path(file)))
        if not tables:
            raise DataError(f"{path}: no table has such a name ({ENDINGS}, text with .gz too)")
        return tables
    if not Path(path).is_dir():
        refuse_pipe(path)
        return [path]
    tables = sorted(str(file) for file in Path(path).iterdir() if _is_read(file))
    if not tables:
        raise DataError(f"{path}: is a folder without tables ({ENDINGS}, text with .gz too)")
    return tables


def _is_read(file: Path) -> bool:
    """Whether a file of a folder is a table of the user's and not a file of another program."""
    return is_table(file.name) and file.is_file() and not file.name.startswith((".", "~"))


def position_of(column: Column, names: Sequence[str], where: str, place: str = "in the header") -> Column:
    """The position of a column among the names that stand at `where`; a position is returned as it is."""
    if isinstance(column, int):
        if str(column) in names and names.index(str(column)) != column:
            there = names.index(str(column))
            raise DataError(f"{where}: {column} is a position, and also the name of column {there}; rename the columns")
        return column
    if names.count(column) > 1:
        raise DataError(f"{where}: the header names the column {column!r} more than once")
    if column not in names:
        hint = f"; it is the position {column} if written without quotes" if column.isdigit() else ""
        raise DataError(f"{where}: no column {column!r} {place}; {nearest(column, names)}{hint}")
    return names.index(column)
