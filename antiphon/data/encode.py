"""Rows to ids and numbers: what a model reads."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from antiphon.common.symbols import UNK
from antiphon.config.schema import Config
from antiphon.data.codecs.base import Array
from antiphon.data.copying import Copying
from antiphon.data.encoded import Examples, Sequences
from antiphon.data.load import Codecs, copying_of, tell
from antiphon.data.problems import Problems
from antiphon.data.rows import Row
from antiphon.data.windows import Windows
from antiphon.errors import DataError

AT_ONCE = 10_000  # rows whose ids are lists, which take ten times the memory of arrays


def encode_rows(
    config: Config, codecs: Codecs, rows: Sequence[Row], met: Problems | None = None
) -> tuple[Sequence[Row], Examples]:
    """Rows and their arrays. Rows longer than `data.max_length` steps are bad rows.

    They are added to `met`, unless it is None; then they are raised together at the end, or skipped.
    """
    if isinstance(rows, Windows):
        return rows, _encoded_windows(config, codecs, rows)
    copying = copying_of(config, codecs)
    problems = met if met is not None else Problems(config.data.on_error == "skip")
    kept: list[Row] = []
    parts: list[Examples] = []
    for start in range(0, len(rows), AT_ONCE):
        some, examples = encode_some(config, codecs, rows[start : start + AT_ONCE], copying, problems)
        kept += some
        parts += [examples] if some else []
    if met is None:
        problems.raise_any()
        tell(problems)
    if rows and not kept:
        raise DataError(problems.summary())
    return kept, Examples.joined(parts) if parts else Examples.empty(len(codecs.sources))


def encode_some(
    config: Config, codecs: Codecs, rows: Sequence[Row], copying: Copying | None, problems: Problems
) -> tuple[list[Row], Examples]:
    """A few rows and their arrays; those that cannot be encoded are added to `problems`."""
    kept: list[Row] = []
    encoded: list[list[Array | Sequence[int]]] = []
    for row in rows:
        try:
            encoded.append(encode_row(config, codecs, row, copying))
        except ValueError as error:
            problems.add(row.file, row.line, str(error))
            continue
        kept.append(row)
    if not kept:
        return kept, Examples.empty(len(codecs.sources))
    *sources, target = map(Sequences, zip(*encoded, strict=True))
    return kept, Examples(tuple(sources), target)


def _encoded_windows(config: Config, codecs: Codecs, windows: Windows) -> Examples:
    """Windows, all of one length, so that what is wrong with the first is wrong with all."""
    windows = replace(
        windows, sides=[replace(side, codec=codec) for side, codec in zip(windows.sides, codecs.all, strict=True)]
    )
    try:
        encode_row(config, codecs, windows[0], None)
    except ValueError as error:
        raise DataError(f"{windows[0].file}: {error}") from None
    *sources, target = (windows.arrays(side) for side in range(len(codecs.all)))
    return Examples(tuple(sources), target)


def encode_row(config: Config, codecs: Codecs, row: Row, copying: Copying | None) -> list[Array | Sequence[int]]:
    """A row's arrays, the target's last; a `ValueError` says what is wrong with it."""
    arrays = _encoded(codecs, row, config.data.max_length)
    if copying is not None:
        *sources, _ = arrays
        arrays = [*copying.read(row.sources, sources), copying.written(row.target, row.sources)]
    return arrays


def _encoded(codecs: Codecs, row: Row, limit: int) -> list[Array | Sequence[int]]:
    """A row's arrays; a `ValueError` says what is wrong with it."""
    arrays: list[Array | Sequence[int]] = []
    for (name, codec), value in zip(codecs.named.items(), (*row.sources, row.target), strict=True):
        try:
            arrays.append(arrays[0] if codec.form == "next" else codec.encode(value))
        except ValueError as error:
            raise ValueError(f"the {name.replace('-', ' ')} {error}") from None
    if not codecs.sources[0].whole:
        _check_lengths(codecs, arrays, limit)
    if codecs.target.form == "each":
        _check_one_each(codecs, len(arrays[0]) - codecs.sources[0].ends, len(arrays[-1]))
    if codecs.target.form == "aligned":
        *labels, _ = arrays[-1]
        _check_room(len(arrays[0]), labels)  # the step of the end symbol counts too
    return arrays


def _check_lengths(codecs: Codecs, arrays: Sequence[Array | Sequence[int]], limit: int) -> None:
    """No side may be longer than `limit` steps; the message is about the longest."""
    if max(map(len, arrays)) <= limit:  # as nearly all rows are
        return
    longest, message = limit, ""
    for (name, codec), array in zip(codecs.named.items(), arrays, strict=True):
        length = len(array) - codec.ends
        if codec.steps and length > longest:
            longest, message = length, f"the {name.replace('-', ' ')} has {length} {codec.unit}"
    if message:
        raise ValueError(f"too long: {message}, data.max_length is {limit}")


def _check_one_each(codecs: Codecs, steps: int, count: int) -> None:
    """A target with an item for each source step must have as many."""
    if steps != count:
        source, target = codecs.sources[0].unit, codecs.target.unit
        raise ValueError(f"the target has {count} {target} for {steps} {source} of the source")


def _check_room(steps: int, labels: Sequence[int]) -> None:
    """The source must have enough steps to predict these labels with CTC."""
    frames = frames_needed(labels)
    if frames <= steps:
        return
    between = ", and a blank between equal tokens" if frames > len(labels) else ""
    unknown = sum(label == UNK for label in labels)
    if between and unknown > 1:
        between += f", as {unknown} unknown tokens are"
    raise ValueError(
        f"the target needs {frames} steps of the source, which has {steps}: CTC needs one step per token{between}"
    )


def frames_needed(labels: Sequence[int]) -> int:
    """The fewest frames for these labels with CTC: one for each label, and a blank between equal neighbours."""
    return len(labels) + sum(left == right for left, right in itertools.pairwise(labels))
