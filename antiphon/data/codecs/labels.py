"""Categories, labels and rows of labels: names to ids and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from antiphon.common.symbols import SPECIALS, UNK
from antiphon.common.text import as_text
from antiphon.common.vocabulary import Vocabulary
from antiphon.data.codecs.base import Array, Codec
from antiphon.errors import ConfigError, nearest, shown

HEAVIEST = 1_000_000  # weight of a label


class CategoryCodec(Codec):
    """One of several names. A name that the training rows do not have is unknown; models are trained for that, too."""

    kind = "category"
    part = "symbols"

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.vocabulary = Vocabulary([])

    @property
    def size(self) -> int:
        return len(self.vocabulary)

    def read(self, content: object, folder: str) -> Any:
        return _name(content)

    def learn(self, values: Sequence[Any]) -> None:
        self.vocabulary = Vocabulary.build([value] for value in values)

    def encode(self, value: Any) -> list[int]:
        return [self.vocabulary.id(value)]

    def unknown(self, array: Array | Sequence[int]) -> int:
        return sum(number == UNK for number in array)

    def names(self, ids: Iterable[int]) -> list[str]:
        """The names of ids."""
        return self.vocabulary.names(ids)

    def about(self) -> str:
        what = "categories" if self.kind == "category" else "labels"
        return f"{len(self.vocabulary.symbols):,} {what}"

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "symbols": self.vocabulary.symbols}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        made = cls(where)
        made.vocabulary = Vocabulary.from_json(value["symbols"])
        return made

    def extended(self, base: Codec) -> Codec:
        if isinstance(base, CategoryCodec):
            self.vocabulary = base.vocabulary.extended(self.vocabulary)
        return self


class LabelCodec(CategoryCodec):
    """The one label of a row. A label that the training rows do not have is an error.

    `weights` are the weights of labels in the training loss: a table from label to weight (1 for labels not in it), or
    "balanced", n / (labels * count) for a label that occurs count times among n.
    Losses that are reported are without them.
    """

    kind = "label"
    part = "labels"
    metric = "accuracy"

    def __init__(self, where: str, weights: Any = None) -> None:
        super().__init__(where)
        self.balanced = weights == "balanced"
        try:
            self.weights = {} if weights is None or self.balanced else _weights(weights)
        except (TypeError, ValueError) as error:
            raise ConfigError("weights", str(error)) from None

    def learn(self, values: Iterable[Any]) -> None:
        counts = Counter(values)
        self.vocabulary = Vocabulary.build([counts.elements()])
        for label in self.weights:
            if label not in counts:
                reason = f"no training row has this label; {nearest(label, counts)}"
                raise ConfigError(f"{self.where}.weights.{label}", reason)
        if self.balanced:
            self.weights = {label: counts.total() / (len(counts) * count) for label, count in counts.items()}

    @property
    def class_weights(self) -> list[float] | None:
        if not self.weights:
            return None
        return [1.0] * SPECIALS + [self.weights.get(label, 1.0) for label in self.vocabulary.symbols]

    def encode(self, value: Any) -> list[int]:
        return self._known([value])

    def _known(self, labels: Sequence[str]) -> list[int]:
        ids = [self.vocabulary.id(label) for label in labels]
        if UNK in ids:
            raise ValueError(f"has a label that no training row has: {labels[ids.index(UNK)]!r}"[:200])
        return ids

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"weights": self.weights}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        made = super().from_json(value, where)
        made.weights = _weights(value.get("weights", {}))
        return made


class LabelsCodec(LabelCodec):
    """A label for each step of the source, with white space between them or as a JSON list.

    With `crf` a linear-chain CRF scores a row's labels together, and Viterbi's algorithm chooses them (Lample et al.
    2016); then without `weights`.
    """

    kind = "labels"
    steps = True
    form = "each"
    unit = "labels"

    def __init__(self, where: str, weights: Any = None, crf: bool = False) -> None:
        super().__init__(where, weights)
        if crf and weights is not None:
            reason = (
                "weigh each label separately, but a CRF scores all labels of a row together; leave out weights or crf"
            )
            raise ConfigError("weights", reason)
        self.crf = crf

    @property
    def part(self) -> str:  # type: ignore[override]
        return "crf" if self.crf else "labels"

    @property
    def bio(self) -> bool:
        """Whether the labels mark spans: each is O, B-TYPE or I-TYPE."""
        return all(label == "O" or label.startswith(("B-", "I-")) for label in self.vocabulary.symbols)

    def read(self, content: object, folder: str) -> tuple[str, ...]:
        content = content.tolist() if isinstance(content, np.ndarray) else content
        parts = content if isinstance(content, list | tuple) else as_text(content).split()
        if not parts:
            raise ValueError("is empty")
        return tuple(map(_name, parts))

    def learn(self, values: Iterable[Sequence[str]]) -> None:
        super().learn(label for labels in values for label in labels)

    def encode(self, value: Sequence[str]) -> list[int]:
        return self._known(value)

    def shown(self, value: Sequence[str]) -> str:
        return " ".join(value)

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"crf": self.crf}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        made = super().from_json(value, where)
        made.crf = bool(value.get("crf", False))
        return made


def _name(value: object) -> str:
    """A label or category: text without space around it, a number, true or false."""
    text = str(value).lower() if isinstance(value, bool) else as_text(value).strip()
    if not text:
        raise ValueError("is empty")
    return text


def _weights(value: object) -> dict[str, float]:
    """The weights of labels by their names, as the user wrote them or as they were saved."""
    if not isinstance(value, Mapping):
        raise TypeError(f"must be balanced, or a table from label to weight (is {shown(value)})")
    for label, weight in value.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= HEAVIEST:
            raise ValueError(f"{label} must have a weight from 0 to {HEAVIEST:,} (is {shown(weight)})")
    return {_name(label): float(weight) for label, weight in value.items()}
