"""Which weights are kept: the latest that validation rows do not show to be worse than the best."""

from __future__ import annotations

import json
import math
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.config.load import parse_config, set_value
from antiphon.config.schema import Config
from antiphon.evaluation.influences import Sums, class_influences
from antiphon.metrics import macro_f1
from antiphon.saved import folder as bundle
from antiphon.training import checkpoint
from antiphon.training.choice import SURE, Best, Judged, after, verdict
from antiphon.training.loop import Progress, train
from antiphon.use.loading import load

counts = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=2, max_size=30)


def of(errors: list[float], lengths: list[float] | None = None) -> Judged:
    sums = Sums(np.asarray(errors, float), np.asarray(lengths or [1.0] * len(errors), float))
    return Judged(sums.total, sums.influences)


def course(validations: list[Judged], losses: list[float] | None = None) -> tuple[list[Any], Best | None]:
    """The verdicts over a training's validations, and the best at its end."""
    best, verdicts = None, []
    for step, judged in enumerate(validations, 1):
        loss = losses[step - 1] if losses else 1.0
        decision = verdict(judged, loss, best)
        best = after(best, decision, step, judged, loss)
        verdicts.append(decision)
    return verdicts, best


def kept(validations: list[Judged]) -> int:
    """The number of the validation whose weights are kept, from 1."""
    return max(step for step, decision in enumerate(course(validations)[0], 1) if decision.kept)


# --- the test over rows -------------------------------------------------------------------------------


@given(counts)
def test_influences_add_up_to_nothing_and_say_what_a_row_changes(rows: list[tuple[int, int]]) -> None:
    """Left out, a row moves the metric by its influence, as far as that is linear."""
    above, below = np.asarray(rows, float).T
    sums = Sums(above, below)
    assert sums.influences.sum() == pytest.approx(0, abs=1e-9)
    without = (above.sum() - above[0]) / (below.sum() - below[0])
    moved = (sums.total - without) * (below.sum() - below[0]) / below.sum()
    assert sums.influences[0] == pytest.approx(moved, abs=1e-9)


def test_the_error_is_that_of_many_draws() -> None:
    """The standard error of a difference is the spread over rows drawn anew (paired bootstrap)."""
    chance = np.random.default_rng(1)
    length = chance.integers(1, 9, 400).astype(float)
    item, other = (chance.binomial(length.astype(int), rate).astype(float) for rate in (0.2, 0.25))
    first, second = Sums(item, length), Sums(other, length)
    drawn = chance.integers(0, 400, (4000, 400))
    totals = [sums.above[drawn].sum(1) / sums.below[drawn].sum(1) for sums in (first, second)]
    spread = (totals[1] - totals[0]).std()
    ours = np.sqrt(((second.influences - first.influences) ** 2).sum())
    assert ours == pytest.approx(spread, rel=0.05)
    judged = [Judged(sums.total, sums.influences) for sums in (first, second)]
    assert judged[1].difference(judged[0]) == pytest.approx((second.total - first.total) / spread, rel=0.05)


def test_macro_f1_of_rows_drawn_anew_spreads_as_its_influences_say() -> None:
    chance = random.Random(3)
    truth = [[chance.choice("aab") for _ in range(chance.randint(1, 5))] for _ in range(300)]
    predicted = [[label if chance.random() < 0.7 else chance.choice("abc") for label in row] for row in truth]
    influences = class_influences(predicted, truth)
    assert influences.sum() == pytest.approx(0, abs=1e-9)
    drawn = np.random.default_rng(1).integers(0, 300, (600, 300))
    flat = [
        macro_f1([x for r in rows for x in predicted[r]], [x for r in rows for x in truth[r]])
        for rows in drawn.tolist()
    ]
    assert np.sqrt((influences**2).sum()) == pytest.approx(np.std(flat), rel=0.15)


def test_equal_answers_are_not_worse_and_a_constant_difference_is() -> None:
    same = of([1, 0, 1, 0])
    assert not same.worse_than(same)
    assert of([1, 1, 1, 1]).worse_than(of([0, 0, 0, 0])), "every row is worse, without any spread"


# --- what is kept -------------------------------------------------------------------------------------


def test_a_difference_that_may_be_chance_keeps_the_later_weights() -> None:
    best = [0.0] * 90 + [1.0] * 10
    other = [0.0] * 88 + [1.0, 1.0, 0.0, *[1.0] * 9]  # one row more is wrong, one of them another
    assert not of(other).worse_than(of(best))
    assert kept([of(best), of(other)]) == 2


