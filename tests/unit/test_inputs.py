"""`predict` reads the source columns of whatever training and evaluation read."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tasks import write_table
from typer.testing import CliRunner

import antiphon
from antiphon import load
from antiphon.api import read_config
from antiphon.cli.main import app
from antiphon.common.inputs import parts_of
from antiphon.config.load import read_config_file
from antiphon.training.loop import train

Write = Callable[[str, str | bytes], Path]
WORDS = ["abc", "bad", "cede", "dab", "ace"]


def predicted(folder: Path, path: Path, *options: str) -> list[str]:
    done = CliRunner().invoke(app, ["predict", str(folder), str(path), *options])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def expected(folder: Path, words: list[str]) -> list[str]:
    return [item.text for item in load(folder, "cpu").predict(words)]


TABLES: dict[str, str | bytes] = {
    "t.tsv": "".join(f"{word}\tX Y\n" for word in WORDS),
    "t.txt": "".join(f"{word}\tX Y\n" for word in WORDS),
    "lines.txt": "".join(f"{word}\n" for word in WORDS),
    "t.csv": "".join(f'"{word}","X, Y"\n' for word in WORDS),
    "t.tsv.gz": gzip.compress("".join(f"{word}\tX Y\n" for word in WORDS).encode()),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_that_is_evaluated_is_answered(write: Write, model_folder: Path, name: str) -> None:
    assert predicted(model_folder, write(name, TABLES[name])) == expected(model_folder, WORDS)


def test_an_empty_line_of_a_list_of_inputs_has_an_empty_answer(write: Write, model_folder: Path) -> None:
    lines = predicted(model_folder, write("t.txt", "abc\n\ncede\n"))
    assert lines == [*expected(model_folder, ["abc"]), "", *expected(model_folder, ["cede"])]


def test_one_token_per_line_in_a_text_file_is_a_warning(
    write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A model that labels words reads such files by their ending .conll."""
    content = "ab V\nba C\n\nab V\nca C\n\n" * 8
    write("t.conll", content)
    model = load(train(read_config(tmp_path / "t.conll", {"train.max_steps": 2}).config, tmp_path / "m"), "cpu")
    for name, warned in (("t.txt", True), ("t.conll", False)):
        caplog.clear()
        list(model.file(write(name, content)))
        assert ("name it .conll" in caplog.text) == warned


def named(
    folder: Path, write: Write, data: str, source: str, target: str, name: str, content: str
) -> tuple[Path, Path]:
    table = write(name, content)
    tree = read_config_file(
        write("c.yaml", f"data: {{train: {name}, valid: {name}{data}}}\nsource: {source}\ntarget: {target}\n"),
        {"train.max_steps": 2, "model.embedding": 4, "model.encoder.hidden": 4, "model.decoder.hidden": 8},
    )
    return train(tree, folder / "m", device="cpu"), table


def test_quoted_fields_that_span_lines_are_one_input_and_a_header_is_none(write: Write, tmp_path: Path) -> None:
    rows = "".join(
        f'{n},"it is\n{"fine" if n % 2 else "poor"}, ""really""",{"good" if n % 2 else "bad"}\n' for n in range(12)
    )
    model, table = named(
        tmp_path, write, "", "{column: text}", "{kind: label, column: mood}", "t.csv", f"id,text,mood\n{rows}"
    )
    assert len(predicted(model, table)) == 12
    texts = [f'it is\n{"fine" if n % 2 else "poor"}, "really"' for n in range(12)]
    assert predicted(model, table) == expected(model, texts)


def test_rows_of_a_group_are_one_input(write: Write, tmp_path: Path) -> None:
    rows = "".join(f"{n // 3},{n % 3}.5,{n},{'u' if n % 2 else 'd'}\n" for n in range(12))
    sides = "{kind: frames, columns: [x, y]}", "{kind: labels, column: what}"
    model, table = named(tmp_path, write, ", group: walk", *sides, "t.csv", f"walk,x,y,what\n{rows}")
    lines = predicted(model, table)
    assert len(lines) == 4
    assert {len(line.split()) for line in lines} == {3}
    frames = [[[(n % 3) + 0.5, n] for n in range(start, start + 3)] for start in range(0, 12, 3)]
    assert lines == [item.text for item in load(model, "cpu").predict(frames)]


def test_fields_of_json_and_several_sources(write: Write, tmp_path: Path) -> None:
    rows = [{"word": word, "tags": "N;PL", "form": word.upper()} for word in WORDS]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    sides = "[{column: word}, {column: tags, tokens: {split: ';'}}]", "{column: form, tokens: chars}"
    model, table = named(tmp_path, write, "", *sides, "t.jsonl", content)
    assert predicted(model, table) == expected(model, [f"{word}\tN;PL" for word in WORDS])
    lines = write("t.txt", "".join(f"{word}\tN;PL\n" for word in WORDS))
    assert predicted(model, lines) == predicted(model, table)


