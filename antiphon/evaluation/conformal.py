"""Intervals of forecasts that hold, fitted to windows that were not learned from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from antiphon.common.intervals import Intervals, fitted
from antiphon.data.windows import Windows
from antiphon.evaluation.forecasts import LEVELS
from antiphon.evaluation.task import Task
from antiphon.evaluation.windows import AT_ONCE, forecast, rolling, scores_of_quantiles, weighted
from antiphon.saved.intervals import IntervalReport

MOST_NUMBERS = 60_000_000  # quantiles that are held at once


def calibrated_intervals(task: Task, about: str, recent: int = 0) -> IntervalReport:
    """Intervals fitted to the rows of a task by conformal prediction; described by `about`.

    The later half of windows is later in time, whatever their group. If rows are very many, evenly spread ones are
    taken, so that all quantiles fit into memory. With `recent` the intervals are made anew from so many last windows of
    a table, wherever there are some.
    """
    count, levels = len(task.examples), np.asarray(LEVELS)
    size = forecast(task, [0], with_quantiles=False).points.size
    most = max(1, MOST_NUMBERS // (len(LEVELS) * size))
    order = task.rows.in_time() if isinstance(task.rows, Windows) else list(range(count))
    places = order[:: -(-count // most)]
    parts = [forecast(task, places[start : start + AT_ONCE]) for start in range(0, len(places), AT_ONCE)]
    points, references = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    held = [part.quantiles for part in parts if part.quantiles is not None]
    quantiles = np.concatenate(held) if held else None
    half = len(places) // 2
    earlier, later = (slice(0, half), slice(half, None)) if half else (slice(0, 1), slice(0, 1))
    first, second = (None if quantiles is None else quantiles[part] for part in (earlier, later))
    tried = fitted(levels, points[earlier], references[earlier], first, recent)
    if recent and isinstance(task.rows, Windows):
        after = _rolled(task, order[order.index(places[half]) :], tried)
    else:
        after = scores_of_quantiles(tried.quantiles(points[later], second), references[later])
    before = None if second is None else scores_of_quantiles(second, references[later])
    return IntervalReport(fitted(levels, points, references, quantiles, recent), about, len(places), after, before)


def _rolled(task: Task, numbers: list[int], tried: Intervals) -> dict[str, float]:
    """What rolling intervals cover of some windows."""
    assert isinstance(task.rows, Windows)
    part = replace(task, rows=task.rows.take(sorted(numbers)), intervals=tried)
    return weighted([(scores_of_quantiles(*some), len(some[1])) for some in rolling(part)])
