"""Target tokens per second in training, the same model in every tool, whole processes, interleaved.

python benchmarks/training.py sentences|letters [--feeding] [--sides NAME ...] [--rounds 3] [--updates 150]

A side trains for 20 updates and for so many more; the difference is what the updates take, with what reading rows and
making batches takes, without the start. With --feeding every side feeds its input (the last readout enters the next
step); tools that always do are in both tables.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from measure import middle, parameters, sides, write
from task import TASKS

FIRST = 20  # updates, to warm up
NAMES = {
    "sentences": ("antiphon", "fairseq", "eole", "joeynmt", "teaching"),
    "letters": ("antiphon", "yoyodyne", "fairseq", "eole", "joeynmt", "teaching"),
}
OURS = "antiphon"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--feeding", action="store_true")
    parser.add_argument("--sides", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=150)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    task = TASKS[given.task]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        task.write(data)
        compared = sides(given.sides or NAMES[given.task], Path(folder))
        tokens = task.tokens(given.updates)
        rates: dict[str, list[float]] = {side.title: [] for side in compared}
        sizes: dict[str, int | None] = {}
        for side in compared:
            if command := getattr(side.tool, "prepare", lambda *_: None)(task, data):
                side.run(command, given.threads)
        for number in range(given.rounds):
            for side in compared:
                seconds = []
                for updates in (FIRST, FIRST + given.updates):
                    side.clear()  # some go on with a model that they find
                    command = side.tool.train(
                        task.of(side.name), data, side.out, updates, side.precision, given.feeding
                    )
                    took, printed = side.run(command, given.threads)
                    seconds.append(took)
                sizes[side.title] = parameters(printed)
                rates[side.title].append(tokens / (seconds[1] - seconds[0]))
                print(f"round {number + 1}: {side.title}: {rates[side.title][-1]:,.0f} target tokens/s", flush=True)
    medians = {title: statistics.median(values) for title, values in rates.items()}
    best = max((rate for title, rate in medians.items() if not title.startswith(OURS)), default=None)
    rows = {
        title: [f"{sizes[title] or 0:,}", middle(values), f"{medians[title] / best:.2f}" if best else ""]
        for title, values in sorted(rates.items(), key=lambda item: -medians[item[0]])
    }
    about = (
        f"{given.updates} updates of {task.BATCH} rows, after {FIRST}; median and range of {given.rounds} interleaved "
        f"rounds{'; every side feeds its input' if given.feeding else ''}."
    )
    heads = ("side", "parameters", "target tokens/s", "of the fastest peer")
    write(f"training-{given.task}{'-feeding' if given.feeding else ''}", about, rows, heads, given.threads)


if __name__ == "__main__":
    main()
