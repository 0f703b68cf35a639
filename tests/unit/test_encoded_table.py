"""`antiphon prepare`: a training from encoded rows is the training from the tables, and what changed is named."""

from __future__ import annotations

import json
import re
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tasks import TINY, spoken, words, write_table
from typer.testing import CliRunner

from antiphon.api import read_config
from antiphon.cli.main import app
from antiphon.config.load import parse_config, set_value
from antiphon.config.schema import Config
from antiphon.data import encoded_table, stream
from antiphon.data.encoded_table import EncodedTable
from antiphon.errors import ConfigError, DataError, ModelFolderError
from antiphon.saved import folder as bundle
from antiphon.tools.preparing import prepare_table
from antiphon.training.loop import train
from antiphon.training.plan import updates
from antiphon.training.prepare import prepare


def tree_of(folder: Path, shards: int = 3, rows: int = 60) -> dict[str, Any]:
    """The keys of a small streamed table."""
    (folder / "shards").mkdir()
    for number in range(shards):
        pairs = [(word, spoken(word)) for word in words(rows, number, "shcteoamn")]
        write_table(folder / f"shards/{number}.tsv", pairs)
    data = {"train": str(folder / "shards"), "valid": 0.1, "shuffle": 40, "sample": 90, "workers": 0}
    return {**TINY, "data": data}


