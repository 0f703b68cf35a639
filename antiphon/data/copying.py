"""Symbols that a model may copy: how the two sides of a row share ids that go beyond the target's vocabulary.

A symbol of the source that is in the target's vocabulary has its id there. Any other has an id that is valid in its row
only: the vocabulary's size plus the first place of the symbol in the source (the extended vocabulary of See et al.
2017, arXiv 1704.04368, section 2.2). The end of the source has the id of the end symbol.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.common.symbols import EOS, UNK
from antiphon.common.text import Text
from antiphon.data.codecs.base import Array, Codec
from antiphon.data.codecs.text import TextCodec
from antiphon.errors import ConfigError

WHOLE = ("words", "split")  # tokenizers whose symbols are words


@dataclass(frozen=True)
class Copying:
    """The two sides of every row of a model that copies."""

    source: TextCodec
    target: TextCodec

    @classmethod
    def between(cls, sources: Sequence[Codec], target: Codec) -> Copying:
        """The sides, if one's symbols can be the other's; a `ConfigError` says why they cannot."""
        if target.form != "any" or not isinstance(target, TextCodec):
            kind = f"{target.kind}{' with ctc' if target.form == 'aligned' else ''}"
            raise ConfigError("", f"is for a decoder that writes text; a target of {kind} is not written")
        source, *others = sources
        if others or not isinstance(source, TextCodec):
            kinds = " and ".join(codec.kind for codec in sources)
            raise ConfigError("", f"needs one source of text whose symbols can be copied, not {kinds}")
        for side, codec in (("source", source), ("target", target)):
            if codec.tokens in ("bpe", "unigram"):
                reason = f"copies whole symbols, and {side}.tokens: {codec.tokens} cuts unknown words into pieces"
                raise ConfigError("", f"{reason}; choose chars, words or split")
        if source.tokens != target.tokens and not {source.tokens, target.tokens} <= {*WHOLE}:
            reason = f"a source of {source.tokens} has no symbols for a target of {target.tokens}"
            raise ConfigError("", f"{reason}; give both sides the same tokens")
        return cls(source, target)

    def copy_ids(self, value: Text) -> list[int]:
        """The id in the target that a copy of each source step has."""
        symbols, vocabulary = [*self.source.split_turns(value), ""], self.target.vocabulary
        first: dict[str, int] = {}
        for place, symbol in enumerate(symbols):
            known_id = vocabulary.id(symbol) if symbol else EOS
            first.setdefault(symbol, len(vocabulary) + place if known_id == UNK else known_id)
        return [first[symbol] for symbol in symbols]

    def read(self, value: Text, encoded: Array | Sequence[int]) -> Array:
        """An encoded source [steps] or [steps, ...] as [steps, ... + 1]: the last column is the id of its copy."""
        return np.column_stack([encoded, self.copy_ids(value)]).astype(np.int32)

    def written(self, value: Text, source: Text) -> list[int]:
        """The ids of a target: a symbol that only the row's source has gets the id of its copy."""
        source_ids = dict(zip([*self.source.split_turns(source), ""], self.copy_ids(source), strict=True))
        known = zip([*self.target.split_turns(value), ""], self.target.encode(value), strict=True)
        return [source_ids.get(symbol, UNK) if number == UNK else number for symbol, number in known]

    def symbols(self, ids: Iterable[int], source: Text) -> list[str | None]:
        """The symbols of an output's ids, None for a special symbol."""
        read, known = self.source.split_turns(source), len(self.target.vocabulary)
        return [read[number - known] if number >= known else self.target.vocabulary.symbol(number) for number in ids]
