"""One long table as windows: what they read, their parts in time, and the faults of tables."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import antiphon_runtime
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from untrained import forecaster

from antiphon.api import read_config
from antiphon.common.calendar import read_time, written_alike
from antiphon.common.intervals import fitted
from antiphon.config.load import parse_config
from antiphon.config.schema import Config
from antiphon.data.encode import encode_rows
from antiphon.data.load import Codecs, load_parts, load_rows, load_test, train_codecs, untrained
from antiphon.data.memory import in_memory
from antiphon.data.problems import Problems
from antiphon.data.times import Step, step_of
from antiphon.data.windows import Windows
from antiphon.errors import ConfigError, DataError
from antiphon.evaluation.forecasts import LEVELS
from antiphon.evaluation.task import Task
from antiphon.evaluation.windows import Forecasts, forecast
from antiphon.evaluation.windows import rolling as rolled
from antiphon.export.folder import export
from antiphon.tools.preparing import prepare_table
from antiphon.training.prepare import prepare
from antiphon.use.forecasting import continued_inputs
from antiphon.use.loading import load
from antiphon.use.measuring import calibrate_intervals, task_of
from antiphon.use.predictor import Predictor

START = np.datetime64("2024-02-27 00:00:00", "s")


def table(path: Path, columns: dict[str, Sequence[Any]], hours: Sequence[int] | None = None) -> str:
    """A table with a row for each hour."""
    count = len(next(iter(columns.values())))
    times = [str(START + np.timedelta64(hour, "h")).replace("T", " ") for hour in hours or range(count)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["date", *columns])
        writer.writerows(zip(times, *columns.values(), strict=True))
    return str(path)


def config_of(file: str, past: int = 4, horizon: int = 4, target: Any = None, **data: Any) -> Config:
    """A configuration of windows over the column `y`."""
    window = {"past": past, "horizon": horizon} | data.pop("window", {})
    source = data.pop("source", None)
    tree = {
        "data": {"train": file, "time": "date", "window": window, **data},
        "target": {"kind": "series", "columns": ["y"], "horizon": horizon, **(target or {})},
    }
    return parse_config(tree | ({} if source is None else {"source": source}), Path())


def windows_of(config: Config) -> Windows:
    windows = load_rows(config, config.data.train)
    assert isinstance(windows, Windows)
    return windows


@given(rows=st.integers(8, 40), past=st.integers(1, 5), horizon=st.integers(1, 3), stride=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_windows_are_neighbouring_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: int, past: int, horizon: int, stride: int
) -> None:
    file = table(tmp_path_factory.mktemp("windows") / "long.csv", {"y": range(rows)})
    windows = windows_of(config_of(file, past, horizon, window={"stride": stride}))
    assert len(windows) == len(range(past, rows - horizon + 1, stride))
    for number, row in enumerate(windows):
        origin = past + number * stride
        assert row.sources[0][:, 0].tolist() == list(range(origin - past, origin))
        assert row.target[:, 0].tolist() == list(range(origin, origin + horizon))
        assert row.line == origin + 2  # the header is line 1


@given(place=st.integers(0, 39), value=st.floats(-1e6, 1e6, width=32))
@settings(max_examples=40, deadline=None)
def test_nothing_behind_the_origin_changes_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: float
) -> None:
    folder = tmp_path_factory.mktemp("future")
    numbers = [float(number) for number in range(40)]
    before = windows_of(config_of(table(folder / "a.csv", {"y": numbers})))
    numbers[place] = value
    after = windows_of(config_of(table(folder / "b.csv", {"y": numbers})))
    for old, new, (_, origin) in zip(before, after, before.places, strict=True):
        if place >= origin:
            assert np.array_equal(old.sources[0], new.sources[0])
        if not origin <= place < origin + 4:
            assert np.array_equal(old.target, new.target)


def test_parts_are_spans_of_time_and_only_the_past_reaches_back(tmp_path: Path) -> None:
    file = table(tmp_path / "long.csv", {"y": range(100)})
    config = config_of(file, 6, 3, window={"valid_from": 60, "test_from": 80, "end": 95})
    codecs = untrained(config)
    train, valid = load_parts(config, codecs)
    test = load_test(config, codecs)
    assert test is not None
    assert [row.target[0, 0] for row in train] == list(range(6, 58))
    assert [row.target[0, 0] for row in valid] == list(range(60, 78))
    assert [row.target[0, 0] for row in test] == list(range(80, 93))
    assert valid[0].sources[0][:, 0].tolist() == list(range(54, 60))  # the past lies before the border


@pytest.mark.parametrize("border", [0.6, 60, "2024-02-29 12:00"])
def test_a_border_is_a_share_a_row_or_a_time(tmp_path: Path, border: Any) -> None:
    file = table(tmp_path / "long.csv", {"y": range(100)})
    config = config_of(file, window={"valid_from": border})
    train, valid = load_parts(config, untrained(config))
    assert train[len(train) - 1].target[-1, 0] == 59
    assert valid[0].target[0, 0] == 60


def test_a_fraction_takes_the_last_rows_at_one_time_for_all_groups(tmp_path: Path) -> None:
    """Groups of different lengths: no group may be learned from behind the border of another."""
    hours = [*range(100), *range(50, 100)]
    file = table(tmp_path / "long.csv", {"y": range(150), "sensor": ["a"] * 100 + ["b"] * 50}, hours)
    config = config_of(file, group="sensor", valid=0.1)
    train, valid = load_parts(config, untrained(config))
    assert isinstance(train, Windows)
    assert isinstance(valid, Windows)
    last = max(train.times(number)[-1] for number in range(len(train)))  # type: ignore[index]
    first = min(valid.times(number)[0] for number in range(len(valid)))  # type: ignore[index]
    assert last < first
    assert {train.group(number) for number in range(len(train))} == {"a", "b"}


def test_without_times_each_group_is_divided_by_its_rows(tmp_path: Path) -> None:
    file = table(tmp_path / "long.csv", {"y": range(60), "sensor": ["a"] * 40 + ["b"] * 20})
    config = config_of(file, 2, 2, group="sensor", time=None, valid=0.25)
    train, valid = load_parts(config, untrained(config))
    assert valid[0].target[0, 0] == 30
    assert max(row.target[-1, 0] for row in train if row.target[0, 0] >= 40) == 54


def test_groups_may_be_mixed_and_no_window_crosses_them(tmp_path: Path) -> None:
    names = ["a", "b"] * 20
    hours = [number // 2 for number in range(40)]
    file = table(tmp_path / "long.csv", {"y": range(40), "sensor": names}, hours)
    windows = windows_of(config_of(file, group="sensor"))
    for number, row in enumerate(windows):
        both = np.concatenate([row.sources[0], row.target])[:, 0]
        assert set(np.diff(both)) == {2.0}
        assert windows.group(number) == "ab"[int(both[0]) % 2]


FAULTS = {
    "gap": ([0, 1, 2, 5, 6, 7, 8, 9, 10, 11], "5: the time 2024-02-27 05:00 comes 3 hours after", "2 rows missing"),
    "same": ([0, 1, 2, 2, 3, 4, 5, 6, 7, 8], "5: the time 2024-02-27 02:00 is also that of an earlier row", "keep one"),
    "disorder": ([0, 1, 2, 1, 3, 4, 5, 6, 7, 8], "5: the time goes back from 2024-02-27 02:00 to", "sort the table"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_times_have_their_line(tmp_path: Path, name: str) -> None:
    hours, first, second = FAULTS[name]
    file = table(tmp_path / "long.csv", {"y": range(10)}, hours)
    with pytest.raises(DataError) as raised:
        windows_of(config_of(file, 2, 2))
    assert f"{file}:{first}" in str(raised.value)
    assert second in str(raised.value)


@pytest.mark.parametrize("name", FAULTS)
def test_with_skip_no_window_crosses_a_fault(tmp_path: Path, name: str) -> None:
    hours, _, _ = FAULTS[name]
    file = table(tmp_path / "long.csv", {"y": hours}, hours)
    config = config_of(file, 2, 2, on_error="skip")
    windows = load_rows(config, file, warn=False)
    assert len(windows)
    for row in windows:
        assert set(np.diff(np.concatenate([row.sources[0], row.target])[:, 0])) == {1.0}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1", "2", "x", *"456789"], "4: column 'y': must be a number, but is 'x'"),
        (["1", "2", "", *"456789"], "4: has no number in the column 'y'"),
        (["1", "2", "1,5", *"456789"], "4: column 'y': '1,5' has a decimal comma; set data.decimal to ','"),
        (["1", "2", "inf", *"456789"], "4: column 'y': is infinite"),
    ],
)
def test_faults_of_numbers_have_their_line(tmp_path: Path, cells: list[str], message: str) -> None:
    file = table(tmp_path / "long.csv", {"y": cells})
    with pytest.raises(DataError, match=r"long\.csv") as raised:
        windows_of(config_of(file, 2, 2))
    assert f"{file}:{message}" in str(raised.value)


def test_a_wrong_time_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text("date,y\n2024-01-01,1\n01.02.2024,2\n2024-01-03,3\n2024-01-04,4\n")
    message = r"long.csv:3: column 'date': '01.02.2024' is not a time such as 2016-07-01 13:00; write the year first"
    with pytest.raises(DataError, match=message):
        windows_of(config_of(str(file), 1, 1))


def test_too_few_rows_are_an_error(tmp_path: Path) -> None:
    file = table(tmp_path / "long.csv", {"y": range(7)})
    with pytest.raises(DataError, match="need 8 rows without a gap, and the longest group has 7"):
        windows_of(config_of(file))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"window": {"valid_from": 0.9, "test_from": 0.8}}, "must follow each other"),
        ({"window": {"valid_from": "tomorrow"}}, "is not a time"),
        ({"window": {"valid_from": 1.5}}, "a share must be greater than 0"),
        ({"source": {"kind": "text", "column": "y", "ahead": 3}}, "source.ahead"),
        *(
            (
                {"time": None, "window": {name: "2024-02-28"}},
                rf"data\.window\.{name}: is a time, '2024-02-28'; name the",
            )
            for name in ("valid_from", "test_from", "end")
        ),
        *(({name: 5}, rf"data\.{name}: is for streamed rows") for name in ("shuffle", "sample", "workers")),
    ],
)
def test_wrong_keys_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of("long.csv", **data)


def test_a_folder_of_long_tables_is_windows_in_memory(tmp_path: Path) -> None:
    """It is read whole, as a list of its files is, and not streamed row by row."""
    (tmp_path / "many").mkdir()
    starts = {"a": 0, "b": 90}
    files = [table(tmp_path / f"many/{name}.csv", {"y": range(at, at + 30)}) for name, at in starts.items()]
    settings = {"train.max_steps": 1, "train.epochs": 1, "model.encoder.hidden": 4}
    for train in (str(tmp_path / "many"), str(tmp_path / "many/*.csv")):
        config = config_of(train, horizon=1)
        prepared = prepare(read_config(config, settings).config)
        listed = prepare(read_config(config_of(files, horizon=1), settings).config)  # type: ignore[arg-type]
        assert prepared.stream is None
        for part, other in ((prepared.train, listed.train), (prepared.valid, listed.valid)):
            assert np.array_equal(part.sources[0].values, other.sources[0].values)
            assert len(part.target) == len(other.target)
    with pytest.raises(ConfigError, match=r"data\.window: the windows of a long table are cut while it trains"):
        prepare_table(prepared.config, tmp_path / "encoded", overwrite=True)
    assert not (tmp_path / "encoded").exists()


def test_a_time_without_windows_is_refused() -> None:
    tree = {"data": {"train": "x.csv", "time": "date"}, "target": {"kind": "series"}}
    with pytest.raises(ConfigError, match=r"data\.time: is for one long table"):
        parse_config(tree, Path())


def codecs_of(config: Config) -> tuple[Codecs, Windows]:
    rows, _ = load_parts(config, untrained(config))
    assert isinstance(rows, Windows)
    return train_codecs(config, rows), rows


def test_scales_are_learned_from_the_rows_that_training_reads(tmp_path: Path) -> None:
    numbers = [*map(float, range(80)), *[1e6] * 20]
    file = table(tmp_path / "long.csv", {"y": numbers})
    codecs, _ = codecs_of(config_of(file, window={"valid_from": 80}))
    for codec in codecs.all:
        assert np.allclose(codec.mean, np.mean(range(80)))  # type: ignore[attr-defined]


@given(rows=st.lists(st.integers(0, 30), min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_arrays_made_on_demand_are_those_of_single_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int]
) -> None:
    file = table(tmp_path_factory.mktemp("lazy") / "long.csv", {"y": np.sin(np.arange(60.0)), "x": range(60)})
    source = [
        {"kind": "frames", "columns": ["y", "x"]},
        {"kind": "calendar", "parts": ["hour", "weekday"], "ahead": True},
        {"kind": "frames", "columns": ["x"], "ahead": True},
    ]
    config = config_of(file, source=source)
    codecs, windows = codecs_of(config)
    kept, examples = encode_rows(config, codecs, windows)
    assert len(kept) == len(examples) == len(windows)
    for side, sequences in enumerate((*examples.sources, examples.target)):
        padded = sequences.padded(rows)
        taken = sequences.take(rows)
        for place, row in enumerate(rows):
            whole = windows[row]
            alone = codecs.all[side].encode((*whole.sources, whole.target)[side])
            assert np.array_equal(padded[place], alone)
            assert np.array_equal(taken[place], alone)
    first = windows[rows[0]]
    assert first.sources[2][:, 0].tolist() == [value + 4 for value in first.sources[0][:, 1].tolist()]


def test_missing_numbers_are_filled_within_a_window(tmp_path: Path) -> None:
    cells: list[Any] = list(range(30))
    cells[10] = ""
    file = table(tmp_path / "long.csv", {"y": range(30), "x": cells})
    config = config_of(file, source={"kind": "frames", "columns": ["x"], "missing": "previous"}, valid=0.2)
    codecs, windows = codecs_of(config)
    _, examples = encode_rows(config, codecs, windows)
    array = examples.sources[0][windows.places[:, 1].tolist().index(12)]  # reads rows 8 to 11
    codec: Any = codecs.sources[0]
    assert np.allclose(codec.restored(array)[:, 0], [8, 9, 9, 11], atol=1e-4)


@pytest.mark.parametrize("bad", [b"a\n", b"a,\xff\n", b'a,"5"x\n', b"a,x\n"])
def test_without_times_no_window_crosses_a_line_that_is_left_out(tmp_path: Path, bad: bytes) -> None:
    """Whether a cell cannot be read, or the whole line, of which the group is not known."""
    lines = [f"{'ab'[place // 20]},{place}\n".encode() for place in range(40)]
    lines[10] = bad
    file = tmp_path / "long.csv"
    file.write_bytes(b"g,y\n" + b"".join(lines))
    windows = load_rows(config_of(str(file), 3, 2, time=None, group="g", on_error="skip"), str(file), warn=False)
    first = [int(row.sources[0][0, 0]) for row in windows]
    assert first == [*range(6), *range(11, 16), *range(20, 36)]


@pytest.mark.parametrize("with_commas", [True, False])
def test_points_between_thousands_are_read_where_commas_are_decimal_marks(tmp_path: Path, with_commas: bool) -> None:
    cells = ["1.234", "0.125", "12", "-1.234.567", *["5"] * 8]
    numbers = [1234.0, 0.125, 12.0, -1234567.0]
    if with_commas:
        cells[2], numbers[2] = "1.234,5", 1234.5
    file = table(tmp_path / "long.csv", {"y": cells})
    windows = windows_of(config_of(file, decimal=","))
    assert windows[0].sources[0][:, 0].tolist() == numbers
    pyarrow = pytest.importorskip("pyarrow")
    columns = {"date": [str(START + np.timedelta64(hour, "h")) for hour in range(8)], "y": [1.234] * 8}
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), tmp_path / "long.parquet")
    numbers_of_file = windows_of(config_of(str(tmp_path / "long.parquet"), decimal=","))[0].target
    np.testing.assert_array_equal(numbers_of_file, np.full((4, 1), 1.234, np.float32))


@pytest.mark.parametrize("header", [True, False])
def test_columns_may_be_positions_with_a_header_above(tmp_path: Path, header: bool) -> None:
    file = tmp_path / "long.csv"
    names = "when,what\n" if header else ""
    file.write_text(names + "".join(f"{START + np.timedelta64(hour, 'h')},{hour}\n" for hour in range(20)))
    config = config_of(str(file), time=0, target={"columns": [1]}, header=header)
    assert windows_of(config)[0].sources[0][:, 0].tolist() == [0, 1, 2, 3]


def in_format(form: str, path: Path, columns: dict[str, list[Any]]) -> Any:
    """Columns, in which None is an empty cell, as a file or as rows in memory."""
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    file = path.with_suffix(f".{form}")
    if form == "memory":
        return in_memory(columns)
    if form == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), file)
    elif form == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with file.open("w", newline="") as out:
            csv.writer(out).writerows([list(columns), *([*row.values()] for row in rows)])  # None becomes ""
    return str(file)


def test_empty_cells_are_alike_in_every_format(tmp_path: Path) -> None:
    """They are filled, or stand in the target's column behind the last known row; a time and a group must be there."""
    hours = [str(START + np.timedelta64(hour, "h")) for hour in range(24)]
    numbers = [None if place == 7 else float(place) for place in range(24)]
    columns: dict[str, list[Any]] = {
        "date": hours,
        "g": ["a"] * 24,
        "x": numbers,
        "y": [*map(float, range(20)), *[None] * 4],
    }
    sides = [
        {"kind": "frames", "columns": ["x"], "missing": "previous", "ahead": True},
        {"kind": "frames", "columns": ["y"]},
    ]
    read = []
    for form in ("csv", "jsonl", "parquet", "memory"):
        data = in_format(form, tmp_path / "long", columns)
        config = config_of(data, source=sides, group="g", valid=0.4)
        codecs, windows = codecs_of(config)
        ahead = list(continued_inputs(data, config, codecs))
        read.append(([*windows.covered(0), *windows.covered(1)], [values for values, _, _ in ahead]))
        for name in ("date", "g"):
            cells = [*columns[name][:4], None, *columns[name][5:]]
            problems = Problems(skip=True)
            load_rows(config, in_format(form, tmp_path / name, {**columns, name: cells}), problems)
            line = {"csv": "csv:6", "jsonl": "jsonl:5", "parquet": "parquet:5", "memory": "row 5"}[form]
            if (form, name) != ("csv", "g"):  # there the empty text is a name
                assert line in problems.first[0]
    for other in read[1:]:
        for values, expected in zip(other, read[0], strict=True):
            for value, wanted in zip(values, expected, strict=True):
                np.testing.assert_array_equal(value, wanted)


