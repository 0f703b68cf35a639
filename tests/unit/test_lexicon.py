"""Lexicons: their formats are read and written, known words win, no word is dropped, doubtful ones are listed."""

from __future__ import annotations

import functools
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner
from untrained import KINDS, rows_of, untrained

import antiphon
from antiphon.cli.main import app
from antiphon.common.answers import Candidate, TextPrediction
from antiphon.data.formats import FORMATS, Layout
from antiphon.data.lexicons import LEXICONS, Pronunciation, pronunciations, read_any, refused_symbol
from antiphon.errors import AntiphonError, DataError, ModelFolderError
from antiphon.export.folder import export
from antiphon.use.pronouncing import Pronouncer, pronouncer

Write = Callable[[str, str | bytes], Path]

anything = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
symbols = st.lists(anything, min_size=1, max_size=5).map(tuple)
probabilities = st.none() | st.integers(1, 10_000).map(lambda number: number / 10_000)


# --- formats ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", LEXICONS)
@given(anything, symbols, probabilities, st.integers(0, 12))
def test_what_is_written_is_read_again(
    form: str, word: str, phones: tuple[str, ...], probability: float | None, number: int
) -> None:
    row = LEXICONS[form]
    item = Pronunciation(word, phones, probability if row.probabilities else None)
    if row.refusal(word) or any(refused_symbol(symbol, form) for symbol in phones):
        return
    line = row.write(item, number)
    assert "\n" not in line
    assert row.read(line) == item


@given(st.sampled_from(["sherpa", "mfa", "cmudict"]), st.integers(0, 3), probabilities)
def test_a_file_that_ends_in_dict_may_have_any_of_the_formats(
    form: str, number: int, probability: float | None
) -> None:
    row = LEXICONS[form]
    item = Pronunciation("aback", ("AH0", "B", "AE1", "K"), probability if row.probabilities else None)
    assert read_any(row.write(item, number)) == item


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=30))
def test_every_line_is_a_pronunciation_a_comment_or_has_a_reason(line: str) -> None:
    for row in LEXICONS.values():
        ((number, item, reason),) = list(pronunciations([(1, line, "")], row.read)) or [(1, None, "left out")]
        assert number == 1
        assert reason if item is None else item.word and item.symbols


def test_cmudict_and_mfa_as_they_are_published(write: Write) -> None:
    path = write(
        "a.dict",
        ";;; comment\n"
        "ABACK  AH0 B AE1 K\n"
        "ABACK(2)  AH1 B AE0 K\n"
        "aalborg AO1 L B AO0 R G # place, danish\n"
        "\n"
        "the\t0.16\t0.08\t2.17\t1.13\td i\n"
        "a\t0.5\tə\n"
        "b\tb iː\n",
    )
    records = [(number, record) for number, record, _ in FORMATS[".dict"](str(path), Layout())]
    assert records == [
        (2, ["ABACK", "AH0 B AE1 K"]),
        (3, ["ABACK", "AH1 B AE0 K"]),
        (4, ["aalborg", "AO1 L B AO0 R G"]),
        (6, ["the", "d i"]),
        (7, ["a", "ə"]),
        (8, ["b", "b iː"]),
    ]


def test_a_bad_line_has_its_reason(write: Write) -> None:
    path = write("a.dict", b"word\nx\ty\tz a\n\xff  A\ngood  G\n")
    reasons = [(number, reason) for number, record, reason in FORMATS[".dict"](str(path), Layout()) if record is None]
    assert reasons == [(1, "has no pronunciation of 'word'"), (3, "not UTF-8 text")]
    done = CliRunner().invoke(app, ["check", str(path)])
    assert f"{path}:1: has no pronunciation of 'word'" in done.output
    numbered = [(1, "a\tb\tc d", "")]
    assert list(pronunciations(numbered, LEXICONS["mfa"].read)) == [
        (1, None, "has 'b' where a probability is needed, between the word and its pronunciation")
    ]


# --- making one ---------------------------------------------------------------------------------------

