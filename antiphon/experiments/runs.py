"""Trainings side by side: each is a process of `antiphon train` with a model folder, and is resumed where it stopped.

DIR/SETTING/seed-2          a model folder
DIR/SETTING/seed-2.log      the output of its process, which holds a lock on this file
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antiphon.devices import pick_device
from antiphon.files import locked, make_folder, writing
from antiphon.saved import folder as bundle
from antiphon.training.interrupt import stop_asked

POLL = 0.1  # seconds between two looks at the processes
PATIENCE = 120.0  # seconds in which a process that is asked to stop saves its state
# the first lines of a process: on Linux the kernel sends it SIGTERM when its parent ends (PR_SET_PDEATHSIG)
STOP_WITH_PARENT = """\
import ctypes, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
"""
TRAIN = """\
from antiphon.cli.main import main
sys.argv[0] = "antiphon"
main()
"""


@dataclass(frozen=True, eq=False)
class Run:
    """A training: its name in messages, its model folder, and the keys that it sets."""

    name: str
    folder: Path
    settings: Mapping[str, Any]

    @property
    def log(self) -> Path:
        """The file with the output of its process."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def finished(self) -> bool:
        """Whether it has been trained to its end: the card is what a training writes last."""
        return (self.folder / bundle.CARD).is_file()

    def last_line(self) -> str:
        """The last line of its output."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n") if self.log.is_file() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")


@dataclass(frozen=True)
class Command:
    """What the processes of all runs have in common."""

    what: Path  # a configuration or a table
    jobs: int
    threads: int | None = None  # None: as `antiphon train` chooses
    device: str | None = None
    imports: Sequence[str] = field(default=())  # modules of `--import`

    def arguments(self, run: Run) -> list[str]:
        """The command line that begins or resumes a run."""
        imports = [word for module in self.imports for word in ("--import", module)]
        words = [sys.executable, "-c", STOP_WITH_PARENT + TRAIN, *imports, "train", str(self.what)]
        words += ["--out", str(run.folder)]
        for key, value in run.settings.items():
            words += ["--set", f"{key}={json.dumps(value)}"]
        words += [] if self.threads is None else ["--threads", str(self.threads)]
        words += [] if self.device is None else ["--device", self.device]
        return [*words, "--resume"] if (run.folder / bundle.CONFIG).is_file() else words


def command(
    what: Path,
    jobs: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    imports: Sequence[str] = (),
) -> Command:
    """How runs are trained: by default as many at a time as there are cores, each on one thread; on a GPU one."""
    if jobs is None and threads is None and pick_device(device).type != "cpu":
        jobs = 1
    if threads is None and jobs != 1:
        threads = 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Command(what, jobs or max(1, cores // (threads or 1)), threads, device, imports)


def never(run: Run) -> bool:
    """No run is stopped before its end."""
    return False


def train_all(
    shared: Command,
    runs: Iterator[Run],
    ended: Callable[[Run, int], None],
    say: Callable[[str], None],
    stops: Callable[[Run], bool] = never,
    until: float = math.inf,
) -> list[Run]:
    """Train `runs`, so many at a time as `shared` says; returns those that were stopped at the time `until`.

    The next run is taken when there is room for it. `ended` is called with each that ended and the exit status of its
    process, and `stops` again and again with each that runs: true stops it. At the time `until` (of
    `time.monotonic`), and at a signal to stop, all are stopped and save their state; after a signal
    KeyboardInterrupt is raised. A run that a process of an earlier call still trains is waited for.
    """
    running: dict[Run, subprocess.Popen[bytes] | None] = {}
    asked_to_stop: set[Run] = set()
    waited_for: set[Run] = set()
    more = True
    with stop_asked() as stop_requested:
        try:
            while more or running:
                while more and len(running) < shared.jobs:
                    run = next(runs, None)
                    more = run is not None
                    if run is not None:
                        running[run] = None
                for run, process in list(running.items()):
                    if process is None and run.finished:
                        del running[run]
                        ended(run, 0)
                    elif process is None:
                        running[run] = _begin(shared, run)
                        if running[run] is None and run not in waited_for:
                            waited_for.add(run)
                            say(f"{run.name}: another process still trains it; waiting for that")
                    elif (status := process.poll()) is not None:
                        del running[run]
                        ended(run, status)
                    elif run not in asked_to_stop and stops(run):
                        asked_to_stop.add(run)
                        process.terminate()
                if stop_requested() or time.monotonic() > until:
                    break
                time.sleep(POLL)
        finally:
            _stop([process for process in running.values() if process is not None])
        if stop_requested():
            raise KeyboardInterrupt("stopped, and all states are saved; the same command goes on")
    return list(running)


def _begin(shared: Command, run: Run) -> subprocess.Popen[bytes] | None:
    """The process of a run; None if another process trains it.

    The lock belongs to the open log, which the process inherits: it holds as long as the process lives, even if this
    one is killed.
    """
    make_folder(run.folder.parent)
    with writing(run.log), open(run.log, "ab") as log:
        if not locked(log):
            return None
        return subprocess.Popen(
            shared.arguments(run),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C of the terminal reaches this process alone, which asks them to stop, once
        )


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask processes to stop, wait until they have saved their state, and kill those that take too long."""
    for process in processes:
        with suppress(OSError):
            process.terminate()
    for process in processes:
        try:
            process.wait(PATIENCE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()
