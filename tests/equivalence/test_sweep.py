"""A sweep that is killed goes on, and ends with the table of an uninterrupted one."""

from __future__ import annotations

import csv
import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tasks import tiny_config
from typer.testing import CliRunner

from antiphon.cli.main import app
from antiphon.experiments.table import make_table
from antiphon.experiments.writing import FORMATS
from antiphon.saved import folder as bundle


def configuration(folder: Path, steps: int) -> Path:
    path = folder / "c.yaml"
    options = {"train__max_steps": steps, "train__validate_every": 20, "train__save_every": 5, "model__dropout": 0.3}
    path.write_text(tiny_config(folder, **options).to_yaml())
    return path


def arguments(config: Path, out: Path, *more: str, cells: str = "gru,lstm", seeds: int = 2) -> list[str]:
    words = ["sweep", str(config), "--seeds", str(seeds), "--grid", f"model.cell={cells}", "--out", str(out)]
    return [*words, "--jobs", "2", *more]


def figures(out: Path) -> list[dict[str, str]]:
    """The table without the time that it took."""
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](make_table([out])))))
    return [{name: value for name, value in row.items() if name != "minutes"} for row in rows]


def kill(config: Path, out: Path, number: signal.Signals, chance: random.Random) -> None:
    """Begin or resume the sweep, and send a signal at a random moment of a training."""
    process = subprocess.Popen([sys.executable, "-m", "antiphon", *arguments(config, out)], stderr=subprocess.DEVNULL)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}
    while process.poll() is None:
        states = {path: path.stat().st_mtime_ns for path in out.rglob("step-*.pt") if path.exists()}
        if states.keys() - before.keys():
            break
        time.sleep(0.02)
    time.sleep(chance.uniform(0, 1))
    assert process.poll() is None, "it ended before it was killed"
    os.kill(process.pid, number)
    status = process.wait(60)
    assert status in (-number, 130)  # 130 where SIGTERM came after its start, and it stopped its trainings itself


@pytest.mark.slow
def test_a_sweep_killed_twice_ends_with_the_same_table(tmp_path: Path) -> None:
    config = configuration(tmp_path, 150)
    whole = CliRunner().invoke(app, arguments(config, tmp_path / "whole"))
    assert whole.exit_code == 0, whole.output
    chance = random.Random(time.time_ns())
    for number in chance.sample([signal.SIGKILL, signal.SIGTERM], 2):
        kill(config, tmp_path / "killed", number, chance)
    ended = CliRunner().invoke(app, arguments(config, tmp_path / "killed"))
    assert ended.exit_code == 0, ended.output
    assert figures(tmp_path / "killed") == figures(tmp_path / "whole")
    for path in (tmp_path / "whole").rglob(bundle.WEIGHTS):
        other = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
        assert other.read_bytes() == path.read_bytes()


def test_a_sweep_trains_what_is_missing_and_nothing_twice(tmp_path: Path) -> None:
    config, out = configuration(tmp_path, 4), tmp_path / "s"
    ran = CliRunner().invoke(app, arguments(config, out, cells="gru", seeds=1))
    assert ran.exit_code == 0, ran.output
    assert "model.cell=gru/seed-1: validation token_error_rate" in ran.stderr
    assert "1 of 1 runs, 0.0 minutes left" in ran.stderr
    first = {path: path.stat().st_mtime_ns for path in (out / "model.cell=gru" / "seed-1").rglob("*")}
    ran = CliRunner().invoke(app, arguments(config, out, cells="gru", seeds=2))
    assert ran.exit_code == 0, ran.output
    assert "1 of 2 runs are finished already" in ran.stderr
    assert "| model.cell=gru | 2 |" in ran.stdout
    assert {path: path.stat().st_mtime_ns for path in first} == first
    ran = CliRunner().invoke(app, arguments(config, out, "--set", "model.dropout=0.2", cells="gru"))
    assert ran.exit_code == 1
    assert f"{out}: its runs have other settings: model.dropout: was 0.3, is 0.2" in ran.stderr
    with (tmp_path / "train.tsv").open("a") as file:
        file.write("shoe\tSH UW\n")
    ran = CliRunner().invoke(app, arguments(config, out, cells="gru"))
    assert ran.exit_code == 1
    assert "rows.train: was" in ran.stderr


@pytest.mark.parametrize(
    ("more", "message", "status"),
    [
        (["--grid", "train.learning_rat=1"], "train.learning_rat: unknown key; did you mean 'learning_rate'", 1),
        (["--grid", "train.seed=1,2"], "train.seed: is set by --seeds", 1),
        (["--grid", "model.attention=dot,dot"], "model.attention: has the value 'dot' twice", 1),
        (["--grid", "model.dropout=0.1", "--set", "model.dropout=0.2"], "model.dropout: is in the grid and set", 1),
        (["--grid", "model.attention=general,generall"], "model.attention: unknown attention 'generall'", 1),
        (["--grid", "model.dropout"], "'model.dropout' is not KEY=VALUE,VALUE", 2),
        (["--grid", "model.cell=gru"], "model.cell is given twice", 2),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(
    tmp_path: Path, more: list[str], message: str, status: int
) -> None:
    ran = CliRunner().invoke(app, arguments(configuration(tmp_path, 4), tmp_path / "s", *more))
    assert ran.exit_code == status
    assert message in " ".join(ran.output.split())
    assert not (tmp_path / "s").exists()


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    config = configuration(tmp_path, 4)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").touch()
    ran = CliRunner().invoke(app, arguments(config, tmp_path / "other"))
    assert ran.exit_code == 1
    assert "exists and has no sweep.yaml; name another --out" in ran.stderr


def test_a_run_that_fails_is_named_and_the_others_are_in_the_table(tmp_path: Path) -> None:
    config, out = configuration(tmp_path, 4), tmp_path / "s"
    rates = ["--grid", "train.learning_rate=0.005,1e30", "--set", "train.clip=null", "--set", "train.max_steps=12"]
    ran = CliRunner().invoke(app, arguments(config, out, *rates, cells="gru", seeds=1))
    assert ran.exit_code == 1
    failed = out / "model.cell=gru,train.learning_rate=1e+30" / "seed-1.log"
    assert f"{failed}: " in ran.stderr
    assert "the loss is NaN or infinite" in ran.stderr or "nothing was learned" in ran.stderr
    assert "1 of the runs failed; the same command resumes them" in ran.stderr
    assert "| model.cell=gru,train.learning_rate=0.005 | 1 |" in ran.stdout
    assert "is not finished and left out" in ran.stdout
