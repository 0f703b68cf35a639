"""The calibrated intervals of forecasts: what they were fitted to, and what they cover."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from antiphon.common import intervals
from antiphon.common.intervals import Intervals
from antiphon.errors import ModelFolderError

FEW = 100  # windows: with fewer, intervals are wide or wrong
FAR = 0.05  # a coverage so far from what it should be is reported


@dataclass(frozen=True)
class IntervalReport:
    """Intervals, the windows they were fitted to, and what intervals that were fitted to the earlier half of these
    windows cover in the later half: `coverage_80`, `width_80` and so on; `before` is without a calibration (None: there
    is no distribution)."""

    intervals: Intervals
    rows: str
    windows: int
    after: dict[str, float]
    before: dict[str, float] | None

    def to_json(self) -> str:
        """The content of `calibration.json`."""
        value = {"intervals": self.intervals.to_json(), "rows": self.rows, "after": self.after, "before": self.before}
        return json.dumps(value) + "\n"

    def summary(self) -> str:
        """What the intervals cover, in one line."""
        shares = [f"{name}% intervals cover {self.after[f'coverage_{name}']:.1%}" for name in (80, 90)]
        return f"{' and '.join(shares)} of the later half, if fitted to the earlier half"

    def table(self) -> str:
        """Coverage and width before and after, as a table in Markdown."""
        lines = ["| interval | covers before | covers | mean width before | mean width |", "|---" * 5 + "|"]
        for name in (80, 90):
            before = self.before or {}
            cells = [
                _cell(part.get(f"{what}_{name}"), what == "coverage")
                for what in ("coverage", "width")
                for part in (before, self.after)
            ]
            lines.append(f"| {name}% | {' | '.join(cells)} |")
        return "\n".join(lines)

    def section(self) -> str:
        """What the card of the model says."""
        return (
            f"The intervals of a forecast were fitted to {self.rows} by conformal prediction: {self.summary()}.\n"
            f"\n{self.table()}\n"
        )

    def warnings(self) -> list[str]:
        """Reasons not to trust the intervals, each with what to do; empty if there is none."""
        messages = []
        if self.windows < FEW:
            messages.append(f"fitted to {self.windows:,} windows only; calibrate on {FEW} or more")
        for name in (80, 90):
            covered = self.after[f"coverage_{name}"]
            if abs(covered - name / 100) > FAR:
                reason = f"{name}% intervals of the earlier half cover {covered:.1%} of the later half"
                messages.append(f"{reason}: the series changes; calibrate again when new rows are there")
        return messages


def _cell(value: float | None, share: bool) -> str:
    return "" if value is None else f"{value:.1%}" if share else f"{value:.4g}"


def read(path: Path) -> Intervals | None:
    """The intervals in a model's file; None if there are none. A damaged file is a `ModelFolderError`."""
    try:
        return intervals.read(path)
    except ValueError as error:
        raise ModelFolderError(f"{path}: is damaged: {error}; remove it, or calibrate again") from None
