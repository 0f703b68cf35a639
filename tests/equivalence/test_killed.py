"""A training that is killed at any moment goes on as if nothing had happened, bit for bit."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tasks import tiny_config, train_quietly

from antiphon import bundle, load
from antiphon.files import PARTIAL

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
    predicted = [vars(found) for found in load(folder).predict(["shoe", "cheet", "moon", "", "tee"])]
    weights = (folder / bundle.WEIGHTS).read_bytes()
    return {"weights": weights, "metrics": metrics, "log": log, "predicted": predicted}


def _kill_and_resume(tmp_path: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill trainings at random moments until so many were killed; how the ends were."""
    options = {"model__dropout": 0.3, "train__unknown": 0.1, "train__ema": 0.9, "train__max_steps": 240}
    options |= {"train__validate_every": 40, "train__save_every": 3, "train__epochs": 1000}
    path = tmp_path / "c.yaml"
    path.write_text(tiny_config(tmp_path, **options).to_yaml())
    process = FORKSERVER.Process(target=train_quietly, args=(path, tmp_path / "whole", False))
    process.start()
    process.join()
    wanted = _outcome(tmp_path / "whole")
    chance = random.Random(seed)
    seen = {"killed": 0, "while writing": 0, "before the first state": 0, "trainings": 0}
    while seen["killed"] < kills:
        out = tmp_path / f"killed{seen['trainings']}"
        while True:
            states = list((out / bundle.TRAINING).glob("step-*.pt"))
            process = FORKSERVER.Process(target=train_quietly, args=(path, out, (out / bundle.CONFIG).exists()))
            process.start()
            if seen["killed"] < kills:
                process.join(chance.uniform(0.0, 0.8))
            else:
                process.join()
            if process.exitcode is None:
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                seen["killed"] += process.exitcode == -signal.SIGKILL
                seen["while writing"] += bool(list(out.rglob(f".*{PARTIAL}")))
                seen["before the first state"] += not states and not list(out.rglob("step-*.pt"))
                continue
            assert process.exitcode == 0
            break
        seen["trainings"] += 1
        assert _outcome(out) == wanted
        assert not list(out.rglob(f".*{PARTIAL}")), "leftovers are removed"
    return seen


def test_killed_at_thirty_moments_it_ends_the_same_bit_for_bit(tmp_path: Path) -> None:
    assert _kill_and_resume(tmp_path, 30, seed=time.time_ns())["killed"] >= 30


@pytest.mark.slow
def test_killed_at_a_hundred_moments_it_ends_the_same_bit_for_bit(tmp_path: Path) -> None:
    seen = _kill_and_resume(tmp_path, 100, seed=time.time_ns())
    print(seen)
    assert seen["killed"] >= 100
