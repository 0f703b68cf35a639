"""Text to symbols and back: normal forms, the tokenizers' rules, the turns of a dialogue, the lines of a long text."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import numpy as np

NORMAL_FORMS = {"nfc": "NFC", "nfd": "NFD", "nfkc": "NFKC"}
UNKNOWN_PIECE = "\0"  # the subword tokenizers' name for what they cannot spell; it is in no ordinary text
LINE_END = "\n"

Text = str | tuple[str, ...]  # a text, or the turns of a dialogue, oldest first


def normalizer(form: str, lowercase: bool) -> Callable[[str], str]:
    """The function that every text passes first. An unknown form is a `ValueError`."""
    if form != "none" and form not in NORMAL_FORMS:
        raise ValueError(f"unknown form {form!r}")
    return partial(_normalize, form, lowercase)  # which can be pickled


def _normalize(form: str, lowercase: bool, text: str) -> str:
    if form != "none":
        text = unicodedata.normalize(NORMAL_FORMS[form], text)  # type: ignore[arg-type]
    return text.lower() if lowercase else text


def as_text(value: object) -> str:
    """The content of a column, or an input, as text."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("contains a NUL character")
        if has_surrogate(value):
            raise ValueError("is not UTF-8 text")
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float) and not np.isfinite(value):
            raise ValueError(f"is not a number: {value}")
        return str(value)
    raise ValueError(f"is not text but {_kind_of(value)}")


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, np.ndarray) and value.dtype.kind in "iufb":
        return f"an array {list(value.shape)}; arrays are read by the kinds vector, frames, image, number and numbers"
    return f"an array {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__


def has_surrogate(text: str) -> bool:
    """Whether a text holds half of a surrogate pair, which cannot be written as UTF-8."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


# --- tokenizers -----------------------------------------------------------------------------------------


class Splits(Protocol):
    """Splits text into symbols and joins symbols into text."""

    def split(self, text: str) -> list[str]:
        """The symbols of a normalised text."""

    def join(self, symbols: Iterable[str]) -> str:
        """The text of symbols."""


class Chars:
    """Every code point is a symbol."""

    def split(self, text: str) -> list[str]:
        """As `Splits.split`."""
        return list(text)

    def join(self, symbols: Iterable[str]) -> str:
        """As `Splits.join`."""
        return "".join(symbols)


class Words:
    """White space separates symbols; they are joined by single spaces."""

    def split(self, text: str) -> list[str]:
        """As `Splits.split`."""
        return text.split()

    def join(self, symbols: Iterable[str]) -> str:
        """As `Splits.join`."""
        return " ".join(symbols)


class Split:
    """A `separator` separates symbols."""

    def __init__(self, separator: str) -> None:
        self.separator = separator

    def split(self, text: str) -> list[str]:
        """As `Splits.split`."""
        return [symbol for symbol in text.split(self.separator) if symbol]

    def join(self, symbols: Iterable[str]) -> str:
        """As `Splits.join`."""
        return self.separator.join(symbols)


class Pieces:
    """Pieces learned from text, which the tokenizers library splits into and joins.

    An unknown piece stays as it is spelled, which is not in the vocabulary.
    """

    def __init__(self, kind: str, learned: Mapping[str, Any]) -> None:
        """`kind` is bpe or unigram. Raises `ImportError` without the tokenizers library."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        if kind == "bpe":
            merges = [tuple(merge) for merge in learned["merges"]]
            model: Any = models.BPE(vocab=learned["vocab"], merges=merges, unk_token=UNKNOWN_PIECE)
        else:
            model = models.Unigram([(piece, score) for piece, score in learned["vocab"]], learned["unk_id"])
        # without the trainer's "added tokens", which would be recognised inside ordinary text
        self.pieces = Tokenizer(model)
        self.pieces.pre_tokenizer = pre_tokenizers.Metaspace()
        self.pieces.decoder = decoders.Metaspace()

    def split(self, text: str) -> list[str]:
        """As `Splits.split`."""
        encoding = self.pieces.encode(text)
        if UNKNOWN_PIECE not in encoding.tokens:
            return list(encoding.tokens)
        return [
            text[start:end] if token == UNKNOWN_PIECE else token
            for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True)
        ]

    def join(self, symbols: Iterable[str]) -> str:
        """As `Splits.join`."""
        return str(self.pieces.decoder.decode(list(symbols)))


# --- dialogues and long texts ---------------------------------------------------------------------------


def turns_of(value: Text) -> tuple[str, ...]:
    """A text alone, or every turn of a dialogue."""
    return (value,) if isinstance(value, str) else value


def read_turns(value: object) -> Sequence[object]:
    """The turns of a dialogue: a list, also as JSON; any other text is one turn."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):  # a text that begins with a bracket
            return [value]
    return value if isinstance(value, list | tuple) else [value]


def read_tags(value: object, separator: str) -> tuple[str, ...]:
    """A set of tags, in the order of their code points: a text with separators between, or a list, also as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):  # a tag that begins with a bracket
            value = json.loads(value)
    parts = value if isinstance(value, list | tuple) else as_text(value).split(separator)
    tags = {as_text(part).strip() for part in parts} - {""}
    if not tags:
        raise ValueError("is empty")
    return tuple(sorted(tags))


def read_text(value: object, turns: int | None, trims: bool) -> Text:
    """A text, or with `turns` the last so many of a dialogue; with `trims` without white space at the ends."""

    def read(text: object) -> str:
        content = text if isinstance(text, str) and turns is None else as_text(text)
        return content.strip() if trims else content

    if turns is None:
        return read(value)
    dialogue = tuple(map(read, read_turns(value)))
    if not dialogue:
        raise ValueError("is empty")
    return dialogue[-turns:]


def split_turns(split: Callable[[str], list[str]], value: Text) -> list[str]:
    """The symbols of a text, or of all turns of a dialogue, with an empty symbol where the next turn begins."""
    return [symbol for text in turns_of(value) for symbol in ("", *split(text))][1:]


def split_lines(split: Callable[[str], list[str]], text: str) -> list[str]:
    """The symbols of a long text, in which a line end is a symbol."""
    first, *lines = map(split, text.split(LINE_END))
    return [*first, *(symbol for line in lines for symbol in (LINE_END, *line))]


def join_lines(join: Callable[[Iterable[str]], str], symbols: Iterable[str]) -> str:
    """The text of the symbols of a long text."""
    lines: list[list[str]] = [[]]
    for symbol in symbols:
        if symbol == LINE_END:
            lines.append([])
        else:
            lines[-1].append(symbol)
    return LINE_END.join(map(join, lines))
