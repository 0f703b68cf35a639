"""What a head computed for a row, as the prediction that a user reads: labels by name, numbers in their unit."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from antiphon.common.answers import (
    LabelPrediction,
    LabelsPrediction,
    NumberPrediction,
    NumbersPrediction,
    Prediction,
    SeriesPrediction,
    TextPrediction,
    label_prediction,
    labels_prediction,
)
from antiphon.common.calibration import Calibration
from antiphon.data.codecs.base import Codec
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.numbers import NumbersCodec, ScaledCodec
from antiphon.data.codecs.series import SeriesCodec


class Answer(NamedTuple):
    """The output of a reader's head for one row, or a series that was written for it.

    `predicted`: ids of labels [steps], or scaled numbers [steps, size]. `values` [steps, size]: log p of every label,
    or again the numbers.
    """

    predicted: NDArray[Any]
    values: NDArray[np.float32]


def answered(codec: Codec, answer: Answer, calibration: Calibration | None = None) -> Prediction:
    """A row's prediction, in the labels or the unit of the target."""
    if isinstance(codec, LabelCodec):
        if not codec.steps:
            return _label(codec, answer.values[0], calibration)
        return labels_prediction(codec.names, answer.predicted, answer.values, calibration)
    values = _values(codec, answer.predicted)
    if isinstance(codec, SeriesCodec):
        return SeriesPrediction(values)
    return NumbersPrediction(values) if codec.steps else NumberPrediction(float(values[0, 0]))


def answered_step(codec: Codec, values: NDArray[np.float32], calibration: Calibration | None = None) -> Prediction:
    """The prediction for one step of a live stream, from the values [size] of a reader's head."""
    if isinstance(codec, LabelCodec):
        return _label(codec, values, calibration)
    return NumbersPrediction(_values(codec, values))


def _label(codec: LabelCodec, answer: NDArray[np.float32], calibration: Calibration | None) -> LabelPrediction:
    return label_prediction(codec.names, len(codec.vocabulary.symbols), answer, calibration)


def _values(codec: Codec, answer: NDArray[np.float32]) -> NDArray[np.float32]:
    assert isinstance(codec, ScaledCodec)
    return answer if isinstance(codec, NumbersCodec) and codec.bits else codec.restored(answer)


def empty(codec: Codec) -> Prediction:
    """The prediction for an empty input."""
    if isinstance(codec, LabelCodec):
        return LabelsPrediction([], []) if codec.steps else LabelPrediction("", {})
    if isinstance(codec, SeriesCodec):
        return SeriesPrediction(np.empty((0, codec.size), np.float32))
    if isinstance(codec, ScaledCodec):
        return NumbersPrediction(np.empty((0, codec.size), np.float32)) if codec.steps else NumberPrediction(None)
    return TextPrediction("", [], None, [], [])


def prediction_class(codec: Codec) -> type[Prediction]:
    """The class of the predictions for a target."""
    return type(empty(codec))
