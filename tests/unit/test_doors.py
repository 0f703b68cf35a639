"""Whichever way a user comes in, the same rows and wishes give the same configuration and the same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from structures import STRUCTURES, WORDS, words
from typer.testing import CliRunner

import antiphon
from antiphon import api
from antiphon.cli.main import app
from antiphon.config.load import read_config_file
from antiphon.config.schema import Config
from antiphon.errors import DataError
from antiphon.model.build import structure_of
from antiphon.saved import folder as bundle
from antiphon.training import defaults


def dotted(tree: dict[str, Any]) -> dict[str, Any]:
    return {f"{side}.{key}": value for side, keys in tree.items() for key, value in keys.items()}


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_door_chooses_and_trains_alike(name: str, tmp_path: Path) -> None:
    """A bare table, a configuration that names the sides alone, and Python: with the weights after 20 updates."""
    rows, sides, structure = STRUCTURES[name]
    table = tmp_path / "rows.tsv"
    table.write_text("".join(f"{line}\n" for line in rows(tmp_path)), encoding="utf-8")
    (tmp_path / "c.yaml").write_text(json.dumps({"data": {"train": "rows.tsv"}, **sides}))
    python = Config.model_validate({"data": {"train": str(table)}, **sides})
    doors: list[tuple[Any, dict[str, Any]]] = [(table, dotted(sides)), (tmp_path / "c.yaml", {}), (python, {})]
    configs = [api.read_config(what, settings).config for what, settings in doors]
    assert configs[0] == configs[1] == configs[2]
    assert structure_of(configs[0]) == structure
    weights = []
    for number, (what, settings) in enumerate(doors):
        model = antiphon.train(what, tmp_path / f"m{number}", {**settings, "train.max_steps": 20}, threads=1)
        weights.append((model.folder / bundle.WEIGHTS).read_bytes())
        assert read_config_file(model.folder / bundle.CONFIG).train.max_steps == 20
    assert weights[0] == weights[1] == weights[2]


def test_parallel_files_are_a_door_too(tmp_path: Path) -> None:
    rows = [line.split("\t") for line in words(tmp_path)]
    for name, place in (("a", 0), ("b", 1)):
        (tmp_path / f"{name}.txt").write_text("".join(f"{row[place]}\n" for row in rows))
    (tmp_path / "rows.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    files = {"source": str(tmp_path / "a.txt"), "target": str(tmp_path / "b.txt")}
    item = api.read_config(tmp_path / "rows.tsv").config
    other = api.read_config(Config.model_validate({"data": {"train": files}})).config
    assert item.model_copy(update={"data": other.data}) == other


def test_several_sources_take_what_one_does(tmp_path: Path) -> None:
    rows = [f"{word}{more}\t{word.upper()}\tN;PL\n" for word in WORDS for more in "vwxyz"]
    (tmp_path / "rows.tsv").write_text("".join(rows))
    sources = [{"column": 0}, {"column": 2, "tokens": {"split": ";"}}]
    tree = {"data": {"train": "rows.tsv"}, "source": sources, "target": {"column": 1}}
    (tmp_path / "c.yaml").write_text(json.dumps(tree))
    config = api.read_config(tmp_path / "c.yaml").config
    assert [side.options["tokens"] for side in (*config.sources, config.target)] == ["chars", {"split": ";"}, "chars"]
    assert config.model.context.to == "every_step", "what the features say must reach every step"
    assert config.train.max_steps == 3000
    (tmp_path / "rows.tsv").write_text("".join(rows[:100]))
    assert api.read_config(tmp_path / "c.yaml").config.model.context.to == "initial_state", "too few rows for that"


def test_a_whole_configuration_is_left_as_it_is_and_no_data_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.tsv").write_text("".join(f"{line}\n" for line in words(tmp_path)))
    whole = api.read_config(tmp_path / "rows.tsv", {"model.cell": "gru"}).config
    (tmp_path / "c.yaml").write_text(whole.to_yaml())
    monkeypatch.setattr(defaults, "load_rows", None)
    assert api.read_config(tmp_path / "c.yaml").config == whole
    assert api.read_config(whole).config == whole


def test_what_is_given_is_kept_and_what_depends_on_it_follows(tmp_path: Path) -> None:
    table = tmp_path / "rows.tsv"
    table.write_text("".join(f"{line}\n" for line in words(tmp_path)))

    def train(**settings: Any) -> Any:
        return api.read_config(table, {key.replace("__", "."): value for key, value in settings.items()}).config.train

    plain = train()
    larger = train(train__batch_size=2 * plain.batch_size)
    assert larger.max_steps == plain.max_steps
    assert larger.epochs == pytest.approx(2 * plain.epochs, rel=0.01)
    assert train(train__epochs=7).max_steps is None, "one ceiling that is given decides alone"
    assert train(train__max_steps=40).epochs * 4 >= 40
    assert train(train__epochs=7).epochs == 7
    by_tokens = train(train__batch_tokens=4000)
    assert by_tokens.epochs >= by_tokens.max_steps == plain.max_steps, "an epoch may be one update"
    halves = train(train__accumulate=2)
    assert halves.epochs == pytest.approx(2 * plain.epochs, rel=0.02)
    assert train(train__average=3).ema is None
    narrow = api.read_config(table, {"model.encoder.hidden": 24}).config.model
    assert narrow.decoder.hidden == 48
    assert api.read_config(table, {"model.context": "last"}).config.model.decoder.hidden == 256
    named = api.read_config(table, {"model.cell": "gru"}).config.model.cell
    assert (named.kind, named.options) == ("gru", {}), "a cell that is named is that cell"


def test_a_wrong_name_is_told_before_any_data_is_read(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("data: {train: nowhere.tsv}\ntarget: text\nmodel: {cell: lstmm}\n")
    done = CliRunner().invoke(app, ["train", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "m")])
    assert done.exit_code == 1
    assert done.output.startswith(f"{tmp_path / 'c.yaml'}: model.cell: unknown cell 'lstmm'; did you mean 'lstm'?")


def test_the_summary_says_what_matters_and_the_whole_is_there_on_request(tmp_path: Path) -> None:
    table = tmp_path / "rows.tsv"
    table.write_text("".join(f"{line}\n" for line in words(tmp_path)))
    checked = CliRunner().invoke(app, ["check", str(table)])
    assert "chosen: source: chars, as most of its rows are single words" in checked.output
    assert "chosen: train: at most 3,000 updates" in checked.output
    whole = CliRunner().invoke(app, ["check", str(table), "--yaml"])
    (tmp_path / "all.yaml").write_text(whole.output)
    assert read_config_file(tmp_path / "all.yaml") == api.read_config(table).config


def test_a_training_goes_on_by_the_very_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative `--set data.valid` is relative to where the command is typed, when it goes on too."""
    lines = words(tmp_path)
    (tmp_path / "rows.tsv").write_text("".join(f"{line}\n" for line in lines[:50]))
    (tmp_path / "valid.tsv").write_text("".join(f"{line}\n" for line in lines[50:]))
    monkeypatch.chdir(tmp_path)
    command = ["train", "rows.tsv", "--out", "m", "--set", "data.valid=valid.tsv", "--set", "train.max_steps=4"]
    for more in ([], ["--resume"]):
        done = CliRunner().invoke(app, [*command, *more])
        assert done.exit_code == 0, done.output


