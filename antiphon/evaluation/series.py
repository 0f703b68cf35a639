"""Series written for rows, and how far they are from their references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from antiphon.common.answers import SeriesPrediction
from antiphon.common.intervals import Intervals
from antiphon.common.options import Sample
from antiphon.common.series import Floats, path_quantiles
from antiphon.config.decode import Decode
from antiphon.data.batches import Sequences
from antiphon.data.codecs.series import SeriesCodec
from antiphon.decoding.series import check_decoding, limits_of, step_quantiles, write_series
from antiphon.decoding.step import Limits
from antiphon.errors import ConfigError
from antiphon.evaluation.answering import Answer
from antiphon.evaluation.scores import RowScores
from antiphon.evaluation.task import Measured, Task
from antiphon.model.series import SeriesWriter


def check_series_decoding(model: SeriesWriter, decode: Decode, intervals: Intervals | None) -> None:
    """Refuse to draw numbers where there is no distribution, and quantiles that neither it nor a calibration gives."""
    if intervals is None:
        check_decoding(model, decode)
        return
    check_decoding(
        model, decode.model_copy(update={"quantiles": []})
    )  # the intervals have some, whatever the model has
    if decode.sample is None:
        try:
            intervals.places(decode.quantiles)
        except ValueError as error:
            raise ConfigError("decode.quantiles", str(error)) from None


def predict_series(
    model: SeriesWriter,
    codec: SeriesCodec,
    sources: Sequence[Sequences],
    decode: Decode,
    device: torch.device,
    paths: int = 1,
    numbers: Sequence[int] | None = None,
) -> list[SeriesPrediction]:
    """The series of every row, in the unit of the data; where `decode` draws numbers, so many `paths` of each."""
    limits = limits_of(codec, decode.min_length, decode.max_length)
    written = write_series(model, sources, limits, device, decode.sample, paths, numbers)
    quantiles = quantiles_of(model, sources, limits, device, decode, [row[0] for row in written], numbers)
    predictions = []
    for row, levels in zip(written, quantiles, strict=True):
        series = [codec.restored(values) for values in row]
        restored = {level: codec.restored(values) for level, values in levels.items()}
        predictions.append(SeriesPrediction(series[0], restored or None, None if decode.sample is None else series))
    return predictions


def quantiles_of(
    model: SeriesWriter,
    sources: Sequence[Sequences],
    limits: Limits,
    device: torch.device,
    decode: Decode,
    answers: Sequence[Floats],
    numbers: Sequence[int] | None,
) -> list[dict[float, Floats]]:
    """For every row the quantiles [steps, numbers] of `decode`, as long as its answer: those of the distribution of
    each step, where these do not depend on each other, else of series that are drawn."""
    if not decode.quantiles:
        return [{} for _ in answers]
    if not model.feeds:
        rows = step_quantiles(model, sources, limits, device, decode.quantiles)
        return [dict(zip(decode.quantiles, row, strict=True)) for row in rows]
    sample = Sample(seed=1 if decode.sample is None else decode.sample.seed)
    drawn = write_series(model, sources, limits, device, sample, decode.paths, numbers)
    return [path_quantiles(paths, decode.quantiles, answer) for paths, answer in zip(drawn, answers, strict=True)]


def series_of(
    model: SeriesWriter, codec: SeriesCodec, sources: Sequence[Sequences], decode: Decode, device: torch.device
) -> list[Answer]:
    """The scaled series of every row that is not drawn."""
    limits = limits_of(codec, decode.min_length, decode.max_length)
    return [Answer(values, values) for [values] in write_series(model, sources, limits, device)]


def measure_series(task: Task, codec: SeriesCodec, scores: RowScores) -> Measured:
    """The errors, in their own unit, of the steps that an output and its reference both have, and where the model
    learns where to stop, by how many steps outputs are too long or too short."""
    assert isinstance(task.model, SeriesWriter)
    answers = series_of(task.model, codec, task.examples.sources, task.config.decode, task.device)
    squares, absolutes, counts = row_errors(task, codec, answers)
    figures = {
        "loss": scores.mean,
        "mse": float(squares.sum() / max(counts.sum(), 1)),
        "mae": float(absolutes.sum() / max(counts.sum(), 1)),
    }
    if codec.horizon is None:
        lengths = np.asarray([len(answer.predicted) for answer in answers])
        figures["length_error"] = float(np.abs(lengths - task.examples.target.lengths).mean())
    return Measured(figures, {}, [], [], scores, answers)


def row_errors(
    task: Task, codec: SeriesCodec, answers: Sequence[Answer]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What every row adds to the squared and to the absolute error, in the unit of the data, and its numbers."""
    sums = np.zeros((3, len(answers)))
    for row, answer in enumerate(answers):
        expected = task.examples.target[row]
        steps = min(len(expected), len(answer.predicted))
        errors = (answer.predicted[:steps] - expected[:steps]).astype(np.float64) * codec.deviation
        sums[:, row] = np.square(errors).sum(), np.abs(errors).sum(), errors.size
    return sums[0], sums[1], sums[2]
