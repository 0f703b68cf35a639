"""Symbols never seen in training, with copying and without: orders (words) and reversals (letters), 3 seeds.

python studies/copying.py [THREADS]     writes docs/results/copying.table.md
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from grid import ROOT, Tree, hardware, mean_and_spread

from antiphon.config.load import parse_config, set_value
from antiphon.files import write_text
from antiphon.training.loop import train
from antiphon.use.loading import load

SEEDS = (1, 2, 3)
UPDATES, ROWS, HELD = 1200, 2000, 300
BASE: Tree = {
    "model": {"embedding": 32, "encoder": {"hidden": 48}, "decoder": {"hidden": 96}, "dropout": 0.1},
    "train": {
        "max_steps": UPDATES,
        "epochs": 1000,
        "validate_every": UPDATES // 3,
        "patience": None,
        "batch_size": 32,
        "learning_rate": 0.004,
        "schedule": {"kind": "cosine", "warmup": 50},
        "unknown": 0.1,
        "metric": "exact_match",
    },
    "decode": {"beam": 3},
}
VARIANTS: dict[str, Tree] = {
    "nothing": {},
    "`replace_unknown`, rare symbols unknown": {"decode.replace_unknown": True},
    "`copy`": {"model.copy": True},
}
Pair = tuple[str, str]
KNOWN, NEW = "known symbols", "new symbols"


def named(chance: random.Random, count: int) -> list[str]:
    """Distinct names of two or three made-up syllables."""
    names: dict[str, None] = {}
    while len(names) < count:
        syllables = (chance.choice("bdfgklmnprstvz") + chance.choice("aeiou") for _ in range(chance.choice((2, 2, 3))))
        names["".join(syllables).capitalize()] = None
    return list(names)


def drawn(chance: random.Random, symbols: Sequence[str], count: int) -> list[str]:
    """Symbols by Zipf's law: each is as frequent as its place in the list is small."""
    return chance.choices(symbols, [1 / place for place in range(1, len(symbols) + 1)], k=count)


def order(chance: random.Random, symbols: Sequence[str]) -> Pair:
    """An order in one of three wordings, and what a form has of it."""
    who, town, number = drawn(chance, symbols, 3)
    what = chance.choice(("chairs", "lamps", "books", "cups"))
    wordings = (
        f"{who} wants {number} {what} brought to {town}",
        f"please send {what} to {town} for {who} , {number} of them",
        f"to {town} go {number} {what} , says {who}",
    )
    return chance.choice(wordings), f"{what} : {number} ; customer : {who} ; place : {town}"


def reversal(chance: random.Random, symbols: Sequence[str]) -> Pair:
    """A word and the same word backwards."""
    word = "".join(drawn(chance, symbols, chance.randint(3, 8)))
    return word, word[::-1]


def orders(chance: random.Random) -> tuple[Sequence[str], Sequence[str]]:
    """Names and numbers to train with, and others."""
    symbols = [*named(chance, 120), *map(str, chance.sample(range(10, 10_000), 120))]
    chance.shuffle(symbols)
    return symbols[:120], symbols[120:]


def letters(chance: random.Random) -> tuple[Sequence[str], Sequence[str]]:
    """The Latin letters, and the Greek ones."""
    return "abcdefghijklmnopqrstuvwxyz", "αβγδεζηθικλμνξοπρστυφχψω"


@dataclass(frozen=True)
class Task:
    """Tokens, symbols to train with and new ones, a row of them; a symbol is rare in so many training targets."""

    tokens: str
    divide: Callable[[random.Random], tuple[Sequence[str], Sequence[str]]]
    make: Callable[[random.Random, Sequence[str]], Pair]
    rare: int


TASKS = {"orders": Task("words", orders, order, 25), "reversals": Task("chars", letters, reversal, 250)}


def tables(task: str, seed: int, folder: Path) -> None:
    """train.tsv, valid.tsv, and two to test with: of known symbols, and with new ones among them in every row."""
    chance, make = random.Random(seed), TASKS[task].make
    known, new = TASKS[task].divide(chance)
    pairs = list(dict.fromkeys(make(chance, known) for _ in range(2 * ROWS)))[: ROWS + 2 * HELD]
    parts = {"train": pairs[: -2 * HELD], "valid": pairs[-2 * HELD : -HELD], KNOWN: pairs[-HELD:]}
    parts[NEW] = [make(chance, new) for _ in range(HELD)]
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        write_text(folder / f"{name}.tsv", "".join(f"{source}\t{target}\n" for source, target in rows))


def run(task: str, variant: str, seed: int, threads: int) -> tuple[float, float]:
    """The shares of test rows that are wholly right: of known symbols, and of new ones."""
    folder = ROOT / "runs" / "copying" / f"{task}-{seed}"
    tables(task, seed, folder)
    tree: Tree = json.loads(json.dumps(BASE))
    tree |= {side: {"tokens": TASKS[task].tokens} for side in ("source", "target")}
    tree["data"] = {"train": "train.tsv", "valid": "valid.tsv"}
    chosen = {**VARIANTS[variant], "train.seed": seed}
    if "decode.replace_unknown" in chosen:  # an unknown symbol is predicted only if training rows have some
        chosen["target.tokens.min_count"] = TASKS[task].rare
    for key, value in chosen.items():
        set_value(tree, key, value)
    model = load(train(parse_config(tree, folder), folder / "model", overwrite=True, threads=threads))
    known, new = (model.evaluate(str(folder / f"{name}.tsv"))["exact_match"] for name in (KNOWN, NEW))
    return known, new


def main(threads: int) -> None:
    lines = [
        f"Mean of the {len(SEEDS)} seeds ± half the range; {UPDATES} updates of 32 rows each; {hardware(threads)}.",
        "",
        f"| task | what is done for new symbols | exact match %, {KNOWN} | exact match %, {NEW} |",
        "|---|---|---|---|",
    ]
    for task in TASKS:
        for variant in VARIANTS:
            scores = zip(*(run(task, variant, seed, threads) for seed in SEEDS), strict=True)
            cells = [mean_and_spread(values, 100, 1) for values in scores]
            lines.append(f"| {' | '.join([task, variant, *cells])} |")
    write_text(ROOT / "docs/results/copying.table.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
