"""Tokens per second in decoding, the same model in every tool, every output equally long, whole processes, interleaved.

python benchmarks/decoding.py sentences|letters [--beam 1 5] [--sides NAME ...] [--rounds 3]

Every side trains for a few updates (what is said does not matter where its length is fixed) and decodes 100 inputs and
many (1,000 sentences five times, 10,000 words); the difference is what those beyond the 100 take, without the start.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from measure import middle, sides, write
from task import TASKS

UPDATES = 20
NAMES = ("antiphon", "antiphon_runtime", "fairseq", "eole", "joeynmt", "teaching")
OURS = "antiphon"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--beam", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--sides", nargs="+", default=NAMES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    task = TASKS[given.task]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        task.write(data)
        compared = sides(given.sides, Path(folder))
        rates: dict[tuple[str, int], list[float]] = {}
        for side in compared:
            if command := getattr(side.tool, "prepare", lambda *_: None)(task, data):
                side.run(command, given.threads)
            side.run(side.tool.train(task.of(side.name), data, side.out, UPDATES, side.precision, False), given.threads)
        for number in range(given.rounds):
            for beam in given.beam:
                for side in compared:
                    seconds = []
                    for part in ("few", "many"):
                        inputs = data / f"{part}.source"
                        command = side.tool.decode(
                            task.of(side.name), data, side.out, inputs, beam, side.precision, False
                        )
                        if command is None:
                            break
                        seconds.append(side.run(command, given.threads)[0])
                    else:
                        rate = (task.many - task.FEW) * task.outputs / (seconds[1] - seconds[0])
                        rates.setdefault((side.title, beam), []).append(rate)
                        print(f"round {number + 1}: {side.title}, beam {beam}: {rate:,.0f} tokens/s", flush=True)
    rows: dict[str, list[str]] = {side.title: [] for side in compared}
    for beam in given.beam:
        medians = {title: statistics.median(values) for (title, own), values in rates.items() if own == beam}
        best = max((rate for title, rate in medians.items() if not title.startswith(OURS)), default=None)
        for title, cells in rows.items():
            median = medians.get(title)
            cells.append(middle(rates[title, beam]) if median else "")
            cells.append(f"{median / best:.2f}" if median and best else "")
    about = (
        f"{task.many - task.FEW:,} inputs, every output {task.outputs} tokens long, batches of {task.BATCH}; "
        f"median and range of {given.rounds} interleaved rounds."
    )
    heads = ["side"]
    for beam in given.beam:
        heads += [f"beam {beam}: tokens/s", "of the fastest peer"]
    write(f"decoding-{given.task}", about, rows, heads, given.threads)


if __name__ == "__main__":
    main()
