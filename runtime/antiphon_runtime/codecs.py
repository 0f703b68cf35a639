"""From inputs to arrays, and from a graph's outputs to words, as in training, with the vocabulary files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime.common.calendar import PARTS, calendar_numbers, read_times
from antiphon_runtime.common.inputs import refuse_other_length
from antiphon_runtime.common.numbers import (
    as_frames,
    as_grid,
    as_vector,
    clipped,
    filled,
    read_numbers,
    refuse_gaps,
    scaled,
)
from antiphon_runtime.common.spelling import spelled, unknown_symbols
from antiphon_runtime.common.symbols import BOS, EOS, UNK
from antiphon_runtime.common.text import (
    LINE_END,
    Chars,
    Pieces,
    Split,
    Splits,
    Words,
    as_text,
    join_lines,
    normalizer,
    read_tags,
    read_text,
    split_lines,
    split_turns,
    turns_of,
)
from antiphon_runtime.common.vocabulary import Vocabulary
from antiphon_runtime.errors import FolderError

Array = NDArray[Any]


class Codec:
    """One side of a row. `ends` is how many end symbols an encoded value has, `steps` whether it is a sequence."""

    steps = False
    ends = 0
    unit = "steps"
    reads = True
    expected: int | None = None  # steps, if the model reads always so many

    def read_input(self, content: Any) -> Any:
        """The value of an input; a `ValueError` says what is wrong, as the end of a sentence."""
        raise NotImplementedError

    def encode(self, value: Any) -> Array:
        """A value as an array [steps, ...]."""
        raise NotImplementedError

    def unknown(self, array: Array) -> int:
        """How many symbols of an encoded value are unknown."""
        return 0

    def read_step(self, step: Any) -> Array:
        """One step of a live stream [1, ...]."""
        raise ValueError("has no steps")


class Text(Codec):
    """A text, or the turns of a dialogue; read with its spelling where the vocabulary has characters."""

    steps = True
    ends = 1
    unit = "tokens"

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.normalize = normalizer(value["normalize"], value["lowercase"])
        self.tokenizer = _splits(value)
        self.vocabulary = Vocabulary(value["symbols"])
        self.turns = value.get("turns")
        self.trims = bool(value.get("trims", False))
        spelled = value.get("characters")
        self.letters = None if spelled is None else Vocabulary(spelled["symbols"])
        self.width = 0 if spelled is None else int(spelled["width"])

    @property
    def begin(self) -> int:
        """The id before the first symbol."""
        return BOS

    def read_input(self, content: Any) -> Any:
        """As `Codec.read_input`."""
        return read_text(content, self.turns, self.trims)

    def unknown(self, array: Array) -> int:
        """As `Codec.unknown`."""
        return unknown_symbols(array)

    def split(self, text: str) -> list[str]:
        """The symbols of a text; unknown ones keep their spelling."""
        return self.tokenizer.split(self.normalize(text))

    def split_turns(self, value: Any) -> list[str]:
        """The symbols of a text, or of all turns of a dialogue, with an empty symbol where the next turn begins."""
        return split_turns(self.split, value)

    def encode(self, value: Any) -> Array:
        """As `Codec.encode`."""
        ids = [number for text in turns_of(value) for number in (*map(self.vocabulary.id, self.split(text)), EOS)]
        if self.letters is None:
            return np.asarray(ids, np.int64)
        letters = [spelled(word, self.letters, self.width) for word in (*self.split_turns(value), "")]
        return np.column_stack([ids, letters]).astype(np.int64)

    def read_step(self, step: Any) -> Array:
        """As `Codec.read_step`."""
        ids = self.encode(as_text(step))
        ids = ids[: len(ids) - self.ends]
        if len(ids) != 1:
            raise ValueError(f"has {len(ids)} tokens; a stream has one per line")
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
        return self.vocabulary.id(LINE_END) if LINE_END in self.vocabulary else BOS

    def split(self, text: str) -> list[str]:
        """As `Text.split`."""
        return split_lines(self.tokenizer.split, self.normalize(text))

    def encode(self, value: Any) -> Array:
        """As `Codec.encode`."""
        return np.asarray(list(map(self.vocabulary.id, self.split(value))), np.int64)

    def join(self, symbols: Sequence[str]) -> str:
        """As `Text.join`."""
        return join_lines(self.tokenizer.join, symbols)


class Category(Codec):
    """One of several names, which may be unknown; as a target, a label."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.vocabulary = Vocabulary(value["symbols"])

    def read_input(self, content: Any) -> str:
        """As `Codec.read_input`."""
        text = str(content).lower() if isinstance(content, bool) else as_text(content).strip()
        if not text:
            raise ValueError("is empty")
        return text

    def encode(self, value: str) -> Array:
        """As `Codec.encode`."""
        return np.asarray([self.vocabulary.id(value)], np.int64)

    def unknown(self, array: Array) -> int:
        """As `Codec.unknown`."""
        return int((array == UNK).sum())

    def names(self, ids: Iterable[int]) -> list[str]:
        """The names of ids."""
        return self.vocabulary.names(ids)


