"""Intervals of forecasts: quantiles that have been calibrated by conformal prediction, kept in `intervals.json`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .messages import reason_of

Floats = NDArray[np.float64]
FILE = "intervals.json"


@dataclass(frozen=True)
class Intervals:
    """What is added to a forecast's quantiles, or to its points, to make quantiles that hold.

    `levels` [Q] rise; `offsets` [Q, H, C] are in the unit of the data. `around` is what they are added to: the model's
    quantiles of the same levels, or its points.
    """

    levels: Floats
    offsets: Floats
    around: str = "points"

    def quantiles(self, points: NDArray[Any], quantiles: NDArray[Any] | None = None) -> Floats:
        """Points [..., H, C] and the model's quantiles [..., Q, H, C] (None: it has none) -> calibrated [..., Q, H, C],
        which rise."""
        base = points[..., None, :, :] if self.around == "points" or quantiles is None else quantiles
        result: Floats = np.sort(base + self.offsets, -3)
        return result

    def to_json(self) -> dict[str, Any]:
        """As `read` takes it."""
        return {"levels": self.levels.tolist(), "around": self.around, "offsets": self.offsets.tolist()}


def fitted(
    levels: NDArray[Any], points: NDArray[Any], references: NDArray[Any], quantiles: NDArray[Any] | None = None
) -> Intervals:
    """Split conformal prediction, each quantile, step and column alone (Romano et al. 2019, arXiv 1905.03222, theorem
    2; without quantiles Lei et al. 2018).

    From N rows that were not learned from: points and references [N, H, C], quantiles [N, Q, H, C]. An upper quantile
    takes the ceil((N + 1) a)-th smallest residual, a lower one the floor((N + 1) a)-th, so that intervals cover at
    least what they are meant to, if rows are exchangeable.
    """
    count = len(references)
    base = points[:, None] if quantiles is None else quantiles
    offsets = np.empty((len(levels), *references.shape[1:]))
    for place, level in enumerate(levels):
        residuals = np.sort(references - base[:, min(place, base.shape[1] - 1)], 0)
        rank = (count + 1) * float(level)
        rank = math.ceil(round(rank, 9)) if level > 0.5 else math.floor(round(rank, 9))
        offsets[place] = residuals[min(max(rank, 1), count) - 1]
    return Intervals(np.asarray(levels, np.float64), offsets, "points" if quantiles is None else "quantiles")


def from_json(value: Any) -> Intervals:
    """The value of `to_json`; anything else is a `KeyError`, `TypeError` or `ValueError`."""
    levels, offsets = (np.asarray(value[name], np.float64) for name in ("levels", "offsets"))
    around = value["around"]
    sound = levels.ndim == 1 and offsets.ndim == 3 and len(levels) == len(offsets) > 0
    if not sound or around not in ("points", "quantiles") or not (np.diff(levels) > 0).all():
        raise ValueError("levels and offsets do not belong together")
    if not np.isfinite(offsets).all() or not ((levels > 0) & (levels < 1)).all():
        raise ValueError("offsets must be numbers, and levels between 0 and 1")
    return Intervals(levels, offsets, around)


def read(path: Path) -> Intervals | None:
    """The intervals in a file; None if there is no such file. A `ValueError` describes how a file is damaged."""
    if not path.is_file():
        return None
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8"))["intervals"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(reason_of(error)) from None
