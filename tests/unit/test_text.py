"""Text to symbols and back."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.data.tokenizers import TOKENIZERS, Tokenizer, normalizer
from antiphon.errors import ModelFolderError

CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "der schnelle braune Fuchs springt",
    "a quick test, over and over again",
    "lower lowest newer newest wider widest",
] * 3
SPELLED = ["<unk>", "</s>", "<s>", "<pad>", "[UNK]", "[PAD]", "<0x00>", "\\0", "NULL", "None", "##s", "<mask>"]
SUBWORDS = ["bpe", "unigram"]

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
letters = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz ,F"), max_size=40)


@pytest.fixture(scope="module")
def trained() -> Callable[[str], Tokenizer]:
    """Subword tokenizers of one corpus, each trained once."""
    made: dict[str, Tokenizer] = {}

    def get(kind: str) -> Tokenizer:
        if kind not in made:
            made[kind] = TOKENIZERS.build(kind, {"size": 80}, "tokens")
            made[kind].train(CORPUS)
        return made[kind]

    return get


def build(kind: str, **options: object) -> Tokenizer:
    return TOKENIZERS.build(kind, options, "tokens")


# --- normalisation ------------------------------------------------------------------------------------


@given(text, st.sampled_from(["nfc", "nfd", "nfkc"]))
def test_normal_forms_are_unicodes(value: str, form: str) -> None:
    assert normalizer(form, False)(value) == unicodedata.normalize(form.upper(), value)  # type: ignore[arg-type]


@given(text)
def test_no_normalisation_changes_nothing(value: str) -> None:
    assert normalizer("none", False)(value) == value


def test_forms_that_look_alike_become_one() -> None:
    assert normalizer("nfc", False)("e\u0301") == "\u00e9"
    assert normalizer("nfd", False)("\u00e9") == "e\u0301"
    assert normalizer("nfkc", False)("\ufb01") == "fi"
    assert normalizer("nfc", True)("\u00c9A") == "\u00e9a"


# --- fixed tokenizers ---------------------------------------------------------------------------------


@given(text)
def test_chars_give_every_text_back(value: str) -> None:
    chars = build("chars")
    assert chars.join(chars.split(value)) == value
    assert all(len(symbol) == 1 for symbol in chars.split(value))


@given(text)
def test_words_give_text_back_up_to_white_space(value: str) -> None:
    words = build("words")
    assert words.join(words.split(value)) == " ".join(value.split())


@given(st.lists(st.text("abc", min_size=1, max_size=3), max_size=5), st.sampled_from([" ", "|", " - "]))
def test_split_is_the_inverse_of_join(symbols: list[str], separator: str) -> None:
    tokenizer = build("split", separator=separator)
    assert tokenizer.split(separator.join(symbols)) == symbols
    assert tokenizer.join(symbols) == separator.join(symbols)


def test_split_makes_no_empty_symbols() -> None:
    assert build("split", separator="|").split("|a||b|") == ["a", "b"]


def test_split_keeps_white_space_inside_symbols() -> None:
    assert build("split", separator="|").split("a b| c") == ["a b", " c"]


# --- subwords -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SUBWORDS)
@given(value=letters)
def test_known_characters_come_back(trained: Callable[[str], Tokenizer], kind: str, value: str) -> None:
    value = " ".join(value.split())
    pieces = trained(kind)
    assert pieces.join(pieces.split(value)) == value


@pytest.mark.parametrize("kind", SUBWORDS)
@given(value=text)
def test_unknown_characters_keep_their_spelling(trained: Callable[[str], Tokenizer], kind: str, value: str) -> None:
    value = " ".join(value.replace("\u2581", " ").split())
    pieces = trained(kind)
    assert pieces.join(pieces.split(value)) == value


@pytest.mark.parametrize("kind", SUBWORDS)
@pytest.mark.parametrize("word", SPELLED)
def test_text_that_spells_a_special_symbol_is_ordinary(
    trained: Callable[[str], Tokenizer], kind: str, word: str
) -> None:
    pieces = trained(kind)
    value = f"the {word} dog"
    assert pieces.join(pieces.split(value)) == value


@pytest.mark.parametrize("kind", SUBWORDS)
def test_special_spellings_can_be_learned_like_any_word(kind: str) -> None:
    pieces = build(kind, size=120)
    corpus = [f"{word} {word} x" for word in SPELLED] * 4
    pieces.train(corpus)
    assert [pieces.join(pieces.split(value)) for value in corpus] == corpus


@pytest.mark.parametrize("kind", [*SUBWORDS, "chars"])
def test_a_nul_in_an_input_is_spelled_like_any_unknown(trained: Callable[[str], Tokenizer], kind: str) -> None:
    pieces = trained(kind) if kind in SUBWORDS else build(kind)
    assert "".join(pieces.split("\0")).endswith("\0")
    known = [pieces.split(value) for value in CORPUS]
    assert not any("\0" in symbol for symbols in known for symbol in symbols)


@pytest.mark.parametrize("kind", SUBWORDS)
@given(value=text)
def test_what_was_learned_is_plain_json_and_splits_the_same(
    trained: Callable[[str], Tokenizer], kind: str, value: str
) -> None:
    pieces = trained(kind)
    again = build(kind)
    again.restore(json.loads(json.dumps(pieces.learned())))
    assert again.split(value) == pieces.split(value)


@pytest.mark.parametrize("kind", SUBWORDS)
def test_pieces_stay_within_the_size(trained: Callable[[str], Tokenizer], kind: str) -> None:
    pieces = trained(kind)
    used = {symbol for value in CORPUS for symbol in pieces.split(value)}
    assert len(pieces.learned()["vocab"]) <= 80
    assert len(used) <= 80
    assert max(map(len, used)) > 1  # more than characters


@pytest.mark.parametrize("kind", SUBWORDS)
def test_training_is_repeatable(kind: str) -> None:
    def split_all() -> Sequence[list[str]]:
        pieces = build(kind, size=60)
        pieces.train(CORPUS)
        return [pieces.split(value) for value in CORPUS]

    assert split_all() == split_all()


@pytest.mark.parametrize("kind", SUBWORDS)
@pytest.mark.parametrize("learned", [None, {}, [], "x", {"vocab": 3}, {"vocab": {"a": "b"}, "merges": [["a"]]}])
def test_a_damaged_model_of_pieces_is_refused(kind: str, learned: object) -> None:
    with pytest.raises(ModelFolderError, match=f"holds no {kind} model"):
        build(kind).restore(learned)
