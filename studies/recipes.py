"""Recipes trained and evaluated with several seeds; every run is made once and is a line of docs/results/recipes.jsonl.

python studies/recipes.py NAME ... [--seeds 1 2 3] [--threads 2]      then writes docs/results/structures.md
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from string import ascii_uppercase

from grid import ROOT, hardware, mean_and_spread

import antiphon
from antiphon.config.load import read_config_file
from antiphon.files import write_text
from antiphon.training.loop import train

RUNS = ROOT / "docs/results/recipes.jsonl"
CONTROLS = ROOT / "docs/results/controls.jsonl"
TABLE = ROOT / "docs/results/structures.md"
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
class Recipe:
    """A recipe as it is measured: its metrics on the test rows, the first of them held to a mark.

    `variable` is the environment variable that chooses among `data_sets`. A control is a recipe `of` another name,
    with `settings` that take something away from it.
    """

    structure: str
    metrics: tuple[str, ...]
    mark: str = ""
    published: str = ""
    variable: str = ""
    data_sets: tuple[str, ...] = ("",)
    of: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)


GENERATED = ("perplexity", "bleu", "distinct_1", "distinct_2")
SHUFFLED = {f"data.{part}": f"../prepared/captions-flickr8k/{part}.tsv" for part in ("train", "valid")}
NO_SOURCE = {"source": {"kind": "none"}, "model.attention": "none"}

RECIPES = {
    "images-mnist": Recipe("one_to_one", ("accuracy",), "at least 0.990"),
    "captions-emoji": Recipe("one_to_many", ("chrf",), "at least 30, and above the nearest picture"),
    "captions-emoji-languages": Recipe("one_to_many", ("chrf",)),
    "captions-flickr8k": Recipe(
        "one_to_many",
        ("perplexity", "bleu"),
        "3% below shuffled images",
        "VGG features, all 6,000 photographs: BLEU-4 14.2",
    ),
    "forecast-ett": Recipe(
        "many_to_many",
        ("mse_scaled", "mae_scaled"),
        "ETTh1 at most 0.375, ETTh2 0.285 (96 hours; the other horizons: forecast.md)",
        "SegRNN: 0.368 and 0.278",
        "ETT",
        ("ETTh1", "ETTh2"),
    ),
    "captions-flickr8k, trained on shuffled images": Recipe(
        "one_to_many", ("perplexity", "bleu"), of="captions-flickr8k", settings=SHUFFLED
    ),
    "sentiment-imdb": Recipe("many_to_one", ("accuracy",), "at least 0.890", "from scratch, BiLSTM: 0.8905"),
    "sentiment-sst2": Recipe("many_to_one", ("accuracy",), "at least 0.800"),
    "sentiment-zh": Recipe("many_to_one", ("accuracy",), "at least 0.870"),
    "images-mnist-rows": Recipe("many_to_one", ("accuracy",), "at least 0.985"),
    "images-mnist-pixels": Recipe("many_to_one", ("accuracy",), "at least 0.950"),
    "images-mnist-pixels-mingru": Recipe("many_to_one", ("accuracy",), "at least 0.985"),
    "couplets-zh": Recipe("many_to_many", GENERATED),
    "couplets-zh, without the source": Recipe(
        "many_to_many", GENERATED, of="couplets-zh", settings={**NO_SOURCE, "data.references": "rows"}
    ),
    "chat-en": Recipe("many_to_many", GENERATED),
    "chat-en, the last turn alone": Recipe("many_to_many", GENERATED, of="chat-en", settings={"source.turns": 1}),
    "chat-en, without the source": Recipe("many_to_many", GENERATED, of="chat-en", settings=NO_SOURCE),
    "inflection-conll2017": Recipe(
        "many_to_many",
        ("exact_match",),
        "at least 0.930",
        "",
        "INFLECTION",
        LANGUAGES,
    ),
    "tagging-ud-ewt": Recipe(
        "synchronous", ("accuracy",), "at least 0.935", "BiLSTM of teaching code 0.8826, transformer pipeline 0.969"
    ),
    "video-facial": Recipe("synchronous", ("macro_f1",), "at least 0.719", "", "EXPRESSION", EXPRESSIONS),
    "video-gesture": Recipe("synchronous", ("macro_f1",), "at least 0.462", "", "VIDEO", VIDEOS),
    "chars-shakespeare": Recipe("synchronous", ("loss",), "at most 1.48 nats", "small Transformer 1.4697"),
    "chars-shakespeare-mingru": Recipe("synchronous", ("loss",), "at most 1.46 nats", "small Transformer 1.4697"),
    "words-ptb": Recipe("synchronous", ("perplexity",), "at most 88", "LSTM 78.93, GRU 92.48"),
    "music-nottingham": Recipe("synchronous", ("nll_per_frame",), "at most 3.29", "LSTM 3.29, GRU 3.46, RNN 4.05"),
    "music-jsb": Recipe("synchronous", ("nll_per_frame",), "at most 8.43"),
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


def folder_of(name: str, data_set: str, seed: int) -> Path:
    """Where a run's model lies."""
    return ROOT / "runs/recipes" / "-".join(filter(None, (re.sub(r"[^\w]+", "-", name), data_set, str(seed))))


