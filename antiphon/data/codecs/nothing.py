"""Sides without content in a row: no source at all, and the next symbol of the source as target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from antiphon.common.symbols import EOS, UNK
from antiphon.data.codecs.base import Codec


class NextCodec(Codec):
    """The next symbol of the source: a language model. Only the source is read."""

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
