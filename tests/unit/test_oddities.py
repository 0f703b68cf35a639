"""Rows that can be read and may be a mistake: reported once, with what to do, by check and by training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from antiphon.api import read_config
from antiphon.cli.main import app
from antiphon.data.codecs.text import TextCodec
from antiphon.data.load import load_rows
from antiphon.errors import DataError
from antiphon.tools.checkup import check_config as check

Write = Callable[[str, str | bytes], Path]
PAIRS = "".join(f"{word}\t{word[::-1].upper()}\n" for word in ("abc", "bcd", "cde", "dab", "eca", "adb", "bee"))


def warnings_of(path: Path) -> list[str]:
    return check(read_config(path).config).warnings


def about(path: Path, what: str) -> list[str]:
    return [line for line in warnings_of(path) if what in line]


# --- a header -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["word\tpron", "source\ttarget", "Input\tOutput", "text 1\ttext 2", "src\tTgt"])
def test_names_of_columns_in_the_first_row_are_told(write: Write, names: str) -> None:
    (line,) = about(write("t.tsv", f"{names}\n{PAIRS}"), "names of columns")
    assert ":1: is read as a row" in line
    assert "--set data.header=true" in line


def test_a_name_over_labels_that_stand_again_and_again_is_told(write: Write) -> None:
    rows = "".join(f"row {n}\t{'good' if n % 2 else 'bad'}\n" for n in range(40))
    assert about(write("t.tsv", f"review\tsentiment\n{rows}"), "names of columns")


@pytest.mark.parametrize("first", ["hello\tOLLEH", "abc\tCBA", "word of mouth\tMOUTH"])
def test_an_ordinary_first_row_is_not(write: Write, first: str) -> None:
    assert not about(write("t.tsv", f"{first}\n{PAIRS}"), "names of columns")


def test_a_header_that_is_announced_is_none(write: Write) -> None:
    path = write("t.tsv", f"word\tpron\n{PAIRS}")
    for settings in ({"data.header": True}, {"source.column": "word", "target.column": "pron"}):
        report = check(read_config(path, settings).config)
        assert not [line for line in report.warnings if "names of columns" in line]
        assert report.lines[0].startswith("train: 6 rows"), "of 7, one validates"


# --- quotes, blank lines, white space -----------------------------------------------------------------


def test_a_spreadsheets_quotes_in_a_tsv_are_told(write: Write) -> None:
    path = write("t.tsv", PAIRS + '"say ""hi"""\tX\n')
    (line,) = about(path, "in quotes")
    assert 't.tsv:8: a row has a source in quotes, such as "say ""hi"""' in line
    assert "save a table of a spreadsheet as .csv" in line


def test_a_text_that_is_a_quotation_is_not(write: Write, tmp_path: Path) -> None:
    assert not about(write("t.tsv", PAIRS + '"hello"\tX\n'), "in quotes")
    assert not about(write("t.csv", PAIRS.replace("\t", ",") + '"say ""hi""",X\n'), "in quotes")
    np.savez(tmp_path / "a.npz", x=np.array([line.split("\t") for line in [*PAIRS.splitlines(), '"say ""hi"""\tX']]))
    assert not warnings_of(tmp_path / "a.npz#x")


@pytest.mark.parametrize("name", ["t.tsv", "t.csv"])
def test_blank_lines_between_rows_are_told_and_those_at_the_end_are_not(write: Write, name: str) -> None:
    rows = PAIRS.replace("\t", "," if name == "t.csv" else "\t")
    assert not about(write(name, f"\n{rows}\n\n"), "blank line")
    apart = rows.replace("bcd", "\n\nbcd").replace("eca", "\neca")
    (line,) = about(write(name, apart), "blank line")
    assert f"{name}:2: 3 blank lines between rows left out" in line
    assert "data.group" in line


