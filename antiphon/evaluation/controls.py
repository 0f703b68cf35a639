"""Forecasts that every model must beat: the last value, the last season, and a linear map of the past.

All read the past of the windows [N, P, C] and predict [N, H, C], in the unit of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from antiphon.data.windows import Windows
from antiphon.evaluation.forecasts import point_scores, point_sums

Floats = NDArray[np.float64]
Forecast = Callable[[Floats], Floats]
AT_ONCE = 2048  # windows
MOST = 20_000  # windows that a linear map is fitted to, evenly spread
PENALTIES = tuple(10.0**power for power in range(-6, 6))
SHORTEST = 4  # rows: differences of noise look like a season of 2 or 3
FAINT, NEARLY = 0.1, 0.7  # a weaker correlation is no season; a share of the highest peak


def arrays(windows: Windows) -> Iterator[tuple[Floats, Floats]]:
    """The past and the reference of the target's columns, of some windows at a time."""
    for start in range(0, len(windows), AT_ONCE):
        part = windows[start : start + AT_ONCE]
        pasts, futures = zip(*map(part.target_of, range(len(part))), strict=True)
        yield np.stack(pasts).astype(np.float64), np.stack(futures).astype(np.float64)


def naive(horizon: int) -> Forecast:
    """The last value, for all steps."""
    return lambda past: np.repeat(past[:, -1:], horizon, 1)


def seasonal_naive(horizon: int, season: int) -> Forecast:
    """The value one season before; the last season again and again."""
    places = np.arange(horizon) % season - season
    return lambda past: past[:, places]


def season_of(tracks: Iterable[NDArray[Any]], longest: int) -> int | None:
    """The number of rows, from 4 to `longest`, after which tracks of numbers [T, C] repeat themselves: the highest peak
    of the autocorrelation, or the first that is nearly as high; None if there is none.

    The autocorrelation is the mean over columns and tracks, and over two ways to leave out a trend: less a moving mean,
    which shows a weak season in noise, and differences, which show it beside slow changes.
    """
    total, count = np.zeros(longest + 2), 0
    for values in tracks:
        if len(values) < 2 * (longest + 2):
            continue
        for column in values.T.astype(np.float64):
            trend = np.convolve(column, np.full(longest, 1 / longest), "valid")
            level = column[longest // 2 : longest // 2 + len(trend)] - trend
            parts = [_correlation(part, longest + 2) for part in (level, np.diff(column))]
            total, count = total + sum(parts), count + len(parts)
    if not count:
        return None
    mean = total / count
    inner = mean[1:-1]
    peaks = 1 + np.flatnonzero((inner > mean[:-2]) & (inner >= mean[2:]) & (inner > FAINT))
    peaks = peaks[peaks >= SHORTEST]
    return int(peaks[mean[peaks] >= NEARLY * mean[peaks].max()][0]) if len(peaks) else None


def _correlation(values: Floats, count: int) -> Floats:
    """The autocorrelation of values [T] at the lags 0 to `count` - 1; zeros if they never change."""
    ordinary = values - values.mean()
    products = np.fft.irfft(np.abs(np.fft.rfft(ordinary, 2 * len(ordinary))) ** 2)[:count]
    result: Floats = products / products[0] if products[0] > 0 else np.zeros(count)
    return result


def seasonal_errors(tracks: Iterable[NDArray[Any]], season: int) -> Floats:
    """The mean absolute difference of values one season apart, of each column [C], in tracks of numbers [T, C]."""
    parts = [np.abs(values[season:].astype(np.float64) - values[:-season]) for values in tracks]
    result: Floats = np.concatenate(parts).mean(0)
    return result


class Linear(NamedTuple):
    """For each column a linear map of its past, less its last value: weights [C, P, H] and what is added [C, H]."""

    weights: Floats
    bias: Floats

    def __call__(self, past: Floats) -> Floats:
        last = past[:, -1:]
        mapped = np.einsum("npc,cph->nhc", past - last, self.weights) + self.bias.T[None]
        result: Floats = mapped + last
        return result


def linear(train: Windows, valid: Windows) -> Linear:
    """Ridge regression in closed form for each column (NLinear: Zeng et al. 2023, arXiv 2205.13504), whose penalty is
    the best of a few on the validation windows."""
    past, future = _some(train)
    tested_past, tested_future = _some(valid)
    fits = [
        _ridge(*(values[..., column] for values in (past, future, tested_past, tested_future)))
        for column in range(past.shape[2])
    ]
    weights, bias = zip(*fits, strict=True)
    return Linear(np.stack(weights), np.stack(bias))


def _some(windows: Windows) -> tuple[Floats, Floats]:
    step = -(-len(windows) // MOST)
    pasts, futures = zip(*arrays(windows[::step]), strict=True)
    return np.concatenate(pasts), np.concatenate(futures)


def _ridge(past: Floats, future: Floats, tested_past: Floats, tested_future: Floats) -> tuple[Floats, Floats]:
    """The weights [P, H] and the bias [H] of one column."""
    inputs, outputs = past - past[:, -1:], future - past[:, -1:]
    mean_input, mean_output = inputs.mean(0), outputs.mean(0)
    values, vectors = np.linalg.eigh((inputs - mean_input).T @ (inputs - mean_input))
    projected = vectors.T @ ((inputs - mean_input).T @ (outputs - mean_output))
    values = np.maximum(values, 0)
    scale = values.mean() or 1.0
    best: tuple[float, Floats] | None = None
    tested = tested_past - tested_past[:, -1:] - mean_input
    for penalty in PENALTIES:
        weights = vectors @ (projected / (values + penalty * scale / len(values))[:, None])
        errors = tested @ weights + mean_output + tested_past[:, -1:] - tested_future
        error = float(np.square(errors).mean())
        if best is None or error < best[0]:
            best = error, weights
    assert best is not None
    return best[1], mean_output - mean_input @ best[1]


def scores_of(forecast: Forecast, windows: Windows, deviation: NDArray[Any] | None = None) -> dict[str, float]:
    """The measures of a forecast's points on windows; with the training rows' `deviation` [C] also the scaled ones."""
    return point_scores(point_sums(forecast(past), future, deviation=deviation) for past, future in arrays(windows))


def forecasts(train: Windows, valid: Windows, season: int | None) -> dict[str, Forecast]:
    """All controls by name, fitted to training windows; `season` None: found on them."""
    horizon = train.layout.horizon
    season = season or season_of(train.covered_numbers(), train.layout.past)
    made: dict[str, Forecast] = {"last value": naive(horizon)}
    if season is not None and season <= train.layout.past:
        made[f"last season of {season} rows"] = seasonal_naive(horizon, season)
    made["linear"] = linear(train, valid).__call__
    return made
