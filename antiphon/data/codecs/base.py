"""A side of a row: the content of a column, the value it is read as, and the array that a model gets.

A codec is made from the user's options, learns from the values of the training rows only (`learn`), and is
saved with the model as a JSON file. Sources: text, long_text, category, tags, vector, image, frames, images, grid,
none. Targets: text, label, labels, number, numbers, next. The tables of both are in `antiphon/data/codecs/kinds.py`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from antiphon.common.messages import reason_of
from antiphon.common.symbols import BOS
from antiphon.errors import ModelFolderError

Array = NDArray[Any]
Answers = Literal["one", "each", "any", "aligned", "next"]


class Codec(ABC):
    """One side of every row.

    Attributes describe what a model must know: `part` names the part that takes or gives such arrays, `steps` is
    whether a value is a sequence, `ends` the number of end symbols of an encoded value.
    A target's `form`: "one" prediction for each row, one for "each" source step, a sequence of "any" length, a sequence
    "aligned" with the source, which has more steps, or the source's "next" symbol.
    """

    kind: ClassVar[str]
    part: str
    steps: ClassVar[bool] = False
    ends: ClassVar[int] = 0
    form: Answers = "one"
    unit: ClassVar[str] = "steps"
    metric: ClassVar[str] = "loss"  # targets only: chooses the best model unless the user names another
    reads: ClassVar[bool] = True  # whether a row has content for it
    whole: ClassVar[bool] = False  # sources only: a file is one value, learned in pieces
    fills: bool = False  # whether missing numbers are filled
    trims: bool = False  # sources only: white space at the ends of an input is not read

    def __init__(self, where: str) -> None:
        self.where = where

    @property
    def begin(self) -> int:
        """The id before the first symbol (sides with symbols only)."""
        return BOS

    @property
    @abstractmethod
    def size(self) -> int:
        """How many symbols the vocabulary has (special ones too), or numbers per step, or channels per image."""

    @property
    def part_options(self) -> dict[str, int]:
        """Further options of the part that reads a source's arrays, beside the size, by the names of its parameters."""
        return {}

    @abstractmethod
    def read(self, content: object, folder: str) -> Any:
        """The value of a column's content; paths in it are relative to `folder`, that of the table, if there is one.

        A `ValueError` says what is wrong, as the end of a sentence that begins with the side: "is empty".
        """

    def read_input(self, content: object) -> Any:
        """The value of an input to predict for. It may be a text of white space only; paths are taken as they are."""
        return self.read(content, "")

    def learn(self, values: Sequence[Any]) -> None:  # noqa: B027 some codecs have nothing to learn
        """Learn from the training rows' values, where there is something to learn."""

    @abstractmethod
    def encode(self, value: Any) -> Array | Sequence[int]:
        """A value as an array [steps, ...]; of ids (ints), of numbers (float32), or of pixels (uint8).

        A `ValueError` says why a value does not fit what was learned.
        """

    def unknown(self, array: Array | Sequence[int]) -> int:
        """How many symbols of an encoded value the training rows do not have."""
        return 0

    @property
    def class_weights(self) -> list[float] | None:
        """The weight of every id in the training loss (targets only); None if all are 1."""
        return None

    def read_step(self, step: object) -> Array | Sequence[int]:
        """One step of a live stream, encoded [1, ...]; a `ValueError` says why it is not a step."""
        raise ValueError("has no steps")

    def key_of(self, value: Any) -> Hashable:
        """A key that is equal for two values if a model cannot tell them apart."""
        return value.tobytes() if isinstance(value, np.ndarray) else value

    def shown(self, value: Any) -> str:
        """A value as one line of text, for people."""
        return str(value)

    @abstractmethod
    def about(self) -> str:
        """What was learned, in a few words."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """All that `from_json` needs, as a JSON value."""

    @classmethod
    @abstractmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        """The codec from the value of `to_json`; any other value raises `KeyError`, `TypeError` or `ValueError`."""

    def extended(self, base: Codec) -> Codec:
        """This codec with the symbols of `base`, the model to start from, first, and behind them those that are new."""
        return self


def within(folder: str, name: str) -> str:
    """The path that a table's column contains, relative to the table's folder; it must not lead out of this folder.

    Without a folder the name was typed by the user and may be any file.
    """
    path = os.path.join(folder, name)
    if folder and os.path.commonpath([folder, os.path.abspath(path)]) != folder:
        raise ValueError(
            f"names {name}, which is outside the table's folder; move the table to a folder that contains its files"
        )
    return path


def damaged(error: Exception) -> ModelFolderError:
    """The error for a codec's file that is not as it was written."""
    return ModelFolderError(f"is incomplete or damaged: {reason_of(error)}")
