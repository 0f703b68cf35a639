"""Many trainings: processes side by side, names, statistics, and the table's figures by hand."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tasks import tiny_config
from typer.testing import CliRunner

from antiphon.cli.main import app
from antiphon.errors import ConfigError, DataError, ModelFolderError
from antiphon.evaluation.influences import Sums
from antiphon.experiments import evaluations, runs
from antiphon.experiments.evaluations import Evaluation, digest_of, evaluation_of
from antiphon.experiments.runs import Command, Run, command, train_all
from antiphon.experiments.statistics import difference_p, half_interval, holm, student_p, student_quantile
from antiphon.experiments.sweep import name_of
from antiphon.experiments.table import Setting, find_settings, make_table, parameters_of, table_of
from antiphon.experiments.writing import FORMATS
from antiphon.files import locked
from antiphon.saved import folder as bundle
from antiphon.training.loop import train
from antiphon.use.loading import load

# --- statistics ---------------------------------------------------------------------------------------


@given(st.floats(0, 40), st.floats(1, 3000))
def test_p_of_students_t_is_that_of_scipy(t: float, freedom: float) -> None:
    scipy = pytest.importorskip("scipy.stats")
    assert student_p(t, freedom) == pytest.approx(2 * scipy.t.sf(t, freedom), rel=1e-3, abs=1e-9)
    assert student_p(-t, freedom) == student_p(t, freedom)


def test_quantiles_of_students_t_are_those_of_the_books() -> None:
    expected = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 30: 2.042}
    for freedom, quantile in expected.items():
        assert student_quantile(freedom) == pytest.approx(quantile, abs=6e-4)


def test_the_interval_of_three_seeds_by_hand() -> None:
    """s = 0.1, so half of the interval is 4.3027 * 0.1 / sqrt(3)."""
    assert half_interval([0.4, 0.5, 0.6]) == pytest.approx(4.30265 * 0.1 / math.sqrt(3), rel=1e-4)
    assert half_interval([0.4]) is None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_without_rows_the_test_is_welchs(first: list[float], other: list[float]) -> None:
    scipy = pytest.importorskip("scipy.stats")
    if statistics.stdev(first) + statistics.stdev(other) < 1e-6:
        return
    expected = scipy.ttest_ind(first, other, equal_var=False).pvalue
    assert difference_p(first, other) == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_with_one_seed_only_the_rows_count() -> None:
    influence = np.asarray([0.01, -0.01, 0.02, -0.02] * 50)
    error = math.sqrt((influence**2).sum())
    assert difference_p([0.5], [0.5 + 2 * error], influence) == pytest.approx(student_p(2, 199))
    assert difference_p([0.5], [0.4]) is None
    assert difference_p([0.5], [0.5], influence) == 1


def test_equal_settings_are_seldom_called_different() -> None:
    """Seeds and rows vary, and their interaction; 600 pairs of settings without a difference."""
    chance = np.random.default_rng(1)
    false = 0
    for _ in range(600):
        difficulty = chance.normal(0, 1, 60)
        scores = [
            difficulty + chance.normal(0, 0.15, (3, 1)) + chance.normal(0, 0.5, (3, 60)) for _ in ("first", "other")
        ]
        rows = [values.mean(0) for values in scores]
        influence = (rows[1] - rows[1].mean() - rows[0] + rows[0].mean()) / 60
        p = difference_p(scores[0].mean(1).tolist(), scores[1].mean(1).tolist(), influence)
        assert p is not None
        false += p < 0.05
    assert false < 0.065 * 600


def test_a_large_difference_is_significant() -> None:
    influence = np.random.default_rng(1).normal(0, 0.001, 100)
    p = difference_p([0.50, 0.51, 0.49], [0.60, 0.61, 0.59], influence)
    assert p is not None
    assert p < 0.01


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


# --- processes ----------------------------------------------------------------------------------------


class Script(Command):
    """Runs of a short program in place of a training: it makes the card after a while, or when it is stopped."""

    CODE = (
        "import signal, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "folder = pathlib.Path(sys.argv[1]); folder.mkdir(exist_ok=True)\n"
        "(folder / 'begun').open('a').write('x')\n"
        "time.sleep(float(sys.argv[2])); (folder / 'README.md').write_text('done')\n"
    )

    def arguments(self, run: Run) -> list[str]:
        return [sys.executable, "-c", runs.STOP_WITH_PARENT + self.CODE, str(run.folder), str(run.settings["seconds"])]


def some_runs(folder: Path, seconds: Sequence[float]) -> list[Run]:
    return [Run(f"run {n}", folder / f"seed-{n}", {"seconds": time}) for n, time in enumerate(seconds, 1)]


def test_runs_are_trained_side_by_side_and_never_twice(tmp_path: Path) -> None:
    made, most, statuses = some_runs(tmp_path, [0.2] * 5), 0, []

    def watch(run: Run) -> bool:
        nonlocal most
        begun = [run for run in made if (run.folder / "begun").exists() and not run.finished]
        most = max(most, len(begun))
        return False

    shared = Script(tmp_path, jobs=2)
    train_all(shared, iter(made), lambda run, status: statuses.append(status), print, watch)
    train_all(shared, iter(made), lambda run, status: statuses.append(status), print)
    assert statuses == [0] * 10
    assert most <= 2
    assert [(run.folder / "begun").read_text() for run in made] == ["x"] * 5


def test_runs_are_stopped_at_the_time_and_when_they_are_hopeless(tmp_path: Path) -> None:
    short, hopeless, long = some_runs(tmp_path, [0.1, 60, 60])
    statuses: dict[Run, int] = {}

    def stops(run: Run) -> bool:
        return run is hopeless and (run.folder / "begun").exists()

    began = time.monotonic()
    left = train_all(
        Script(tmp_path, jobs=3), iter([short, hopeless, long]), statuses.__setitem__, print, stops, began + 6
    )
    assert time.monotonic() - began < 20
    assert left == [long]
    assert statuses[short] == 0
    assert statuses[hopeless] != 0


def test_a_run_that_another_process_trains_is_waited_for(tmp_path: Path) -> None:
    (run,) = some_runs(tmp_path, [1.5])
    shared = Script(tmp_path, jobs=1)
    messages: list[str] = []
    other = runs._begin(shared, run)
    assert other is not None
    train_all(shared, iter([run]), lambda run, status: None, messages.append)
    other.wait()
    assert messages == ["run 1: another process still trains it; waiting for that"]
    assert (run.folder / "begun").read_text() == "x"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux tells processes that their parent ended")
def test_runs_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from test_experiments import Script, some_runs; from pathlib import Path\n"
        "from antiphon.experiments.runs import train_all\n"
        "folder = Path(sys.argv[1])\n"
        "train_all(Script(folder, jobs=1), iter(some_runs(folder, [600])), print, print)\n"
    )
    tests = Path(__file__).parents[1]
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(tests), str(tests / "unit")])
    (run,) = some_runs(tmp_path, [600])
    while not (run.folder / "begun").exists():
        time.sleep(0.05)
        assert parent.poll() is None
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + 20
    with open(run.log, "ab") as log:
        while not locked(log):
            time.sleep(0.05)
            assert time.monotonic() < until, "the process lives on"


def test_jobs_are_the_cores_divided_by_the_threads() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert command(Path("t"), device="cpu") == Command(Path("t"), cores or 1, 1, "cpu")
    assert command(Path("t"), threads=10_000, device="cpu").jobs == 1
    assert command(Path("t"), 1) == Command(Path("t"), 1, None)
    assert command(Path("t"), 3).threads == 1


def test_the_command_line_of_a_run(tmp_path: Path) -> None:
    shared = Command(Path("c.yaml"), 1, 2, "cpu", ("parts",))
    run = Run("a", tmp_path / "m", {"model.cell": {"kind": "gru"}, "train.seed": 2})
    words = shared.arguments(run)[3:]
    assert words == [
        "--import", "parts", "train", "c.yaml", "--out", str(tmp_path / "m"), "--set", 'model.cell={"kind": "gru"}',
        "--set", "train.seed=2", "--threads", "2", "--device", "cpu",
    ]  # fmt: skip
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / bundle.CONFIG).touch()
    assert shared.arguments(run)[3:] == [*words, "--resume"]


# --- names --------------------------------------------------------------------------------------------


def test_names_of_settings() -> None:
    assert name_of({"model.cell": "gru", "train.learning_rate": 0.001}) == "model.cell=gru,train.learning_rate=0.001"
    assert name_of({}) == "defaults"


@given(st.lists(st.text() | st.integers() | st.booleans(), min_size=2, max_size=6))
def test_names_of_different_settings_differ_and_are_safe(values: list[Any]) -> None:
    exact = {json.dumps(value) for value in values}
    names = {name_of({"key": value}) for value in values if json.dumps(value) != json.dumps(str(value))}
    texts = {name_of({"key": value}) for value in values if isinstance(value, str)}
    assert len(texts) == len({value for value in values if isinstance(value, str)})
    assert len(names | texts) <= len(exact)
    for name in names | texts:
        assert not set(name) & set('/\\:*?"<>| \n')
        assert len(name) < 140


# --- the table ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two settings with two seeds each, hardly trained."""
    folder = tmp_path_factory.mktemp("runs")
    for cell in ("gru", "lstm"):
        for seed in (1, 2):
            config = tiny_config(
                folder, model__cell=cell, train__seed=seed, train__max_steps=4, train__validate_every=2
            )
            train(config, folder / "runs" / f"cell={cell}" / f"seed-{seed}", threads=1)
    return folder / "runs"