@pytest.mark.parametrize(
    ("times", "step", "following"),
    [
        (["2024-01-31", "2024-02-29", "2024-03-31"], Step(months=1, from_end=True), "2024-04-30"),
        (["2024-01-01", "2024-02-01", "2024-03-01"], Step(months=1), "2024-04-01"),
        (["2023-01-01", "2024-01-01", "2025-01-01"], Step(months=12), "2026-01-01"),
        (["2024-01-01", "2024-01-08", "2024-01-15"], Step(7 * 86_400), "2024-01-22"),
        (["2024-01-01 00:00", "2024-01-01 00:15"], Step(900), "2024-01-01 00:30"),
    ],
)
def test_steps_of_times(times: list[str], step: Step, following: str) -> None:
    values = np.asarray(times, "datetime64[s]")
    assert step_of([values]) == step
    assert step.after(values[-1], 2)[0] == np.datetime64(following, "s")


def test_problems_are_told_together(tmp_path: Path) -> None:
    file = table(tmp_path / "long.csv", {"y": ["a", "b", *range(20)]})
    problems = Problems()
    config = config_of(file)
    load_rows(config, file, problems)
    assert problems.reasons.total() == 2  # and not again as missing numbers


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return forecaster(tmp_path_factory.mktemp("forecaster"))