def test_a_file_of_one_column_with_its_name_above(write: Write, tmp_path: Path) -> None:
    content = "word\tform\n" + "".join(f"{word}\t{word.upper()}\n" for word in WORDS)
    model, table = named(tmp_path, write, "", "{column: word}", "{column: form, tokens: chars}", "t.tsv", content)
    alone = write("words.tsv", "word\n" + "".join(f"{word}\n" for word in WORDS))
    assert predicted(model, alone) == predicted(model, table) == expected(model, WORDS)


@pytest.mark.parametrize("content", ["abc\tX Y\n", "abc\nbad\tX\n"])
def test_a_line_with_more_fields_than_sources_is_refused_on_standard_input(model_folder: Path, content: str) -> None:
    done = CliRunner().invoke(app, ["predict", str(model_folder)], input=content)
    assert done.exit_code == 1
    line = 1 + content.index("\t") // len("abc\nb")
    assert f"standard input:{line}: has 2 fields, and the model reads 1: give its sources alone" in done.output


@pytest.mark.parametrize("command", ["predict", "predict --json", "evaluate", "score", "doubt --no-cross", "calibrate"])
def test_a_pipe_in_the_place_of_a_file_is_refused(model_folder: Path, command: str) -> None:
    """The first lines decide how a file is read; in a pipe they would then be lost."""
    reading, writing = os.pipe()
    os.write(writing, b"abc\nbad\n")
    os.close(writing)
    try:
        name, *options = command.split()
        path = f"/dev/fd/{reading}"
        done = CliRunner().invoke(app, [name, str(model_folder), path, *options])
    finally:
        os.close(reading)
    assert done.exit_code == 1
    advice = "give a file; predict without FILE reads standard input"
    assert done.output == f"{path}: is a pipe or a device, which cannot be read twice; {advice}\n"


def test_what_is_wrong_is_named_by_its_line(write: Write, model_folder: Path) -> None:
    path = write("t.csv", f'"abc",X\n"{"a" * 600}",Y\n')
    done = CliRunner().invoke(app, ["predict", str(model_folder), str(path)])
    assert done.exit_code == 1
    assert f"{path}:2: has 600 tokens; data.max_length of this model is 500" in done.output
    assert done.stdout.splitlines()[0] == expected(model_folder, ["abc"])[0], "what came before is answered"
    empty = write("e.csv", '"abc",X\n"",Y\n"bad",Z\n')
    done = CliRunner().invoke(app, ["predict", str(model_folder), str(empty)])
    assert f"{empty}:2: the source is empty" in done.output


def test_unknown_symbols_can_be_copied_where_a_model_copies(write: Write, tmp_path: Path) -> None:
    table = write_table(tmp_path / "copied.tsv", [("abc", "abcd"), ("cab", "cabd"), ("bca", "bcad")])
    settings = {"model.copy": True, "model.attention": "general", "train.max_steps": 1, "data.valid": str(table)}
    antiphon.train(table, tmp_path / "copies", settings)
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "copies"), str(write("t.txt", "abж\n"))])
    assert done.stderr.endswith("1 of 1; the model can only copy them (--json counts them as unknown)\n")


def test_unknown_symbols_are_told_once_and_counted(write: Write, model_folder: Path) -> None:
    path = write("t.txt", "abc\nжж\naж\n")
    done = CliRunner().invoke(app, ["predict", str(model_folder), str(path)])
    assert done.stderr == (
        "inputs with symbols that the training rows do not have: 2 of 3; "
        "their predictions are guesses (--json counts them as unknown)\n"
    )
    answers = [json.loads(line) for line in predicted(model_folder, path, "--json")]
    assert [item.get("unknown", 0) for item in answers] == [0, 2, 1]
    fine = CliRunner().invoke(app, ["predict", str(model_folder), str(write("f.txt", "abc\n"))])
    assert fine.stderr == ""


def test_white_space_at_the_ends_of_an_input_changes_no_answer(model_folder: Path) -> None:
    model = load(model_folder, "cpu")
    plain, *spaced = model.predict(["abc", "abc\n", " abc", "\tabc  "])
    assert all(item == plain for item in spaced)
    assert model.predict(["abc "], n_best=2)[0].n_best == model.predict(["abc"], n_best=2)[0].n_best


def test_a_blank_at_the_end_of_a_prompt_is_read(write: Write, tmp_path: Path) -> None:
    content = "".join(f"{word} {word}\n" for word in WORDS)
    model, _ = named(tmp_path, write, "", "{column: 0, tokens: chars}", "next", "t.txt", content)
    item, other = load(model, "cpu").predict(["abc", "abc "])
    assert other.tokens[:4] == ["a", "b", "c", " "]
    assert item.source_tokens != other.source_tokens


def test_an_input_is_empty_only_if_all_its_parts_are_empty_texts() -> None:
    array = np.zeros(3)
    first, nothing, last = parts_of(("", array), [True, False, True]) or []
    assert (first, nothing) == ("", "")
    assert last is array
    assert parts_of(("", 0), [True, True]) == ["", 0]
    empties: list[Any] = [("", ""), [], "", "  "]
    for empty in empties:
        assert parts_of(empty, [True, True]) is None
    assert parts_of("", [True]) is None
