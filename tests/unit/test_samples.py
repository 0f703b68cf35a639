"""Validation rows with what a model predicts for them while it trains, for every structure."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structures import STRUCTURES
from tasks import tiny_config

import antiphon
from antiphon import Callback, Run
from antiphon.evaluation.samples import Sample
from antiphon.training.loop import train


class Looks(Callback):
    """Keeps the samples of every validation."""

    samples = 3

    def __init__(self) -> None:
        self.looks: list[tuple[Sample, ...]] = []

    def validation(self, run: Run) -> None:
        self.looks.append(run.samples)


def looked(folder: Path, name: str, **more: Any) -> tuple[Any, list[str], tuple[Sample, ...]]:
    """A model after one validation, the rows of its table, and the samples."""
    rows, sides, _ = STRUCTURES[name]
    lines = rows(folder)
    table = folder / "rows.tsv"
    table.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (folder / "c.yaml").write_text(json.dumps({"data": {"train": "rows.tsv", "valid": "rows.tsv"}, **sides}))
    settings = {"train.max_steps": 6, "train.validate_every": 6, "decode.beam": 1, **more}
    looks = Looks()
    model = antiphon.train(folder / "c.yaml", folder / "m", settings, threads=1, callbacks=[looks])
    (samples,) = looks.looks
    return model, lines, samples


def content(folder: Path, model: Any, line: str) -> Any:
    """A row's source as an input of the model."""
    cell = line.split("\t")[0]
    kind = model.config.sources[0].kind
    if kind in ("vector", "frames"):
        return json.loads(cell)
    return str(folder / cell) if kind == "image" else cell


def expect_next(model: Any, sample: Sample, text: str) -> None:
    """The probabilities are those of the row, whose log p is their sum, where all of it is shown."""
    assert sample.probabilities is not None
    assert len(sample.probabilities) == len(sample.written)
    if sample.written[-1] is None:
        assert "".join(map(str, sample.written[:-1])) == text
        ((_, score),) = model.scored([(text,)])
        assert sum(map(math.log, sample.probabilities)) == pytest.approx(score, abs=0.02 * len(sample.written))


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_sample_is_what_the_model_predicts_for_its_row(name: str, tmp_path: Path) -> None:
    model, lines, samples = looked(tmp_path, name)
    assert 1 <= len(samples) <= 3
    for sample in samples:
        json.dumps(vars(sample), allow_nan=False)
        if model.config.target.kind == "next":
            expect_next(model, sample, lines[sample.row].split("\t")[0])
            continue
        reference = lines[sample.row].split("\t")[1]
        if model.config.target.kind != "series":
            assert sample.references == [reference]
        (prediction,) = model.predict([content(tmp_path, model, lines[sample.row])])
        if model.config.target.kind == "series":
            known = np.reshape(json.loads(reference), (-1, prediction.values.shape[1]))
            np.testing.assert_allclose(np.array(sample.numbers), prediction.values, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(np.array(sample.expected_numbers), known, rtol=1e-5, atol=1e-6)
            continue
        if sample.numbers is not None:
            np.testing.assert_allclose(sample.numbers, [[prediction.value]], rtol=1e-5)
            np.testing.assert_allclose(sample.expected_numbers or [], [[float(reference)]], rtol=1e-5)
            continue
        assert sample.output == prediction.text
        assert sample.right is (prediction.text == reference)
        if sample.labels is not None:
            assert dict(sample.labels) == pytest.approx(prediction.probabilities, abs=1e-4)
        elif sample.probabilities is not None:
            assert sample.written == prediction.labels
            assert sample.probabilities == pytest.approx(prediction.probabilities, abs=1e-4)
        else:
            assert sample.written == [*prediction.tokens, None]


@pytest.mark.parametrize("copies", [False, True])
def test_the_attention_is_that_of_the_output(tmp_path: Path, copies: bool) -> None:
    settings: dict[str, Any] = {"model.attention": "additive", "model.copy": copies, "target.tokens": "chars"}
    model, lines, samples = looked(tmp_path, "text to text", **settings)
    for sample in samples:
        (prediction,) = model.predict([lines[sample.row].split("\t")[0]], attention=True)
        assert sample.attention is not None
        assert sample.read == [*prediction.source_tokens, None]
        np.testing.assert_allclose(sample.attention, prediction.attention, atol=6e-4)


def test_samples_are_the_same_rows_at_every_validation_and_spread(tmp_path: Path) -> None:
    looks = Looks()
    train(tiny_config(tmp_path), tmp_path / "m", threads=1, callbacks=[looks])
    first, second = ([sample.row for sample in samples] for samples in looks.looks)
    assert first == second == [0, 6, 13]
    assert all(sample.references == [" ".join(map(str, sample.expected[:-1]))] for sample in looks.looks[0])


def test_samples_are_of_the_weights_that_would_be_shipped(tmp_path: Path) -> None:
    """With an average they are the average's, not the last weights'."""
    looks = Looks()
    out = train(tiny_config(tmp_path, train__ema=0.9, decode__beam=1), tmp_path / "m", threads=1, callbacks=[looks])
    model = antiphon.load(out)
    kept = max(
        place
        for place, line in enumerate((out / "training/log.jsonl").read_text().splitlines())
        if json.loads(line)["kept"]
    )
    for sample in looks.looks[kept]:
        assert sample.output == model.predict([sample.sources["source"]])[0].text
        assert sample.attention is not None
    assert looks.looks[0] != looks.looks[1]


def test_an_attribute_of_this_name_that_is_no_number_asks_for_nothing(tmp_path: Path) -> None:
    class Other:
        def __init__(self) -> None:
            self.samples: list[Any] = []

        def validation(self, run: Run) -> None:
            self.samples.append(run.samples)

    other = Other()
    train(tiny_config(tmp_path), tmp_path / "m", threads=1, callbacks=[other])
    assert other.samples == [(), ()]
