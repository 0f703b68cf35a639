"""What the context vector and attention are worth: three contexts x two destinations x three attentions, 3 seeds.

python studies/context.py [THREADS]     writes docs/results/context.table.md
"""

from __future__ import annotations

import itertools
import sys

from grid import ROOT, Tree, Variant, data, hardware, run, write_table

UPDATES, SEEDS = 1500, (1, 2, 3)
BASE: Tree = {
    "data": {"train": data("g2p-cmudict/train.tsv"), "valid": 0.01, "references": "group"},
    "source": {"tokens": "chars"},
    "target": {"tokens": "words"},
    "model": {"embedding": 64, "encoder": {"hidden": 96}, "decoder": {"hidden": 192}, "dropout": 0.1},
    "train": {
        "max_steps": UPDATES,
        "validate_every": UPDATES,
        "batch_size": 64,
        "learning_rate": 0.002,
        "schedule": {"kind": "cosine", "warmup": 100},
        "patience": None,
    },
}
CONTEXTS = ("last", "projected_last", "projected_all")
DESTINATIONS = ("initial_state", "every_step")
ATTENTIONS: dict[str, Tree] = {
    "none": {"kind": "none"},
    "general, current": {"kind": "general"},
    "additive, previous": {"kind": "additive", "query": "previous"},
}


def main(threads: int) -> None:
    variants = [
        Variant(
            (attention, context, to),
            {"model.context": {"from": context, "to": to}, "model.attention": ATTENTIONS[attention]},
        )
        for attention, context, to in itertools.product(ATTENTIONS, CONTEXTS, DESTINATIONS)
    ]
    results = run("context", BASE, variants, SEEDS, threads)
    about = f"{len(SEEDS)} seeds, {UPDATES:,} updates of 64 rows each; {hardware(threads)}"
    write_table(ROOT / "docs/results/context.table.md", results, ("attention", "context", "enters"), about)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