def changed(tree: dict[str, Any], **keys: Any) -> Config:
    tree = json.loads(json.dumps(tree))
    for key, value in keys.items():
        set_value(tree, key.replace("__", "."), value)
    return parse_config(tree, Path())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_from_encoded_rows_is_that_from_the_tables(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHUNK", 10)
    monkeypatch.setattr(encoded_table, "PIECE", 25)
    tree = tree_of(tmp_path)
    with (tmp_path / "shards/1.tsv").open("a") as file:
        file.write("a row without a target\n" * 12)  # the last chunk is empty
    tree["data"]["on_error"] = "skip"
    if workers:
        monkeypatch.undo()  # the other processes have the usual chunks
    line = prepare_table(changed(tree, data__workers=workers), tmp_path / "encoded")
    assert line.startswith("1"), line
    folders = []
    for place in ("shards", "encoded"):
        config = changed(tree, data__train=str(tmp_path / place), train__max_steps=24)
        folders.append(train(config, tmp_path / f"model-{place}", threads=1))
    weights = [(folder / bundle.WEIGHTS).read_bytes() for folder in folders]
    assert weights[0] == weights[1]


def test_its_rows_are_not_read_again(tmp_path: Path) -> None:
    tree = tree_of(tmp_path)
    before = prepare(changed(tree))
    first = next(updates(before.config.train, before.learned, 0))
    prepare_table(changed(tree), tmp_path / "encoded")
    shutil.rmtree(tmp_path / "shards")
    after = prepare(changed(tree, data__train=str(tmp_path / "encoded")))
    assert after.codecs.to_json() == before.codecs.to_json()
    assert after.valid_rows == before.valid_rows
    assert np.array_equal(after.train.target.values, before.train.target.values)
    assert after.baselines == before.baselines
    other = next(updates(after.config.train, after.learned, 0))
    assert np.array_equal(first.examples.target.values, other.examples.target.values)


def test_open_keys_are_chosen_as_from_the_tables(tmp_path: Path) -> None:
    tree_of(tmp_path, rows=40)
    settings = {"data.workers": 0, "train.max_steps": 5}
    from_tables = read_config(str(tmp_path / "shards"), settings)
    prepare_table(from_tables.config, tmp_path / "encoded")
    from_encoded = read_config(str(tmp_path / "encoded"), settings)
    one, other = (completed.config.model_dump(by_alias=True) for completed in (from_tables, from_encoded))
    one["data"].pop("train"), other["data"].pop("train")
    assert one == other


@pytest.mark.parametrize(
    ("key", "value", "whole"),
    [
        ("source.tokens", "words", False),
        ("target.lowercase", True, False),
        ("data.max_length", 30, False),
        ("data.valid", 0.2, False),
        ("model.copy", True, False),
        ("source.tokens", "words", True),
        ("data.on_error", "skip", True),
    ],
)
def test_a_changed_key_is_named(key: str, value: Any, whole: bool, tmp_path: Path) -> None:
    tree = tree_of(tmp_path)
    prepare_table(changed(tree), tmp_path / "encoded")
    config = changed(tree, data__train=str(tmp_path / "encoded"), **{key.replace(".", "__"): value})
    with pytest.raises(ConfigError) as caught:
        prepare(config) if whole else read_config(config)
    assert caught.value.key == key
    assert "prepare the table again" in caught.value.reason


def test_keys_that_change_no_row_may_differ(tmp_path: Path) -> None:
    tree = tree_of(tmp_path)
    prepare_table(changed(tree), tmp_path / "encoded")
    free = {"data__shuffle": 7, "train__seed": 3, "model__cell": "gru", "data__test": "elsewhere.tsv"}
    assert prepare(changed(tree, data__train=str(tmp_path / "encoded"), **free)).rows == 162


@pytest.mark.parametrize("name", ["00001-000.safetensors", "sample.safetensors", "valid.rows", "vocabularies.json"])
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_file_is_named(name: str, damage: str, tmp_path: Path) -> None:
    tree = tree_of(tmp_path)
    prepare_table(changed(tree), tmp_path / "encoded")
    path = tmp_path / "encoded" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    if damage == "missing":
        path.unlink()
    config = changed(tree, data__train=str(tmp_path / "encoded"))
    with pytest.raises(DataError) as caught:
        for _ in updates(config.train, prepare(config).learned, 0):
            pass
    assert str(caught.value).startswith(f"{path}: {'is damaged' if damage == 'changed' else 'cannot be read'}")


def test_all_bad_rows_are_told_and_no_table_is_written(tmp_path: Path) -> None:
    tree = tree_of(tmp_path)
    for number in (0, 2):
        with (tmp_path / f"shards/{number}.tsv").open("a") as file:
            file.write("no target\n")
    with pytest.raises(DataError) as caught:
        prepare_table(changed(tree), tmp_path / "encoded")
    assert "0.tsv:61: column 1 is missing" in str(caught.value)
    assert "2.tsv:61: column 1 is missing" in str(caught.value)
    assert not (tmp_path / "encoded/table.json").exists()
    prepare_table(changed(tree, data__on_error="skip"), tmp_path / "encoded", overwrite=True)


def test_a_full_disk_is_named_and_leaves_no_table(tmp_path: Path) -> None:
    """By a limit on the size of files, which needs no mounting."""
    tree = tree_of(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(ModelFolderError, match=r"00000-000.safetensors: cannot be written: File too large"):
            prepare_table(changed(tree), tmp_path / "encoded")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert not encoded_table.is_encoded(str(tmp_path / "encoded"))
    prepare_table(changed(tree), tmp_path / "encoded", overwrite=True)


def test_only_an_encoded_table_is_replaced(tmp_path: Path) -> None:
    config = changed(tree_of(tmp_path))
    out = tmp_path / "encoded"
    prepare_table(config, out)
    with pytest.raises(DataError, match="exists; it is replaced with --overwrite"):
        prepare_table(config, out)
    prepare_table(config, out, overwrite=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("dear")
    with pytest.raises(DataError, match="exists; name another folder"):
        prepare_table(config, other, overwrite=True)
    assert (other / "thesis.txt").read_text() == "dear"


@pytest.mark.parametrize("name", ["notes.md", "model.safetensors", "more/notes.md"])
def test_no_file_of_the_user_is_removed(name: str, tmp_path: Path) -> None:
    config = changed(tree_of(tmp_path))
    out = tmp_path / "encoded"
    prepare_table(config, out)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("dear")
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    with pytest.raises(DataError, match=f"holds '{name.partition('/')[0]}', which is not part of an encoded table"):
        prepare_table(config, out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    alone = tmp_path / "alone"
    for content in ("{}", "not JSON"):
        (alone / name).parent.mkdir(parents=True, exist_ok=True)
        (alone / name).write_text("dear")
        (alone / "table.json").write_text(content)  # of another program
        with pytest.raises(DataError, match="which is not part of an encoded table"):
            prepare_table(config, alone, overwrite=True)
        (alone / "table.json").unlink()
        with pytest.raises(DataError, match="exists; name another folder"):
            prepare_table(config, alone, overwrite=True)


def test_after_a_bad_row_the_old_table_is_as_it_was(tmp_path: Path) -> None:
    config = changed(tree_of(tmp_path))
    out = tmp_path / "encoded"
    prepare_table(config, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with (tmp_path / "shards/1.tsv").open("a") as file:
        file.write("no target\n")
    for folder in (out, tmp_path / "new"):
        with pytest.raises(DataError, match=r"1\.tsv:61: column 1 is missing"):
            prepare_table(config, folder, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert not (tmp_path / "new").exists()
    (out / ".encoding.partial").mkdir()  # of a process that was killed
    skipping = config.model_copy(update={"data": config.data.model_copy(update={"on_error": "skip"})})
    prepare_table(skipping, out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == sorted(before)


def test_values_of_rows_are_kept_as_they_are() -> None:
    for value in ("é\n", ["turn", "next"], 3, 2.5, ("a", "b")):
        kept = encoded_table._value(json.loads(json.dumps(encoded_table._plain(value))))
        assert (type(kept), kept) == (type(value), value)
    for array in (np.asarray([[1, 2.5]], np.float32), np.zeros((2, 0), np.uint8)):
        kept = encoded_table._value(json.loads(json.dumps(encoded_table._plain(array))))
        assert kept.dtype == array.dtype
        assert np.array_equal(kept, array)


def test_it_needs_no_new_start_from_a_model(tmp_path: Path) -> None:
    tree = tree_of(tmp_path)
    prepare_table(changed(tree), tmp_path / "encoded")
    config = changed(tree, data__train=str(tmp_path / "encoded"))
    model = train(config, tmp_path / "model", threads=1)
    with pytest.raises(ConfigError, match="vocabularies of their own"):
        train(config, tmp_path / "other", threads=1, init_from=model)


def test_the_command_prepares_checks_and_trains(tmp_path: Path) -> None:
    tree = tree_of(tmp_path)
    (tmp_path / "c.yaml").write_text(json.dumps(tree))
    run = CliRunner().invoke
    done = run(app, ["prepare", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "encoded")])
    assert done.exit_code == 0, done.output
    encoded = re.search("([0-9]+) rows of 3 shards are encoded", done.output)
    assert encoded
    for place in ("shards", "encoded"):
        done = run(app, ["check", str(tmp_path / "c.yaml"), "--set", f"data.train={tmp_path / place}"])
        assert done.exit_code == 0, done.output
        assert f"train: {encoded[1]} rows, streamed from 3 shards" in done.output
    done = run(app, ["train", str(tmp_path / "encoded"), "--out", str(tmp_path / "m"), "--set", "train.max_steps=2"])
    assert done.exit_code == 0, done.output
    done = run(app, ["train", str(tmp_path / "encoded"), "--out", str(tmp_path / "n"), "--set", "source.tokens=words"])
    assert done.exit_code == 1
    assert f'source.tokens: was "chars" when {tmp_path / "encoded"} was prepared, and is "words"' in done.output
    assert len(EncodedTable.open(tmp_path / "encoded")) == 3
