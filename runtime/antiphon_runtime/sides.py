"""Inputs to arrays, and what a graph says to words: as in training, from the vocabulary files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime.text import BOS, EOS, PAD, UNK, Vocabulary, normalizer, tokenizer

Array = NDArray[Any]
FURTHEST = 10.0  # standard deviations from the mean: what lies beyond is cut


class Side:
    """One side of a row. `ends` is how many end symbols an encoded value has, `steps` whether it is a sequence."""

    steps = False
    ends = 0
    unit = "steps"
    reads = True

    def asked(self, found: Any) -> Any:
        """The value of an input; a `ValueError` says what is wrong, as the end of a sentence."""
        raise NotImplementedError

    def encode(self, value: Any) -> Array:
        """A value as an array [steps, ...]."""
        raise NotImplementedError

    def unknown(self, array: Array) -> int:
        """How many symbols of an encoded value the model does not know."""
        return 0

    def read_step(self, found: Any) -> Array:
        """One step of a live stream [1, ...]."""
        raise ValueError("has no steps")


def as_text(found: Any) -> str:
    """What was given, as text."""
    if isinstance(found, str):
        if "\0" in found:
            raise ValueError("holds a NUL character")
        if not found.isascii() and any("\ud800" <= character <= "\udfff" for character in found):
            raise ValueError("is not UTF-8 text")
        return found
    if isinstance(found, np.generic):
        found = found.item()
    if isinstance(found, int | float) and not isinstance(found, bool):
        if isinstance(found, float) and not np.isfinite(found):
            raise ValueError(f"is no number: {found}")
        return str(found)
    named = "null" if found is None else type(found).__name__
    raise ValueError(f"is not text but {f'an array {list(found.shape)}' if isinstance(found, np.ndarray) else named}")


class Text(Side):
    """A text, or the turns of a dialogue; read with its spelling where the vocabulary has characters."""

    steps = True
    ends = 1
    unit = "tokens"

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.normalize = normalizer(value["normalize"], value["lowercase"])
        self.tokenizer = tokenizer(value)
        self.vocabulary = Vocabulary(value["symbols"])
        self.turns = value.get("turns")
        self.trims = bool(value.get("trims", False))
        spelled = value.get("characters")
        self.letters = None if spelled is None else Vocabulary(spelled["symbols"])
        self.width = 0 if spelled is None else int(spelled["width"])

    @property
    def begin(self) -> int:
        """The id that stands before the first symbol."""
        return BOS

    def asked(self, found: Any) -> Any:
        """As `Side.asked`."""
        if self.turns is None:
            return self._trimmed(found if isinstance(found, str) else as_text(found))
        turns = tuple(self._trimmed(as_text(turn)) for turn in _turns(found))
        if not turns:
            raise ValueError("is empty")
        return turns[-self.turns :]

    def _trimmed(self, text: str) -> str:
        return text.strip() if self.trims else text

    def unknown(self, array: Array) -> int:
        """As `Side.unknown`; of spelled words those with a character that is not known."""
        return int((array[:, 1:] == UNK).any(1).sum() if array.ndim == 2 else (array == UNK).sum())

    def split(self, text: str) -> list[str]:
        """The symbols of a text; unknown ones keep their spelling."""
        return self.tokenizer.split(self.normalize(text))

    def split_turns(self, value: Any) -> list[str]:
        """The symbols of a text; of a dialogue those of all turns, with an empty one where the next turn begins."""
        turns = (value,) if isinstance(value, str) else value
        return [symbol for text in turns for symbol in ("", *self.split(text))][1:]

    def encode(self, value: Any) -> Array:
        """As `Side.encode`."""
        turns = (value,) if isinstance(value, str) else value
        ids = [number for text in turns for number in (*map(self.vocabulary.id, self.split(text)), EOS)]
        if self.letters is None:
            return np.asarray(ids, np.int64)
        spelled = [self._spelled(word) if word else self._filled([EOS]) for word in (*self.split_turns(value), "")]
        return np.column_stack([ids, spelled]).astype(np.int64)

    def _spelled(self, word: str) -> list[int]:
        assert self.letters is not None
        if len(word) > self.width:
            end = self.width // 2
            word = word[: self.width - end] + word[-end:]
        return self._filled([self.letters.id(letter) for letter in word])

    def _filled(self, ids: list[int]) -> list[int]:
        return ids + [PAD] * (self.width - len(ids))

    def read_step(self, found: Any) -> Array:
        """As `Side.read_step`."""
        ids = self.encode(as_text(found))
        ids = ids[: len(ids) - self.ends]
        if len(ids) != 1:
            raise ValueError(f"has {len(ids)} tokens; a stream has one a line")
        return ids

    def join(self, symbols: Sequence[str]) -> str:
        """The text of symbols."""
        return self.tokenizer.join(symbols)


class LongText(Text):
    """A text whose line ends are symbols and that has no end."""

    ends = 0

    @property
    def begin(self) -> int:
        """A line end, if there is one."""
        return self.vocabulary.id("\n") if "\n" in self.vocabulary else BOS

    def split(self, text: str) -> list[str]:
        """As `Text.split`."""
        first, *lines = map(self.tokenizer.split, self.normalize(text).split("\n"))
        return [*first, *(symbol for line in lines for symbol in ("\n", *line))]

    def encode(self, value: Any) -> Array:
        """As `Side.encode`."""
        return np.asarray(list(map(self.vocabulary.id, self.split(value))), np.int64)

    def join(self, symbols: Sequence[str]) -> str:
        """As `Text.join`."""
        lines: list[list[str]] = [[]]
        for symbol in symbols:
            if symbol == "\n":
                lines.append([])
            else:
                lines[-1].append(symbol)
        return "\n".join(map(self.tokenizer.join, lines))


class Category(Side):
    """One of several names, an unknown one too; or, of a target, a label."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.vocabulary = Vocabulary(value["symbols"])

    def asked(self, found: Any) -> str:
        """As `Side.asked`."""
        text = str(found).lower() if isinstance(found, bool) else as_text(found).strip()
        if not text:
            raise ValueError("is empty")
        return text

    def encode(self, value: str) -> Array:
        """As `Side.encode`."""
        return np.asarray([self.vocabulary.id(value)], np.int64)

    def unknown(self, array: Array) -> int:
        """As `Side.unknown`."""
        return int((array == UNK).sum())

    def names(self, ids: Iterable[int]) -> list[str]:
        """The names of ids."""
        return self.vocabulary.names(ids)


