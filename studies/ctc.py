"""Digits side by side, read column by column: CTC against a decoder with attention, 3 seeds.

python studies/ctc.py [THREADS]     writes docs/results/ctc.table.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from grid import ROOT, Tree, hardware, mean_and_spread
from sklearn.datasets import load_digits

from antiphon.config.load import parse_config, set_value
from antiphon.files import write_text
from antiphon.training.loop import train
from antiphon.use.loading import load

SEEDS = (1, 2, 3)
UPDATES, ROWS, HELD, LONGEST = 1000, 3000, 500, 6
BASE: Tree = {
    "data": {"train": "train.jsonl", "valid": "valid.jsonl"},
    "source": {"kind": "frames", "column": "frames", "scale": "all"},
    "target": {"column": "digits", "tokens": "chars"},
    "model": {"encoder": {"hidden": 64}, "decoder": {"hidden": 128}, "dropout": 0.2},
    "train": {
        "max_steps": UPDATES,
        "epochs": 1000,
        "validate_every": UPDATES // 4,
        "patience": None,
        "batch_size": 32,
        "learning_rate": 0.004,
        "schedule": {"kind": "cosine", "warmup": 50},
        "metric": "exact_match",
    },
}
VARIANTS: dict[str, Tree] = {"CTC": {"target.ctc": True}, "decoder, attention `general`": {}}


COLUMNS = {
    "greedy": "exact match %, greedy",
    "beam": "exact match %, beam 5",
    "rate": "digits wrong %, beam 5",
    "longer": "exact match %, twice as long",
    "longer rate": "digits wrong %, twice as long",
}


def tables(seed: int, folder: Path) -> None:
    """Rows of 1 to 6 digits, and for another test of 7 to 12; no picture of training or validation is tested with."""
    chance = np.random.default_rng(seed)
    pictures, digits = load_digits(return_X_y=True)
    frames = pictures.reshape(-1, 8, 8).transpose(0, 2, 1)  # one column of pixels per frame, from left to right
    order = chance.permutation(len(digits))
    parts = {
        "train": (order[:1200], ROWS, 0),
        "valid": (order[1200:1400], HELD, 0),
        "test": (order[1400:], HELD, 0),
        "longer": (order[1400:], HELD, LONGEST),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (own, count, more) in parts.items():
        rows = [chance.choice(own, more + int(chance.integers(1, LONGEST + 1))) for _ in range(count)]
        lines = [
            {"frames": frames[row].reshape(-1, 8).tolist(), "digits": "".join(map(str, digits[row]))} for row in rows
        ]
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def run(variant: str, seed: int, threads: int) -> Tree:
    """What the test rows score, with the best path (greedy) and with beam 5, the longer ones too; the parameters."""
    folder = ROOT / "runs" / "ctc" / str(seed)
    tables(seed, folder)
    tree = json.loads(json.dumps(BASE))
    for key, value in {**VARIANTS[variant], "train.seed": seed}.items():
        set_value(tree, key, value)
    model = load(train(parse_config(tree, folder), folder / "model", overwrite=True, threads=threads))
    greedy, beam = (model.evaluate(str(folder / "test.jsonl"), beam=width) for width in (1, 5))
    longer = model.evaluate(str(folder / "longer.jsonl"), beam=5)
    size = sum(parameter.numel() for parameter in model.model.parameters())
    return {
        "parameters": size,
        "greedy": greedy["exact_match"],
        "beam": beam["exact_match"],
        "rate": beam["token_error_rate"],
        "longer": longer["exact_match"],
        "longer rate": longer["token_error_rate"],
    }


def main(threads: int) -> None:
    lines = [
        f"Mean of the {len(SEEDS)} seeds ± half the range; {UPDATES:,} updates of 32 rows each; {hardware(threads)}.",
        "",
        f"| {' | '.join(['model', 'parameters', *COLUMNS.values()])} |",
        "|---" * (2 + len(COLUMNS)) + "|",
    ]
    for variant in VARIANTS:
        runs = [run(variant, seed, threads) for seed in SEEDS]
        cells = [mean_and_spread([item[name] for item in runs], 100, 2) for name in COLUMNS]
        size = f"{runs[0]['parameters']:,}"
        lines.append(f"| {' | '.join([variant, size, *cells])} |")
    write_text(ROOT / "docs/results/ctc.table.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
