"""Several models of a pronunciation table distilled into one: the teachers, all together, and the student.

python studies/distilling.py [LANGUAGE ...] [--teachers 5] [--seeds 1]   trains what is not in distilling.jsonl yet
python studies/distilling.py --table                                     writes the table of docs/results/distilling.md

The data is that of the SIGMORPHON 2021 shared task, medium (Ashby et al. 2021). Development rows choose the weights,
test rows are read once. All models have the default settings; the teachers differ in their seeds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grid import ROOT, hardware, insert, keep, known

import antiphon
from antiphon.use.predictor import Predictor

DATA = Path(os.environ.get("ANTIPHON_DATA") or ROOT.parent / "shared/data").resolve() / "g2p-sigmorphon2021/medium"
RUNS, TABLE = ROOT / "docs/results/distilling.jsonl", ROOT / "docs/results/distilling.md"


def measured(model: Predictor[Any], language: str) -> float:
    """The share of test words whose pronunciation is wrong."""
    return float(model.evaluate(str(DATA / f"{language}_test.tsv"))["wer"])


def run(language: str, teachers: int, seed: int) -> dict[str, Any]:
    """Teachers with the seeds from 1 on, and a student of all."""
    folder = ROOT / "runs/distilling" / language
    folder.mkdir(parents=True, exist_ok=True)
    train, valid = (str(DATA / f"{language}_{part}.tsv") for part in ("train", "dev"))
    names = [folder / f"teacher-{number}" for number in range(1, teachers + 1)]
    for number, name in enumerate(names, 1):
        if not (name / "metrics.json").exists():
            antiphon.train(train, name, {"train.seed": number}, overwrite=name.exists(), threads=1, valid=valid)
    singles = [measured(antiphon.load(name, "cpu"), language) for name in names]
    together = measured(antiphon.load(names, "cpu"), language)
    settings = {"train.seed": seed, "data.valid": valid}
    student = antiphon.distill(names, folder / "student", train, settings=settings, threads=1, overwrite=True)
    wer, minutes = measured(student, language), student.metrics["minutes"]
    shutil.rmtree(folder / "student")
    return {
        "language": language, "teachers": singles, "together": together, "student": wer, "seed": seed,
        "minutes": round(minutes, 1), "hardware": hardware(1),
    }  # fmt: skip


def table(runs: Sequence[Mapping[str, Any]]) -> None:
    """A row for each language."""
    lines = ["| language | teachers | one of them (mean) | together | student | minutes of the student |"]
    lines.append("|---|---|---|---|---|---|")
    lines += [
        f"| {item['language']} | {len(item['teachers'])} | {statistics.mean(item['teachers']):.4f} "
        f"| {item['together']:.4f} | {item['student']:.4f} | {item['minutes']:.1f} |"
        for item in runs
    ]
    insert(TABLE, "distilling", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("languages", nargs="*", default=["fre"])
    parser.add_argument("--teachers", type=int, default=5)
    parser.add_argument("--seeds", nargs="*", type=int, default=[1])
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        table(known(RUNS))
        return
    for seed in arguments.seeds:
        for language in arguments.languages:
            key = (language, arguments.teachers, seed)
            if key not in [(item["language"], len(item["teachers"]), item["seed"]) for item in known(RUNS)]:
                done = run(*key)
                keep(RUNS, done)


if __name__ == "__main__":
    main()
