"""Every cell on five tasks: how good it gets, how fast it gets there, and how many steps it reads a second.

python studies/every_cell.py [TASK ...] [--cells lstm mingru ...] [--seeds 1] [--threads 2]
    trains what is not in docs/results/cells.jsonl yet; every run is made once and is a line there
python studies/every_cell.py --table     writes the tables in docs/results/cells.md

A task is trained as its recipe (or by the defaults, where it has none), with other cells in place of its own and the
same settings for all: they were chosen for the LSTM, so that the figures say what a cell does when it takes its place.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from grid import ROOT, hardware, insert, keep, known, mean_and_spread

from antiphon.api import read_config
from antiphon.evaluation.metric_names import HIGHER_IS_BETTER
from antiphon.files import write_text
from antiphon.model.parts.cells import CELLS
from antiphon.training.loop import train
from antiphon.use.loading import load

RUNS, TABLE = ROOT / "docs/results/cells.jsonl", ROOT / "docs/results/cells.md"
FOLDER = ROOT / "runs/cells"
NEAR = 0.98  # quality is reached with this share of what the LSTM reaches, of a loss or an error with 1 / NEAR


@dataclass(frozen=True)
class Task:
    """A recipe's name, or the sides and data of a configuration; what it is judged by; settings for all cells."""

    metric: str
    recipe: str = ""
    tree: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)


FRENCH = "${ANTIPHON_DATA:-../../shared/data}/g2p-sigmorphon2021/medium/fre"
TASKS = {
    "letters": Task(
        "exact_match",
        tree={
            "data": {"train": f"{FRENCH}_train.tsv", "valid": f"{FRENCH}_dev.tsv", "test": f"{FRENCH}_test.tsv"},
            "target": {"column": 1, "tokens": {"split": " "}},
        },
        settings={"train.max_steps": 6000},
    ),
    "tagging": Task("accuracy", "tagging-ud-ewt"),
    "characters": Task("loss", "chars-shakespeare", settings={"train.epochs": 8}),
    "pixels": Task("accuracy", "images-mnist-pixels", settings={"train.epochs": 2}),
    "sensor": Task("macro_f1", "video-gesture"),
}  # fmt: skip


def run(name: str, cell: str, seed: int, threads: int) -> dict[str, Any]:
    """Train a task with a cell once."""
    task = TASKS[name]
    if task.recipe:
        path = ROOT / "configs" / f"{task.recipe}.yaml"
    else:
        FOLDER.mkdir(parents=True, exist_ok=True)
        path = FOLDER / f"{name}.yaml"
        write_text(path, json.dumps(task.tree))
    completed = read_config(path, {**task.settings, "model.cell": cell, "train.seed": seed})
    began = time.monotonic()
    folder = train(completed.config, FOLDER / f"{name}-{cell}-{seed}", overwrite=True, threads=threads)
    minutes = (time.monotonic() - began) / 60
    log = (folder / "training/log.jsonl").read_text(encoding="utf-8").splitlines()
    history = [json.loads(line) for line in log]
    model = load(folder)
    return {
        "task": name, "cell": cell, "seed": seed, "score": model.evaluate()[task.metric], "minutes": round(minutes, 2),
        "parameters": sum(value.numel() for value in model.model.parameters()),
        "history": [(round(entry["minutes"], 3), entry[task.metric]) for entry in history if task.metric in entry],
        "steps_per_second": round(max(entry["tokens_per_second"] for entry in history if "tokens_per_second" in entry)),
        "date": date.today().isoformat(), "hardware": hardware(threads),
    }  # fmt: skip


def reached(history: Sequence[tuple[float, float]], goal: float, higher: bool) -> float | None:
    """Minutes until a validation was as good as the goal; None if none was."""
    return next((minutes for minutes, value in history if (value >= goal if higher else value <= goal)), None)


def table(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A row for each task and cell: the means of the seeds."""
    yield "| task | cell | parameters | quality | minutes to the LSTM's | minutes in all | steps a second | seeds |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, task in TASKS.items():
        higher = task.metric in HIGHER_IS_BETTER
        best = max if higher else min
        peaks = [best(v for _, v in r["history"]) for r in runs if (r["task"], r["cell"]) == (name, "lstm")]
        goal = (sum(peaks) / len(peaks)) * (NEAR if higher else 1 / NEAR) if peaks else None
        for cell in CELLS:
            of_cell = [item for item in runs if (item["task"], item["cell"]) == (name, cell)]
            if not of_cell:
                continue
            times = [None if goal is None else reached(item["history"], goal, higher) for item in of_cell]
            whole = [value for value in times if value is not None]
            never = f"{len(whole)} of {len(times)} reach it"
            cells = [
                name, f"`{cell}`", f"{of_cell[0]['parameters']:,}",
                f"{task.metric} {mean_and_spread([item['score'] for item in of_cell], digits=4)}",
                mean_and_spread(whole, digits=1) if len(whole) == len(times) else never,
                mean_and_spread([item["minutes"] for item in of_cell], digits=1),
                f"{sum(item['steps_per_second'] for item in of_cell) / len(of_cell):,.0f}", str(len(of_cell)),
            ]  # fmt: skip
            yield f"| {' | '.join(cells)} |"
    for machine in sorted({item["hardware"] for item in runs}):
        yield f"\n{machine}."


def main() -> None:
    """Make the runs that are missing, or the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help=", ".join(TASKS))
    parser.add_argument("--cells", nargs="*", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if unknown := set(given.tasks) - set(TASKS):
        parser.error(f"no such task: {', '.join(unknown)}; there are {', '.join(TASKS)}")
    if given.table:
        insert(TABLE, "cells", list(table(known(RUNS))))
        return
    for seed in given.seeds:
        for name in given.tasks or TASKS:
            for cell in given.cells:
                if not any((item["task"], item["cell"], item["seed"]) == (name, cell, seed) for item in known(RUNS)):
                    keep(RUNS, run(name, cell, seed, given.threads))


if __name__ == "__main__":
    main()
