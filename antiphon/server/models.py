"""What is served: a model folder or an exported one, behind a protocol that both satisfy, and how it is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, Field

CTC_OPTIONS = ("beam", "n_best")
SERIES_OPTIONS = ("n_best", "sample", "min_length", "max_length", "quantiles")


class Predictor(Protocol):
    """What a server needs of a model, from one thread. `antiphon.Predictor` is one, `antiphon_runtime.Model` too."""

    @property
    def answers(self) -> Callable[..., Sequence[Any]]:
        """Inputs, and options by their names -> an answer or an error for each, whatever else is among them."""

    @property
    def write(self) -> Callable[..., Iterator[Any]]:
        """An input, and options by their names -> its answer while it grows, symbol by symbol."""

    def live(self, steps: Iterable[Any]) -> Iterator[Any]:
        """The answer to each step of a stream."""


class Side(BaseModel):
    """What stands on one side of a model."""

    name: str = Field(description="`source`, of further sources `source-2`, ...; `target`")
    kind: str = Field(description="text, category, vector, image, frames, images, grid, label, labels, number, ...")
    symbols: int | None = Field(None, description="for texts, categories and labels: how many there are")
    numbers: int | None = Field(None, description="for vectors, frames and grids: numbers per step")
    range: list[float] | None = Field(
        None, description="for vectors, frames and grids: what most numbers of the training rows lie between"
    )
    pixels: list[int] | None = Field(None, description="for pictures: height and width that they are brought to")
    color: bool | None = Field(None, description="for pictures: whether they have colours")
    turns: int | None = Field(
        None, description="for a dialogue: how many of the last turns are read, from a list of texts"
    )

    @property
    def reads(self) -> bool:
        """Whether an input has something for it."""
        return self.kind not in ("none", "next")


@dataclass(frozen=True)
class Served:
    """A loaded model, and what a client can know of it."""

    name: str
    format: Literal["pytorch", "onnx"]
    structure: str
    sources: tuple[Side, ...]
    target: Side
    size: int  # bytes of weights
    max_length: int  # steps of an input
    options: Sequence[str] | None  # that it takes; None: all there are
    defaults: Mapping[str, Any]  # the values of options that are not sent
    streams: Literal["tokens", "steps"] | None
    predictor: Predictor
    wrong: tuple[type[Exception], ...]  # what it raises about inputs and options
    codes: Mapping[type[Exception], str]  # the code of a problem by what was raised, the narrowest first
    example: Any = None  # an input, to run the model once before it is asked; None: there is none
    scores: Callable[[Sequence[tuple[Any, Any]]], Sequence[Any]] | None = None
    explain: Callable[..., Any] | None = None
    refusal: str | None = None  # why it cannot be explained
    examples: Sequence[Any] = ()  # inputs that training has kept

    def code(self, error: Exception) -> str:
        """The code of a problem with one input."""
        return next((code for kind, code in self.codes.items() if isinstance(error, kind)), "invalid_options")


@dataclass(frozen=True)
class Loader:
    """How the folders of models are read; the two distributions differ only in this."""

    check: Callable[[Path], None]  # refuses a folder that cannot be served, before anything is loaded
    load: Callable[[Path], Served]
    trace: type[BaseModel] | None = None  # what /v1/explain answers, where it can be used


def warm(served: Served) -> None:
    """Run a model once: the first request does not wait longer, and a model that fails is noticed before."""
    if served.example is not None:
        served.predictor.answers([served.example])


def example_of(vocabularies: Sequence[Mapping[str, Any]]) -> Any:
    """A small input, from the contents of the vocabulary files of a model's sources."""
    values = [_example(vocabulary) for vocabulary in vocabularies]
    return values[0] if len(values) == 1 else tuple(values)


def _example(vocabulary: Mapping[str, Any]) -> Any:
    kind = vocabulary.get("kind", "text")
    if kind in ("image", "images"):
        height, width = vocabulary["height"], vocabulary["width"]
        picture = np.zeros((height, width, 3) if vocabulary["color"] else (height, width), np.uint8)
        return [picture] if kind == "images" else picture
    if "mean" in vocabulary:
        numbers = len(vocabulary["mean"])
        return [0.0] * numbers if kind == "vector" else [[0.0] * numbers] * 2
    return str(next(iter(vocabulary.get("symbols", ())), ""))


def name_of(folder: Path) -> str:
    """The name under which a folder's model is served: the last of its path, as it is written (a link stays a link)."""
    return os.path.basename(os.path.abspath(folder))


def side_of(name: str, value: Mapping[str, Any]) -> Side:
    """A side, from the content of its vocabulary file."""
    return Side(
        name=name,
        kind=value.get("kind", "text"),
        symbols=len(value["symbols"]) if "symbols" in value else None,
        numbers=len(value["mean"]) if "mean" in value else None,
        range=_range(value),
        pixels=[value["height"], value["width"]] if "height" in value else None,
        color=value.get("color"),
        turns=value.get("turns"),
    )


def _range(value: Mapping[str, Any]) -> list[float] | None:
    """The range of a side's numbers: 0 and 1 of bits, otherwise two deviations around the means, if these were kept."""
    if value.get("bits"):
        return [0, 1]
    if "mean" not in value or value.get("scale") == "none":
        return None
    sides = [(mean, 2 * deviation) for mean, deviation in zip(value["mean"], value["deviation"], strict=True)]
    return [min(mean - reach for mean, reach in sides), max(mean + reach for mean, reach in sides)]


def size_of(folder: Path, pattern: str) -> int:
    """Bytes of the files of a folder whose names match a pattern."""
    return sum(path.stat().st_size for path in folder.glob(pattern))