def test_the_tables_figures_are_those_of_evaluate_by_hand(folders: Path) -> None:
    table = make_table([folders], metrics=["loss", "exact_match", "bleu"])
    assert [line.name for line in table.lines] == ["cell=gru", "cell=lstm"]
    assert table.baseline == "cell=gru"
    for line in table.lines:
        models = [load(folders / line.name / f"seed-{seed}", "cpu") for seed in (1, 2)]
        scores = [model.evaluate() for model in models]
        for metric, figure in line.figures.items():
            first, second = (score[metric] for score in scores)
            assert figure.mean == pytest.approx((first + second) / 2)
            assert figure.half == pytest.approx(12.7062 * abs(first - second) / 2, rel=1e-4, abs=1e-9)
        assert line.seeds == 2
        assert line.parameters == sum(p.numel() for p in models[0].model.parameters())
        assert line.minutes == pytest.approx(statistics.fmean(model.metrics["minutes"] for model in models))
    assert all(figure.p is None for figure in table.lines[0].figures.values())
    sums = {
        cell: [load(folders / f"cell={cell}" / f"seed-{n}", "cpu").row_sums()[1]["loss"] for n in (1, 2)]
        for cell in ("gru", "lstm")
    }
    influence = sum(item.influences for item in sums["gru"]) / 2 - sum(item.influences for item in sums["lstm"]) / 2
    values = {cell: [item.total for item in items] for cell, items in sums.items()}
    expected = difference_p(values["gru"], values["lstm"], np.asarray(influence))
    assert table.lines[1].figures["loss"].p == pytest.approx(expected)


