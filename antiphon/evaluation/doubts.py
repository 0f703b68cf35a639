"""How improbable the given targets of rows are to a model, compared with what it predicts for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.data.batches import Examples, Sequences
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.decoding.plan import plain
from antiphon.evaluation.answering import answered
from antiphon.evaluation.outputs import best_outputs
from antiphon.evaluation.scores import read_sources, score_rows
from antiphon.evaluation.task import Task
from antiphon.model.models import Reader


@dataclass(frozen=True)
class Compared:
    """A row's target beside the prediction: the score of each, and the steps of the target.

    Scores are log p in nats, of numbers minus the squared error, which is 0 for the prediction. A language model
    predicts no target for a row: it has no prediction, and the best score 0.
    """

    score: float
    best: float
    prediction: str | None
    steps: int

    @property
    def doubt(self) -> float:
        """(best - score) / steps: how many times as probable as the target the prediction is, as a logarithm, for each
        step; of a language model the mean -log p of a symbol. 0 if the target is more probable than what greedy search
        predicts."""
        return max(self.best - self.score, 0.0) / max(self.steps, 1)


def compared(task: Task) -> list[Compared]:
    """The target of every row beside what the model predicts for its input, greedily."""
    targets = score_rows(task.model, task.examples, task.device)
    best, texts = _best(task)
    steps = [len(losses) for losses in targets.losses]
    return [Compared(*entry) for entry in zip(targets.totals, best, texts, steps, strict=True)]


def _best(task: Task) -> tuple[list[float], Sequence[str | None]]:
    """The score of the best prediction for every row, and the prediction."""
    codec, count = task.codecs.target, len(task.rows)
    if isinstance(codec, TextCodec):
        outputs, symbols = best_outputs(task, [[row] for row in range(count)], plain(task.config.decode))
        return [output.score for output in outputs], list(map(codec.join, symbols))
    if not isinstance(task.model, Reader) or not codec.reads:
        return [0.0] * count, [None] * count
    answers = read_sources(task.model, task.examples.sources, task.codecs.sources[0].ends, task.device)
    texts = [answered(codec, answer).text for answer in answers]
    if not isinstance(codec, LabelCodec):
        return [0.0] * count, texts
    predicted = Sequences([answer.predicted.astype(np.int32) for answer in answers])
    return score_rows(task.model, Examples(task.examples.sources, predicted), task.device).totals, texts
