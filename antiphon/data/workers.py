"""Processes that read and encode the chunks of a stream ahead of the training.

Each is a `python -m antiphon.data.workers` without PyTorch: it gets what to read as JSON, and gives pickled chunks in
the order in which its readers take turns. A pickle goes only from a process to the one that started it. With such
processes windows are also joined ahead, in a thread.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from queue import Queue
from typing import Any, BinaryIO, TypeVar

from antiphon.config.files import InMemory, Parallel
from antiphon.config.load import parse_config
from antiphon.data.codecs.text import TextCodec
from antiphon.data.formats import FORMATS
from antiphon.data.load import Codecs
from antiphon.data.stream import Placed, Position, Readers, Stream, Tables, Window, dealt, in_turn, reader_of
from antiphon.errors import AntiphonError, DataError

MOST = 4  # processes, unless configured
BUFFER = 1 << 20  # bytes of a pipe
PATIENCE = 0.1  # seconds between looks whether the reading is to end
SHARE = 0.8  # part of the time for which a window is used, over which the next one is read

T = TypeVar("T")


def default_workers() -> int:
    """As many processes as leave a core to the training, but one at least and `MOST` at most."""
    return max(1, min(MOST, (os.cpu_count() or 1) - 1))


def can_work(tables: Tables) -> bool:
    """Whether other processes can read these tables: files, with parts that a module defines."""
    codecs = tables.codecs.named.values()
    return (
        "__main__" not in _modules(tables)
        and bool(codecs)
        and not any(isinstance(shard, InMemory) for shard in tables.shards)
    )


def _modules(tables: Tables) -> list[str]:
    """The modules that define the parts which read these tables, those that a user adds too."""
    parts: list[Any] = [*tables.codecs.named.values()]
    parts += [codec.tokenizer for codec in parts if isinstance(codec, TextCodec)]
    return sorted({type(part).__module__ for part in parts} | {read.__module__ for read in FORMATS.values()})


@dataclass(frozen=True)
class Worker:
    """A process that reads ahead, for some of the readers."""

    process: subprocess.Popen[bytes]

    @classmethod
    def begin(cls, tables: Tables, seed: int | None, at: Position, number: int, workers: int) -> Worker:
        """The process with this number among `workers`."""
        task = {
            "config": tables.config.model_dump(mode="json", by_alias=True),
            "codecs": tables.codecs.to_json(),
            "shards": [shard.model_dump() if isinstance(shard, Parallel) else shard for shard in tables.shards],
            "held": [digest.hex() for digest in tables.held],
            "modules": _modules(tables),
            "seed": seed,
            "position": asdict(at),
            "number": number,
            "workers": workers,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "antiphon.data.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
            process_group=0,  # Ctrl+C is for the training, which ends it
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which `frames` reports
            process.stdin.write(json.dumps(task).encode())
            process.stdin.close()
        return cls(process)

    def frames(self, epoch: int, reader: int) -> Iterator[Placed]:
        """The chunks of a reader in an epoch, each when it is its turn."""
        while True:
            try:
                sent = pickle.load(self.process.stdout)  # type: ignore[arg-type]  # from a process of our own
            except (EOFError, OSError, ValueError, pickle.UnpicklingError):
                status = self.process.wait()
                how = f"by signal {-status}, as if memory had run out" if status < 0 else f"with status {status}"
                raise DataError(f"a process that reads rows ended {how}; with data.workers=0 none is used") from None
            if isinstance(sent, str):
                raise DataError(sent)
            of_epoch, of_reader, placed = sent
            assert (of_epoch, of_reader) == (epoch, reader)
            if placed is None:
                return
            yield placed

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def working(
    tables: Tables, workers: int, seed: int | None, at: Position
) -> Iterator[tuple[Readers, Callable[[], None]]]:
    """Within it, so many processes read and encode from a position on: the readers, and what ends the processes."""
    number = min(workers, len(dealt(len(tables), seed, 0)))
    processes = [Worker.begin(tables, seed, at, each, number) for each in range(number)]

    def readers(epoch: int, _: Position) -> Mapping[int, Iterator[Placed]]:
        own = range(len(dealt(len(tables), seed, epoch)))
        return {reader: processes[reader % number].frames(epoch, reader) for reader in own}

    def end() -> None:
        for process in processes:
            process.end()

    try:
        yield readers, end
    finally:
        end()


class Pace:
    """Spreads the reading of a window over most of the time for which the window before was used: a training that has
    all cores is slowed down evenly, not for seconds at the beginning of each window."""

    def __init__(self, rows: int) -> None:
        self.rows, self.read = rows, 0
        self.began, self.time = time.monotonic(), 0.0
        self.ended = threading.Event()

    def taken(self) -> None:
        """A window is taken, and the reading of the next one begins."""
        now = time.monotonic()
        self.began, self.time, self.read = now, SHARE * (now - self.began), 0

    def wait(self, placed: Placed) -> Placed:
        """The chunk, when it is due; at once when the reading ends."""
        self.read += len(placed[1].examples)
        due = self.began + self.time * min(1.0, self.read / self.rows)
        self.ended.wait(max(0.0, due - time.monotonic()))
        return placed


def windows_ahead(tables: Tables, workers: int, stream: Stream, at: Position) -> Iterator[Window]:
    """The windows of a stream from a position on, read by so many processes."""
    pace = Pace(stream.window)
    with working(tables, workers, stream.seed, at) as (readers, end):

        def paced(epoch: int, place: Position) -> Mapping[int, Iterator[Placed]]:
            return {reader: map(pace.wait, chunks) for reader, chunks in readers(epoch, place).items()}

        def stop() -> None:
            pace.ended.set()
            end()

        for window in ahead(stream.windows(at, paced), stop):
            pace.taken()
            yield window


def ahead(windows: Iterator[T], end: Callable[[], None]) -> Iterator[T]:
    """The same windows, each made in a thread while the one before is used; `end` stops what the thread waits for."""
    box: Queue[T | BaseException] = Queue()
    wanted, stopped = threading.Semaphore(), threading.Event()

    def make() -> None:
        try:
            for window in windows:
                box.put(window)
                while not wanted.acquire(timeout=PATIENCE):
                    if stopped.is_set():
                        return
        except BaseException as error:  # raised where the windows are used
            box.put(error)

    thread = threading.Thread(target=make, daemon=True, name="windows")
    thread.start()
    try:
        while True:
            made = box.get()
            if isinstance(made, BaseException):
                raise made
            yield made
            wanted.release()
    finally:
        stopped.set()
        end()
        thread.join()


def _give(task: Mapping[str, Any], out: BinaryIO) -> None:
    """Read what the task names, and write it as frames until nobody reads them any more."""
    for module in task["modules"]:
        importlib.import_module(module)
    config = parse_config(task["config"], Path())
    shards: Sequence[Any] = [Parallel(**shard) if isinstance(shard, dict) else shard for shard in task["shards"]]
    held = frozenset(map(bytes.fromhex, task["held"]))
    tables = Tables(config, Codecs.from_json(task["codecs"]), shards, held)
    at = Position(**task["position"])
    for epoch in count(at.epoch):
        own = dealt(len(shards), task["seed"], epoch)
        mine = range(task["number"], len(own), task["workers"])
        readers = {reader: reader_of(tables, own[reader], at.place(reader)) for reader in mine}
        for reader, placed in in_turn(readers, at.turn):
            pickle.dump((epoch, reader, placed), out, pickle.HIGHEST_PROTOCOL)
            out.flush()
        at = Position(epoch + 1)


def main() -> None:
    """The process of a worker."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    out = os.fdopen(os.dup(1), "wb", buffering=BUFFER)
    os.dup2(2, 1)  # what a module prints is no frame
    task = json.load(sys.stdin)
    try:
        try:
            _give(task, out)
        except AntiphonError as error:
            pickle.dump(str(error), out)
        out.flush()
    except BrokenPipeError:  # the training has ended
        os._exit(0)


if __name__ == "__main__":
    main()
