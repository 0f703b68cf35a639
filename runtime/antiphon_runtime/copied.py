"""What a model that copies reads and writes: the sources' symbols beside their arrays, and in its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from antiphon_runtime.codecs import Codec, Text
from antiphon_runtime.common import copying
from antiphon_runtime.common.vocabulary import Vocabulary


class Copied(NamedTuple):
    """The sources that may be copied (None: another), and the vocabulary of what is written."""

    sources: Sequence[Text | None]
    vocabulary: Vocabulary

    @classmethod
    def of(cls, copied: Sequence[bool], sources: Sequence[Codec], target: Codec) -> Copied | None:
        """From the manifest's list; None for a model that does not copy."""
        if not copied or not isinstance(target, Text):
            return None
        some = [
            source if each and isinstance(source, Text) else None for source, each in zip(sources, copied, strict=True)
        ]
        return cls(some, target.vocabulary)

    def _symbols(self, values: Sequence[Any]) -> list[list[str] | None]:
        """The symbols of every source, "" at ends."""
        pairs = zip(self.sources, values, strict=True)
        return [None if source is None else [*source.split_turns(value), ""] for source, value in pairs]

    def read(self, values: Sequence[Any], arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Encoded sources, those that may be copied with the id of each step's copy as their last column."""
        ids = copying.copy_ids(self._symbols(values), self.vocabulary)
        return [
            array if column is None else np.column_stack([array, column])
            for array, column in zip(arrays, ids, strict=True)
        ]

    def names(self, tokens: Sequence[int], values: Sequence[Any]) -> list[str]:
        """The symbols of an output's ids."""
        named = copying.names(tokens, self._symbols(values), self.vocabulary)
        return [name for name in named if name is not None]
