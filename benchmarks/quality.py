"""Wall time from process start to a model of a quality: training and evaluation as a user starts them.

python benchmarks/quality.py cmudict|cmudict-small|multi30k [--seeds 1 2 3] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, write

RECIPES = {
    "cmudict": ("g2p-cmudict-medium", "wer", 100),
    "cmudict-small": ("g2p-cmudict-small", "wer", 100),
    "multi30k": ("translation-multi30k-small", "bleu", 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the models are kept")
    given = parser.parse_args()
    name, metric, scale = RECIPES[given.recipe]
    config = ROOT.parent / "configs" / f"{name}.yaml"
    counts = {key: str(given.threads) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    minutes, scores, rows = [], [], {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in given.seeds:
            out = (given.keep or Path(folder)) / f"{name}-{seed}"
            took = []
            for command in (
                ["train", str(config), "--out", str(out), "--set", f"train.seed={seed}"],
                ["evaluate", str(out), "--json"],
            ):
                began = time.perf_counter()
                done = subprocess.run(
                    [sys.executable, "-m", "antiphon", *command, "--threads", str(given.threads)],
                    env={**os.environ, **counts},
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                took.append((time.perf_counter() - began) / 60)
            minutes.append(took[0])
            scores.append(json.loads(done.stdout)[metric] * scale)
            rows[f"seed {seed}"] = [f"{took[0]:.1f}", f"{took[1]:.1f}", f"{scores[-1]:.2f}"]
            print(rows, flush=True)
    rows["median"] = [f"{statistics.median(minutes):.1f}", "", f"{statistics.median(scores):.2f}"]
    about = (
        f"`antiphon train configs/{name}.yaml`, then `antiphon evaluate` on the test rows as the recipe decodes them."
    )
    heads = ("run", "minutes of training, start-up included", "minutes of evaluation", metric)
    write(f"quality-{given.recipe}", about, rows, heads, given.threads)


if __name__ == "__main__":
    main()
