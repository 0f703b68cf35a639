"""Predictions: one class for each kind of target. `text` is the prediction as the command line prints it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .calibration import Calibration


class Prediction(Protocol):
    """The prediction for an input."""

    @property
    def text(self) -> str: ...

    def to_json(self) -> dict[str, Any]:
        """As `predict --json` writes it."""


@dataclass(frozen=True)
class Candidate:
    """One output: its text, its symbols, and log p(text | input) in nats with the end symbol.

    On request, `token_scores` are log p of each symbol and of the end symbol, which add up to the score, and
    `alignment` has for each symbol the place of the source symbol with the most attention.
    """

    text: str
    tokens: list[str]
    score: float
    token_scores: list[float] | None = None
    alignment: list[int] | None = None

    def to_json(self) -> dict[str, Any]:
        """As `predict --json` writes it; parts that were not requested are left out."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class TextPrediction:
    """The best output for one input, the `n_best` in order, attention [tokens + 1, source symbols + 1] on request.

    Here as in all predictions, `confidence` is the probability of being right, if the model is calibrated, and
    `unknown` counts the unknown symbols of the input. An empty input has no score.
    """

    text: str
    tokens: list[str]
    score: float | None
    n_best: list[Candidate]
    source_tokens: list[str]
    attention: NDArray[np.float32] | None = None
    confidence: float | None = None
    unknown: int = 0

    def to_json(self) -> dict[str, Any]:
        plain = {"text": self.text, "tokens": self.tokens, "score": self.score}
        best = self.n_best[0].to_json() if self.n_best else {}
        return plain | best | _further(self.confidence, self.unknown)


@dataclass(frozen=True)
class LabelPrediction:
    """The most probable label, and the probability of every label, the largest first."""

    label: str
    probabilities: dict[str, float]
    confidence: float | None = None
    unknown: int = 0

    @property
    def text(self) -> str:
        return self.label

    def to_json(self) -> dict[str, Any]:
        return {"label": self.label, "probabilities": self.probabilities} | _further(self.confidence, self.unknown)


@dataclass(frozen=True)
class LabelsPrediction:
    """The labels of every step, the most probable of each step or with a CRF of the row, and their probabilities."""

    labels: list[str]
    probabilities: list[float]
    confidence: list[float] | None = None
    unknown: int = 0

    @property
    def text(self) -> str:
        return " ".join(self.labels)

    def to_json(self) -> dict[str, Any]:
        return {"labels": self.labels, "probabilities": self.probabilities} | _further(self.confidence, self.unknown)


@dataclass(frozen=True)
class NumberPrediction:
    """The expected number; None for an empty input."""

    value: float | None
    unknown: int = 0

    @property
    def text(self) -> str:
        return "" if self.value is None else f"{self.value:.6g}"

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value} | _further(None, self.unknown)


@dataclass(frozen=True)
class NumbersPrediction:
    """The expected numbers of every step [steps, size], or of one step of a live stream [size]; bits: probabilities."""

    values: NDArray[np.float32]
    unknown: int = 0

    @property
    def text(self) -> str:
        return json.dumps(self.to_json()["values"]) if len(self.values) else ""

    def to_json(self) -> dict[str, Any]:
        plain = [float(f"{number:.6g}") for number in self.values.flatten()]
        values = np.asarray(plain, dtype=object).reshape(self.values.shape).tolist()
        return {"values": values} | _further(None, self.unknown)


@dataclass(frozen=True)
class SeriesPrediction:
    """A series of numbers [steps, size]: of each step the mean or the median, or numbers that were drawn.

    `samples` are all series that were drawn, each [steps, size], the first of which are the `values`. For each
    probability of `decode.quantiles`, `quantiles` has the numbers [steps, size] below which they lie with it.
    """

    values: NDArray[np.float32]
    quantiles: dict[float, NDArray[np.float32]] | None = None
    samples: list[NDArray[np.float32]] | None = None
    unknown: int = 0

    @property
    def text(self) -> str:
        return json.dumps(series_json(self.values)) if len(self.values) else ""

    def to_json(self) -> dict[str, Any]:
        samples = {} if self.samples is None else {"samples": [series_json(values) for values in self.samples]}
        named = {} if self.quantiles is None else {f"{p:g}": series_json(row) for p, row in self.quantiles.items()}
        quantiles = {"quantiles": named} if named else {}
        return {"values": series_json(self.values)} | quantiles | samples | _further(None, self.unknown)


def series_json(values: NDArray[np.float32]) -> list[Any]:
    """A series [steps, size] as lists of numbers, with a size of 1 as one list."""
    plain = [float(f"{number:.6g}") for number in values.flatten()]
    shape = (len(values),) if values.shape[1] == 1 else values.shape
    listed: list[Any] = np.asarray(plain, dtype=object).reshape(shape).tolist()
    return listed


@dataclass(frozen=True)
class LiveEnd:
    """The end of a sequence in a live stream."""

    text: str = ""

    def to_json(self) -> dict[str, Any]:
        return {}


def _further(confidence: float | list[float] | None, unknown: int) -> dict[str, Any]:
    """The part of the JSON that only some predictions have."""
    sure = {} if confidence is None else {"confidence": confidence}
    return sure | ({"unknown": unknown} if unknown else {})


def abstains(answer: Prediction, below: float) -> bool:
    """Whether the confidence of a prediction, or of any of its labels, is less than `below`."""
    confidence = getattr(answer, "confidence", None)
    sure = confidence if isinstance(confidence, list) else [confidence]
    return any(value is not None and value < below for value in sure)


def label_prediction(
    names: Callable[[Iterable[int]], list[str]], labels: int, log_probs: NDArray[Any], calibration: Calibration | None
) -> LabelPrediction:
    """The prediction of one label from log p [classes]; `names` gives the names of ids, of which there are `labels`."""
    order = np.argsort(-log_probs, kind="stable")[:labels]
    ranked = names(map(int, order))
    confidence = None if calibration is None else calibration.of_labels(log_probs[None], order[:1])[0]
    return LabelPrediction(ranked[0], dict(zip(ranked, np.exp(log_probs[order]).tolist(), strict=True)), confidence)


def labels_prediction(
    names: Callable[[Iterable[int]], list[str]],
    labels: NDArray[Any],
    log_probs: NDArray[Any],
    calibration: Calibration | None,
) -> LabelsPrediction:
    """The prediction of a label for each step, from ids [steps] and log p [steps, classes]."""
    probabilities = np.exp(log_probs[np.arange(len(labels)), labels]).astype(float).tolist()
    confidence = None if calibration is None else calibration.of_labels(log_probs, labels)
    return LabelsPrediction(names(map(int, labels)), probabilities, confidence)


def known_text(text: str, tokens: list[str], source_tokens: Iterable[str]) -> TextPrediction:
    """A text that is known to be right, with the probability 1."""
    return TextPrediction(text, tokens, 0.0, [Candidate(text, tokens, 0.0)], list(source_tokens), confidence=1.0)


def known_label(label: str) -> LabelPrediction:
    """A label that is known to be right."""
    return LabelPrediction(label, {label: 1.0}, 1.0)


def known_labels(labels: list[str]) -> LabelsPrediction:
    """Labels that are known to be right, one per step."""
    return LabelsPrediction(labels, [1.0] * len(labels), [1.0] * len(labels))
