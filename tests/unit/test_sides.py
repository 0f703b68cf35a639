"""Kinds of target and tokens of texts, chosen by looking at the rows."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from antiphon.api import read_config

CHANCE = random.Random(3)
LETTERS = "abcdefghijklmnop"


def word(count: int) -> str:
    return "".join(CHANCE.choices(LETTERS, k=count))


def sentence(count: int, words: list[str] | None = None) -> str:
    return " ".join(CHANCE.choice(words) if words else word(5) for _ in range(count))


def chosen(tmp_path: Path, rows: list[str], **settings: Any) -> Any:
    (tmp_path / "t.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return read_config(tmp_path / "t.tsv", {key.replace("__", "."): value for key, value in settings.items()}).config


def date(day: int) -> str:
    months = ("January", "Feb", "mars", "April")
    month, year = months[day % 4], 1900 + day % 130
    return CHANCE.choice(
        [f"{day % 28 + 1}/{day % 12}/{year}", f"{month} {day % 28}, {year}", f"{day % 28} {month} {year}"]
    )


FEW = [word(2) for _ in range(20)]
TEXTS: dict[str, tuple[list[str], Any, Any]] = {
    "words and their reverse": ([f"{w}\t{w[::-1]}" for w in (word(6) for _ in range(50))], "chars", "chars"),
    "words and phonemes": ([f"{word(6)}\t{sentence(6, FEW)}" for _ in range(80)], "chars", "words"),
    "dates of several formats": ([f"{date(d)}\t19{d:02}-01-02" for d in range(60)], "chars", "chars"),
    "sums": ([f"{a} + {a * 3}\t{4 * a}" for a in range(100, 160)], "chars", "chars"),
    "sentences": ([f"{sentence(9)}\t{sentence(9)}" for _ in range(80)], "bpe", "bpe"),
    "commands": ([f"{sentence(6, FEW)}\t{sentence(9, FEW)}" for _ in range(80)], "words", "words"),
    "a word and its forms": ([f"{word(6)}\t{word(4)} {word(6)}" for _ in range(60)], "chars", "chars"),
    "names of two words": ([f"{word(4)} {word(5)}\t{word(9)}" for _ in range(60)], "chars", "chars"),
    "lists of few numbers": (
        [f"{sentence(8, list('123456789'))}\t{sentence(8, list('123456789'))}" for _ in range(60)], "words", "words",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_texts(tmp_path: Path, name: str) -> None:
    rows, source, target = TEXTS[name]
    config = chosen(tmp_path, rows)
    tokenizers = [side.options["tokens"] for side in (config.sources[0], config.target)]
    assert [item["kind"] if isinstance(item, dict) else item for item in tokenizers] == [source, target]
    assert config.target.kind == "text"


TAGGED = [sentence(CHANCE.randint(2, 6), [word(5) for _ in range(30)]) for _ in range(40)]


def tags(text: str) -> str:
    return " ".join("LS"[len(item) % 2] if item < "g" else "O" for item in text.split())


def test_a_tag_for_each_word_is_labels_also_where_few_rows_are_distinct(tmp_path: Path) -> None:
    config = chosen(tmp_path, [f"{text}\t{tags(text)}" for text in TAGGED * 10])
    assert config.target.kind == "labels"
    assert config.sources[0].options["tokens"] == "words"
    assert config.sources[0].options["characters"] is True


@pytest.mark.parametrize(
    "make",
    [
        lambda text: " ".join(reversed(text.split())),
        lambda text: " ".join(sorted(text.split())),
        lambda text: text,
        lambda text: " ".join(reversed(text.upper().split())),
    ],
    ids=["reversed", "sorted", "copied", "reversed in capitals"],
)
def test_a_sequence_as_long_as_its_source_is_not_taken_for_tags(tmp_path: Path, make: Any) -> None:
    assert chosen(tmp_path, [f"{text}\t{make(text)}" for text in TAGGED]).target.kind == "text"


def test_one_row_with_a_tag_too_few_makes_it_text(tmp_path: Path) -> None:
    rows = [f"{text}\t{tags(text)}" for text in TAGGED]
    assert chosen(tmp_path, [*rows, "a b c\tO O"]).target.kind == "text"


def test_few_targets_that_stand_often_are_labels_and_one_alone_is_not(tmp_path: Path) -> None:
    assert chosen(tmp_path, [f"{sentence(5)}\t{'np'[n % 2]}" for n in range(60)]).target.kind == "label"
    assert chosen(tmp_path, [f"{sentence(5)}\tsame" for _ in range(60)]).target.kind == "text"


COPIED: dict[str, tuple[list[str], bool]] = {
    "a word and its plural": ([f"{w}\t{w}er" for w in (word(6) for _ in range(60))], True),
    "a word and a long ending": ([f"{w}\t{w}lerimizden" for w in (word(9) for _ in range(60))], True),
    "a word with letters left out": ([f"{w}\t{w.replace('a', '')}" for w in (word(9) for _ in range(60))], True),
    "words and their reverse": (TEXTS["words and their reverse"][0], False),
    "words and phonemes": (TEXTS["words and phonemes"][0], False),
    "dates": (TEXTS["dates of several formats"][0], False),
    "sentences of pieces": ([f"{s}\t{s} x" for s in (sentence(9) for _ in range(80))], False),
}


@pytest.mark.parametrize("name", COPIED)
def test_what_stands_in_the_source_in_its_order_is_copied(tmp_path: Path, name: str) -> None:
    rows, copied = COPIED[name]
    model = chosen(tmp_path, rows).model
    assert (model.attention.kind == "hard_monotonic", model.copy_) == (copied, copied)
    for settings in ({"model__attention": "general"}, {"decode__mbr__samples": 4}):
        model = chosen(tmp_path, rows, **settings).model
        assert (model.attention.kind == "hard_monotonic", model.copy_) == (False, False)
    assert chosen(tmp_path, rows, model__copy=False).model.copy_ is False


def test_hangul_is_read_by_its_letters(tmp_path: Path) -> None:
    korean = [
        f"{''.join(chr(0xAC00 + CHANCE.randrange(11172)) for _ in range(3))}\t{sentence(6, FEW)}" for _ in range(60)
    ]
    config = chosen(tmp_path, korean)
    assert config.sources[0].options["normalize"] == "nfd"
    assert chosen(tmp_path, korean, source__normalize="nfc").sources[0].options["normalize"] == "nfc"
    assert "normalize" not in chosen(tmp_path, TEXTS["words and phonemes"][0]).sources[0].options


NUMBERS = {
    "texts and ratings": ([f"{sentence(5)}\t{n / 7:.2f}" for n in range(60)], {}, "number"),
    "texts and whole numbers": ([f"{sentence(5)}\t{n}" for n in range(60)], {}, "text"),
    "a sum of decimal numbers": ([f"{n / 4} + {n}\t{5 * n / 4}" for n in range(60)], {}, "text"),
    "decimal commas": (
        [f"{sentence(5)}\t{n},5" for n in range(60)], {"data__decimal": ","}, "number",
    ),
    "vectors and whole numbers": ([f"[{n}, 1]\t{n}" for n in range(60)], {"source__kind": "vector"}, "number"),
    "one that is no number": ([f"{sentence(5)}\t{n / 7:.2f}{'%' * (n == 9)}" for n in range(60)], {}, "text"),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_decimal_numbers_are_estimated_unless_their_source_is_full_of_numbers(tmp_path: Path, name: str) -> None:
    rows, settings, kind = NUMBERS[name]
    assert chosen(tmp_path, rows, **settings).target.kind == kind


def test_what_the_user_names_is_kept(tmp_path: Path) -> None:
    rows = [f"{text}\t{tags(text)}" for text in TAGGED]
    assert chosen(tmp_path, rows, target__kind="text").target.kind == "text"
    assert chosen(tmp_path, rows, source__tokens="chars", target__kind="text").sources[0].options["tokens"] == "chars"
    assert chosen(tmp_path, rows, source__characters=False).sources[0].options["characters"] is False


def test_labels_of_characters_are_of_characters(tmp_path: Path) -> None:
    rows = [f"{w}\t{' '.join('VC'[c > 'e'] for c in w)}" for w in (word(7) for _ in range(40))]
    config = chosen(tmp_path, rows, target__kind="labels")
    assert config.sources[0].options["tokens"] == "chars"
    assert "characters" not in config.sources[0].options


@pytest.mark.parametrize(
    ("settings", "make", "tokens"),
    [
        ({}, lambda n: f"{n * 37 % 1000}", "chars"),
        ({}, lambda n: sentence(6), "words"),
        ({"target__ctc": True}, lambda n: f"{n * 37 % 1000}", "chars"),
        ({"target__ctc": True}, lambda n: sentence(3), "chars"),
        ({"target__ctc": True}, lambda n: sentence(4, FEW), "words"),
    ],
    ids=["digits", "sentences", "digits with CTC", "lines with CTC", "phonemes with CTC"],
)
def test_texts_read_off_frames(tmp_path: Path, settings: Any, make: Any, tokens: str) -> None:
    rows = [f"{[[n % 5, 1.0]] * 40}\t{make(n)}" for n in range(60)]
    assert chosen(tmp_path, rows, source__kind="frames", **settings).target.options["tokens"] == tokens


@pytest.mark.parametrize(
    ("make", "attention"),
    [
        (lambda w: "".join(sorted(w)), "additive"),
        (lambda w: w[::-1], "additive"),
        (lambda w: w, "hard_monotonic"),
        (lambda w: w.upper(), "general"),
        (lambda w: w + w, "general"),
    ],
    ids=["sorted", "reversed", "copied", "in capitals", "twice"],
)
def test_what_is_rearranged_is_attended_to_by_the_state_before(tmp_path: Path, make: Any, attention: str) -> None:
    rows = [f"{w}\t{make(w)}" for w in (word(6) for _ in range(300))]
    few = "hard_monotonic" if attention == "hard_monotonic" else "general"
    assert chosen(tmp_path, rows[:100]).model.attention.kind == few, "too few rows for more"
    model = chosen(tmp_path, rows).model
    assert model.attention.kind == attention
    assert model.context.to == ("every_step" if attention == "additive" else "initial_state")
    named = chosen(tmp_path, rows, model__attention="dot").model
    assert (named.attention.kind, named.attention.query) == ("dot", "current")
