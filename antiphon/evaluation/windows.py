"""How good forecasts of windows are: of their points, and of their quantiles if they have any."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from antiphon.common.intervals import Intervals, offsets_of
from antiphon.data.codecs.series import SeriesCodec
from antiphon.data.encode import encode_rows
from antiphon.data.load import Codecs
from antiphon.data.rows import Row
from antiphon.data.windows import Windows
from antiphon.decoding.series import limits_of, write_series
from antiphon.evaluation.controls import forecasts, scores_of, season_of, seasonal_errors
from antiphon.evaluation.forecasts import LEVELS, crps_of_quantiles, interval_scores, pinball, point_scores, point_sums
from antiphon.evaluation.series import quantiles_of
from antiphon.evaluation.task import Measured, Task
from antiphon.model.series import SeriesWriter

FEWEST = 20  # windows: with fewer no interval that covers 90% is known
AT_ONCE = 512  # windows whose quantiles are held at once
Floats = NDArray[np.float64]


class Forecasts(NamedTuple):
    """What a model forecasts for N windows, in the unit of the data: points and references [N, H, C], and if it has a
    distribution the quantiles [N, Q, H, C] of `LEVELS`."""

    points: Floats
    references: Floats
    quantiles: Floats | None


def has_distribution(task: Task) -> bool:
    """Whether the model has a distribution of its numbers."""
    return isinstance(task.model, SeriesWriter) and task.model.head.likelihood.draws > 0


def forecast(task: Task, numbers: Sequence[int], with_quantiles: bool = True) -> Forecasts:
    """What the model forecasts for some windows of a task."""
    codec, model, decode = task.codecs.target, task.model, task.config.decode
    assert isinstance(codec, SeriesCodec)
    assert isinstance(model, SeriesWriter)
    sources = [source.take(numbers) for source in task.examples.sources]
    limits = limits_of(codec, decode.min_length, decode.max_length)
    written = [paths[0] for paths in write_series(model, sources, limits, task.device)]
    points = codec.restored(np.stack(written)).astype(np.float64)
    references = codec.restored(np.stack([task.examples.target[row] for row in numbers])).astype(np.float64)
    if not with_quantiles or not has_distribution(task):
        return Forecasts(points, references, None)
    asked = decode.model_copy(update={"quantiles": list(LEVELS)})
    rows = quantiles_of(model, sources, limits, task.device, asked, written, numbers)
    scaled = np.stack([np.stack([row[level] for level in LEVELS]) for row in rows])
    return Forecasts(points, references, codec.restored(scaled).astype(np.float64))


def window_scores(task: Task, measured: Measured) -> dict[str, float]:
    """The measures of points, and of quantiles where the model has a distribution or has been calibrated."""
    codec, windows = task.codecs.target, task.rows
    assert isinstance(codec, SeriesCodec)
    assert isinstance(windows, Windows)
    history = windows.history()
    season = season_of(history, windows.layout.past) or 1
    longer = [numbers for numbers in history if len(numbers) > season]
    seasonal = seasonal_errors(longer, season) if longer else None
    rolls = task.intervals is not None and task.intervals.recent > 0
    sums, distributions = [], has_distribution(task) or task.intervals is not None
    quantile_sums: list[tuple[dict[str, float], int]] = []
    for start in range(0, len(windows), AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, len(windows)))
        points = codec.restored(np.stack([measured.computed[row].predicted for row in numbers]))
        references = codec.restored(np.stack([task.examples.target[row] for row in numbers]))
        sums.append(point_sums(points, references, seasonal, codec.deviation))
        if distributions and not rolls:
            quantile_sums.append((_quantile_scores(task, numbers), len(numbers)))
    if rolls:
        quantile_sums += [(scores_of_quantiles(*part), len(part[1])) for part in rolling(task)]
    return point_scores(sums) | weighted(quantile_sums)


def _quantile_scores(task: Task, numbers: Sequence[int]) -> dict[str, float]:
    made = forecast(task, numbers, task.intervals is None or task.intervals.around == "quantiles")
    quantiles = made.quantiles if task.intervals is None else task.intervals.quantiles(made.points, made.quantiles)
    assert quantiles is not None
    return scores_of_quantiles(quantiles, made.references)


def scores_of_quantiles(quantiles: NDArray[Any], references: NDArray[Any]) -> dict[str, float]:
    """crps, pinball, coverage and width of quantiles [N, Q, H, C] of `LEVELS`."""
    levels = np.asarray(LEVELS)
    ordered = np.moveaxis(quantiles, 1, -1)  # [N, H, C, Q]
    return {
        "crps": float(crps_of_quantiles(ordered, references, levels).mean()),
        "pinball": float(pinball(ordered, references, levels).mean()),
    } | interval_scores(ordered, references, levels)


def weighted(parts: Sequence[tuple[dict[str, float], int]]) -> dict[str, float]:
    """The mean of scores of parts with so many rows."""
    total = sum(count for _, count in parts)
    names = parts[0][0] if parts else {}
    return {name: sum(scores[name] * count for scores, count in parts) / total for name in names}


def rolling(task: Task) -> Iterator[tuple[Floats, Floats]]:
    """Quantiles [n, Q, H, C] and references [n, H, C] of a task's windows, some at a time, where the intervals are made
    anew every `horizon` rows from the last windows whose references are known by then."""
    windows = task.rows
    assert isinstance(windows, Windows)
    for track in np.unique(windows.places[:, 0]).tolist():
        origins = windows.places[windows.places[:, 0] == track, 1]
        yield from _rolling(task, windows, track, origins)


def _rolling(task: Task, windows: Windows, track: int, origins: NDArray[Any]) -> Iterator[tuple[Floats, Floats]]:
    intervals, layout = task.intervals, windows.layout
    assert intervals is not None
    with_quantiles = intervals.around == "quantiles"
    reach = intervals.recent * layout.stride + layout.horizon
    earlier = np.arange(origins[0] - layout.stride, max(layout.past, origins[0] - reach) - 1, -layout.stride)[::-1]
    every = np.concatenate([earlier, origins])
    whole = replace(windows, places=np.stack([np.full(len(every), track), every], 1))
    rows, examples = encode_rows(task.config, task.codecs, whole)
    every_task = replace(task, rows=rows, examples=examples)
    chunk = max(1, layout.horizon // layout.stride)
    last: deque[Floats] = deque(maxlen=intervals.recent)  # residuals of the last windows whose references are known
    coming: deque[tuple[int, Floats]] = deque()  # where the references of later windows end, and their residuals
    starts = [*range(0, len(earlier), chunk), *range(len(earlier), len(every), chunk)]
    for start, stop in zip(starts, [*starts[1:], len(every)], strict=True):
        made = forecast(every_task, range(start, stop), with_quantiles)
        while coming and coming[0][0] <= every[start]:
            last.append(coming.popleft()[1])
        if start >= len(earlier):
            yield _refitted(intervals, last).quantiles(made.points, made.quantiles), made.references
        coming += zip((every[start:stop] + layout.horizon).tolist(), _residuals(made), strict=True)


def intervals_at_end(task: Task, track: int) -> Intervals:
    """The intervals of a task, fitted to the last windows of a track, if it has enough."""
    intervals, windows = task.intervals, task.rows
    assert intervals is not None
    assert isinstance(windows, Windows)
    numbers = np.flatnonzero(windows.places[:, 0] == track)[-intervals.recent :]
    if len(numbers) < FEWEST:
        return intervals
    made = forecast(task, numbers.tolist(), intervals.around == "quantiles")
    return _refitted(intervals, list(_residuals(made)))


def _residuals(made: Forecasts) -> Floats:
    """What references lie above the points [N, 1, H, C], or above the quantiles [N, Q, H, C] if there are some."""
    return made.references[:, None] - (made.points[:, None] if made.quantiles is None else made.quantiles)


def _refitted(intervals: Intervals, residuals: Sequence[Floats]) -> Intervals:
    """Intervals fitted to the residuals of some windows; as they are with too few."""
    if len(residuals) < FEWEST:
        return intervals
    return replace(intervals, offsets=offsets_of(np.stack(residuals), intervals.levels))


def control_scores(codecs: Codecs, train: Sequence[Row], valid: Sequence[Row]) -> dict[str, dict[str, float]]:
    """The measures of simple forecasts, fitted to the training windows, on the validation windows."""
    assert isinstance(train, Windows)
    assert isinstance(valid, Windows)
    assert isinstance(codecs.target, SeriesCodec)
    made: Any = forecasts(train, valid, None)
    deviation = codecs.target.deviation
    return {name: scores_of(control, valid, deviation) for name, control in made.items()}
