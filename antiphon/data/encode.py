"""Texts to ids and ids to texts: one `TextCodec` a side, saved with the model as a JSON file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.data.text import TOKENIZERS, Tokenizer, normalizer
from antiphon.data.vocabulary import Vocabulary
from antiphon.errors import ConfigError, ModelFolderError
from antiphon.symbols import EOS


@dataclass(frozen=True)
class TextSettings:
    """How a side's text is treated, as the user chose it."""

    tokens: str
    options: Mapping[str, Any]
    normalize: str
    lowercase: bool
    key: str  # where the choice stands in the configuration, for messages


class TextCodec:
    """Normaliser, tokenizer and vocabulary of one side."""

    def __init__(self, settings: TextSettings, tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
        self.settings = settings
        self.normalize = normalizer(settings.normalize, settings.lowercase)
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary

    @classmethod
    def train(cls, settings: TextSettings, texts: Sequence[str]) -> TextCodec:
        """Learn tokenizer and vocabulary from the training side's texts."""
        tokenizer = TOKENIZERS.build(settings.tokens, settings.options, settings.key)
        normalize = normalizer(settings.normalize, settings.lowercase)
        normal = [normalize(text) for text in texts]
        try:
            tokenizer.train(normal)
        except ConfigError as error:
            raise ConfigError(f"{settings.key}.{error.key}", error.reason) from None
        vocabulary = Vocabulary.build(map(tokenizer.split, normal), tokenizer.min_count)
        if not vocabulary.symbols:
            raise ConfigError(settings.key, f"no symbol occurs {tokenizer.min_count} times; lower min_count")
        return cls(settings, tokenizer, vocabulary)

    def split(self, text: str) -> list[str]:
        """The symbols of a text; unknown ones keep their spelling."""
        return self.tokenizer.split(self.normalize(text))

    def encode(self, text: str) -> list[int]:
        """The ids of a text, with the end symbol."""
        return [*map(self.vocabulary.id, self.split(text)), EOS]

    def symbols(self, ids: Iterable[int]) -> list[str]:
        """The symbols of ids; special ones are left out."""
        found = map(self.vocabulary.symbol, ids)
        return [symbol for symbol in found if symbol is not None]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special ones are left out."""
        return self.tokenizer.join(self.symbols(ids))

    def to_json(self) -> dict[str, Any]:
        return {
            "tokens": self.settings.tokens,
            "options": dict(self.settings.options),
            "normalize": self.settings.normalize,
            "lowercase": self.settings.lowercase,
            "learned": self.tokenizer.learned(),
            "symbols": self.vocabulary.symbols,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], key: str) -> TextCodec:
        """What `to_json` gave; anything else is a `ModelFolderError`."""
        try:
            settings = TextSettings(value["tokens"], value["options"], value["normalize"], value["lowercase"], key)
            symbols = value["symbols"]
            strings = isinstance(symbols, list) and all(isinstance(symbol, str) for symbol in symbols)
            if not strings or not isinstance(settings.options, dict):
                raise TypeError("options must be a table, symbols a list of strings")
            tokenizer = TOKENIZERS.build(settings.tokens, settings.options, key)
            tokenizer.restore(value["learned"])
            return cls(settings, tokenizer, Vocabulary(symbols))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFolderError(f"a vocabulary file is incomplete or damaged: {error!r}") from None
