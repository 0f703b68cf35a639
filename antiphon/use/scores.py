"""How probable targets are: of the rows of data, and of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from antiphon.data.batches import Examples, Sequences
from antiphon.data.encode import encode_rows
from antiphon.data.load import load_rows, load_test
from antiphon.data.memory import files_or_rows
from antiphon.data.rows import Row
from antiphon.data.windows import Windows
from antiphon.errors import AntiphonError, DataError, shown
from antiphon.evaluation.scores import score_rows
from antiphon.use.encoding import encode_pair
from antiphon.use.loaded import Loaded

Data: TypeAlias = Any
"""Files (a path, a list of paths, `Parallel`), rows in memory as `antiphon.train` takes them, a list of `Row`, or None:
the configured rows."""


def rows_of(loaded: Loaded, data: Data) -> Sequence[Row]:
    """The rows of files or in memory, or of the configured test set; a list of `Row` or windows as they are."""
    if isinstance(data, Windows):
        return data
    if isinstance(data, list) and data and isinstance(data[0], Row):
        return [row for row in data if isinstance(row, Row)]
    if data is None:
        rows = load_test(loaded.config, loaded.codecs)
        if rows is None:
            raise DataError(f"{loaded.folder}: its configuration has no data.test; name the data")
        return rows
    return load_rows(loaded.config, files_or_rows(data), codecs=loaded.codecs)


def scored(loaded: Loaded, data: Data) -> list[tuple[Row, float]]:
    """The rows of `data` (bad ones left out, if the configuration skips them), each with its score."""
    rows, examples = encode_rows(loaded.config, loaded.codecs, rows_of(loaded, data))
    return list(zip(rows, score_rows(loaded.model, examples, loaded.device).totals, strict=True))


def scores(loaded: Loaded, pairs: Sequence[tuple[Any, Any]]) -> list[float | AntiphonError]:
    """The score of every pair of an input and a target; a wrong pair has its error in its place."""
    entries: list[list[Any] | AntiphonError] = []
    for place, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) != 2:
            raise DataError(f"pair {place + 1}: must be an input and a target, but is {shown(pair)}")
        value, target = pair
        try:
            entries.append(encode_pair(loaded, value, target, f"pair {place + 1}"))
        except AntiphonError as error:
            entries.append(error)
    encoded = [entry for entry in entries if isinstance(entry, list)]
    if not encoded:
        return [entry for entry in entries if isinstance(entry, AntiphonError)]
    *sources, target = map(Sequences, zip(*encoded, strict=True))
    totals = iter(score_rows(loaded.model, Examples(tuple(sources), target), loaded.device).totals)
    return [entry if isinstance(entry, AntiphonError) else next(totals) for entry in entries]
