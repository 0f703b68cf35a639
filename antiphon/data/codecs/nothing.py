"""Sides for which a row holds nothing: no source at all, and as target the source's own next symbol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from antiphon.common.symbols import EOS, UNK
from antiphon.data.codecs.base import Codec


class NextCodec(Codec):
    """The source's own next symbol: a language model. There is nothing to read beside the source."""

    kind = "next"
    part = "next"
    steps = True
    form = "next"
    reads = False

    @property
    def size(self) -> int:
        return 0

    def read(self, content: object, folder: str) -> str:
        return ""

    def encode(self, value: str) -> list[int]:
        raise NotImplementedError("its ids are the source's")

    def about(self) -> str:
        return "the next symbol"

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:  # noqa: ARG003 nothing is kept
        return cls(where)


class NothingCodec(Codec):
    """No source at all: a model that writes what its training rows look like (unconditional generation)."""

    kind = "none"
    part = "symbols"
    reads = False

    @property
    def size(self) -> int:
        return UNK + 1

    def read(self, content: object, folder: str) -> str:
        return ""

    def encode(self, value: str) -> list[int]:
        return [EOS]

    def about(self) -> str:
        return "nothing"

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:  # noqa: ARG003 nothing is kept
        return cls(where)
