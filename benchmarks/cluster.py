"""Prediction over Ray Data beside as many plain processes: rows a second, the memory of a worker, and what this
machine's reader and writer can pass.

python benchmarks/cluster.py MODEL WORDS [--rows 200000] [--short 20000] [--workers 2] [--rounds 3] [--kills 3]

MODEL is a folder that `antiphon export` has written, WORDS a file with an input a line, repeated as needed.
Every side predicts a short file and a long one; what the long one takes longer is the time of the difference, so that
Ray's start and imports fall out (they have a row of their own). A plain process is `antiphon-runtime` with one thread
and its share of the rows. Memory is the most that a worker holds for itself (USS), read once a second. At the end
workers are killed (SIGKILL) at random moments of one more run, and its output is compared with that of one process.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from measure import middle, write

from antiphon.shards.files import Shard
from antiphon.shards.finished import opened
from antiphon.shards.reading import ROWS, pieces
from antiphon.shards.run import reading_of
from antiphon.shards.writing import Done
from antiphon.shards.writing import write as write_files

WORKER = "ray::MapWorker"
LOOK = 1.0  # seconds between looks at the memory, which take time of the workers
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def working() -> list[psutil.Process]:
    """The processes of Ray's workers."""
    return [each for each in psutil.process_iter(["cmdline"]) if WORKER in " ".join(each.info["cmdline"] or [])]


def private(process: int) -> float:
    """MiB of memory that a process shares with no other."""
    with suppress(OSError):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
    return 0.0


@contextmanager
def watched(most: list[float]) -> Iterator[None]:
    """Within it, the MiB that the largest worker of Ray holds for itself are added to `most`."""
    done = threading.Event()
    held = [0.0]

    def watch() -> None:
        while not done.wait(LOOK):
            for process in working():
                held.append(private(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        most.append(max(held))


def seconds(commands: Sequence[tuple[Sequence[object], Path | None]]) -> float:
    """The wall time of commands that run at the same time, each with its standard input."""
    began = time.perf_counter()
    processes = []
    for command, given in commands:
        stream = open(given) if given else None  # noqa: SIM115 closed by the process's end
        words = [sys.executable, "-m", *map(str, command)]
        output = subprocess.DEVNULL
        processes.append(subprocess.Popen(words, stdin=stream, stdout=output, stderr=output, env=ENVIRONMENT))
        if stream:
            stream.close()
    for process in processes:
        if process.wait():
            raise SystemExit(f"process {process.pid}: status {process.returncode}")
    return time.perf_counter() - began


def killed(model: Path, path: Path, folder: Path, workers: int, kills: int, lasts: float) -> int:
    """How often a worker was killed in a run of about `lasts` seconds, whose output was that of one plain process."""
    chance, done, out = random.Random(1), 0, folder / "killed"
    with open(path, encoding="utf-8") as words:
        plain = [sys.executable, "-m", "antiphon_runtime.cli", str(model)]
        answers = subprocess.run(plain, stdin=words, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True, check=True)
    pairs = zip(path.read_text(encoding="utf-8").splitlines(), answers.stdout.splitlines(), strict=True)
    expected = "".join(f"{word}\t{answer}\n" for word, answer in [("source", "prediction"), *pairs])
    command = [sys.executable, "-m", "antiphon", "predict", model, path, "--ray", "local", "--workers", workers]
    run = subprocess.Popen([*map(str, command), "--out", str(out)], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    while run.poll() is None and done < kills:
        if not (alive := working()):
            time.sleep(0.1)
            continue
        time.sleep(chance.uniform(0.05, 0.2) * lasts)
        with suppress(psutil.Error):
            chance.choice(alive).kill()
            done += 1
    if run.wait():
        raise SystemExit(f"the run whose workers were killed: status {run.returncode}")
    if (out / f"{path.stem}.tsv").read_text(encoding="utf-8") != expected:
        raise SystemExit("after kills the output is not that of one plain process")
    return done


def passed(model: Path, path: Path, folder: Path) -> tuple[float, float]:
    """Rows a second that the reader cuts into pieces, and that the writer puts into a file."""
    began = time.perf_counter()
    cut = list(pieces(reading_of(model), str(path)))
    read = time.perf_counter() - began
    count = sum(len(piece.rows) for piece in cut)
    done = [
        Done(0, place, piece.last, content="".join(f"{row[1]}\tprediction\n" for row in piece.rows).encode(),
             rows=len(piece.rows))
        for place, piece in enumerate(cut)
    ]  # fmt: skip
    with opened(folder, "model", {}) as finished:
        began = time.perf_counter()
        write_files([Shard(str(path), "all.tsv")], done, folder, finished)
        return count / read, count / (time.perf_counter() - began)


def inputs(words: Path, path: Path, rows: int) -> Path:
    """A file of as many rows."""
    lines = words.read_text(encoding="utf-8").splitlines()
    path.write_text("".join(f"{word}\n" for word in itertools.islice(itertools.cycle(lines), rows)), encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("words", type=Path)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--short", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=3)
    given = parser.parse_args()
    rates: dict[str, list[float]] = {"plain processes": [], "Ray Data": []}
    start: list[float] = []
    memory: list[float] = []
    reader: list[float] = []
    writer: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        whole = {rows: inputs(given.words, top / f"{rows}.txt", rows) for rows in (given.short, given.rows)}
        shares = {
            rows: [inputs(given.words, top / f"{rows}-{n}.txt", rows // given.workers) for n in range(given.workers)]
            for rows in whole
        }
        for number in range(given.rounds):
            plain = {
                rows: seconds([(["antiphon_runtime.cli", given.model], share) for share in shares[rows]])
                for rows in whole
            }
            ray = {}
            for rows, path in whole.items():
                command = ["antiphon", "predict", given.model, path, "--ray", "local", "--workers", given.workers]
                with watched(memory):
                    ray[rows] = seconds([([*command, "--out", top / f"out-{number}-{rows}"], None)])
            for title, times in (("plain processes", plain), ("Ray Data", ray)):
                rates[title].append((given.rows - given.short) / (times[given.rows] - times[given.short]))
            start.append(ray[given.short] - given.short / rates["Ray Data"][-1])
            passes = passed(given.model, whole[given.rows], top / f"passed-{number}")
            reader.append(passes[0])
            writer.append(passes[1])
            print(f"round {number + 1}: " + ", ".join(f"{title} {rate[-1]:,.0f}" for title, rate in rates.items()))
        kills = killed(given.model, whole[given.rows], top, given.workers, given.kills, ray[given.rows])
    first = statistics.median(rates["plain processes"])
    table = {
        title: [middle(values), f"{statistics.median(values) / first:.2f}"]
        for title, values in {**rates, "reader of this machine": reader, "writer of this machine": writer}.items()
    }
    sides = f"{given.workers} workers beside {given.workers} plain processes of one thread, blocks of {ROWS:,} rows"
    about = (
        f"{given.rows:,} rows, {sides}; start-up of Ray {middle(start)} s, most memory of a worker "
        f"{middle(memory)} MiB; median and "
        f"range of {given.rounds} interleaved rounds. In one more run workers were killed {kills} times: its output "
        f"is, byte for byte, that of one plain process."
    )
    write("cluster", about, table, ("side", "rows/s", "of the first"), given.workers)


if __name__ == "__main__":
    main()
