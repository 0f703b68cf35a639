"""Texts to ids and ids to texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from antiphon.common.spelling import unknown_symbols
from antiphon.common.symbols import BOS, EOS
from antiphon.common.text import LINE_END, Text, as_text, join_lines, read_text, split_lines, split_turns, turns_of
from antiphon.common.vocabulary import Vocabulary
from antiphon.data.codecs.base import Answers, Array, Codec
from antiphon.data.spelling import Spelling
from antiphon.data.tokenizers import TOKENIZERS, normalizer, with_single_blanks
from antiphon.errors import ConfigError

Tokens = str | dict[str, Any]
Form = Literal["nfc", "nfd", "nfkc", "none"]


class TextCodec(Codec):
    """Normaliser, tokenizer and vocabulary of a side; an encoded text has an end symbol.

    `tokens` is a row of TOKENIZERS, by name or as a table with its options; `{split: " "}` is short for
    `{kind: split, separator: " "}`, and a table without a kind gives options of the `DEFAULT`.
    """

    kind = "text"
    part = "symbols"
    steps = True
    ends = 1
    form: Answers = "any"
    unit = "tokens"
    metric = "token_error_rate"
    DEFAULT = "chars"

    def __init__(
        self,
        where: str,
        tokens: Tokens | None = None,
        normalize: Form = "nfc",
        lowercase: bool = False,
    ) -> None:
        super().__init__(where)
        self.tokens, self.options = _tokens(tokens if tokens is not None else self.DEFAULT, self.DEFAULT)
        self.normal_form, self.lowercase = normalize, lowercase
        self.normalize = normalizer(normalize, lowercase)
        self.tokenizer = TOKENIZERS.build(self.tokens, self.options, "tokens")
        self.vocabulary = Vocabulary([])

    @property
    def size(self) -> int:
        return len(self.vocabulary)

    def read(self, content: object, folder: str) -> Text:
        value = self.read_input(content)
        if not all(as_text(text).strip() for text in turns_of(value)):
            raise ValueError("is empty" if isinstance(value, str) else "has an empty turn")
        return value

    def read_input(self, content: object) -> Text:
        return content if isinstance(content, str) else as_text(content)

    def learn(self, values: Sequence[Text]) -> None:
        """Learn tokenizer and vocabulary from the training side's texts."""
        normal = _Normal(self.normalize, values)
        try:
            self.tokenizer.train(normal)
        except ConfigError as error:
            raise ConfigError(f"{self.where}.tokens.{error.key}", error.reason) from None
        self.vocabulary = Vocabulary.build(map(self.tokenizer.split, normal), self.tokenizer.min_count)
        if not self.vocabulary.symbols:
            reason = f"no symbol occurs {self.tokenizer.min_count} times; lower min_count"
            raise ConfigError(f"{self.where}.tokens", reason)

    def unknown(self, array: Array | Sequence[int]) -> int:
        return unknown_symbols(np.asarray(array))

    def key_of(self, value: Text) -> Hashable:
        return self.normalize(value) if isinstance(value, str) else tuple(map(self.normalize, value))

    def shown(self, value: Text) -> str:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def split(self, text: str) -> list[str]:
        """The symbols of a text; unknown ones keep their spelling."""
        return self.tokenizer.split(self.normalize(text))

    def split_turns(self, value: Text) -> list[str]:
        """The symbols of a text, or of all turns of a dialogue, with an empty symbol where the next turn begins."""
        return split_turns(self.split, value)

    def encode(self, value: Text) -> Array | Sequence[int]:
        """The ids of a text, or of every turn, with the end symbol."""
        if isinstance(value, str):
            return [*self.vocabulary.ids(self.split(value)), EOS]
        return [number for turn in value for number in (*self.vocabulary.ids(self.split(turn)), EOS)]

    def read_step(self, step: object) -> Array | Sequence[int]:
        ids = self.encode(as_text(step))
        ids = ids[: len(ids) - self.ends]
        if len(ids) != 1:
            raise ValueError(f"has {len(ids)} tokens; a stream has one per line")
        return ids

    def symbols(self, ids: Iterable[int]) -> list[str]:
        """The symbols of ids; special ones are left out."""
        return self.vocabulary.names(ids)

    def join(self, symbols: Sequence[str]) -> str:
        """The text of symbols."""
        return self.tokenizer.join(symbols)

    def truth(self, text: str) -> str:
        """A reference in the form in which outputs are compared with it: normalised, words with one blank between them.

        Other white space (U+00A0, U+202F) stays. Words are never joined with it, so no output equals such a reference.
        """
        return with_single_blanks(self.normalize(text)) if self.tokens == "words" else self.join(self.split(text))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special ones are left out."""
        return self.join(self.symbols(ids))

    def about(self) -> str:
        return f"{len(self.vocabulary.symbols):,} symbols ({self.tokens})"

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "tokens": self.tokens,
            "options": dict(self.options),
            "normalize": self.normal_form,
            "lowercase": self.lowercase,
            "learned": self.tokenizer.learned(),
            "symbols": self.vocabulary.symbols,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        options = value["options"]
        if not isinstance(options, dict):
            raise TypeError("options must be a table")
        made = cls(where, {"kind": value["tokens"], **options}, value["normalize"], value["lowercase"])
        made.tokenizer.restore(value["learned"])
        made.vocabulary = Vocabulary.from_json(value["symbols"])
        return made

    def extended(self, base: Codec) -> Codec:
        """Both must treat text in the same way. Learned pieces stay the base's: what they cannot spell is unknown."""
        if not isinstance(base, TextCodec):
            return super().extended(base)
        for key, value, base_value in (
            ("tokens", self.tokens, base.tokens),
            ("normalize", self.normal_form, base.normal_form),
            ("lowercase", self.lowercase, base.lowercase),
        ):
            if base_value != value:
                reason = f"is {value}, but the model to start from has {base_value}; give the same"
                raise ConfigError(f"{self.where}.{key}", reason)
        if base.tokenizer.learned() is not None:
            self.options, self.tokenizer, self.vocabulary = base.options, base.tokenizer, base.vocabulary
            return self
        here, there = (codec.options.get("separator") for codec in (self, base))
        if here != there:
            raise ConfigError(f"{self.where}.tokens", f"split at {here!r}, but the model to start from at {there!r}")
        self.vocabulary = base.vocabulary.extended(self.vocabulary)
        return self


