"""What the decoder is fed in training, and the exposure gap: teacher, free, and each schedule, 3 seeds.

python studies/feeding.py [THREADS]     writes docs/results/feeding.table.md
"""

from __future__ import annotations

import sys

from context import BASE, SEEDS, UPDATES
from grid import ROOT, Variant, hardware, mean_and_spread, run

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
    found = run("feeding", BASE, variants, SEEDS, threads)
    rows = []
    for name, results in found.items():
        cells = [
            mean_and_spread([r["loss"] for r in results], digits=3),
            mean_and_spread([r["token_error_rate_teacher"] for r in results], 100),
            mean_and_spread([r["token_error_rate"] for r in results], 100),
            mean_and_spread([r["exposure_gap"] for r in results], 100),
            mean_and_spread([1 - r["exact_match"] for r in results], 100, 1),
            mean_and_spread([r["minutes"] for r in results], digits=1),
        ]
        rows.append(f"| {' | '.join([*name, *cells])} |")
    table = "\n".join(rows)
    (ROOT / "docs/results/feeding.table.md").write_text(
        f"""Mean of {len(SEEDS)} seeds ± half the range; {UPDATES:,} updates of 64 rows each; {hardware(threads)}.

| attention | feeding | dev loss | teacher-forced TER % | free-running TER % | gap, points | words wrong % | minutes |
|---|---|---|---|---|---|---|---|
{table}
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
