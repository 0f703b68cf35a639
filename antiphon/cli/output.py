"""Predictions written to a file, beside the source columns: TSV, CSV, JSON Lines, Parquet or CoNLL by its ending."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from antiphon.common.written import Record, as_text, tsv_line
from antiphon.errors import DataError


class File(Protocol):
    """Something that bytes are written to."""

    def write(self, data: bytes, /) -> int: ...


def _tsv(records: Iterable[Record], file: File) -> None:
    """Columns with tabs between and a header."""
    for number, record in enumerate(records):
        if number == 0:
            file.write(tsv_line(record))
        file.write(tsv_line(record.values()))


def _csv(records: Iterable[Record], file: File) -> None:
    for number, record in enumerate(records):
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows(
            [*([list(record)] if number == 0 else []), list(map(as_text, record.values()))]
        )
        file.write(lines.getvalue().encode())


def _jsonl(records: Iterable[Record], file: File) -> None:
    for record in records:
        file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())


def _parquet(records: Iterable[Record], file: File) -> None:
    try:
        import pyarrow as pa
        from pyarrow.parquet import write_table
    except ImportError:
        raise DataError("writing Parquet needs the extra: pip install 'antiphon[parquet]'") from None
    whole = io.BytesIO()
    write_table(pa.Table.from_pylist(list(records)), whole)
    file.write(whole.getvalue())


def write_conll(records: Iterable[Record], file: File) -> None:
    """One token per line with its label, a blank line after each row; of several sources all have as many tokens."""
    for number, record in enumerate(records, 1):
        columns = [value if isinstance(value, list) else str(value).split() for value in record.values()]
        if len(set(map(len, columns))) != 1:
            counts = ", ".join(f"{name} {len(cells):,}" for name, cells in zip(record, columns, strict=True))
            raise DataError(f"row {number}: has not one label for each word, as CoNLL needs ({counts}); write .tsv")
        lines = (" ".join(map(as_text, cells)) for cells in zip(*columns, strict=True))
        file.write(("".join(f"{line}\n" for line in lines) + "\n").encode())


WRITERS: dict[str, Callable[[Iterable[Record], File], None]] = {
    ".tsv": _tsv,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
    ".conll": write_conll,
}


def write_records(records: Iterable[Record], path: Path) -> None:
    """Write rows to a file; it takes its place when it is complete. Its ending must be one of `WRITERS`."""
    from antiphon.files import write_atomically

    write_atomically(path, lambda file: WRITERS[path.suffix.lower()](records, file))
