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
from antiphon.data.batches import Sequences
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.data.load import DEFAULT_FRACTION, Codecs, encode_rows, load_test
from antiphon.data.problems import Problems, place
from antiphon.data.rows import Row
from antiphon.data.windows import Windows
from antiphon.errors import DataError, count_of, shown
from antiphon.training.defaults import Completed
from antiphon.training.distributed import ALONE
from antiphon.training.prepare import assemble, check_names, read_parts
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
    train = _of_the_data(parts.rows)
    codecs, rows, examples = parts.codecs, dict[str, Sequence[Row]](train=train), {"train": parts.train}
    rows["valid"], examples["valid"] = parts.valid_rows, parts.valid
    window = config.data.window
    if config.data.test is not None or (window is not None and window.test_from is not None):
        read = load_test(config, codecs, met["test"]) or []
        rows["test"], examples["test"] = encode_rows(config, codecs, read, met["test"])
    for part, part_rows in rows.items():
        report.write(_counted(config, codecs, part, part_rows))
        if part == "train":
            _show(config, codecs, part_rows, report)
            if len(parts.rows) > len(train):
                report.write(f"  and {len(parts.rows) - len(train):,} rows made of these (data.hallucinate)")
    for part, problems in met.items():
        for note in problems.notes:
            report.warn(note)
        if problems.first:
            count = problems.reasons.total()
            report.bad_rows += 0 if problems.skip else count
            skipped = " will be skipped" if problems.skip else ""
            report.warn(f"{part}: {count_of(count, 'bad row')}{skipped}:\n{problems.summary()}")
    for number, (side, codec) in enumerate(codecs.named.items()):
        report.write(f"{side}: {codec.about()}")
        if isinstance(codec, LabelCodec):
            _describe_labels(codec, [row.target for row in parts.rows], report)
        if codec.steps and codec.reads:
            arrays = {part: (*encoded.sources, encoded.target)[number] for part, encoded in examples.items()}
            _describe_side(side, codec, arrays, report)
    if window is None:  # of windows every one overlaps with the next
        _overlaps(config, codecs, rows, report)
    for note in prepared.notes:
        report.warn(note)
    for name, scores in prepared.baselines.items():
        report.write(f"baseline, {name}: {', '.join(f'{metric} {value:.4f}' for metric, value in scores.items())}")
    return report


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


def _describe_side(side: str, codec: Codec, parts: Mapping[str, Sequences], report: Report) -> None:
    """How long a side's rows are, and which of its symbols are unknown."""
    for part, sequences in parts.items():
        lengths = sequences.lengths - codec.ends
        middle, high, longest = (int(np.percentile(lengths, q)) for q in (50, 99, 100))
        line = f"  {part}: {codec.unit} per row: median {middle}, 99% at most {high}, longest {longest}"
        if isinstance(codec, TextCodec):
            ids = sequences.values  # for a spelled word its id, then the ids of its characters
            spelled = ids.ndim == 2
            unknown = float(((ids[:, 0] if spelled else ids) == UNK).sum()) / max(1, int(lengths.sum()))
            line += f"; unknown {unknown:.3%}"
            if unknown > 0.02 and not spelled:
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
    train = parts["train"]
    pairs = {(codecs.key_of(row), codecs.target.key_of(row.target)) for row in train}
    if len(train) > len(pairs):
        report.warn(f"train: {len(train) - len(pairs):,} rows repeat another row")
    several = sum(count > 1 for count in Counter(source for source, _ in pairs).values())
    if several:
        hint = "" if config.data.references == "group" else "; data.references: group counts any of them as right"
        report.write(f"train: {several:,} inputs have several targets{hint}")
    known = set(map(codecs.key_of, train))
    for part, rows in parts.items():
        shared = {codecs.key_of(row): row for row in rows if codecs.key_of(row) in known} if part != "train" else {}
        if shared:
            inputs = [[text for name, text in codecs.shown(row).items() if name != "target"] for row in shared.values()]
            such = " + ".join(map(shown, min(inputs)))
            report.warn(f"{part}: {len(shared):,} inputs also stand in the training rows, such as {such}")
