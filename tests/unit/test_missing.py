"""Missing numbers: named by line and column, or filled, alike in training, use and the runtime."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import antiphon_runtime
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import antiphon
from antiphon.common.numbers import filled, read_numbers
from antiphon.config.load import parse_config
from antiphon.data.codecs.numbers import FramesCodec, VectorCodec
from antiphon.data.load import load_rows
from antiphon.errors import ConfigError, DataError
from antiphon.export.folder import export

steps = st.lists(st.lists(st.sampled_from([1.0, -2.5, math.nan]), min_size=2, max_size=2), min_size=1, max_size=8)


@given(steps, st.sampled_from(["mean", "previous"]))
def test_a_gap_is_the_step_before_or_the_mean(values: list[list[float]], missing: str) -> None:
    means = [10.0, 20.0]
    expected, before = [], list(means)
    for step in values:
        full = [before[n] if math.isnan(number) else number for n, number in enumerate(step)]
        before = full if missing == "previous" else before
        expected.append(full)
    result = filled(np.asarray(values, np.float32), missing, np.asarray(means, np.float32))
    np.testing.assert_array_equal(result, np.asarray(expected, np.float32))


@pytest.mark.parametrize("value", ["[1, null]", "[1, NaN]", ["1", ""], ["1", "NA"], [1, None], np.asarray([1, np.nan])])
def test_every_way_to_write_a_gap_is_read(value: object) -> None:
    numbers = read_numbers(value, lambda name: np.zeros(1), gaps=True)
    assert numbers[0] == 1
    assert np.isnan(numbers[1])
    with pytest.raises(ValueError, match=r"contains|empty cell|must be numbers"):
        read_numbers(value, lambda name: np.zeros(1))


def test_the_scale_is_that_of_the_numbers_that_are_there() -> None:
    codec, complete = FramesCodec("source", missing="mean"), FramesCodec("source")
    codec.learn([codec.read([[1, 5], [None, 7]], ""), codec.read([[3, None]], "")])
    complete.learn([complete.read([[1, 5]], ""), complete.read([[3, 7]], "")])
    np.testing.assert_array_equal(codec.mean, complete.mean)
    np.testing.assert_array_equal(codec.deviation, complete.deviation)
    np.testing.assert_array_equal(
        codec.encode(codec.read([[None, 5]], "")), complete.encode(complete.read([[2, 5]], ""))
    )
    again = FramesCodec.from_json(json.loads(json.dumps(codec.to_json())), "source")
    np.testing.assert_array_equal(again.encode(again.read([[None, None]], "")), [[0, 0]])


def test_what_cannot_be_filled_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"missing: previous needs steps, which only frames have; choose mean"):
        VectorCodec("source", missing="previous")
    codec = VectorCodec("source", missing="mean")
    with pytest.raises(ConfigError, match=r"source\.missing: number 1 is missing in all training rows"):
        codec.learn([codec.read([1, None], "")])
    stream = FramesCodec("source", missing="previous")
    stream.learn([stream.read([[1.0], [2.0]], "")])
    with pytest.raises(ValueError, match="only a whole sequence can fill"):
        stream.read_step("[NaN]")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_null_is_an_empty_cell_where_cells_are_filled(tmp_path: Path, form: str) -> None:
    columns: dict[str, list[Any]] = {"x": [1.0, None, 3.0], "y": [None, 5.0, 6.0], "kind": ["a", "b", "a"]}
    path = tmp_path / f"t.{form}"
    if form == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), path)
    else:
        rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": str(path), "valid": 0.3}
    source, target = {"kind": "vector", "columns": ["x", "y"]}, {"kind": "label", "column": "kind"}
    filling = parse_config({"data": data, "source": {**source, "missing": "mean"}, "target": target}, Path())
    values = np.stack([row.sources[0][0] for row in load_rows(filling, str(path))])
    np.testing.assert_array_equal(values, [[1, np.nan], [np.nan, 5], [3, 6]])
    with pytest.raises(DataError, match=r"t\.\w+:1: column 'y' is null"):
        load_rows(parse_config({"data": data, "source": source, "target": target}, Path()), str(path))


@pytest.mark.parametrize("missing", ["mean", "previous"])
def test_a_table_with_gaps_trains_and_is_predicted_by_the_runtime_too(tmp_path: Path, missing: str) -> None:
    chance = np.random.default_rng(1)
    lines = ["group,x,y,label"]
    for group in range(30):
        for _ in range(5):
            x = chance.normal()
            cell = "" if chance.random() < 0.2 else f"{x:.3f}"
            lines.append(f"{group},{cell},{chance.normal():.3f},{'up' if x > 0 else 'down'}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    settings = {"data.header": True, "data.group": "group", "train.max_steps": 20}
    source = {"kind": "frames", "columns": ["x", "y"]}
    target = {"kind": "labels", "column": "label"}
    with pytest.raises(
        DataError, match=r"t\.csv:\d+: the source has an empty cell; to fill missing numbers, set missing"
    ):
        antiphon.train(tmp_path / "t.csv", settings=settings, source=source, target=target)
    filling = {**source, "missing": missing}
    model = antiphon.train(tmp_path / "t.csv", out=tmp_path / "m", settings=settings, source=filling, target=target)
    inputs = [[[0.5, 1.0], [None, 0.3]], [[None, -0.2]], [[1.0, 1.0], [-1.0, 2.0], [math.nan, math.nan]]]
    export(tmp_path / "m", tmp_path / "x")
    shipped = antiphon_runtime.load(tmp_path / "x")
    for here, there in zip(model.predict(inputs), shipped.predict(inputs), strict=True):
        assert here.labels == there.labels
        np.testing.assert_allclose(here.probabilities, there.probabilities, atol=1e-5)
