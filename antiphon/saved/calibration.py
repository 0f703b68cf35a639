"""Calibration of a model's confidence: of the predictions with a confidence of 0.8, eight in ten should be right.

A calibration is fitted to rows that the model was not trained on, and kept as `calibration.json` in its folder. It
changes no prediction and no score, only the confidence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from antiphon.common import calibration
from antiphon.common.calibration import MOST, Calibration
from antiphon.errors import ModelFolderError

FILE = calibration.FILE
BINS = 10
NOISE = 0.02  # by so much the expected calibration error of a calibrated model may rise by accident
FEW = 100  # predictions: with fewer, a bin of the reliability table has about ten
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """Predictions whose reference is known: log p of every class [N, classes], the predicted class and that of the
    reference, [N] each.

    A text is one prediction with the classes of `outcomes`; its predicted class is that it is right. Row after row has
    `lengths` [rows] predictions.
    """

    log_probs: Floats
    predicted: Ints
    references: Ints
    lengths: Ints

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each prediction is right [N]."""
        right: NDArray[np.bool_] = self.predicted == self.references
        return right


def fitted(judged: Judged, biased: bool) -> Calibration:
    """The temperature, and if `biased` the bias, that maximise the probability of the references.

    A class that occurs n times counts as (n + 1) / (n + 2) of itself and 1 / (n + 2) of another (Platt 1999,
    section 2.2), so that few rows cannot give a confidence of 1.
    """
    log_probs, classes = torch.from_numpy(judged.log_probs), torch.from_numpy(judged.references)[:, None]
    if log_probs.shape[1] < 2:
        return Calibration()
    counts = torch.bincount(classes[:, 0], minlength=log_probs.shape[1])[classes[:, 0]].double()
    share = (counts + 1) / (counts + 2)
    first = torch.eye(log_probs.shape[1], dtype=torch.float64)[0]
    at = torch.zeros(1 + biased, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([at], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        scaled = log_probs / _temperature(at)
        calibrated = torch.log_softmax(scaled + at[1] * first if biased else scaled, 1)
        right = calibrated.gather(1, classes)[:, 0]
        other = calibrated.scatter(1, classes, -torch.inf).logsumexp(1)
        value = -(share * right + (1 - share) * other).mean()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(loss)  # type: ignore[no-untyped-call]
    best = at.detach()
    return Calibration(float(_temperature(best)), float(best[1]) if biased else 0.0)


def _temperature(at: torch.Tensor) -> torch.Tensor:
    """A temperature within its bounds, from any number; 0 gives 1."""
    return MOST ** torch.tanh(at[0])


@dataclass(frozen=True)
class Bin:
    """Predictions with a confidence in one tenth: how many, their mean confidence, the share that is right."""

    answers: int
    confidence: float
    accuracy: float

    def cells(self) -> str:
        """The bin as cells of a table in Markdown."""
        means = f"{self.confidence:.3f} | {self.accuracy:.3f}" if self.answers else "|"
        return f"{self.answers:,} | {means}"


def reliability(confidences: Sequence[float], right: NDArray[np.bool_]) -> list[Bin]:
    """Predictions in `BINS` bins of equal width from 0 to 1; the means of an empty bin are 0."""
    sure = np.asarray(confidences, np.float64)
    place = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    sums = (np.bincount(place, weights, BINS) for weights in (sure, right))
    means = (total / np.maximum(counts, 1) for total in sums)
    return [Bin(int(count), float(mean), float(share)) for count, mean, share in zip(counts, *means, strict=True)]


def expected_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error: the mean distance of confidence and accuracy (Guo et al. 2017, eq. 3)."""
    answers = sum(interval.answers for interval in bins)
    return sum(interval.answers * abs(interval.confidence - interval.accuracy) for interval in bins) / answers


@dataclass(frozen=True)
class Report:
    """A calibration, the rows it was fitted to, and the bins of the same rows before and after it."""

    calibration: Calibration
    rows: str
    before: list[Bin]
    after: list[Bin]

    @classmethod
    def of(cls, judged: Judged, biased: bool, rows: str) -> Self:
        """Fit a calibration, and fill the bins before and after it."""
        uncalibrated, calibrated = Calibration(), fitted(judged, biased)
        tables = [
            reliability(applied.of_labels(judged.log_probs, judged.predicted), judged.right)
            for applied in (uncalibrated, calibrated)
        ]
        return cls(calibrated, rows, *tables)

    def to_json(self) -> str:
        """The content of `calibration.json`."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def table(self) -> str:
        """The bins before and after, as a table in Markdown."""
        lines = ["| confidence | answers | mean | right | calibrated: answers | mean | right |", "|---" * 7 + "|"]
        for number, (before, after) in enumerate(zip(self.before, self.after, strict=True)):
            span = f"{number / BINS:.1f} to {(number + 1) / BINS:.1f}"
            lines.append(f"| {span} | {before.cells()} | {after.cells()} |")
        return "\n".join(lines)

    def section(self) -> str:
        """What the card of the model says."""
        figures = f"on which these figures are measured too: {self.summary()}."
        return f"""The confidence of an answer was fitted to {self.rows}, {figures}
Of the answers whose confidence lies in a range, the mean confidence and the share that is right:

{self.table()}
"""

    def warnings(self) -> list[str]:
        """Reasons not to trust the calibration, each with what to do; empty if there is none."""
        answers = sum(interval.answers for interval in self.before)
        before, after = expected_error(self.before), expected_error(self.after)
        temperature = self.calibration.temperature
        messages = []
        if answers < FEW:
            messages.append(f"fitted to {answers:,} predictions only; calibrate on {FEW} or more")
        if not 1.05 / MOST < temperature < MOST / 1.05:
            reason = "all or none of the predictions are right, or the probabilities say nothing about it"
            messages.append(f"the temperature {temperature:.3g} is at its bound: {reason}; calibrate on other rows")
        if after > before + NOISE:
            reason = f"from {before:.4f} to {after:.4f} on the very rows that it was fitted to"
            messages.append(f"the expected calibration error rises, {reason}; calibrate on more rows")
        return messages

    def summary(self) -> str:
        """The calibration and its errors in one line."""
        bias = f", bias {self.calibration.bias:.3f}" if self.calibration.bias else ""
        errors = f"{expected_error(self.before):.4f} before, {expected_error(self.after):.4f} after"
        return f"temperature {self.calibration.temperature:.3f}{bias}; expected calibration error {errors}"


def read(path: Path) -> Calibration | None:
    """The calibration in a file; None if there is no such file. A damaged file is a `ModelFolderError`."""
    try:
        return calibration.read(path)
    except ValueError as error:
        raise ModelFolderError(f"{path}: is damaged: {error}; remove it, or calibrate again") from None
