"""What the decoder is fed in training, and the exposure gap: teacher, free, and each schedule, 3 seeds.

python studies/feeding.py [THREADS]     writes docs/results/feeding.table.md
"""

from __future__ import annotations

import sys

from context import BASE, SEEDS, UPDATES
from grid import ROOT, Variant, hardware, run, write_table

HALF = {"start": 1.0, "end": 0.5, "steps": UPDATES}
FEEDINGS: dict[str, object] = {
    "teacher": "teacher",
    "scheduled, constant 0.75": {"kind": "scheduled", "decay": "constant", "start": 0.75, "end": 0.0},
    "scheduled, linear to 0.5": {"kind": "scheduled", "decay": "linear", **HALF},
    "scheduled, exponential to 0.5": {"kind": "scheduled", "decay": "exponential", **HALF},
    "scheduled, inverse sigmoid to 0.5": {"kind": "scheduled", "decay": "inverse_sigmoid", **HALF},
    "free": "free",
}


def main(threads: int) -> None:
    variants = [
        Variant((attention, name), {"train.feeding": feeding, "model.attention": attention})
        for attention in ("none", "general")
        for name, feeding in FEEDINGS.items()
    ]
    results = run("feeding", BASE, variants, SEEDS, threads)
    about = f"{len(SEEDS)} seeds, {UPDATES:,} updates of 64 rows each; {hardware(threads)}"
    write_table(ROOT / "docs/results/feeding.table.md", results, ("attention", "feeding"), about)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
