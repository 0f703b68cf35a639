"""How improbable the given targets of rows are to a model, compared with what it predicts for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.data.batches import Examples, Sequences
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.numbers import NumbersCodec
from antiphon.data.codecs.series import SeriesCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.decoding.plan import plain
from antiphon.evaluation.answering import Answer, answered
from antiphon.evaluation.outputs import best_outputs
from antiphon.evaluation.scores import read_sources, score_rows
from antiphon.evaluation.series import series_of
from antiphon.evaluation.task import Task
from antiphon.model.models import Reader
from antiphon.model.series import SeriesWriter


@dataclass(frozen=True)
class Compared:
    """A row's target beside the prediction: the score of each, and the steps of the target.

    Scores are log p in nats; of numbers without a density minus the error. Of bits the prediction is scored as the
    more probable value of each. A language model predicts no target for a row: it has no prediction, and the best
    score 0.
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
    if isinstance(codec, SeriesCodec):
        assert isinstance(task.model, SeriesWriter)
        answers = series_of(task.model, codec, task.examples.sources, task.config.decode, task.device)
    elif isinstance(task.model, Reader) and codec.reads:
        answers = read_sources(task.model, task.examples.sources, task.codecs.sources[0].ends, task.device)
    else:
        return [0.0] * count, [None] * count
    predicted = Sequences([_as_target(codec, answer) for answer in answers])
    scores = score_rows(task.model, Examples(task.examples.sources, predicted), task.device)
    return scores.totals, [answered(codec, answer).text for answer in answers]


def _as_target(codec: Codec, answer: Answer) -> NDArray[Any]:
    """A prediction as the array of a target."""
    if isinstance(codec, LabelCodec):
        return answer.predicted.astype(np.int32)
    if isinstance(codec, NumbersCodec) and codec.bits:
        return (answer.predicted > 0.5).astype(np.float32)
    return answer.predicted.astype(np.float32)