def test_a_model_is_measured_once_and_again_when_it_or_the_data_changes(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, data = folders / "cell=gru" / "seed-1", folders.parent / "some.tsv"
    data.write_text((folders.parent / "valid.tsv").read_text(), encoding="utf-8")
    first = evaluation_of(folder, str(data))
    count = 0

    def counted(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        return load(*arguments)

    monkeypatch.setattr(evaluations, "load", counted)
    again = evaluation_of(folder, str(data))
    assert count == 0
    assert again.scores == first.scores
    assert again.rows == first.rows
    for metric, sums in first.sums.items():
        assert np.array_equal(sums.above, again.sums[metric].above)
        assert np.array_equal(sums.below, again.sums[metric].below)
    with data.open("a") as file:
        file.write("shoe\tSH UW\n")
    assert evaluation_of(folder, str(data)).scores["rows"] == first.scores["rows"] + 1
    assert count == 1
    for path in folder.glob("evaluation-*"):
        path.write_bytes(b"damaged")
    assert evaluation_of(folder, str(data)).scores["rows"] == first.scores["rows"] + 1
    assert count == 2


def test_kept_evaluations_do_not_hinder_a_new_training(folders: Path, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, train__max_steps=2, train__validate_every=2)
    out = train(config, tmp_path / "m", threads=1)
    evaluation_of(out)
    assert list(out.glob("evaluation-*"))
    train(config, out, overwrite=True, threads=1)
    assert not list(out.glob("evaluation-*"))


def test_the_table_in_three_formats(folders: Path) -> None:
    table = make_table([folders], "cell=lstm", ["exact_match"])
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](table))))
    assert [row["setting"] for row in rows] == ["cell=gru", "cell=lstm"]
    assert float(rows[0]["exact_match"]) == table.lines[0].figures["exact_match"].mean
    assert rows[1]["exact_match_p"] == ""
    head, rule, *lines = FORMATS["markdown"](table).splitlines()
    assert head == "| setting | seeds | exact_match | p | minutes | parameters |"
    assert rule.count("|") == head.count("|") == lines[0].count("|")
    assert "Measured on valid.tsv" in lines[3]
    latex = FORMATS["latex"](table)
    assert r"exact\_match" in latex
    assert latex.count(r"\\") == 3


