"""Which checkpoint ships: the best by its metric, or the latest that is not shown to be worse, from the same trainings.

python studies/shipping.py NAME ... [--seeds 1 2 3]      trains what is not in docs/results/shipping.jsonl yet
python studies/shipping.py --table                       writes the table in docs/results/small.md

Each training goes to its end and keeps every validated state; of each, the validation rows are scored one by one, and
the test rows. Both rules then choose, and stop, by what they would have seen.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from grid import ROOT, hardware, insert, mean_and_spread

from antiphon.api import read_config
from antiphon.config.schema import Config
from antiphon.data.load import load_parts
from antiphon.evaluation.influences import Sums
from antiphon.evaluation.metric_names import HIGHER_IS_BETTER
from antiphon.training.choice import Best, Judged, after, verdict
from antiphon.training.loop import train
from antiphon.use.loading import load
from antiphon.use.predictor import Predictor

DATA = Path(os.environ.get("ANTIPHON_DATA") or ROOT.parent / "shared/data").resolve()
RUNS, TABLE = ROOT / "docs/results/shipping.jsonl", ROOT / "docs/results/small.md"
G2P = DATA / "g2p-sigmorphon2021/medium"
INFLECTION = DATA / "inflection-conll2017"
SIDES = {"source": [{"column": 0}, {"column": 2, "tokens": {"split": ";"}}], "target": {"column": 1}}

QUOTIENTS = {"wer": "exact_match"}  # the metric of rows whose errors these are
Data = tuple[Path | Config, str, str]  # what is trained, the test's metric, and the watched one
SETS: dict[str, Data] = {
    "cmudict": (ROOT / "configs/g2p-cmudict-small.yaml", "wer", "token_error_rate"),
    **{name: (G2P / f"{name}_train.tsv", "wer", "token_error_rate") for name in ("fre", "kor", "dut")},
    **{
        f"infl-{name}": (
            Config.model_validate({"data": {"train": str(INFLECTION / f"{name}-train-medium.tsv")}, **SIDES}),
            "exact_match",
            "token_error_rate",
        )
        for name in ("turkish", "german")
    },
    "sst2": (ROOT / "configs/sentiment-sst2.yaml", "accuracy", "accuracy"),
    "tagging": (ROOT / "configs/tagging-ud-ewt.yaml", "accuracy", "accuracy"),
}


def test_of(name: str, config: Config) -> str:
    """The test rows of a data set."""
    if name.startswith("infl-"):
        return str(INFLECTION / f"{name.removeprefix('infl-')}-test.tsv")
    return str(config.data.test or G2P / f"{name}_test.tsv")


def recorded(name: str, seed: int) -> dict[str, Any]:
    """A training to its end: of every validation the sums of its rows, and what the test rows score."""
    what, metric, watched = SETS[name]
    settings = {"train.seed": seed, "train.keep": 1000, "train.save_minutes": None}
    config = read_config(what, settings).config
    patience = config.train.patience
    whole = config.model_copy(update={"train": config.train.model_copy(update={"patience": None})})
    folder = ROOT / "runs/shipping" / f"{name}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    model = load(train(whole, folder, threads=1), "cpu")
    history = [json.loads(line) for line in (folder / "training/log.jsonl").read_text().splitlines()]
    _, valid = load_parts(model.config, model.codecs)
    checkpoints = []
    for entry in history:
        weights(model, folder / "training" / f"step-{entry['step']:09}.pt")
        _, sums = model.row_sums(valid, beam=1)
        rows = {"above": sums[watched].above.tolist(), "below": sums[watched].below.tolist()}
        test = test_of(name, config)
        score = model.evaluate(test)[metric]
        test_rows = row_errors(model.row_sums(test)[1][QUOTIENTS.get(metric, metric)])
        checkpoints.append(
            {"step": entry["step"], "loss": entry["loss"], "rows": rows, "test": score, "test_rows": test_rows}
        )
    minutes = history[-1]["minutes"]
    shutil.rmtree(folder)
    about = {"name": name, "seed": seed, "metric": metric, "watched": watched, "patience": patience}
    return {**about, "minutes": round(minutes, 1), "hardware": hardware(1), "checkpoints": checkpoints}


def row_errors(right: Sums) -> list[float]:
    """What each row adds to the share of errors, 1 minus the metric."""
    errors: list[float] = ((right.below - right.above) / right.below.sum()).tolist()
    return errors


@torch.no_grad()
def weights(model: Predictor, path: Path) -> None:
    """Put the weights that a state would ship, an average where there is one, into a model."""
    learner = torch.load(path, map_location="cpu", weights_only=True)["learner"]
    moving = learner["average"]["moving"] or list(learner["weights"].values())
    for parameter, value in zip(model.model.parameters(), moving, strict=True):
        parameter.copy_(value)


def judged(run: Mapping[str, Any]) -> dict[str, Any]:
    """What either rule ships, and when it stops: of each the update, and the test rows' score."""
    sign = -1 if run["watched"] in HIGHER_IS_BETTER else 1
    patience = run["patience"] or np.inf
    checkpoints = run["checkpoints"]
    all_sums = [Sums(*(np.asarray(item["rows"][side], float) for side in ("above", "below"))) for item in checkpoints]
    values = [Judged(sign * sums.total, sign * sums.influences) for sums in all_sums]
    old = old_stop = 0
    for place, value in enumerate(values):
        if place - old >= patience:
            break
        old_stop = place
        old = place if value.value < values[old].value else old
    best: Best | None = None
    new = new_stop = 0
    bad = 0.0
    for place, (value, item) in enumerate(zip(values, checkpoints, strict=True)):
        if bad >= patience:
            break
        new_stop = place
        decision = verdict(value, item["loss"], best)
        best = after(best, decision, item["step"], value, item["loss"])
        new = place if decision.kept else new
        bad = 0.0 if decision.best else bad + decision.impatience
    about = {key: run[key] for key in ("name", "seed", "metric", "minutes", "hardware")}
    rules = {"old": (old, old_stop), "new": (new, new_stop), "last": (len(values) - 1, len(values) - 1)}
    shipped = {
        rule: {"kept": checkpoints[at]["step"], "stopped": checkpoints[stop]["step"], "test": checkpoints[at]["test"]}
        for rule, (at, stop) in rules.items()
    }
    errors = [np.asarray(checkpoints[at]["test_rows"]) for at in (old, new)]
    moved = {str(row): round(value, 9) for row, value in enumerate(errors[1] - errors[0]) if value}
    return {**about, "rows": len(values[0].influence), **shipped, "moved": moved, "test_rows": len(errors[0])}


