"""Planted errors in pronunciation tables, and how many of them `antiphon doubt` puts first.

python studies/doubt.py [LANGUAGE ...] [--minutes 5] [--folds 5] [--seed 1]     runs what is not in doubt.jsonl yet
python studies/doubt.py --table                                             writes the table of docs/results/doubt.md

In 5% of the rows of a table of the SIGMORPHON 2021 shared task (medium) the pronunciation is made wrong: a symbol is
replaced, removed, added or exchanged with its neighbour, or the pronunciation is that of another row, a fifth of the
errors each. The settings are those that are chosen for the table and the minutes.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from grid import ROOT, hardware, insert, keep, known

import antiphon
from antiphon.use.doubting import Doubt

DATA = Path(os.environ.get("ANTIPHON_DATA") or ROOT.parent / "shared/data").resolve() / "g2p-sigmorphon2021/medium"
RUNS, PAGE = ROOT / "docs/results/doubt.jsonl", ROOT / "docs/results/doubt.md"
SHARE = 0.05  # of the rows that are made wrong
FIRST = (0.05, 0.1, 0.2)  # shares of the list
KINDS = ("replaced", "removed", "added", "exchanged", "of another row")


def damaged(symbols: list[str], kind: str, others: Sequence[list[str]], chance: random.Random) -> list[str]:
    """A pronunciation with an error of a kind."""
    place, inventory = chance.randrange(len(symbols)), sorted({symbol for other in others for symbol in other})
    if kind == "replaced":
        return [*symbols[:place], chance.choice(inventory), *symbols[place + 1 :]]
    if kind == "removed":
        return [*symbols[:place], *symbols[place + 1 :]]
    if kind == "added":
        return [*symbols[:place], chance.choice(inventory), *symbols[place:]]
    if kind == "exchanged":
        return [*symbols[:place], *reversed(symbols[place : place + 2]), *symbols[place + 2 :]]
    return chance.choice(others)


def planted(lines: Sequence[str], seed: int) -> tuple[list[str], dict[int, str]]:
    """The lines with errors in some of them, and the kind of each error by its line, from 1."""
    chance = random.Random(seed)
    rows = [line.split("\t") for line in lines]
    answers = [row[1].split() for row in rows]
    errors = {}
    for number, place in enumerate(chance.sample(range(len(rows)), round(SHARE * len(rows)))):
        kind = KINDS[number % len(KINDS)]
        wrong = answers[place]
        while wrong == answers[place] or not wrong:
            wrong = damaged(answers[place], kind, answers, chance)
            if kind in ("exchanged", "removed") and len(set(answers[place])) < 2:
                kind = "replaced"
        rows[place][1] = " ".join(wrong)
        errors[place + 1] = kind
    return ["\t".join(row) for row in rows], errors


def steps(item: Doubt) -> int:
    return len(item.sides["target"].split()) + 1


MEASURES: dict[str, Callable[[Doubt], float]] = {  # what could rank rows, the largest first
    "log p of the prediction - log p of the target": lambda item: (item.best or 0.0) - (item.score or 0.0),
    "the same for each symbol": lambda item: item.doubt,
    "-log p of the target": lambda item: -(item.score or 0.0),
    "-log p for each symbol": lambda item: -(item.score or 0.0) / steps(item),
}


def shares(items: Sequence[Doubt], errors: dict[int, str], measure: Callable[[Doubt], float]) -> dict[str, Any]:
    """The share of the errors in the first parts of the list, and of each kind in its first tenth."""
    order = [item.line for item in sorted(items, key=lambda item: (-measure(item), item.score or 0.0))]
    result: dict[str, Any] = {}
    for first in FIRST:
        top = set(order[: round(first * len(order))])
        result[f"{first:g}"] = round(len(top & errors.keys()) / len(errors), 4)
    top = set(order[: round(0.1 * len(order))])
    for kind in KINDS:
        lines = {line for line, what in errors.items() if what == kind}
        result[kind] = round(len(top & lines) / max(len(lines), 1), 4)
    return result


def run(language: str, minutes: float, folds: int, seed: int, rows: int | None) -> dict[str, Any]:
    """One table: its errors, found by other models and by the model itself."""
    folder = ROOT / "runs/doubt" / f"{language}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lines = (DATA / f"{language}_train.tsv").read_text(encoding="utf-8").splitlines()[:rows]
    wrong, errors = planted(lines, seed)
    (folder / "t.tsv").write_text("".join(f"{line}\n" for line in wrong), encoding="utf-8")
    limit = {"train.minutes": minutes, "target.tokens": "words"}
    antiphon.train(folder / "t.tsv", folder / "m", limit, threads=1, quiet=True)
    began = time.monotonic()
    items = antiphon.doubt(folder / "m", folds=folds, threads=1, tell=print)
    taken = (time.monotonic() - began) / 60
    itself = antiphon.doubt(folder / "m", cross=False)
    return {
        "language": language, "minutes": minutes, "folds": folds, "seed": seed, "rows": len(lines),
        "errors": len(errors), "taken": round(taken, 2),
        "measures": {name: shares(items, errors, measure) for name, measure in MEASURES.items()},
        "itself": {name: shares(itself, errors, measure) for name, measure in MEASURES.items()},
        "not planted": [[item.sides["source"], item.sides["target"], item.prediction, round(item.doubt, 2)]
                        for item in items if item.line not in errors][:20],
        "date": date.today().isoformat(), "hardware": hardware(1),
    }  # fmt: skip


def table(runs: Sequence[dict[str, Any]]) -> None:
    """A row for each table and measure."""
    tops = " | ".join(f"first {first:.0%}" for first in FIRST)
    lines = [
        f"| table | models | ranked by | {tops} | {' | '.join(KINDS)} |",
        "|---" * (3 + len(FIRST) + len(KINDS)) + "|",
    ]
    for item in runs:
        name = f"{item['language']}, {item['rows']:,} rows, {item['errors']} wrong"
        models = f"{item['folds']} of {item['minutes']:g} minutes"
        entries = [*((models, *entry) for entry in item["measures"].items())]
        entries += [("the model itself", *entry) for entry in item["itself"].items()]
        for how, measure, result in entries:
            cells = [f"{result[f'{first:g}']:.1%}" for first in FIRST] + [f"{result[kind]:.1%}" for kind in KINDS]
            lines.append(f"| {name} | {how} | {measure} | {' | '.join(cells)} |")
    insert(PAGE, "doubt", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("languages", nargs="*", default=["fre", "dut"])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, help="only so many rows, to try it")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        table(known(RUNS))
        return
    for language in arguments.languages:
        key = (language, arguments.minutes, arguments.folds, arguments.seed, arguments.rows)
        done = [
            (item["language"], item["minutes"], item["folds"], item["seed"], item.get("limit")) for item in known(RUNS)
        ]
        if key not in done:
            keep(RUNS, {**run(*key), "limit": arguments.rows})


if __name__ == "__main__":
    main()