def test_what_a_window_takes_from_its_last_row_has_no_number_of_steps(model: Predictor, tmp_path: Path) -> None:
    rows = model.rows(model.config.data.train)
    read = [codec.reads for codec in model.codecs.sources]
    inputs = [tuple(value for value, there in zip(row.sources, read, strict=True) if there) for row in rows[:3]]
    expected = model.predict(inputs)
    forecasts = model.forecast(model.config.data.train)
    assert [forecast.group for forecast in forecasts] == ["a", "b"]
    export(model.folder, tmp_path / "shipped")
    manifest = tmp_path / "shipped" / "antiphon.json"
    described = json.loads(manifest.read_text())
    assert [source.get("steps") for source in described["sources"]] == [6, 4, None, None, None, None]
    for source in described["sources"]:  # as earlier releases wrote it
        source.setdefault("steps", 6)
    for _ in range(2):
        made = antiphon_runtime.load(tmp_path / "shipped").predict(inputs)
        for prediction, same in zip(made, expected, strict=True):
            np.testing.assert_allclose(prediction.values, same.values, atol=1e-4)
        manifest.write_text(json.dumps(described))
    wrong = (inputs[0][0][1:], *inputs[0][1:])
    with pytest.raises(DataError, match="has 5 steps, but the model reads 6"):
        model.predict([wrong])


