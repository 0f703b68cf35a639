"""Forecasts of the transformers ETTh1 and ETTh2; every run is made once and is a line of docs/results/forecast.jsonl.

python studies/forecast.py [--sets ETTh1 ETTh2] [--horizons 96 192 336 720] [--parts points controls intervals]
                           [--seed 1] [--threads 2]      then writes docs/results/forecast.md
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
from grid import ROOT, hardware
from numpy.typing import NDArray

import antiphon
from antiphon.common.intervals import offsets_of
from antiphon.config.load import read_config_file
from antiphon.config.schema import Config
from antiphon.data.load import load_parts, load_test, train_codecs, untrained
from antiphon.data.windows import Windows
from antiphon.evaluation.controls import Forecast, arrays, forecasts, scores_of
from antiphon.evaluation.forecasts import LEVELS
from antiphon.evaluation.windows import scores_of_quantiles
from antiphon.files import write_text
from antiphon.training.loop import train

RECIPE = ROOT / "configs/forecast-ett.yaml"
RUNS = ROOT / "docs/results/forecast.jsonl"
TABLE = ROOT / "docs/results/forecast.md"
SETS, HORIZONS = ("ETTh1", "ETTh2"), (96, 192, 336, 720)
PUBLISHED = {  # SegRNN, Lin et al. 2023, arXiv 2308.11200: the mean squared error
    "ETTh1": {96: 0.368, 192: 0.408, 336: 0.444, 720: 0.446},
    "ETTh2": {96: 0.278, 192: 0.359, 336: 0.421, 720: 0.432},
}
MARKS = {
    "ETTh1": {96: 0.375, 192: 0.415, 336: 0.450, 720: 0.455},
    "ETTh2": {96: 0.285, 192: 0.365, 336: 0.425, 720: 0.435},
}
ROLLING = 720  # windows, a month: intervals are made from so many last ones
OIL: Mapping[str, object] = {  # the recipe for the oil temperature alone, a day ahead, with a distribution
    "source": {"kind": "frames", "columns": ["OT"], "segment": 24},
    "target": {
        "kind": "series", "columns": ["OT"], "window": "last", "separate": True, "read": "position", "segment": 24,
        "likelihood": "laplace",
    },
    "data.window.horizon": 24,
    "model.encoder.hidden": 128,
    "model.decoder.hidden": 128,
    "model.dropout": 0.3,
    "train.learning_rate": 0.001,
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A forecast that was measured on all test windows of a data set. `what` is "model", a control, or with "intervals"
    before it the same with rolling conformal intervals of the oil temperature."""

    what: str
    data_set: str
    horizon: int
    seed: int
    minutes: float
    hardware: str
    day: str
    scores: dict[str, float]


def runs() -> list[Run]:
    """All runs made so far."""
    lines = RUNS.read_text(encoding="utf-8").splitlines() if RUNS.exists() else []
    return [Run(**json.loads(line)) for line in lines]


def keep(run: Run) -> None:
    """Add a run to the file."""
    with RUNS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(run)) + "\n")


def config_of(data_set: str, horizon: int, seed: int, further: Mapping[str, object] | None = None) -> Config:
    """The recipe for a data set and a horizon."""
    os.environ["ETT"] = data_set
    return read_config_file(RECIPE, {"data.window.horizon": horizon, "train.seed": seed, **(further or {})})


def trained(config: Config, name: str, threads: int) -> tuple[Path, float]:
    """The folder of the trained model, and the minutes that it took."""
    began = time.monotonic()
    folder = train(config, ROOT / "runs/forecast" / name, overwrite=True, threads=threads)
    return folder, round((time.monotonic() - began) / 60, 1)


def model_run(data_set: str, horizon: int, seed: int, threads: int) -> Run:
    """The recipe, trained and tested."""
    folder, minutes = trained(config_of(data_set, horizon, seed), f"{data_set}-{horizon}-{seed}", threads)
    scores = antiphon.load(folder).evaluate()
    return Run("model", data_set, horizon, seed, minutes, hardware(threads), date.today().isoformat(), scores)


def parts_of(config: Config) -> tuple[Windows, Windows, Windows, NDArray[np.float32]]:
    """The windows to train, validate and test with, and the deviations of the training rows."""
    codecs = untrained(config)
    train_windows, valid = load_parts(config, codecs)
    test = load_test(config, codecs)
    assert isinstance(train_windows, Windows)
    assert isinstance(valid, Windows)
    assert isinstance(test, Windows)
    target = train_codecs(config, train_windows).target
    return train_windows, valid, test, target.deviation  # type: ignore[attr-defined]


def control_runs(data_set: str, horizon: int) -> Iterator[Run]:
    """Simple forecasts on the same test windows; the linear map is fitted to the training windows."""
    train_windows, valid, test, deviation = parts_of(config_of(data_set, horizon, 1))
    for name, forecast in forecasts(train_windows, valid, None).items():
        scores = scores_of(forecast, test, deviation)
        yield Run(name, data_set, horizon, 0, 0.0, "", date.today().isoformat(), scores)


def interval_runs(data_set: str, seed: int, threads: int) -> Iterator[Run]:
    """Intervals of the oil temperature a day ahead, of the model and of the controls, with rolling conformal
    prediction: made anew each day from the last month whose values are known by then."""
    config = config_of(data_set, 24, seed, OIL)
    folder, minutes = trained(config, f"{data_set}-oil-{seed}", threads)
    model, today = antiphon.load(folder), date.today().isoformat()
    scores = model.evaluate()
    yield Run("intervals: model, not calibrated", data_set, 24, seed, minutes, hardware(threads), today, scores)
    model.calibrate_intervals(rolling=ROLLING)
    yield Run("intervals: model", data_set, 24, seed, minutes, hardware(threads), today, model.evaluate())
    train_windows, valid, test, _ = parts_of(config)
    for name, forecast in forecasts(train_windows, valid, None).items():
        rolled = rolling_scores(forecast, valid, test)
        yield Run(f"intervals: {name}", data_set, 24, 0, 0.0, "", today, rolled)


