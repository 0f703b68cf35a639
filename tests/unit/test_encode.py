"""Texts to ids and back, and the JSON of a side."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.common.symbols import EOS, SPECIALS, UNK
from antiphon.data.codecs.kinds import SOURCES, codec_from_json
from antiphon.data.codecs.text import Form, TextCodec
from antiphon.errors import AntiphonError, ConfigError, ModelFolderError

TEXTS = ["abc cab", "bca <unk> </s>", "Cafe\u0301 a"]
TOKENS: list[tuple[str, dict[str, Any]]] = [
    ("chars", {}),
    ("words", {}),
    ("split", {"separator": " "}),
    ("bpe", {"size": 40}),
    ("unigram", {"size": 40}),
]
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def codec(tokens: str = "chars", normalize: Form = "nfc", lowercase: bool = False, **options: Any) -> TextCodec:
    made = TextCodec("source", {"kind": tokens, **options}, normalize, lowercase)
    made.learn(TEXTS)
    return made


def restored(value: object) -> TextCodec:
    made = codec_from_json(SOURCES, value, "source")
    assert isinstance(made, TextCodec)
    return made


CODECS = {tokens: codec(tokens, **options) for tokens, options in TOKENS}


@pytest.mark.parametrize("tokens", CODECS)
@given(value=text)
def test_every_text_ends_with_the_end_symbol_and_nowhere_else(tokens: str, value: str) -> None:
    ids = list(CODECS[tokens].encode(value))
    assert ids.index(EOS) == len(ids) - 1
    assert all(number == UNK or number >= SPECIALS for number in ids[:-1])


@pytest.mark.parametrize("tokens", CODECS)
def test_training_texts_come_back_normalised(tokens: str) -> None:
    made = CODECS[tokens]
    for value in TEXTS:
        assert UNK not in made.encode(value)
        assert made.decode(made.encode(value)) == made.normalize(value)


@pytest.mark.parametrize("tokens", CODECS)
@given(value=text)
def test_no_special_symbol_is_ever_printed(tokens: str, value: str) -> None:
    made = CODECS[tokens]
    ids = made.encode(value)
    known = [symbol for symbol in made.split(value) if symbol in made.vocabulary]
    assert made.symbols([*range(SPECIALS), *ids, EOS]) == known


def test_spelled_specials_are_ordinary_symbols() -> None:
    made = CODECS["words"]
    assert made.encode("<unk> </s>")[:-1] == [made.vocabulary.id("<unk>"), made.vocabulary.id("</s>")]
    assert min(made.encode("<unk> </s>")[:-1]) >= SPECIALS
    assert made.decode(made.encode("<unk> </s>")) == "<unk> </s>"


def test_an_unseen_symbol_is_unk_and_is_not_printed() -> None:
    made = CODECS["words"]
    assert made.encode("a zebra a")[1] == UNK
    assert made.decode(made.encode("a zebra a")) == "a a"
    assert made.split("a zebra") == ["a", "zebra"]


def test_normalisation_is_applied_before_everything() -> None:
    assert codec().encode("Cafe\u0301") == codec().encode("Caf\u00e9")
    lower = codec(lowercase=True)
    assert lower.encode("CAFÉ") == lower.encode("café")
    assert "C" not in lower.vocabulary


def test_rare_symbols_are_left_out_by_min_count() -> None:
    made = TextCodec("source", {"kind": "words", "min_count": 2})
    made.learn(["a b", "c b"])
    assert made.vocabulary.symbols == ["b"]
    assert made.encode("a b") == [UNK, SPECIALS, EOS]
    with pytest.raises(ConfigError, match=r"^source\.tokens: no symbol occurs 2 times; lower min_count$"):
        made.learn(["a b"])


@pytest.mark.parametrize("tokens", CODECS)
@given(value=text)
def test_a_codec_read_back_from_json_is_the_same(tokens: str, value: str) -> None:
    made = CODECS[tokens]
    again = restored(json.loads(json.dumps(made.to_json())))
    assert again.encode(value) == made.encode(value)
    assert again.decode(again.encode(value)) == made.decode(made.encode(value))
    assert again.to_json() == made.to_json()


KEYS = [key for key in CODECS["bpe"].to_json() if key != "kind"]  # which models of the first release lack


@pytest.mark.parametrize("key", KEYS)
def test_json_without_a_key_is_refused(key: str) -> None:
    value = {name: part for name, part in CODECS["bpe"].to_json().items() if name != key}
    with pytest.raises(ModelFolderError):
        restored(value)


@pytest.mark.parametrize("key", ["tokens", "options", "normalize", "learned", "symbols"])
@pytest.mark.parametrize("wrong", [None, 3, [3], "no such thing", {"a": 1}], ids=str)
def test_json_with_a_wrong_value_is_refused(key: str, wrong: object) -> None:
    with pytest.raises(AntiphonError):
        restored({**CODECS["bpe"].to_json(), key: wrong})


def test_json_with_a_symbol_twice_is_refused() -> None:
    with pytest.raises(ModelFolderError, match="distinct"):
        restored({**CODECS["words"].to_json(), "symbols": ["a", "a"]})