def test_a_difference_beyond_chance_keeps_the_best() -> None:
    best, worse = [0.0] * 100, [1.0] * 20 + [0.0] * 80
    assert of(worse).difference(of(best)) > SURE
    assert kept([of(best), of(worse)]) == 1


def test_all_is_judged_by_the_best_not_by_the_one_before() -> None:
    """A slow decline, each step of which may be chance, ends where it is worse than the best."""
    chance = random.Random(1)
    rows = list(range(200))
    chance.shuffle(rows)
    falling = []
    for step in range(12):
        wrong = set(rows[: 20 + 2 * step])
        falling.append(of([float(row in wrong) for row in range(200)]))
    assert all(not later.worse_than(before) for before, later in pairwise(falling))
    last = kept(falling)
    assert 1 < last < 12
    assert falling[last].worse_than(falling[0])


def test_a_new_best_is_kept_whatever_came_between() -> None:
    assert kept([of([1.0] * 50), of([0.0] * 25 + [1.0] * 25), of([1.0] * 50), of([0.0] * 50)]) == 4


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=9))
def test_what_is_kept_is_never_worse_than_the_best(runs: list[list[bool]]) -> None:
    """Online, with the best alone remembered, is what looking back at all validations gives."""
    validations = [of([float(wrong) for wrong in run]) for run in runs]
    _, best = course(validations)
    assert best is not None
    low = min(judged.value for judged in validations)
    assert best.judged.value == low
    first = next(step for step, judged in enumerate(validations) if judged.value == low)
    assert best.step == first + 1
    fine = [step for step in range(first, len(runs)) if not validations[step].worse_than(validations[first])]
    assert kept(validations) == max(fine) + 1


# --- when to stop -------------------------------------------------------------------------------------


def test_patience_is_taken_by_what_is_worse_by_half_by_what_may_be_chance_and_not_by_what_gets_better() -> None:
    good, same, bad = of([0.0] * 50), of([0.0] * 49 + [1.0]), of([1.0] * 50)
    verdicts, _ = course([bad, good, same, bad, bad], [1.0, 0.5, 0.6, 0.7, 0.8])
    assert [decision.impatience for decision in verdicts] == [0, 0, 0.5, 1, 1]
    verdicts, _ = course([bad, bad, bad], [1.0, 0.9, 0.8])
    assert [decision.impatience for decision in verdicts] == [0, 0, 0], (
        "the loss still falls: it learns, the metric does not show it"
    )


def test_where_nothing_could_be_better_nothing_is_waited_for() -> None:
    perfect = Judged(0.0, np.zeros(9), perfect=True)
    verdicts, _ = course([perfect, perfect, perfect], [1.0, 0.5, 0.2])
    assert [decision.impatience for decision in verdicts] == [0, 1, 1]
    assert all(decision.kept for decision in verdicts), "the loss may still fall, so the later weights are taken"


# --- in a training ------------------------------------------------------------------------------------


def trained(folder: Path, **settings: Any) -> list[dict[str, Any]]:
    """The history of a training on noise: its validation rows can only get worse."""
    chance = random.Random(4)
    for name, count in (("train", 40), ("valid", 60)):
        lines = ("".join(chance.choices("abcdef", k=6)) + f"\t{chance.choice(['x', 'y'])}\n" for _ in range(count))
        (folder / f"{name}.tsv").write_text("".join(lines))
    tree: dict[str, Any] = {
        "data": {"train": "train.tsv", "valid": "valid.tsv"},
        "target": "label",
        "model": {"embedding": 16, "encoder": {"hidden": 32}, "dropout": 0.0},
        "train": {
            "epochs": 1000, "max_steps": 400, "batch_size": 8, "validate_every": 10, "patience": 4,
            "learning_rate": 0.02, "metric": "loss", "schedule": "constant",
        },
    }  # fmt: skip
    for key, value in settings.items():
        set_value(tree, key.replace("__", "."), value)
    out = train(parse_config(tree, folder), folder / "m", device="cpu", threads=1)
    return [json.loads(line) for line in (out / "training" / "log.jsonl").read_text().splitlines()]


def test_a_strong_overfitter_is_stopped_and_its_best_is_kept(tmp_path: Path) -> None:
    history = trained(tmp_path)
    losses = [entry["loss"] for entry in history]
    best = losses.index(min(losses))
    assert len(history) <= best + 1 + 8, "four validations that are worse, or eight that may not be"
    last = max(place for place, entry in enumerate(history) if entry["kept"])
    assert last < len(history) - 4
    assert losses[last] < min(losses[last + 1 :]), "what came later is worse, and is not kept"
    metrics = json.loads((tmp_path / "m" / bundle.METRICS).read_text())
    assert metrics["valid"]["step"] == history[last]["step"]


