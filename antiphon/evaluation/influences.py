"""By how much each row moves a metric."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from antiphon import metrics
from antiphon.data.codecs.numbers import ScaledCodec
from antiphon.data.codecs.series import SeriesCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.evaluation.metric_names import CORPUS
from antiphon.evaluation.scores import teacher_errors
from antiphon.evaluation.series import row_errors
from antiphon.evaluation.task import Measured, Task, grouped_rows


@dataclass(frozen=True)
class Sums:
    """A metric that is one sum over rows by another: what each row adds to both."""

    above: NDArray[np.float64]
    below: NDArray[np.float64]

    @property
    def total(self) -> float:
        """The metric."""
        return float(self.above.sum() / max(self.below.sum(), 1e-300))

    @property
    def influences(self) -> NDArray[np.float64]:
        """By how much each row moves the metric, as far as it is linear."""
        moved: NDArray[np.float64] = (self.above - self.total * self.below) / max(self.below.sum(), 1e-300)
        return moved


def quotients(task: Task, measured: Measured, groups: Sequence[Sequence[int]]) -> dict[str, Sums]:
    """The metrics that are quotients of sums over rows, by name."""
    codec = task.codecs.target
    losses, hits = measured.rows.losses, measured.rows.correct

    def sums(pairs: Iterable[tuple[float, float]]) -> Sums:
        return Sums(*np.asarray(list(pairs), np.float64).reshape(-1, 2).T)

    joined = [np.concatenate([losses[row] for row in rows]) for rows in groups]
    kept = {"loss": sums((float(row.sum()), len(row)) for row in joined)}
    pairs = list(zip(measured.outputs, measured.references, strict=True))
    if isinstance(codec, TextCodec):
        edits = [metrics.token_edits([output], [choices]) for output, choices in pairs]
        kept["token_error_rate"] = sums((row.edits, row.length) for row in edits)
        truths = ([codec.truth(task.rows[row].target) for row in rows] for rows in groups)
        texts = [codec.join(output) for output in measured.outputs]
        kept["exact_match"] = sums((float(text in right), 1) for text, right in zip(texts, truths, strict=True))
    if "accuracy" in measured.scores:
        kept["accuracy"] = sums((float(row.sum()), len(row)) for row in hits)
        if "exact_match" in measured.scores:
            kept["exact_match"] = sums((float(row.all()), 1) for row in hits)
    return kept


def influences(task: Task, measured: Measured, metric: str) -> NDArray[np.float64]:
    """By how much each row (references of one input together) moves a metric; they add up to 0.

    A metric that is not a sum over rows (BLEU, chrF, TER) is that of each output alone here, and its mean.
    """
    groups = grouped_rows(task)
    if metric == "macro_f1":
        return class_influences(measured.outputs, [choices[0] for choices in measured.references])
    named = {"perplexity": "loss", "nll_per_frame": "loss"}.get(metric, metric)
    sums = quotients(task, measured, groups)
    if named == "token_error_rate_teacher":
        pairs = [teacher_errors(measured.rows, rows) for rows in groups]
        sums[named] = Sums(*np.asarray(pairs, np.float64).reshape(-1, 2).T)
    elif named in CORPUS:
        codec = task.codecs.target
        assert isinstance(codec, TextCodec)
        texts = [codec.tokenizer.join(symbols) for symbols in measured.outputs]
        references = [[codec.normalize(task.rows[row].target) for row in rows] for rows in groups]
        scores = metrics.sentence_scores(named, texts, references, task.config.evaluate.bleu_tokenize)
        sums[named] = Sums(np.asarray(scores), np.ones(len(scores)))
    elif named == "span_f1":
        pairs = [
            metrics.span_counts(output, choices[0])
            for output, choices in zip(measured.outputs, measured.references, strict=True)
        ]
        sums[named] = Sums(*np.asarray(pairs, np.float64).reshape(-1, 2).T)
    elif named in ("mse", "mae") and isinstance(task.codecs.target, SeriesCodec):
        squares, absolutes, counts = row_errors(task, task.codecs.target, measured.computed)
        sums[named] = Sums(squares if named == "mse" else absolutes, counts)
    elif named in ("mse", "mae"):
        number = task.codecs.target
        assert isinstance(number, ScaledCodec)
        squares = np.asarray([float(row.sum()) for row in measured.rows.losses]) * float(number.deviation[0]) ** 2
        sums[named] = Sums(squares if named == "mse" else np.sqrt(squares), np.ones(len(squares)))
    return sums[named].influences


def class_influences(outputs: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """How far each row moves the mean of all labels' F1 = 2 hits / (predicted + expected)."""
    labels = sorted({label for rows in (outputs, references) for row in rows for label in row})
    above, below = np.zeros((2, len(outputs), len(labels)))
    place = {label: number for number, label in enumerate(labels)}
    for row, (output, reference) in enumerate(zip(outputs, references, strict=True)):
        for label, expected in zip(output, reference, strict=True):
            above[row, place[label]] += 2 * (label == expected)
            below[row, place[label]] += 1
            below[row, place[expected]] += 1
    rates = above.sum(0) / below.sum(0)
    moved: NDArray[np.float64] = ((above - rates * below) / below.sum(0)).mean(1)
    return moved
