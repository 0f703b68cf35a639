"""`antiphon check`: reads all data as training would, reports what would go wrong, trains nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from antiphon import metrics
from antiphon.config import Config, Files, Parallel
from antiphon.data.batch import Sequences
from antiphon.data.codec import Codec
from antiphon.data.encode import LabelCodec, TextCodec, turns_of
from antiphon.data.rows import Problems, Row
from antiphon.dataset import DEFAULT_FRACTION, Codecs, group_references, held_out, load_rows, train_codecs, untrained
from antiphon.errors import shown
from antiphon.evaluation import output_metrics
from antiphon.search import Speaker, plan, refuse_shortlist, written_side
from antiphon.structures import build
from antiphon.symbols import UNK
from antiphon.training.prepare import check_names, with_longest


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
    report, reading = Report(), untrained(config)
    train = _read(config, "train", config.data.train, reading, report)
    valid = config.data.valid if config.data.valid is not None else DEFAULT_FRACTION
    if isinstance(valid, float):
        train, valid_rows = held_out(config, reading, train, valid)
        if reading.sources[0].whole:
            report.say(f"valid: the last {valid:.0%} of the training text")
        else:
            report.say(f"valid: {len(valid_rows):,} rows, held out of the training rows by distinct input")
    else:
        valid_rows = _read(config, "valid", valid, reading, report)
    _show(config, reading, train, report)
    parts = {"train": train, "valid": valid_rows}
    if config.data.test is not None:
        parts["test"] = _read(config, "test", config.data.test, reading, report)
    codecs = train_codecs(config, train)
    _check_decoding(config, codecs, train)
    for number, (side, codec) in enumerate(codecs.named.items()):
        report.say(f"{side}: {codec.about()}")
        values = {part: [(*row.sources, row.target)[number] for row in rows] for part, rows in parts.items()}
        _describe_side(side, codec, values, config, report)
    _overlaps(config, codecs, parts, report)
    _baselines(config, codecs, train, valid_rows, report)
    return report


def _check_decoding(config: Config, codecs: Codecs, rows: Sequence[Row]) -> None:
    """Refuse what `decode` says if it cannot work, as training does."""
    with torch.device("meta"):  # no memory is taken
        model = build(config, codecs)
    if not isinstance(model, Speaker):
        return
    codec, longest = written_side(model, codecs), 0
    for row in rows:
        length = len(codec.encode(row.sources[0] if model.goes_on else row.target))
        longest = max(longest, min(length, config.train.bptt) if codec.whole else length)
    filled = config if codecs.target.form == "aligned" else with_longest(config, longest)
    refuse_shortlist(filled.decode, model, codecs)
    plan(filled.decode.model_copy(update={"shortlist": None}), model, codecs)  # it is learned in training


def _read(config: Config, part: str, files: Files, codecs: Codecs, report: Report) -> list[Row]:
    problems = Problems(skip=config.data.on_error == "skip")
    rows = load_rows(config, files, problems, codecs)
    report.say(f"{part}: {len(rows):,} rows, {len(set(map(codecs.key_of, rows))):,} distinct inputs")
    if problems.first:
        bad = problems.reasons.total()
        report.bad_rows += 0 if problems.skip else bad
        report.warn(f"{part}: {bad:,} bad rows{' will be skipped' if problems.skip else ''}:\n{problems.summary()}")
    return rows


def _show(config: Config, codecs: Codecs, rows: Sequence[Row], report: Report) -> None:
    """The first rows as they are read: a wrong column, a header or quotes show at once."""
    for row in rows[:3]:
        sides = {name: shown(text) for name, text in codecs.shown(row).items()}
        target = sides.pop("target", codecs.target.kind)
        report.say(f"  {row.file}:{row.line}: {' + '.join(sides.values())} -> {target}")
    places = [side.place(number) for number, side in enumerate([*config.sources, config.target])]
    if not isinstance(config.data.train, Parallel) and places[-1] in places[:-1]:
        report.warn("source.column and target.column are the same: the model will learn to copy")
    for number, (side, codec) in enumerate(codecs.named.items()):
        texts = [(*row.sources, row.target)[number] for row in rows]
        if isinstance(codec, TextCodec) and all(len(text) > 1 and text[0] == text[-1] == '"' for text in texts):
            report.warn(f"every {side} stands in quotes, which belong to it in .tsv; quoted tables are .csv")


def _describe_side(side: str, codec: Codec, parts: dict[str, list[Any]], config: Config, report: Report) -> None:
    if isinstance(codec, LabelCodec):
        _describe_labels(codec, parts, report)
    if not codec.steps or not codec.reads:
        return
    for part, values in parts.items():
        encoded = []
        for value in values:
            try:
                encoded.append(codec.encode(value))
            except ValueError as error:
                report.bad_rows += config.data.on_error == "fail"
                report.warn(f"{part}: the {side} {error}")
        lengths = np.array([len(steps) - codec.ends for steps in encoded] or [0])
        middle, high, longest = (int(np.percentile(lengths, q)) for q in (50, 99, 100))
        line = f"  {part}: {codec.unit} a row: median {middle}, 99% at most {high}, longest {longest}"
        if isinstance(codec, TextCodec):
            ids = Sequences(encoded).values  # of steps, or of spelled words: their own, then those of their characters
            spelled = ids.ndim == 2
            unknown = float(((ids[:, 0] if spelled else ids) == UNK).sum()) / max(1, int(lengths.sum()))
            line += f"; unknown {unknown:.3%}"
            if unknown > 0.02 and not spelled:
                report.warn(
                    f"{part}: {unknown:.1%} of {side} symbols are not in the vocabulary; other tokens may fit better"
                )
        report.say(line)
        cut = 0 if codec.whole else int((lengths > config.data.max_length).sum())
        if cut:
            skipped = config.data.on_error == "skip"
            report.bad_rows += 0 if skipped else cut
            verdict = "; they will be skipped" if skipped else ""
            report.warn(
                f"{part}: {cut:,} rows have a {side} longer than data.max_length {config.data.max_length}{verdict}"
            )


def _describe_labels(codec: LabelCodec, parts: dict[str, list[Any]], report: Report) -> None:
    """How the training rows' labels are spread."""
    values = parts["train"]
    counts = Counter(label for value in values for label in (value if codec.steps else [value]))
    total = counts.total()
    spread = ", ".join(f"{shown(label)} {count / total:.1%}" for label, count in counts.most_common(10))
    report.say(f"  {spread}{', ...' if len(counts) > 10 else ''}")


