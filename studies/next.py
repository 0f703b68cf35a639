"""French pronunciations, labelled by chance and as `antiphon next` chooses: words wrong by the number of labelled rows.

python studies/next.py [--minutes 5 | --small] [--seeds 1] [--by confidence] [--step 500]
                                  runs what is not in next.jsonl yet
python studies/next.py --table    writes docs/results/next.md's table

The pool are the 8,000 training rows of the SIGMORPHON 2021 shared task (medium, French), of which the labels are hidden
until a row is chosen. The first rows are drawn; then a model of the rows so far chooses the next ones, again and again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from grid import ROOT, hardware, insert, keep, known, mean_and_spread

import antiphon

DATA = Path(os.environ.get("ANTIPHON_DATA") or ROOT.parent / "shared/data").resolve() / "g2p-sigmorphon2021/medium"
RUNS, PAGE = ROOT / "docs/results/next.jsonl", ROOT / "docs/results/next.md"
BEGIN, END, CHANCE = 500, 2500, (1000, 1500, 2000, 2500, 4000)
SMALL = {  # a model that a busy core trains in minutes, to try the study
    "model.cell": "gru", "model.embedding": 32, "model.encoder.hidden": 48, "model.decoder.hidden": 96,
    "train.max_steps": 1500, "train.batch_size": 32, "train.learning_rate": 0.005,
}  # fmt: skip


def trained(rows: Sequence[str], folder: Path, minutes: float | None, seed: int) -> tuple[Any, float]:
    """A model of these rows, and the share of the test words that it has wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "t.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    settings = SMALL if minutes is None else {"train.minutes": minutes}
    settings = {**settings, "train.seed": seed, "source.tokens": "chars", "target.tokens": "words"}
    model = antiphon.train(folder / "t.tsv", folder / "m", settings, threads=1, quiet=True)
    return model, model.evaluate(str(DATA / "fre_test.tsv"))["wer"]


def drawn(count: int, minutes: float | None, seed: int) -> dict[str, Any]:
    """Rows by chance."""
    rows = pool(seed)[:count]
    _, wer = trained(rows, ROOT / "runs/next/chance", minutes, seed)
    return {"how": "chance", "rows": count, "wer": wer}


def pool(seed: int) -> list[str]:
    rows = (DATA / "fre_train.tsv").read_text(encoding="utf-8").splitlines()
    random.Random(seed).shuffle(rows)
    return rows


def chosen(by: str, step: int, minutes: float | None, seed: int) -> list[dict[str, Any]]:
    """Rows as `next` chooses them, `step` at a time; the figure at every step."""
    rows = pool(seed)
    labelled, hidden = rows[:BEGIN], rows[BEGIN:]
    results = []
    while True:
        model, wer = trained(labelled, ROOT / "runs/next/chosen", minutes, seed)
        results.append({"how": f"{by}, {step} at a time", "rows": len(labelled), "wer": wer})
        if len(labelled) >= END:
            return results
        count = min(step, END - len(labelled))
        best = model.next_rows([row.split("\t")[0] for row in hidden], count, by)
        places = {item.line - 1 for item in best}
        labelled = [*labelled, *(row for place, row in enumerate(hidden) if place in places)]
        hidden = [row for place, row in enumerate(hidden) if place not in places]


def table(runs: Sequence[dict[str, Any]]) -> None:
    """A row for each way of choosing."""
    counts = sorted({item["rows"] for item in runs})
    lines = [f"| chosen by | minutes | {' | '.join(f'{count:,} rows' for count in counts)} |"]
    lines.append("|---" * (2 + len(counts)) + "|")
    for how, minutes in dict.fromkeys((item["how"], item["minutes"]) for item in runs):
        cells = []
        for count in counts:
            same = [i["wer"] for i in runs if (i["how"], i["minutes"], i["rows"]) == (how, minutes, count)]
            cells.append(f"{mean_and_spread(same, 100, 1)}%" if same else "")
        lines.append(f"| {how} | {'small' if minutes is None else f'{minutes:g}'} | {' | '.join(cells)} |")
    insert(PAGE, "next", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--small", action="store_true", help="a small model, without a limit of minutes")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1])
    parser.add_argument("--by", nargs="*", default=["confidence"])
    parser.add_argument("--step", type=int, default=500)
    parser.add_argument("--chance", type=int, nargs="*", default=list(CHANCE))
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        table(known(RUNS))
        return
    about = {"date": date.today().isoformat(), "hardware": hardware(1)}
    for seed in arguments.seeds:
        keys = {"minutes": None if arguments.small else arguments.minutes, "seed": seed}
        done = [(i["how"], i["rows"]) for i in known(RUNS) if (i["minutes"], i["seed"]) == tuple(keys.values())]
        for count in arguments.chance:
            if ("chance", count) not in done:
                keep(RUNS, {**drawn(count, **keys), **keys, **about})
        for by in arguments.by:
            if (f"{by}, {arguments.step} at a time", END) not in done:
                for item in chosen(by, arguments.step, **keys):
                    keep(RUNS, {**item, **keys, **about})


if __name__ == "__main__":
    main()