def standard_error(runs: Sequence[Mapping[str, Any]]) -> float | None:
    """The standard error of the change of the test errors by the new rule, paired over test rows.

    A row's change is the mean over the trainings. None if a training's rows are not recorded.
    """
    if not all("moved" in run for run in runs):
        return None
    changes = np.zeros(runs[0]["test_rows"])
    for run in runs:
        for row, change in run["moved"].items():
            changes[int(row)] += change / len(runs)
    return float(np.sqrt(((changes - changes.mean()) ** 2).sum()))


def known() -> list[dict[str, Any]]:
    """The runs so far."""
    return [json.loads(line) for line in RUNS.read_text(encoding="utf-8").splitlines()] if RUNS.exists() else []


def table(runs: Sequence[Mapping[str, Any]]) -> None:
    """A row a data set: errors of the test rows, the mean of the seeds and half their range."""
    columns = (
        "data, seeds, validation rows, best by the metric, latest not shown to be worse, change, its error, the last"
    )
    lines = [
        f"| {columns.replace(', ', ' | ')} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    changes = []
    for name in SETS:
        mine = [run for run in runs if run["name"] == name]
        if not mine:
            continue
        errors = {
            rule: [item[rule]["test"] if item["metric"] == "wer" else 1 - item[rule]["test"] for item in mine]
            for rule in ("old", "new", "last")
        }
        change = statistics.mean(errors["new"]) - statistics.mean(errors["old"])
        changes.append(change / statistics.mean(errors["old"]))
        cells = [mean_and_spread(errors[rule], 100, 2) for rule in ("old", "new", "last")]
        rows = f"{mine[0]['rows']:,}"
        error = standard_error(mine)
        both = f"{100 * change:+.2f} | {'' if error is None else f'{100 * error:.2f}'}"
        lines.append(f"| {name} | {len(mine)} | {rows} | {cells[0]} | {cells[1]} | {both} | {cells[2]} |")
    lines.append("")
    lines.append(f"Errors change by {100 * statistics.mean(changes):+.1f}% of themselves, the mean over data sets.")
    insert(TABLE, "shipping", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        table(known())
        return
    for seed in arguments.seeds:
        for name in arguments.names:
            if (name, seed) not in {(run["name"], run["seed"]) for run in known()}:
                outcome = judged(recorded(name, seed))
                with open(RUNS, "a", encoding="utf-8") as file:
                    file.write(json.dumps(outcome) + "\n")
                print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
