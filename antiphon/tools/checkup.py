"""`antiphon check`: reads all data as training does, reports what would go wrong, trains nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from antiphon.api import naming, read_config, with_sides
from antiphon.common.symbols import UNK
from antiphon.config.files import Parallel
from antiphon.config.schema import Config
from antiphon.data.batches import Examples, Sequences
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.encode import encode_rows
from antiphon.data.load import DEFAULT_FRACTION, Codecs, load_test
from antiphon.data.problems import Problems, place
from antiphon.data.rows import Row
from antiphon.data.stream import Stream
from antiphon.data.windows import Windows
from antiphon.errors import DataError, count_of, shown
from antiphon.training.defaults import Completed
from antiphon.training.distributed import ALONE
from antiphon.training.prepare import assemble, check_names, read_parts
from antiphon.training.streamed import every_chunk
from antiphon.training.teachers import load_teachers


@dataclass
class Report:
    """Findings by heading, in order, and the warnings among them."""

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    bad_rows: int = 0
    chosen: list[str] = field(default_factory=list)

    def write(self, line: str) -> None:
        self.lines.append(line)

    def __str__(self) -> str:
        """As the command prints it."""
        chosen = [f"chosen: {line}" for line in self.chosen]
        return "\n".join([*self.lines, *chosen, *(f"warning: {warning}" for warning in self.warnings)])

    def warn(self, line: str) -> None:
        self.warnings.append(line)


def check(
    what: Any,
    settings: Mapping[str, Any] | None = None,
    *,
    source: Any = None,
    target: Any = None,
    valid: Any = None,
    test: Any = None,
) -> Report:
    """What training from `what` would read and choose, and what would go wrong; trains nothing.

    Arguments are those of `antiphon.train`. The report printed is what the command `check` prints; `bad_rows` says how
    many rows would stop the training. What cannot be read at all is an `AntiphonError`.
    """
    with naming(what):
        return check_completed(read_config(what, with_sides(settings, source, target, valid, test), skip=True))


def check_completed(completed: Completed) -> Report:
    """The report on a whole configuration, with what was chosen for it."""
    report = check_config(completed.config)
    report.chosen = completed.about
    return report


def check_config(config: Config) -> Report:
    """Everything that can be known about a training before it, with the errors that training would raise."""
    check_names(config)
    report = Report()
    met = {part: Problems(skip=config.data.on_error == "skip") for part in ("train", "valid", "test")}
    try:
        teachers = load_teachers(config, ALONE, None)
        codecs, answering = (None, None) if teachers is None else (teachers.codecs, teachers if teachers.only else None)
        parts = read_parts(config, codecs=codecs, met=met, teachers=answering)
    except DataError as error:
        bad = [problems.summary() for problems in met.values() if problems.first]
        notes = [note for problems in met.values() for note in problems.notes]
        raise DataError("\n".join([*(bad or [str(error)]), *notes])) from None
    prepared = assemble(config, parts)
    train, window = _of_the_data(parts.rows), config.data.window
    first = "train" if parts.stream is None else "sample"
    codecs, rows, examples = parts.codecs, dict[str, Sequence[Row]]({first: train}), {first: parts.train}
    rows["valid"], examples["valid"] = parts.valid_rows, parts.valid
    measured: dict[str, list[Lengths]] = {}
    if parts.stream is not None:
        measured["train"] = _visit(config, codecs, parts.stream, met["train"], report)
    if config.data.test is not None or (window is not None and window.test_from is not None):
        read = load_test(config, codecs, met["test"]) or []
        rows["test"], examples["test"] = encode_rows(config, codecs, read, met["test"])
    for part, part_rows in rows.items():
        report.write(_counted(config, codecs, part, part_rows))
        if part == first:
            _show(config, codecs, part_rows, report)
            if len(parts.rows) > len(train):
                report.write(f"  and {len(parts.rows) - len(train):,} rows made of these (data.hallucinate)")
    _tell_problems(met, report)
    measured |= {part: _lengths(codecs, encoded) for part, encoded in examples.items()}
    for number, (side, codec) in enumerate(codecs.named.items()):
        report.write(f"{side}: {codec.about()}")
        if isinstance(codec, LabelCodec):
            _describe_labels(codec, [row.target for row in parts.rows], report)
        if codec.steps and codec.reads:
            _describe_side(side, codec, {part: sides[number] for part, sides in measured.items()}, report)
    if window is None:  # of windows every one overlaps with the next
        _overlaps(config, codecs, rows, report)
    for note in prepared.notes:
        report.warn(note)
    for name, scores in prepared.baselines.items():
        report.write(f"baseline, {name}: {', '.join(f'{metric} {value:.4f}' for metric, value in scores.items())}")
    return report


def _tell_problems(met: Mapping[str, Problems], report: Report) -> None:
    for part, problems in met.items():
        for note in problems.notes:
            report.warn(note)
        if problems.first:
            count = problems.reasons.total()
            report.bad_rows += 0 if problems.skip else count
            skipped = " will be skipped" if problems.skip else ""
            report.warn(f"{part}: {count_of(count, 'bad row')}{skipped}:\n{problems.summary()}")


def _of_the_data(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows without those that were made of them, which follow."""
    if isinstance(rows, Windows):
        return rows
    return [*reversed({(row.file, row.line): row for row in reversed(rows)}.values())]


def _counted(config: Config, codecs: Codecs, part: str, rows: Sequence[Row]) -> str:
    if isinstance(rows, Windows):
        return f"{part}: {rows.about()}"
    valid = config.data.valid if config.data.valid is not None else DEFAULT_FRACTION
    if part == "valid" and isinstance(valid, float):
        if codecs.sources[0].whole:
            return f"valid: the last {valid:.0%} of the training text"
        return f"valid: {len(rows):,} rows, held out of the training rows by distinct input"
    if part == "sample":
        return f"sample: {len(rows):,} of these rows, by which vocabularies and settings are chosen (data.sample)"
    return f"{part}: {len(rows):,} rows, {len(set(map(codecs.key_of, rows))):,} distinct inputs"