def windows_of_inputs(model: Predictor) -> list[tuple[Any, ...]]:
    """What continues the groups of the training table, as inputs of `predict`."""
    table = model.config.data.train
    assert isinstance(table, str)
    return [value for value, _, _ in continued_inputs(table, model.config, model.codecs)]


@pytest.mark.parametrize("rolling", [0, 25])
def test_groups_draw_numbers_of_their_own_as_predict_does(model: Predictor, tmp_path: Path, rolling: int) -> None:
    model.save(tmp_path / "copy")
    copy = load(tmp_path / "copy", "cpu")
    copy.calibrate_intervals(rolling=rolling)
    drawn = {"seed": 3}
    expected = copy.predict(windows_of_inputs(copy), sample=drawn, n_best=2)
    made = [item.prediction for item in copy.forecast(copy.config.data.train, sample=drawn, n_best=2)]
    for prediction, same in zip(made, expected, strict=True):
        np.testing.assert_allclose(prediction.samples or [], same.samples, atol=1e-4)


def test_rolling_intervals_are_those_of_the_last_windows_that_are_known(tmp_path: Path) -> None:
    """Against the definition: for every chunk the residuals of the last 22 windows that end before it."""
    model = forecaster(tmp_path, {"read": "position"}, source={"kind": "frames", "columns": ["y"]})
    loaded = replace(model._loaded, intervals=None)
    windows = model.rows(model.config.data.train)
    assert isinstance(windows, Windows)
    whole = task_of(loaded, windows)
    first = fitted(np.asarray(LEVELS), *forecast(whole, range(4)), recent=22)  # any
    task = replace(whole, intervals=first)
    made = list(rolled(task))
    places = np.split(np.arange(len(windows)), np.cumsum([len(part) for part, _ in made])[:-1])
    refitted = 0
    for (quantiles, _), numbers in zip(made, places, strict=True):
        track, origin = windows.places[numbers[0]]
        known = np.flatnonzero((windows.places[:, 0] == track) & (windows.places[:, 1] + 4 <= origin))[-22:]
        some, intervals = forecast(whole, numbers.tolist()), first
        if len(known) >= 20:
            refitted += 1
            past = forecast(whole, known.tolist())
            intervals = fitted(np.asarray(LEVELS), *past, recent=22)
        np.testing.assert_allclose(quantiles, intervals.quantiles(some.points, some.quantiles), atol=1e-4)
    assert refitted == 4


