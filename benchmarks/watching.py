"""Time of a training with and without --watch, as whole processes in turn, with a client that reads all events.

python benchmarks/watching.py TABLE [--rounds 5] [--updates 400] [--every 100] [--threads 1]
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from measure import write


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def read(port: int, ended: threading.Event) -> None:
    """Read the events as a page does, from when they can be had to the end."""
    while not ended.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            while client.recv(1 << 16):
                pass
            return
        time.sleep(0.2)


def computing() -> float:
    """Seconds of processor time of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds(given: argparse.Namespace, out: Path, updates: int, watched: bool) -> tuple[float, float, bytes]:
    """Wall time from the start of the process to its end, its processor time, and the weights."""
    port, ended = free_port(), threading.Event()
    command = [sys.executable, "-m", "antiphon", "train", str(given.table), "--out", str(out), "--overwrite", "--quiet"]
    command += [
        "--threads",
        str(given.threads),
        "--set",
        f"train.max_steps={updates}",
        "--set",
        "train.schedule=constant",
    ]
    command += ["--set", f"train.validate_every={given.every}"]
    command += ["--watch", "--watch-port", str(port)] if watched else []
    page = threading.Thread(target=read, args=(port, ended))
    if watched:
        page.start()
    began, computed = time.perf_counter(), computing()
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(given.threads)})
    took, computed = time.perf_counter() - began, computing() - computed
    ended.set()
    if watched:
        page.join()
    return took, computed, (out / "weights.safetensors").read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    times: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    models = set()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds):
            for watched in ((False, True), (True, False))[number % 2]:
                *short, _ = seconds(given, Path(folder, "m"), given.every, watched)
                *long, weights = seconds(given, Path(folder, "m"), given.updates, watched)
                times[watched].append((long[0] - short[0], long[1] - short[1]))
                models.add(weights)
    if len(models) != 1:
        raise SystemExit("the weights differ")
    rows: dict[str, list[str]] = {}
    for watched, name in ((False, "alone"), (True, "with --watch, and a page open")):
        cells = rows.setdefault(name, [])
        for values, alone in zip(zip(*times[watched], strict=True), zip(*times[False], strict=True), strict=True):
            ratio = statistics.median(values) / statistics.median(alone)
            cells += [f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})", f"{ratio:.3f}"]
    about = (
        f"Whole processes, {given.rounds} rounds in turn, a validation every {given.every} updates: what "
        f"{given.updates} updates take longer than {given.every}. Median and range of wall time and of processor time, "
        "which neighbours disturb less. All models are the same bit for bit."
    )
    write("watching", about, rows, ["training", "seconds", "of alone", "of the processor", "of alone"], given.threads)


if __name__ == "__main__":
    main()
