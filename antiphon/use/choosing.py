"""Inputs that are worth a label: those that the model is least sure about, and not many that are alike."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.common.answers import LabelPrediction, LabelsPrediction, Prediction, TextPrediction
from antiphon.data.batches import EncodedInput
from antiphon.data.codecs.labels import LabelCodec
from antiphon.data.codecs.text import TextCodec
from antiphon.errors import ConfigError, ModelFolderError, UsageError, nearest
from antiphon.use.encoding import encode
from antiphon.use.loaded import Loaded
from antiphon.use.options import Options
from antiphon.use.predicting import WINDOW, stream

ORDERS = (1, 2, 3)  # symbols that stand together, by which texts are alike
PLANES = 16  # each a feature of numbers: in which of 4 quarters of a plane drawn at random they lie
DECAY = 0.5  # what a feature is worth after each chosen input that has it
CANDIDATES = 4  # outputs of a text that are compared


@dataclass(frozen=True)
class Chosen:
    """An input to label: its line or number, its value, the prediction, and how unsure that is, from 0 to 1."""

    line: int
    value: Any
    prediction: Prediction
    uncertainty: float


Uncertainty = Callable[[Prediction], float]


def _confidence(prediction: Prediction) -> float:
    """1 - the confidence; without a calibration 1 - the probability. Of labels the mean over the steps."""
    sure = getattr(prediction, "confidence", None)
    if sure is None:
        sure = _probabilities(prediction)
    values = sure if isinstance(sure, list) else [sure]
    return 1 - float(np.mean(values)) if values else 0.0


def _probabilities(prediction: Prediction) -> float | list[float]:
    if isinstance(prediction, LabelsPrediction):
        return prediction.probabilities
    shares = _shares(prediction, whole=False)
    return float(shares[0]) if len(shares) else 1.0


def _shares(prediction: Prediction, whole: bool = True) -> NDArray[np.float64]:
    """The probabilities of the candidates, the largest first; if `whole`, so that they add up to 1."""
    if isinstance(prediction, LabelPrediction):
        return np.asarray(list(prediction.probabilities.values()))
    assert isinstance(prediction, TextPrediction)
    values = np.exp([candidate.score for candidate in prediction.n_best])
    values = -np.sort(-values)
    return values / values.sum() if whole and len(values) else values


def _margin(prediction: Prediction) -> float:
    """1 - the difference of the two most probable candidates (Scheffer et al. 2001)."""
    shares = _shares(prediction)
    return 1 - float(shares[0] - shares[1]) if len(shares) > 1 else 0.0


def _entropy(prediction: Prediction) -> float:
    """The entropy over the candidates (of a text, N-best entropy: Settles & Craven 2008, eq. 6), as a share of the
    largest that so many candidates can have."""
    shares = _shares(prediction)
    if len(shares) < 2:
        return 0.0
    return float(-(shares * np.log(np.maximum(shares, 1e-300))).sum() / math.log(len(shares)))


UNCERTAINTIES: dict[str, Uncertainty] = {"confidence": _confidence, "margin": _margin, "entropy": _entropy}


def next_rows(
    loaded: Loaded, inputs: Iterable[tuple[int, Any]], count: int, by: str = "confidence", origin: str = "input "
) -> list[Chosen]:
    """The `count` inputs that are worth a label most, the first the most; see `Predictor.next_rows`."""
    if by not in UNCERTAINTIES:
        raise UsageError(f"by: unknown uncertainty {by!r}; {nearest(by, UNCERTAINTIES)}")
    if count < 1:
        raise UsageError(f"count: must be at least 1 (is {count})")
    _refuse_others(loaded, by)
    candidates: list[Chosen] = []
    features: list[list[Hashable]] = []
    seen: set[Hashable] = set()
    remaining = iter(inputs)
    while part := list(islice(remaining, WINDOW)):
        for entry, item, key in _unsure(loaded, part, UNCERTAINTIES[by], origin):
            if key not in seen:
                seen.add(key)
                candidates.append(item)
                features.append(entry)
    return [candidates[place] for place in diverse([item.uncertainty for item in candidates], features, count)]


def _refuse_others(loaded: Loaded, by: str) -> None:
    """Refuse models whose predictions have no uncertainty, and inputs that nobody labels."""
    target = loaded.codecs.target
    if not any(codec.reads for codec in loaded.codecs.sources) or not target.reads or loaded.codecs.sources[0].whole:
        raise ModelFolderError(f"{loaded.folder}: there are no inputs that could be labelled for this model")
    if not isinstance(target, TextCodec | LabelCodec):
        reason = f"predicts {target.kind}, and gives no probabilities with it, so it does not know what is uncertain"
        raise ModelFolderError(f"{loaded.folder}: {reason}")
    if by != "confidence" and isinstance(target, LabelCodec) and target.steps:
        raise ConfigError("by", f"{by} is for one label or a text; labels for each step take confidence")


def _unsure(
    loaded: Loaded, part: Sequence[tuple[int, Any]], uncertainty: Uncertainty, origin: str
) -> Iterator[tuple[list[Hashable], Chosen, Hashable]]:
    """The features of inputs, how unsure their predictions are, and a key that is equal for equal inputs. Empty inputs
    and those with a known answer are left out."""

    def where(number: int) -> str:
        return f"{origin}{part[number - 1][0]}"

    width = CANDIDATES if isinstance(loaded.codecs.target, TextCodec) else 1
    options = Options(beam=None if width == 1 else width, n_best=width)
    predictions = stream(loaded, [value for _, value in part], options, origin=where)
    for number, ((line, value), prediction) in enumerate(zip(part, predictions, strict=True), 1):
        entry = encode(loaded, value, where(number), known=loaded.exceptions)
        if isinstance(entry, EncodedInput):
            codecs = loaded.codecs.sources
            key = tuple(codec.key_of(item) for codec, item in zip(codecs, entry.values, strict=True))
            alike = [each for place, array in enumerate(entry.arrays) for each in _features(place, np.asarray(array))]
            yield alike, Chosen(line, value, prediction, uncertainty(prediction)), key


def _features(place: int, array: NDArray[Any]) -> Iterator[Hashable]:
    """What makes inputs alike: of ids [steps] those that stand together, of numbers the quarters of planes."""
    if array.dtype.kind == "i":
        ids = array[:, 0].tolist() if array.ndim == 2 else array.tolist()
        for order in ORDERS:
            for start in range(max(len(ids) - order + 1, 0)):
                yield place, *ids[start : start + order]
        return
    mean = array.reshape(len(array), -1).mean(0) if len(array) else np.zeros(1)
    drawn = np.random.default_rng(len(mean)).normal(size=(PLANES, 2, len(mean)))
    for plane, signs in enumerate(drawn @ mean > 0):
        yield place, plane, *map(bool, signs)


def diverse(uncertainties: Sequence[float], features: Sequence[Sequence[Hashable]], count: int) -> Iterator[int]:
    """The places of `count` inputs, the most valuable first.

    The value of an input is its uncertainty times the mean worth of its features; each input that is chosen halves the
    worth of the features it has (feature decay: Bicici & Yuret 2011, section 3). A value can only fall, so only those
    at the top of a heap are computed again.
    """
    chosen: Counter[Hashable] = Counter()

    def value(place: int) -> float:
        worth = [DECAY ** chosen[feature] for feature in features[place]]
        return uncertainties[place] * (sum(worth) / len(worth) if worth else 1.0)

    heap = [(-uncertainty, place) for place, uncertainty in enumerate(uncertainties)]
    heapq.heapify(heap)
    for _ in range(min(count, len(heap))):
        while True:
            old, place = heapq.heappop(heap)
            new = value(place)
            if new >= -old - 1e-12:
                break
            heapq.heappush(heap, (-new, place))
        chosen.update(set(features[place]))
        yield place
