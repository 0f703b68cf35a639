"""From a configuration's `data` to rows, codecs and encoded examples: where configuration meets data."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from antiphon.config import Config, Files, Parallel, Source
from antiphon.data.batch import Examples, Sequences
from antiphon.data.encode import TextCodec, TextSettings
from antiphon.data.rows import Problems, Row, read_rows
from antiphon.data.text import normalizer
from antiphon.errors import DataError

DEFAULT_FRACTION = 0.05  # of the training inputs, for validation, where none is configured
LOG = logging.getLogger("antiphon")


def tell_skipped(problems: Problems) -> None:
    """Say which bad rows were left out."""
    if problems.first:
        LOG.warning("%d bad rows are skipped:\n%s", problems.reasons.total(), problems.summary())


@dataclass(frozen=True)
class Codecs:
    """The two sides' codecs."""

    source: TextCodec
    target: TextCodec

    def to_json(self) -> str:
        """Both as one JSON text."""
        return json.dumps([self.source.to_json(), self.target.to_json()])

    @classmethod
    def from_json(cls, text: str) -> Codecs:
        """What `to_json` gave."""
        source, target = json.loads(text)
        return cls(TextCodec.from_json(source, "source"), TextCodec.from_json(target, "target"))


def load_rows(config: Config, files: Files, problems: Problems | None = None) -> list[Row]:
    """All rows of `files`; bad ones are raised together at the end, or skipped if the configuration says so."""
    found = problems if problems is not None else Problems(config.data.on_error == "skip")
    parallel = (files.source, files.target) if isinstance(files, Parallel) else None
    tables = [] if isinstance(files, Parallel) else [files] if isinstance(files, str) else files
    rows = list(read_rows(tables, parallel, (config.source.column, config.target.column), config.data.header, found))
    if problems is None:
        found.raise_any()
        tell_skipped(found)
    if not rows and not found.first:
        name = ", ".join(parallel or tables)
        raise DataError(f"{name}: holds no rows")
    if not rows:
        raise DataError(found.summary())
    return rows


def input_key(config: Config) -> Callable[[str], str]:
    """What makes two inputs the same to a model: the text as it is normalised."""
    return normalizer(config.source.normalize, config.source.lowercase)


def split_rows(
    rows: Sequence[Row], fraction: float, seed: int, key: Callable[[str], str] = str
) -> tuple[list[Row], list[Row]]:
    """Training and validation rows. All rows of one input (by its `key`) fall on one side; which, its hash decides."""
    inputs = {key(row.source) for row in rows}
    if len(inputs) < 2:
        raise DataError(
            f"{rows[0].file}: a fraction for validation needs at least 2 distinct inputs; give data.valid a file"
        )

    def rank(source: str) -> bytes:
        return hashlib.blake2b(f"{seed}\0{source}".encode(), digest_size=8).digest()

    chosen = set(sorted(inputs, key=rank)[: min(max(1, round(len(inputs) * fraction)), len(inputs) - 1)])
    sides: tuple[list[Row], list[Row]] = [], []
    for row in rows:
        sides[key(row.source) in chosen].append(row)
    return sides


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
    tell_skipped(problems)
    if rows and not kept:
        raise DataError(problems.summary())
    return kept, Examples(Sequences(sources), Sequences(targets))


def group_references(config: Config, rows: Sequence[Row]) -> list[list[int]]:
    """Rows that are references of one input: every row alone, or all rows of an input together."""
    if config.data.references == "rows":
        return [[number] for number in range(len(rows))]
    groups: dict[str, list[int]] = {}
    key = input_key(config)
    for number, row in enumerate(rows):
        groups.setdefault(key(row.source), []).append(number)
    return list(groups.values())