class Labels(Category):
    """A label for each step."""

    steps = True


class Tags(Codec):
    """A set of tags: how many are unknown, then 1 for each that is there."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.separator = str(value["separator"])
        self.vocabulary = Vocabulary(value["symbols"])

    def read_input(self, content: Any) -> tuple[str, ...]:
        """As `Codec.read_input`."""
        return read_tags(content, self.separator)

    def encode(self, value: tuple[str, ...]) -> Array:
        """As `Codec.encode`."""
        known = [tag for tag in value if tag in self.vocabulary]
        array = np.zeros((1, 1 + len(self.vocabulary.symbols)), np.float32)
        array[0, 0] = len(value) - len(known)
        array[0, [1 + self.vocabulary.place(tag) for tag in known]] = 1
        return array

    def unknown(self, array: Array) -> int:
        """As `Codec.unknown`."""
        return int(array[0, 0])


class Nothing(Codec):
    """No source at all; as a target, the next symbol of the source."""

    reads = False

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.kind = value["kind"]

    def read_input(self, content: Any) -> str:
        """As `Codec.read_input`."""
        return ""

    def encode(self, value: str) -> Array:
        """As `Codec.encode`."""
        return np.asarray([EOS], np.int64)


class Numbers(Codec):
    """Arrays of scaled numbers: `vector`, `frames`, `grid`; as targets `number`, `numbers`, `series`."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.kind = value["kind"]
        self.steps = self.kind in ("frames", "numbers", "series")
        self.bits = bool(value["bits"])
        self.width, self.clips = value.get("width"), bool(value.get("clips", True))
        self.mean, self.deviation = (np.asarray(value[name], np.float32) for name in ("mean", "deviation"))
        self.missing = value.get("missing", "refuse")
        self.means = np.asarray(value.get("means", self.mean), np.float32)

    @property
    def size(self) -> int:
        """Numbers per step."""
        return len(self.mean)

    def read_input(self, content: Any) -> Array:
        """As `Codec.read_input`."""
        values = read_numbers(content, _load, self.missing != "refuse")
        if self.kind == "frames":
            return as_frames(values, self.width)
        return as_grid(values) if self.kind == "grid" else as_vector(values)

    def encode(self, value: Array) -> Array:
        """As `Codec.encode`."""
        refuse_other_length(len(value), self.expected)
        result = scaled(filled(value, self.missing, self.means), self.mean, self.deviation, self.steps)
        return clipped(result) if self.clips else result

    def read_step(self, step: Any) -> Array:
        """As `Codec.read_step`."""
        if self.kind != "frames":
            return super().read_step(step)
        values = read_numbers(step, _load, self.missing != "refuse").reshape(1, -1)
        return self.encode(refuse_gaps(values, self.missing))

    def restored(self, values: Array) -> Array:
        """Numbers of a graph in the scale of the data; for bits the probabilities."""
        return values if self.kind == "numbers" and self.bits else values * self.deviation + self.mean


class Calendar(Codec):
    """Times as parts of the calendar: `calendar`."""

    steps = True

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.kind = value["kind"]
        self.parts = [str(part) for part in value["parts"]]
        if unknown := set(self.parts) - set(PARTS):
            raise ValueError(f"unknown part {min(unknown)!r}")

    def read_input(self, content: Any) -> Array:
        """As `Codec.read_input`."""
        return read_times(content)

    def encode(self, value: Array) -> Array:
        """As `Codec.encode`."""
        refuse_other_length(len(value), self.expected)
        return calendar_numbers(value, self.parts)

    def read_step(self, step: Any) -> Array:
        """As `Codec.read_step`."""
        return self.encode(read_times([step]))


def _splits(value: Mapping[str, Any]) -> Splits:
    """The tokenizer of a vocabulary file."""
    kind = value["tokens"]
    if kind == "chars":
        return Chars()
    if kind == "words":
        return Words()
    if kind == "split":
        return Split(value["options"]["separator"])
    if kind in ("bpe", "unigram"):
        try:
            return Pieces(kind, value["learned"])
        except ImportError:
            raise FolderError(
                f"{kind} tokens need the tokenizers library: pip install 'antiphon-runtime[subwords]'"
            ) from None
    raise ValueError(f"unknown tokens {kind!r}")


def _load(name: str) -> Array:
    """The array in an .npy file."""
    try:
        values: Array = np.load(name, allow_pickle=False)
        return values
    except MemoryError:
        raise ValueError(f"names {name}: is larger than the memory") from None
    except (OSError, EOFError, ValueError, SyntaxError, OverflowError, TypeError) as error:
        raise ValueError(f"names {name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
