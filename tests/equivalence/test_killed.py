"""A training that is killed at any moment goes on as if nothing had happened, bit for bit."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from tasks import tiny_config, train_quietly

from antiphon import load
from antiphon.files import PARTIAL
from antiphon.saved import folder as bundle
from antiphon.training import checkpoint

# children are forked from a process that has torch loaded and has computed nothing
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["antiphon.training.loop", "tasks"])
TIMINGS = ("minutes", "tokens_per_second")


def _outcome(folder: Path) -> dict[str, Any]:
    """All that a user could compare of two model folders, but the timings."""
    metrics = json.loads((folder / bundle.METRICS).read_text())
    log = [json.loads(line) for line in (folder / bundle.TRAINING / "log.jsonl").read_text().splitlines()]
    for entry in [*log, metrics, metrics["valid"]]:
        for name in TIMINGS:
            entry.pop(name, None)
    predicted = [vars(answer) for answer in load(folder).predict(["shoe", "cheet", "moon", "", "tee"])]
    weights = (folder / bundle.WEIGHTS).read_bytes()
    return {"weights": weights, "metrics": metrics, "log": log, "predicted": predicted}


def _states(out: Path) -> list[Path]:
    return checkpoint.states(out)


def _partial(out: Path) -> list[Path]:
    return list(out.rglob(f".*{PARTIAL}"))


def _wait_for_a_moment(process: BaseProcess, out: Path, chance: random.Random) -> str:
    """Sleep until a random moment of a training that has just begun, or its end; which kind of moment it is.

    Moments are counted from what the training does and not in seconds, so that a busy machine meets all kinds.
    """
    kind = chance.choices(["starting", "learning", "writing"], [1, 3, 2])[0]
    before = _states(out)
    if kind == "starting":
        process.join(chance.uniform(0.0, 0.3))
        return kind
    while process.is_alive() and _states(out) == before:
        time.sleep(0.001)
    process.join(chance.uniform(0.0, 0.15))
    while kind == "writing" and process.is_alive() and not _partial(out):
        pass
    return kind


def _kill_and_resume(tmp_path: Path, kills: int, seed: int) -> Counter[str]:
    """Kill trainings at random moments until so many were killed; the moments, and how many were mid-write."""
    options = {"model__dropout": 0.3, "train__unknown": 0.1, "train__ema": 0.9, "train__max_steps": 240}
    options |= {"train__validate_every": 40, "train__save_every": 3, "train__epochs": 1000}
    path = tmp_path / "c.yaml"
    path.write_text(tiny_config(tmp_path, **options).to_yaml())
    process = FORKSERVER.Process(target=train_quietly, args=(path, tmp_path / "whole", False))
    process.start()
    process.join()
    expected = _outcome(tmp_path / "whole")
    chance = random.Random(seed)
    seen: Counter[str] = Counter()
    while seen["killed"] < kills:
        out = tmp_path / f"killed{seen['trainings']}"
        while True:
            process = FORKSERVER.Process(target=train_quietly, args=(path, out, (out / bundle.CONFIG).exists()))
            process.start()
            kind = _wait_for_a_moment(process, out, chance) if seen["killed"] < kills else "end"
            if kind != "end" and process.is_alive():
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
            process.join()
            if process.exitcode != -signal.SIGKILL:
                break
            seen.update(["killed", kind] + ["half written"] * bool(_partial(out)))
        assert process.exitcode == 0
        seen["trainings"] += 1
        assert _outcome(out) == expected
        assert not _partial(out), "leftovers are removed"
    return seen


def test_killed_at_thirty_moments_it_ends_the_same_bit_for_bit(tmp_path: Path) -> None:
    seen = _kill_and_resume(tmp_path, 30, seed=time.time_ns())
    assert seen["killed"] >= 30
    assert seen["learning"] > 0 < seen["half written"], seen


@pytest.mark.slow
def test_killed_at_a_hundred_moments_it_ends_the_same_bit_for_bit(tmp_path: Path) -> None:
    seen = _kill_and_resume(tmp_path, 100, seed=time.time_ns())
    print(dict(seen))
    assert seen["killed"] >= 100
    assert min(seen["starting"], seen["learning"], seen["writing"], seen["half written"]) > 0
