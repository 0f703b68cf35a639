"""A set of tags without order, such as V;PST;3;SG: the features of a word form, the topics of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from antiphon.common.text import read_tags
from antiphon.common.vocabulary import Vocabulary
from antiphon.data.codecs.base import Array, Codec
from antiphon.errors import ConfigError


class TagsCodec(Codec):
    """A set of tags, separated by `separator`, or a list of them, also as JSON.

    Order and repetition do not count. Encoded it is one step [1, 1 + tags]: how many tags the training rows do not
    have, then 1 for each tag that is there, else 0.
    """

    kind = "tags"
    part = "tags"

    def __init__(self, where: str, separator: str = ";") -> None:
        super().__init__(where)
        if not separator:
            raise ConfigError("separator", "is empty; give what stands between two tags")
        self.separator = separator
        self.vocabulary = Vocabulary([])

    @property
    def size(self) -> int:
        return 1 + max(len(self.vocabulary.symbols), 1)  # before training there are no tags, and yet a size

    def read(self, content: object, folder: str) -> Any:
        return read_tags(content, self.separator)

    def learn(self, values: Sequence[Any]) -> None:
        self.vocabulary = Vocabulary.build(values)

    def encode(self, value: Any) -> Array:
        known = [tag for tag in value if tag in self.vocabulary]
        array = np.zeros((1, self.size), np.float32)
        array[0, 0] = len(value) - len(known)
        array[0, [1 + self.vocabulary.place(tag) for tag in known]] = 1
        return array

    def unknown(self, array: Array | Sequence[int]) -> int:
        return int(np.asarray(array)[0, 0])

    def shown(self, value: Any) -> str:
        return self.separator.join(value)

    def about(self) -> str:
        return f"{len(self.vocabulary.symbols):,} tags"

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "separator": self.separator, "symbols": self.vocabulary.symbols}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        if not isinstance(value["separator"], str):
            raise TypeError("separator must be a text")
        made = cls(where, value["separator"])
        made.vocabulary = Vocabulary.from_json(value["symbols"])
        return made

    def extended(self, base: Codec) -> Codec:
        if isinstance(base, TagsCodec):
            self.vocabulary = base.vocabulary.extended(self.vocabulary)
        return self
