"""Comparing models: the rows add up to what `evaluate` reports, and the bootstrap is what it should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import CASES, made
from typer.testing import CliRunner

from antiphon.cli.main import app
from antiphon.data.rows import Row
from antiphon.errors import DataError
from antiphon.evaluation.influences import Sums
from antiphon.use.comparison import _differences, compare
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor
from antiphon.use.scores import Data


def rows_of(name: str) -> list[Row]:
    """The rows of a case."""
    model, case = made(name), CASES[name]
    columns = [side["column"] for side in case.source] if isinstance(case.source, list) else [case.source.get("column")]
    rows = []
    for line, row in enumerate(case.rows, 1):
        values = [
            codec.read(np.asarray(row[column], np.uint8) if codec.kind == "image" else row.get(column, ""), "")
            for codec, column in zip(model.codecs.sources, columns, strict=True)
        ]
        rows.append(Row(tuple(values), model.codecs.target.read(row["y"], ""), "t", line))
    return rows


@pytest.mark.parametrize("name", list(CASES))
def test_what_rows_add_up_to_is_what_evaluate_says(name: str) -> None:
    rows = rows_of(name)
    kept, sums = made(name).row_sums(rows)
    scores = made(name).evaluate(rows)
    assert kept == rows
    assert "loss" in sums
    for metric, item in sums.items():
        assert len(item.above) == len(item.below) == len(rows)
        assert item.total == pytest.approx(scores[metric], abs=1e-9), metric
    expected = {"loss", "token_error_rate", "exact_match", "accuracy"} & scores.keys()
    assert sums.keys() == expected


def test_references_of_one_input_are_one_row(model_folder: Path) -> None:
    model = load(model_folder, "cpu")
    model.config = model.config.model_copy(
        update={"data": model.config.data.model_copy(update={"references": "group"})}
    )
    rows = [Row(("ab",), "B A", "t", 1), Row(("cd",), "D", "t", 2), Row(("ab",), "A", "t", 3)]
    kept, sums = model.row_sums(rows)
    assert kept == rows[:2]
    scores = model.evaluate(rows)
    for metric, item in sums.items():
        assert item.total == pytest.approx(scores[metric], abs=1e-9), metric


class Told(Predictor):
    """A model of which it is known what its rows add."""

    def __init__(self, name: str, above: list[float], lines: list[int] | None = None) -> None:
        self.folder = Path(name)
        self.above = np.asarray(above, np.float64)
        self.numbers = lines or list(range(len(above)))

    def row_sums(self, data: Data = None, beam: Any = None, settings: Any = None) -> tuple[list[Row], dict[str, Sums]]:
        rows = [Row(("x",), "y", "t", line) for line in self.numbers]
        return rows, {"exact_match": Sums(self.above, np.ones_like(self.above))}


@given(st.lists(st.integers(0, 1), min_size=2, max_size=40), st.integers(0, 5))
def test_a_model_does_not_differ_from_itself(hits: list[int], seed: int) -> None:
    (item,) = compare([Told("a", [*map(float, hits)]), Told("b", [*map(float, hits)])], None, 50, seed)
    assert (item.difference, item.low, item.high, item.p) == (0, 0, 0, 1)
    assert "may be chance" in item.line()


@given(st.integers(0, 5))
def test_a_difference_in_every_row_is_as_sure_as_draws_can_make_it(seed: int) -> None:
    better, worse, third = Told("a", [1.0] * 30), Told("b", [0.0] * 30), Told("c", [1.0] * 30)
    comparisons = compare([better, worse, third], None, 99, seed)
    assert [(item.first, item.other, item.difference) for item in comparisons] == [("a", "b", -1.0), ("a", "c", 0.0)]
    assert comparisons[0].p == pytest.approx(2 / 100)
    assert (comparisons[0].low, comparisons[0].high) == (-1, -1)
    assert "significant" in comparisons[0].line()


def test_draws_spread_as_the_mean_of_differences_does() -> None:
    """The standard error of a mean over n rows is that of the rows' differences over the root of n."""
    chance = np.random.default_rng(1)
    item, other = chance.normal(size=400), chance.normal(0.2, 1, size=400)
    below = np.ones(400)
    drawn = np.concatenate(list(_differences(Sums(item, below), Sums(other, below), 4000, 1)))
    assert drawn.mean() == pytest.approx((other - item).mean(), abs=0.01)
    assert drawn.std() == pytest.approx((other - item).std() / 20, rel=0.05)


def test_draws_are_those_of_rows_taken_one_by_one() -> None:
    """Quotients of sums over the same drawn rows for both models."""
    chance = np.random.default_rng(2)
    sums = [Sums(chance.random(7), chance.integers(1, 5, 7).astype(float)) for _ in range(2)]
    (drawn,) = _differences(sums[0], sums[1], 20, 3)
    counts = np.random.default_rng(3).multinomial(7, np.full(7, 1 / 7), size=20)
    for count, difference in zip(counts, drawn, strict=True):
        rows = np.repeat(np.arange(7), count)
        first, other = (item.above[rows].sum() / item.below[rows].sum() for item in sums)
        assert difference == pytest.approx(other - first)


def test_models_that_take_other_rows_cannot_be_compared() -> None:
    with pytest.raises(DataError, match=r"^b: does not take the same rows; .* as a$"):
        compare([Told("a", [1.0, 0.0]), Told("b", [1.0], [1])], None)


def test_the_command(model_folder: Path, pairs: Path) -> None:
    command = ["compare", str(model_folder), str(model_folder), str(pairs)]
    ran = CliRunner().invoke(app, [*command, "--samples", "20"])
    assert ran.exit_code == 0, ran.output
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ["loss", "token_error_rate", "exact_match"]
    ran = CliRunner().invoke(
        app, ["compare", str(model_folder), str(model_folder), str(pairs), "--json", "--beam", "1"]
    )
    scores = load(model_folder, "cpu").evaluate(pairs, 1)
    for item in json.loads(ran.stdout):
        assert item["first_value"] == item["other_value"] == pytest.approx(scores[item["metric"]], abs=1e-9)
    assert CliRunner().invoke(app, ["compare", str(model_folder), str(pairs)]).exit_code == 2