def test_a_line_is_no_row_of_a_long_table(model: Predictor) -> None:
    for line in ("2024-02-27 00:00,a,1.5", "2024-02-27\ta\t1\t2\t3\t4"):
        with pytest.raises(DataError, match=r"input 1: .*a long table is given as FILE: antiphon predict MODEL TABLE"):
            model.predict([line])


@pytest.mark.parametrize("recent", [0, 20])
def test_the_later_half_of_several_groups_is_later_in_time(
    model: Predictor, monkeypatch: pytest.MonkeyPatch, recent: int
) -> None:
    asked: list[int] = []
    asked_again: list[str] = []

    def spy(task: Task, numbers: Sequence[int], with_quantiles: bool = True) -> Forecasts:
        asked.extend(numbers)
        return forecast(task, numbers, with_quantiles)

    def roll(task: Task) -> Iterator[tuple[Any, Any]]:
        assert isinstance(task.rows, Windows)
        asked_again.extend(map(task.rows.group, range(len(task.rows))))
        return rolled(task)

    monkeypatch.setattr("antiphon.evaluation.conformal.forecast", spy)
    monkeypatch.setattr("antiphon.evaluation.conformal.rolling", roll)
    windows = model.rows(model.config.data.train)
    assert isinstance(windows, Windows)
    calibrate_intervals(model._loaded, windows, recent)
    times = [windows.times(number)[0] for number in asked[1:]]  # type: ignore[index]
    assert len(times) == len(windows)
    assert times == sorted(times)
    if recent:
        assert len(asked_again) == len(windows) - len(windows) // 2
        assert abs(asked_again.count("a") - asked_again.count("b")) <= 1