def test_what_was_seen_is_saved_and_a_training_that_goes_on_judges_alike(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = trained(tmp_path / "whole", train__max_steps=60, train__patience=None)
    trained(tmp_path / "parts", train__max_steps=30, train__patience=None)
    state = checkpoint.load(tmp_path / "parts" / "m")[0]["progress"]
    again = Progress.of(state)
    assert again.best is not None
    assert again.best.to_state().keys() == state["best"].keys()
    config: Config = bundle.load_config(tmp_path / "parts" / "m")
    longer = config.model_copy(update={"train": config.train.model_copy(update={"max_steps": 60})})
    out = train(longer, tmp_path / "parts" / "m", resume=True, device="cpu", threads=1)
    parts = [json.loads(line) for line in (out / "training" / "log.jsonl").read_text().splitlines()]
    assert [(e["step"], e["loss"], e["kept"]) for e in parts] == [(e["step"], e["loss"], e["kept"]) for e in whole]


METRICS: dict[str, list[str]] = {
    "text": [
        *("loss", "perplexity", "token_error_rate", "token_error_rate_teacher", "exact_match"),
        *("bleu", "chrf", "ter"),
    ],
    "label": ["loss", "perplexity", "accuracy", "macro_f1"],
    "labels": ["loss", "perplexity", "accuracy", "macro_f1", "exact_match", "span_f1"],
    "number": ["loss", "mse", "mae"],
    "numbers": ["loss"],
    "next": ["loss", "perplexity", "accuracy"],
}
TARGETS = {"text": "X Y", "label": "x", "labels": "B-A O", "number": "1.5", "numbers": "[[1.5], [2]]", "next": ""}


@pytest.mark.parametrize(("kind", "metric"), [(kind, metric) for kind, all_ in METRICS.items() for metric in all_])
def test_every_metric_that_can_be_watched_judges(tmp_path: Path, kind: str, metric: str) -> None:
    chance = random.Random(2)
    others = {"text": "Y X Y X Z", "label": "y", "labels": "O B-A", "number": "2", "numbers": "[[2], [1]]"}
    rows = [
        f"{chance.choice('ab')} {chance.choice('ab')}\t{chance.choice([TARGETS[kind], others.get(kind, '')])}\n"
        for _ in range(30)
    ]
    (tmp_path / "t.tsv").write_text("".join(rows))
    tree: dict[str, Any] = {
        "data": {"train": "t.tsv", "valid": "t.tsv"},
        "source": {"tokens": "words", "column": 0},
        "target": {"kind": kind, "column": 1} if kind != "next" else {"kind": kind},
        "model": {"embedding": 4, "encoder": {"hidden": 4}, "decoder": {"hidden": 8}},
        "train": {"max_steps": 4, "validate_every": 2, "metric": metric},
    }
    out = train(parse_config(tree, tmp_path), tmp_path / "m", device="cpu", threads=1)
    best = Progress.of(checkpoint.load(out)[0]["progress"]).best
    assert best is not None
    assert len(best.judged.influence) == 30
    assert math.isfinite(best.judged.value)
    assert best.judged.influence.sum() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("metric", ["mse", "mae"])
def test_the_influence_of_numbers_is_in_the_metrics_unit(tmp_path: Path, metric: str) -> None:
    """Leaving a row out moves the metric by its influence: numbers far from 0 and 1 are not scaled here."""
    chance = random.Random(2)
    rows = [(chance.choice("abc"), chance.uniform(900, 1500)) for _ in range(40)]
    (tmp_path / "t.tsv").write_text("".join(f"{word}\t{number}\n" for word, number in rows))
    tree: dict[str, Any] = {
        "data": {"train": "t.tsv", "valid": "t.tsv"},
        "target": "number",
        "model": {"embedding": 4, "encoder": {"hidden": 4}},
        "train": {"max_steps": 4, "validate_every": 4, "metric": metric},
    }
    out = train(parse_config(tree, tmp_path), tmp_path / "m", device="cpu", threads=1)
    best = Progress.of(checkpoint.load(out)[0]["progress"]).best
    assert best is not None
    predicted = [item.value for item in load(out, "cpu").predict([word for word, _ in rows])]
    errors = np.asarray(
        [abs(a - b) ** (2 if metric == "mse" else 1) for a, (_, b) in zip(predicted, rows, strict=True)]
    )
    assert best.judged.value == pytest.approx(errors.mean(), rel=1e-3)
    np.testing.assert_allclose(
        best.judged.influence, (errors - errors.mean()) / 40, rtol=1e-2, atol=errors.mean() / 4e4
    )
