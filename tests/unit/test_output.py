"""`predict --out`: the file has the source columns and what `predict` prints, in every format."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner
from untrained import KINDS, rows_of, untrained

import antiphon
from antiphon.cli.main import app

Write = Callable[[str, str | bytes], Path]
WORDS = ["ab", "ba b", 'c "d"', "e, a", "abc"]


def predict(*arguments: object, stdin: str = "") -> Any:
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--device", "cpu"], input=stdin)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of labels, learned from a column file."""
    folder = tmp_path_factory.mktemp("tagger")
    sentence = "Anna NNP B-PER\nsees VBZ O\nOslo NNP B-LOC\n\n"
    (folder / "t.conll").write_text(sentence * 6 + sentence.replace("Anna", "Ben") * 6, encoding="utf-8")
    quick = {"train.max_steps": 3, "model.encoder.hidden": 4, "model.embedding": 4, "data.valid": 0.5}
    antiphon.train(folder / "t.conll", folder / "m", quick, device="cpu")
    return folder


def records(path: Path) -> list[dict[str, Any]]:
    """The rows of a written file, texts as they stand there."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".parquet":
        return list(pd.read_parquet(path).to_dict("records"))
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            return list(csv.DictReader(file))
        names, *rows = [line.rstrip("\n").split("\t") for line in file]
        return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.mark.parametrize("ending", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_every_format_has_the_inputs_and_what_is_printed(ending: str, model_folder: Path, tmp_path: Path) -> None:
    lines = "\n".join(WORDS) + "\n"
    printed = predict(model_folder, stdin=lines).stdout.splitlines()
    out = tmp_path / f"out{ending}"
    assert predict(model_folder, "--out", out, stdin=lines).stdout == ""
    expected = [{"source": word, "prediction": text} for word, text in zip(WORDS, printed, strict=True)]
    assert records(out) == expected
    predict(model_folder, "--out", out, "--scores", stdin=lines)
    scores = [json.loads(line)["score"] for line in predict(model_folder, "--json", stdin=lines).stdout.splitlines()]
    assert [float(record["score"]) for record in records(out)] == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("ending", [".tsv", ".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("calibrated", [True, False])
def test_all_rows_have_the_same_columns(model_folder: Path, tmp_path: Path, ending: str, calibrated: bool) -> None:
    """An empty input has no confidence, a known answer has one; without a calibration there is no such column."""
    folder = shutil.copytree(model_folder, tmp_path / "m")
    (folder / "exceptions.tsv").write_text("ab\tA B\n")
    below: list[object] = ["--abstain-below", "0.5"] if calibrated else []
    if calibrated:
        antiphon.load(folder, "cpu").calibrate()
    out = tmp_path / f"out{ending}"
    for lines in ("\nab\nzz\n", "ab\n\nba b\n"):
        done = predict(folder, "--out", out, "--scores", *below, stdin=lines)
        assert done.exit_code == 0, done.output
        written = {record["source"]: record for record in records(out)}
        columns = ["source", "prediction", "score", *(["confidence", "abstained"] if calibrated else [])]
        assert [list(record) for record in written.values()] == [columns] * 3
        if calibrated:
            empty = written[""]
            assert float(written["ab"]["confidence"]) == 1
            assert empty["confidence"] in (None, "") or np.isnan(empty["confidence"])
            assert empty["abstained"] in (False, "false")


def test_the_columns_of_a_table_keep_their_names(write: Write, tmp_path: Path) -> None:
    rows = "more,word,sound\n" + "".join(f"{n},{'ab'[n % 2] * (n + 1)},X Y\n" for n in range(12))
    path = write("t.csv", rows)
    quick = {"train.max_steps": 1, "model.encoder.hidden": 4, "model.embedding": 4}
    antiphon.train(path, tmp_path / "m", quick, device="cpu", source="word", target="sound")
    assert predict(tmp_path / "m", path, "--out", tmp_path / "o.csv").exit_code == 0
    written = records(tmp_path / "o.csv")
    assert [list(record) for record in written] == [["word", "prediction"]] * 12
    assert [record["word"] for record in written] == [line.split(",")[1] for line in rows.splitlines()[1:]]


def test_sentences_are_answered_in_their_format(tagger: Path) -> None:
    table, out = tagger / "t.conll", tagger / "out.conll"
    labels = [json.loads(line)["labels"] for line in predict(tagger / "m", table, "--json").stdout.splitlines()]
    printed = predict(tagger / "m", table).stdout
    assert predict(tagger / "m", table, "--out", out).exit_code == 0
    assert out.read_text(encoding="utf-8") == printed
    sentences = [block.splitlines() for block in printed.strip().split("\n\n")]
    words = [["Anna", "sees", "Oslo"]] * 6 + [["Ben", "sees", "Oslo"]] * 6
    assert sentences == [
        [f"{word} {label}" for word, label in zip(*pair, strict=True)] for pair in zip(words, labels, strict=True)
    ]
    assert antiphon.load(tagger / "m", "cpu").evaluate(out)["accuracy"] == 1.0  # against its own labels


def test_what_cannot_be_written_is_refused(model_folder: Path, tmp_path: Path) -> None:
    for options, reason in (
        (["--out", tmp_path / "o.xlsx"], "must end in .tsv"),
        (["--out", tmp_path / "o.tsv", "--json"], "is for standard output"),
        (["--scores"], "needs --out"),
        (["--out", tmp_path / "o.conll", "--scores"], "a token and its label"),
        (["--out", tmp_path / "o.conll", "--abstain-below", "0.5"], "a token and its label"),
    ):
        ran = predict(model_folder, *options, stdin="ab\n")
        assert (ran.exit_code, reason in " ".join(ran.output.replace("│", " ").split())) == (2, True)
    ran = predict(model_folder, "--out", tmp_path / "o.conll", stdin="ab\n")
    assert (ran.exit_code, "has not one label for each word" in ran.output) == (1, True)
    assert list(tmp_path.iterdir()) == []


def refused(ran: Any, option: str) -> str:
    """The message about a wrong option, on one line."""
    message = " ".join(ran.output.replace("│", " ").split())
    assert (ran.exit_code, f"Invalid value for {option}: " in message) == (2, True), ran.output
    return message


def test_the_file_of_the_inputs_is_not_written_over(model_folder: Path, write: Write, tmp_path: Path) -> None:
    table = write("t.tsv", "ab\tX\n")
    (tmp_path / "link.tsv").symlink_to(table)
    lists = ["next", model_folder, table, "--count", 1, "--out"]
    words = ["lexicon", model_folder, table, "--to", "tsv", "--out"]
    commands: list[list[Any]] = [["predict", model_folder, table, "--out"], ["doubt", model_folder, table, "--out"]]
    for arguments in [*commands, lists, words, [*words[:-1], "--doubtful"]]:
        for name in (table, tmp_path / "link.tsv"):
            ran = CliRunner().invoke(app, [*map(str, arguments), str(name)])
            assert "is the file of the inputs" in refused(ran, arguments[-1])
    command = ["predict", model_folder, table, "--ray", "local", "--out", tmp_path]
    ran = CliRunner().invoke(app, list(map(str, command)))
    assert (ran.exit_code, "t.tsv: would be written over by its predictions" in ran.output) == (1, True)
    assert table.read_text() == "ab\tX\n"


DECODING = (
    ["--beam", "2"], ["--mbr", "3"], ["--prefix", "X"], ["--align", "--json"], ["--set", "decode.max_length=3"],
    ["--sample"], ["--seed", "0"],
)  # fmt: skip


def test_options_without_an_effect_are_refused(tagger: Path, write: Write, tmp_path: Path) -> None:
    for options in DECODING:
        ran = predict(tagger / "m", write("s.conllu", ""), *options)
        assert "does nothing for a .conllu file" in refused(ran, options[0])
    tree, columns = KINDS["words to numbers, live"]
    live = untrained(tmp_path, {**tree, "decode": {"beam": 2}}, rows_of(**columns)).folder
    for options in (*DECODING[-2:], ["--n-best", "2", "--json"]):
        assert "does nothing with --stream" in refused(predict(live, "--stream", *options), options[0])
    assert predict(live, "--stream", stdin="").exit_code == 0


def test_a_long_table_is_continued_without_options_of_texts(write: Write, tmp_path: Path) -> None:
    table = write("long.csv", "day,y\n" + "".join(f"2024-03-{day:02},{day % 7}\n" for day in range(1, 32)))
    quick = {
        "data.time": "day", "data.window": {"past": 4, "horizon": 2}, "target.columns": ["y"], "train.max_steps": 1,
        "model.encoder.hidden": 4, "model.decoder.hidden": 4, "model.embedding": 4,
    }  # fmt: skip
    antiphon.train(table, tmp_path / "m", quick, device="cpu", quiet=True)
    for options in DECODING[:4]:
        assert "does nothing for a long table" in refused(predict(tmp_path / "m", table, *options), options[0])
    options = ["--out", str(tmp_path / "o.csv")]
    assert "does nothing for a long table" in refused(predict(tmp_path / "m", table, *options, "--scores"), "--scores")
    assert predict(tmp_path / "m", table, *options).exit_code == 0
    ran = CliRunner().invoke(app, ["calibrate", str(tmp_path / "m"), "--rolling", "10"])
    assert (ran.exit_code, "--rolling: must be at least 20 (is 10)" in ran.output) == (2, True)
