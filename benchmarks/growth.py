"""How training grows: with the rows of the table (rate and memory), and with the length of the sequences (rate).

python benchmarks/growth.py [--rows 10000 100000 1000000] [--lengths 16 32 64 128 256 512 1024] [--rounds 3]

Whole processes; a rate is of the updates that a longer run makes more than a shorter one, memory the most that the
longer one ever held. The model is that of the task `letters`; made-up words are as long as its words, made-up sequences
have one length on both sides, and as many tokens a batch whatever that length is.
"""

from __future__ import annotations

import argparse
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
FIRST = 20
TOKENS = 2_048  # target tokens of a batch, padding counted
SYMBOLS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def rows(count: int, length: Callable[[random.Random], int]) -> Iterator[str]:
    """Tables of letters between spaces."""
    draw = random.Random(1)
    for _ in range(count):
        size = length(draw)
        yield "\t".join(" ".join(draw.choices(SYMBOLS, k=size)) for _ in range(2)) + "\n"


def train(folder: Path, updates: int, settings: list[str], threads: int) -> tuple[float, float]:
    """Seconds, and the most MiB that the process held at once."""
    given = [str(folder / "config.yaml"), "--out", str(folder / "model"), "--overwrite", *settings]
    command = [sys.executable, "-m", "antiphon", "train", *given, "--set", f"train.max_steps={updates}"]
    counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    began = time.perf_counter()
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
    seconds = time.perf_counter() - began
    watcher.join()
    if status:
        raise SystemExit(f"{' '.join(command)}: status {status}")
    return seconds, max(held)


def table(folder: Path, lines: Iterator[str], precision: str) -> float:
    """The data and the configuration; mean target tokens of a row, the end symbol counted."""
    folder.mkdir()
    count = tokens = 0
    with open(folder / "train.tsv", "w", encoding="utf-8") as file:
        for line in lines:
            file.write(line)
            count, tokens = count + 1, tokens + len(line.split("\t")[1].split()) + 1
    (folder / "valid.tsv").write_text("".join(rows(16, lambda draw: 8)))
    attention = "{kind: general}"
    text = CONFIG.format(data=folder, task=TASK, precision=precision, attention=attention)
    (folder / "config.yaml").write_text(text)
    return tokens / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--lengths", nargs="+", type=int, default=[16, 32, 64, 128, 256, 512, 1024])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="float32")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        cases = {}
        for count in given.rows:
            folder = Path(name, f"rows-{count}")
            mean = table(folder, rows(count, lambda draw: draw.randint(4, 10)), given.precision)
            cases[f"{count:,} rows"] = (folder, TASK.BATCH * mean, [])
        for length in given.lengths:
            folder = Path(name, f"length-{length}")
            mean = table(folder, rows(20_000 * 16 // length, lambda draw, n=length: n), given.precision)
            size = max(1, TOKENS // (length + 1))
            cases[f"sequences of {length:,}"] = (
                folder,
                size * mean,
                ["--set", f"train.batch_size={size}", "--set", "data.max_length=2000"],
            )
        rates: dict[str, list[float]] = {title: [] for title in cases}
        memory: dict[str, list[float]] = {title: [] for title in cases}
        for number in range(given.rounds):
            for title, (folder, tokens, settings) in cases.items():
                short, _ = train(folder, FIRST, settings, given.threads)
                long, held = train(folder, FIRST + given.updates, settings, given.threads)
                rates[title].append(given.updates * tokens / (long - short))
                memory[title].append(held)
                print(f"round {number + 1}: {title}: {rates[title][-1]:,.0f} tokens/s, {held:,.0f} MiB", flush=True)
    first = statistics.median(rates[next(iter(cases))])
    lines = {
        title: [middle(rates[title]), f"{statistics.median(rates[title]) / first:.2f}", middle(memory[title])]
        for title in cases
    }
    about = (
        f"{given.updates} updates after {FIRST}, {given.precision}; {TASK.BATCH} rows a batch, of sequences of one "
        f"length about {TOKENS:,} tokens; median and range of {given.rounds} interleaved rounds."
    )
    write("growth", about, lines, ("table", "target tokens/s", "of the first", "most memory, MiB"), given.threads)


if __name__ == "__main__":
    main()
