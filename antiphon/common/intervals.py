"""Intervals of forecasts: quantiles calibrated by conformal prediction, kept in a model's `calibration.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .messages import reason_of

Floats = NDArray[np.float64]
ENDS = (0.05, 0.1, 0.9, 0.95)  # levels of the ends of intervals that cover 90% and 80%


@dataclass(frozen=True)
class Intervals:
    """What is added to a forecast's quantiles, or to its points, to make quantiles that hold.

    `levels` [Q] rise; `offsets` [Q, H, C] are in the unit of the data. `around` is what they are added to: the model's
    quantiles of the same levels, or its points. If `recent` is above 0, offsets are computed anew from so many last
    windows, where a table has them.
    """

    levels: Floats
    offsets: Floats
    around: str = "points"
    recent: int = 0

    def quantiles(self, points: NDArray[Any], quantiles: NDArray[Any] | None = None) -> Floats:
        """Points [..., H, C] and the model's quantiles [..., Q, H, C] (None: it has none) -> calibrated [..., Q, H, C],
        which rise."""
        base = points[..., None, :, :] if self.around == "points" or quantiles is None else quantiles
        result: Floats = np.sort(base + self.offsets, -3)
        return result

    def places(self, levels: Sequence[float]) -> list[int]:
        """The places of some levels; a `ValueError` for one that was not calibrated."""
        known = [round(float(level), 6) for level in self.levels]
        for level in levels:
            if round(level, 6) not in known:
                raise ValueError(f"the calibrated probabilities are {', '.join(map(str, known))}, and not {level:g}")
        return [known.index(round(level, 6)) for level in levels]

    def of(
        self, levels: Sequence[float], points: NDArray[Any], quantiles: Mapping[float, NDArray[Any]] | None
    ) -> dict[float, NDArray[np.float32]]:
        """The calibrated quantiles [H, C] at some levels, from points [H, C] and the model's quantiles of these."""
        offsets = self.offsets[self.places(levels)]
        base = points[None] if self.around == "points" else np.stack([(quantiles or {})[level] for level in levels])
        order = np.argsort(levels)
        rising = np.sort((base + offsets)[order], 0)
        return {levels[place]: rising[rank].astype(np.float32) for rank, place in enumerate(order.tolist())}

    def to_json(self) -> dict[str, Any]:
        """As `read` takes it."""
        plain = {"levels": self.levels.tolist(), "around": self.around, "recent": self.recent}
        return plain | {"offsets": self.offsets.tolist()}


def offsets_of(residuals: NDArray[Any], levels: NDArray[Any]) -> Floats:
    """The offsets [Q, H, C] that N residuals [N, Q, H, C] make ([N, 1, H, C] where all levels are around the points).

    Each quantile, step and column alone: an upper quantile takes the ceil((N + 1) a)-th smallest residual, a lower one
    the floor((N + 1) a)-th, so that intervals cover at least what they are meant to, if rows are exchangeable.
    """
    count, same = residuals.shape[:2]
    ordered = np.sort(residuals, 0)
    offsets = np.empty((len(levels), *residuals.shape[2:]))
    for place, level in enumerate(levels):
        rank = (count + 1) * float(level)
        rank = math.ceil(round(rank, 9)) if level > 0.5 else math.floor(round(rank, 9))
        offsets[place] = ordered[min(max(rank, 1), count) - 1, min(place, same - 1)]
    return offsets


def fitted(
    levels: NDArray[Any],
    points: NDArray[Any],
    references: NDArray[Any],
    quantiles: NDArray[Any] | None = None,
    recent: int = 0,
) -> Intervals:
    """Split conformal prediction, each quantile, step and column alone (Romano et al. 2019, arXiv 1905.03222, theorem
    2; without quantiles Lei et al. 2018).

    From N rows that were not learned from: points and references [N, H, C], quantiles [N, Q, H, C].
    """
    base = points[:, None] if quantiles is None else quantiles
    offsets = offsets_of(references[:, None] - base, levels)
    around = "points" if quantiles is None else "quantiles"
    return Intervals(np.asarray(levels, np.float64), offsets, around, recent)


def from_json(value: Any) -> Intervals:
    """The value of `to_json`; anything else is a `KeyError`, `TypeError` or `ValueError`."""
    levels, offsets = (np.asarray(value[name], np.float64) for name in ("levels", "offsets"))
    around = value["around"]
    sound = levels.ndim == 1 and offsets.ndim == 3 and len(levels) == len(offsets) > 0
    if not sound or around not in ("points", "quantiles") or not (np.diff(levels) > 0).all():
        raise ValueError("levels and offsets do not belong together")
    if not np.isfinite(offsets).all() or not ((levels > 0) & (levels < 1)).all():
        raise ValueError("offsets must be numbers, and levels between 0 and 1")
    return Intervals(levels, offsets, around, int(value.get("recent", 0)))


def read(path: Path) -> Intervals | None:
    """The intervals in a file; None if there is no such file, or it has none.

    A `ValueError` describes how a file is damaged.
    """
    if not path.is_file():
        return None
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return from_json(tree["intervals"]) if "intervals" in tree else None
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(reason_of(error)) from None
