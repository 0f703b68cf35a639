"""Text to symbols and back, and symbols to ids: as in training."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from antiphon_runtime.errors import FolderError

PAD, BOS, EOS, UNK, SPECIALS = range(
    5
)  # ids: fills a batch, begins, ends, is unknown; ordinary symbols from SPECIALS on
FORMS = {"nfc": "NFC", "nfd": "NFD", "nfkc": "NFKC"}
UNKNOWN = "\0"  # the subword tokenizers' name for what they cannot spell; no ordinary text holds it


def normalizer(form: str, lowercase: bool) -> Callable[[str], str]:
    """The function that every text passes first."""
    if form != "none" and form not in FORMS:
        raise ValueError(f"unknown form {form!r}")

    def normalize(text: str) -> str:
        if form != "none":
            text = unicodedata.normalize(FORMS[form], text)  # type: ignore[arg-type]
        return text.lower() if lowercase else text

    return normalize


class Tokenizer:
    """Splits text into symbols and joins symbols into text."""

    def split(self, text: str) -> list[str]:
        """The symbols of a normalised text."""
        raise NotImplementedError

    def join(self, symbols: Iterable[str]) -> str:
        """The text of symbols."""
        raise NotImplementedError


class Chars(Tokenizer):
    """Every code point is a symbol."""

    def split(self, text: str) -> list[str]:
        """As `Tokenizer.split`."""
        return list(text)

    def join(self, symbols: Iterable[str]) -> str:
        """As `Tokenizer.join`."""
        return "".join(symbols)


class Words(Tokenizer):
    """White space separates symbols; they are joined by single spaces."""

    def split(self, text: str) -> list[str]:
        """As `Tokenizer.split`."""
        return text.split()

    def join(self, symbols: Iterable[str]) -> str:
        """As `Tokenizer.join`."""
        return " ".join(symbols)


class Split(Tokenizer):
    """A `separator` stands between symbols."""

    def __init__(self, separator: str) -> None:
        self.separator = separator

    def split(self, text: str) -> list[str]:
        """As `Tokenizer.split`."""
        return [symbol for symbol in text.split(self.separator) if symbol]

    def join(self, symbols: Iterable[str]) -> str:
        """As `Tokenizer.join`."""
        return self.separator.join(symbols)


class Subwords(Tokenizer):
    """Pieces learned from text, which the tokenizers library splits into and joins."""

    def __init__(self, kind: str, learned: Mapping[str, Any]) -> None:
        try:
            from tokenizers import Tokenizer as Pieces
            from tokenizers import decoders, models, pre_tokenizers
        except ImportError:
            raise FolderError(f"{kind} tokens need the tokenizers library: pip install tokenizers") from None
        if kind == "bpe":
            merges = [tuple(merge) for merge in learned["merges"]]
            model: Any = models.BPE(vocab=learned["vocab"], merges=merges, unk_token=UNKNOWN)
        else:
            model = models.Unigram([(piece, score) for piece, score in learned["vocab"]], learned["unk_id"])
        self.pieces = Pieces(model)
        self.pieces.pre_tokenizer = pre_tokenizers.Metaspace()
        self.pieces.decoder = decoders.Metaspace()

    def split(self, text: str) -> list[str]:
        """As `Tokenizer.split`."""
        encoding = self.pieces.encode(text)
        return [
            text[start:end] if token == UNKNOWN else token
            for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True)
        ]

    def join(self, symbols: Iterable[str]) -> str:
        """As `Tokenizer.join`."""
        return str(self.pieces.decoder.decode(list(symbols)))


def tokenizer(value: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of a vocabulary file."""
    kind = value["tokens"]
    if kind == "chars":
        return Chars()
    if kind == "words":
        return Words()
    if kind == "split":
        return Split(value["options"]["separator"])
    if kind in ("bpe", "unigram"):
        return Subwords(kind, value["learned"])
    raise ValueError(f"unknown tokens {kind!r}")


class Vocabulary:
    """Distinct symbols in order; the first has the id `SPECIALS`."""

    def __init__(self, symbols: list[str]) -> None:
        self.symbols = symbols
        self._ids = {symbol: number for number, symbol in enumerate(symbols, SPECIALS)}

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._ids

    def id(self, symbol: str) -> int:
        """The symbol's id, UNK if there is none."""
        return self._ids.get(symbol, UNK)

    def names(self, ids: Iterable[int]) -> list[str]:
        """The symbols of ids; special ones are left out."""
        return [self.symbols[number - SPECIALS] for number in ids if number >= SPECIALS]