def test_white_space_that_words_would_lose_is_told_and_never_counted_as_right(write: Write) -> None:
    rows = "".join(f"a b {n}\tx\u202fy z {'z ' * (n % 3)}{n % 2}\n" for n in range(40))
    config = read_config(write("t.tsv", rows), {"source.tokens": "words", "target.tokens": "words"}).config
    (line,) = [item for item in check(config).warnings if "U+202F" in item]
    assert "{split: ' '} as target.tokens keeps it" in line
    from antiphon.data.load import train_codecs
    from antiphon.evaluation.outputs import output_metrics

    codec = train_codecs(config, load_rows(config, config.data.train)).target
    assert isinstance(codec, TextCodec)
    tokens = codec.split("x\u202fy z 1")
    assert output_metrics(codec, [tokens], [["x\u202fy z 1"]])["exact_match"] == 0.0
    assert output_metrics(codec, [["x", "y"]], [["x   y "]])["exact_match"] == 1.0


# --- sides and targets --------------------------------------------------------------------------------


def test_a_constant_target_is_told_by_check_and_by_training(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    path = write("t.tsv", "".join(f"{'abc'[n % 3] * (n + 1)}\tsame\n" for n in range(12)))
    assert about(path, "every target is 'same': there is nothing to learn")
    done = CliRunner().invoke(app, ["train", str(path), "--out", str(path.parent / "m"), "--set", "train.max_steps=1"])
    assert done.exit_code == 0, done.output
    assert done.output.count("every target is 'same'") == 1


def test_columns_that_are_taken_for_steps_are_told_also_beside_what_is_wrong(write: Write) -> None:
    rows = "".join(f"{n},{n % 3},0.5,{'up' if n % 2 else 'down'}\n" for n in range(12))
    write("walk.csv", f"ax,ay,az,what\n{rows}")
    sides = "source: {kind: frames, columns: [ax, ay, az]}\n"
    lenient = write("c.yaml", f"data: {{train: walk.csv, valid: 0.2}}\n{sides}target: {{kind: label, column: what}}\n")
    assert about(lenient, "each row is read as 3 steps of one number, its columns")
    wrong = write("d.yaml", f"data: {{train: walk.csv, valid: 0.2}}\n{sides}target: {{kind: labels, column: what}}\n")
    with pytest.raises(DataError) as caught:
        warnings_of(wrong)
    assert "walk.csv:2: the target has 1 labels for 3 steps of the source" in str(caught.value)
    assert "data.group" in str(caught.value)


def test_training_tells_what_check_does_once(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "antiphon")
    path = write("t.tsv", f"word\tpron\n{PAIRS}")
    done = CliRunner().invoke(app, ["train", str(path), "--out", str(path.parent / "m"), "--set", "train.max_steps=1"])
    assert done.exit_code == 0, done.output
    assert caplog.text.count("names of columns") == 1


# --- rows that cannot be read: hints that fit the file ------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("t.txt", "a,b\nc,d\n", "are the columns separated by commas? Such a table ends in .csv"),
        ("t.tsv", "a;b\nc;d\n", "are the columns separated by semicolons?"),
        ("t.csv", "a\tb\tc\nd\n", "are the columns separated by tabs? Such a table ends in .tsv"),
        ("t.txt", "First Citizen:\nBefore we go on,\n\nSpeak.\n", "--set source.kind=long_text"),
        ("t.tsv", "a|b\nc|d\n", "are the columns separated by bars?"),
        ("t.txt", ";;; a dictionary\nA  AH0\nB  B IY1\n", "is it a comment? Take such lines out"),
        (
            "t.txt",
            ";;; a dictionary\nA  AH0\nB  B IY1\n",
            "are the columns separated by blanks? A pronunciation lexicon is read if its name ends in .dict",
        ),
        ("t.txt", "Anna\nBert\nCleo\n", "--set target.kind=next"),
        ("t.txt", "EU NNP\nrejects VBZ\n\nPeter NNP\n", "a blank line between rows left out"),
    ],
)
def test_a_hint_fits_the_file(write: Write, name: str, content: str, hint: str) -> None:
    for command in ("train", "check"):
        path = write(name, content)
        out = ["--out", str(path.parent / "m")] if command == "train" else []
        done = CliRunner().invoke(app, [command, str(path), *out])
        assert done.exit_code == 1
        assert hint in done.output


