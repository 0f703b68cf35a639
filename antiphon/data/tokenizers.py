"""Text to tokens and back: normalisation, and the table of tokenizers.

A tokenizer is trained on the training side only. What it learned is a JSON value, stored with the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

from tokenizers import Tokenizer as Pieces
from tokenizers import models, pre_tokenizers, trainers

from antiphon.common import text
from antiphon.errors import ConfigError, ModelFolderError, nearest
from antiphon.registry import Table

MOST_PIECES = 1_000_000


def normalizer(form: str, lowercase: bool) -> Callable[[str], str]:
    """The function that every text passes first, in training and in prediction."""
    if form != "none" and form not in text.NORMAL_FORMS:
        raise ConfigError("normalize", f"unknown form {form!r}; {nearest(form, [*text.NORMAL_FORMS, 'none'])}")
    return text.normalizer(form, lowercase)


class Tokenizer(text.Splits, Protocol):
    """Splits text into symbols and joins symbols into text."""

    min_count: int

    def train(self, texts: Iterable[str]) -> None:
        """Learn from the training side's texts, where there is something to learn."""

    def learned(self) -> Any:
        """What `train` learned, as a JSON value; None if nothing."""

    def restore(self, learned: Any) -> None:
        """Restore the tokenizer from the value of `learned`."""


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


class Chars(_Fixed, text.Chars):
    """Every code point is a symbol."""


def with_single_blanks(value: str) -> str:
    """White space of ASCII as single blanks; other white space (U+00A0, U+202F) as it is."""
    return re.sub(r"[ \t\n\r\f\v]+", " ", value).strip(" ")


class Words(_Fixed, text.Words):
    """White space separates symbols; they are joined by single spaces."""


class Split(_Fixed, text.Split):
    """A `separator` separates symbols."""

    def __init__(self, separator: str, min_count: int = 1) -> None:
        _Fixed.__init__(self, min_count)
        if not separator:
            raise ConfigError("separator", "must not be empty; for single characters choose tokens: chars")
        text.Split.__init__(self, separator)


class _Subwords:
    """Pieces learned from text; the tokenizers library does the work.

    The library's marker of an unknown piece is a control character, so no ordinary text can spell it.
    """

    kind: ClassVar[str]
    kept: ClassVar[tuple[str, ...]]  # the saved keys of the library's description of a model
    min_count = 1

    def __init__(self, size: int = 8000) -> None:
        if not 2 <= size <= MOST_PIECES:
            raise ConfigError("size", f"must lie between 2 and {MOST_PIECES:,} (is {size})")
        self.size = size
        self.pieces: text.Pieces | None = None

    def _untrained(self) -> tuple[Any, Any]:
        """A model of the library, and its trainer."""
        raise NotImplementedError

    def train(self, texts: Iterable[str]) -> None:
        model, trainer = self._untrained()
        pieces = Pieces(model)
        pieces.pre_tokenizer = pre_tokenizers.Metaspace()
        try:
            pieces.train_from_iterator(texts, trainer)
        except Exception as error:  # the library raises nothing narrower
            raise ConfigError("size", f"{self.size:,} pieces cannot be learned: {error}") from None
        self.pieces = text.Pieces(self.kind, json.loads(pieces.to_str())["model"])

    def split(self, value: str) -> list[str]:
        assert self.pieces is not None, "train or restore first"
        return self.pieces.split(value)

    def join(self, symbols: Iterable[str]) -> str:
        assert self.pieces is not None, "train or restore first"
        return self.pieces.join(symbols)

    def learned(self) -> Any:
        assert self.pieces is not None
        model = json.loads(self.pieces.pieces.to_str())["model"]
        return {name: model[name] for name in self.kept}

    def restore(self, learned: Any) -> None:
        try:
            self.pieces = text.Pieces(self.kind, learned)
            self.split("a")
        except Exception as error:
            raise ModelFolderError(f"a vocabulary file holds no {self.kind} model: {error}") from None


class Bpe(_Subwords):
    """Byte-pair encoding of characters (Sennrich et al. 2016, arXiv 1508.07909), `size` pieces at most."""

    kind = "bpe"
    kept = ("vocab", "merges")

    def _untrained(self) -> tuple[Any, Any]:
        trainer = trainers.BpeTrainer(vocab_size=self.size, special_tokens=[text.UNKNOWN_PIECE], show_progress=False)
        return models.BPE(unk_token=text.UNKNOWN_PIECE), trainer


class Unigram(_Subwords):
    """A unigram language model over pieces (Kudo 2018, arXiv 1804.10959), `size` pieces at most."""

    kind = "unigram"
    kept = ("vocab", "unk_id")

    def _untrained(self) -> tuple[Any, Any]:
        trainer = trainers.UnigramTrainer(
            vocab_size=self.size,
            special_tokens=[text.UNKNOWN_PIECE],
            unk_token=text.UNKNOWN_PIECE,
            show_progress=False,
        )
        return models.Unigram(), trainer


TOKENIZERS: Table[Tokenizer] = Table(
    "tokenizer",
    {"chars": Chars, "words": Words, "split": Split, "bpe": Bpe, "unigram": Unigram},
)