@dataclass(frozen=True)
class _Normal:
    """The texts of values, normalised; iterated anew each time, as there may be more than memory holds."""

    normalize: Callable[[str], str]
    values: Sequence[Text]

    def __iter__(self) -> Iterator[str]:
        return (self.normalize(text) for value in self.values for text in turns_of(value))


class SourceTextCodec(TextCodec):
    """A text as source. `normalize` is the Unicode form of it, `lowercase` makes its letters small.

    With `turns` a value is a dialogue: a list of texts, also as JSON, of which the last `turns` are kept;
    any other text is one turn. Each turn ends with the end symbol.

    With `characters`, true or `{embedding: 32, hidden: 64, width: 20}`, each word is read with its spelling, unknown
    words too (Ling et al. 2015; Lample et al. 2016). An encoded text is then ids [words + ends, 1 + width]: the id of
    each word and the ids of its characters; at an end the ids of the end symbol.

    If no training text has white space at its ends, it is removed from inputs: a line end after a word changes nothing.
    """

    trims = False

    def __init__(
        self,
        where: str,
        tokens: Tokens | None = None,
        normalize: Form = "nfc",
        lowercase: bool = False,
        characters: bool | dict[str, Any] = False,
        turns: int | None = None,
    ) -> None:
        super().__init__(where, tokens, normalize, lowercase)
        self._keep(turns)
        self.spelling: Spelling | None = None
        if characters is not False:
            self._spell(Spelling.chosen({} if characters is True else characters))

    def _keep(self, turns: int | None) -> None:
        if turns is not None and turns < 1:
            raise ConfigError("turns", f"must be at least 1 (is {turns})")
        self.turns = turns

    def _spell(self, spelling: Spelling) -> None:
        if self.tokens not in ("words", "split"):
            reason = f"needs tokens: words or split (is {self.tokens}); choose one of them, or leave characters out"
            raise ConfigError("characters", reason)
        self.spelling, self.part = spelling, "spelled_words"

    @property
    def part_options(self) -> dict[str, int]:
        if self.spelling is None:
            return {}
        widths = {f"character_{name}": self.spelling.options[name] for name in ("embedding", "hidden")}
        return {"characters": len(self.spelling.vocabulary), **widths}

    def read_input(self, content: object) -> Text:
        return read_text(content, self.turns, self.trims)

    def learn(self, values: Sequence[Text]) -> None:
        super().learn(values)
        self.trims = all(text == text.strip() for value in values for text in turns_of(value))
        if self.spelling is not None:
            self.spelling.learn(word for value in values for text in turns_of(value) for word in self.split(text))

    def encode(self, value: Text) -> Array | Sequence[int]:
        ids = super().encode(value)
        if self.spelling is None:
            return ids
        words = [*self.split_turns(value), ""]
        spelled = [self.spelling.encode(word) for word in words]
        return np.column_stack([ids, spelled]).astype(np.int32)

    def about(self) -> str:
        if self.spelling is None:
            return super().about()
        return f"{super().about()}, spelled with {len(self.spelling.vocabulary.symbols):,} characters"

    def to_json(self) -> dict[str, Any]:
        spelling = {} if self.spelling is None else {"characters": self.spelling.to_json()}
        turns = {} if self.turns is None else {"turns": self.turns}
        return super().to_json() | spelling | turns | ({"trims": True} if self.trims else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        made = super().from_json(value, where)
        if "characters" in value:
            made._spell(Spelling.from_json(value["characters"]))
        made._keep(value.get("turns"))
        made.trims = bool(value.get("trims", False))
        return made

    def extended(self, base: Codec) -> Codec:
        extended = super().extended(base)
        spelling = base.spelling if isinstance(base, SourceTextCodec) else None
        if self.spelling is not None and spelling is not None:
            self.spelling.vocabulary = spelling.vocabulary.extended(self.spelling.vocabulary)
        return extended


class TargetTextCodec(TextCodec):
    """A text as target; its tokens are words unless the user chooses others.

    With `ctc` there is no decoder: each step of the source (frames, images or text) predicts a symbol or a blank, and
    log p is the sum over all alignments (Graves et al. 2006). Of `decode` it takes `beam` alone.
    """

    DEFAULT = "words"

    def __init__(
        self,
        where: str,
        tokens: Tokens | None = None,
        normalize: Form = "nfc",
        lowercase: bool = False,
        ctc: bool = False,
    ) -> None:
        super().__init__(where, tokens, normalize, lowercase)
        self._align(ctc)

    def _align(self, ctc: bool) -> None:
        self.ctc = ctc
        if ctc:
            self.form, self.part = "aligned", "ctc"

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | ({"ctc": True} if self.ctc else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Self:
        made = super().from_json(value, where)
        made._align(value.get("ctc", False))
        return made


class LongTextCodec(TextCodec):
    """One long text, such as a book: a whole file is one value. A line end is a symbol; there is no end symbol.

    Its target is `next`. Training reads it in `train.batch_size` places at once, in pieces of `train.bptt` steps.
    """

    kind = "long_text"
    whole = True
    ends = 0

    @property
    def begin(self) -> int:
        """A line end, since it comes before every line but the first."""
        return self.vocabulary.id(LINE_END) if LINE_END in self.vocabulary else BOS

    def learn(self, values: Sequence[Any]) -> None:
        super().learn([line for text in values for line in text.split(LINE_END) if line])
        if any(LINE_END in text for text in values):
            self.vocabulary = Vocabulary([LINE_END, *self.vocabulary.symbols])

    def split(self, text: str) -> list[str]:
        return split_lines(self.tokenizer.split, self.normalize(text))

    def encode(self, value: Any) -> list[int]:
        return list(map(self.vocabulary.id, self.split(value)))

    def join(self, symbols: Sequence[str]) -> str:
        return join_lines(self.tokenizer.join, symbols)

    def shown(self, value: Any) -> str:
        return str(value[:100]).replace(LINE_END, " ")


def _tokens(value: Tokens, default: str) -> tuple[str, dict[str, Any]]:
    """A tokenizer's name and options, from the value in the configuration."""
    if isinstance(value, str):
        return value, {}
    options = dict(value)
    if "split" in options and "kind" not in options:
        return "split", {"separator": options.pop("split"), **options}
    name = options.pop("kind", default)
    return (name if isinstance(name, str) else str(name)), options
