"""Which sides of a row share symbols, so that a model may copy: see `antiphon/common/copying.py` for their ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from antiphon.common import copying
from antiphon.common.symbols import UNK
from antiphon.common.text import Text
from antiphon.data.codecs.base import Array, Codec
from antiphon.data.codecs.text import TextCodec
from antiphon.errors import ConfigError

WHOLE = ("words", "split")  # tokenizers whose symbols are words
PIECES = ("bpe", "unigram")  # tokenizers whose symbols are parts of words


@dataclass(frozen=True)
class Copying:
    """The sides of every row of a model that copies; None is a source that cannot be copied."""

    sources: tuple[TextCodec | None, ...]
    target: TextCodec

    @classmethod
    def between(cls, sources: Sequence[Codec], target: Codec) -> Copying:
        """The sides, if the target's symbols can be those of a source; a `ConfigError` says why they cannot."""
        if target.form != "any" or not isinstance(target, TextCodec):
            kind = f"{target.kind}{' with ctc' if target.form == 'aligned' else ''}"
            raise ConfigError("", f"is for a decoder that writes text; a target of {kind} is not written")
        if target.tokens in PIECES:
            reason = f"copies whole symbols, and target.tokens: {target.tokens} cuts unknown words into pieces"
            raise ConfigError("", f"{reason}; choose chars, words or split")
        copied = tuple(_copied(source, target) for source in sources)
        if not any(copied):
            raise ConfigError("", _reason(sources, target))
        return cls(copied, target)

    def copy_ids(self, values: Sequence[Any]) -> list[list[int] | None]:
        """The id in the target that a copy of each step has, for every source; None for one that is not copied."""
        return copying.copy_ids(self._symbols(values), self.target.vocabulary)

    def _symbols(self, values: Sequence[Any]) -> list[list[str] | None]:
        """The symbols of every source, "" at ends; None for one that is not copied."""
        pairs = zip(self.sources, values, strict=True)
        return [None if codec is None else [*codec.split_turns(value), ""] for codec, value in pairs]

    def read(self, values: Sequence[Any], encoded: Sequence[Array | Sequence[int]]) -> list[Array | Sequence[int]]:
        """Encoded sources; those that are copied, [steps] or [steps, ...], as [steps, ... + 1]: the last column is the
        id of each step's copy."""
        return [
            array if ids is None else np.column_stack([array, ids]).astype(np.int32)
            for array, ids in zip(encoded, self.copy_ids(values), strict=True)
        ]

    def _source_ids(self, sources: Sequence[Any]) -> dict[str, int]:
        """The id of every symbol of a row's sources."""
        pairs = zip(self._symbols(sources), self.copy_ids(sources), strict=True)
        return {
            symbol: number
            for symbols, ids in pairs
            if symbols is not None and ids is not None
            for symbol, number in zip(symbols, ids, strict=True)
        }

    def written(self, value: Text, sources: Sequence[Any]) -> list[int]:
        """The ids of a target: a symbol that only the row's sources have gets the id of its copy."""
        source_ids = self._source_ids(sources)
        known = zip([*self.target.split_turns(value), ""], self.target.encode(value), strict=True)
        return [source_ids.get(symbol, UNK) if number == UNK else number for symbol, number in known]

    def id_of(self, symbol: str, sources: Sequence[Any]) -> int:
        """The id of a symbol in an output for these sources; UNK if neither the vocabulary nor these have it."""
        number = self.target.vocabulary.id(symbol)
        return self._source_ids(sources).get(symbol, UNK) if number == UNK else number

    def symbols(self, ids: Iterable[int], sources: Sequence[Any]) -> list[str | None]:
        """The symbols of an output's ids, None for a special symbol."""
        return copying.names(ids, self._symbols(sources), self.target.vocabulary)


def _copied(source: Codec, target: TextCodec) -> TextCodec | None:
    """The source if its symbols can be symbols of the target."""
    if not isinstance(source, TextCodec) or source.tokens in PIECES:
        return None
    return source if source.tokens == target.tokens or {source.tokens, target.tokens} <= {*WHOLE} else None


def _reason(sources: Sequence[Codec], target: TextCodec) -> str:
    """Why no source can be copied."""
    texts = [source for source in sources if isinstance(source, TextCodec)]
    if not texts:
        kinds = " and ".join(source.kind for source in sources)
        return f"needs a source of text whose symbols can be copied, not {kinds}"
    if texts[0].tokens in PIECES:
        reason = f"copies whole symbols, and source.tokens: {texts[0].tokens} cuts unknown words into pieces"
        return f"{reason}; choose chars, words or split"
    reason = f"a source of {texts[0].tokens} has no symbols for a target of {target.tokens}"
    return f"{reason}; give both sides the same tokens"
