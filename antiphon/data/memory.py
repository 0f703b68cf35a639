"""Rows in memory: tuples, dicts, columns and the tables of other libraries as one value, read as a file's rows are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.config.files import Files, InMemory, Parallel
from antiphon.errors import DataError, shown
from antiphon.files import user_path

KINDS = "tuples, dicts, a dict of columns, or a table of pandas, polars, pyarrow or datasets"


def files_or_rows(what: Any) -> Files:
    """The names of files, with the home folder in the place of `~`, and anything else as rows in memory."""
    rows = in_memory(what)
    if rows is not None:
        return rows
    if isinstance(what, list | tuple):
        return [str(user_path(path)) for path in what]
    if isinstance(what, Mapping | Parallel):
        files = Parallel(**what) if isinstance(what, Mapping) else what
        return Parallel(source=str(user_path(files.source)), target=str(user_path(files.target)))
    return str(user_path(what)) if isinstance(what, str | Path) else what


def in_memory(what: Any) -> InMemory | None:
    """The rows of a container, read once; None if it names files. What holds no rows is a `DataError`."""
    if isinstance(what, InMemory):
        return what
    if what is None or isinstance(what, str | Path | Parallel | int | float):
        return None
    if isinstance(what, list | tuple) and what and all(isinstance(path, str | Path) for path in what):
        return None
    table = table_of(what)
    if table is not None or isinstance(what, Mapping):
        return table
    if isinstance(what, Iterable):
        return _of_rows(list(what))
    raise DataError(f"rows are {KINDS}, or the names of files, but this is {shown(what)}")


def table_of(what: Any) -> InMemory | None:
    """The rows of a table of another library, or of a dict of columns; None for anything else."""
    if isinstance(what, InMemory):
        return what
    if isinstance(what, Mapping):
        return _of_dict(what)
    frame = _frame(what)
    return None if frame is None else _of_columns({str(name): _cells(frame.get_column(name)) for name in frame.columns})


def _frame(table: Any) -> Any | None:
    """A table of another library as a data frame of narwhals; None for anything else."""
    import narwhals.stable.v2 as nw

    try:
        if hasattr(table, "with_format") and hasattr(table, "__getitem__"):  # datasets: its Arrow table
            table = table.with_format("arrow")[:]
        frame = nw.from_native(table, pass_through=True)
        if frame is table and hasattr(table, "__arrow_c_stream__") and not nw.dependencies.is_into_series(table):
            frame = nw.from_arrow(table, backend="pyarrow")
        frame = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
    except nw.exceptions.DuplicateError as error:
        names = ", ".join(re.findall("'.*'", str(error)))
        raise DataError(f"the table has several columns of the same name: {names}; rename them") from None
    except ImportError as error:
        raise DataError(f"reading this table needs {error.name}: pip install {error.name}") from None
    return frame if isinstance(frame, nw.DataFrame) else None


def _cells(series: Any) -> list[object]:
    """The values of a column; None where there is none.

    Whole numbers beside missing ones are integers: some libraries cannot store both, and make 3 the number 3.0.
    """
    values = [None if null else plain(value) for value, null in zip(series.to_list(), series.is_null(), strict=True)]
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values) and all(isinstance(value, float) and value.is_integer() for value in numbers):
        return [None if value is None else int(value) for value in values]
    return values


def plain(value: Any) -> Any:
    """A cell as codecs read it: NaN is None, and scalars, tensors, pictures and arrays of texts become plain values."""
    if isinstance(value, str):
        return str(value)  # numpy's texts are texts, too
    if isinstance(value, bytes | int):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes):  # a picture of datasets
        return value["bytes"]
    if hasattr(value, "getbands") and hasattr(value, "save"):  # a picture of Pillow
        value.save(content := BytesIO(), "PNG")
        return content.getvalue()
    if not isinstance(value, np.ndarray) and (hasattr(value, "__array__") or isinstance(value, np.generic)):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        if not value.ndim:
            value = value.item()
        elif value.dtype.kind in "OU":
            return [plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _of_dict(columns: Mapping[Any, Any]) -> InMemory | None:
    """A dict of columns; None for one of two files."""
    if columns.keys() == {"source", "target"} and all(isinstance(value, str | Path) for value in columns.values()):
        return None
    for name, values in columns.items():
        if isinstance(values, Mapping) or _frame(values) is not None:
            raise DataError(f"{shown(name)} is a table in a dict of tables; give one of them")
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise DataError(f"the column {shown(name)} must be a list of cells, but is {shown(values)}")
    return _of_columns({str(name): [plain(cell) for cell in values] for name, values in columns.items()})


def _of_columns(columns: Mapping[str, Sequence[object]]) -> InMemory:
    lengths = {name: len(cells) for name, cells in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise DataError(f"the columns must have the same number of rows, but have: {listed}")
    return InMemory(list(zip(*columns.values(), strict=True)), list(columns))


def _of_rows(rows: Sequence[Any]) -> InMemory:
    names = _names(rows)
    return InMemory(list(_records(rows, names)), None if names is None else list(map(str, names)))


def _names(rows: Iterable[Any]) -> Sequence[Any] | None:
    """The names of the columns: those of all rows that are dicts, if their number is known, else of the first."""
    first = next(iter(rows), ())
    if not isinstance(first, Mapping):
        return getattr(first, "_fields", None)  # named tuples
    keyed = (row for row in rows if isinstance(row, Mapping)) if isinstance(rows, list) else [first]
    return list(dict.fromkeys(name for row in keyed for name in row))


def _records(rows: Iterable[Any], names: Sequence[Any] | None) -> Iterator[list[object]]:
    """The cells of every row; a row that is unlike the first is a `DataError`."""
    keyed: bool | None = None
    for number, row in enumerate(rows, 1):
        keyed = isinstance(row, Mapping) if keyed is None else keyed
        if isinstance(row, Mapping) != keyed:
            raise DataError(f"row {number}: is {shown(row)}; all rows must be dicts, or none")
        if not isinstance(row, Mapping | list | tuple | np.ndarray):
            raise DataError(f"row {number}: is {shown(row)}; a row is a tuple of cells or a dict: rows are {KINDS}")
        cells = [row.get(name) for name in names or ()] if isinstance(row, Mapping) else row
        yield [plain(cell) for cell in cells]


class Reread:
    """The cells of the rows of an iterable, which is iterated anew each time: one row is in memory."""

    def __init__(self, rows: Iterable[Any], names: Sequence[Any] | None) -> None:
        self.rows, self.names = rows, names

    def __iter__(self) -> Iterator[list[object]]:
        return _records(self.rows, self.names)

    def __bool__(self) -> bool:
        return True


def reread(what: Any) -> InMemory | None:
    """The rows of an iterable (a `Dataset` of datasets, an object with `__iter__`), never all in memory; None for what
    is in memory already or names files. What can be iterated only once, such as a generator, is a `DataError`."""
    if isinstance(what, InMemory | Parallel | Mapping | list | tuple | str | Path) or not isinstance(what, Iterable):
        return None
    if not hasattr(what, "with_format") and _frame(what) is not None:
        return None
    if iter(what) is what:
        raise DataError(
            "data.shuffle: these rows can be read only once, and each epoch reads them again; give an object whose "
            "__iter__ begins anew, or leave data.shuffle out"
        )
    names = _names(what)
    named = None if names is None else list(map(str, names))
    return InMemory(Reread(what, names), named, f"rows of {type(what).__name__}")