@pytest.mark.parametrize(("likelihood", "read"), [("gaussian", "output"), ("mae", "output"), ("mae", "position")])
def test_quantiles_of_a_shipped_forecast_are_those_of_predict(tmp_path: Path, likelihood: str, read: str) -> None:
    model = forecaster(tmp_path, {"likelihood": likelihood, "read": read}, source={"kind": "frames", "columns": ["y"]})
    asked = {"decode.quantiles": [0.1, 0.9]}
    if likelihood == "mae":
        with pytest.raises(ConfigError, match=r"decode\.quantiles: this model has no distribution of its numbers"):
            export(model.folder, tmp_path / "refused", settings=asked)
    model.calibrate_intervals()
    export(model.folder, tmp_path / "shipped", settings=asked)
    runtime = antiphon_runtime.load(tmp_path / "shipped")
    window = [[float(hour)] for hour in range(6)]
    [expected], [made] = model.predict([window], settings=asked), runtime.predict([window])
    assert made.quantiles.keys() == expected.quantiles.keys() == {0.1, 0.9}
    for level, numbers in expected.quantiles.items():
        np.testing.assert_allclose(made.quantiles[level], numbers, atol=1e-4)
    other = {"decode.quantiles": [0.025, 0.975]}
    for refused in (
        lambda: model.predict([window], settings=other),
        lambda: export(model.folder, tmp_path / "refused", settings=other),
    ):
        with pytest.raises(ConfigError, match=r"decode\.quantiles: the calibrated probabilities are 0\.05, .*0\.025"):
            refused()
    manifest = tmp_path / "shipped" / "antiphon.json"
    manifest.write_text(manifest.read_text().replace("0.9\n", "0.975\n"))  # as earlier releases exported it
    if read == "output":
        with pytest.raises(antiphon_runtime.OptionError, match=r"the calibrated probabilities are .*export the model"):
            antiphon_runtime.load(tmp_path / "shipped").predict([window])