def _overlaps(config: Config, codecs: Codecs, parts: dict[str, list[Row]], report: Report) -> None:
    train = parts["train"]
    pairs = {(codecs.key_of(row), codecs.target.key_of(row.target)) for row in train}
    if len(train) > len(pairs):
        report.warn(f"train: {len(train) - len(pairs):,} rows repeat another row")
    several = sum(count > 1 for count in Counter(source for source, _ in pairs).values())
    if several:
        hint = "" if config.data.references == "group" else "; data.references: group counts any of them as right"
        report.say(f"train: {several:,} inputs have several targets{hint}")
    known = set(map(codecs.key_of, train))
    for part, rows in parts.items():
        shared = {codecs.key_of(row): row for row in rows if codecs.key_of(row) in known} if part != "train" else {}
        if shared:
            inputs = [[text for name, text in codecs.shown(row).items() if name != "target"] for row in shared.values()]
            such = " + ".join(map(shown, min(inputs)))
            report.warn(f"{part}: {len(shared):,} inputs also stand in the training rows, such as {such}")


def _baselines(config: Config, codecs: Codecs, train: Sequence[Row], valid: list[Row], report: Report) -> None:
    """What no effort scores on validation data."""
    codec = codecs.target
    if isinstance(codec, TextCodec):
        _text_baselines(config, codecs, codec, train, valid, report)
    elif isinstance(codec, LabelCodec):
        counts = Counter(label for row in train for label in _labels(codec, row))
        (frequent, _), truth = counts.most_common(1)[0], [label for row in valid for label in _labels(codec, row)]
        share = metrics.accuracy([frequent] * len(truth), truth)
        report.say(f"baseline, always {frequent!r}: accuracy {share:.4f}")


def _labels(codec: LabelCodec, row: Row) -> Sequence[str]:
    return row.target if codec.steps else [row.target]


def _text_baselines(
    config: Config, codecs: Codecs, codec: TextCodec, train: Sequence[Row], valid: list[Row], report: Report
) -> None:
    """The input itself, and the most frequent training target."""
    groups = group_references(config, codecs, valid)
    references = [[valid[row].target for row in group] for group in groups]
    frequent = Counter(row.target for row in train).most_common(1)[0][0]
    baselines = {f"always {frequent!r}": [frequent] * len(groups)}
    if isinstance(codecs.sources[0], TextCodec):
        baselines = {"copy the input": [turns_of(valid[group[0]].sources[0])[-1] for group in groups]} | baselines
    for name, texts in baselines.items():
        found = output_metrics(codec, [codec.split(text) for text in texts], references)
        scores = ", ".join(f"{metric} {value:.4f}" for metric, value in found.items())
        report.say(f"baseline, {name}: {scores}")
