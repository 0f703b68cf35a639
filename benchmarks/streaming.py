"""Training from a streamed table beside one in memory: rate, memory, and the time to the first update.

python benchmarks/streaming.py [--rows 10000000] [--shards 40] [--memory 100000] [--updates 2000] [--rounds 5]

The rows are made by code in a temporary folder: words of made-up letters, in so many shards. Sides: rows in memory
(fewer, as they must fit), the shards streamed, and the shards encoded once by `antiphon prepare`. A training is a whole
process; its rate is that of the second half of the updates, as it writes it into its log; memory is the most that it
and the processes that read for it held together (PSS, which counts shared pages once), and the first update is what the
process says of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, run

from growth import rows
from measure import middle, write
from peers.antiphon import CONFIG
from task import TASKS

TASK = TASKS["letters"]
PARTS = 2
LOOK = 0.2  # seconds between looks at the memory


def words(count: int, seed: int) -> Iterator[str]:
    """Rows of a shard: 4 to 10 letters a side."""
    draw = random.Random(seed)
    symbols = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for _ in range(count):
        size = draw.randint(4, 10)
        yield "\t".join(" ".join(draw.choices(symbols, k=size)) for _ in range(2)) + "\n"


def shards(folder: Path, count: int, number: int) -> int:
    """So many rows in so many shards; their bytes."""
    folder.mkdir()
    for shard in range(number):
        with open(folder / f"{shard:04}.tsv", "w", encoding="utf-8") as file:
            file.writelines(words(count * (shard + 1) // number - count * shard // number, shard))
    return sum(path.stat().st_size for path in folder.iterdir())


def tree_memory(process: int) -> float:
    """MiB that a process and its children hold, shared pages counted once."""
    total, family = 0.0, [process]
    while family:
        number = family.pop()
        try:
            family += map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split())
            lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return total


def train(config: Path, settings: list[str], updates: int, threads: int) -> tuple[float, float, float]:
    """Target tokens per second at the end, the most MiB held at once, and the seconds to the first update."""
    out = config.parent / "model"
    length = ["--set", f"train.validate_every={updates // PARTS}", "--set", f"train.max_steps={updates}"]
    command = [sys.executable, "-m", "antiphon", "train", str(config), "--out", str(out), "--overwrite", *settings]
    counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    began = time.monotonic()
    process = Popen([*command, *length], env={**os.environ, **counts}, stdout=DEVNULL, stderr=PIPE, text=True)
    held = [0.0]

    def watch() -> None:
        while process.poll() is None:
            held.append(tree_memory(process.pid))
            time.sleep(LOOK)

    watcher = threading.Thread(target=watch)
    watcher.start()
    first, said = 0.0, []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if not first and line.startswith("update "):
            first = time.monotonic() - began
    status = process.wait()
    watcher.join()
    process.stderr.close()
    if status:
        raise SystemExit(f"{' '.join(command)}: status {status}\n{''.join(said)}")
    *_, last = map(json.loads, (out / "training/log.jsonl").read_text().splitlines())
    return last["tokens_per_second"], max(held), first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--memory", type=int, default=100_000)
    parser.add_argument("--updates", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = shards(folder / "shards", given.rows, given.shards)
        with open(folder / "train.tsv", "w", encoding="utf-8") as file:
            file.writelines(words(given.memory, 1 << 20))
        (folder / "valid.tsv").write_text("".join(rows(16, lambda draw: 8)))
        attention = "{kind: general}"
        config = folder / "config.yaml"
        config.write_text(CONFIG.format(data=folder, task=TASK, precision="float32", attention=attention))
        streamed = ["--set", f"data.train={folder / 'shards'}"]
        began = time.monotonic()
        prepare = [
            sys.executable,
            "-m",
            "antiphon",
            "prepare",
            str(config),
            "--out",
            str(folder / "encoded"),
            *streamed,
        ]
        run(prepare, check=True, stdout=DEVNULL, stderr=DEVNULL)
        preparing = time.monotonic() - began
        encoded = sum(path.stat().st_size for path in (folder / "encoded").iterdir())
        sides = {
            f"{given.memory:,} rows in memory": [],
            f"{given.rows:,} rows streamed": streamed,
            f"{given.rows:,} rows encoded before": ["--set", f"data.train={folder / 'encoded'}"],
        }
        figures: dict[str, list[tuple[float, float, float]]] = {title: [] for title in sides}
        for number in range(given.rounds):
            for title, settings in sides.items():
                figures[title].append(train(config, settings, given.updates, given.threads))
                rate, held, first = figures[title][-1]
                print(f"round {number + 1}: {title}: {rate:,.0f} tokens/s, {held:,.0f} MiB, {first:.1f} s", flush=True)
    base = [rate for rate, _, _ in next(iter(figures.values()))]
    lines = {}
    for title, measured in figures.items():
        columns = [middle(column) for column in zip(*measured, strict=True)]
        shares = [rate / beside for (rate, _, _), beside in zip(measured, base, strict=True)]
        lines[title] = [columns[0], f"{statistics.median(shares):.2f}", *columns[1:]]
    about = (
        f"{given.rows:,} rows in {given.shards} shards: {size / given.rows:.0f} bytes a row as text, "
        f"{encoded / given.rows:.0f} encoded; `antiphon prepare` took {preparing:,.0f} s, "
        f"{1e6 * preparing / given.rows:.0f} µs a row. {given.updates:,} updates of {TASK.BATCH} rows, float32; median "
        f"and range of {given.rounds} interleaved rounds, and the median of the rounds' ratios."
    )
    heads = ("table", "target tokens/s", "of in memory", "most memory, MiB", "seconds to the first update")
    write("streaming", about, lines, heads, given.threads)


if __name__ == "__main__":
    main()
