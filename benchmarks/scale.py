"""Two processes on a slow connection: this version of the code beside another; and the tables of docs/scale.md.

python benchmarks/scale.py [--rate 1gbit] [--old 4710392] [--rounds 3] [--updates 20]
python benchmarks/scale.py --document

Each process is in a network namespace of its own, and the connection between them is shaped to `--rate` in each
direction (Linux, as root). Model R of docs/performance.md trains on Multi30k in batches of 64 rows, a thread for each
process. `--old` is a revision of this repository: by default the last one that sums gradients after the backward pass.
A rate is what a training writes into its log: the median of all parts of so many updates but the first.

With --document nothing is measured: what `antiphon bench --scale --json > benchmarks/results/scale-costs.json` measured
is put into docs/scale.md, with what the cost model predicts from it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, middle, write
from peers.antiphon import CONFIG
from task import TASKS

sys.path.append(str(ROOT.parent / "tests"))

from nodes import Node, shaped, torchrun

from antiphon.tools.scale import Costs, Link, table

TASK = TASKS["sentences"]
PARTS = 4
DOCUMENT, COSTS = ROOT.parent / "docs/scale.md", ROOT / "results/scale-costs.json"
BEGIN, END = "<!-- predicted -->\n", "<!-- end -->"
LAST_BEFORE = "4710392"  # the last revision that sums gradients after the backward pass


def code_of(revision: str, folder: Path) -> Path:
    """The code of a revision, in a folder of its own."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", revision, "antiphon"], cwd=ROOT.parent, check=True, capture_output=True)
    subprocess.run(["tar", "--extract", "--directory", str(folder)], input=archive.stdout, check=True)
    return folder


def train(folder: Path, code: Path, nodes: list[Node], settings: list[str], updates: int) -> float:
    """Target tokens per second of a training by one process for each of the nodes."""
    length = [f"train.validate_every={updates}", f"train.max_steps={PARTS * updates}", *settings]
    keys = [word for setting in length for word in ("--set", setting)]
    shutil.rmtree(folder / "model", ignore_errors=True)  # the older code may not know all keys of its configuration
    command = ["train", str(folder / "config.yaml"), "--out", str(folder / "model"), *keys, "--threads", "1"]
    options = ["--nnodes", str(len(nodes)), "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
    options += ["--rdzv-endpoint", f"{nodes[0].address}:29400", "--rdzv-id", os.urandom(4).hex()]
    running = [
        torchrun([*options, "--rdzv-conf", f"is_host={number == 0}"], command, folder / f"{number}.log", node, code)
        for number, node in enumerate(nodes)
    ]
    for number, process in enumerate(running):
        if process.wait():
            raise SystemExit((folder / f"{number}.log").read_text()[-3000:])
    entries = map(json.loads, (folder / "model/training/log.jsonl").read_text().splitlines())
    rates: list[float] = [entry["tokens_per_second"] for entry in entries]
    return statistics.median(rates[1:])


def measure(given: argparse.Namespace) -> None:
    """Train with every side in turn, and write the table."""
    with tempfile.TemporaryDirectory() as name, shaped(given.rate) as nodes:
        folder = Path(name)
        TASK.write(folder / "data")
        attention = "{kind: general}"
        text = CONFIG.format(data=folder / "data", task=TASK, precision="float32", attention=attention)
        (folder / "config.yaml").write_text(text)
        old, new = code_of(given.old, folder / "old"), ROOT.parent
        sides: dict[str, tuple[Path, list[Node], list[str]]] = {
            "one process": (new, nodes[:1], []),
            f"two, after the backward pass ({given.old})": (old, nodes, []),
            "two, during the backward pass, float32": (new, nodes, []),
            "two, during the backward pass, bfloat16": (new, nodes, ["train.reduce=bfloat16"]),
        }
        rates: dict[str, list[float]] = {title: [] for title in sides}
        for number in range(given.rounds):
            for title, (code, machines, settings) in sides.items():
                rates[title].append(train(folder, code, machines, settings, given.updates))
                print(f"round {number + 1}: {title}: {rates[title][-1]:,.0f} target tokens/s", flush=True)
    medians = {title: statistics.median(values) for title, values in rates.items()}
    before = [*medians.values()][1]
    rows = {title: [middle(rates[title]), f"{medians[title] / before:.2f}"] for title in sides}
    about = (
        f"Model R, batches of {TASK.BATCH} rows, {given.rate} in each direction; {PARTS - 1} times {given.updates} "
        f"updates; median and range of {given.rounds} interleaved rounds."
    )
    write("scale", about, rows, ("gradients are summed by", "target tokens/s", "of the second row"), 1)


def document() -> None:
    """Put the predictions of the measured constants into the document."""
    constants = json.loads(COSTS.read_text())
    lines = table(Costs(**constants["costs"]), [Link(**link) for link in constants["links"]])
    text = DOCUMENT.read_text(encoding="utf-8")
    head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
    DOCUMENT.write_text(f"{head}{BEGIN}\n" + "\n".join(lines).strip() + f"\n\n{END}{tail}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", default="1gbit")
    parser.add_argument("--old", default=LAST_BEFORE)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--document", action="store_true")
    given = parser.parse_args()
    if given.document:
        document()
    else:
        measure(given)


if __name__ == "__main__":
    main()