def _show(config: Config, codecs: Codecs, rows: Sequence[Row], report: Report) -> None:
    """The first rows as they are read, so that a wrong column, a header or quotes are seen at once."""
    for row in rows[:3]:
        sides = {name: shown(text) for name, text in codecs.shown(row).items()}
        target = sides.pop("target", codecs.target.kind)
        report.write(f"  {place(row.file, row.line)}: {' + '.join(sides.values())} -> {target}")
    places = [side.place(number) for number, side in enumerate([*config.sources, config.target])]
    plain = config.data.window is None and not isinstance(config.data.train, Parallel)
    if plain and places[-1] in places[:-1]:
        report.warn("source.column and target.column are the same: the model will learn to copy")


@dataclass
class Lengths:
    """How many rows of each length a side has, and how many of its symbols are unknown."""

    rows: Counter[int] = field(default_factory=Counter)
    unknown: int = 0
    several: bool = False  # whether each step has further ids, which know what its own does not

    def add(self, codec: Codec, sequences: Sequences) -> None:
        """Count further rows."""
        lengths, counts = np.unique(sequences.lengths - codec.ends, return_counts=True)
        self.rows.update(dict(zip(lengths.tolist(), counts.tolist(), strict=True)))
        if isinstance(codec, TextCodec):
            ids = sequences.values  # for a spelled word its id, then the ids of its characters
            self.several = ids.ndim == 2
            self.unknown += int(((ids[:, 0] if self.several else ids) == UNK).sum())

    def longest_of(self, percent: int) -> int:
        """The longest of the shortest `percent` of all rows."""
        lengths = sorted(self.rows)
        reached = np.cumsum([self.rows[length] for length in lengths])
        return lengths[int(np.searchsorted(reached, percent / 100 * reached[-1]))]


def _lengths(codecs: Codecs, examples: Examples) -> list[Lengths]:
    measured = [Lengths() for _ in codecs.named]
    for codec, lengths, sequences in zip(
        codecs.named.values(), measured, (*examples.sources, examples.target), strict=True
    ):
        lengths.add(codec, sequences)
    return measured


def _visit(config: Config, codecs: Codecs, stream: Stream, met: Problems, report: Report) -> list[Lengths]:
    """Read all rows of a streamed table; bad ones are added to `met`. What is known of each side's lengths."""
    measured, count = [Lengths() for _ in codecs.named], 0
    met.take()  # those of the sample are met again
    with every_chunk(config, stream.shards) as chunks:
        for _, chunk in chunks:
            if chunk is None:
                continue
            count += len(chunk.examples)
            met.join(chunk.problems)
            if len(chunk.examples):
                sides = (*chunk.examples.sources, chunk.examples.target)
                for codec, lengths, sequences in zip(codecs.named.values(), measured, sides, strict=True):
                    lengths.add(codec, sequences)
    report.write(f"train: {count:,} rows, streamed from {count_of(len(stream.shards), 'shard')}")
    if not count:
        raise DataError(met.summary() or "data.train: no row of the shards can be read")
    return measured


def _describe_side(side: str, codec: Codec, parts: Mapping[str, Lengths], report: Report) -> None:
    """How long a side's rows are, and which of its symbols are unknown."""
    for part, lengths in parts.items():
        middle, high, longest = map(lengths.longest_of, (50, 99, 100))
        line = f"  {part}: {codec.unit} per row: median {middle}, 99% at most {high}, longest {longest}"
        if isinstance(codec, TextCodec):
            steps = sum(length * count for length, count in lengths.rows.items())
            unknown = lengths.unknown / max(1, steps)
            line += f"; unknown {unknown:.3%}"
            if unknown > 0.02 and not lengths.several:
                report.warn(
                    f"{part}: {unknown:.1%} of {side} symbols are not in the vocabulary; other tokens may fit better"
                )
        report.write(line)


def _describe_labels(codec: LabelCodec, values: Sequence[Any], report: Report) -> None:
    """The frequencies of the training rows' labels."""
    counts = Counter(label for value in values for label in (value if codec.steps else [value]))
    total = counts.total()
    spread = ", ".join(f"{shown(label)} {count / total:.1%}" for label, count in counts.most_common(10))
    report.write(f"  {spread}{', ...' if len(counts) > 10 else ''}")


def _overlaps(config: Config, codecs: Codecs, parts: dict[str, Sequence[Row]], report: Report) -> None:
    first = next(iter(parts))  # train, or a sample of it
    train = parts[first]
    pairs = {(codecs.key_of(row), codecs.target.key_of(row.target)) for row in train}
    if len(train) > len(pairs):
        report.warn(f"{first}: {len(train) - len(pairs):,} rows repeat another row")
    several = sum(count > 1 for count in Counter(source for source, _ in pairs).values())
    if several:
        hint = "" if config.data.references == "group" else "; data.references: group counts any of them as right"
        report.write(f"{first}: {several:,} inputs have several targets{hint}")
    known = set(map(codecs.key_of, train))
    for part, rows in parts.items():
        shared = {codecs.key_of(row): row for row in rows if codecs.key_of(row) in known} if part != first else {}
        if shared:
            inputs = [[text for name, text in codecs.shown(row).items() if name != "target"] for row in shared.values()]
            such = " + ".join(map(shown, min(inputs)))
            report.warn(f"{part}: {len(shared):,} inputs also stand in the training rows, such as {such}")