def test_rows_without_a_test_set_are_the_validation_rows(tmp_path: Path) -> None:
    out = train(tiny_config(tmp_path, data__test=None, train__max_steps=2, train__validate_every=2), tmp_path / "m")
    table = make_table([out])
    assert table.data == "validation rows"
    assert table.lines[0].name == "m"
    assert table.lines[0].figures["loss"].mean == json.loads((out / bundle.METRICS).read_text())["valid"]["loss"]


def test_what_cannot_be_compared_is_refused(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^--baseline: unknown setting 'cell=gr'; did you mean 'cell=gru'"):
        make_table([folders], "cell=gr")
    with pytest.raises(ConfigError, match=r"^--metric: unknown metric 'exact' for cell=gru; did you mean"):
        make_table([folders], metrics=["exact"])
    with pytest.raises(ModelFolderError, match="has no model in it; give a folder that sweep"):
        make_table([tmp_path])
    with pytest.raises(DataError, match=r"none\.tsv: cannot be read"):
        make_table([folders], data=str(tmp_path / "none.tsv"))
    different = iter("abcd")
    monkeypatch.setattr(
        "antiphon.experiments.table.evaluation_of",
        lambda *arguments: Evaluation({"loss": 1.0, "token_error_rate": 1.0}, next(different), {}),
    )
    with pytest.raises(DataError, match="does not take the same rows"):
        make_table([folders])


def test_settings_are_found_and_unfinished_runs_named(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "x" / "seed-1").mkdir(parents=True)
    (tmp_path / "x" / "seed-1" / bundle.CONFIG).touch()
    settings, notes = find_settings([folders, folders / "cell=gru" / "seed-1", tmp_path])
    assert [(setting.name, len(setting.folders)) for setting in settings] == [("cell=gru", 2), ("cell=lstm", 2)]
    assert notes == [f"{tmp_path / 'x' / 'seed-1'}: is not finished and left out"]
    with pytest.raises(ModelFolderError, match="no run is finished"):
        find_settings([tmp_path])


def test_a_metric_that_is_no_sum_over_rows_is_tested_by_seeds_alone(folders: Path) -> None:
    table = make_table([folders], metrics=["perplexity"])
    first, other = (
        [evaluation_of(folders / name / f"seed-{seed}").scores["perplexity"] for seed in (1, 2)]
        for name in ("cell=gru", "cell=lstm")
    )
    assert table.lines[1].figures["perplexity"].p == pytest.approx(difference_p(first, other))


def test_parameters_are_counted_without_reading_them(folders: Path) -> None:
    folder = folders / "cell=gru" / "seed-1"
    assert parameters_of(folder) == sum(p.numel() for p in load(folder, "cpu").model.parameters())


def test_a_digest_is_of_the_content(tmp_path: Path) -> None:
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).write_text(text)
    (tmp_path / "d").mkdir()
    assert digest_of(str(tmp_path / "a")) != digest_of(str(tmp_path / "c"))
    assert digest_of([str(tmp_path / "a"), str(tmp_path / "c")]) != digest_of(
        [str(tmp_path / "c"), str(tmp_path / "a")]
    )
    with pytest.raises(DataError, match="cannot be read"):
        digest_of(str(tmp_path / "e"))


def test_the_table_command(folders: Path) -> None:
    ran = CliRunner().invoke(app, ["table", str(folders), "--metric", "loss", "--format", "csv"])
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.startswith("setting,seeds,loss,loss_half_interval,loss_p,minutes,parameters\n")
    assert CliRunner().invoke(app, ["table", str(folders), "--format", "html"]).exit_code == 2


def test_one_setting_needs_no_comparison(folders: Path) -> None:
    table = table_of([Setting("a", [folders / "cell=gru" / "seed-1"])])
    assert "p: difference" not in FORMATS["markdown"](table)
    assert "±" not in FORMATS["markdown"](table).splitlines()[2]


def test_sums_of_a_setting_are_the_mean_of_its_seeds() -> None:
    sums = Sums(np.asarray([1.0, 0.0]), np.asarray([1.0, 1.0]))
    assert sums.influences.tolist() == [0.25, -0.25]
