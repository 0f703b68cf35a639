"""Text to tokens and back: normalisation, and the table of tokenizers.

A tokenizer is trained on the training side only. What it learned is a JSON value, stored with the model.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from tokenizers import Tokenizer as Pieces
from tokenizers import decoders, models, pre_tokenizers, trainers

from antiphon.errors import ConfigError, ModelFolderError, nearest
from antiphon.registry import Table

MOST_PIECES = 1_000_000
NORMAL_FORMS = {"nfc": "NFC", "nfd": "NFD", "nfkc": "NFKC"}


def normalizer(form: str, lowercase: bool) -> Callable[[str], str]:
    """The function that every text passes first, in training and ever after."""
    if form != "none" and form not in NORMAL_FORMS:
        raise ConfigError("normalize", f"unknown form {form!r}; {nearest(form, [*NORMAL_FORMS, 'none'])}")

    def normalize(text: str) -> str:
        if form != "none":
            text = unicodedata.normalize(NORMAL_FORMS[form], text)  # type: ignore[arg-type]
        return text.lower() if lowercase else text

    return normalize


class Tokenizer(Protocol):
    """Splits text into symbols and joins symbols into text."""

    min_count: int

    def train(self, texts: Iterable[str]) -> None:
        """Learn from the training side's texts, where there is something to learn."""

    def split(self, text: str) -> list[str]: ...

    def join(self, symbols: Iterable[str]) -> str: ...

    def learned(self) -> Any:
        """What `train` learned, as a JSON value; None if nothing."""

    def restore(self, learned: Any) -> None:
        """Take back what `learned` gave."""


class _Fixed:
    """Tokenizers that learn nothing."""

    def __init__(self, min_count: int = 1) -> None:
        if min_count < 1:
            raise ConfigError("min_count", f"must be at least 1 (is {min_count})")
        self.min_count = min_count

    def train(self, texts: Iterable[str]) -> None: ...

    def learned(self) -> Any:
        return None

    def restore(self, learned: Any) -> None: ...


class Chars(_Fixed):
    """Every code point is a symbol."""

    def split(self, text: str) -> list[str]:
        return list(text)

    def join(self, symbols: Iterable[str]) -> str:
        return "".join(symbols)


def with_single_blanks(text: str) -> str:
    """White space of ASCII as single blanks; other white space (U+00A0, U+202F) as it is."""
    return re.sub(r"[ \t\n\r\f\v]+", " ", text).strip(" ")


class Words(_Fixed):
    """White space separates symbols; they are joined by single spaces."""

    def split(self, text: str) -> list[str]:
        return text.split()

    def join(self, symbols: Iterable[str]) -> str:
        return " ".join(symbols)


class Split(_Fixed):
    """A `separator` stands between symbols."""

    def __init__(self, separator: str, min_count: int = 1) -> None:
        super().__init__(min_count)
        if not separator:
            raise ConfigError("separator", "must not be empty; for single characters choose tokens: chars")
        self.separator = separator

    def split(self, text: str) -> list[str]:
        return [symbol for symbol in text.split(self.separator) if symbol]

    def join(self, symbols: Iterable[str]) -> str:
        return self.separator.join(symbols)


class _Subwords:
    """Pieces learned from text; the tokenizers library does the work.

    An unknown piece is given as its own spelling, which the vocabulary does not hold. The library's
    marker for it is a control character, so no ordinary text can spell it.
    """

    UNKNOWN = "\0"
    min_count = 1

    def __init__(self, size: int = 8000) -> None:
        if not 2 <= size <= MOST_PIECES:
            raise ConfigError("size", f"must lie between 2 and {MOST_PIECES:,} (is {size})")
        self.size = size
        self.pieces: Pieces | None = None

    def _learn(self, untrained: Any, trainer: Any, texts: Iterable[str]) -> Any:
        pieces = Pieces(untrained)
        pieces.pre_tokenizer = pre_tokenizers.Metaspace()
        try:
            pieces.train_from_iterator(texts, trainer)
        except Exception as error:  # the library raises nothing narrower
            raise ConfigError("size", f"{self.size:,} pieces cannot be learned: {error}") from None
        return json.loads(pieces.to_str())["model"]

    def _assemble(self, model: Any) -> None:
        # without the trainer's "added tokens", which would be recognised inside ordinary text
        self.pieces = Pieces(model)
        self.pieces.pre_tokenizer = pre_tokenizers.Metaspace()
        self.pieces.decoder = decoders.Metaspace()

    def split(self, text: str) -> list[str]:
        assert self.pieces is not None, "train or restore first"
        encoding = self.pieces.encode(text)
        if self.UNKNOWN not in encoding.tokens:
            return list(encoding.tokens)
        return [
            text[start:end] if token == self.UNKNOWN else token
            for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True)
        ]

    def join(self, symbols: Iterable[str]) -> str:
        assert self.pieces is not None, "train or restore first"
        return str(self.pieces.decoder.decode(list(symbols)))

    def restore(self, learned: Any) -> None:
        try:
            self._restore(learned)
            self.split("a")
        except Exception as error:
            raise ModelFolderError(f"a vocabulary file holds no {type(self).__name__.lower()} model: {error}") from None

    def _restore(self, learned: Any) -> None:
        raise NotImplementedError


class Bpe(_Subwords):
    """Byte-pair encoding of characters (Sennrich et al. 2016, arXiv 1508.07909), `size` pieces at most."""

    def train(self, texts: Iterable[str]) -> None:
        trainer = trainers.BpeTrainer(vocab_size=self.size, special_tokens=[self.UNKNOWN], show_progress=False)
        self._restore(self._learn(models.BPE(unk_token=self.UNKNOWN), trainer, texts))

    def learned(self) -> Any:
        assert self.pieces is not None
        model = json.loads(self.pieces.to_str())["model"]
        return {"vocab": model["vocab"], "merges": model["merges"]}

    def _restore(self, learned: Any) -> None:
        merges = [tuple(merge) for merge in learned["merges"]]
        self._assemble(models.BPE(vocab=learned["vocab"], merges=merges, unk_token=self.UNKNOWN))


class Unigram(_Subwords):
    """A unigram language model over pieces (Kudo 2018, arXiv 1804.10959), `size` pieces at most."""

    def train(self, texts: Iterable[str]) -> None:
        trainer = trainers.UnigramTrainer(
            vocab_size=self.size, special_tokens=[self.UNKNOWN], unk_token=self.UNKNOWN, show_progress=False
        )
        self._restore(self._learn(models.Unigram(), trainer, texts))

    def learned(self) -> Any:
        assert self.pieces is not None
        model = json.loads(self.pieces.to_str())["model"]
        return {"vocab": model["vocab"], "unk_id": model["unk_id"]}

    def _restore(self, learned: Any) -> None:
        vocabulary = [(piece, score) for piece, score in learned["vocab"]]
        self._assemble(models.Unigram(vocabulary, learned["unk_id"]))


TOKENIZERS: Table[Tokenizer] = Table(
    "tokenizer",
    {"chars": Chars, "words": Words, "split": Split, "bpe": Bpe, "unigram": Unigram},
)
