"""What a model answers: one class for each kind of target. `text` is the answer as the command line prints it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from antiphon.data.codec import Codec
from antiphon.data.encode import LabelCodec
from antiphon.data.numbers import NumbersCodec, ScaledCodec


class Prediction(Protocol):
    """An answer."""

    @property
    def text(self) -> str: ...

    def to_json(self) -> dict[str, Any]:
        """As `predict --json` writes it."""


@dataclass(frozen=True)
class Candidate:
    """One output: its text, its symbols, and log p(text | input) in nats with the end symbol."""

    text: str
    tokens: list[str]
    score: float


@dataclass(frozen=True)
class TextPrediction:
    """The best output for one input, the `n_best` in order, attention [tokens + 1, source symbols + 1] if asked for."""

    text: str
    tokens: list[str]
    score: float
    n_best: list[Candidate]
    source_tokens: list[str]
    attention: NDArray[np.float32] | None = None

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text, "tokens": self.tokens, "score": self.score}


@dataclass(frozen=True)
class LabelPrediction:
    """The most probable label, and the probability of every label, the largest first."""

    label: str
    probabilities: dict[str, float]

    @property
    def text(self) -> str:
        return self.label

    def to_json(self) -> dict[str, Any]:
        return {"label": self.label, "probabilities": self.probabilities}


@dataclass(frozen=True)
class LabelsPrediction:
    """The most probable label of every step, and its probability."""

    labels: list[str]
    probabilities: list[float]

    @property
    def text(self) -> str:
        return " ".join(self.labels)

    def to_json(self) -> dict[str, Any]:
        return {"labels": self.labels, "probabilities": self.probabilities}


@dataclass(frozen=True)
class NumberPrediction:
    """The expected number; None for an empty input."""

    value: float | None

    @property
    def text(self) -> str:
        return "" if self.value is None else f"{self.value:.6g}"

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value}


@dataclass(frozen=True)
class NumbersPrediction:
    """The expected numbers of every step [steps, size]; of bits, their probabilities."""

    values: NDArray[np.float32]

    @property
    def text(self) -> str:
        return json.dumps(self.to_json()["values"]) if len(self.values) else ""

    def to_json(self) -> dict[str, Any]:
        return {"values": [[float(f"{number:.6g}") for number in step] for step in self.values]}


def answered(codec: Codec, answer: NDArray[np.float32]) -> Prediction:
    """What a reader's head gave for one row, [steps, size], in the words of the target."""
    if isinstance(codec, LabelCodec):
        best = answer.argmax(-1)
        names = codec.names(map(int, best))
        if codec.steps:
            return LabelsPrediction(names, np.exp(answer[np.arange(len(best)), best]).astype(float).tolist())
        order = np.argsort(-answer[0], kind="stable")[: len(codec.vocabulary.symbols)]
        probabilities = dict(zip(codec.names(map(int, order)), np.exp(answer[0][order]).tolist(), strict=True))
        return LabelPrediction(names[0], probabilities)
    assert isinstance(codec, ScaledCodec)
    bits = isinstance(codec, NumbersCodec) and codec.bits
    values = answer if bits else codec.restored(answer)
    return NumbersPrediction(values) if codec.steps else NumberPrediction(float(values[0, 0]))


def empty(codec: Codec) -> Prediction:
    """The answer to an empty input."""
    if isinstance(codec, LabelCodec):
        return LabelsPrediction([], []) if codec.steps else LabelPrediction("", {})
    if isinstance(codec, ScaledCodec):
        return NumbersPrediction(np.empty((0, codec.size), np.float32)) if codec.steps else NumberPrediction(None)
    return TextPrediction("", [], 0.0, [], [])
