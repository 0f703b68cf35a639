"""From one long table to a forecast with intervals: every command on a small made table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import antiphon_runtime
import numpy as np
import pytest
from serving import asking, post, run

import antiphon
from antiphon.config.load import parse_config
from antiphon.errors import DataError
from antiphon.export.folder import export
from antiphon.server.models import Served
from antiphon.training.loop import train
from antiphon.use.serving import load

HOURS, PAST, HORIZON = 600, 24, 12
START = np.datetime64("2024-01-01", "s")


def rows_of(sensor: str, base: float, seed: int, hours: int = HOURS) -> list[list[Any]]:
    """A day's rhythm with noise, and a column that is known ahead and moves the level."""
    chance = np.random.default_rng(seed)
    open_ = (np.arange(hours) // 36) % 2
    values = base + 3 * np.sin(2 * np.pi * np.arange(hours) / 24) + 2 * open_ + chance.normal(0, 0.3, hours)
    times = [str(START + np.timedelta64(hour, "h")).replace("T", " ") for hour in range(hours)]
    return [[time, sensor, f"{value:.4f}", int(flag)] for time, value, flag in zip(times, values, open_, strict=True)]


def write(path: Path, rows: list[list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["date", "sensor", "y", "open"], *rows])
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> antiphon.Predictor:
    folder = tmp_path_factory.mktemp("forecast")
    table = write(folder / "long.csv", rows_of("a", 10, 1) + rows_of("b", 40, 2))
    tree = {
        "data": {
            "train": str(table), "time": "date", "group": "sensor",
            "window": {"past": PAST, "horizon": HORIZON, "stride": 3, "valid_from": 0.6, "test_from": 0.8},
        },
        "source": [
            {"kind": "frames", "columns": ["y", "open"]},
            {"kind": "calendar", "parts": ["hour"], "ahead": True},
            {"kind": "frames", "columns": ["open"], "ahead": True, "scale": "none"},
        ],
        "target": {"columns": ["y"], "window": "last", "read": "position"},
        "model": {
            "cell": "gru", "embedding": 16, "encoder": {"hidden": 16}, "decoder": {"hidden": 32}, "dropout": 0.0,
        },
        "train": {"max_steps": 250, "epochs": 1000, "batch_size": 32, "learning_rate": 0.01, "validate_every": 125},
    }  # fmt: skip
    made = antiphon.load(train(parse_config(tree, folder), folder / "model", quiet=True))
    made.calibrate_intervals()
    return made


def test_it_learns_and_its_intervals_hold(model: antiphon.Predictor) -> None:
    scores = model.evaluate()
    assert scores["mae"] < 0.7  # the noise alone is 0.24, the last value 3
    assert scores["mase"] < 1
    assert abs(scores["coverage_80"] - 0.8) < 0.12
    assert abs(scores["coverage_90"] - 0.9) < 0.1
    assert scores["crps"] < scores["mae"]
    assert scores["rmse"] ** 2 == pytest.approx(scores["mse"])


def test_measures_are_those_of_the_predictions(model: antiphon.Predictor) -> None:
    """`evaluate` against predictions of every test window, one by one."""
    rows = model.rows(None)
    made = model.predict([row.sources for row in rows])
    errors = np.stack([answer.values - row.target for answer, row in zip(made, rows, strict=True)])
    inside = [
        (answer.quantiles[0.1] <= row.target) & (row.target <= answer.quantiles[0.9])
        for answer, row in zip(made, rows, strict=True)
    ]
    scores = model.evaluate()
    assert scores["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-4)
    assert scores["coverage_80"] == pytest.approx(np.mean(inside), abs=1e-9)
    assert scores["rows"] == len(rows)


def test_a_table_is_continued_behind_its_last_rows(model: antiphon.Predictor, tmp_path: Path) -> None:
    """Behind the last known row stand rows with what is known ahead; nothing else of them is read."""
    known = rows_of("a", 10, 5, 100)
    rest = [[time, sensor, "", flag] for time, sensor, _, flag in rows_of("a", 10, 5, 100 + HORIZON)[100:]]
    [forecast] = model.forecast(write(tmp_path / "a.csv", known + rest))
    assert forecast.group == "a"
    assert forecast.line == 101
    assert forecast.times is not None
    assert forecast.times[0] == "2024-01-05 04:00"
    assert forecast.prediction.values.shape == (HORIZON, 1)
    truth = np.asarray([float(row[2]) for row in rows_of("a", 10, 5, 100 + HORIZON)[100:]])
    assert np.abs(forecast.prediction.values[:, 0] - truth).mean() < 1.5
    window = model.predict([(
        [[float(row[2]), row[3]] for row in known[-PAST:]],
        forecast.times,
        [[row[3]] for row in rest],
    )])[0]  # fmt: skip
    np.testing.assert_allclose(window.values, forecast.prediction.values, atol=1e-4)
    np.testing.assert_allclose(window.quantiles[0.05], forecast.prediction.quantiles[0.05], atol=1e-4)  # type: ignore[index]


def test_what_is_known_ahead_must_be_there(model: antiphon.Predictor, tmp_path: Path) -> None:
    known = rows_of("a", 10, 5, 100)
    with pytest.raises(DataError, match=r"a\.csv:101: group 'a' needs 12 further rows behind its last known row"):
        model.forecast(write(tmp_path / "a.csv", known))
    with pytest.raises(DataError, match=r"a\.csv:11: group 'a' ends here after 10 rows without a gap"):
        model.forecast(write(tmp_path / "a.csv", known[:10]))


def test_rolling_intervals_use_nothing_of_the_future(model: antiphon.Predictor, tmp_path: Path) -> None:
    """Quantiles before a row do not change when this row does."""
    from antiphon.evaluation.windows import rolling
    from antiphon.use.measuring import task_of

    folder = tmp_path / "copy"
    model.save(folder)
    copy = antiphon.load(folder)
    copy.calibrate_intervals(rolling=30)
    plain = rows_of("a", 10, 7, 300)
    changed = [[*row[:2], "99", row[3]] if number >= 250 else row for number, row in enumerate(plain)]

    def quantiles(rows: list[list[Any]]) -> tuple[np.ndarray, np.ndarray]:
        task = task_of(copy._loaded, str(write(tmp_path / "t.csv", rows)))
        made = np.concatenate([part for part, _ in rolling(task)])
        return made, task.rows.places[:, 1]  # type: ignore[attr-defined]

    before, origins = quantiles(plain)
    after, _ = quantiles(changed)
    kept = origins <= 250
    np.testing.assert_array_equal(before[kept], after[kept])
    assert np.abs(before[~kept] - after[~kept]).max() > 1


def test_commands_agree(model: antiphon.Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from antiphon.cli.main import app

    known = rows_of("a", 10, 5, 100)
    rest = [[time, sensor, "", flag] for time, sensor, _, flag in rows_of("a", 10, 5, 100 + HORIZON)[100:]]
    table = write(tmp_path / "a.csv", known + rest)
    [forecast] = model.forecast(table)
    app(["predict", str(model.folder), str(table), "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == forecast.to_json()
    out = tmp_path / "out.csv"
    app(["predict", str(model.folder), str(table), "--out", str(out)], standalone_mode=False)
    with out.open(newline="") as file:
        records = list(csv.DictReader(file))
    assert [record["date"] for record in records] == forecast.times
    assert list(records[0]) == ["date", "sensor", "y", "y_0.05", "y_0.1", "y_0.9", "y_0.95"]
    values = [float(record["y"]) for record in records]
    np.testing.assert_allclose(values, forecast.prediction.values[:, 0], rtol=1e-5)


def test_without_pytorch_a_window_has_the_same_forecast(model: antiphon.Predictor, tmp_path: Path) -> None:
    export(model.folder, tmp_path / "shipped")
    runtime = antiphon_runtime.load(tmp_path / "shipped")
    times = [f"2024-03-01 {hour:02}:00" for hour in range(HORIZON)]
    window = ([[10.0 + hour % 5, 1] for hour in range(PAST)], times, [[1]] * HORIZON)
    [expected], [actual] = model.predict([window]), runtime.predict([window])
    np.testing.assert_allclose(actual.values, expected.values, atol=1e-4)
    assert actual.quantiles.keys() == expected.quantiles.keys()
    for level, numbers in expected.quantiles.items():
        np.testing.assert_allclose(actual.quantiles[level], numbers, atol=1e-4)
    past, _, ahead = window
    for wrong, message in (
        ((past[1:], times, ahead), f"has {PAST - 1} steps, but the model reads {PAST}"),
        ((past, times[1:], ahead), f"has {HORIZON - 1} steps, but the model reads {HORIZON}"),
    ):
        with pytest.raises(DataError, match=message):
            model.predict([wrong])
        with pytest.raises(antiphon_runtime.InputError, match=message):
            runtime.predict([wrong])


def test_what_int8_changes_is_measured_on_the_windows_behind_test_from(
    model: antiphon.Predictor, tmp_path: Path
) -> None:
    exported = export(model.folder, tmp_path / "small", int8=True)
    assert exported.changes is not None
    before, after = exported.changes["mse"]
    assert before == pytest.approx(model.evaluate()["mse"], rel=1e-3)
    assert after == pytest.approx(before, rel=0.5)


def test_a_server_is_sent_the_times_of_a_calendar_as_texts(model: antiphon.Predictor, tmp_path: Path) -> None:
    export(model.folder, tmp_path / "shipped")
    models = [load(folder) for folder in (model.folder, tmp_path / "shipped")]
    assert models[0].examples == models[1].examples != []
    sent = [*models[0].examples, [models[0].examples[0][0], ["March"], [[1]] * HORIZON]]
    expected = model.predict([tuple(example) for example in sent[:-1]])
    for served in models:

        async def ask(served: Served = served) -> Any:
            async with asking([served]) as client:
                return await post(client, "/v1/predict", {"inputs": sent})

        *results, refused = run(ask)["results"]
        for result, prediction in zip(results, expected, strict=True):
            np.testing.assert_allclose(result["values"], prediction.values[:, 0], atol=1e-4)
        assert "'March' is not a time such as" in refused["error"]["detail"]
