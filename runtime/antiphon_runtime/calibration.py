"""How sure a model may be: `calibration.json` in an exported folder, as `antiphon calibrate` has written it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime.errors import FolderError

FILE = "calibration.json"
SUREST = -1e-7  # log p of an output, at most: a float32 tells no more from 1
MOST = 100.0  # temperatures lie between 1 / MOST and MOST


@dataclass(frozen=True)
class Calibration:
    """q = softmax(log p / T) of labels; of a text, with its whole probability p, q = sigmoid(logit(p) / T + b)."""

    temperature: float
    bias: float

    def of_labels(self, log_probs: NDArray[Any], said: NDArray[Any]) -> list[float]:
        """The confidence in each label that is said [N], from log p of all labels [N, labels]."""
        scaled = log_probs.astype(np.float64) / self.temperature
        shares = np.exp(scaled - scaled.max(1, keepdims=True))
        return [float(row[label] / row.sum()) for row, label in zip(shares, said, strict=True)]

    def of_text(self, score: float) -> float:
        """The confidence that an output with this score, log p in nats, is wholly right."""
        right = min(score, SUREST)
        odds = (right - np.log(-np.expm1(right))) / self.temperature + self.bias
        return float(np.exp(-np.logaddexp(0.0, -odds)))


def read(path: Path) -> Calibration | None:
    """The calibration in a file; None where there is no such file."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["calibration"]
        temperature, bias = float(found["temperature"]), float(found["bias"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise FolderError(f"{path}: is damaged: {error!r}") from None
    if not (1 / MOST <= temperature <= MOST and abs(bias) < 1e6):
        raise FolderError(f"{path}: is damaged: a temperature of {temperature:g} with a bias of {bias:g}")
    return Calibration(temperature, bias)
