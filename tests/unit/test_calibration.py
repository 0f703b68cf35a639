"""A known miscalibration is measured and corrected; every prediction has its confidence."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import antiphon_runtime.common.calibration
import numpy as np
import pytest
from antiphon_runtime import FolderError
from antiphon_runtime.loading import read_calibration
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from antiphon.cli.main import app
from antiphon.common.calibration import MOST, Calibration, outcomes
from antiphon.config.load import read_config_file
from antiphon.config.schema import Config
from antiphon.data.rows import Row
from antiphon.errors import AntiphonError
from antiphon.export.folder import export
from antiphon.saved.calibration import BINS, FILE, Bin, Judged, Report, expected_error, fitted, read, reliability
from antiphon.saved.folder import CARD
from antiphon.training.loop import train
from antiphon.use.loading import load

temperatures = st.floats(0.05, 20)
biases = st.floats(-5, 5)


def log_softmax(values: np.ndarray) -> np.ndarray:
    values = values - values.max(1, keepdims=True)
    logs: np.ndarray = values - np.log(np.exp(values).sum(1, keepdims=True))
    return logs


def labels(count: int, temperature: float, seed: int = 1) -> Judged:
    """Answers of a model that would be true with this temperature: labels are drawn from its calibrated p."""
    chance = np.random.default_rng(seed)
    log_probs = log_softmax(chance.normal(size=(count, 5)) * 2 * temperature)
    true = np.exp(log_softmax(log_probs / temperature))
    reference = (true.cumsum(1) < chance.random((count, 1))).sum(1)
    return Judged(log_probs, log_probs.argmax(1), reference, np.ones(count, np.int64))


def texts(count: int, temperature: float, bias: float, seed: int = 1) -> Judged:
    """Outputs that are right with the probability that temperature and bias make of their score."""
    chance = np.random.default_rng(seed)
    log_probs = outcomes((-np.exp(chance.normal(size=count))).tolist())
    odds = (log_probs[:, 0] - log_probs[:, 1]) / temperature + bias
    wrong = (chance.random(count) > 1 / (1 + np.exp(-odds))).astype(np.int64)
    return Judged(log_probs, np.zeros_like(wrong), wrong, np.ones_like(wrong))


def loss(judged: Judged, calibration: Calibration) -> float:
    """Mean -log of the calibrated probability of what is true."""
    return -float(
        np.log(calibration.probabilities(judged.log_probs)[np.arange(len(judged.references)), judged.references]).mean()
    )


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_temperature_is_found_again(temperature: float) -> None:
    report = Report.of(labels(20_000, temperature), False, "rows")
    assert report.calibration.temperature == pytest.approx(temperature, rel=0.05)
    assert report.calibration.bias == 0
    assert expected_error(report.after) < 0.015
    if temperature != 1:
        assert expected_error(report.before) > 0.05
    assert sum(item.answers for item in report.after) == 20_000


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (2.0, 1.0), (0.5, -0.7)])
def test_a_temperature_and_a_bias_are_found_again(temperature: float, bias: float) -> None:
    report = Report.of(texts(40_000, temperature, bias), True, "rows")
    assert report.calibration.temperature == pytest.approx(temperature, rel=0.08)
    assert report.calibration.bias == pytest.approx(bias, abs=0.06)
    assert expected_error(report.after) < 0.015


@pytest.mark.parametrize("judged", [labels(300, 3.0), texts(300, 0.3, 1.5)], ids=["labels", "texts"])
def test_nothing_near_fits_better(judged: Judged) -> None:
    biased = judged.log_probs.shape[1] == 2
    calibration = fitted(judged, biased)
    least = loss(judged, calibration)
    for factor in (0.5, 0.8, 1.25, 2.0):
        assert loss(judged, Calibration(calibration.temperature * factor, calibration.bias)) > least - 2e-3
    for shift in (-0.5, 0.5) if biased else ():
        assert loss(judged, Calibration(calibration.temperature, calibration.bias + shift)) > least - 2e-3
    assert least <= loss(judged, Calibration()) + 1e-9


@given(st.floats(-60, 0))
def test_without_temperature_and_bias_it_is_the_models_own_probability(score: float) -> None:
    assert Calibration().of_text(score) == pytest.approx(np.exp(score), abs=1e-6)
    log_probs = log_softmax(np.asarray([[score, 0.5, -np.inf]]))
    assert Calibration().of_labels(log_probs, np.asarray([0])) == pytest.approx(np.exp(log_probs[0, :1]))


@given(temperatures, biases, st.floats(-60, 0), st.floats(-60, 0))
def test_the_order_of_outputs_stays(temperature: float, bias: float, item: float, other: float) -> None:
    calibration = Calibration(temperature, bias)
    low, high = sorted([item, other])
    assert calibration.of_text(low) <= calibration.of_text(high) + 1e-12


@given(temperatures, biases, st.lists(st.floats(-60, 0), min_size=2, max_size=6))
def test_confidence_is_what_the_equations_say(temperature: float, bias: float, values: list[float]) -> None:
    """Texts: sigmoid(logit(p) / T + b); labels: softmax(log p / T). In the package and in the runtime."""
    for item in (Calibration, antiphon_runtime.common.calibration.Calibration):
        for score in values:
            p = math.exp(min(score, -1e-7))
            odds = math.log(p / -math.expm1(min(score, -1e-7))) / temperature + bias
            expected = 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0
            assert item(temperature, bias).of_text(score) == pytest.approx(expected, abs=1e-12)
        shares = [math.exp((value - max(values)) / temperature) for value in values]
        confidence = item(temperature).of_labels(np.asarray([values]), np.asarray([1]))
        assert confidence == pytest.approx([shares[1] / sum(shares)], abs=1e-12)


@pytest.mark.parametrize("rows", [1, 10, 98])
def test_few_rows_make_nobody_sure(rows: int) -> None:
    """All of them right: as sure as Laplace would be that the next is."""
    same = outcomes([-0.2] * rows)
    judged = Judged(same, np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.ones(rows, np.int64))
    assert fitted(judged, True).of_text(-0.2) == pytest.approx((rows + 1) / (rows + 2), abs=1e-3)


def test_answers_that_are_always_right_stay_within_bounds() -> None:
    judged = labels(50, 1.0)
    sure = fitted(Judged(judged.log_probs, judged.predicted, judged.predicted, judged.lengths), False)
    assert 1 / MOST <= sure.temperature < 1
    one_label = Judged(np.zeros((3, 1)), np.zeros(3, np.int64), np.zeros(3, np.int64), np.ones(3, np.int64))
    assert fitted(one_label, False) == Calibration()


def test_bins_hold_every_answer_once() -> None:
    bins = reliability([0.0, 0.05, 0.1, 0.95, 1.0], np.asarray([False, True, True, True, False]))
    assert bins[0] == Bin(2, 0.025, 0.5)
    assert bins[1] == Bin(1, 0.1, 1.0)
    assert bins[9] == Bin(2, 0.975, 0.5)
    assert len(bins) == BINS
    assert expected_error(bins) == pytest.approx((2 * 0.475 + 0.9 + 2 * 0.475) / 5)


def test_a_calibration_that_cannot_be_trusted_is_warned_of() -> None:
    assert Report.of(labels(1000, 2.0), False, "").warnings() == []
    (few,) = Report.of(labels(60, 2.0), False, "").warnings()
    assert few == "fitted to 60 predictions only; calibrate on 100 or more"
    noise = np.random.default_rng(1)
    log_probs = log_softmax(noise.normal(size=(2000, 5)) * 50)  # sure of predictions that are right by accident
    judged = Judged(log_probs, log_probs.argmax(1), noise.integers(0, 5, 2000), np.ones(2000, np.int64))
    assert "is at its bound" in Report.of(judged, False, "").warnings()[0]
    worse = replace(Report.of(labels(1000, 2.0), False, ""), after=[Bin(1000, 0.9, 0.1)])
    assert "error rises, from" in worse.warnings()[0]


# --- models -------------------------------------------------------------------------------------------


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def ran(*arguments: object, stdin: str | None = None) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    return done.exit_code, done.stdout, done.stderr


def test_the_command_keeps_it_in_the_folder_and_its_card(folder: Path, pairs: Path) -> None:
    card = (folder / CARD).read_text(encoding="utf-8")
    status, printed, warned = ran("calibrate", folder, "--device", "cpu")
    assert status == 0
    assert "warning: fitted to 12 predictions only" in warned
    assert printed.startswith("12 validation rows of pairs.tsv: temperature ")
    first = (folder / FILE).read_text(encoding="utf-8")
    assert ran("calibrate", folder, pairs, "--device", "cpu")[1].startswith("60 rows of pairs.tsv: temperature ")
    again = (folder / CARD).read_text(encoding="utf-8")
    assert again.startswith(card.rstrip())
    assert again.count("## Calibration") == 1
    assert "60 rows of pairs.tsv" in again
    assert "12 validation rows" not in again
    ran("calibrate", folder, "--device", "cpu")
    assert (folder / FILE).read_text(encoding="utf-8") == first
    assert sum(item["answers"] for item in json.loads(first)["after"]) == 12


def test_a_calibration_between_other_sections_is_replaced(folder: Path) -> None:
    ran("calibrate", folder, "--device", "cpu")
    text = (folder / CARD).read_text(encoding="utf-8")
    (folder / CARD).write_text(f"{text}\n## Mine\n\nkept\n", encoding="utf-8")
    ran("calibrate", folder, "--device", "cpu")
    assert (folder / CARD).read_text(encoding="utf-8") == f"{text}\n## Mine\n\nkept\n"


def test_confidence_is_that_of_the_score_and_changes_no_answer(folder: Path) -> None:
    before = load(folder, "cpu").predict(["ab", "", "cde"], n_best=2)
    assert [item.confidence for item in before] == [None] * 3
    model = load(folder, "cpu")
    calibration = model.calibrate().calibration
    for item, other in zip(model.predict(["ab", "", "cde"], n_best=2), before, strict=True):
        assert (item.text, item.score) == (other.text, other.score)
        assert item.confidence == (calibration.of_text(item.score) if item.n_best else None)
        assert ("confidence" in item.to_json()) == bool(item.n_best)
    assert read(folder / FILE) == calibration


def test_what_is_not_sure_is_not_said(folder: Path) -> None:
    model = load(folder, "cpu")
    model.calibrate()
    words = ["ab", "cde", "", "eeee"]
    sure = [item.confidence for item in model.predict(words)]
    middle = sorted(item for item in sure if item is not None)[1]
    text = "".join(f"{word}\n" for word in words)
    lines = ran("predict", folder, "--abstain-below", middle, stdin=text)[1].split("\n")[:-1]
    silent = [item is not None and item < middle for item in sure]
    assert silent.count(True) == 1
    plain = ran("predict", folder, stdin=text)[1].split("\n")[:-1]
    assert lines == ["" if none else line for none, line in zip(silent, plain, strict=True)]
    answers = [
        json.loads(x) for x in ran("predict", folder, "--json", "--abstain-below", middle, stdin=text)[1].splitlines()
    ]
    assert ["abstained" in item for item in answers] == silent
    assert [item["text"] for item in answers] == plain


@pytest.mark.parametrize("references", ["rows", "group"])
def test_only_what_is_said_is_measured(folder: Path, pairs: Path, tmp_path: Path, references: str) -> None:
    words = [line.split("\t")[0] for line in pairs.read_text().splitlines()][:9]
    model = load(folder, "cpu")
    model.calibrate()
    texts = [item.text for item in model.predict(words)]
    rows = [(word, text if place % 2 else "A") for place, (word, text) in enumerate(zip(words, texts, strict=True))]
    rows += [(words[0], texts[0])]
    for file in (folder / "config.yaml",):
        text, count = re.subn(r"references:\s+rows", f"references: {references}", file.read_text())
        assert count == 1
        file.write_text(text)
    model = load(folder, "cpu")
    sure = {word: item.confidence for word, item in zip(words, model.predict(words), strict=True)}
    middle = sorted(sure.values())[4]
    confident = [row for row in rows if sure[row[0]] >= middle]
    for name, some in (("all.tsv", rows), ("told.tsv", confident)):
        (tmp_path / name).write_text("".join(f"{word}\t{text}\n" for word, text in some))
    scores, _ = model.evaluate_signed(tmp_path / "all.tsv", abstain_below=middle)
    assert scores.pop("coverage") == pytest.approx(5 / 9 if references == "group" else len(confident) / len(rows))
    assert scores == pytest.approx(model.evaluate(tmp_path / "told.tsv"))
    status, out, _ = ran("evaluate", folder, tmp_path / "all.tsv", "--abstain-below", "1", "--json")
    assert (status, json.loads(out)) == (0, {"coverage": 0.0, "rows": 0, "signatures": {}})


def test_a_known_answer_is_sure(folder: Path) -> None:
    (folder / "exceptions.tsv").write_text("ab\tB A D\n", encoding="utf-8")
    model = load(folder, "cpu")
    model.calibrate()
    assert model.predict(["ab"])[0].confidence == 1.0
    assert ran("predict", folder, "--abstain-below", "1", stdin="ab\ncd\n")[1] == "B A D\n\n"


def test_a_model_that_was_not_calibrated_says_so(folder: Path) -> None:
    status, _, message = ran("predict", folder, "--abstain-below", "0.5", stdin="ab\n")
    assert status == 1
    assert (
        message.strip() == f"{folder}: has no confidence, since it is not calibrated; run: antiphon calibrate {folder}"
    )
    assert ran("predict", folder, "--abstain-below", "1.5", stdin="ab\n")[0] == 2
    with pytest.raises(AntiphonError, match="an ensemble is several models"):
        load([folder, folder], "cpu").calibrate()
    load(folder, "cpu").calibrate()
    assert load([folder, folder], "cpu").predict(["ab"])[0].confidence is None
    assert "an ensemble has no confidence" in ran("predict", folder, "--ensemble", folder, "--abstain-below", "0.5")[2]


@pytest.mark.parametrize("wrong", ["{", "[]", '{"calibration": {"temperature": 0, "bias": 0}}', '{"calibration": 3}'])
def test_a_damaged_file_is_named(folder: Path, wrong: str) -> None:
    (folder / FILE).write_text(wrong)
    with pytest.raises(AntiphonError, match=f"{FILE}: is damaged"):
        load(folder, "cpu")
    with pytest.raises(FolderError, match=f"{FILE}: is damaged"):
        read_calibration(folder / FILE)


def test_it_is_copied_with_a_model_and_not_kept_for_other_weights(
    folder: Path, pairs: Path, tmp_path: Path, configure: Callable[..., Config]
) -> None:
    load(folder, "cpu").calibrate()
    load(folder, "cpu").save(tmp_path / "copy")
    assert (tmp_path / "copy" / FILE).read_text() == (folder / FILE).read_text()
    train(configure(data__train=str(pairs), train__max_steps=2), folder, overwrite=True, device="cpu")
    assert not (folder / FILE).exists()
    load(folder, "cpu").calibrate()
    train(configure(data__train=str(pairs), train__max_steps=3), folder, resume=True, device="cpu")
    assert not (folder / FILE).exists()


KINDS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "label": ("label", [("a b", "X"), ("b", "Y"), ("a a", "X"), ("b a", "Z")] * 6),
    "labels": ("labels", [("a b", "X Y"), ("b", "Y"), ("a a", "X Z"), ("b a", "Y X")] * 6),
    "labels of a CRF": ("{kind: labels, crf: true}", [("a b", "X Y"), ("b", "Y"), ("a a", "X Z")] * 8),
}


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_as_sure_as_they_were_fitted(kind: str, tmp_path: Path) -> None:
    target, rows = KINDS[kind]
    (tmp_path / "t.tsv").write_text("".join(f"{text}\t{labels}\n" for text, labels in rows))
    (tmp_path / "c.yaml").write_text(
        f"data: {{train: t.tsv, valid: t.tsv}}\nsource: {{kind: text, tokens: words}}\ntarget: {target}\n"
        "model: {embedding: 4, encoder: {hidden: 4}}\ntrain: {max_steps: 2, validate_every: 1}\n"
    )
    model = load(train(read_config_file(tmp_path / "c.yaml"), tmp_path / "m", device="cpu"), "cpu")
    report = model.calibrate()
    assert report.rows == f"{len(rows)} validation rows of t.tsv"
    assert report.calibration.bias == 0
    sure: list[float] = []
    for item in model.predict([text for text, _ in rows]):
        sure += item.confidence if isinstance(item.confidence, list) else [item.confidence]
    assert sum(answers.answers for answers in report.after) == len(sure)
    assert np.mean(sure) == pytest.approx(sum(b.answers * b.confidence for b in report.after) / len(sure), abs=1e-5)
    empty: Any = model.predict([""])[0].confidence
    assert empty is None


def test_what_has_no_confidence_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a\t1\nb\t2\n" * 10)
    (tmp_path / "c.yaml").write_text(
        "data: {train: t.tsv, valid: 0.2}\nsource: {kind: text, tokens: words}\ntarget: number\n"
        "model: {embedding: 4, encoder: {hidden: 4}}\ntrain: {max_steps: 2, validate_every: 1}\n"
    )
    folder = train(read_config_file(tmp_path / "c.yaml"), tmp_path / "m", device="cpu")
    refused = "predicts number, and a confidence is of a text, a label or labels"
    model = load(folder, "cpu")
    with pytest.raises(AntiphonError, match=refused):
        model.calibrate([Row(("a",), np.ones((1, 1), np.float32), "t", 1)])
    with pytest.raises(AntiphonError, match=refused):
        model.evaluate_signed(tmp_path / "t.tsv", abstain_below=0.5)
    export(folder, tmp_path / "shipped")
    with pytest.raises(antiphon_runtime.OptionError, match=refused):
        antiphon_runtime.load(tmp_path / "shipped").refuse_unsure()