def test_predicted_times_have_one_form() -> None:
    hours = np.arange("2024-01-17T22", "2024-01-18T02", dtype="datetime64[h]").astype("datetime64[s]")
    assert written_alike(hours) == ["2024-01-17 22:00", "2024-01-17 23:00", "2024-01-18 00:00", "2024-01-18 01:00"]
    assert written_alike(hours.astype("datetime64[D]").astype("datetime64[s]")[:1]) == ["2024-01-17"]
    ends = np.asarray(["2024-01-01T23:59:00", "2024-01-01T23:59:30", "2024-01-02T00:00:00"], "datetime64[s]")
    assert written_alike(ends) == ["2024-01-01 23:59:00", "2024-01-01 23:59:30", "2024-01-02 00:00:00"]
    assert written_alike(ends[::2]) == ["2024-01-01 23:59", "2024-01-02 00:00"]


TIMES = {
    "2016-07-01 13": "2016-07-01T13:00:00",
    "2016-07-01T13": "2016-07-01T13:00:00",
    "2016-07-01 13:00": "2016-07-01T13:00:00",
    "2016-07": "2016-07-01T00:00:00",
    "2016-07-01 13:00:05.5": "2016-07-01T13:00:05",
    "2016-07-01 13Z": "2016-07-01T13:00:00",
    "2016-07-01T13:00:00z": "2016-07-01T13:00:00",
    "2016-07-01 13:00+02:00": "2016-07-01T11:00:00",
    "2016-07-01 13:00:00+0200": "2016-07-01T11:00:00",
    "2016-07-01 13:00+02": "2016-07-01T11:00:00",
    "2016-07-01 13-03:30": "2016-07-01T16:30:00",
    "2016-07-01 13:00:00 +0200": "2016-07-01T11:00:00",
}


@pytest.mark.filterwarnings("error")
def test_times_do_not_depend_on_the_time_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for zone in ("UTC", "Europe/Berlin", "Asia/Shanghai"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert {text: str(read_time(text)) for text in TIMES} == TIMES
    monkeypatch.undo()
    time.tzset()
    for text in ("2016-07-01 13:00+25:00", "2016-07-01 13:00+02:75", "2016-07-01-05", "2016-07-01 25", "2016-13-01"):
        with pytest.raises(ValueError, match="is not a time such as 2016-07-01 13:00"):
            read_time(text)
