"""Forms of words in ten languages by the defaults alone, beside two controls: the lemma itself, and rules of endings.

python studies/inflection.py [LANGUAGE ...] [--sizes low medium high] [--seeds 1 2 3] [--set KEY=VALUE ...]
    trains what is not in docs/results/inflection.jsonl yet
python studies/inflection.py --controls     measures the controls, which takes seconds
python studies/inflection.py --table        writes the tables of docs/results/inflection.md

The data is that of the CoNLL-SIGMORPHON 2017 shared task (Cotterell et al. 2017, arXiv 1706.09031); the development
rows choose the weights, the test rows are read once.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from grid import ROOT, hardware, insert, mean_and_spread

from antiphon.api import read_config
from antiphon.cli.common import settings_of
from antiphon.config.schema import Config
from antiphon.training.loop import train
from antiphon.use.loading import load

DATA = Path(os.environ.get("ANTIPHON_DATA") or ROOT.parent / "shared/data").resolve() / "inflection-conll2017"
RUNS, TABLE = ROOT / "docs/results/inflection.jsonl", ROOT / "docs/results/inflection.md"
LANGUAGES = (
    "arabic", "english", "finnish", "georgian", "german", "hungarian", "polish", "russian", "spanish", "turkish",
)  # fmt: skip
SIZES = {"low": 100, "medium": 1_000, "high": 10_000}
SIDES = {"source": [{"column": 0}, {"column": 2, "tokens": {"split": ";"}}], "target": {"column": 1}}
Row = tuple[str, str, str]  # lemma, form, tags


def rows(language: str, part: str) -> list[Row]:
    """The rows of a part: dev, test, train-low, train-medium, train-high."""
    lines = (DATA / f"{language}-{part}.tsv").read_text(encoding="utf-8").splitlines()
    return [(lemma, form, tags) for lemma, form, tags in (line.split("\t") for line in lines if line.strip())]


# --- controls -----------------------------------------------------------------------------------------


def by_rule(training: Sequence[Row], lemma: str, tags: str) -> str:
    """The form by the rule of endings, learned from rows with the same tags, whose lemma's end is the longest.

    A rule replaces what follows the longest common beginning of lemma and form; with every longer end of the lemma
    there is a rule as well. Of equally long ones the most frequent counts; without any the lemma stays.
    """
    rules: dict[str, Counter[str]] = defaultdict(Counter)
    for known, form, known_tags in training:
        if known_tags != tags:
            continue
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(known, form, strict=False)))
        for start in range(common + 1):
            rules[known[start:]][form[start:]] += 1
    for start in range(len(lemma) + 1):
        if lemma[start:] in rules:
            return lemma[:start] + rules[lemma[start:]].most_common(1)[0][0]
    return lemma


def controls() -> dict[str, dict[str, float]]:
    """The share of test forms that are the lemma, and that the rules write, by size: means over languages."""
    shares: dict[str, dict[str, float]] = {}
    for size in SIZES:
        copied, ruled = [], []
        for language in LANGUAGES:
            training, test = rows(language, f"train-{size}"), rows(language, "test")
            copied.append(statistics.mean(lemma == form for lemma, form, _ in test))
            ruled.append(statistics.mean(by_rule(training, lemma, tags) == form for lemma, form, tags in test))
        shares[size] = {"lemma": statistics.mean(copied), "rules": statistics.mean(ruled)}
    return shares


# --- trainings ----------------------------------------------------------------------------------------


def trained(language: str, size: str, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One training by the defaults, with `settings` in their place, and its test metrics."""
    data = {name: str(DATA / f"{language}-{part}.tsv") for name, part in (("train", f"train-{size}"), ("valid", "dev"))}
    config = read_config(Config.model_validate({"data": data, **SIDES}), {**settings, "train.seed": seed}).config
    folder = ROOT / "runs/inflection" / f"{language}-{size}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    model = load(train(config, folder, threads=1), "cpu")
    scores = model.evaluate(str(DATA / f"{language}-test.tsv"))
    minutes = model.metrics["minutes"]
    shutil.rmtree(folder)
    return {
        "language": language, "size": size, "seed": seed, "settings": dict(settings),
        "exact_match": scores["exact_match"], "token_error_rate": scores["token_error_rate"],
        "minutes": round(minutes, 1), "hardware": hardware(1),
    }  # fmt: skip


def known() -> list[dict[str, Any]]:
    """The runs so far."""
    return [json.loads(line) for line in RUNS.read_text(encoding="utf-8").splitlines()] if RUNS.exists() else []


def table(runs: Sequence[Mapping[str, Any]]) -> None:
    """A row a language: exact match of the defaults by size, and its minutes; a row of means where all are there."""
    lines = [f"| language |{''.join(f' {size} ({count:,}) | minutes |' for size, count in SIZES.items())}"]
    lines.append("|---" * (1 + 2 * len(SIZES)) + "|")
    means: dict[str, list[float]] = {size: [] for size in SIZES}
    for language in LANGUAGES:
        cells = [language]
        for size in SIZES:
            mine = [run for run in runs if (run["language"], run["size"], run["settings"]) == (language, size, {})]
            exact = [run["exact_match"] for run in mine]
            if exact:
                means[size].append(statistics.mean(exact))
            shown = f"{mean_and_spread(exact, 1, 3)} ({len(exact)})" if exact else ""
            cells += [shown, f"{statistics.mean(run['minutes'] for run in mine):.1f}" if mine else ""]
        lines.append(f"| {' | '.join(cells)} |")
    whole = [f"{statistics.mean(values):.3f}" if len(values) == len(LANGUAGES) else "" for values in means.values()]
    lines.append(f"| mean of ten | {' |  | '.join(whole)} |  |")
    insert(TABLE, "inflection", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("languages", nargs="*", default=list(LANGUAGES))
    parser.add_argument("--sizes", nargs="*", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--set", nargs="*", default=[], dest="settings")
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        table(known())
        return
    if arguments.controls:
        shares = controls()
        lines = ["| control | low | medium | high |", "|---|---|---|---|"]
        for name in ("lemma", "rules"):
            lines.append(f"| {name} | {' | '.join(f'{shares[size][name]:.3f}' for size in SIZES)} |")
        insert(TABLE, "controls", lines)
        return
    settings = settings_of(arguments.settings)
    for seed in arguments.seeds:
        for size in arguments.sizes:
            for language in arguments.languages:
                key = (language, size, seed, settings)
                if key not in [(run["language"], run["size"], run["seed"], run["settings"]) for run in known()]:
                    outcome = trained(language, size, seed, settings)
                    with open(RUNS, "a", encoding="utf-8") as file:
                        file.write(json.dumps(outcome) + "\n")
                    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
