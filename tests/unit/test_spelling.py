"""Words read with their characters: what is encoded, saved, hidden, refused, and what the part makes of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antiphon.common.symbols import EOS, PAD, SPECIALS, UNK
from antiphon.data.batches import Examples, Sequences, collate, replace_unknown
from antiphon.data.codecs.kinds import SOURCES, TARGETS, codec_from_json
from antiphon.data.codecs.text import SourceTextCodec, TextCodec
from antiphon.data.spelling import Spelling
from antiphon.errors import AntiphonError, ConfigError
from antiphon.model.parts.sources import SpelledWordSource

TEXTS = ["a cab", "bca a unbelievable"]


def codec(texts: list[str] = TEXTS, **characters: int) -> SourceTextCodec:
    made = SourceTextCodec("source", "words", characters=characters or True)
    made.learn(texts)
    return made


@given(st.text(st.sampled_from("abcx"), min_size=1, max_size=12), st.integers(2, 8))
def test_a_long_word_keeps_its_beginning_and_its_end(word: str, width: int) -> None:
    spelling = Spelling(width=width)
    spelling.learn(["abc"])
    ids = spelling.encode(word)
    assert len(ids) == width
    kept = min(len(word), width)
    assert PAD not in ids[:kept]
    assert ids[kept:] == [PAD] * (width - kept)
    each = [UNK if letter == "x" else spelling.vocabulary.id(letter) for letter in word]
    if len(word) <= width:
        assert ids[:kept] == each
    else:
        first = (width + 1) // 2
        assert ids == each[:first] + each[len(word) - (width - first) :]


@given(st.lists(st.text("abcdex", min_size=1, max_size=6), max_size=5))
def test_words_are_encoded_as_ever_and_unknown_ones_keep_their_characters(words: list[str]) -> None:
    plain, spelled, text = TextCodec("source", "words"), codec(width=9), " ".join(words)
    plain.learn(TEXTS)
    ids = np.asarray(spelled.encode(text))
    assert ids.shape == (len(words) + 1, 10)
    assert ids[:, 0].tolist() == plain.encode(text)
    assert spelled.spelling is not None
    assert ids[:-1, 1:].tolist() == [spelled.spelling.encode(word) for word in words]
    assert ids[-1].tolist() == [EOS, EOS, *[PAD] * 8]
    assert spelled.split(text) == words


def test_words_that_differ_in_characters_alone_differ() -> None:
    item, other = np.asarray(codec().encode("bac abc"))[:2]
    assert item[0] == other[0] == UNK
    assert item[1:].tolist() != other[1:].tolist()


def test_a_codec_read_back_from_json_is_the_same() -> None:
    made = codec(embedding=5, hidden=6, width=7)
    again = codec_from_json(SOURCES, json.loads(json.dumps(made.to_json())), "source")
    assert isinstance(again, SourceTextCodec)
    assert np.array_equal(again.encode("a xylophone"), made.encode("a xylophone"))
    assert again.to_json() == made.to_json()
    assert again.part == made.part
    assert again.part_options == {"characters": SPECIALS + 9, "character_embedding": 5, "character_hidden": 6}
    assert "characters" not in SourceTextCodec("source", "words").to_json(), "as models have been saved before"


@pytest.mark.parametrize(
    "damage",
    [None, 3, {}, {"symbols": 3}, {"symbols": ["a", "a"]}, {"width": "9"}, {"hidden": 1 << 40}, {"more": 1}],
    ids=str,
)
def test_a_damaged_spelling_is_refused(damage: Any) -> None:
    whole = codec().to_json()
    changed = {**whole["characters"], **damage} if isinstance(damage, dict) and damage else damage
    with pytest.raises(AntiphonError):
        codec_from_json(SOURCES, {**whole, "characters": changed}, "source")


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (
            SOURCES,
            {"characters": True},
            r"^source\.characters: needs tokens: words or split \(is chars\); choose ",
        ),
        (
            SOURCES,
            {"tokens": "bpe", "characters": {}},
            r"^source\.characters: needs tokens: words or split \(is bpe\); ",
        ),
        (SOURCES, {"characters": {"hiden": 3}}, r"^source\.characters\.hiden: .*did you mean 'hidden'\?"),
        (SOURCES, {"characters": {"width": 1}}, r"^source\.characters\.width: must lie between 2 and 256 \(is 1\)$"),
        (
            SOURCES,
            {"characters": {"hidden": 0}},
            r"^source\.characters\.hidden: must lie between 1 and 4,096 \(is 0\)$",
        ),
        (TARGETS, {"characters": True}, r"^source\.characters: kind of target 'text' has no such option; "),
    ],
)
def test_what_cannot_be_spelled_is_refused(table: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        table.build("text", options, "source", where="source")


def test_hiding_a_word_leaves_its_characters() -> None:
    rows = Sequences([np.asarray(codec(width=6).encode(text)) for text in ("a cab bca", "cab")])
    batch = collate(Examples((rows,), Sequences([[EOS], [EOS]])), [0, 1])
    values = replace_unknown(batch, 1 - 1e-9, torch.Generator().manual_seed(0)).sources[0].values
    assert values[..., 0].tolist() == [[UNK, UNK, UNK, EOS], [UNK, EOS, PAD, PAD]]
    assert values[..., 1:].equal(batch.sources[0].values[..., 1:])


def test_a_word_is_its_embedding_and_the_last_states_over_its_characters() -> None:
    """Each word on its own, without padding; repeated words and the padding of a batch change nothing."""
    torch.manual_seed(1)
    part = SpelledWordSource(inputs=9, size=3, characters=8, character_embedding=4, character_hidden=5)
    values = torch.tensor(
        [[[5, 4, 6, 0, 0], [6, 7, 7, 7, 5], [5, 4, 6, 0, 0]], [[3, 6, 0, 0, 0], [2, 2, 0, 0, 0], [0] * 5]]
    )
    lengths = torch.tensor([3, 2])
    vectors, same = part(values, lengths)
    assert same is lengths
    assert vectors.shape == (2, 3, part.size) == (2, 3, 13)
    for row in range(2):
        for step in range(lengths[row]):
            word, *letters = values[row, step].tolist()
            letters = [letter for letter in letters if letter != PAD]
            read = part.encoder(part.characters(torch.tensor([letters])), torch.tensor([len(letters)])).last[0]
            torch.testing.assert_close(vectors[row, step], torch.cat([part.embedding.weight[word], read]))


def test_a_model_to_start_from_gives_its_characters_first() -> None:
    base, new = codec(["xyz x"]), codec(["abc xx"])
    grown = new.extended(base)
    assert isinstance(grown, SourceTextCodec)
    assert grown.spelling is not None
    assert base.spelling is not None
    assert grown.vocabulary.symbols == ["x", "xyz", "abc", "xx"]
    assert grown.spelling.vocabulary.symbols == [*base.spelling.vocabulary.symbols, "a", "b", "c"]
