"""A training under torchrun whose workers are killed at random moments, beside the same one with other seeds.

python benchmarks/elastic.py [--kills 10] [--seeds 3] [--updates 20000]

Two processes learn a small made-up table. One of them is killed (SIGKILL) at a random moment, again and again, also
while it starts; torchrun replaces it, and the training goes on from its last saved state. The figures of the killed
training must lie within those that other seeds give.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, write

sys.path.append(str(ROOT.parent / "tests"))

from nodes import kill, torchrun, workers
from tasks import tiny_config

METRIC = "token_error_rate"
LONGEST = 20.0  # seconds between two kills


def train(folder: Path, name: str, seed: int, updates: int, kills: int) -> tuple[float, int]:
    """The metric of a training, and how often it went on after a kill."""
    options = {"train__max_steps": updates, "train__validate_every": updates // 4, "train__save_every": 25}
    config = tiny_config(folder, **options, train__seed=seed, train__epochs=1_000_000, model__dropout=0.1)
    path, out, log = folder / f"{name}.yaml", folder / name, folder / f"{name}.log"
    path.write_text(config.to_yaml())
    launcher = torchrun(
        ["--standalone", "--nproc-per-node", "2", "--max-restarts", str(kills + 1)],
        ["train", str(path), "--out", str(out), "--threads", "1"],
        log,
    )
    chance = random.Random(seed)
    for number in range(kills):
        time.sleep(chance.uniform(2, LONGEST))
        while not (running := workers(launcher)) and launcher.poll() is None:
            time.sleep(0.1)  # torchrun is starting them
        if not running or launcher.poll() is not None:
            raise SystemExit(f"it ended after {number} kills; give more --updates")
        kill(chance.choice(running))
        print(f"{name}: kill {number + 1} of {kills}", flush=True)
    if launcher.wait():
        raise SystemExit(log.read_text()[-3000:])
    metrics = json.loads((out / "metrics.json").read_text())
    return metrics["valid"][METRIC], log.read_text().count("this job was interrupted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=20_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows: dict[str, list[str]] = {}
        values = []
        for seed in range(1, given.seeds + 1):
            value, _ = train(folder, f"seed-{seed}", seed, given.updates, 0)
            values.append(value)
            rows[f"seed {seed}"] = [f"{value:.4f}", "0"]
        value, interrupted = train(folder, "killed", 1, given.updates, given.kills)
        rows["seed 1, killed"] = [f"{value:.4f}", str(interrupted)]
        within = min(values) <= value <= max(values)
        about = (
            f"{given.updates:,} updates of two processes, {given.kills} times SIGKILL for one of them; the killed one "
            f"is {'within' if within else 'NOT within'} the seeds' range, and "
            f"{'equal' if value == values[0] else 'not equal'} to that of its seed."
        )
        write("elastic", about, rows, ("training", METRIC, "went on"), 1)


if __name__ == "__main__":
    main()
