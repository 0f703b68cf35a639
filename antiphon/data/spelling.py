"""Words as their characters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from antiphon.common.spelling import spelled
from antiphon.common.vocabulary import Vocabulary
from antiphon.errors import ConfigError
from antiphon.registry import construct

WIDEST, LONGEST = 1 << 12, 256  # the size of a vector, the length of a word


class Spelling:
    """A word's characters as `width` ids, filled up with PAD; a longer word keeps its beginning and its end.

    `embedding` and `hidden` are options of the part that reads them: the size of a character's vector, and of the
    states of a direction.
    """

    def __init__(self, embedding: int = 32, hidden: int = 64, width: int = 20) -> None:
        for name, value, least, most in (
            ("embedding", embedding, 1, WIDEST),
            ("hidden", hidden, 1, WIDEST),
            ("width", width, 2, LONGEST),
        ):
            if not least <= value <= most:
                raise ConfigError(name, f"must lie between {least} and {most:,} (is {value:,})")
        self.options = {"embedding": embedding, "hidden": hidden, "width": width}
        self.width = width
        self.vocabulary = Vocabulary([])

    @classmethod
    def chosen(cls, options: Mapping[str, object]) -> Self:
        """A spelling with a user's options."""
        return construct(cls, options, "characters", "'characters'")

    def learn(self, words: Iterable[str]) -> None:
        """Learn the characters of the training rows' words."""
        self.vocabulary = Vocabulary.build(words)

    def encode(self, word: str) -> list[int]:
        """The ids [width] of a word's characters; an empty word is the end symbol."""
        return spelled(word, self.vocabulary, self.width)

    def to_json(self) -> dict[str, Any]:
        """All that `from_json` needs."""
        return {**self.options, "symbols": self.vocabulary.symbols}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The spelling from the value of `to_json`."""
        made = cls.chosen({name: option for name, option in value.items() if name != "symbols"})
        made.vocabulary = Vocabulary.from_json(value["symbols"])
        return made
