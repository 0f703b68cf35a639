"""What a calibration is fitted to, and the rows that a calibrated model predicts with enough confidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from antiphon.common.calibration import Calibration, outcomes
from antiphon.common.symbols import SPECIALS
from antiphon.data.batches import Examples
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.evaluation.outputs import best_outputs
from antiphon.evaluation.scores import read_sources, symbol_scores
from antiphon.evaluation.task import Task, grouped_rows
from antiphon.model.models import Reader, Writer
from antiphon.saved.calibration import Judged


def judged(task: Task) -> Judged:
    """The prediction for every input of a task whose target is text, a label or labels, and whether it is right."""
    codec = task.codecs.target
    if isinstance(codec, TextCodec):
        groups = grouped_rows(task)
        best, outputs = best_outputs(task, groups, task.config.decode)
        references = [[codec.truth(task.rows[row].target) for row in group] for group in groups]
        texts = map(codec.join, outputs)
        wrong = np.asarray([text not in choices for text, choices in zip(texts, references, strict=True)], np.int64)
        scores = [output.score for output in best]
        if task.config.decode.shortlist is not None:  # the scores of its search are over the symbols listed
            assert isinstance(task.model, Writer)
            sources = [source.take([group[0] for group in groups]) for source in task.examples.sources]
            scores = list(map(sum, symbol_scores(task.model, sources, [output.tokens for output in best], task.device)))
        log_probs = outcomes(scores)
        return Judged(log_probs, np.zeros_like(wrong), wrong, np.ones_like(wrong))
    assert isinstance(codec, LabelCodec)
    assert isinstance(task.model, Reader)
    answers = read_sources(task.model, task.examples.sources, task.codecs.sources[0].ends, task.device)
    target = task.examples.target
    return Judged(
        np.concatenate([answer.values for answer in answers])[:, SPECIALS:].astype(np.float64),
        np.concatenate([answer.predicted for answer in answers]) - SPECIALS,
        target.values.astype(np.int64) - SPECIALS,
        target.lengths,
    )


def surest(task: Task, calibration: Calibration, below: float) -> tuple[Task, float]:
    """The rows of a task whose prediction (each of its labels) has at least the confidence `below`; and their share."""
    answers = judged(task)
    sure = np.asarray(calibration.of_labels(answers.log_probs, answers.predicted))
    least = np.minimum.reduceat(sure, np.cumsum(answers.lengths) - answers.lengths)
    kept = [row for group, lowest in zip(grouped_rows(task), least, strict=True) if lowest >= below for row in group]
    sources = tuple(source.take(kept) for source in task.examples.sources)
    examples = Examples(sources, task.examples.target.take(kept))
    part = replace(task, rows=[task.rows[row] for row in kept], examples=examples)
    return part, float((least >= below).mean())
