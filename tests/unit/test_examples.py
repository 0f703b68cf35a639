"""The inputs that a training keeps with its model: they are of its validation rows, and the server reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tasks import tiny_config, words
from untrained import KINDS, picture_files, rows_of, untrained

import antiphon
from antiphon.config.load import parse_config
from antiphon.data.load import load_rows
from antiphon.data.load import untrained as new_codecs
from antiphon.errors import ModelFolderError
from antiphon.saved import examples
from antiphon.server.inputs import read_input
from antiphon.server.settings import Settings
from antiphon.tools.distill import student
from antiphon.use.serving import load


def filled(folder: Path, columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Rows of a kind, with the names of picture files where these are meant."""
    names = picture_files(folder)
    columns = {
        name: names if values == ["pictures"] * 6 else [names[:2]] * 6 if values == [["pictures"]] * 6 else values
        for name, values in columns.items()
    }
    return rows_of(**columns)


@pytest.mark.parametrize("name", list(KINDS))
def test_the_server_reads_an_example_as_training_has_read_its_row(name: str, tmp_path: Path) -> None:
    tree, columns = KINDS[name]
    rows = filled(tmp_path, columns)
    model = untrained(tmp_path, tree, rows)
    codecs, config = model.codecs, model.config
    loaded = load_rows(config, config.data.train, codecs=codecs)
    inputs = examples.chosen(codecs, loaded, 3)
    if tree["source"] == {"kind": "none"}:
        assert inputs == []
        return
    assert 0 < len(inputs) <= 3
    assert json.loads(json.dumps(inputs, allow_nan=False)) == inputs
    examples.keep(tmp_path / "model", inputs)
    served = load(tmp_path / "model", "cpu")
    assert served.examples == inputs
    known = [[codec.encode(value) for codec, value in zip(codecs.sources, row.sources, strict=True)] for row in loaded]
    for value in inputs:
        read = read_input(served, value, Settings())
        parts = read if isinstance(read, tuple) else (read,)
        arrays = [codec.encode(codec.read_input(part)) for codec, part in zip(codecs.sources, parts, strict=True)]
        if codecs.target.form == "next":  # the beginning of a row
            ends = codecs.sources[0].ends
            begun = list(arrays[0])[: len(arrays[0]) - ends]
            assert any(list(row[0])[: len(begun)] == begun for row in known)
        else:
            assert any(all(map(np.array_equal, row, arrays)) for row in known)


def test_examples_have_different_targets_and_are_short(tmp_path: Path) -> None:
    texts = ["a", "bb", "ccc", "d", "ee", "fff", "g" * 50, "h" * 60]
    tree = {"source": {"column": "x"}, "target": {"kind": "label", "column": "y"}}
    model = untrained(tmp_path, tree, rows_of(x=texts, y=["u", "u", "u", "v", "w", "w", "x", "y"]))
    rows = load_rows(model.config, model.config.data.train)
    assert examples.chosen(model.codecs, rows, 3) == ["a", "d", "ee"]
    assert examples.chosen(model.codecs, rows, 0) == []
    assert not set(examples.chosen(model.codecs, rows, 8)) & {texts[-1], texts[-2]}


def test_of_a_long_text_lines_begin_an_example(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("One day it rained.\n\nThen it stopped, and the sun shone on all of the town.\n")
    tree = {
        "source": {"kind": "long_text"}, "target": {"kind": "next"},
        "data": {"train": str(tmp_path / "book.txt")},
    }  # fmt: skip
    config = parse_config(tree, tmp_path)
    codecs = new_codecs(config)
    for text in examples.chosen(codecs, load_rows(config, config.data.train, codecs=codecs), 5):
        assert text in (tmp_path / "book.txt").read_text().replace("\n", "|")
        assert 0 < len(text) <= examples.BEGINNING


def test_training_keeps_examples_and_saving_and_exporting_carry_them(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra export")
    model = antiphon.train(tiny_config(tmp_path, train__max_steps=2), out=tmp_path / "model", threads=1)
    kept = examples.read(tmp_path / "model")
    assert len(kept) == len(set(kept)) == 6
    valid = (tmp_path / "valid.tsv").read_text().splitlines()
    assert set(kept) <= {line.split("\t")[0] for line in valid}
    assert examples.FILE in (tmp_path / "model" / "README.md").read_text()
    model.save(tmp_path / "saved")
    model.export(tmp_path / "exported")
    assert examples.read(tmp_path / "saved") == examples.read(tmp_path / "exported") == kept
    assert load(tmp_path / "exported").examples == kept
    (tmp_path / "saved" / examples.FILE).write_text("{")
    for to in ("onnx", "web"):
        with pytest.raises(ModelFolderError, match=r"examples\.json: is damaged"):
            antiphon.load(tmp_path / "saved").export(tmp_path / to, to)
        assert not (tmp_path / to).exists()


def test_no_rows_are_kept_where_none_are_wanted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tiny_config(tmp_path, train__max_steps=2)
    with caplog.at_level("INFO", "antiphon"):
        antiphon.train(config, out=tmp_path / "model", threads=1)
    assert "examples.json keeps 6 validation inputs for the page of antiphon serve" in caplog.text
    private = tiny_config(tmp_path, train__max_steps=2, train__examples=0)
    antiphon.train(private, out=tmp_path / "model", threads=1, overwrite=True)
    assert not (tmp_path / "model" / examples.FILE).exists()
    assert load(tmp_path / "model", "cpu").examples == []
    assert student([tmp_path / "model"]).train.examples == 0
    assert not any(word in (tmp_path / "model" / "README.md").read_text() for word in words(5, 1, "shcteoamn"))


@pytest.mark.parametrize("content", ["", "[]", '{"inputs": 3}', "\\x00"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / examples.FILE).write_text(content)
    with pytest.raises(ModelFolderError, match=r"examples\.json: is damaged"):
        examples.read(tmp_path)
