"""Models must learn: each task is made by code, and held-out rows are right to a threshold."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from tasks import spoken, trained, words, write_table

import antiphon
from antiphon.config.load import parse_config, set_value
from antiphon.training.optimizer import OPTIMIZERS


def accuracy(folder: Path, rows: list[tuple[str, str]], steps: int, **settings: Any) -> float:
    """Train on all rows but the last 100, and give the share of those that is wholly right."""
    write_table(folder / "train.tsv", rows[:-200])
    write_table(folder / "valid.tsv", rows[-200:-100])
    write_table(folder / "test.tsv", rows[-100:])
    tree: dict[str, Any] = {
        "data": {"train": "train.tsv", "valid": "valid.tsv", "test": "test.tsv"},
        "target": {"tokens": "chars"},
        "model": {"embedding": 32, "encoder": {"hidden": 32}, "decoder": {"hidden": 64}, "dropout": 0.0},
        "train": {
            "epochs": 1000,
            "max_steps": steps,
            "batch_size": 32,
            "learning_rate": 0.005,
            "validate_every": steps // 4,
            "metric": "exact_match",
        },
        "decode": {"beam": 3},
    }
    for key, value in settings.items():
        set_value(tree, key.replace("__", "."), value)
    model = trained(parse_config(tree, folder), folder / "model")
    return float(model.evaluate()["exact_match"])


def test_copying_is_learned(tmp_path: Path) -> None:
    assert accuracy(tmp_path, [(word, word) for word in words(1500, 1)], 400) >= 0.95


@pytest.mark.parametrize(
    "options",
    [
        {"model__cell": {"kind": "gru", "layer_norm": True}},
        {"model__cell": {"kind": "lstm", "zoneout": 0.05}},
        {"model__cell": {"kind": "lstm", "weight_drop": 0.1, "initial": "uniform"}},
        {"model__cell": {"kind": "gru", "initial": "xavier"}, "model__dropout": 0.1, "model__locked_dropout": True},
    ],
    ids=["layer_norm", "zoneout", "weight_drop", "locked_dropout"],
)
def test_copying_is_learned_with_what_regularizes(tmp_path: Path, options: dict[str, Any]) -> None:
    assert accuracy(tmp_path, [(word, word) for word in words(1200, 1, "abcdef", 4)], 160, **options) >= 0.9


@pytest.mark.parametrize(
    "options",
    [
        {"model__cell": "mingru"},
        {"model__cell": {"kind": "minlstm", "kernel": 2}},
        {"model__cell": "selective"},
    ],
    ids=["mingru", "minlstm", "selective"],
)
def test_copying_is_learned_by_linear_cells(tmp_path: Path, options: dict[str, Any]) -> None:
    assert accuracy(tmp_path, [(word, word) for word in words(1200, 1, "abcdef", 4)], 300, **options) >= 0.9


# updates, and the share of rows that must be right; plain gradient descent needs more, its mean even more
PACE = {"adamw": (200, 0.9), "adam": (200, 0.9), "muon": (200, 0.9), "sgd": (500, 0.9), "asgd": (500, 0.25)}


LONG = {"asgd", "muon", "adam"}


@pytest.mark.parametrize(
    "optimizer", [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in OPTIMIZERS]
)
def test_copying_is_learned_at_a_measured_rate(tmp_path: Path, optimizer: str) -> None:
    steps, least = PACE[optimizer]
    choice: Any = {"kind": "asgd", "start": 400} if optimizer == "asgd" else optimizer
    options = {"train__optimizer": choice, "train__learning_rate": "auto", "train__clip": None}
    rows = [(word, word) for word in words(1200, 1, "abcdef", 4)]
    assert accuracy(tmp_path, rows, steps, **options) >= least


def test_reversing_is_learned_with_a_gru_and_additive_attention_asked_before(tmp_path: Path) -> None:
    rows = [(word, word[::-1]) for word in words(1500, 2)]
    attention = {"kind": "additive", "query": "previous"}
    assert accuracy(tmp_path, rows, 500, model__cell="gru", model__attention=attention) >= 0.9


@pytest.mark.parametrize("kind", ["multi_head", "local", "location", "coverage", "monotonic"])
def test_copying_is_learned_with_every_attention(tmp_path: Path, kind: str) -> None:
    """The monotonic one learns from expectations and is measured with hard choices."""
    rows = [(word, word) for word in words(1200, 1, "abcdef", 4)]
    assert accuracy(tmp_path, rows, 160, model__attention=kind) >= 0.9


def test_a_vector_alone_carries_a_short_word(tmp_path: Path) -> None:
    """No attention: the context is all the decoder sees, at every step."""
    rows = [(word, word) for word in words(700, 3, "abcd", 5)]
    context = {"from": "projected_last", "to": "every_step"}
    assert accuracy(tmp_path, rows, 600, model__attention="none", model__context=context) >= 0.9


@pytest.mark.parametrize("feeding", ["teacher", {"kind": "scheduled", "decay": "linear", "end": 0.5, "steps": 600}])
def test_a_small_g2p_is_learned_and_generalises(tmp_path: Path, feeding: Any) -> None:
    rows = [(word, spoken(word)) for word in words(1500, 4, "shcteoamn")]
    assert accuracy(tmp_path, rows, 800, target__tokens="words", train__feeding=feeding) >= 0.9


def test_a_table_without_configuration_is_learned(tmp_path: Path) -> None:
    """The settings chosen from the data train a small table well; the ceiling keeps the test short."""
    table = write_table(tmp_path / "pairs.tsv", [(word, spoken(word)) for word in words(1200, 6, "shcteoamn")])
    settings = {"train.max_steps": 1200, "train.validate_every": 600}
    model = antiphon.train(table, settings=settings, threads=1)
    assert model.metrics["valid"]["exact_match"] >= 0.85
    assert model.config.sources[0].options["tokens"] == "chars"
    assert model.config.target.options["tokens"] == "words"


def test_real_g2p_rows_are_learned(tmp_path: Path, real_data: Path) -> None:
    """2,000 rows of French in a few hundred updates: far better than chance."""
    lines = (real_data / "g2p-sigmorphon2021/medium/fre_train.tsv").read_text(encoding="utf-8").splitlines()[:8000:4]
    rows = [(word, sounds) for word, sounds in (line.split("\t") for line in lines)]
    assert accuracy(tmp_path, rows, 500, target__tokens="words", model__dropout=0.2) >= 0.35


def calls(count: int, names: list[str]) -> list[tuple[str, str]]:
    """Who calls whom, written in two ways."""
    chance, rows = random.Random(8), []
    for _ in range(count):
        a, b = chance.choice(names), chance.choice(names)
        rows.append((chance.choice((f"{a} calls {b} now", f"now {b} is called by {a}")), f"{a} : {b}"))
    return rows


COPIES = {
    "chars": [(word, word[::-1]) for word in words(1400, 9)]
    + [(word, word[::-1]) for word in words(100, 9, "αβγδεζηθ")],
    "words": calls(1400, words(40, 9)) + calls(100, words(40, 9, "ijklmnop")),
}


@pytest.mark.parametrize("tokens", COPIES)
def test_symbols_never_seen_pass_through_a_model_that_copies_and_no_other(tmp_path: Path, tokens: str) -> None:
    """The test rows are made of letters, or of names, that no training row has."""
    settings = {"source__tokens": tokens, "target__tokens": tokens, "train__unknown": 0.1}
    for copies, least, most in ((True, 0.95, 1.0), (False, 0.0, 0.05)):
        folder = tmp_path / str(copies)
        folder.mkdir()
        assert least <= accuracy(folder, COPIES[tokens], 400, model__copy=copies, **settings) <= most
