"""A server under load: throughput with batches and one input at a time, latency below the limit, and conduct past it.

python benchmarks/server.py MODEL WORDS [--seconds 60] [--connections 64]

MODEL is a folder (trained or exported), WORDS a file of inputs, one per line or before a tab. Both servers are
processes of their own, the same but for `--batch-steps 1`, which lets no two inputs into one batch. Every answer is
compared with what `predict` says (of an exported model the runtime's); past the limit, the server's memory is watched.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from measure import DOCS, write

from antiphon.use.serving import load

IDLE = 2.0  # seconds after which a connection is not used again: a server closes those that send nothing


@dataclass
class Outcome:
    """What became of the requests of a load."""

    seconds: float
    times: list[float] = field(default_factory=list)  # the requests that were answered, in ms
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0

    @property
    def rate(self) -> float:
        return self.statuses[200] / self.seconds

    def percentile(self, share: float) -> float:
        return sorted(self.times)[min(int(share * len(self.times)), len(self.times) - 1)] if self.times else 0.0


@contextmanager
def server(model: Path, *options: str) -> Iterator[tuple[int, int]]:
    """A server's port and process."""
    command = [sys.executable, "-m", "antiphon", "serve", str(model), "--port", "0", "--threads", "1", *options]
    with tempfile.NamedTemporaryFile("w+") as log, Popen(command, stderr=log) as process:
        try:
            while '"ready"' not in (text := Path(log.name).read_text()):
                if process.poll() is not None:
                    raise SystemExit(text)
                time.sleep(0.1)
            port = re.search(r"http://127\.0\.0\.1:(\d+)", text)
            assert port is not None
            yield int(port[1]), process.pid
        finally:
            process.terminate()


class Connection:
    """One connection of HTTP/1.1, kept open: no more of it than a load needs."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.used = 0.0

    async def post(self, body: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer to /v1/predict."""
        if time.perf_counter() - self.used > IDLE:
            self.close()
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        assert self.reader is not None
        head = "POST /v1/predict HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        self.writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = re.search(r"content-length: (\d+)", lines)
        assert length is not None
        content = await self.reader.readexactly(int(length[1]))
        self.used = time.perf_counter()
        if "connection: close" in lines:
            self.close()
        return int(lines.split()[1]), content

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


class Load:
    """Requests of `size` inputs each, and the answers that they must have."""

    def __init__(self, inputs: list[str], answers: list[str], size: int) -> None:
        self.inputs, self.answers, self.size = inputs, answers, size

    async def ask(self, connection: Connection, outcome: Outcome) -> None:
        places = random.choices(range(len(self.inputs)), k=self.size)
        body = json.dumps({"inputs": [self.inputs[place] for place in places]}).encode()
        began = time.perf_counter()
        status, content = await connection.post(body)
        outcome.statuses[status] += 1
        if status == 200:
            outcome.times.append((time.perf_counter() - began) * 1e3)
            texts = [item["text"] for item in json.loads(content)["results"]]
            outcome.wrong += texts != [self.answers[place] for place in places]

    async def closed(self, port: int, connections: int, seconds: float) -> Outcome:
        """Each connection asks again as soon as it is answered."""
        outcome = Outcome(seconds)
        ends = time.perf_counter() + seconds

        async def go() -> None:
            connection = Connection(port)
            while time.perf_counter() < ends:
                await self.ask(connection, outcome)
            connection.close()

        await asyncio.gather(*(go() for _ in range(connections)))
        return outcome

    async def opened(self, port: int, rate: float, seconds: float) -> Outcome:
        """Requests come at random times, so many a second on average, whatever has been answered."""
        outcome = Outcome(seconds)
        free: list[Connection] = []

        async def go() -> None:
            connection = free.pop() if free else Connection(port)
            await self.ask(connection, outcome)
            free.append(connection)

        began = time.perf_counter()
        due, tasks = 0.0, []
        while due < seconds:
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            tasks.append(asyncio.create_task(go()))
            due += random.expovariate(rate)
        await asyncio.gather(*tasks)
        for connection in free:
            connection.close()
        return outcome


def held(process: int) -> float:
    """MiB that a process holds."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("words", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=64)
    given = parser.parse_args()
    inputs = [line.split("\t")[0] for line in given.words.read_text(encoding="utf-8").splitlines()][:5_000]
    served = load(given.model, "cpu")
    kind, answers = served.format, [item.text for item in served.predictor.answers(inputs)]
    gc.collect()
    gc.freeze()  # the client's own search for garbage would count as the server's delay
    rows: dict[str, list[str]] = {}
    lost = 0
    for size in (1, 16):
        task = Load(inputs, answers, size)
        rates = {}
        for title, options in (("one by one", ("--batch-steps", "1")), ("batches", ())):
            with server(given.model, *options) as (port, _):
                asyncio.run(task.closed(port, given.connections, min(5.0, given.seconds)))  # warm
                full = asyncio.run(task.closed(port, given.connections, given.seconds))
                rates[title] = full.rate
                row = [f"{full.rate:,.0f}", f"{full.rate * size:,.0f}", f"{full.rate / rates['one by one']:.1f}"]
                row += [f"{statistics.median(full.times):.0f} / {full.percentile(0.99):.0f}"]
                lost += full.wrong + sum(full.statuses.values()) - full.statuses[200]
                if title == "batches":
                    calm = asyncio.run(task.opened(port, 0.7 * full.rate, given.seconds))
                    lost += calm.wrong + sum(calm.statuses.values()) - calm.statuses[200]
                    row.append(f"{statistics.median(calm.times):.0f} / {calm.percentile(0.99):.0f}")
                else:
                    row.append("")
                rows[f"{title}, {size} input{'s' * (size > 1)} a request"] = row
                print(rows, flush=True)
    with server(given.model, "--queue", "256") as (port, process):
        task = Load(inputs, answers, 16)
        asyncio.run(task.closed(port, 64, min(5.0, given.seconds)))
        before = held(process)
        past = asyncio.run(task.closed(port, 512, given.seconds))
        after = held(process)
    answered, refused = past.statuses[200], past.statuses[429]
    others = sum(past.statuses.values()) - answered - refused
    about = (
        f"{given.connections} connections for {given.seconds:.0f} s, `{given.model.name}` ({kind}); every answer was "
        f"compared with `predict`: {lost} wrong or lost. Client and server share the machine's cores.\n\n"
        f"Past the limit, 512 connections of 16 inputs and a queue of 256 inputs: {answered:,} requests answered, "
        f"{refused:,} refused with 429, {others} others, {past.wrong} wrong; the server held {before:,.0f} MiB before "
        f"and {after:,.0f} MiB after."
    )
    heads = ("server", "requests/s", "inputs/s", "of one by one", "ms, median / 99%", "ms at 70% of the most")
    write("serving", about, rows, heads, 1, DOCS)


if __name__ == "__main__":
    main()
