"""From a configuration's `data` to rows, codecs and encoded examples: where configuration meets data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from antiphon.config import Config, Files, Parallel, Source
from antiphon.data.batch import Examples, Sequences
from antiphon.data.encode import TextCodec, TextSettings
from antiphon.data.rows import Problems, Row, read_rows
from antiphon.errors import DataError


@dataclass(frozen=True)
class Codecs:
    """The two sides' codecs."""

    source: TextCodec
    target: TextCodec


def load_rows(config: Config, files: Files, problems: Problems | None = None) -> list[Row]:
    """All rows of `files`; bad ones are raised together at the end, or skipped if the configuration says so."""
    found = problems if problems is not None else Problems(config.data.on_error == "skip")
    parallel = (files.source, files.target) if isinstance(files, Parallel) else None
    tables = [] if isinstance(files, Parallel) else [files] if isinstance(files, str) else files
    rows = list(read_rows(tables, parallel, (config.source.column, config.target.column), config.data.header, found))
    if problems is None:
        found.raise_any()
    if not rows and not found.first:
        name = ", ".join(parallel or tables)
        raise DataError(f"{name}: holds no rows")
    if not rows:
        raise DataError(found.summary())
    return rows


def split_rows(rows: Sequence[Row], fraction: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Training and validation rows. All rows of one input fall on the same side; which, its hash decides."""
    inputs = {row.source for row in rows}
    if len(inputs) < 2:
        raise DataError(
            f"{rows[0].file}: a fraction for validation needs at least 2 distinct inputs; give data.valid a file"
        )

    def rank(source: str) -> bytes:
        return hashlib.blake2b(f"{seed}\0{source}".encode(), digest_size=8).digest()

    chosen = set(sorted(inputs, key=rank)[: min(max(1, round(len(inputs) * fraction)), len(inputs) - 1)])
    return [row for row in rows if row.source not in chosen], [row for row in rows if row.source in chosen]


def text_settings(side: Source, key: str) -> TextSettings:
    """A side's part of the configuration, in the codec's own terms."""
    return TextSettings(side.tokens.kind, side.tokens.options, side.normalize, side.lowercase, f"{key}.tokens")


def train_codecs(config: Config, rows: Sequence[Row]) -> Codecs:
    """Tokenizers and vocabularies of both sides, from training rows only."""
    return Codecs(
        TextCodec.train(text_settings(config.source, "source"), [row.source for row in rows]),
        TextCodec.train(text_settings(config.target, "target"), [row.target for row in rows]),
    )


def encode_rows(config: Config, codecs: Codecs, rows: Sequence[Row]) -> tuple[list[Row], Examples]:
    """Rows and their ids. Rows longer than `data.max_length` tokens are bad rows."""
    problems = Problems(config.data.on_error == "skip")
    kept: list[Row] = []
    sources: list[list[int]] = []
    targets: list[list[int]] = []
    limit = config.data.max_length
    for row in rows:
        source, target = codecs.source.encode(row.source), codecs.target.encode(row.target)
        if max(len(source), len(target)) - 1 > limit:
            side, length = ("source", len(source)) if len(source) > len(target) else ("target", len(target))
            problems.add(
                row.file, row.line, f"too long: the {side} has {length - 1} tokens, data.max_length is {limit}"
            )
            continue
        kept.append(row)
        sources.append(source)
        targets.append(target)
    problems.raise_any()
    if not kept:
        raise DataError(problems.summary())
    return kept, Examples(Sequences(sources), Sequences(targets))


def group_references(config: Config, rows: Sequence[Row]) -> tuple[list[int], list[list[str]]]:
    """The rows to predict, and the references of each: every row its own, or all rows of one input together."""
    if config.data.references == "rows":
        return list(range(len(rows))), [[row.target] for row in rows]
    groups: dict[str, list[str]] = {}
    first: dict[str, int] = {}
    for number, row in zip(count(), rows, strict=False):
        first.setdefault(row.source, number)
        groups.setdefault(row.source, []).append(row.target)
    return list(first.values()), list(groups.values())