def make(name: str, data_set: str, seed: int, threads: int) -> Run:
    """Train and evaluate."""
    recipe = RECIPES[name]
    if recipe.variable:
        os.environ[recipe.variable] = data_set
    config = read_config_file(ROOT / "configs" / f"{recipe.of or name}.yaml", {**recipe.settings, "train.seed": seed})
    began = time.monotonic()
    folder = train(config, folder_of(name, data_set, seed), overwrite=True, threads=threads)
    minutes = (time.monotonic() - began) / 60
    scores = antiphon.load(folder).evaluate()
    return Run(name, data_set, seed, round(minutes, 1), hardware(threads), date.today().isoformat(), scores)


@dataclass(frozen=True)
class Control:
    """What a recipe is to be compared with that is no recipe itself (`studies/controls.py`)."""

    recipe: str
    control: str
    scores: dict[str, float]


def controls() -> list[Control]:
    """All controls measured so far."""
    if not CONTROLS.exists():
        return []
    return [Control(**json.loads(line)) for line in CONTROLS.read_text(encoding="utf-8").splitlines()]


ABOUT = """# The five structures on real data

Every recipe of `configs/` but those of text to text ([g2p, translation](../log.md)), trained from scratch on the CPU
and measured on its test rows, next to its controls and to published figures. A score is the mean of the seeds ± half
their range, over a recipe's data sets where it has several; minutes are the longest run's. What was chosen, was
chosen on validation data. Published figures are those that were read in their source. Made by `studies/recipes.py`
and `studies/controls.py` from
[recipes.jsonl](recipes.jsonl) and [controls.jsonl](controls.jsonl), where every run stands.
"""


def table(all_runs: list[Run], compared: list[Control]) -> Iterator[str]:
    """A row a recipe: of its seeds the mean over its data sets, the mean of these ± half the range, and the minutes."""
    yield ABOUT
    machines = sorted({run.hardware for run in all_runs})
    yield from (f"{letter}: {machine}.  " for letter, machine in zip(ascii_uppercase, machines, strict=False))
    yield ""
    yield "| structure | recipe | test | held to | published | seeds | minutes a run | on |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, recipe in RECIPES.items():
        own = [run for run in all_runs if run.recipe == name]
        seeds = {run.seed: [other for other in own if other.seed == run.seed] for run in own}
        whole = [part for part in seeds.values() if {run.data_set for run in part} == set(recipe.data_sets)]
        scores = ", ".join(f"{metric} {mean_over(whole, metric)}" for metric in recipe.metrics) if whole else ""
        minutes = max(run.minutes for part in whole for run in part) if whole else ""
        used = {machines.index(run.hardware) for part in whole for run in part}
        shown = f"*{name}*" if recipe.of else f"[{name}](../../configs/{name}.yaml)"
        kept = [
            recipe.mark,
            recipe.published,
            str(len(whole)),
            str(minutes),
            ", ".join(ascii_uppercase[place] for place in sorted(used)),
        ]
        yield f"| {recipe.structure} | {shown} | {scores or 'not measured yet'} | {' | '.join(kept)} |"
        for control in compared:
            if control.recipe == name:
                figures = ", ".join(f"{metric} {value:.4g}" for metric, value in control.scores.items())
                yield f"| | *{control.control}* | {figures} | | | | | |"


def mean_over(seeds: list[list[Run]], metric: str) -> str:
    """The mean of the seeds, and their spread, of the mean over the data sets."""
    return mean_and_spread([sum(run.scores[metric] for run in part) / len(part) for part in seeds], digits=4)


def main() -> None:
    """Make the runs that are missing, and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="; ".join(RECIPES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1])
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if unknown := set(given.names) - set(RECIPES):
        parser.error(f"no such recipe: {'; '.join(sorted(unknown))}; there are {'; '.join(RECIPES)}")
    for name in given.names:
        for seed in given.seeds:
            for data_set in RECIPES[name].data_sets:
                if not any((run.recipe, run.data_set, run.seed) == (name, data_set, seed) for run in runs()):
                    run = make(name, data_set, seed, given.threads)
                    with RUNS.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(run)) + "\n")
    write_text(TABLE, "\n".join(table(runs(), controls())) + "\n")


if __name__ == "__main__":
    main()
