"""What of a model the programs that run exported models do not support, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from antiphon.config.decode import Decode
from antiphon.config.schema import Config
from antiphon.data.codecs.kinds import SOURCES, TARGETS
from antiphon.data.codecs.text import TextCodec
from antiphon.data.load import Codecs
from antiphon.data.tokenizers import TOKENIZERS
from antiphon.decoding.rules import RULES
from antiphon.model.apart import ApartWriter
from antiphon.saved.folder import Bundle


@dataclass(frozen=True)
class Support:
    """What a program that runs exported models knows: kinds of sides, tokenizers, and keys of `decode`."""

    program: str
    kinds: frozenset[str]
    tokens: frozenset[str]
    decode: frozenset[str]

    def refusals(self, loaded: Bundle) -> Iterator[str]:
        """Why a model does not run there; nothing if it does."""
        yield from self._of_sides(loaded.codecs)
        yield from self._of_search(loaded.config)
        if isinstance(loaded.model, ApartWriter) and loaded.model.feeds:
            yield "target.read: output cannot be exported with separate columns; train with read: position"

    def missing(self) -> Mapping[str, list[str]]:
        """What of the package's tables, with what users have added to them, does not run there."""
        names: dict[str, tuple[Iterable[str], frozenset[str]]] = {
            "kinds": ({*SOURCES, *TARGETS}, self.kinds),
            "tokens": (TOKENIZERS, self.tokens),
            "decode": ({*Decode.model_fields, *RULES}, self.decode),
        }
        return {name: sorted(set(known) - supported) for name, (known, supported) in names.items()}

    def _of_sides(self, codecs: Codecs) -> Iterator[str]:
        for side, codec in codecs.named.items():
            if codec.kind not in self.kinds:
                yield f"{side}: the kind {codec.kind} is not among those that {self.program} reads"
            if isinstance(codec, TextCodec) and codec.tokens not in self.tokens:
                yield f"{side}: the tokenizer {codec.tokens} is not among those that {self.program} has"

    def _of_search(self, config: Config) -> Iterator[str]:
        for key, value in config.decode.model_dump(exclude_defaults=True).items():
            if key not in self.decode and value is not None:
                default = Decode.model_fields[key].default if key in Decode.model_fields else None
                supported = ", ".join(sorted(self.decode))
                reason = f"is {value!r}, which {self.program} does not support; it supports {supported}"
                yield f"decode.{key}: {reason}; export without it: --set decode.{key}={json.dumps(default)}"


KINDS = frozenset({
    "text", "long_text", "category", "tags", "vector", "image", "frames", "images", "grid", "none",
    "label", "labels", "number", "numbers", "next",
})  # fmt: skip
TOKENS = frozenset({"chars", "words", "split", "bpe", "unigram"})
SEARCH = frozenset({"beam", "length_penalty", "min_length", "max_length"})

RUNTIME = Support("the runtime", KINDS | {"calendar", "series"}, TOKENS, SEARCH | {"sample", "quantiles", "paths"})
JAVASCRIPT = Support("the JavaScript runtime", KINDS, TOKENS, SEARCH)
