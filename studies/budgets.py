"""Trainings within given minutes, timed from the start of their process: `antiphon train --minutes N`.

python studies/budgets.py [TABLE ...] [--minutes 2 5 10 30] [--seeds 1]     trains what is not in budgets.jsonl yet
python studies/budgets.py --table                                          writes docs/results/budgets.md's table

Each run is a process of one thread; minutes are counted from its start to its end. Figures are of the test rows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from grid import ROOT, hardware, insert, keep, known, mean_and_spread

from antiphon.files import write_text
from antiphon.use.loading import load

DATA = Path(os.environ.get("ANTIPHON_DATA") or ROOT.parent / "shared/data").resolve()
RUNS, TABLE = ROOT / "docs/results/budgets.jsonl", ROOT / "docs/results/budgets.md"
UNTIMED = 0.0  # minutes that stand for a training without a limit


def _parallel(part: str) -> dict[str, str]:
    return {side: str(DATA / f"multi30k/tok/{part}.{ending}") for side, ending in (("source", "en"), ("target", "de"))}


TABLES: dict[str, tuple[dict[str, Any], str]] = {  # a configuration that names the data alone, and its metric
    "cmudict": (
        {"data": {"train": str(DATA / "g2p-cmudict/train.tsv"), "test": str(DATA / "g2p-cmudict/test.tsv"),
                  "references": "group"}},
        "wer",
    ),
    "multi30k": (
        {"data": {name: _parallel(part) for name, part in (("train", "train"), ("valid", "val"), ("test", "test2016"))},
         "evaluate": {"bleu_tokenize": "none"}},
        "bleu",
    ),
    "g2p-french": (
        {"data": {"train": str(DATA / "g2p-sigmorphon2021/medium/fre_train.tsv"),
                  "test": str(DATA / "g2p-sigmorphon2021/medium/fre_test.tsv")}},
        "wer",
    ),
    "sentiment-sst2": (
        {"data": {"train": str(DATA / "sentiment-sst2/train.tsv"), "test": str(DATA / "sentiment-sst2/test.tsv")},
         "source": {"column": 1}, "target": {"column": 0}},
        "accuracy",
    ),
}  # fmt: skip


def run(name: str, minutes: float, seed: int) -> dict[str, Any]:
    """One training in a process, and its test figures."""
    tree, _ = TABLES[name]
    folder = ROOT / "runs/budgets" / f"{name}-{minutes:g}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_text(folder / "c.yaml", json.dumps({**tree, "train": {"seed": seed}}))
    command = [sys.executable, "-m", "antiphon", "train", str(folder / "c.yaml"), "--out", str(folder / "model")]
    command += ["--threads", "1", *(["--minutes", f"{minutes:g}"] if minutes else [])]
    began = time.monotonic()
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    taken = (time.monotonic() - began) / 60
    model = load(folder / "model", "cpu")
    scores = model.evaluate()
    made = {
        "table": name, "minutes": minutes, "seed": seed, "taken": round(taken, 3), "updates": model.metrics["updates"],
        "parameters": sum(parameter.numel() for parameter in model.model.parameters()),
        "scores": scores, "date": date.today().isoformat(), "hardware": hardware(1),
    }  # fmt: skip
    shutil.rmtree(folder)
    return made


def table(runs: Sequence[dict[str, Any]]) -> None:
    """A row for each table and its minutes."""
    lines = ["| table | minutes | metric | test figure | minutes taken | updates | parameters |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, (_, metric) in TABLES.items():
        for minutes in sorted({item["minutes"] for item in runs if item["table"] == name}, key=lambda m: m or 1e9):
            mine = [item for item in runs if (item["table"], item["minutes"]) == (name, minutes)]
            digits = 2 if metric == "bleu" else 4
            figure, taken = (
                mean_and_spread([item["scores"][metric] for item in mine], 1, digits),
                mean_and_spread([item["taken"] for item in mine], 1, 2),
            )
            updates, parameters = (round(sum(i[key] for i in mine) / len(mine)) for key in ("updates", "parameters"))
            limit = f"{minutes:g}" if minutes else "no limit"
            lines.append(f"| {name} | {limit} | {metric} | {figure} | {taken} | {updates:,} | {parameters:,} |")
    insert(TABLE, "budgets", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], default=[])
    parser.add_argument("--minutes", nargs="*", type=float, default=[2, 5, 10, 30])
    parser.add_argument("--seeds", nargs="*", type=int, default=[1])
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        table(known(RUNS))
        return
    for seed in arguments.seeds:
        for minutes in arguments.minutes:
            for name in arguments.tables or TABLES:
                key = (name, minutes, seed)
                if key not in [(item["table"], item["minutes"], item["seed"]) for item in known(RUNS)]:
                    done = run(*key)
                    keep(RUNS, done)


if __name__ == "__main__":
    main()
