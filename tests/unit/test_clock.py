"""A training within `train.minutes`, with a clock that the tests move."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tasks import spoken, tiny_config, words, write_table

from antiphon.api import read_config
from antiphon.evaluation.measure import validate
from antiphon.saved import folder as bundle
from antiphon.training import checkpoint, clock, defaults, loop
from antiphon.training.callbacks import Callback, Run
from antiphon.training.loop import train
from antiphon.training.update import apply

ROWS = 20  # to validate with
ENDED = 0.05 * 0.005  # a learning rate
COSINE = {"train__schedule": {"kind": "cosine", "warmup": 2}}
LONG: dict[str, Any] = {**COSINE, "train__max_steps": 100_000, "train__epochs": 100_000, "train__patience": None}


@dataclass
class Seconds:
    """A clock in place of the module `time`: an update and a validation take as many seconds as a test says."""

    now: float = 1000.0
    update: float = 1.0
    validation: float = 2.0
    slow_from: int = 1 << 60  # updates from this number on take three times as long
    updates: int = 0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    moved = Seconds()

    def slowed(*arguments: Any) -> Any:
        moved.updates += 1
        moved.now += moved.update * (3 if moved.updates >= moved.slow_from else 1)
        return apply(*arguments)

    def validated(task: Any, metric: str) -> Any:
        moved.now += moved.validation * len(task.rows) / ROWS
        return real(task, metric)

    real = validate
    monkeypatch.setattr(loop, "time", moved)
    monkeypatch.setattr(clock, "time", moved)
    monkeypatch.setattr(loop, "apply", slowed)
    for module in (loop, clock):
        monkeypatch.setattr(module, "validate", validated)
    return moved


def state_of(folder: Path) -> dict[str, Any]:
    state, _ = checkpoint.load(folder)
    return dict(state["progress"])


@pytest.mark.parametrize("minutes", [0.5, 1.0, 5.0])
def test_it_ends_in_time_with_its_schedule_at_the_end(tmp_path: Path, seconds: Seconds, minutes: float) -> None:
    began = seconds.now
    train(tiny_config(tmp_path, **LONG, train__minutes=minutes), tmp_path / "m", began=began)
    progress, taken = state_of(tmp_path / "m"), seconds.now - began
    assert 0.85 * 60 * minutes <= taken <= 60 * minutes
    last = progress["history"][-1]
    assert last["learning_rate"] < ENDED, "the cosine has come to its end"
    assert last["step"] == progress["step"]


def test_a_machine_that_becomes_slower_is_followed(tmp_path: Path, seconds: Seconds) -> None:
    seconds.slow_from = 100
    began = seconds.now
    train(tiny_config(tmp_path, **LONG, train__minutes=5.0), tmp_path / "m", began=began)
    progress = state_of(tmp_path / "m")
    assert 0.85 * 300 <= seconds.now - began <= 300
    assert 140 < progress["step"] < 180, "100 updates of a second, and the rest of the time at three seconds each"
    assert progress["history"][-1]["learning_rate"] < ENDED


def test_what_fits_is_the_same_as_without_a_clock(tmp_path: Path) -> None:
    options: dict[str, Any] = {"train__max_steps": 12, "train__validate_every": 4, "model__dropout": 0.3}
    options["train__schedule"] = {"kind": "cosine", "warmup": 9}  # long for so few updates
    train(tiny_config(tmp_path, **options), tmp_path / "plain")
    train(tiny_config(tmp_path, **options, train__minutes=60.0), tmp_path / "timed")
    left, right = (load_file(tmp_path / name / bundle.WEIGHTS) for name in ("plain", "timed"))
    assert all(value.equal(right[name]) for name, value in left.items())
    plain, timed = (state_of(tmp_path / name) for name in ("plain", "timed"))
    assert [entry["step"] for entry in plain["history"]] == [entry["step"] for entry in timed["history"]]


def test_validations_take_a_tenth_of_the_time_and_none_of_the_last_tenth(tmp_path: Path, seconds: Seconds) -> None:
    seconds.validation = 10.0
    began = seconds.now
    options = {**LONG, "train__validate_every": 1, "train__minutes": 10.0}
    train(tiny_config(tmp_path, **options), tmp_path / "m", began=began)
    assert seconds.now - began <= 600
    history = state_of(tmp_path / "m")["history"]
    at = [60 * entry["minutes"] for entry in history]  # when each ended
    assert 4 <= len(history) - 1 <= 0.12 * 600 / 10
    assert all(moment < 0.9 * 600 + 10 for moment in at[:-1])


def test_fewer_validation_rows_where_all_take_too_long(tmp_path: Path, seconds: Seconds,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(clock, "LEAST", 4)
    seconds.validation = 20.0
    began = seconds.now
    config = tiny_config(tmp_path, **LONG, train__minutes=4.0)
    train(config, tmp_path / "m", began=began)
    progress = state_of(tmp_path / "m")
    assert progress["checked"] == int(clock.CHECK * 240 / (20.0 / ROWS)) < ROWS
    assert seconds.now - began <= 240


def test_a_stopped_training_goes_on_with_the_rest_of_its_time(tmp_path: Path, seconds: Seconds) -> None:
    class Stop(Callback):
        def update(self, run: Run) -> bool:
            if run.updates == 20:
                raise KeyboardInterrupt("enough")
            return False

    options = {**LONG, "train__minutes": 1.0}
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(tmp_path, **options), tmp_path / "m", callbacks=[Stop()], began=seconds.now)
    seconds.now += 10_000  # a pause is not counted
    began = seconds.now
    train(tiny_config(tmp_path, **options), tmp_path / "m", resume=True, began=began)
    assert 25 <= seconds.now - began <= 60 - 20
    assert state_of(tmp_path / "m")["history"][-1]["learning_rate"] < ENDED


def test_two_processes_follow_the_clock_of_the_first(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, **LONG, train__minutes=0.05)
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "antiphon", "train", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "m")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "train.minutes: 0.05" in done.stderr or state_of(tmp_path / "m")["step"] > 0


@pytest.mark.parametrize("minutes", ["0", "-3", "soon"])
def test_wrong_minutes_are_a_message(tmp_path: Path, minutes: str) -> None:
    (tmp_path / "t.tsv").write_text("a\tb\n" * 3)
    command = [sys.executable, "-m", "antiphon", "train", str(tmp_path / "t.tsv"), "--out", str(tmp_path / "m")]
    done = subprocess.run([*command, f"--minutes={minutes}"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--minutes" in done.stderr
    assert "Traceback" not in done.stderr


# --- size and settings --------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_table(tmp_path / "t.tsv", [(word, spoken(word)) for word in words(300, 5, "shcteoamn")])
    return tmp_path / "t.tsv"


def chosen(table: Path, seconds: float, monkeypatch: pytest.MonkeyPatch, power: float = 2.0, **settings: Any) -> Any:
    """The configuration for this table where an update takes so many seconds, with a power of the width."""
    monkeypatch.setattr(
        defaults,
        "seconds_of_update",
        lambda config, parts, limit: (
            seconds * (config.model.encoder.hidden / 128) ** power * (config.train.batch_size / 16) ** 0.7
        ),
    )
    return read_config(table, {key.replace("__", "."): value for key, value in settings.items()}).config


def test_minutes_that_suffice_change_nothing(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = chosen(table, 0.01, monkeypatch)
    timed = chosen(table, 0.01, monkeypatch, train__minutes=60.0)
    assert timed.train.minutes == 60.0
    assert timed.model == usual.model
    assert timed.train.model_copy(update={"minutes": None}) == usual.train


def test_few_minutes_make_it_narrower_with_larger_steps(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = chosen(table, 0.01, monkeypatch)
    assert usual.train.max_steps is not None
    whole = usual.train.max_steps * 0.01 / 60 / defaults.LEARNING  # minutes for all updates
    half, tenth = (chosen(table, 0.01, monkeypatch, train__minutes=part * whole) for part in (0.5, 0.1))
    assert half.model.encoder.hidden == usual.model.encoder.hidden
    assert tenth.model.encoder.hidden < usual.model.encoder.hidden
    assert tenth.model.decoder.hidden == 2 * tenth.model.encoder.hidden
    flat = chosen(table, 0.01, monkeypatch, power=0.5, train__minutes=0.1 * whole)
    assert flat.model.encoder.hidden == usual.model.encoder.hidden, "a narrower one would hardly be faster"
    assert (half.train.batch_size, tenth.train.batch_size) == (16, 16), "no fewer rows each"
    rates = [config.train.learning_rate for config in (usual, half, tenth)]
    assert rates == sorted(rates)
    assert rates[0] < rates[2] <= 5e-3
    drops = [config.model.dropout for config in (tenth, half, usual)]
    assert drops == sorted(drops)
    assert tenth.train.max_steps == usual.train.max_steps, "the clock ends it, not a number of updates"
    assert tenth.train.precision == "auto"


def test_what_the_user_sets_stays(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wishes: dict[str, Any] = {"model__encoder__hidden": 40, "train__learning_rate": 1e-4, "model__dropout": 0.25}
    config = chosen(table, 1.0, monkeypatch, train__minutes=0.5, **wishes)
    assert config.model.encoder.hidden == 40
    assert config.model.decoder.hidden == 80
    assert config.train.learning_rate == 1e-4
    assert config.model.dropout == 0.25


def test_the_time_of_an_update_is_measured_for_every_structure(tmp_path: Path) -> None:
    """Of rows and of one long text; and the training that follows ends by the clock."""
    (tmp_path / "book.txt").write_text("the cat sat on the mat. " * 300)
    settings = {"source.kind": "long_text", "target.kind": "next", "train.minutes": 0.03}
    config = read_config(tmp_path / "book.txt", settings).config
    train(config, tmp_path / "m", quiet=True)
    assert 0 < state_of(tmp_path / "m")["step"] < 1_500
