"""Small tables trained by the defaults alone, beside single settings changed: what the choice of settings rests on.

python studies/small.py [TABLE ...] [--rows 100 300] [--seeds 1 2 3] [--variants default ...] [--threads 1]
    trains what is not in docs/results/small.jsonl yet; every run is made once and is a line there
python studies/small.py --table     writes the table in docs/results/small.md
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from grid import ROOT, hardware, insert, mean_and_spread

from antiphon.api import read_config
from antiphon.files import write_text
from antiphon.training.loop import train
from antiphon.use.loading import load

DATA = Path(os.environ.get("ANTIPHON_DATA") or ROOT.parent / "shared/data").resolve()
RUNS, TABLE = ROOT / "docs/results/small.jsonl", ROOT / "docs/results/small.md"
Rows = Sequence[Sequence[str]]

# what is changed, one at a time, to find out whether the default is at a table's best; by the form of the target
TEXT: dict[str, dict[str, Any]] = {
    "twice the updates": {"updates": 2.0},
    "half the updates": {"updates": 0.5},
    "dropout 0.2": {"model.dropout": 0.2},
    "dropout 0.6": {"model.dropout": 0.6},
    "no weight drop": {"model.cell": "lstm"},
    "width 64": {"model.encoder.hidden": 64},
    "width 256": {"model.encoder.hidden": 256},
    "rate 0.001": {"train.learning_rate": 1e-3},
    "rate 0.002": {"train.learning_rate": 2e-3},
    "rate 0.004": {"train.learning_rate": 4e-3},
    "batch 32": {"train.batch_size": 32},
    "context at every step": {"model.context.to": "every_step"},
    "context of all states at every step": {"model.context": {"from": "projected_all", "to": "every_step"}},
    "additive attention": {"model.attention": "additive"},
    "general attention, context at the start": {
        "model.attention": "general",
        "model.context": {"from": "projected_last", "to": "initial_state"},
    },
    "the previous state asks": {
        "model.attention": {"kind": "additive", "query": "previous"},
        "model.context.to": "every_step",
    },
    "the previous state asks, context of all states": {
        "model.attention": {"kind": "additive", "query": "previous"},
        "model.context": {"from": "projected_all", "to": "every_step"},
    },
    "no smoothing": {"train.label_smoothing": 0.0},
    "jamo": {"source.normalize": "nfd"},
    "syllables": {"source.normalize": "nfc"},
    "soft attention, no copying": {"model.attention": "general", "model.copy": False},
}
LABELS: dict[str, dict[str, Any]] = {
    "twice the updates": {"updates": 2.0},
    "half the updates": {"updates": 0.5},
    "dropout 0.3": {"model.dropout": 0.3},
    "dropout 0.7": {"model.dropout": 0.7},
    "width 64": {"model.encoder.hidden": 64},
    "width 256": {"model.encoder.hidden": 256},
    "rate 0.001": {"train.learning_rate": 1e-3},
    "rate 0.004": {"train.learning_rate": 4e-3},
    "words": {"source.tokens": "words"},
    "characters": {"source.tokens": "chars"},
    "pieces": {"source.tokens": {"kind": "bpe", "size": 1000}},
    "mean pooling": {"model.pooling": "mean"},
    "attention pooling": {"model.pooling": "attention"},
    "max pooling": {"model.pooling": "max"},
    "unknown 0.1": {"train.unknown": 0.1},
    "no spelling": {"source.characters": False},
    "smoothing 0.1": {"train.label_smoothing": 0.1},
    "weight drop": {"model.cell": {"kind": "lstm", "weight_drop": 0.3}, "model.locked_dropout": True},
    "gru": {"model.cell": "gru"},
}


@dataclass(frozen=True)
class Small:
    """A table: rows to train with and to test on, the sides as a user names them, the metric it is judged by."""

    rows: Callable[[int], tuple[Rows, Rows]]
    metric: str
    sizes: tuple[int, ...] = (100, 300, 1000, 3000)
    sides: dict[str, Any] = field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = field(default_factory=lambda: TEXT)
    ending: str = "tsv"


def lines(path: Path) -> list[list[str]]:
    """The rows of a table with tabs."""
    return [line.split("\t") for line in text(path).split("\n") if line.strip()]


def text(path: Path) -> str:
    """What stands in a file, which may be compressed."""
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")


def shuffled(rows: Rows, count: int) -> Rows:
    """The first `count` of the rows in an order drawn once: smaller tables are parts of larger ones."""
    order = list(rows)
    random.Random(1).shuffle(order)
    return order[:count]


def reversed_words(count: int) -> tuple[Rows, Rows]:
    chance = random.Random(1)
    words: dict[str, None] = {}
    while len(words) < 4000:
        words["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(4, 10)))] = None
    rows = [(word, word[::-1]) for word in words]
    return rows[1000 : 1000 + count], rows[:1000]


def g2p(language: str) -> Callable[[int], tuple[Rows, Rows]]:
    folder = DATA / "g2p-sigmorphon2021/medium"
    return lambda count: (
        shuffled(lines(folder / f"{language}_train.tsv"), count),
        lines(folder / f"{language}_test.tsv"),
    )


def inflection(language: str) -> Callable[[int], tuple[Rows, Rows]]:
    folder = DATA / "inflection-conll2017"
    parts = {100: "low", 1000: "medium"}
    return lambda count: (
        lines(folder / f"{language}-train-{parts[count]}.tsv"),
        lines(folder / f"{language}-test.tsv"),
    )


def sst2(count: int) -> tuple[Rows, Rows]:
    folder = DATA / "sentiment-sst2"
    return shuffled(lines(folder / "train.tsv"), count), lines(folder / "test.tsv")


def sentences(path: Path) -> Rows:
    """Words and their parts of speech of CoNLL-U, a sentence a row."""
    rows = []
    for block in text(path).split("\n\n"):
        words = [line.split("\t") for line in block.splitlines() if line[:1].isdigit()]
        words = [word for word in words if word[0].isdigit() and " " not in word[1]]
        if words:
            rows.append((" ".join(word[1] for word in words), " ".join(word[3] for word in words)))
    return rows


def tagging(count: int) -> tuple[Rows, Rows]:
    folder = DATA / "tagging-ud-ewt"
    return shuffled(sentences(folder / "train.conllu.gz"), count), sentences(folder / "test.conllu")


def emoji(count: int) -> tuple[Rows, Rows]:
    folder = DATA / "captions-emoji"

    def part(name: str) -> Rows:
        with open(folder / f"{name}.tsv", encoding="utf-8") as file:
            return [(row["image"], row["en"]) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]

    return shuffled(part("train"), count), part("test")


def facial(count: int) -> tuple[Rows, Rows]:
    """Frames of 100 face points and one label per frame: one person's recordings train, the other's test."""

    def part(name: str) -> Rows:
        path = ROOT / f"prepared/video-facial/affirmative-{name}.jsonl"
        with open(path, encoding="utf-8") as file:
            return [(line.rstrip("\n"),) for line in file]

    return [*part("train"), *part("valid")][:count], part("test")


TAGS = {"target": {"kind": "labels"}}
SMALL: dict[str, Small] = {
    "reverse": Small(reversed_words, "exact_match"),
    "g2p-french": Small(g2p("fre"), "exact_match"),
    "g2p-korean": Small(g2p("kor"), "exact_match"),
    **{
        f"inflection-{language}": Small(
            inflection(language),
            "exact_match",
            (100, 1000),
            {
                "source": [{"column": 0}, {"column": 2, "tokens": {"split": ";"}}],
                "target": {"column": 1},
            },
        )
        for language in ("turkish", "german", "spanish")
    },
    "sentiment-sst2": Small(
        sst2, "accuracy", sides={"source": {"column": 1}, "target": {"column": 0}}, variants=LABELS
    ),
    "tagging-ud-ewt": Small(tagging, "accuracy", variants=LABELS),
    "captions-emoji": Small(emoji, "chrf", (100, 300, 1000), {"source": "image"}),
    "video-facial": Small(
        facial,
        "macro_f1",
        (30,),
        {"source": {"kind": "frames", "column": "frames"}, "target": {"kind": "labels", "column": "labels"}},
        LABELS,
        "jsonl",
    ),
}


def run(name: str, size: int, variant: str, seed: int, threads: int) -> dict[str, Any]:
    """Train one table once, as a configuration that names the sides alone would be."""
    small = SMALL[name]
    rows, test = small.rows(size)
    folder = ROOT / "runs/small" / f"{name}-{size}-{variant.replace(' ', '_')}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part, part_rows in (("train", rows), ("test", test)):
        write_text(folder / f"{part}.{small.ending}", "".join("\t".join(row) + "\n" for row in part_rows))
    if name == "captions-emoji":
        (folder / "images").symlink_to(DATA / "captions-emoji/images")
    tree = {"data": {"train": f"train.{small.ending}", "test": f"test.{small.ending}"}, **small.sides}
    write_text(folder / "c.yaml", json.dumps(tree))
    settings: dict[str, Any] = {**({} if variant == "default" else small.variants[variant]), "train.seed": seed}
    times = settings.pop("updates", None)
    if times:
        chosen = read_config(folder / "c.yaml", settings).config.train.max_steps
        settings["train.max_steps"] = int(times * (chosen or 0))
    began = time.monotonic()
    completed = read_config(folder / "c.yaml", settings)
    model = load(train(completed.config, folder / "model", threads=threads))
    minutes = (time.monotonic() - began) / 60
    scores = model.evaluate()
    updates = model.metrics["updates"]
    shutil.rmtree(folder)
    return {
        "table": name, "rows": size, "variant": variant, "seed": seed, "minutes": round(minutes, 2),
        "updates": updates, "kept": model.metrics["valid"]["step"], "scores": scores,
        "date": date.today().isoformat(), "hardware": hardware(threads),
    }  # fmt: skip


def known() -> list[dict[str, Any]]:
    """The runs so far."""
    return [json.loads(line) for line in RUNS.read_text(encoding="utf-8").splitlines()] if RUNS.exists() else []


def table() -> None:
    """Write the figures between the marks of docs/results/small.md."""
    runs = known()
    rows = [
        "| table | rows | metric | defaults | minutes | best single setting | its figure |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, small in SMALL.items():
        for size in small.sizes:
            mine = [item for item in runs if (item["table"], item["rows"]) == (name, size)]
            by: dict[str, list[dict[str, Any]]] = {}
            for item in mine:
                by.setdefault(item["variant"], []).append(item)
            if "default" not in by:
                continue
            mean = {
                v: sum(item["scores"][small.metric] for item in seed_runs) / len(seed_runs)
                for v, seed_runs in by.items()
            }
            best = max(mean, key=lambda v: mean[v])
            scale, digits = (1, 1) if small.metric == "chrf" else (1, 3)
            figures = {v: mean_and_spread([o["scores"][small.metric] for o in f], scale, digits) for v, f in by.items()}
            seeds = {v: f" ({len(seed_runs)})" if len(seed_runs) != 3 else "" for v, seed_runs in by.items()}
            minutes = mean_and_spread([item["minutes"] for item in by["default"]], 1, 1)
            rows.append(
                f"| {name} | {size:,} | {small.metric} | {figures['default']}{seeds['default']} | {minutes} "
                f"| {best} | {figures[best]}{seeds[best]} |"
            )
    insert(TABLE, "small", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", choices=[*SMALL, []], default=[])
    parser.add_argument("--rows", nargs="*", type=int)
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--variants", nargs="*", default=["default"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        table()
        return
    for seed in arguments.seeds:
        for name in arguments.tables or SMALL:
            for size in SMALL[name].sizes:
                for variant in (
                    arguments.variants if arguments.variants != ["all"] else ["default", *SMALL[name].variants]
                ):
                    if arguments.rows and size not in arguments.rows:
                        continue
                    key = (name, size, variant, seed)
                    if key in {(item["table"], item["rows"], item["variant"], item["seed"]) for item in known()}:
                        continue
                    done = run(name, size, variant, seed, arguments.threads)
                    with open(RUNS, "a", encoding="utf-8") as file:
                        file.write(json.dumps(done) + "\n")
                    print(*key, done["minutes"], done["scores"][SMALL[name].metric], flush=True)


if __name__ == "__main__":
    main()
