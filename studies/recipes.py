"""Recipes trained and evaluated with several seeds; every run is made once and is a line of docs/results/recipes.jsonl.

python studies/recipes.py NAME ... [--seeds 1 2 3] [--threads 2]      then writes docs/results/recipes.table.md
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date

from grid import ROOT, hardware, mean_and_spread

import antiphon
from antiphon import config as configuration
from antiphon.files import write_text
from antiphon.training.loop import train

RUNS, TABLE = ROOT / "docs/results/recipes.jsonl", ROOT / "docs/results/recipes.table.md"
LANGUAGES = (
    "arabic",
    "english",
    "finnish",
    "georgian",
    "german",
    "hungarian",
    "polish",
    "russian",
    "spanish",
    "turkish",
)
EXPRESSIONS = ("affirmative", "doubt_question", "emphasis", "negative", "topics", "wh_question", "yn_question")
VIDEOS = ("a1", "a2", "a3", "b1", "b3", "c1", "c3")


@dataclass(frozen=True)
class Mark:
    """What a recipe is held to: a metric and its mark; and the data sets that an environment variable chooses among."""

    metric: str
    mark: str = ""
    variable: str = ""
    data_sets: tuple[str, ...] = ("",)


MARKS = {
    "images-mnist": Mark("accuracy", "at least 0.990"),
    "captions-emoji": Mark("chrf", "at least 30"),
    "captions-emoji-languages": Mark("chrf"),
    "captions-flickr8k": Mark("perplexity", "3% below shuffled images"),
    "sentiment-imdb": Mark("accuracy", "at least 0.890"),
    "sentiment-sst2": Mark("accuracy", "at least 0.800"),
    "sentiment-zh": Mark("accuracy", "at least 0.870"),
    "images-mnist-rows": Mark("accuracy", "at least 0.985"),
    "images-mnist-pixels": Mark("accuracy", "at least 0.950"),
    "couplets-zh": Mark("perplexity"),
    "chat-en": Mark("perplexity"),
    "inflection-conll2017": Mark("exact_match", "at least 0.930", "INFLECTION", LANGUAGES),
    "tagging-ud-ewt": Mark("accuracy", "at least 0.935"),
    "video-facial": Mark("macro_f1", "at least 0.719", "EXPRESSION", EXPRESSIONS),
    "video-gesture": Mark("macro_f1", "at least 0.462", "VIDEO", VIDEOS),
    "chars-shakespeare": Mark("loss", "at most 1.48"),
    "words-ptb": Mark("perplexity", "at most 88"),
    "music-nottingham": Mark("nll_per_frame", "at most 3.29"),
    "music-jsb": Mark("nll_per_frame", "at most 8.43"),
}


@dataclass(frozen=True)
class Run:
    """A recipe, trained with a seed on one of its data sets, and its scores on the test rows."""

    recipe: str
    data_set: str
    seed: int
    minutes: float
    hardware: str
    day: str
    scores: dict[str, float]


def runs() -> list[Run]:
    """All runs made so far."""
    if not RUNS.exists():
        return []
    return [Run(**json.loads(line)) for line in RUNS.read_text(encoding="utf-8").splitlines()]


def make(name: str, data_set: str, seed: int, threads: int) -> Run:
    """Train and evaluate."""
    if MARKS[name].variable:
        os.environ[MARKS[name].variable] = data_set
    config = configuration.load(ROOT / "configs" / f"{name}.yaml", {"train.seed": seed})
    began = time.monotonic()
    folder = train(config, ROOT / "runs" / "recipes" / f"{name}{data_set}-{seed}", overwrite=True, threads=threads)
    minutes = (time.monotonic() - began) / 60
    scores = antiphon.load(folder).evaluate()
    return Run(name, data_set, seed, round(minutes, 1), hardware(threads), date.today().isoformat(), scores)


def table(found: list[Run]) -> Iterator[str]:
    """A row a recipe: of its seeds the mean over its data sets, the mean of these ± half the range, and the minutes."""
    yield "| recipe | metric | test | mark | runs | minutes a run | hardware |"
    yield "|---|---|---|---|---|---|---|"
    for name, mark in MARKS.items():
        own = [run for run in found if run.recipe == name]
        seeds = {run.seed: [other for other in own if other.seed == run.seed] for run in own}
        whole = [part for part in seeds.values() if {run.data_set for run in part} == set(mark.data_sets)]
        if whole:
            means = [sum(run.scores[mark.metric] for run in part) / len(part) for part in whole]
            minutes = max(run.minutes for part in whole for run in part)
            machines = "; ".join(sorted({run.hardware for part in whole for run in part}))
            score = mean_and_spread(means, digits=4)
            yield f"| {name} | {mark.metric} | {score} | {mark.mark} | {len(own)} | {minutes} | {machines} |"


def main() -> None:
    """Make the runs that are missing, and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(MARKS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1])
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if unknown := set(given.names) - set(MARKS):
        parser.error(f"no such recipe: {', '.join(sorted(unknown))}; there are {', '.join(MARKS)}")
    for name in given.names:
        for seed in given.seeds:
            for data_set in MARKS[name].data_sets:
                if not any((run.recipe, run.data_set, run.seed) == (name, data_set, seed) for run in runs()):
                    run = make(name, data_set, seed, given.threads)
                    with RUNS.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(run)) + "\n")
    write_text(TABLE, "\n".join(table(runs())) + "\n")


if __name__ == "__main__":
    main()
