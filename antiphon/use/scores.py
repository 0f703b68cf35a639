"""How probable targets are: of the rows of data, and of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from antiphon.config.schema import Files, Parallel
from antiphon.data.batches import Examples, Sequences
from antiphon.data.load import encode_rows, load_rows
from antiphon.data.rows import Row
from antiphon.errors import AntiphonError, DataError
from antiphon.evaluation.scores import score_rows
from antiphon.files import user_path
from antiphon.use.encoding import encode_pair
from antiphon.use.loaded import Loaded

Data: TypeAlias = str | Path | Files | list[Row] | None


def rows_of(loaded: Loaded, data: Data) -> list[Row]:
    """The rows of a table, of parallel files, or of the configured test set; a list of rows as it is."""
    if isinstance(data, list) and data and isinstance(data[0], Row):
        return [row for row in data if isinstance(row, Row)]
    files = loaded.config.data.test if data is None else user_files(data)
    if files is None:
        raise DataError(f"{loaded.folder}: its configuration has no data.test; name the data")
    return load_rows(loaded.config, files, codecs=loaded.codecs)


def user_files(data: str | Path | Files | list[Row]) -> Files:
    """The files that a user names, with the home folder in the place of `~`."""
    match data:
        case str() | Path():
            return str(user_path(data))
        case Parallel():
            return Parallel(source=str(user_path(data.source)), target=str(user_path(data.target)))
    return [str(user_path(path)) for path in data if isinstance(path, str)]


def scored(loaded: Loaded, data: Data) -> list[tuple[Row, float]]:
    """The rows of `data` (bad ones left out, if the configuration skips them), each with its score."""
    rows, examples = encode_rows(loaded.config, loaded.codecs, rows_of(loaded, data))
    return list(zip(rows, score_rows(loaded.model, examples, loaded.device).totals, strict=True))


def scores(loaded: Loaded, pairs: Sequence[tuple[Any, Any]]) -> list[float | AntiphonError]:
    """The score of every pair of an input and a target; a wrong pair has its error in its place."""
    entries: list[list[Any] | AntiphonError] = []
    for place, (value, target) in enumerate(pairs):
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