def rolling_scores(forecast: Forecast, valid: Windows, test: Windows) -> dict[str, float]:
    """As `evaluate` measures rolling intervals of a model, for a control."""
    horizon = test.layout.horizon
    pairs = [(forecast(past), future) for part in (valid, test) for past, future in arrays(part)]
    points, references = (np.concatenate(side) for side in zip(*pairs, strict=True))
    origins = np.concatenate([valid.places[:, 1], test.places[:, 1]])
    residuals = (references - points)[:, None]
    levels, quantiles = np.asarray(LEVELS), []
    for start in range(len(valid), len(origins), horizon):
        known = int((origins + horizon <= origins[start]).sum())
        offsets = offsets_of(residuals[max(0, known - ROLLING) : known], levels)
        quantiles.append(np.sort(points[start : start + horizon, None] + offsets, 1))
    return scores_of_quantiles(np.concatenate(quantiles), references[len(valid) :])


ABOUT = """# Forecasts of two power transformers

Seven columns, hour by hour ([ETT](https://github.com/zhouhaoyi/ETDataset)), by the protocol of the literature: 12, 4
and 4 months (8,640, 2,880 and 2,880 rows) to train, validate and test; the last 96 hours are read; every window of the
test months counts, none is dropped; errors are in deviations of the training rows, over all columns. The model is
[forecast-ett](../../configs/forecast-ett.yaml), a GRU that reads and writes segments of 24 hours (SegRNN, Lin et al.
2023, arXiv 2308.11200), half as wide and as long as the paper's. Published is the paper's figure.
Linear is ridge regression from the past of each column to its future, in closed form.
Made by `studies/forecast.py` from [forecast.jsonl](forecast.jsonl), where every run stands.
"""
INTERVALS = """
## Intervals

The oil temperature (OT), 24 hours ahead, from its own last 96 hours, at every hour of the test months. Intervals are
made by conformal prediction, anew each day from the last 720 forecasts whose values are known by then (`antiphon
calibrate --rolling 720`). CRPS is in degrees, twice the mean pinball loss over the quantiles 0.05, 0.1, ..., 0.95.
"""


def table(made: list[Run]) -> Iterator[str]:
    """The results in Markdown."""
    yield ABOUT
    yield "| data | horizon | model | at most | published | linear | last season | last value | mae | minutes | on |"
    yield "|---" * 11 + "|"
    for data_set in SETS:
        for horizon in HORIZONS:
            here = [run for run in made if (run.data_set, run.horizon) == (data_set, horizon)]
            models = [run for run in here if run.what == "model"]
            bounds = (MARKS[data_set][horizon], PUBLISHED[data_set][horizon])
            cells = [mean(models, "mse_scaled"), *(f"{bound:.3f}" for bound in bounds)]
            cells += [mean([run for run in here if run.what.startswith(name)], "mse_scaled") for name in
                      ("linear", "last season", "last value")]  # fmt: skip
            cells += [mean(models, "mae_scaled"), str(max((run.minutes for run in models), default=""))]
            cells.append("; ".join(sorted({run.hardware for run in models})))
            yield f"| {data_set} | {horizon} | {' | '.join(cells)} |"
    yield INTERVALS
    yield "| data | forecast | CRPS | 80%: covers | width | 90%: covers | width |"
    yield "|---" * 7 + "|"
    names = ("crps", "coverage_80", "width_80", "coverage_90", "width_90")
    for data_set in SETS:
        for run in made:
            if run.data_set == data_set and run.what.startswith("intervals: "):
                cells = [f"{run.scores[name]:.3f}" for name in names]
                yield f"| {data_set} | {run.what.removeprefix('intervals: ')} | {' | '.join(cells)} |"


def mean(some: list[Run], metric: str) -> str:
    """The mean of a score over seeds, and how many there are if there are several."""
    if not some:
        return "not measured yet"
    value = sum(run.scores[metric] for run in some) / len(some)
    return f"{value:.3f}" + (f" ({len(some)} seeds)" if len(some) > 1 else "")


def main() -> None:
    """Make the runs that are missing, and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=SETS, choices=SETS)
    parser.add_argument("--horizons", nargs="*", type=int, default=HORIZONS, choices=HORIZONS)
    parser.add_argument("--parts", nargs="*", default=("controls", "points", "intervals"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()

    def done(what: str, data_set: str, horizon: int, seed: int) -> bool:
        key = (what, data_set, horizon, seed)
        return any((run.what, run.data_set, run.horizon, run.seed) == key for run in runs())

    for data_set in given.sets:
        if "intervals" in given.parts and not done("intervals: model", data_set, 24, given.seed):
            for run in list(interval_runs(data_set, given.seed, given.threads)):
                keep(run)
        for horizon in given.horizons:
            if "controls" in given.parts and not done("linear", data_set, horizon, 0):
                for run in control_runs(data_set, horizon):
                    keep(run)
            if "points" in given.parts and not done("model", data_set, horizon, given.seed):
                keep(model_run(data_set, horizon, given.seed, given.threads))
    write_text(TABLE, "\n".join(table(runs())) + "\n")


if __name__ == "__main__":
    main()
