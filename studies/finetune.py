"""From one language to another: a model extended to a new alphabet, against the same updates from scratch, 3 seeds.

python studies/finetune.py [THREADS]     writes docs/results/finetune.table.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grid import ROOT, Tree, Variant, data, hardware, run, write_table

from antiphon.config.load import parse_config, set_value
from antiphon.training.loop import train

SEEDS = (1, 2, 3)
BASE_UPDATES, UPDATES = 4000, (300, 1000)
PAIRS = {"hbs_latn": "bul", "fre": "dut", "geo": "arm_e"}  # Latin to Cyrillic, new letters, Georgian to Armenian
BASE: Tree = {
    "source": {"tokens": "chars"},
    "target": {"tokens": "words"},
    "model": {"embedding": 128, "encoder": {"hidden": 128}, "decoder": {"hidden": 256}, "dropout": 0.4},
    "train": {
        "batch_size": 32,
        "epochs": 1000,
        "patience": None,
        "learning_rate": 2e-3,
        "schedule": {"kind": "cosine", "warmup": 50},
        "label_smoothing": 0.1,
    },
}


def of(language: str, updates: int) -> Tree:
    """The rows of a language, and a budget."""
    names = {part: data(f"g2p-sigmorphon2021/medium/{language}_{part}.tsv") for part in ("train", "dev")}
    return {
        "data.train": names["train"],
        "data.valid": names["dev"],
        "train.max_steps": updates,
        "train.validate_every": updates,
    }


def base_model(language: str, threads: int) -> Path:
    """A model of the first language; trained once."""
    out = ROOT / "runs" / "finetune" / f"base-{language}"
    if not (out / "metrics.json").exists():
        tree = json.loads(json.dumps(BASE)) | {"data": {}}
        for key, value in of(language, BASE_UPDATES).items():
            set_value(tree, key, value)
        train(parse_config(tree, ROOT), out, overwrite=True, threads=threads)
    return out


def main(threads: int) -> None:
    variants = [
        Variant((f"{first} -> {second}", f"{updates:,}", how), of(second, updates), start)
        for first, second in PAIRS.items()
        for base in [base_model(first, threads)]
        for updates in UPDATES
        for how, start in (("from scratch", None), ("from the first language", base))
    ]
    results = run("finetune", BASE | {"data": {}}, variants, SEEDS, threads)
    about = f"{len(SEEDS)} seeds, updates of 32 rows each; {hardware(threads)}"
    write_table(ROOT / "docs/results/finetune.table.md", results, ("languages", "updates", "start"), about)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
