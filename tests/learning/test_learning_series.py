"""Every likelihood of a series learns: figures from their names better than without, forecasts better than the last
value; and a training that is resumed is the one that was not stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import antiphon
from antiphon.saved import folder as bundle

FIGURES = {"circle": (1, 1), "eight": (1, 2), "fish": (2, 3), "knot": (3, 2)}
POINTS = 8
SMALL = {
    "model.embedding": 12, "model.encoder.hidden": 16, "model.decoder.hidden": 32, "model.dropout": 0.0,
    "train.batch_size": 16, "train.learning_rate": 0.01, "train.validate_every": 100, "train.epochs": 1000,
    "train.ema": None,
}  # fmt: skip
LIKELIHOODS: list[Any] = [
    "gaussian",
    pytest.param("laplace", marks=pytest.mark.slow),
    pytest.param("student_t", marks=pytest.mark.slow),
    {"kind": "mixture", "components": 3, "correlation": True},
    pytest.param("quantiles", marks=pytest.mark.slow),
    pytest.param("mse", marks=pytest.mark.slow),
    pytest.param("mae", marks=pytest.mark.slow),
]


def figures(rows: int, seed: int, bits: bool = False) -> list[dict[str, Any]]:
    """Lissajous figures by their names, with noise; as bits whether each number is positive."""
    chance, drawn = np.random.default_rng(seed), []
    for number in range(rows):
        name = list(FIGURES)[number % len(FIGURES)]
        across, down = FIGURES[name]
        angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
        points = np.stack([np.sin(across * angles + 0.5), np.cos(down * angles)], 1)
        points = points + chance.normal(0, 0.1, points.shape)
        drawn.append({"name": name, "figure": ((points > 0).astype(int) if bits else points.round(3)).tolist()})
    return drawn


def drawing(folder: Path, likelihood: Any, source: Any, steps: int = 200, **target: Any) -> Any:
    bits = likelihood == "bernoulli"
    sides = {"source": source, "target": {"kind": "series", "column": "figure", "likelihood": likelihood, **target}}
    return antiphon.train(
        figures(160, 1, bits),
        folder,
        {**SMALL, "train.max_steps": steps},
        valid=figures(40, 2, bits),
        quiet=True,
        **sides,
    )


@pytest.mark.parametrize("likelihood", [*LIKELIHOODS, "bernoulli"], ids=str)
def test_a_figure_is_learned_from_its_name(likelihood: Any, tmp_path: Path) -> None:
    """Figures that were held out are more probable by their names than by a model that is not told the name."""
    bits = likelihood == "bernoulli"
    held = figures(80, 3, bits)
    named = drawing(tmp_path / "named", likelihood, {"kind": "category", "column": "name"})
    unnamed = drawing(tmp_path / "unnamed", likelihood, {"kind": "none"})
    told, alone = named.evaluate(held), unnamed.evaluate(held)
    assert told["loss"] < alone["loss"] - (0.02 if likelihood in ("mse", "quantiles") else 0.05)
    assert told["length_error"] <= 1, "it learns where a figure ends"
    assert told["mse"] < 0.5 * alone["mse"]
    [circle] = named.predict(["circle"])
    expected = np.asarray(figures(4, 9, bits)[0]["figure"])
    both = min(len(circle.values), len(expected))
    assert np.abs(circle.values[:both] - expected[:both]).mean() < 0.25


def waves(rows: int, seed: int) -> list[dict[str, Any]]:
    """Waves at any level: 12 steps of the past, and the 6 after them."""
    chance, made = np.random.default_rng(seed), []
    for _ in range(rows):
        place, level = chance.uniform(0, 6), chance.normal(0, 50)
        wave = level + np.sin(place + np.arange(18) * 0.6) + chance.normal(0, 0.05, 18)
        made.append({"past": wave[:12].round(3).tolist(), "next": wave[12:].round(3).tolist()})
    return made


FORECASTS: dict[str, dict[str, Any]] = {
    "its output": {"window": "standard"},
    "segments": {"window": "mean", "segment": 3},
    "positions": {"window": "last", "segment": 2, "read": "position", "likelihood": "quantiles"},
}


@pytest.mark.parametrize("name", FORECASTS)
def test_a_forecast_of_waves_at_any_level(name: str, tmp_path: Path) -> None:
    """The level is far larger than the wave: only with the scale of its own window is the wave seen."""
    held = waves(60, 3)
    target = {"kind": "series", "column": "next", "horizon": 6, **FORECASTS[name]}
    settings = {**SMALL, "train.max_steps": 200, "decode.quantiles": [0.1, 0.9]}
    source = {"kind": "frames", "column": "past", "segment": 2}
    model = antiphon.train(
        waves(200, 1), tmp_path / "m", settings, source=source, target=target, valid=waves(40, 2), quiet=True
    )
    naive = np.mean([np.square(np.asarray(row["next"]) - row["past"][-1]).mean() for row in held])
    assert model.evaluate(held)["mse"] < 0.15 * naive
    answers = model.predict([row["past"] for row in held])
    truth = np.asarray([row["next"] for row in held])
    low, high = (np.stack([answer.quantiles[level][:, 0] for answer in answers]) for level in (0.1, 0.9))
    assert 0.5 < ((low <= truth) & (truth <= high)).mean() <= 1


@pytest.mark.parametrize("feeding", ["teacher", "free", {"kind": "scheduled", "steps": 20}], ids=str)
def test_a_training_that_is_resumed_is_the_same_bit_for_bit(feeding: Any, tmp_path: Path) -> None:
    source, target = {"kind": "category", "column": "name"}, {"kind": "series", "column": "figure"}
    settings = {
        **SMALL,
        "train.feeding": feeding,
        "model.dropout": 0.2,
        "train.validate_every": 4,
        "train.schedule": "constant",
    }

    def train(name: str, steps: int, resume: bool = False) -> bytes:
        told = {**settings, "train.max_steps": steps}
        folder = tmp_path / name
        rows, valid = figures(40, 1), figures(12, 2)
        antiphon.train(rows, folder, told, resume, threads=1, source=source, target=target, valid=valid, quiet=True)
        return (folder / bundle.WEIGHTS).read_bytes()

    whole = train("whole", 12)
    train("parts", 8)
    assert train("parts", 12, resume=True) == whole
