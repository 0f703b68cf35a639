"""Known answers win over the model, wherever it is asked; what cannot be one is refused with its line."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from antiphon.cli.main import app
from antiphon.config.load import read_config_file
from antiphon.config.schema import Config
from antiphon.errors import AntiphonError
from antiphon.saved.known_answers import FILE
from antiphon.training.loop import train
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor

TEXTS = ["ab", "", "cde", "e", "ab"]


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def with_exceptions(folder: Path, table: str) -> Predictor:
    (folder / FILE).write_text(table, encoding="utf-8")
    return load(folder, "cpu")


def test_a_known_answer_wins_and_the_others_stay(folder: Path) -> None:
    plain = load(folder, "cpu").predict(TEXTS, n_best=2, token_scores=True)
    answers = with_exceptions(folder, "ab\tB A D\n\n").predict(TEXTS, n_best=2, token_scores=True)
    for text, item, before in zip(TEXTS, answers, plain, strict=True):
        if text == "ab":
            assert (item.text, item.tokens, item.score) == ("B A D", ["B", "A", "D"], 0.0)
            assert item.to_json() == {"text": "B A D", "tokens": ["B", "A", "D"], "score": 0.0, "confidence": 1.0}
        else:
            assert [other.tokens for other in item.n_best] == [other.tokens for other in before.n_best]
            assert item.score == pytest.approx(before.score, abs=1e-5)


def test_inputs_that_are_the_same_to_the_model_are_the_same(folder: Path) -> None:
    model = with_exceptions(folder, "a\N{COMBINING DIAERESIS}b\tX\n")
    assert [item.text for item in model.predict(["\N{LATIN SMALL LETTER A WITH DIAERESIS}b"])] == ["X"]


def test_a_known_input_may_be_longer_than_the_model_reads(folder: Path) -> None:
    long = "a" * (load(folder, "cpu").config.data.max_length + 1)
    assert with_exceptions(folder, f"{long}\tA\n").predict([long])[0].text == "A"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("ab\tA\nab", ":2: has 1 columns, but 2 are needed; the output is the last"),
        ("ab\tA\tB\n", ":1: has 3 columns"),
        ("\tA\n", ":1: has no input"),
        ("ab\tA\nab\tB\n", ":2: has the same input as an earlier line"),
    ],
)
def test_a_wrong_line_is_named(folder: Path, table: str, message: str) -> None:
    with pytest.raises(AntiphonError, match=FILE) as error:
        with_exceptions(folder, table)
    assert message in str(error.value)


def test_the_command_puts_them_into_the_folder_and_shows_them(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "known.tsv").write_text("ab\tB A D\n", encoding="utf-8")
    ran = CliRunner().invoke(app, ["exceptions", str(folder), str(tmp_path / "known.tsv")])
    assert (ran.exit_code, ran.output) == (0, f"known answers in {folder / FILE}: 1\n")
    assert CliRunner().invoke(app, ["exceptions", str(folder)]).output == "ab\tB A D\n"
    assert load(folder, "cpu").predict(["ab"])[0].text == "B A D"
    (tmp_path / "wrong.tsv").write_text("ab\n", encoding="utf-8")
    ran = CliRunner().invoke(app, ["exceptions", str(folder), str(tmp_path / "wrong.tsv")])
    assert ran.exit_code == 1
    assert load(folder, "cpu").predict(["ab"])[0].text == "B A D"


def test_tables_are_read_once_compressed_or_from_a_pipe(folder: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    ran = run(app, ["exceptions", str(folder)])
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert f"{folder}: has no known answers" in ran.stderr
    ran = run(app, ["exceptions", str(tmp_path / "typo")])
    assert (ran.exit_code, ran.output) == (1, f"{tmp_path / 'typo'}: no such model folder\n")
    (tmp_path / "known.tsv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfab\tB A D\r\n"))
    assert load(folder, "cpu").use_exceptions(tmp_path / "known.tsv.gz") == 1
    assert (folder / FILE).read_bytes() == b"ab\tB A D\n"
    assert load(folder, "cpu").use_exceptions(folder / FILE) == 1
    ends = os.pipe()
    os.write(ends[1], b"ab\tD\n")
    os.close(ends[1])
    try:
        assert load(folder, "cpu").use_exceptions(f"/dev/fd/{ends[0]}") == 1
    finally:
        os.close(ends[0])
    assert load(folder, "cpu").predict(["ab"])[0].text == "D"
    (folder / FILE).write_bytes(b"ab\xff\tD\n")
    ran = run(app, ["exceptions", str(folder)])
    assert (ran.exit_code, ran.output) == (1, f"{folder / FILE}:1: not UTF-8 text\n")


def test_answers_that_the_model_cannot_write_are_refused_unless_they_are_allowed(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "known.tsv"
    table.write_text("ab\tB A D\n\nabc\tB Z A Q Z\n", encoding="utf-8")
    ran = CliRunner().invoke(app, ["exceptions", str(folder), str(table)])
    assert (ran.exit_code, ran.output.splitlines()[0]) == (1, f"{table}:3: the output has 'Z', 'Q'")
    assert "--allow-unknown" in ran.output
    assert not (folder / FILE).exists()
    assert CliRunner().invoke(app, ["exceptions", str(folder), str(table), "--allow-unknown"]).exit_code == 0
    assert load(folder, "cpu").predict(["abc"])[0].text == "B Z A Q Z"


def test_they_are_saved_with_the_model_and_outlive_its_training(
    folder: Path, pairs: Path, tmp_path: Path, configure: Callable[..., Config]
) -> None:
    with_exceptions(folder, "ab\tB A D\n").save(tmp_path / "copy")
    assert load(tmp_path / "copy", "cpu").predict(["ab"])[0].text == "B A D"
    train(configure(data__train=str(pairs), train__max_steps=2), folder, overwrite=True, device="cpu")
    assert load(folder, "cpu").predict(["ab"])[0].text == "B A D"


def test_labels_are_the_models_own(tmp_path: Path) -> None:
    rows = [("a b", "X Y"), ("b", "Y"), ("a a", "X X"), ("b a", "Y X")] * 6
    (tmp_path / "t.tsv").write_text("".join(f"{text}\t{labels}\n" for text, labels in rows))
    (tmp_path / "c.yaml").write_text(
        "data: {train: t.tsv, valid: 0.2}\nsource: {kind: text, column: 0, tokens: words}\n"
        "target: {kind: labels, column: 1}\nmodel: {embedding: 4, encoder: {hidden: 4}}\n"
        "train: {max_steps: 2, validate_every: 1}\n"
    )
    folder = train(read_config_file(tmp_path / "c.yaml"), tmp_path / "m", device="cpu")
    answer = with_exceptions(folder, "a b\tY Y\n").predict(["a b"])[0]
    assert (answer.labels, answer.probabilities, answer.confidence) == (["Y", "Y"], [1.0, 1.0], [1.0, 1.0])
    for wrong, message in (("a b\tY Z\n", "is no label of the model: 'Z'"), ("a b\tY\n", "has 1 labels for 2 symbols")):
        with pytest.raises(AntiphonError) as error:
            with_exceptions(folder, wrong)
        assert message in str(error.value)


def test_a_model_that_says_numbers_has_none(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a\t1\nb\t2\n" * 10)
    (tmp_path / "c.yaml").write_text(
        "data: {train: t.tsv, valid: 0.2}\nsource: {kind: text, column: 0, tokens: words}\n"
        "target: {kind: number, column: 1}\nmodel: {embedding: 4, encoder: {hidden: 4}}\n"
        "train: {max_steps: 2, validate_every: 1}\n"
    )
    folder = train(read_config_file(tmp_path / "c.yaml"), tmp_path / "m", device="cpu")
    with pytest.raises(AntiphonError) as error:
        with_exceptions(folder, "a\t1\n")
    assert "known answers need a model that reads a source and predicts text, a label or labels" in str(error.value)
