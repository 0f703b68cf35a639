"""How good forecasts are: errors of points, of quantiles and of intervals, as pure functions of numpy arrays.

References and points are [N, H, C]: rows, steps and columns. JSON keeps shares as fractions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SHARES = (0.8, 0.9)  # of references that an interval is meant to cover
LEVELS = tuple(round(level / 20, 2) for level in range(1, 20))  # 0.05, 0.1, ..., 0.95


def point_sums(
    points: NDArray[Any],
    references: NDArray[Any],
    seasonal: NDArray[Any] | None = None,
    deviation: NDArray[Any] | None = None,
) -> Mapping[str, Any]:
    """What rows add to the measures of points: sums of squares and of absolute errors and of sMAPE's terms, and how
    many numbers there are; with the mean `seasonal` error of each column [C] also MASE's terms, and with the
    `deviation` [C] of the training rows both errors in it."""
    truth = references.astype(np.float64)
    errors = np.abs(points - truth)
    size = np.abs(points) + np.abs(truth)
    relative = np.divide(2 * errors, size, out=np.zeros_like(errors), where=size > 0)
    sums = {
        "squares": np.square(errors).sum(),
        "absolute": errors.sum(),
        "relative": relative.sum(),
        "count": errors.size,
    }
    if seasonal is not None:
        sums["seasonal"] = (errors / np.where(seasonal > 0, seasonal, np.nan)).sum()
    if deviation is not None:
        sums["scaled"], sums["scaled_squares"] = (errors / deviation).sum(), np.square(errors / deviation).sum()
    return sums


def point_scores(sums: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """mse, rmse, mae, smape, mase, mse_scaled and mae_scaled of all rows from what parts of them add (`point_sums`).

    smape is the mean of 2 |y - f| / (|y| + |f|), from 0 to 2 (0 where both are 0; Makridakis 1993). mase is the mean
    absolute error over that of the seasonal naive forecast in the rows before (Hyndman & Koehler 2006). The scaled
    errors are in deviations of the training rows, column by column, as papers on several columns report them.
    """
    parts = list(sums)
    count = max(sum(part["count"] for part in parts), 1)
    mean = {name: float(sum(part[name] for part in parts) / count) for name in ("squares", "absolute", "relative")}
    scores = {
        "mse": mean["squares"],
        "rmse": math.sqrt(mean["squares"]),
        "mae": mean["absolute"],
        "smape": mean["relative"],
    }
    for name, term in (("mase", "seasonal"), ("mse_scaled", "scaled_squares"), ("mae_scaled", "scaled")):
        total = sum(part.get(term, math.nan) for part in parts) / count
        if math.isfinite(total):
            scores[name] = float(total)
    return scores


def pinball(quantiles: NDArray[Any], references: NDArray[Any], levels: NDArray[Any]) -> Floats:
    """The pinball loss [..., Q] of quantiles [..., Q] at `levels` [Q]: a (y - q) above the quantile, (1 - a) (q - y)
    below it (Koenker & Bassett 1978)."""
    above = references[..., None].astype(np.float64) - quantiles
    result: Floats = np.maximum(levels * above, (levels - 1) * above)
    return result


def crps_of_quantiles(quantiles: NDArray[Any], references: NDArray[Any], levels: NDArray[Any]) -> Floats:
    """The continuous ranked probability score [...] of quantiles [..., Q]: twice the mean pinball loss over evenly
    spread levels, which stands for the integral over all levels (Gneiting & Raftery 2007)."""
    result: Floats = 2 * pinball(quantiles, references, levels).mean(-1)
    return result


def interval_scores(quantiles: NDArray[Any], references: NDArray[Any], levels: NDArray[Any]) -> dict[str, float]:
    """coverage_80, width_80, coverage_90, width_90 of central intervals: the share of references inside, and the mean
    width; from quantiles [..., Q], among whose levels the ends must be."""
    scores = {}
    for share in SHARES:
        low, high = (quantiles[..., place_of(levels, level)] for level in ends_of(share))
        name = round(100 * share)
        scores[f"coverage_{name}"] = float(((references >= low) & (references <= high)).mean())
        scores[f"width_{name}"] = float((high - low).mean())
    return scores


def ends_of(share: float) -> tuple[float, float]:
    """The levels of the two ends of a central interval that covers a share: 0.1 and 0.9 for 0.8."""
    return round((1 - share) / 2, 6), round((1 + share) / 2, 6)


def place_of(levels: NDArray[Any], level: float) -> int:
    """The place of a level among the levels."""
    place = int(np.abs(levels - level).argmin())
    if abs(float(levels[place]) - level) > 1e-6:
        raise ValueError(f"no quantile of the level {level}")
    return place
