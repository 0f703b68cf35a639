"""The calibration of a model's confidence: `calibration.json` in its folder, applied to its log-probabilities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .messages import reason_of

Floats = NDArray[np.float64]
FILE = "calibration.json"
SUREST = -1e-7  # log p of an output, at most: a float32 cannot distinguish more from 1
MOST = 100.0  # temperatures lie between 1 / MOST and MOST, also where few rows would have it infinite


def outcomes(scores: Sequence[float]) -> Floats:
    """log p [N] of outputs -> log p [N, 2] of the two classes of each: it is right, it is not."""
    right = np.minimum(np.asarray(scores, np.float64), SUREST)
    return np.stack([right, np.log(-np.expm1(right))], 1)


@dataclass(frozen=True)
class Calibration:
    """q = softmax(log p / T), with one temperature T for all labels (Guo et al. 2017, arXiv 1706.04599, eq. 9).

    For a text p is the probability of the whole output, and the classes are that it is right and that it is not; such
    a p also shrinks with the output's length, so there is a bias b: q = sigmoid(logit(p) / T + b), Platt scaling (Platt
    1999, Probabilistic outputs for support vector machines) of the model's log-odds. With T = 1 and b = 0 q is p.
    """

    temperature: float = 1.0
    bias: float = 0.0

    def probabilities(self, log_probs: NDArray[Any]) -> Floats:
        """log p of classes [N, classes] -> calibrated p [N, classes]."""
        scaled = log_probs.astype(np.float64) / self.temperature
        scaled[:, 0] += self.bias
        shares = np.exp(scaled - scaled.max(1, keepdims=True))
        result: Floats = shares / shares.sum(1, keepdims=True)
        return result

    def of_labels(self, log_probs: NDArray[Any], labels: NDArray[Any]) -> list[float]:
        """The confidence in each label [N], from log p of all labels [N, labels]."""
        return [float(row[label]) for row, label in zip(self.probabilities(log_probs), labels, strict=True)]

    def of_text(self, score: float) -> float:
        """The confidence that an output with this score, log p in nats, is wholly right."""
        return float(self.probabilities(outcomes([score]))[0, 0])


def read(path: Path) -> Calibration | None:
    """The calibration in a file; None if there is no such file. A `ValueError` describes how a file is damaged."""
    if not path.is_file():
        return None
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if "intervals" in tree:  # of a forecast, which has no confidence
            return None
        value = tree["calibration"]
        temperature, bias = float(value["temperature"]), float(value["bias"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(reason_of(error)) from None
    if not (1 / MOST <= temperature <= MOST and abs(bias) < 1e6):
        raise ValueError(f"a temperature of {temperature:g} with a bias of {bias:g}")
    return Calibration(temperature, bias)
