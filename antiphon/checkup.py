"""`antiphon check`: reads all data as training would, reports what would go wrong, trains nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from antiphon.config import Config, Files, Parallel
from antiphon.data.encode import TextCodec
from antiphon.data.rows import Problems, Row
from antiphon.dataset import DEFAULT_FRACTION, Codecs, group_references, input_key, load_rows, split_rows, train_codecs
from antiphon.errors import shown
from antiphon.evaluation import output_metrics
from antiphon.symbols import UNK
from antiphon.training.prepare import check_names


@dataclass
class Report:
    """Findings by heading, in order, and the warnings among them."""

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    bad_rows: int = 0

    def say(self, line: str) -> None:
        self.lines.append(line)

    def warn(self, line: str) -> None:
        self.warnings.append(line)


def check(config: Config) -> Report:
    """Everything that can be known of a training without training; wrong rows are in the report."""
    check_names(config)
    report = Report()
    train = _read(config, "train", config.data.train, report)
    valid = config.data.valid if config.data.valid is not None else DEFAULT_FRACTION
    if isinstance(valid, float):
        train, valid_rows = split_rows(train, valid, config.train.seed, input_key(config))
        report.say(f"valid: {len(valid_rows):,} rows, held out of the training rows by distinct input")
    else:
        valid_rows = _read(config, "valid", valid, report)
    _show(config, train, report)
    parts = {"train": train, "valid": valid_rows}
    if config.data.test is not None:
        parts["test"] = _read(config, "test", config.data.test, report)
    codecs = train_codecs(config, train)
    for side in ("source", "target"):
        _describe_side(side, getattr(codecs, side), parts, config, report)
    _overlaps(config, parts, report)
    _baselines(config, codecs, train, valid_rows, report)
    return report


def _read(config: Config, part: str, files: Files, report: Report) -> list[Row]:
    problems = Problems(skip=config.data.on_error == "skip")
    rows = load_rows(config, files, problems)
    report.say(f"{part}: {len(rows):,} rows, {len({row.source for row in rows}):,} distinct inputs")
    if problems.first:
        bad = problems.reasons.total()
        report.bad_rows += 0 if problems.skip else bad
        report.warn(f"{part}: {bad:,} bad rows{' will be skipped' if problems.skip else ''}:\n{problems.summary()}")
    return rows


def _show(config: Config, rows: Sequence[Row], report: Report) -> None:
    """The first rows as they are read: a wrong column, a header or quotes show at once."""
    for row in rows[:3]:
        report.say(f"  {row.file}:{row.line}: {shown(row.source)} -> {shown(row.target)}")
    if not isinstance(config.data.train, Parallel) and config.source.column == config.target.column:
        report.warn("source.column and target.column are the same: the model will learn to copy")
    for side in ("source", "target"):
        texts = [getattr(row, side) for row in rows]
        if all(len(text) > 1 and text[0] == text[-1] == '"' for text in texts):
            report.warn(f"every {side} stands in quotes, which belong to it in .tsv; quoted tables are .csv")


def _describe_side(side: str, codec: TextCodec, parts: dict[str, list[Row]], config: Config, report: Report) -> None:
    report.say(f"{side}: {len(codec.vocabulary.symbols):,} symbols ({codec.settings.tokens})")
    for part, rows in parts.items():
        encoded = [codec.encode(getattr(row, side)) for row in rows]
        lengths = np.array([len(ids) - 1 for ids in encoded])
        middle, high, longest = (int(np.percentile(lengths, q)) for q in (50, 99, 100))
        unknown = sum(ids.count(UNK) for ids in encoded) / max(1, int(lengths.sum()))
        report.say(
            f"  {part}: tokens a row: median {middle}, 99% at most {high}, longest {longest}; unknown {unknown:.3%}"
        )
        cut = int((lengths > config.data.max_length).sum())
        if cut:
            skipped = config.data.on_error == "skip"
            report.bad_rows += 0 if skipped else cut
            verdict = "; they will be skipped" if skipped else ""
            report.warn(
                f"{part}: {cut:,} rows have a {side} longer than data.max_length {config.data.max_length}{verdict}"
            )
        if unknown > 0.02:
            report.warn(
                f"{part}: {unknown:.1%} of {side} symbols are not in the vocabulary; other tokens may fit better"
            )


def _overlaps(config: Config, parts: dict[str, list[Row]], report: Report) -> None:
    train = parts["train"]
    repeated = len(train) - len({(row.source, row.target) for row in train})
    if repeated:
        report.warn(f"train: {repeated:,} rows repeat another row")
    several = sum(
        count > 1 for count in Counter(source for source, _ in {(r.source, r.target) for r in train}).values()
    )
    if several:
        hint = "" if config.data.references == "group" else "; data.references: group counts any of them as right"
        report.say(f"train: {several:,} inputs have several targets{hint}")
    key = input_key(config)
    known = {key(row.source) for row in train}
    for part, rows in parts.items():
        shared = {key(row.source) for row in rows} & known if part != "train" else set()
        if shared:
            report.warn(f"{part}: {len(shared):,} inputs also stand in the training rows, such as {min(shared)!r}")


def _baselines(config: Config, codecs: Codecs, train: Sequence[Row], valid: list[Row], report: Report) -> None:
    """What no effort scores on validation data: the input itself, and the most frequent training target."""
    groups = group_references(config, valid)
    references = [[valid[row].target for row in group] for group in groups]
    frequent = Counter(row.target for row in train).most_common(1)[0][0]
    for name, texts in (
        ("copy the input", [valid[group[0]].source for group in groups]),
        (f"always {frequent!r}", [frequent] * len(groups)),
    ):
        found = output_metrics(codecs.target, [codecs.target.split(text) for text in texts], references)
        scores = ", ".join(f"{metric} {value:.4f}" for metric, value in found.items())
        report.say(f"baseline, {name}: {scores}")