def test_the_ending_that_is_named_works(write: Write) -> None:
    path = write("cmu.txt", ";;; a dictionary\nA  AH0\nA(2)  EY1\nABBEY  AE1 B IY0\n")
    with pytest.raises(DataError, match=r"is read if its name ends in \.dict"):
        read_config(path)
    config = read_config(path.rename(path.with_suffix(".dict"))).config
    assert config.target.options["tokens"] == "words"
    rows = load_rows(config, config.data.train)
    assert [(row.sources[0], row.target) for row in rows] == [("A", "AH0"), ("A", "EY1"), ("ABBEY", "AE1 B IY0")]


# --- check refuses what train refuses -----------------------------------------------------------------

REFUSED = {
    "labels unequal to tokens": (
        "data: {train: t.tsv, valid: t.tsv}\nsource: {tokens: words}\ntarget: labels\n",
        "a b c\tX Y\nd e\tX Y\n"),
    "a text longer than its frames": (
        "data: {train: t.tsv, valid: t.tsv}\nsource: frames\ntarget: {kind: text, ctc: true, tokens: chars}\n",
        "[[1], [2]]\tabc\n[[1], [2], [3], [4]]\tab\n",
    ),
    "a label that is new in validation": (
        "data: {train: t.tsv, valid: v.tsv}\ntarget: label\n", "ab\tX\nba\tY\n",
    ),
    "too long": ("data: {train: t.tsv, valid: t.tsv, max_length: 3}\ntarget: {tokens: chars}\n", "abcd\ta\nab\tb\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_check_and_train_refuse_the_same_rows(write: Write, name: str) -> None:
    config, rows = REFUSED[name]
    path = write("c.yaml", config)
    write("t.tsv", rows)
    write("v.tsv", "aa\tZ\n")
    trained = CliRunner().invoke(app, ["train", str(path), "--out", str(path.parent / "m")])
    checked = CliRunner().invoke(app, ["check", str(path)])
    assert (trained.exit_code, checked.exit_code) == (1, 1)
    first = trained.output.strip().splitlines()[0]
    assert first in checked.output


def test_unknown_neighbours_that_count_as_equal_are_named(write: Write) -> None:
    write("t.tsv", "[[1], [2], [3]]\tab\n[[2], [2], [3]]\tba\n")
    write("v.tsv", "[[1], [2]]\txyz\n")
    path = write("c.yaml", "data: {train: t.tsv, valid: v.tsv}\nsource: frames\ntarget: {ctc: true, tokens: chars}\n")
    done = CliRunner().invoke(app, ["check", str(path)])
    assert "the target needs 5 steps of the source, which has 2" in done.output
    assert "a blank between equal tokens, as 3 unknown tokens are" in done.output


# --- what is reported at the end ----------------------------------------------------------------------


def test_a_model_no_better_than_no_effort_and_a_ceiling_are_told_at_the_end(write: Write) -> None:
    rows = "".join(f"{'abcdef'[n % 6] * (1 + n % 4)}\t{'yes' if n % 3 else 'no'}\n" for n in range(60))
    path = write("t.tsv", rows)
    command = ["train", str(path), "--out", str(path.parent / "m"), "--set", "target.kind=label"]
    done = CliRunner().invoke(app, [*command, "--set", "train.epochs=1", "--set", "train.learning_rate=0.00001"])
    assert done.exit_code == 0, done.output
    assert "warning: the model is not better than simple baselines (always 'yes' " in done.output
    assert "while it still improved; raise train.epochs: 1" in done.output


def test_identical_outputs_give_a_classifier_advice_that_suits_it() -> None:
    from antiphon.training.health import warnings

    entry = {"commonest_output": 1.0, "commonest_reference": 0.5, "cells": {}, "gradients": {}, "skipped": 0}
    assert "choose an attention" in warnings(entry)["identical outputs"]
    label = warnings({**entry, "accuracy": 0.5})["identical outputs"]
    assert "attention" not in label
    assert "target.weights: balanced" in label
