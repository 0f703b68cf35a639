"""How training grows: with the rows of the table (rate and memory), and with the length of the sequences (rate).

python benchmarks/growth.py [--rows 10000 100000 1000000] [--lengths 16 32 64 128 256 512 1024] [--rounds 3]

A training is a whole process. Its rate is what it writes of itself into its log, by parts of so many updates: the
median of all parts but the first, so that reading rows and first calls fall out. Memory is the most that it ever held.
The model is that of the task `letters`; made-up words are as long as its words, made-up sequences have one length on
both sides, and as many tokens per batch whatever that length is.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import DEVNULL, Popen

from measure import middle, write
from peers.antiphon import CONFIG
from task import TASKS

TASK = TASKS["letters"]
PARTS = 4
TOKENS = 2_048  # target tokens of a batch, padding counted
SYMBOLS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def always(length: int) -> Callable[[random.Random], int]:
    """One length and no other."""
    return lambda draw: length


def rows(count: int, length: Callable[[random.Random], int]) -> Iterator[str]:
    """Tables of letters between spaces."""
    draw = random.Random(1)
    for _ in range(count):
        size = length(draw)
        yield "\t".join(" ".join(draw.choices(SYMBOLS, k=size)) for _ in range(2)) + "\n"


def train(folder: Path, updates: int, settings: list[str], threads: int) -> tuple[float, float]:
    """Target tokens per second, and the most MiB that the process held at once."""
    given = [str(folder / "config.yaml"), "--out", str(folder / "model"), "--overwrite", *settings]
    length = ["--set", f"train.validate_every={updates}", "--set", f"train.max_steps={PARTS * updates}"]
    command = [sys.executable, "-m", "antiphon", "train", *given, *length]
    counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    process = Popen(command, env={**os.environ, **counts}, stdout=DEVNULL, stderr=DEVNULL)
    held = [0.0]

    def watch() -> None:
        while process.poll() is None:
            try:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            except OSError:
                return
            held.extend(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    watcher.join()
    if status:
        raise SystemExit(f"{' '.join(command)}: status {status}")
    entries = map(json.loads, (folder / "model/training/log.jsonl").read_text().splitlines())
    return statistics.median([entry["tokens_per_second"] for entry in entries][1:]), max(held)


def table(folder: Path, lines: Iterator[str], precision: str) -> None:
    """The data and the configuration."""
    folder.mkdir()
    with open(folder / "train.tsv", "w", encoding="utf-8") as file:
        file.writelines(lines)
    (folder / "valid.tsv").write_text("".join(rows(16, lambda draw: 8)))
    attention = "{kind: general}"
    text = CONFIG.format(data=folder, task=TASK, precision=precision, attention=attention)
    (folder / "config.yaml").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--lengths", nargs="+", type=int, default=[16, 32, 64, 128, 256, 512, 1024])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="float32")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        cases: dict[str, tuple[Path, list[str]]] = {}
        for count in given.rows:
            folder = Path(name, f"rows-{count}")
            table(folder, rows(count, lambda draw: draw.randint(4, 10)), given.precision)
            cases[f"{count:,} rows"] = (folder, [])
        for length in given.lengths:
            folder = Path(name, f"length-{length}")
            table(folder, rows(20_000 * 16 // length, always(length)), given.precision)
            size = max(1, TOKENS // (length + 1))
            settings = ["--set", f"train.batch_size={size}", "--set", "data.max_length=2000"]
            cases[f"sequences of {length:,}"] = folder, settings
        rates: dict[str, list[float]] = {title: [] for title in cases}
        memory: dict[str, list[float]] = {title: [] for title in cases}
        for number in range(given.rounds):
            for title, (folder, settings) in cases.items():
                rate, held = train(folder, given.updates, settings, given.threads)
                rates[title].append(rate)
                memory[title].append(held)
                print(f"round {number + 1}: {title}: {rates[title][-1]:,.0f} tokens/s, {held:,.0f} MiB", flush=True)
    first = statistics.median(rates[next(iter(cases))])
    lines = {
        title: [middle(rates[title]), f"{statistics.median(rates[title]) / first:.2f}", middle(memory[title])]
        for title in cases
    }
    about = (
        f"{PARTS - 1} times {given.updates} updates, {given.precision}; {TASK.BATCH} rows per batch, of sequences of "
        f"one length about {TOKENS:,} tokens; median and range of {given.rounds} interleaved rounds."
    )
    write("growth", about, lines, ("table", "target tokens/s", "of the first", "most memory, MiB"), given.threads)


if __name__ == "__main__":
    main()