def test_a_relative_table_of_a_configuration_is_the_same_when_a_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text("".join(f"{line}\n" for line in words(tmp_path)))
    (tmp_path / "c.yaml").write_text("data: {train: rows.tsv, valid: rows.tsv}\ntrain: {max_steps: 3}\n")
    for more in ([], ["--resume"]):
        done = CliRunner().invoke(app, ["train", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "m"), *more])
        assert done.exit_code == 0, done.output


def test_a_table_of_more_columns_asks_for_columns_everywhere(tmp_path: Path, model_folder: Path) -> None:
    table = tmp_path / "walk.csv"
    table.write_text("timestamp,device,ax\n1,a,0.5\n2,b,0.7\n")
    messages = []
    for command in (
        ["train", str(table), "--out", str(tmp_path / "m")],
        ["check", str(table)],
        ["evaluate", str(model_folder), str(table)],
        ["score", str(model_folder), str(table)],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 1
        messages.append(done.output)
    assert messages[0].startswith(f"{table}:1: has 3 columns, but 2 are needed; name them by position")
    assert "0 'timestamp', 1 'device', 2 'ax'" in messages[0]
    assert len(set(messages)) == 1, "with one message"
    done = CliRunner().invoke(app, ["check", str(table), "--set", "source.column=device", "--set", "target.column=ax"])
    assert "1 distinct inputs" in done.output, done.output


def test_lists_of_more_columns_ask_too(tmp_path: Path) -> None:
    lists = tmp_path / "rows.jsonl"
    lists.write_text('["17", "hello", "bonjour"]\n')
    with pytest.raises(
        DataError, match=r"rows\.jsonl:1: has 3 columns.* --set target\.column=1\. The first row has 0 '17'"
    ):
        api.read_config(lists)
    api.read_config(lists.rename(tmp_path / "one.jsonl"), {"source.column": 1, "target.column": 2})
    lists.write_text('["a", "b"]\n["17", "hello", "bonjour"]\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:2: has 3 columns, but 2 are needed$"):
        api.read_config(lists)


def test_rows_of_other_lengths_are_bad_rows(tmp_path: Path) -> None:
    table = tmp_path / "rows.tsv"
    table.write_text("a\tb\nc\td\te\n")
    with pytest.raises(DataError, match=r"rows\.tsv:2: has 3 columns, but 2 are needed$"):
        api.read_config(table)


def test_a_training_says_what_was_chosen(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text("".join(f"{line}\n" for line in words(tmp_path)))
    done = CliRunner().invoke(
        app, ["train", str(tmp_path / "rows.tsv"), "--out", str(tmp_path / "m"), "--set", "train.max_steps=2"]
    )
    assert done.exit_code == 0, done.output
    assert "settings chosen from the data" in done.output
    assert "target: words, as it has 8 distinct words, each often" in done.output
