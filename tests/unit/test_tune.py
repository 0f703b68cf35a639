"""The search for settings: what is open, what goes on after a kill, and that the test data stays closed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tasks import spoken, words, write_table

from antiphon.api import read_config, user_config
from antiphon.errors import AntiphonError, TrainingError
from antiphon.experiments import runs
from antiphon.experiments import tune as module
from antiphon.experiments.runs import command
from antiphon.experiments.space import ROWS, space
from antiphon.experiments.table import Table, table_of
from antiphon.experiments.tune import BEST, MODEL, tune
from antiphon.experiments.writing import outcome
from antiphon.saved import folder as bundle
from antiphon.use.loading import load

optuna = pytest.importorskip("optuna")

CONFIG = """\
data: {train: train.tsv, valid: valid.tsv, test: test.tsv}
source: {tokens: chars}
target: {tokens: words}
model: {embedding: 8, encoder: {hidden: 8}}
train: {max_steps: 6, validate_every: 2, label_smoothing: 0.05}
decode: {beam: 2}
"""


def configuration(folder: Path) -> Path:
    """A tiny table; its test file is not there yet."""
    pairs = [(word, spoken(word)) for word in words(120, 5, "shcteoamn")]
    write_table(folder / "train.tsv", pairs[:90])
    write_table(folder / "valid.tsv", pairs[90:105])
    write_table(folder / "hidden.tsv", pairs[105:])
    path = folder / "c.yaml"
    path.write_text(CONFIG)
    return path


def keys(path: Path, settings: dict[str, Any] | None = None) -> list[str]:
    dimensions = space(user_config(path, settings), read_config(path, settings).config)
    return [dimension.row.key for dimension in dimensions]


def test_only_open_keys_are_tried(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    expected = {row.key for row in ROWS} - {"model.encoder.hidden", "train.label_smoothing", "model.pooling"}
    assert set(keys(path)) == expected
    settings = {
        "model.cell": "gru",
        "train.learning_rate": 0.01,
        "train.batch_tokens": 500,
        "model.context.to": "every_step",
    }
    assert set(keys(path, settings)) == {"model.dropout", "model.attention"}


def test_a_label_has_other_rows_than_a_text(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.tsv", [(f"word {n}", "yes" if n % 2 else "no") for n in range(60)])
    names = keys(table)
    assert "model.pooling" in names
    assert not {"model.attention", "train.label_smoothing", "model.context.to"} & set(names)


def test_the_defaults_set_no_key(tmp_path: Path) -> None:
    """The trial that stands first in the queue is the training without `tune`."""
    path = configuration(tmp_path)
    dimensions = space(user_config(path), read_config(path).config)
    first = optuna.trial.FixedTrial({dimension.row.key: dimension.first for dimension in dimensions})
    assert [dimension.suggest(first) for dimension in dimensions] == [{}] * len(dimensions)


def test_every_value_of_the_space_is_a_valid_configuration(tmp_path: Path) -> None:
    from antiphon.training.prepare import check_names

    path = configuration(tmp_path)
    dimensions = space(user_config(path), read_config(path).config)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(30):
        trial = study.ask()
        values: dict[str, Any] = {}
        for dimension in dimensions:
            values |= dimension.suggest(trial)
        check_names(read_config(path, values).config)
        assert not {"train.label_smoothing", "model.encoder.hidden"} & values.keys()


def test_an_interrupted_trial_is_tried_again_in_its_folder_before_any_other(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    dimensions = space(user_config(path), read_config(path).config)
    study = module._study(optuna, tmp_path, dimensions)
    values = []
    for number in range(3):
        trial = module._next_trial(study, dimensions)
        values.append({key: value for dimension in dimensions for key, value in dimension.suggest(trial).items()})
        trial.set_user_attr("number", number)
        if number == 1:
            study.tell(trial, 0.5)
    again = module._study(optuna, tmp_path, dimensions)
    for number in (0, 2):
        trial = module._next_trial(again, dimensions)
        assert trial.user_attrs["number"] == number
        suggested = {key: value for dimension in dimensions for key, value in dimension.suggest(trial).items()}
        assert suggested == values[number]
    assert [again.trials[number].state.name for number in range(3)] == ["FAIL", "COMPLETE", "FAIL"]
    assert "number" not in module._next_trial(again, dimensions).user_attrs


def test_after_the_defaults_one_key_is_changed_at_a_time(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    dimensions = space(user_config(path), read_config(path).config)
    study = module._study(optuna, tmp_path, dimensions)
    tried = []
    for _ in range(1 + len(dimensions)):
        trial = module._next_trial(study, dimensions)
        tried.append({key: value for dimension in dimensions for key, value in dimension.suggest(trial).items()})
    assert [len(values) for values in tried] == [0] + [1] * len(dimensions)
    assert len({key for values in tried for key in values}) == len(dimensions)
    assert all(next(iter(values)) in dimension.row.key for values, dimension in zip(tried[1:], dimensions, strict=True))
    assert "changed" not in module._next_trial(study, dimensions).user_attrs


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(AntiphonError, match=r"^tune: needs the extra; install it with .*antiphon\[tune\]"):
        module._optuna()


def test_nothing_to_try_and_too_little_time_are_told(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    shared = command(path, 1, 1, "cpu")
    fixed: dict[str, Any] = {
        "train.learning_rate": 0.01,
        "model.dropout": 0.1,
        "model.cell": "gru",
        "train.batch_size": 8,
    }
    fixed |= {"model.attention": "general", "model.context": "last", "model.context.to": "every_step"}
    with pytest.raises(TrainingError, match="sets every key that tune would try"):
        tune(shared, tmp_path / "a", 1, fixed, print)
    with pytest.raises(TrainingError, match="minutes do not suffice for the defaults; the same command goes on"):
        tune(shared, tmp_path / "b", 0.001, {}, print)


class Clock:
    """A clock by which a training takes `SECONDS` seconds, however slow the machine is."""

    SECONDS = 8.0

    def __init__(self, out: Path) -> None:
        self.out = out

    def monotonic(self) -> float:
        return self.SECONDS * len(list(self.out.glob(f"trials/*/seed-*/{bundle.METRICS}")))

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def test_a_search_keeps_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the user's keys, and it reads no test data before all is chosen."""
    path, out = configuration(tmp_path), tmp_path / "out"
    opened = 0.0
    clock = Clock(out)
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(runs, "time", clock)

    def recorded(*arguments: Any, **keys: Any) -> Table:
        nonlocal opened
        assert (out / BEST).is_file()
        (tmp_path / "hidden.tsv").rename(tmp_path / "test.tsv")
        opened = clock.monotonic()
        return table_of(*arguments, **keys)

    monkeypatch.setattr(module, "table_of", recorded)
    lines: list[str] = []
    chosen = tune(command(path, 2, 1, "cpu"), out, 1.0, {"model.dropout": 0.25}, lines.append)
    assert 0.6 * 60 - 2 * clock.SECONDS <= opened <= 60 + clock.SECONDS
    folders = sorted(out.glob("trials/*/seed-*"))
    configs = [bundle.load_config(folder) for folder in folders if (folder / bundle.CONFIG).is_file()]
    assert {config.model.dropout for config in configs} == {0.25}
    assert {config.train.label_smoothing for config in configs} == {0.05}
    assert {config.model.encoder.hidden for config in configs} == {8}
    assert (out / BEST).read_text() == (out / MODEL / bundle.CONFIG).read_text()
    assert read_config(out / BEST).about == []  # nothing is left open
    assert load(out / MODEL, "cpu").predict(["shoe"])
    assert chosen.table is not None
    assert chosen.chosen <= chosen.defaults
    assert f"validation token_error_rate: defaults {chosen.defaults:.4f}" in outcome(chosen, out)
    assert any(line.startswith("trial 0: token_error_rate") and "the defaults" in line for line in lines)


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on(tmp_path: Path) -> None:
    path, out = configuration(tmp_path), tmp_path / "out"
    (tmp_path / "hidden.tsv").rename(tmp_path / "test.tsv")
    words = ["tune", str(path), "--minutes", "5", "--out", str(out), "--jobs", "2"]
    process = subprocess.Popen([sys.executable, "-m", "antiphon", *words])
    while len([*out.glob("trials/*/seed-1/README.md")]) < 2:
        time.sleep(0.1)
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/seed-1/README.md")}
    chosen = tune(command(path, 2, 1, "cpu"), out, 0.6, {}, print)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    trials = module._study(optuna, out, []).trials
    numbers = [trial.user_attrs["number"] for trial in trials if trial.state.name == "COMPLETE"]
    assert len(numbers) == len(set(numbers)) > 2
    assert chosen.seeds >= 1
    assert json.dumps(chosen.settings)
