"""A side of a row: what stands in a column, the value it is read as, and the array a model is given.

A codec is made from what the user chose, learns from the training rows' values alone (`learn`), and is
saved with the model as a JSON file. Sources: text, long_text, category, vector, image, frames, images, grid, none.
Targets: text, label, labels, number, numbers, next. The tables of both stand in `antiphon/data/codecs/kinds.py`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from antiphon.common.symbols import BOS
from antiphon.errors import ModelFolderError

Array = NDArray[Any]
Answers = Literal["one", "each", "any", "aligned", "next"]


class Codec(ABC):
    """One side of every row.

    Attributes say what a model must know: `part` names the part that takes or gives such arrays, `steps` is
    whether a value is a sequence, `ends` the end symbols of an encoded one.
    A target's `form`: "one" answer a row, one for "each" source step, a sequence of "any" length, one "aligned" with
    more source steps than it has, or the source's "next" symbol.
    """

    kind: ClassVar[str]
    part: str
    steps: ClassVar[bool] = False
    ends: ClassVar[int] = 0
    form: Answers = "one"
    unit: ClassVar[str] = "steps"
    metric: ClassVar[str] = "loss"  # of a target: what chooses the best model unless the user says
    reads: ClassVar[bool] = True  # whether anything is read for it
    whole: ClassVar[bool] = False  # of a source: a file is one value, learned in pieces
    trims: bool = False  # of a source: white space at the ends of an input is not read

    def __init__(self, where: str) -> None:
        self.where = where

    @property
    def begin(self) -> int:
        """Of symbols: the id that stands before the first of them."""
        return BOS

    @property
    @abstractmethod
    def size(self) -> int:
        """Symbols of the vocabulary, special ones counted; or numbers a step; or channels of an image."""

    @property
    def part_options(self) -> dict[str, int]:
        """What the part that reads a source's arrays must know beside the size, by its parameters' names."""
        return {}

    @abstractmethod
    def read(self, content: object, folder: str) -> Any:
        """The value of what stands in a column; paths in it are relative to `folder`, the table's, if there is one.

        A `ValueError` says what is wrong, as the end of a sentence that begins with the side: "is empty".
        """

    def asked(self, content: object) -> Any:
        """The value of an input to answer, which may be a text of nothing but white space; paths are the user's own."""
        return self.read(content, "")

    def learn(self, values: Sequence[Any]) -> None:  # noqa: B027 one has nothing to learn
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
        """Of a target: the weight of every id in what training minimises; None if all are 1."""
        return None

    def read_step(self, step: object) -> Array | Sequence[int]:
        """One step of a live stream, encoded [1, ...]; a `ValueError` says why it is none."""
        raise ValueError("has no steps")

    def key_of(self, value: Any) -> Hashable:
        """What makes two values the same to a model."""
        return value.tobytes() if isinstance(value, np.ndarray) else value

    def shown(self, value: Any) -> str:
        """A value as one line for a reader."""
        return str(value)

    @abstractmethod
    def about(self) -> str:
        """What was learned, in a few words."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """All that `restore` needs, as a JSON value."""

    @classmethod
    @abstractmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        """What `to_json` gave; a `KeyError`, `TypeError` or `ValueError` says that it is something else."""

    def extended(self, base: Codec) -> Codec:
        """This codec, with what only the training rows have behind what the model to start from knows."""
        return self


def within(folder: str, name: str) -> str:
    """The path that a cell of a table names, relative to the table's folder, which it must not lead out of.

    Without a folder the name is the user's own, who may name any file.
    """
    path = os.path.join(folder, name)
    if folder and os.path.commonpath([folder, os.path.abspath(path)]) != folder:
        raise ValueError(f"names {name}, which leads out of the table's folder; put the table above its files")
    return path


def damaged(error: Exception) -> ModelFolderError:
    """What to say of a codec's file that is not what was written."""
    return ModelFolderError(f"a vocabulary file is incomplete or damaged: {error!r}")