WORDS = ["abca", "bb", "cab", "acb", "bca", "ab"]
TREE = {
    "source": {"column": "x"},
    "target": {"column": "y"},
    "decode": {"beam": 3, "max_length": 6, "min_length": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights that is calibrated, of words and the symbols A, B, C."""
    place = tmp_path_factory.mktemp("model")
    return untrained(place, TREE, rows_of(x=WORDS, y=[" ".join(word.upper()) for word in WORDS])).folder


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("exported") / "x"
    export(folder, place)
    return place


@functools.cache
def loaded(folder: Path) -> Pronouncer:
    return pronouncer(folder)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["lexicon", *map(str, arguments)])


@pytest.mark.parametrize("form", LEXICONS)
def test_the_lexicon_has_what_predict_gives_in_the_order_of_the_list(folder: Path, write: Write, form: str) -> None:
    words = write("words.txt", "cab\nabba\nzz\nb\n")
    done = run(folder, words, "--to", form)
    assert done.exit_code == 0, done.output
    items = [LEXICONS[form].read(line) for line in done.stdout.splitlines()]
    predicted = antiphon.load(folder).predict(["cab", "abba", "zz", "b"])
    assert items == [
        Pronunciation(word, tuple(answer.tokens))
        for word, answer in zip(["cab", "abba", "zz", "b"], predicted, strict=True)
    ]
    assert "1 word with letters that the model does not know (z), such as zz: guesses" in done.stderr


@settings(max_examples=15)
@given(st.lists(st.text("abcABCzé", min_size=1, max_size=9), min_size=1, max_size=30), st.integers(1, 4))
def test_no_word_is_dropped_and_the_exported_model_agrees(
    folder: Path, exported: Path, words: list[str], n_best: int
) -> None:
    here, there = (antiphon.lexicon(loaded(model), words, n_best=n_best) for model in (folder, exported))
    assert [word.word for word in here.words] == list(dict.fromkeys(words))
    assert here.notes == there.notes
    for word, other in zip(here.words, there.words, strict=True):
        assert 1 <= len(word.pronunciations) <= n_best
        assert word.unknown == sorted(set(word.word) - set("abc"), key=word.word.index) == other.unknown
        assert [item.symbols for item in word.pronunciations] == [item.symbols for item in other.pronunciations]
        assert word.confidence == pytest.approx(other.confidence, abs=1e-4)
        for item, twin in zip(word.pronunciations, other.pronunciations, strict=True):
            assert item.probability == pytest.approx(twin.probability, rel=1e-3)


def test_probabilities_are_those_of_the_candidates(folder: Path, write: Write) -> None:
    words = write("words.txt", "cab\n")
    done = run(folder, words, "--to", "mfa", "--n-best", 3)
    answer = antiphon.load(folder).predict(["cab"], beam=3, n_best=3)[0]
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[2] for line in lines] == [candidate.text for candidate in answer.n_best]
    for line, candidate in zip(lines, answer.n_best, strict=True):
        assert float(line[1]) == pytest.approx(max(math.exp(candidate.score), 0.0001), abs=6e-5)
    two = run(folder, words, "--to", "mfa", "--n-best", 2).stdout.splitlines()
    assert two == done.stdout.splitlines()[:2], "the best do not depend on how many are asked for"
    variants = run(folder, words, "--to", "cmudict", "--n-best", 3).stdout.splitlines()
    assert [line.split("  ")[0] for line in variants] == ["cab", "cab(1)", "cab(2)"]


def test_known_words_win_the_models_own_before_the_lexicon(
    folder: Path, exported: Path, tmp_path: Path, write: Write
) -> None:
    model = antiphon.load(folder)
    model.save(tmp_path / "m")
    own = write("own.tsv", "cab\tC C\n")
    antiphon.load(tmp_path / "m").use_exceptions(own)
    known = write("known.dict", ";;; known\ncab  A A\nabba  B\nabba(1)  B B\nABBA  C\n")
    words = write("words.txt", "abba\ncab\nAbba\nbca\n")
    shutil.copytree(exported, tmp_path / "x")
    shutil.copy(own, tmp_path / "x" / "exceptions.tsv")
    for place in (tmp_path / "m", tmp_path / "x"):
        done = run(place, words, "--to", "sherpa", "--known", known)
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[:3] == ["abba B", "abba B B", "cab C C"]
        assert "2 of 4 words were known before" in done.stderr
        assert "1 word known only in other upper and lower case, such as 'Abba'" in done.stderr
        assert "1 word in several forms of upper and lower case, such as 'abba' and 'Abba'" in done.stderr
    sure = {word.word: word.confidence for word in antiphon.lexicon(tmp_path / "m", words, known=known).words}
    assert sure["abba"] == sure["cab"] == 1.0


def test_what_is_no_word_is_counted(folder: Path, write: Write) -> None:
    words = write("words.txt", ";;; list\n# of words\ncab\n\n  \ncab\n ab \n#ab\n")
    done = run(folder, words, "--to", "tsv")
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["cab", "ab", "#ab"]
    assert f"{words}: left out: 2 comments, 2 empty lines, 1 repeated word" in done.stderr


def test_doubtful_words_are_listed_the_least_sure_first(folder: Path, exported: Path, write: Write) -> None:
    words = write("words.txt", "cab\nabba\nzz\nb\nacbacbacb\n")
    for place in (folder, exported):
        doubtful = write("doubtful.tsv", "")
        done = run(place, words, "--to", "sherpa", "--doubtful", doubtful, "--below", 0.9)
        assert done.exit_code == 0, done.output
        rows = [line.split("\t") for line in doubtful.read_text(encoding="utf-8").splitlines()]
        answers = dict(zip(*(lambda w: (w, antiphon.load(folder).predict(w)))(words.read_text().split()), strict=True))
        expected = {word for word, answer in answers.items() if answer.confidence < 0.9 or answer.unknown}
        assert {row[0] for row in rows} == expected
        assert [float(row[2]) for row in rows] == sorted(float(row[2]) for row in rows)
        assert next(row for row in rows if row[0] == "zz")[3].startswith("unknown letters z")
        assert f"{doubtful}: {len(expected)} words to look at" in done.stderr
    items = antiphon.lexicon(folder, words).doubtful(0.0)
    assert [word.word for word in items] == ["zz"], "a word with unknown letters is doubtful at any confidence"


def test_a_word_whose_best_output_is_empty_is_doubtful_and_has_as_many_pronunciations(folder: Path) -> None:
    outputs = [Candidate("", [], -0.1), *(Candidate(f"{letter} B", [letter, "B"], -2.0) for letter in "ABCDEFGHIJ")]

    def answers(words: Sequence[str], beam: int | None, n_best: int) -> list[TextPrediction]:
        return [TextPrediction("", [], -0.1, outputs[:n_best], list(word), confidence=0.97) for word in words]

    [word] = antiphon.lexicon(replace(loaded(folder), answers=answers), ["cab"], n_best=8).words
    assert [item.symbols for item in word.pronunciations] == [(letter, "B") for letter in "ABCDEFGH"]
    assert word.confidence == 0.0


def test_a_model_without_confidence_is_told_how(folder: Path, exported: Path, tmp_path: Path, write: Write) -> None:
    antiphon.load(folder).save(tmp_path / "m")
    (tmp_path / "m" / "calibration.json").unlink()
    words = write("words.txt", "cab\n")
    done = run(tmp_path / "m", words, "--to", "sherpa", "--doubtful", tmp_path / "d.tsv")
    assert done.exit_code == 1
    assert "is not calibrated; run: antiphon calibrate" in done.output
    assert run(tmp_path / "m", words, "--to", "sherpa").exit_code == 0
    shutil.copytree(exported, tmp_path / "x")
    (tmp_path / "x" / "calibration.json").unlink()
    done = run(tmp_path / "x", words, "--to", "sherpa", "--doubtful", tmp_path / "d.tsv")
    assert done.exit_code == 1
    assert "is not calibrated; calibrate the model with antiphon, and export it again" in done.output


def test_a_symbol_outside_the_inventory_is_named_with_its_words(folder: Path, write: Write) -> None:
    words = write("words.txt", "cab\nabba\n")
    tokens = write("tokens.txt", "  0\nA 1\nB 2\nC 3\n")
    assert run(folder, words, "--to", "sherpa", "--inventory", tokens).exit_code == 0
    used = {symbol for word in antiphon.lexicon(folder, words).words for symbol in word.pronunciations[0].symbols}
    symbol = sorted(used)[0]
    tokens.write_text("".join(f"{name} {place}\n" for place, name in enumerate("ABC") if name != symbol))
    done = run(folder, words, "--to", "sherpa", "--inventory", tokens)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert f"{symbol!r} is not in {tokens}; " in done.stderr
    assert "with it: " in done.stderr
    bad = write("bad.txt", "A B C\n")
    done = run(folder, words, "--to", "sherpa", "--inventory", bad)
    assert f"{bad}:1: must be a symbol, or a symbol and its number, but is 'A B C'" in done.stderr


def test_words_that_a_format_cannot_hold_are_refused_before_anything_is_predicted(folder: Path, write: Write) -> None:
    words = write("words.txt", "ab\na b\nb(2)\n")
    done = run(folder, words, "--to", "cmudict")
    assert done.exit_code == 1
    assert (
        f"{words}:2: 'a b' has white space in it\n{words}:3: 'b(2)' ends as the number of a variant does" in done.stderr
    )
    assert "--to tsv can" in done.stderr
    assert len(run(folder, words, "--to", "tsv").stdout.splitlines()) == 3


def test_what_cannot_be_done_is_one_message(folder: Path, tmp_path: Path, write: Write) -> None:
    words = write("words.txt", "ab\n")
    assert run(folder, words, "--to", "kaldi").exit_code == 2
    done = run(folder, words, "--to", "tsv", "--below", 0.9)
    assert (done.exit_code, "needs --doubtful" in done.output) == (2, True)
    assert "has no words" in run(folder, write("empty.txt", "\n"), "--to", "tsv").stderr
    assert f"{tmp_path / 'w.tsv'}:1: has several columns" in run(folder, write("w.tsv", "a\tb\n"), "--to", "tsv").stderr
    long = write("long.txt", f"ab\n{'a' * 600}\n")
    assert f"{long}:2: has 600 tokens; data.max_length of this model is 500" in run(folder, long, "--to", "tsv").stderr
    wrong = write("k.dict", "ab\n")
    assert f"{wrong}:1: has no pronunciation of 'ab'" in run(folder, words, "--to", "tsv", "--known", wrong).stderr
    with pytest.raises(AntiphonError, match="unknown format; known: cmudict, mfa, sherpa, tsv"):
        list(antiphon.lexicon(folder, ["ab"]).lines("kaldi"))
    with pytest.raises(DataError, match=r"words:1: 'a b' has white space in it"):
        list(antiphon.lexicon(folder, ["a b"]).lines("sherpa"))
    tree, columns = KINDS["text to label"]
    label = untrained(tmp_path, tree, rows_of(**columns))
    with pytest.raises(ModelFolderError, match="needs a model that reads one text, a word, and writes a text"):
        antiphon.lexicon(label, ["ab"])


def test_letters_as_targets_with_blanks_are_symbols_again(tmp_path: Path) -> None:
    spaced = untrained(
        tmp_path,
        {**TREE, "target": {"column": "y", "tokens": "chars"}},
        rows_of(x=WORDS, y=[" ".join(f"{letter}0" for letter in word) for word in WORDS]),
    )
    for word, answer in zip(antiphon.lexicon(spaced, WORDS).words, spaced.predict(WORDS), strict=True):
        assert [item.symbols for item in word.pronunciations] == (
            [tuple(answer.text.split())] if answer.text.split() else []
        )


def test_the_reader_of_sherpa_onnx_reads_the_same(folder: Path, tmp_path: Path, write: Write) -> None:
    """Needs sherpa-onnx, which lowers the case of words and takes the first pronunciation of each alone."""
    pytest.importorskip("sherpa_onnx")
    from sherpa import symbols_read

    words = ["cab", "Abba", "b", "zz", "bébé"]
    tokens = write("tokens.txt", "  0\nA 1\nB 2\nC 3\n, 4\n. 5\n")
    made = antiphon.lexicon(folder, words, inventory=tokens, n_best=2, to="sherpa")
    path = write("lexicon.txt", "".join(f"{line}\n" for line in made.lines("sherpa")))
    expected = {word.word: list(word.pronunciations[0].symbols) for word in made.words}
    assert {
        word: [s for s in read if s.strip()] for word, read in symbols_read(path, tokens, words).items()
    } == expected