class Labels(Category):
    """A label for each step."""

    steps = True


class Nothing(Side):
    """No source at all; or, of a target, the source's own next symbol."""

    reads = False

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.kind = value["kind"]

    def asked(self, found: Any) -> str:
        """As `Side.asked`."""
        return ""

    def encode(self, value: str) -> Array:
        """As `Side.encode`."""
        return np.asarray([EOS], np.int64)


class Numbers(Side):
    """Arrays of numbers, scaled: `vector`, `frames`, `grid`; of targets `number`, `numbers`."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.kind = value["kind"]
        self.steps = self.kind in ("frames", "numbers")
        self.bits = bool(value["bits"])
        self.width = value.get("width")
        self.mean, self.deviation = (np.asarray(value[name], np.float32) for name in ("mean", "deviation"))

    @property
    def size(self) -> int:
        """Numbers a step."""
        return len(self.mean)

    def asked(self, found: Any) -> Array:
        """As `Side.asked`."""
        values = _numbers(found)
        if self.kind == "frames":
            if self.width is None:
                return values.reshape(len(values), -1)
            if values.size % self.width:
                raise ValueError(f"has {values.size:,} numbers, which {self.width} a step does not divide")
            return values.reshape(-1, self.width)
        if self.kind == "grid":
            if values.ndim not in (2, 3):
                reason = f"must be [places, numbers] or [rows, columns, numbers], but is an array {list(values.shape)}"
                raise ValueError(reason)
            return values.reshape(-1, values.shape[-1])
        if values.ndim > 1 and max(values.shape[:-1]) > 1:
            raise ValueError(f"must be one list of numbers, but is an array {list(values.shape)}")
        return values.reshape(1, -1)

    def encode(self, value: Array) -> Array:
        """As `Side.encode`."""
        if value.shape[1] != self.size:
            each = " a step" if self.steps else ""
            raise ValueError(f"has {value.shape[1]:,} numbers{each}, but the training rows have {self.size:,}")
        return np.clip(((value - self.mean) / self.deviation).astype(np.float32), -FURTHEST, FURTHEST)

    def read_step(self, found: Any) -> Array:
        """As `Side.read_step`."""
        if self.kind != "frames":
            return super().read_step(found)
        return self.encode(_numbers(found).reshape(1, -1))

    def said(self, values: Array) -> Array:
        """Numbers that a graph gave as they stand in the data; of bits the probabilities."""
        return values if self.kind == "numbers" and self.bits else values * self.deviation + self.mean


def _turns(found: Any) -> Sequence[Any]:
    if isinstance(found, str) and found.lstrip().startswith("["):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):  # a text that begins with a bracket
            return [found]
    return found if isinstance(found, list | tuple) else [found]


def _parsed(found: Any) -> Any:
    if isinstance(found, list | tuple):
        return [_parsed(item) for item in found]
    return float(found) if isinstance(found, str) else found


def _numbers(found: Any) -> Array:
    """A list, JSON, an array or the name of an .npy file as finite float32 numbers in whatever shape."""
    if isinstance(found, str):
        text = as_text(found).strip()
        if not text:
            raise ValueError("is empty")
        if text.endswith(".npy"):
            try:
                found = np.load(text, allow_pickle=False)
            except MemoryError:
                raise ValueError(f"names {text}: is larger than the memory") from None
            except (OSError, EOFError, ValueError, SyntaxError, OverflowError, TypeError) as error:
                raise ValueError(f"names {text}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        else:
            try:
                found = json.loads(text)
            except (ValueError, RecursionError):
                raise ValueError("is no number and no JSON list of numbers") from None
    try:
        values = np.asarray(found)
    except ValueError:
        raise ValueError("has rows of different lengths") from None
    if values.dtype.kind == "U" and isinstance(found, list | tuple):
        try:
            values = np.asarray(_parsed(found))
        except ValueError as error:
            raise ValueError(f"must be numbers: {error}") from None
    if values.dtype.kind not in "iufb" or (values.dtype.kind == "b" and not isinstance(found, np.ndarray)):
        raise ValueError("must be numbers")
    if not values.size:
        raise ValueError("is empty")
    with np.errstate(over="ignore"):
        values = np.atleast_1d(values.astype(np.float32))
    if not np.isfinite(values).all():
        raise ValueError("holds a number that is not finite")
    return values
